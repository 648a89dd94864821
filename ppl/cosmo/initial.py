"""Initial conditions: the linear density of white noise and a power spectrum, and where particles start.

White noise w of variance 1 gives the modes delta_k = sqrt(P(k) / volume of a cell) w_k (transforms as NumPy's), whose
power is P. Spectra here are those of the density divided by its growth D1, as `lpt` takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ir.build import cast, current
from ir.graph import Value

from ..trace.functions import sqrt
from .background import hubble
from .box import Box
from .cosmology import Cosmology
from .double import double
from .growth import Growth, growth
from .lpt import Displacements, Vector
from .power import power_table

Power = Callable[[Value], Value]
"""P(k) [(Mpc/h)^3] of wavenumbers k [h/Mpc] of any dims, today and linear: 0 at k = 0."""


def linear_modes(
    white: Value,
    box: Box,
    cosmo: Cosmology,
    *,
    growth: Growth | None = None,
    power: Power | None = None,
    wiggles: bool = True,
) -> Value:
    """The spectrum of the linear density contrast / D1, from white noise on the box.

    power: another spectrum of today than the cosmology's, as `tabulated_power` of a Boltzmann code's output. By default
    it is the table of the cosmology's (`power_table`), exact to 2e-6.
    """
    made = growth or _growth(cosmo)
    power = power or power_table(cosmo, growth=made, wiggles=wiggles)
    k = sqrt(box.squared()) * (1 / box.cell)
    amplitude = sqrt(power(k) * (1 / box.volume)) * _real(1.0 / made.D1(double(1.0)))
    return amplitude * box.modes(white)


def linear_field(modes: Value, box: Box, growth: Growth, a: Any = 1.0) -> Value:
    """The linear density contrast at a scale factor, from `linear_modes`."""
    return box.field(_real(growth.D1(double(a))) * modes)


def start(displacements: Displacements, growth: Growth, a: Any) -> tuple[Vector, Vector]:
    """(displacements [cells], momenta a^2 dx/dt [cells, H0 = 1]) of perturbation theory at a scale factor."""
    a = double(a)
    turning = a * a * hubble(growth.cosmo, a)
    first, second = _real(growth.D1(a)), _real(growth.D2(a))
    momentum = _real(turning * growth.dD1(a)), _real(turning * growth.dD2(a))
    return displacements.at(first, second), displacements.at(*momentum)


def _real(x: Value) -> Value:
    return cast(x, current().real)


_growth = growth

__all__ = ["Power", "linear_field", "linear_modes", "start"]
