"""From white noise to matter: the linear density, and particles by perturbation theory and a particle mesh.

cosmo    = Cosmology(Omega_m=0.31, Omega_b=0.05, h=0.68, n_s=0.97, sigma8=0.81)
white    = ppl.sample("white", ppl.Normal(0, 1), dims=("x", "y", "z"))
particles = simulate(white, cosmo, cell=4.0, steps=10)
delta    = density(particles) - 1
"""

from __future__ import annotations

import numbers
from typing import Any

from ir.build import as_value, cast, current, diagnostic
from ir.dims import Dim
from ir.graph import Value

from ..trace.records import checked
from . import nbody
from .box import Box
from .bullfrog import bullfrog
from .cosmology import Cosmology
from .double import double
from .growth import Growth
from .initial import linear_field, linear_modes
from .initial import start as begin
from .lpt import lpt
from .mesh import ParticleMesh
from .nbody import Steps, fastpm
from .particles import Particles
from .power import PowerTable
from .shared import growth_of

STEPPERS = {"fastpm": fastpm, "bullfrog": bullfrog}
INITIAL = ("white", "density")


@checked
def linear_density(
    white: Value,
    cosmo: Cosmology,
    *,
    cell: float,
    a: Any = 1.0,
    power: PowerTable | None = None,
    wiggles: bool = True,
) -> Value:
    """The linear density contrast at a scale factor a, of a box that has the dims of its white noise.

    white: independent normal numbers of variance 1, along three dims. cell: the side of a cell [Mpc/h]. power: a linear
    spectrum of today from elsewhere, as `tabulated_power(k, P)`; wiggles: with baryon acoustic oscillations.
    """
    box, made = box_of(white, cell), growth_of(cosmo)
    return linear_field(linear_modes(white, box, cosmo, growth=made, power=power, wiggles=wiggles), box, made, a)


@checked
def simulate(
    white: Value,
    cosmo: Cosmology,
    *,
    cell: float,
    steps: int = 10,
    start: float = 0.1,
    stop: Any = 1.0,
    order: int = 2,
    stepper: str = "fastpm",
    ratio: int = 1,
    kernel: str = "cic",
    reach: int = 8,
    ownership: str = "auto",
    capacity: int | None = None,
    reversible: bool = True,
    gradient: str = "spectral",
    laplacian: str = "spectral",
    power: PowerTable | None = None,
    wiggles: bool = True,
    initial: str = "white",
) -> Particles:
    """Particles at the scale factor `stop`, one for each element of white noise along three dims.

    They are set up at `start` by perturbation theory of an `order`, 1 or 2, and go on in `steps` of equal size in a,
    each with one computation of gravity; with 0 steps perturbation theory alone tells where they are at `stop`, which
    then may be a quantity of the model. stepper: "fastpm", or "bullfrog", which keeps to second order for steps of
    any size.

    cell: the side of a cell [Mpc/h]. ratio: how many times as fine a dim the mesh is on which gravity is computed;
    kernel: how particles are shared among its cells (ngp, cic, tsc, pcs); reach: by how many of its cells a particle
    may leave its place along a dim that devices split; ownership and capacity: what becomes there of particles that
    leave a device's part, "halo" or "migrate", or "auto" for what a plan finds faster (`ParticleMesh`). reversible:
    whether gradients make states again from the ones after them, with memory that does not grow with the steps, or
    keep them all. gradient and laplacian: "spectral", or "finite" differences as
    in FlowPM and JaxPM. power and wiggles: as in `linear_density`. initial: "white", or "density" where the first
    argument is not white noise but a linear density contrast, grown to today, of one's own.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        shown = "a quantity" if isinstance(steps, Value) else steps
        hint = "0 for perturbation theory alone"
        raise diagnostic("argument", f"a simulation takes a whole number of steps, not {shown}", hint=hint)
    for what, given, known in (("stepper", stepper, STEPPERS), ("initial", initial, INITIAL)):
        if given not in known:
            raise diagnostic("argument", f"unknown {what} '{given}'", hint=f"choose from {', '.join(known)}")
    mesh = ParticleMesh(
        box_of(white, cell, gradient=gradient, laplacian=laplacian), kernel, reach, ratio, capacity, ownership
    )
    made = growth_of(cosmo)
    displaced = lpt(_modes(white, mesh.box, cosmo, made, power, wiggles, initial), mesh.box, order)
    if steps == 0:
        return Particles(*begin(displaced, made, stop), mesh, cosmo, stop)
    times = Steps.even(_number("start", start), _number("stop", stop), steps)
    factors = STEPPERS[stepper](made, times)
    found = nbody.simulate(begin(displaced, made, times.times[0]), mesh, factors, reversible=reversible)
    return Particles(found.displacement, found.momentum, mesh, cosmo, times.times[-1])


def box_of(field: Value, cell: float, **kernels: str) -> Box:
    """The box whose cells are the elements of a field of three dims."""
    field = as_value(field)
    if len(field.dims) != 3 or not field.type.is_real:
        shown = f"{field.type.dtype}[{', '.join(field.dims)}]"
        message = f"a box of matter has three dims and real numbers, but this is {shown}"
        raise diagnostic("type", message, hint="as white[x, y, z] ~ Normal(0, 1)")
    return Box(tuple(Dim(d.name, d.size) for d in field.type.dims), _number("cell", cell), **kernels)


def _modes(
    field: Value, box: Box, cosmo: Cosmology, made: Growth, power: PowerTable | None, wiggles: bool, initial: str
) -> Value:
    """The spectrum of the linear density contrast / D1."""
    if initial == "white":
        return linear_modes(field, box, cosmo, growth=made, power=power, wiggles=wiggles)
    if power is not None:
        message = "a density of one's own has its power already"
        raise diagnostic("argument", message, hint='leave power away, or give white noise: initial = "white"')
    return box.modes(field) * cast(1.0 / made.D1(double(1.0)), current().real)


def _number(name: str, x: Any) -> float:
    if isinstance(x, bool) or not isinstance(x, numbers.Real):
        got = "a quantity of the model" if isinstance(x, Value) else f"'{x}'"
        raise diagnostic("argument", f"{name} is a number known before the data, but got {got}", hint="write it out")
    return float(x)


__all__ = ["INITIAL", "STEPPERS", "box_of", "linear_density", "simulate"]
