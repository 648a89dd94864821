"""Linear and second-order growth of matter, and the steps of a FastPM simulation.

With ' = d / d ln a, p = 2 + E'/E and q = 1.5 Omega_m(a) (Bouchet et al. 1995)

    D1'' + p D1' - q D1 = 0            D1 -> a
    D2'' + p D2' - q D2 = q D1²        D2 -> 3/7 a²           in the matter era: no growth is 1 today

so that x = q + D1 s1 + D2 s2 with D2 > 0. What is integrated is G1 = D1 / a and G2 = D2 / a², constant in the matter
era, as in pmwd: by Runge and Kutta's fourth-order rule along ln a. The start knows curvature and
dark energy to first order: a component that is r = (its density / matter's) ∝ a^n adds to G1 and G2 (by putting
the series into the equations)

    1 + g r,  g = -(3 + n) / (n (2 n + 5))         3/7 (1 + g2 r),  g2 = (7 g - 5 - n) / ((n + 1) (n + 3.5))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ir.build import current
from ir.build_scan import ScanBuilder
from ir.graph import Value

from ..trace.functions import exp, where
from .background import hubble, hubble_slope, matter_fraction
from .cosmology import Cosmology
from .double import double, in_double
from .grid import A_MIN, Grid

GRID = Grid("~lna", 32)
State = tuple[Value, Value, Value, Value]
"""G1, G1', G2, G2'."""


@dataclass(frozen=True)
class Growth:
    """The tables of one cosmology's growth; made by `growth`. Methods take scale factors of any dims, A_MIN to A_MAX.

    A `d` before a name is a derivative in ln a. The FastPM factors are those of Feng et al. 2016 as Li et al. 2024
    (arXiv:2211.09815) write them: momenta are p = a² dx/dt and accelerations the gradient of the potential
    -1.5 Omega_m delta / k², with 1 / a left out.
    """

    cosmo: Cosmology
    table: State
    """G1, G1', G2 and G2' along the knots."""
    slopes: State
    """Their derivatives in ln a."""

    def _at(self, a: Any, i: int) -> Value:
        return GRID.curve(a, self.table[i], self.slopes[i])

    @in_double
    def D1(self, a: Any) -> Value:
        """First-order growth, a in the matter era."""
        return a * self._at(a, 0)

    @in_double
    def dD1(self, a: Any) -> Value:
        """D1' = dD1 / d ln a."""
        return a * (self._at(a, 0) + self._at(a, 1))

    @in_double
    def ddD1(self, a: Any) -> Value:
        """D1'', by the growth equation."""
        p, q = _coefficients(self.cosmo, a)
        return q * self.D1(a) - p * self.dD1(a)

    @in_double
    def D2(self, a: Any) -> Value:
        """Second-order growth, 3/7 a² in the matter era, positive."""
        return a**2 * self._at(a, 2)

    @in_double
    def dD2(self, a: Any) -> Value:
        """D2' = dD2 / d ln a."""
        return a**2 * (2.0 * self._at(a, 2) + self._at(a, 3))

    @in_double
    def ddD2(self, a: Any) -> Value:
        """D2'', by the growth equation."""
        p, q = _coefficients(self.cosmo, a)
        return q * (self.D2(a) + self.D1(a) ** 2) - p * self.dD2(a)

    @in_double
    def f1(self, a: Any) -> Value:
        """d ln D1 / d ln a."""
        return 1.0 + self._at(a, 1) / self._at(a, 0)

    @in_double
    def f2(self, a: Any) -> Value:
        """d ln D2 / d ln a."""
        return 2.0 + self._at(a, 3) / self._at(a, 2)

    @in_double
    def G_D(self, a: Any) -> Value:
        """a² E D1': the momentum in the Zel'dovich approximation is G_D s1."""
        return a**2 * hubble(self.cosmo, a) * self.dD1(a)

    @in_double
    def G_K(self, a: Any) -> Value:
        """a³ E² (D1'' + (2 + E'/E) D1'), which the growth equation makes 1.5 Omega_m D1: the acceleration of s1."""
        return 1.5 * self.cosmo.Omega_m * self.D1(a)

    @in_double
    def drift(self, start: Any, stop: Any, at: Any) -> Value:
        """What a momentum at `at` is multiplied by for the displacement from `start` to `stop`."""
        return (self.D1(stop) - self.D1(start)) / self.G_D(at)

    @in_double
    def kick(self, start: Any, stop: Any, at: Any) -> Value:
        """What an acceleration at `at` is multiplied by for the change of momentum from `start` to `stop`."""
        return (self.G_D(stop) - self.G_D(start)) / self.G_K(at)


