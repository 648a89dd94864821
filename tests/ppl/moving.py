"""A model whose particles move as its data say, without gravity, in a box that devices split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import ppl
from ir.build import emit
from ir.op import Strategy
from ir.ops.particles import Paint
from ir.ops.shape import Stack
from ppl.cosmo.box import Box
from ppl.cosmo.mesh import ParticleMesh
from ppl.cosmo.nbody import STEP, Factors, simulate
from ppl.execute import Executable
from ppl.limits import Exceeded, exceeded, names_of
from ppl.pipeline import keep
from ppl.posterior import Posterior
from ppl.request import PlanRequest
from tests.yardsticks.on_meshes import MACHINES

SHAPE = (12, 10, 8)
NAMES = ("x", "y", "z")
Field = ppl.Data["x", "y", "z"]


def model(reach: int, capacity: int, ownership: str) -> Any:
    @ppl.model
    def moving(vx: Field, vy: Field, vz: Field, d0: ppl.Data, d1: ppl.Data, d2: ppl.Data):
        scale = ppl.sample("scale", ppl.Normal(1.0, 0.3))
        p = tuple(scale * v for v in (vx, vy, vz))
        mesh = ParticleMesh(Box(vx.type.dims, 1.0), "cic", reach, 1, capacity, ownership)
        factors = Factors(emit(Stack(STEP), 0.0 * d1, 0.0 * d2), emit(Stack(STEP), d1, d2))
        last = simulate((tuple(d0 * v for v in p), p), mesh, factors)
        density = ppl.deterministic("density", mesh.density(last.displacement)[0])
        ppl.factor("pull", -0.5 * (density - 1.0) ** 2)

    return moving


def data_of(velocity: Sequence[np.ndarray], times: Sequence[float]) -> dict[str, Any]:
    """Velocities by dim, and the times of the three densities at which particles stand where these took them."""
    drifts = np.diff(times, prepend=0.0)
    return {f"v{d}": v for d, v in zip(NAMES, velocity, strict=True)} | {f"d{i}": d for i, d in enumerate(drifts)}


AT_REST = data_of([np.zeros(SHAPE)] * 3, [0.0] * 3)


@cache
def at_rest(mesh: str, split: str, reach: int, capacity: int, ownership: str) -> Posterior:
    """Of particles that lie split so."""
    return posterior(AT_REST, mesh, split, reach, capacity, ownership)


def posterior(data: Any, mesh: str, split: str, reach: int, capacity: int, ownership: str) -> Posterior:
    pins = tuple(f"v{d}:{split}" for d in NAMES) if split else ()
    request = PlanRequest.make(mesh, machine=MACHINES["gathers are dear"], pins=pins)
    return Posterior(ppl.compile(model(reach, capacity, ownership), data).bound, request)


@dataclass(frozen=True)
class Planned:
    """A model's density as a program that takes the data; compiled once."""

    posterior: Posterior
    executable: Any

    def __call__(self, data: Mapping[str, Any]) -> tuple[np.ndarray, list[Exceeded]]:
        """The density, and what was beyond the limits."""
        made = self.executable.run({**data, "scale": np.float32(1)}, hasty=True)
        return np.asarray(made["density"]), exceeded(self.posterior, self.executable.program, made)

    @property
    def parts(self) -> list[tuple[dict[str, int], str]]:
        """Of each density, into how many parts the plan cuts which dims, and its method; of the first two in a scan."""
        plan = self.executable.plan
        nodes = [n for n in self.executable.program.walk() if isinstance(n.op, Paint)]
        used = [plan.strategies.get(n.key, Strategy()) for n in nodes]
        found = [({d: plan.mesh.size(s.split[d]) for d in NAMES if d in s.split}, s.method) for s in used]
        return [found[0], found[0], found[-1]]


@cache
def planned(*what: Any) -> Planned:
    made = at_rest(*what)
    program = made.program("density")
    program = keep(program, ["density", *names_of(program)])
    request = made.request
    return Planned(made, Executable(program, request.solve(program), made.devices))
