"""The linear power spectrum of matter P(k) [(Mpc/h)³], P = 0 at k = 0; wavenumbers k [h/Mpc].

    P(k, a) = A(a) k^n_s T²(k)

with A from sigma8, which fixes the rms of the density in spheres of 8 Mpc/h today, or from A_s as in pmwd,

    k³ P / (2 pi²) = 4/25 A_s (k / k_p)^(n_s - 1) T² (c k / H0)⁴ (D1(a) / Omega_m)²,  k_p = 0.05 / Mpc.

On the modes of a field P is had from the formula itself (`linear_power`, exact, a hundred operations a mode), or from a
table (`power_table`, `tabulated_power`, for which a mode is a logarithm, a look-up and an exponential).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from ir.build import as_value, binary, cast, current, diagnostic, emit
from ir.dims import Dim
from ir.graph import Value
from ir.ops.create import Coordinate
from ir.ops.interpolate import Interp, Slopes
from ir.ops.reduce import Sum

from ..trace.functions import cos, exp, log, sin, sqrt, where
from ..trace.records import Record
from .cosmology import SPEED_OF_LIGHT, Cosmology
from .double import double, in_double
from .growth import Growth, growth
from .transfer import transfer, transfer_no_wiggle

_BALL = (math.log(1e-4), math.log(40.0), 1024)
"""ln(k R / 8) of the integral over spheres, and its number of points: what is left out is below 1e-9."""
_TABLE = (-12.0, 6.0, 1 / 64)
"""ln k of `power_table`: from 6e-6 to 403 h/Mpc."""


@in_double
def linear_power(
    cosmo: Cosmology, k: Any, a: Any = None, *, growth: Growth | None = None, wiggles: bool = True
) -> Value:
    """P(k) at the scale factor a (default: today), of any dims.

    `growth`: that of the cosmology where it has been made already. `wiggles`: with baryon acoustic oscillations.
    """
    amplitude = _amplitude(cosmo, a, growth, wiggles)
    zero = binary("eq", k, 0.0)
    return where(zero, 0.0, amplitude * _shape(cosmo, where(zero, 1.0, k), wiggles))


@in_double
def sigma(cosmo: Cosmology, radius: Any = 8.0, *, wiggles: bool = True) -> Value:
    """The rms of the linear density today in spheres of a radius [Mpc/h] of any dims."""
    return sqrt(_amplitude(cosmo, None, None, wiggles) * _variance(cosmo, radius, wiggles))


@in_double
def sigma8(cosmo: Cosmology) -> Value:
    """The rms of the linear density today in spheres of 8 Mpc/h: the parameter itself, or what A_s makes of it."""
    return double(cosmo.sigma8) if cosmo.sigma8 is not None else sigma(cosmo, double(8.0))


def _shape(cosmo: Any, k: Value, wiggles: bool) -> Value:
    """k^n_s T²(k), for k > 0."""
    return exp(cosmo.n_s * log(k)) * (transfer if wiggles else transfer_no_wiggle)(cosmo, k) ** 2


def _amplitude(cosmo: Any, a: Value | None, made: Growth | None, wiggles: bool) -> Value:
    """A(a)."""
    if cosmo.sigma8 is not None:
        today = cosmo.sigma8**2 / _variance(cosmo, double(8.0), wiggles)
        if a is None:
            return today
        made = made or growth(cosmo)
        return today * (made.D1(a) / made.D1(double(1.0))) ** 2
    if cosmo.A_s is None:
        hint = "give it one, as sigma8 = 0.81 or A_s = 2.1e-9"
        raise diagnostic("argument", "a cosmology without sigma8 or A_s has no power spectrum", hint=hint)
    made = made or growth(cosmo)
    pivot = exp((cosmo.n_s - 1.0) * log(cosmo.h / 0.05))
    potential = (8 * math.pi**2 / 25 * SPEED_OF_LIGHT**4) * cosmo.A_s * pivot
    return potential * (made.D1(double(1.0) if a is None else a) / cosmo.Omega_m) ** 2


def _variance(cosmo: Any, radius: Value, wiggles: bool) -> Value:
    """∫ d ln k k³ P / (2 pi²) W²(k R) for P = k^n_s T², W(x) = 3 (sin x - x cos x) / x³: by equal steps in ln k.

    The integrand and all its derivatives vanish at both ends, where equal steps have no error but from what they leave
    out; at k R < 1e-2 the cancellation in W costs digits, but the integrand is 1e-10 of its peak there.
    """
    low, high, count = _BALL
    step = (high - low) / (count - 1)
    x = 8.0 * exp(emit(Coordinate(Dim("~lnk", count), "index", 0, "f64")) * step + low)
    window = 3.0 * (sin(x) - x * cos(x)) / x**3
    k = x / radius
    return emit(Sum(("~lnk",)), k**3 * _shape(cosmo, k, wiggles) * window**2) * (step / (2 * math.pi**2))


# --- tables ---


@dataclass(frozen=True)
class PowerTable(Record):
    """A power spectrum between knots: the cubics in log k and log P with the slopes of quartics at the knots.

    `knots`: ln k, none for a uniform grid from `start` by `step`. Outside of them P is NaN, but for P(0) = 0.
    """

    kind: ClassVar[str] = "a table of linear power"
    made_by: ClassVar[str] = "tabulated_power(k, P)"

    dim: str
    log_power: Value
    slopes: Value
    knots: Value | None = None
    start: float = 0.0
    step: float = 0.0

    def __call__(self, k: Any) -> Value:
        """P at wavenumbers of any dims, in their dtype: in float32 exact to 3e-6, in float64 to the table's error."""
        k = as_value(k)
        k = k if k.type.is_real else cast(k, current().real)
        tables = [cast(x, k.type.dtype) for x in (self.knots, self.log_power, self.slopes) if x is not None]
        zero = binary("eq", k, 0.0)
        inside = self.start + self.step if self.knots is None else tables[0][{self.dim: 1}]
        ln_k = where(zero, inside, log(where(zero, 1.0, k)))
        op = Interp(self.dim, "hermite", "nan", self.start, self.step)
        return where(zero, 0.0, exp(emit(op, ln_k, *tables)))