def growth(cosmo: Cosmology) -> Growth:
    """The growth of a cosmology: one recurrence of 259 steps. Make it once, and hand it on."""
    cosmo = cosmo.in_double()
    stages = [_second_derivatives(cosmo, ahead) for ahead in (0.0, 0.5, 1.0)]
    scan = ScanBuilder(current(), GRID.knots, "growth")
    first = _start(cosmo)
    with scan:
        state = tuple(scan.carry(f"G{i}", x) for i, x in enumerate(first))
        low, middle, high = ([scan.slice(x) for x in stage] for stage in stages)
        k1 = _rate(state, low)
        k2 = _rate(_moved(state, k1, GRID.step / 2), middle)
        k3 = _rate(_moved(state, k2, GRID.step / 2), middle)
        k4 = _rate(_moved(state, k3, GRID.step), high)
        mean = [a + 2.0 * (b + c) + d for a, b, c, d in zip(k1, k2, k3, k4, strict=True)]
        scan.close(_moved(state, mean, GRID.step / 6), {str(i): x for i, x in enumerate(state)})
    _, outputs = scan.emit()
    g1, dg1, g2, dg2 = table = tuple(outputs[str(i)] for i in range(4))
    rates = _rate(table, stages[0])
    return Growth(cosmo, (g1, dg1, g2, dg2), (rates[0], rates[1], rates[2], rates[3]))


def _moved(state: Any, rate: Any, by: float) -> list[Value]:
    return [x + by * v for x, v in zip(state, rate, strict=True)]


def _rate(state: Any, coefficients: Any) -> list[Value]:
    """The derivatives of G1, G1', G2, G2'."""
    (g1, dg1, g2, dg2), (b, c, d, e, q) = state, coefficients
    return [dg1, -(b * dg1 + c * g1), dg2, q * g1**2 - (d * dg2 + e * g2)]


def _second_derivatives(cosmo: Cosmology, ahead: float) -> list[Value]:
    """(b, c, d, e, q) at the knots or ahead: G1'' = -b G1' - c G1 and G2'' = -d G2' - e G2 + q G1²."""
    p, q = _coefficients(cosmo, exp(GRID.ln_a(ahead)))
    return [2.0 + p, 1.0 + p - q, 4.0 + p, 4.0 + 2.0 * p - q, q]


def _coefficients(cosmo: Cosmology, a: Any) -> tuple[Value, Value]:
    return 2.0 + hubble_slope(cosmo, a), 1.5 * matter_fraction(cosmo, a)


def _start(cosmo: Any) -> State:
    """The state at the first knot, to first order in what is not matter."""
    early = -3.0 * (cosmo.w0 + cosmo.wa)
    early = where(early > 0.0, early, float("nan"))  # else dark energy does not vanish in the past
    dark = cosmo.Omega_de / cosmo.Omega_m * exp(-3.0 * cosmo.wa) * A_MIN**early
    curvature = cosmo.Omega_k / cosmo.Omega_m * A_MIN
    g1, dg1, g2, dg2 = double(1.0), double(0.0), double(1.0), double(0.0)
    for n, r in ((early, dark), (double(1.0), curvature)):
        first = -(3.0 + n) / (n * (2.0 * n + 5.0))
        second = (7.0 * first - 5.0 - n) / ((n + 1.0) * (n + 3.5))
        g1, dg1, g2, dg2 = g1 + first * r, dg1 + first * n * r, g2 + second * r, dg2 + second * n * r
    return g1, dg1, 3 / 7 * g2, 3 / 7 * dg2


@in_double
def growth_factor(cosmo: Cosmology, a: Any) -> Value:
    """D1(a) / D1(1)."""
    made = growth(cosmo)
    return made.D1(a) / made.D1(double(1.0))


@in_double
def growth_rate(cosmo: Cosmology, a: Any) -> Value:
    """f1 = d ln D1 / d ln a."""
    return growth(cosmo).f1(a)


__all__ = ["Growth", "growth", "growth_factor", "growth_rate"]
