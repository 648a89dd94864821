"""`meshbayes check`: a model, and its data where they are given, held to everything that can be known before a run."""

from __future__ import annotations

from typing import Any

from ..bind import Bound
from . import read

ASSUMED = 8
"""The size with which dims are checked whose size only the data would tell."""


def execute(args: Any) -> int:
    """Prints one line that starts with "ok"; what is wrong is a `Diagnostic`."""
    from ..posterior import Posterior
    from ..request import PlanRequest

    model = read.model(args.model)
    written = read.program(args, model)
    bound = read.outlined(args, model, ASSUMED)
    # What the passes find wrong is told here, too.
    options, reasons = read.resolved(written, Posterior(bound, PlanRequest()))
    parts = [
        f"ok: model {model.name}",
        f"dims {_dims(bound)}",
        f"latents {', '.join(_latents(bound)) or 'none'}",
        f"observed {', '.join(_observed(bound)) or 'none'}",
    ]
    print("; ".join(parts))
    if reasons and not bound.notes:  # the sizes are those of a run
        print(f"note: run takes {options}: {reasons}")
    for note in bound.notes:
        print(f"note: {note}")
    return 0


def _latents(bound: Bound) -> list[str]:
    from ir.ops.sites import Sample

    sites = [n for n in bound.program.walk() if isinstance(n.op, Sample) and not n.op.generated]
    return [_shown(n.op.site, n.results[0].type.names) for n in sites]


def _observed(bound: Bound) -> list[str]:
    return [_shown(site, bound.program.input(data).type.names) for site, data in bound.observed.items()]


def _dims(bound: Bound) -> str:
    return ", ".join(f"{n}={size}" for n, size in bound.sizes.items()) or "none"


def _shown(name: str, dims: tuple[str, ...]) -> str:
    return f"{name}[{', '.join(dims)}]" if dims else name
