"""Models that are Python functions: the command runs the user's file, and says where in it a mistake is."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from ir.errors import Diagnostic, InternalError, Source, Span

from ..trace.model import Model


def load_function(path: Path, function: str = "") -> Model:
    """The model `function` of a Python file, or the file's only one. The file is run."""
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.py")], 1)
        hint = (
            f"did you mean {path.with_name(near[0])}?"
            if near
            else "give the path of a file and a function: model.py:radon"
        )
        raise Diagnostic("argument", "there is no such Python file", where=str(path), hint=hint)
    found = vars(_run(path))
    models = {n: m for n, m in found.items() if isinstance(m, Model)}
    listed = ", ".join(f"{path}:{n}" for n in models)
    if not function and len(models) != 1:
        what = f"{len(models)} models" if models else "no model"
        hint = f"choose one: {listed}" if models else "decorate a function with @ppl.model"
        raise Diagnostic("argument", f"the file holds {what}", where=str(path), hint=hint)
    model = found.get(function) if function else next(iter(models.values()))
    if isinstance(model, Model):
        return _guarded(model, path)
    what = "is not a model" if function in found else "does not exist"
    hint = "decorate the function with @ppl.model" if function in found else "define it in the file"
    raise Diagnostic(
        "argument", f"'{function}' {what}", where=str(path), hint=f"the file's models are {listed}" if models else hint
    )


def _run(path: Path) -> ModuleType:
    """The file as a module, compiled here so that errors name it as the user did. It can import what lies beside it."""
    module = ModuleType(f"model_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    beside = str(path.resolve().parent)
    sys.path.insert(0, beside)
    try:
        with _blamed(path):
            exec(compile(path.read_bytes(), str(path), "exec"), vars(module))
    finally:
        sys.path.remove(beside)
    return module


def _guarded(model: Model, path: Path) -> Model:
    """The model with exceptions of its own code told as mistakes in it."""

    def body(*args: Any) -> None:
        with _blamed(path):
            model.body(*args)

    return dataclasses.replace(model, body=body)


@contextlib.contextmanager
def _blamed(path: Path) -> Iterator[None]:
    """Turns an exception that the user's file raised into a `Diagnostic` at its line."""
    try:
        yield
    except (Diagnostic, InternalError):
        raise
    except SyntaxError as error:
        span = _line(path, error.lineno or 1, error.offset or 1) if _same(error.filename, path) else None
        message, hint = f"Python cannot read the file: {error.msg}", "the mistake may also stand in the line before"
        raise Diagnostic("syntax", message, span=span, where=str(path), hint=hint) from error
    except Exception as error:
        frames = [f for f in _frames(error.__traceback__) if _same(f.filename, path)]
        last = _frames(error.__traceback__)[-1]
        ours = Path(__file__).parents[2]
        missing = isinstance(error, AttributeError) and last.name == "__getattr__"  # ppl.Norml
        if frames and last is not frames[-1] and Path(last.filename).is_relative_to(ours) and not missing:
            raise
        span = (
            _line(path, frames[-1].lineno or 1, (frames[-1].colno or 0) + 1, frames[-1].end_colno) if frames else None
        )
        message = f"the model's code failed: {type(error).__name__}: {error}"
        raise Diagnostic(
            "type", message, span=span, where=str(path), hint="--debug shows the whole traceback"
        ) from error


def _frames(trace: TracebackType | None) -> list[traceback.FrameSummary]:
    return list(traceback.extract_tb(trace))


def _same(name: str | None, path: Path) -> bool:
    return name is not None and Path(name).resolve() == path.resolve()


def _line(path: Path, line: int, column: int, end_column: int | None = None) -> Span:
    source = Source(str(path), path.read_text(encoding="utf-8", errors="replace"))
    text = source.line(line)
    return Span(source, line, column, line, end_column + 1 if end_column else len(text) + 1)
