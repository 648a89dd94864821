"""From the words of a command line to what the library takes: models, data, sizes, samplers, plan requests."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ir.errors import Diagnostic

if TYPE_CHECKING:
    from ..bind import Bound
    from ..infer.options import Common
    from ..infer.written import Written
    from ..io.datum import Data
    from ..posterior import Posterior
    from ..request import PlanRequest
    from ..trace.model import Model

SAMPLER_OPTIONS = ("chains", "draws", "warmup", "target_accept", "max_depth", "thin")


def literal(text: str) -> int | float | str:
    """A number where the text is one; what else it is, its reader judges."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def whole_number(text: str | None, option: str, least: int, default: int) -> int:
    """A whole number from `least` up."""
    if text is None:
        return default
    value = literal(text)
    if not isinstance(value, int) or value < least:
        hint = f"for example {option} {max(least, default)}"
        raise Diagnostic("argument", f"a whole number from {least} is needed, not '{text}'", where=option, hint=hint)
    return value


def index_base(text: str | None) -> int:
    """0 or 1."""
    if text not in (None, "0", "1"):
        hint = "leave the option out, or give --index-base 1 for data of Stan, R or Julia"
        raise Diagnostic("argument", f"indices count from 0 or 1, not from '{text}'", where="--index-base", hint=hint)
    return int(text or 0)


def sizes(texts: Iterable[str]) -> dict[str, int]:
    """Sizes of dims, as `x=512 y=512` or `x=512,y=512`."""
    found: dict[str, int] = {}
    for part in (p for text in texts for p in text.split(",")):
        name, equals, size = part.partition("=")
        if not equals or not name.strip().isidentifier() or not re.fullmatch(r"\s*\d+\s*", size):
            hint = "write a dim and its size, a whole number: --set x=512"
            raise Diagnostic("argument", f"cannot read the size '{part}'", where="--set", hint=hint)
        if found.setdefault(name.strip(), int(size)) != int(size):
            raise Diagnostic("argument", f"'{name.strip()}' is given two sizes", where="--set", hint="give one of them")
    return found


def memory(text: str | None) -> float | None:
    """Bytes, as `80GB`, `500 MiB` or `8e10`."""
    import planner

    if text is None:
        return None
    value = planner.read_bytes(text)
    if value is None:
        raise Diagnostic("argument", f"cannot read the size '{text}'", where="--memory", hint="write --memory 80GB")
    return value


def names(text: str | None) -> list[str] | None:
    """A list with commas."""
    return None if text is None else [n.strip() for n in text.split(",") if n.strip()]


def dtype(args: Any) -> str:
    return args.dtype or "float32"


def model(text: str) -> Model:
    """The model of a `.ppl` file, or of `file.py:function`."""
    path, _, function = text.partition(".py:")
    if function or path.endswith(".py"):
        from .python import load_function

        return load_function(Path(path if path.endswith(".py") else f"{path}.py"), function)
    from ..text.elaborate import load

    if Path(text).is_dir():
        near = sorted(Path(text).glob("*.ppl"))
        hint = f"it holds {', '.join(map(str, near[:5]))}" if near else "give the path of a .ppl file"
        raise Diagnostic("argument", "this is a folder, not a model file", where=text, hint=hint)
    return load(text)


def data(args: Any, of: Model) -> Data:
    """The data that the command line names, as far as the model declares it."""
    from ..io.read import read_many

    wanted = [*(d.name for d in of.declarations), *of.dims]
    return read_many(args.data, wanted)


def bound(args: Any, of: Model, *, unobserved: bool = False) -> Bound:
    """The model with its data, checked."""
    from ..bind import bind

    options = {"sizes": sizes(args.set), "dtype": dtype(args), "index_base": index_base(args.index_base)}
    with _named("fixed", "--fix"):
        return bind(of, data(args, of), fixed=fixed(args), unobserved=unobserved, **options)


def unobserved(args: Any, of: Model) -> Bound:
    """The model with its data, of which those that it observes may be missing."""
    return bound(args, of, unobserved=True)


def fixed(args: Any) -> dict[str, Any]:
    """The latents that are held, and their values."""
    from ..io.read import read_many

    words = getattr(args, "fix", None) or []
    for word in words:
        if not re.match(r"\s*[A-Za-z_]\w*\s*=\s*\S", word):
            hint = "write the name of a latent and its value: --fix sigma=1.0"
            raise Diagnostic("argument", f"cannot read '{word}'", where="--fix", hint=hint)
    names = [word.partition("=")[0].strip() for word in words]
    return {n: d.value for n, d in read_many(words, names).items()}


