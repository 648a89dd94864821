"""Particle-mesh simulations: FastPM steps from perturbation theory to any time, in one scan that can be reversed.

Time is the scale factor a, H0 = 1; x is a displacement [cells], p = a^2 dx/dt. A step kicks by the gravity at a_i, from
the middle of the step before to the middle of this one, and drifts to a_(i+1): the two half kicks of kick-drift-kick at
a_i, as one. Factors are those of Feng et al. 2016 (1603.00476), with which steps of the linear theory are exact.

    drift = (D1(b) - D1(a)) / G_D(m),   G_D = a^2 E dD1/dln a
    kick  = (G_D(m') - G_D(m)) / D1(a_i)   of g, which is the kick of the acceleration over its 3/2 Omega_m D1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ir.build import cast, constant, current, emit
from ir.dims import Dim
from ir.errors import Diagnostic
from ir.graph import Value
from ir.ops.control import scan
from ir.ops.create import Coordinate
from ir.ops.reduce import Sum
from ir.ops.shape import Slice, Stack

from .growth import Growth
from .lpt import Vector
from .mesh import ParticleMesh

STEP = "~step"


@dataclass(frozen=True)
class Steps:
    """When a simulation steps: `times` [scale factors], and the `middles` between them, at which momenta stand."""

    times: tuple[float, ...]
    middle: str = "arithmetic"

    def __post_init__(self) -> None:
        if len(self.times) < 2 or not all(0 < a < b for a, b in zip(self.times, self.times[1:], strict=False)):
            hint = "at least two scale factors, each later than the one before"
            raise Diagnostic("argument", f"a simulation cannot step at {self.times}", hint=hint)
        if self.middle not in ("arithmetic", "geometric"):
            raise Diagnostic(
                "argument", f"unknown middle '{self.middle}'", hint="arithmetic (pmwd) or geometric (FlowPM)"
            )

    @classmethod
    def even(cls, start: float, stop: float, count: int, middle: str = "arithmetic") -> Steps:
        """`count` steps of one size in a."""
        return cls(tuple(np.linspace(start, stop, count + 1).tolist()), middle)

    @property
    def middles(self) -> tuple[float, ...]:
        pairs = zip(self.times, self.times[1:], strict=False)
        return tuple([(a * b) ** 0.5 if self.middle == "geometric" else (a + b) / 2 for a, b in pairs])


@dataclass(frozen=True)
class Factors:
    """What gravity and momenta are multiplied by, in each step [~step], and before and after all of them.

    A step is p <- keep p + kick g(x); x <- x + drift p. Without `keep` momenta are kept whole, without `first_drift`
    and `last_kick` there are none.
    """

    kick: Value
    drift: Value
    last_kick: Value | None = None
    keep: Value | None = None
    first_drift: Value | None = None


def fastpm(growth: Growth, steps: Steps) -> Factors:
    """The factors of FastPM for a cosmology's growth."""
    times, middles = along(steps.times), along(steps.middles)
    begins, ends = part(times, 0, -1), part(times, 1, 0)
    sides = along((steps.times[0], *steps.middles, steps.times[-1]))
    momenta, growths = growth.G_D(sides), growth.D1(times)
    kicks = (part(momenta, 1, 0) - part(momenta, 0, -1)) / growths
    drifts = (growth.D1(ends) - growth.D1(begins)) / growth.G_D(middles)
    kicks, drifts = (cast(x, current().real) for x in (kicks, drifts))
    count = len(steps.middles)
    last = emit(Sum((STEP,)), emit(Slice(STEP, count, count + 1), kicks))
    return Factors(part(kicks, 0, -1), drifts, last)


def along(numbers: Sequence[float]) -> Value:
    """Numbers along the steps, in float64."""
    if len(numbers) > 1 and np.allclose(np.diff(numbers, 2), 0.0, atol=1e-12):
        step = (numbers[-1] - numbers[0]) / (len(numbers) - 1)
        return emit(Coordinate(Dim(STEP, len(numbers)), "index", 0, "f64")) * step + float(numbers[0])
    return emit(Stack(STEP), *(constant(float(x), "f64") for x in numbers))


def part(x: Value, first: int, last: int) -> Value:
    """Without some of the first and last entries."""
    return emit(Slice(STEP, first, x.type[STEP] + last), x)


@dataclass(frozen=True)
class Snapshot:
    """Particles at one time: displacements [cells], momenta a^2 dx/dt [cells, H0 = 1], by dim of the box."""

    displacement: Vector
    momentum: Vector
    need: Value
    """Of each step [~step]: what devices needed to hold (`ir.ops.ownership`); all is NaN from the first step on at
    which the load is more than 1."""


def simulate(
    start: Snapshot | tuple[Vector, Vector], mesh: ParticleMesh, factors: Factors, *, reversible: bool = True
) -> Snapshot:
    """Steps particles from displacements and momenta to the last time.

    reversible: the gradient rebuilds each state from the next one, and memory does not grow with the number of steps;
    else the states of all steps are kept.
    """
    x, p = (start.displacement, start.momentum) if isinstance(start, Snapshot) else start
    rank, keep = len(x), factors.keep
    if factors.first_drift is not None:
        x = tuple(d + factors.first_drift * v for d, v in zip(x, p, strict=True))

    def step(carries: Sequence[Value], now: Sequence[Value], _: Sequence[Value]) -> Any:
        x, p = carries[:rank], carries[rank:]
        g, need = mesh.gravity(x)
        p = p if keep is None else tuple(now[2] * v for v in p)
        p = tuple(v + now[0] * f for v, f in zip(p, g, strict=True))
        x = tuple(d + now[1] * v for d, v in zip(x, p, strict=True))
        return (*x, *p), (need,)

    def back(carries: Sequence[Value], now: Sequence[Value], _: Sequence[Value]) -> Sequence[Value]:
        x, p = carries[:rank], carries[rank:]
        x = tuple(d - now[1] * v for d, v in zip(x, p, strict=True))
        g, _need = mesh.gravity(x)
        p = tuple(v - now[0] * f for v, f in zip(p, g, strict=True))
        return (*x, *(p if keep is None else (v * now[3] for v in p)))

    inverse = back if reversible else None
    given = (factors.kick, factors.drift, *((keep, 1.0 / keep) if keep is not None else ()))
    last, needs = scan(STEP, step, (*x, *p), given, name="nbody", inverse=inverse)
    x, p = last[:rank], last[rank:]
    mesh.tell(needs[0])
    if factors.last_kick is None:
        return Snapshot(x, p, needs[0])
    g, at_end = mesh.gravity(x)
    mesh.tell(at_end)
    return Snapshot(x, tuple(v + factors.last_kick * f for v, f in zip(p, g, strict=True)), needs[0])


__all__ = ["STEP", "Factors", "Snapshot", "Steps", "along", "fastpm", "part", "simulate"]