def power_table(cosmo: Cosmology, a: Any = None, *, growth: Growth | None = None, wiggles: bool = True) -> PowerTable:
    """`linear_power` as a table from 6e-6 to 403 h/Mpc, exact to 2e-6."""
    cosmo, (start, stop, step) = cosmo.in_double(), _TABLE
    knots = Dim("~lnk_table", round((stop - start) / step) + 1)
    k = exp(emit(Coordinate(knots, "index", 0, "f64")) * step + start)
    power = log(linear_power(cosmo, k, a, growth=growth, wiggles=wiggles))
    return PowerTable(knots.name, power, emit(Slopes(knots.name, step), power), None, start, step)


def tabulated_power(k: Value, power: Value) -> PowerTable:
    """The spectrum through given points, as of CAMB or CLASS: P > 0 at wavenumbers k > 0 that ascend along one dim.

    Where they do not ascend, or are not positive, all of P is NaN.
    """
    if len(k.dims) != 1 or k.dims[0] not in power.type:
        raise diagnostic(
            "argument",
            f"a spectrum is tabulated at wavenumbers along one dim, but k has [{', '.join(k.dims)}]"
            f" and P has [{', '.join(power.dims)}]",
            hint='as k: ppl.Data["k"], power: ppl.Data["k"]',
        )
    (dim,) = k.dims
    knots, log_power = log(double(k)), log(double(power))
    return PowerTable(dim, log_power, emit(Slopes(dim), knots, log_power), knots)


__all__ = ["PowerTable", "linear_power", "power_table", "sigma", "sigma8", "tabulated_power"]
