"""The expansion of a universe of matter, curvature and dark energy, and distances in it.

    E²(a) = Omega_m a^-3 + Omega_k a^-2 + Omega_de a^(-3 (1 + w0 + wa)) exp(-3 wa (1 - a))          Linder 2003
    chi(a) = c/H0 ∫_a^1 da / (a² E)

Lengths are comoving [Mpc/h], times are in units of 1 / H0, a is 1 today. Distances come from a table along ln a:
Gauss's rule of four points between two knots, and the cubic with the exact slopes there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ir.build import constant, emit, lookup
from ir.graph import Value
from ir.ops.interpolate import Interp
from ir.ops.shape import CumSum

from ..trace.functions import exp, log, sqrt
from .cosmology import SPEED_OF_LIGHT, Cosmology
from .double import double, in_double
from .grid import Grid

GRID = Grid("~lna_chi", 128)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(4)


# --- what is known in closed form ---


@in_double
def hubble(cosmo: Cosmology, a: Any) -> Value:
    """E(a) = H / H0 at the scale factor a, of any dims."""
    return sqrt(square_hubble(cosmo, a))


@in_double
def square_hubble(cosmo: Cosmology, a: Any) -> Value:
    """E(a)²."""
    matter, curvature, dark = _densities(cosmo, a)
    return matter + curvature + dark


@in_double
def hubble_slope(cosmo: Cosmology, a: Any) -> Value:
    """d ln E / d ln a."""
    matter, curvature, dark = _densities(cosmo, a)
    rate = 1.0 + cosmo.w0 + cosmo.wa * (1.0 - a)  # 1 + w(a)
    return (-3.0 * matter - 2.0 * curvature - 3.0 * rate * dark) / (2.0 * (matter + curvature + dark))


@in_double
def matter_fraction(cosmo: Cosmology, a: Any) -> Value:
    """Omega_m(a) = Omega_m a^-3 / E²."""
    matter, curvature, dark = _densities(cosmo, a)
    return matter / (matter + curvature + dark)


def _densities(cosmo: Any, a: Any) -> tuple[Value, Value, Value]:
    """Matter, curvature and dark energy in units of today's critical density."""
    dark = exp(-3.0 * ((1.0 + cosmo.w0 + cosmo.wa) * log(a) + cosmo.wa * (1.0 - a)))
    return cosmo.Omega_m / a**3, cosmo.Omega_k / a**2, cosmo.Omega_de * dark


# --- distances ---


@dataclass(frozen=True)
class Distances:
    """The table of comoving distance of one cosmology; made by `distances`."""

    cosmo: Cosmology
    chi: Value
    """Along the knots [Mpc/h], negative after today."""
    slope: Value
    """d chi / d ln a."""

    @in_double
    def comoving(self, a: Any) -> Value:
        """Comoving distance chi(a) along the line of sight [Mpc/h]."""
        return GRID.curve(a, self.chi, self.slope)

    @in_double
    def transverse(self, a: Any) -> Value:
        """Comoving distance across the line of sight [Mpc/h]: a times it is the angular diameter distance.

        sinh(√x) / √x times chi for x = Omega_k (chi H0 / c)², as its power series, which holds for both signs of the
        curvature; its error is 1e-15 for |x| < 10 and 1e-10 for |x| < 30.
        """
        chi = GRID.curve(a, self.chi, self.slope)
        x = self.cosmo.Omega_k * (chi / SPEED_OF_LIGHT) ** 2
        series = constant(1.0, "f64")
        for n in range(14, 0, -1):
            series = 1.0 + series * x / float(2 * n * (2 * n + 1))
        return chi * series

    @in_double
    def scale_factor(self, chi: Any) -> Value:
        """a at a comoving distance [Mpc/h] along the line of sight."""
        knots, ln_a, slope = (GRID.reversed(x) for x in (self.chi, GRID.ln_a(), 1.0 / self.slope))
        return exp(emit(Interp(GRID.dim, "hermite", "nan"), chi, knots, ln_a, slope))


def distances(cosmo: Cosmology) -> Distances:
    """The table of distances. `wa` and `w0` may be anything for which E² stays positive."""
    cosmo = cosmo.in_double()
    between = double(0.0)  # of each knot and the next
    for node, weight in zip(_NODES.tolist(), _WEIGHTS.tolist(), strict=True):
        between = between - weight * GRID.step / 2 * _slope(cosmo, exp(GRID.ln_a((1 + node) / 2)))
    after = emit(CumSum(GRID.dim, reverse=True), between)
    return Distances(cosmo, after - lookup(after, {GRID.dim: GRID.today}), _slope(cosmo, exp(GRID.ln_a())))


def _slope(cosmo: Cosmology, a: Value) -> Value:
    """d chi / d ln a = -c / (a H)."""
    return -SPEED_OF_LIGHT / (a * hubble(cosmo, a))


@in_double
def comoving_distance(cosmo: Cosmology, a: Any) -> Value:
    """`distances(cosmo).comoving(a)`: for one look-up, or several, as equal tables become one."""
    return distances(cosmo).comoving(a)


@in_double
def transverse_distance(cosmo: Cosmology, a: Any) -> Value:
    """`distances(cosmo).transverse(a)`."""
    return distances(cosmo).transverse(a)


@in_double
def scale_factor(cosmo: Cosmology, chi: Any) -> Value:
    """`distances(cosmo).scale_factor(chi)`."""
    return distances(cosmo).scale_factor(chi)
