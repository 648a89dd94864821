"""Our simulations as programs: `Simulation` from white noise to density, compiled for a mesh by `Running`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import backend_cuda as backend
from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.graph import Program, Value
from ir.ops.reduce import Sum
from ir.passes.align_transforms import align_transforms
from ir.passes.differentiate import differentiate
from ir.passes.simplify import simplify
from ir.verify import verify
from planner import make_plan
from ppl.cosmo import Cosmology, growth
from ppl.cosmo.box import Box
from ppl.cosmo.initial import linear_modes, start
from ppl.cosmo.lpt import Displacements, lpt
from ppl.cosmo.mesh import ParticleMesh
from ppl.cosmo.nbody import Steps, fastpm, simulate
from ppl.execute import Executable
from ppl.request import PlanRequest

PARAMETERS = {"A_s_1e9": 2.0, "n_s": 0.96, "Omega_m": 0.3, "Omega_b": 0.05, "h": 0.7}
"""The universe of the yardsticks (pmwd's SimpleLCDM)."""


@dataclass(frozen=True)
class Simulation:
    """2LPT and particle-mesh steps at `times`, of particles in `shape` [cells of `cell` Mpc/h]."""

    shape: tuple[int, ...]
    times: tuple[float, ...]
    cell: float = 4.0
    ratio: int = 1
    kernel: str = "cic"
    gradient: str = "spectral"
    reach: int = 8
    real: str = "f64"
    reversible: bool = True

    @property
    def dims(self) -> tuple[Dim, ...]:
        return tuple(Dim(name, size) for name, size in zip("xyz", self.shape, strict=True))

    @property
    def box(self) -> Box:
        return Box(self.dims, self.cell, self.gradient)

    @property
    def particles(self) -> ParticleMesh:
        return ParticleMesh(self.box, self.kernel, self.reach, self.ratio)

    def begun(self, b: Builder) -> tuple[Any, ...]:
        """The inputs, and of them (growth, Displacements)."""
        white = b.input("white", TensorType(self.dims, self.real), "latent")
        given = {n: b.input(n, TensorType((), "f64"), "latent") for n in PARAMETERS}
        universe = Cosmology(
            Omega_m=given["Omega_m"],
            Omega_b=given["Omega_b"],
            h=given["h"],
            n_s=given["n_s"],
            A_s=given["A_s_1e9"] * 1e-9,
        )
        made = growth(universe)
        return made, lpt(linear_modes(white, self.box, universe, growth=made), self.box)

    def steps(self, b: Builder) -> dict[str, Any]:
        made, vectors = self.begun(b)
        first = start(vectors, made, self.times[0])
        last = simulate(first, self.particles, fastpm(made, Steps(self.times)), reversible=self.reversible)
        density, _ = self.particles.density(last.displacement)
        second = start(Displacements(tuple(v * 0.0 for v in vectors.first), vectors.second), made, self.times[0])[0]
        return {
            "x0": first[0],
            "p0": first[1],
            "second": second,
            "x1": last.displacement,
            "p1": last.momentum,
            "density": density,
        }

    def fields(self) -> Program:
        """Displacements and momenta at both ends, those of the second order alone, and the density at the last."""
        with Builder("simulation", self.real) as b:
            return simplify(b.finish(dict(_numbered(self.steps(b)))))

    def variance(self, wrt: Sequence[str] = ()) -> Program:
        """The mean of the squared density contrast at the end as `variance`, and its gradients."""
        with Builder("simulation", self.real) as b:
            program = b.finish({"variance": variance(self.steps(b)["density"])})
        return gradient(program, wrt) if wrt else simplify(program)


def variance(density: Value) -> Value:
    """The mean of the squared contrast of a density, in f64."""
    contrast = density - 1.0
    total = emit(Sum(density.type.names, "f64"), contrast * contrast)
    return total * (1 / density.type.size)


def gradient(program: Program, wrt: Sequence[str], output: str = "variance") -> Program:
    """The program with `grad:NAME` of one of its outputs, as models' log densities are differentiated."""
    return simplify(align_transforms(simplify(differentiate(simplify(program), wrt, output))))


def vector(found: Mapping[str, Any], name: str) -> np.ndarray:
    """A vector field [particle, dim] of numbered outputs."""
    parts = [found[f"{name}.{i}"] for i in range(9) if f"{name}.{i}" in found]
    return np.stack(parts, -1).reshape(-1, len(parts))


def _numbered(values: Mapping[str, Any]) -> Any:
    for name, v in values.items():
        yield from ((f"{name}.{i}", x) for i, x in enumerate(v)) if isinstance(v, tuple) else ((name, v),)


class Running:
    """A program planned and compiled for a mesh; called with inputs by name, it gives the outputs."""

    def __init__(self, program: Program, mesh: str = "1", pins: Sequence[str] = (), machine: Any = None, hasty=True):
        self.program, self.request = verify(program), PlanRequest.make(mesh, pins=pins, machine=machine)
        self.hasty = hasty
        self.plan = make_plan(program, self.request.mesh, explain=False, **self.request.arguments)

    @cached_property
    def executable(self) -> Executable:
        return Executable(self.program, self.plan, backend.device_mesh(self.request.mesh))

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        types = {i.name: i.type for i in self.program.inputs}
        given = {n: np.asarray(inputs[n], t.numpy) for n, t in types.items()}
        return {n: np.asarray(x) for n, x in self.executable.run(given, hasty=self.hasty).items()}


def rms(found: Any, exact: Any) -> float:
    """The root mean square of the difference, relative to that of the exact."""
    difference = np.asarray(found, np.float64) - exact
    return float(np.sqrt((difference**2).mean() / (np.asarray(exact, np.float64) ** 2).mean()))
