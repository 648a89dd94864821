"""The examples at odd sizes, planned in different ways on different meshes: what both promises about plans are held to.

The planner's own optimum for problems this small is one device's work on every device. Two made-up machines bring it to
split everything: one on which talk costs nothing, and one on which all but gathers cost nothing, so that values are
dealt out by all-to-alls and reduce-scatters and tables are looked up where they lie.
"""

from __future__ import annotations

import runpy
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import ppl
from planner import Machine
from planner.machine import KINDS
from ppl.posterior import Posterior
from tests.yardsticks.agree import EXAMPLES


def machine(name: str, **alpha: float) -> Machine:
    """Slow devices with fast links; `alpha` sets the latency [s] of kinds of collectives."""
    table: dict[str, Any] = {"name": name, "device": {"f32": 1e7, "f64": 1e7, "memory_bandwidth": 1e8}}
    table["inside"] = {"alpha": dict.fromkeys(KINDS, 1e-9) | alpha, "beta": dict.fromkeys(KINDS, 1e12)}
    return Machine.from_table(table, name)


MACHINES: dict[str, Any] = {
    "laptop": "laptop",
    "talk is cheap": machine("talk is cheap"),
    "gathers are dear": machine("gathers are dear", all_gather=1.0),
}

SHAPE = (27, 22)  # 7, 7, 7, 6 by 11, 11 over row=4, col=2; eight blocks along x are 4, 4, 4, 4, 4, 4, 3, 0
BOX = {"x": 16, "y": 12, "z": 9}  # of particles
SIZES = {"mass": {"x": SHAPE[0], "y": SHAPE[1]}, "structure": {**BOX, "shell": 5}, "initial": BOX}


def _mass_map() -> dict[str, Any]:
    rng = np.random.default_rng(5)
    e1, e2 = 0.05 * rng.normal(size=(2, *SHAPE))
    return {
        **{"side_x": 27.0, "side_y": 24.0, "e1": e1, "e2": e2},
        **{"noise": rng.uniform(0.04, 0.07, SHAPE), "mask": rng.uniform(size=SHAPE) < 0.9},
    }


@cache
def model_and_data(example: str) -> tuple[Any, dict[str, Any]]:
    """An example by the beginning of its file's name, as text, with data of an odd size: 919 houses, 61 points."""
    model = ppl.load(next(EXAMPLES.glob(f"*_{example}*.ppl")))
    if example == "mass":
        return model, _mass_map()
    if example == "structure":
        return model, {}
    if example == "initial":
        return model, {"observed": np.random.default_rng(6).gamma(4, 0.25, tuple(BOX.values()))}
    python = runpy.run_path(str(next(EXAMPLES.glob(f"*_{example}*.py"))))
    if example == "eight":
        return model, python["DATA"]
    return model, python["simulate"](size=61) if example == "linear" else python["simulate"]()


@dataclass(frozen=True)
class Case:
    """An example on a mesh. `machine` names one of `MACHINES`."""

    example: str
    mesh: str = "1"
    machine: str = "laptop"
    pins: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = [self.example, self.mesh, *self.pins, self.machine if self.machine != "laptop" else ""]
        return " ".join(s for s in shown if s)

    @property
    def one(self) -> Case:
        """The same on one device."""
        return Case(self.example)


@cache
def compiled(case: Case, dtype: str = "float32") -> Posterior:
    model, data = model_and_data(case.example)
    sizes = SIZES.get(case.example)
    options = {"mesh": case.mesh, "machine": MACHINES[case.machine], "pins": case.pins}
    plan = ppl.plan(model, data, **options, sizes=sizes, dtype=dtype)
    return ppl.compile(model, data, plan=plan, sizes=sizes, dtype=dtype)


__all__ = ["MACHINES", "SHAPE", "SIZES", "Case", "compiled", "machine", "model_and_data"]
