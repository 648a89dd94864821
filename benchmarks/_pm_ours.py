"""Our side of `pm.py`: 2LPT and particle-mesh steps, their gradient, and a Poisson solve, compiled for a mesh."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import jax
import numpy as np

from ir.build import Builder
from ir.dims import Dim, TensorType
from ir.graph import Program
from ir.mesh import Mesh
from ir.passes.simplify import simplify
from ppl.cosmo.box import Box
from tests.yardsticks.cosmo.simulations import PARAMETERS, Running, Simulation

START = 1 / 64
EIGHT = "row=4,col=2"
SPLIT = "x=row,y=col"
REACH = {32: 7, 64: 8, 128: 10}
"""By side, cells of 4 Mpc/h: more than particles go by a = 1, or the variance is NaN; blocks of 8 allow 7."""


@dataclass(frozen=True)
class Compiled:
    """A program that runs, for its time, and what XLA says of it."""

    call: Callable[[], Any]
    text: str
    temp: int
    """Bytes of temporary buffers, on each device."""
    variance: float | None = None
    """What it finds, to compare."""

    @classmethod
    def of(cls, program: Any, arguments: tuple[Any, ...], variance: Callable[[Any], Any] | None = None) -> Compiled:
        def call() -> Any:
            return jax.block_until_ready(program(*arguments))

        found = float(variance(call())) if variance else None
        if found is not None and not np.isfinite(found):
            raise RuntimeError(f"the simulation gave {found}")
        return cls(call, program.as_text(), program.memory_analysis().temp_size_in_bytes, found)


def noise(side: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(side,) * 3).astype(np.float32)


def program(side: int, steps: int, differentiated: bool) -> Program:
    times = tuple(np.linspace(START, 1, steps + 1).tolist())
    simulation = Simulation((side,) * 3, times, reach=REACH.get(side, 10), real="f32")
    return simulation.variance(["white", *PARAMETERS] if differentiated else ())


def simulation(side: int, steps: int, differentiated: bool, mesh: str = "1") -> Compiled:
    """From white noise and five parameters to the variance of the density, in float32; with its gradient in all."""
    pins = (f"white:{SPLIT}",) if mesh != "1" else ()
    run = Running(program(side, steps, differentiated), mesh, pins, hasty=False)
    inputs = {"white": noise(side), **PARAMETERS}
    with jax.enable_x64(True):
        arrays = {i.name: np.asarray(inputs[i.name], i.type.numpy) for i in run.program.inputs}
        stored = tuple(run.executable.store(name, x) for name, x in arrays.items())
        made = run.executable.lowered().compile()
        return Compiled.of(made, stored, lambda found: found["variance"])


def temp(side: int, steps: int) -> int:
    """Bytes of temporary buffers of the gradient on one device; nothing runs."""
    made = Running(program(side, steps, True), hasty=False).executable.lowered().compile()
    return made.memory_analysis().temp_size_in_bytes


def poisson(side: int) -> tuple[Any, Mesh]:
    """The compiled inverse Laplacian of a float32 field that is split along two dims, planned for eight H200."""
    dims = tuple(Dim(d, side) for d in "xyz")
    box = Box(dims, 1.0)
    with Builder("poisson") as b:
        source = b.input("source", TensorType(dims), "latent")
        field = box.field(box.potential() * box.modes(source))
        made = simplify(b.finish({"potential": field}, {"potential": "source"}))
    run = Running(made, EIGHT, (f"source:{SPLIT}",), "h200x8", hasty=False)
    return run.executable.lowered().compile(), run.plan.mesh