def outlined(args: Any, of: Model, assumed: int | None = None) -> Bound:
    """The model with its data where they are given, otherwise with sizes only."""
    from ..bind import outline

    if args.data or not of.declarations:
        return bound(args, of)
    with _named("fixed", "--fix"):
        return outline(of, sizes=sizes(args.set), dtype=dtype(args), assumed=assumed, fixed=fixed(args))


@contextlib.contextmanager
def _named(argument: str, option: str) -> Iterator[None]:
    """Names the option of the command line where a mistake is in an argument of the library."""
    try:
        yield
    except Diagnostic as error:
        error.where = option if error.where == argument else error.where
        raise


def devices(args: Any) -> int | None:
    """The number of devices whose mesh is to be searched; None where the mesh is given."""
    if args.devices is None:
        return None
    if args.mesh is not None:
        hint = "leave out --mesh to have its shape searched, or --devices to give it"
        raise Diagnostic("argument", "both --mesh and --devices are given", where="--devices", hint=hint)
    return whole_number(args.devices, "--devices", 1, 8)


def request(args: Any) -> PlanRequest:
    """The mesh, machine, memory and pins asked for."""
    from ir.mesh import Mesh

    from ..request import PlanRequest

    mesh: Mesh | None = None
    if args.mesh is not None:
        try:
            mesh = Mesh.parse(args.mesh)
        except Diagnostic as error:
            error.where = "--mesh"
            raise
    room = memory(args.memory)
    return PlanRequest.make(mesh, machine=args.machine, memory=room, pins=orders(args), file=args.plan)


def orders(args: Any) -> list[Any]:
    """The pins, bans and preferences of the command line."""
    import planner

    found: list[Any] = [planner.parse_pin(text, "--pin") for text in args.pin]
    found += [planner.parse_ban(text, "--ban") for text in args.ban]
    return found + [planner.parse_preference(text, "--prefer") for text in args.prefer]


def requests_of(args: Any, files: Iterable[str]) -> list[PlanRequest]:
    """What several plan files ask for, each with all that it keeps, and with the command line on top."""
    asked = request(args)
    mesh = asked.mesh if args.mesh is not None else None
    found = []
    for file in files:
        one = type(asked).make(mesh, machine=args.machine, memory=asked.memory, pins=orders(args), file=file, keep=True)
        found.append(one)
    return found


def program(args: Any, of: Model) -> Written:
    """The inference program as it is written: the command line's, else the model file's, else `auto()`.

    Options given one by one go on top: they are the last stage's, and the number of chains counts for all stages.
    """
    from ..infer.written import Call, Option, make, override

    found = of.infer or (Call("auto"),)
    if getattr(args, "infer", None) is not None:
        found = _program(args.infer)
    single = {
        n: Option(n, literal(v), where=f"--{n.replace('_', '-')}")
        for n in SAMPLER_OPTIONS
        if (v := getattr(args, n, None)) is not None
    }
    if single:
        make(found)  # a mistake of its own is told first
        found = override(found, single)
    if not any(call.name == "auto" for call in found):
        make(found)
    return found


def sampler(args: Any, of: Model) -> Common:
    """The options of `program`; what is chosen by the graph stays to be chosen."""
    from ..infer.written import make

    return make(program(args, of))


def resolved(written: Written, posterior: Posterior) -> tuple[Common, str | None]:
    """The options of a program for a posterior, and where a part of it was chosen, the reasons."""
    from ..infer.choose import expand
    from ..infer.restrict import check_only
    from ..infer.written import make, place_of

    expanded, reasons = expand(written, posterior)
    made = make(expanded)
    for stage in made.stages():
        try:
            check_only(stage.only, posterior.latents)
        except Diagnostic as error:
            spans = (place_of(expanded, "only", n) for n in stage.only or () if n not in posterior.latents)
            raise error.at(next(spans, None)) from None
    return made, reasons


def _program(text: str) -> Written:
    """`nuts(draws = 500)`, or `nuts` alone, read as the language reads an infer line."""
    from ..text.elaborate import program_from_text

    return program_from_text(text if re.search(r"\W", text.strip()) else f"{text.strip()}()", "--infer")
