"""The programs of a run compiled ahead of time, for devices and sizes that this machine need not have; none is run.

A run has a program for each stage, and one that takes the moments of a block's draws where these are too large to keep.
They do not run at the same time, but what one of them leaves lies on the devices while another one runs: the moments
beside the sampler, the sampler's state and the data beside the moments.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax

from planner import peak_bytes

from ..aot import check_devices, held, memory_of
from .engine import Engine
from .options import Common
from .room import copies_of
from .run import _Setup
from .stages import prepared, settled_apart

if TYPE_CHECKING:
    from ..posterior import Posterior


@dataclass(frozen=True)
class Made:
    """A compiled program of a run: bytes are those of one device."""

    name: str
    """The stage's program, with what it is for; or `moments`."""
    lowering_seconds: float
    compile_seconds: float
    memory: dict[str, int]
    """XLA's account, as `ppl.aot.Compiled.memory`."""
    data: int
    """The part of the arguments that is the model's data."""
    beside: int
    """What lies on the device meanwhile and is no argument."""
    predicted: float
    """What the plan predicts for the stage."""
    text: str
    """XLA's optimised HLO."""

    @property
    def xla(self) -> int:
        """All that a device holds while the program runs."""
        return held(self.memory) + self.beside


@dataclass(frozen=True)
class Ahead:
    """The programs of a run, and the plans of their gradient and of what is kept of a draw."""

    programs: tuple[Made, ...]
    engine: Engine
    predicted: float
    """What the plan predicts for the run: of its stages the most."""

    @property
    def xla(self) -> int:
        return max(made.xla for made in self.programs)


def compile_run(posterior: Posterior, options: Common, keep: Sequence[str] | None = None) -> Ahead:
    """Compiles what a run of `options` would, for a posterior that needs no data (`ppl.bind.outline`).

    The devices must be there, as virtual ones: see `ppl.aot.compile_only`.
    """
    check_devices(posterior.request.mesh.devices, "mesh")
    latents = sum(t.size for t in posterior.latents.values())
    program = settled_apart(prepared(options, latents), latents)
    setup = _Setup.make(posterior, program, tuple(keep) if keep is not None else None, False, abstract=True)
    gradient, last = setup.engines[-1].gradient, setup.engines[-1]
    plan = replace(gradient.plan, platform="cpu")
    moments = setup.reduction.abstract() if setup.reduction else {}
    found, rows = [], {}
    for stage, engine in zip(program.stages(), setup.engines, strict=True):
        copies = copies_of(posterior, stage, setup.kept) if engine is last else stage.copies()
        start = time.perf_counter()
        lowered = engine.lowered()
        rows = lowered.out_info.draws
        name = f"{stage.name}, {'draws' if not stage.warmup else 'warm-up and draws' if engine is last else 'warm-up'}"
        beside = _bytes(moments) if engine is last else 0
        predicted = peak_bytes(gradient.program, replace(plan, copies=copies))
        found.append(_made(name, lowered, time.perf_counter() - start, _bytes(engine.inputs()), beside, predicted))
    if setup.reduction:
        # The state is overwritten by a block, and so are the moments: what is aliased is what stays.
        beside, predicted = found[-1].memory["aliased"] + found[-1].data, found[-1].predicted
        start = time.perf_counter()
        lowered = setup.reduction.lowered(rows)
        found.append(_made("moments", lowered, time.perf_counter() - start, 0, beside, predicted))
    return Ahead(tuple(found), last, peak_bytes(gradient.program, plan))


def _made(name: str, lowered: Any, lowering: float, data: int, beside: int, predicted: float) -> Made:
    start = time.perf_counter()
    with jax.enable_x64(True):
        compiled = lowered.compile()
    seconds = time.perf_counter() - start
    return Made(name, lowering, seconds, memory_of(compiled), data, beside, predicted, compiled.as_text())


def _bytes(tree: Any) -> int:
    """Bytes on one device of abstract stored arrays."""
    local = lambda x: x.sharding.shard_shape(x.shape) if x.sharding is not None else x.shape  # noqa: E731
    return sum(math.prod(local(x)) * x.dtype.itemsize for x in jax.tree.leaves(tree))
