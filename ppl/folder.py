"""The run folder: everything that says what a run was and what it gave, in one place that can be copied and mailed.

model.ppl      the model as it was run (model.py for a Python model)
plan.toml      the plan as a file that --plan takes; plan.txt is the same for a reader
config.json    the command, seed, sampler, sizes, data sources, machine and versions
draws.zarr     draws, statistics and predictions, appended as they are made; prior.zarr those of the prior
log.jsonl      what happened when, one JSON object a line
report.html    the report
"""

from __future__ import annotations

import contextlib
import datetime
import json
import platform
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ir.errors import Diagnostic

from .io.draws import STATIC, Draws
from .io.store import PRIOR, STORE, DrawsWriter, Spec, json_safe
from .report.html import installed_versions, write_report

if TYPE_CHECKING:
    from .infer.options import Common
    from .infer.progress import Stage
    from .posterior import Posterior
    from .result import Result

CONFIG, LOG, REPORT = "config.json", "log.jsonl", "report.html"
OURS = ("model.ppl", "model.py", "plan.toml", "plan.txt", CONFIG, LOG, REPORT, STORE, PRIOR)
"""All that a run writes into its folder."""


def check_free(folder: str | Path) -> Path:
    """A folder that a run may use: a new or an empty one. Anything else is a `Diagnostic`."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise Diagnostic("argument", "this is a file, not a folder", where=str(folder), hint=_another(folder))
    if folder.is_dir() and any(folder.iterdir()):
        what = "there is a run in this folder already" if (folder / CONFIG).exists() else "this folder is not empty"
        raise Diagnostic("argument", what, where=str(folder), hint=_another(folder))
    return folder


def _another(folder: Path) -> str:
    return f"give a new folder, as --out {next_free(folder)}"


def next_free(base: Path) -> Path:
    """`base-1`, or the first of `base-2`, … that does not exist; a number at the end of `base` is counted up."""
    base = base if base.name.strip(".") else base / "run"
    stem, dash, number = base.name.rpartition("-")
    name, count = (stem, int(number)) if dash and number.isdigit() else (base.name, 0)
    while (found := base.with_name(f"{name}-{count + 1}")).exists():
        count += 1
    return found


def make_folder(folder: Path | None, name: str) -> Path:
    """The folder of a run, made: the given one, or `runs/NAME-1`, `runs/NAME-2`, … whichever is free."""
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            return folder
        Path("runs").mkdir(exist_ok=True)
        while True:  # another run may take the name between looking and making
            with contextlib.suppress(FileExistsError):
                found = next_free(Path("runs") / name)
                found.mkdir()
                return found
    except OSError as error:
        raise Diagnostic(
            "argument",
            f"the run folder cannot be made: {error.strerror}",
            where=str(folder or "runs"),
            hint="choose a folder that you may write to, with --out DIR",
        ) from None


def write_inputs(
    folder: Path,
    posterior: Posterior,
    options: Common,
    seed: int,
    *,
    keep: Sequence[str] | None = None,
    **facts: Any,
) -> None:
    """What is known before the first draw: model, plan and configuration; `facts` are added to the latter."""
    import planner

    from .infer.room import copies

    bound = posterior.bound
    gradient = posterior.gradient_program(options.chains, copies(posterior, options, keep))
    suffix = ".ppl" if bound.model.text.lstrip().startswith(("model", "#")) else ".py"
    config = {
        "model": bound.model.name,
        "seed": seed,
        "sampler": {"program": str(options), **_settings(options.stages()[-1])},
        "stages": [_settings(stage) for stage in options.stages()],
        "mesh": str(posterior.request.mesh),
        "plan_for": gradient.plan.machine,
        "dtype": {"f32": "float32", "f64": "float64"}[bound.real],
        "sizes": dict(bound.sizes),
        "data": {n: _kind(x) for n, x in bound.data.items() if n not in bound.fixed},
        "fixed": {n: bound.data[n].item() if not bound.data[n].shape else _kind(bound.data[n]) for n in bound.fixed},
        "machine": machine(posterior),
        "collectives": gradient.collectives.name,
        "versions": installed_versions(),
        "started": now(),
        **facts,
    }
    with _written(folder):
        (folder / f"model{suffix}").write_text(bound.model.text, encoding="utf-8")
        text = planner.write_plan(gradient.plan, gradient.program, memory=posterior.request.memory)
        (folder / "plan.toml").write_text(text, encoding="utf-8")
        (folder / "plan.txt").write_text(planner.format_plan(gradient.program, gradient.plan), encoding="utf-8")
        (folder / CONFIG).write_text(json.dumps(json_safe(config), indent=1, ensure_ascii=False), encoding="utf-8")


def _kind(array: np.ndarray) -> dict[str, Any]:
    return {"shape": list(array.shape), "dtype": str(array.dtype)}


def _settings(options: Common) -> dict[str, Any]:
    return {"name": options.name, **{n: _plain(x) for n, x in options.settings().items()}}


def _plain(value: Any) -> Any:
    """An option's value for JSON; that of a program in a program is its text."""
    if isinstance(value, tuple):
        return [_plain(x) for x in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def write_folder(result: Result, folder: str | Path) -> Path:
    """The run folder of a result in memory; a folder that holds anything already is a `Diagnostic`."""
    folder = check_free(folder)
    make_folder(folder, "")
    write_inputs(folder, result.posterior, result.options, result.seed, interrupted=result.interrupted)
    write_draws(result.draws, folder / STORE)
    write_report(folder, folder / REPORT)
    return folder


def write_draws(draws: Draws, path: Path) -> None:
    """Draws as a store that `open_run` reads."""
    schema = {
        group: {n: Spec(v.event_dims, v.event_shape, str(v.data.dtype)) for n, v in variables.items()}
        for group, variables in draws.groups.items()
    }
    with DrawsWriter(
        path, schema, draws.num_chains, draws=draws.num_draws, coords=draws.coords, attrs=draws.attrs
    ) as writer:
        for group, variables in draws.groups.items():
            arrays = {n: v.values for n, v in variables.items()}
            (writer.write if group in STATIC else writer.append)(**{group: arrays})


def discard(folder: Path, keep: bool = False) -> None:
    """Takes back what a run wrote that failed before its first draw; the folder too, unless it is to be kept."""
    for name in OURS:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if not keep:
        with contextlib.suppress(OSError):  # somebody put something else there
            folder.rmdir()


def machine(posterior: Posterior) -> str:
    """Where the run takes place: host and devices."""
    devices = posterior.devices.devices.ravel()
    return f"{platform.node()}, {len(devices)} × {devices[0].device_kind}"


def now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


class Log:
    """`log.jsonl` of a run folder: an event a line, and a line for every block of transitions."""

    def __init__(self, folder: Path):
        self.path = folder / LOG

    def event(self, event: str, **facts: Any) -> None:
        line = json.dumps(json_safe({"time": now(), "event": event, **facts}), ensure_ascii=False)
        with _written(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def block(self, stage: Stage, done: int, info: Any) -> None:
        """After a block: the stage's transitions done per chain, and what its transitions were like."""
        facts: dict[str, Any] = {}
        if hasattr(info, "accept_stat"):
            facts["acceptance"] = round(float(np.mean(info.accept_stat)), 4)
        if hasattr(info, "step_size"):
            facts["step_size"] = [float(f"{e:.6g}") for e in np.asarray(info.step_size)[:, -1]]
        self.event(
            "block",
            stage=stage.options.name,
            done=done,
            of=stage.total,
            phase=stage.phase(done),
            divergences=int(np.sum(info.divergent)),
            gradients=int(np.sum(info.leapfrogs)),
            **facts,
        )


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    """Tells what the operating system says about the disk as a `Diagnostic`."""
    try:
        yield
    except OSError as error:
        hint = "free some space, or choose another folder with --out"
        raise Diagnostic("run", f"cannot write: {error.strerror}", where=str(path), hint=hint) from error


__all__ = ["Log", "check_free", "discard", "make_folder", "next_free", "write_folder", "write_inputs"]
