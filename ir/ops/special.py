"""Special functions in which the large terms of a log density have already cancelled, as elementwise ops.

A log mass such as k log m - m - log k! is a difference of numbers of size k log k, of which nothing is left in single
precision at k = 1000. Loader (2000), "Fast and accurate computation of binomial probabilities", writes it as
-D(k, m) - S(k), where

    D(k, m) = k log(k / m) + m - k          the deviance: zero at k = m, computed without cancellation
    S(k)    = log k! - k log k + k          what Stirling's formula leaves: log(2 pi k) / 2 + 1 / (12 k) - …

and likewise for the binomial, negative binomial, gamma, beta, Dirichlet and Student t distributions, where k is real.
Each function carries its own derivative. An argument outside the domain gives NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import digamma, gammaln, log_ndtr, ndtri

from .elementwise import Elementwise

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
# B(2j) / (2j (2j - 1)) and B(2j) / (2j): the coefficients of Stirling's series and of its derivative.
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)
_STIRLING_SLOPE = (-1 / 12, 1 / 120, -1 / 252, 1 / 240, -1 / 132)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(10)


def _is_double(x: Any) -> bool:
    return x.dtype == np.float64


def _horner(x: Any, coefficients: Any) -> Any:
    """c0 + c1 x + c2 x² + …"""
    *rest, last = coefficients
    value = jnp.full_like(x, last)
    for c in reversed(rest):
        value = value * x + c
    return value


def _or(condition: Any, x: Any, safe: float) -> Any:
    """x where the condition holds, else a safe argument."""
    return jnp.where(condition, x, jnp.asarray(safe, x.dtype))


@jax.custom_jvp
def deviance(k: Any, m: Any) -> Any:
    """D(k, m) = k log(k / m) + m - k, for k >= 0 and m >= 0; D(0, m) = m and D(k, 0) = inf."""
    # With v = (k - m) / (k + m): k log(k / m) = 2 k atanh(v), so D = (k - m) v + 2 k v (v²/3 + v⁴/5 + …).
    d, s = k - m, k + m
    near = jnp.abs(d) < 0.1 * s
    v = _or(near, d, 0.0) / _or(near, s, 1.0)
    r = v * v
    series = r * _horner(r, [1 / (2 * j + 3) for j in range(8 if _is_double(r) else 4)])
    positive = k > 0
    far = k * jnp.log(_or(positive, k, 1.0) / _or(positive, m, 1.0)) - d
    far = jnp.where(m == jnp.inf, jnp.asarray(jnp.inf, far.dtype), far)
    value = jnp.where(near, d * v + 2 * k * v * series, far)
    return jnp.where((k >= 0) & (m >= 0), value, jnp.asarray(jnp.nan, value.dtype))


@deviance.defjvp
def _deviance_jvp(primals, tangents):
    (k, m), (dk, dm) = primals, tangents
    positive = k > 0
    k1, m1 = _or(positive, k, 1.0), _or(positive, m, 1.0)
    e = (k1 - m1) / m1
    near = jnp.abs(e) < 0.5
    by_k = jnp.where(near, jnp.log1p(_or(near, e, 0.0)), jnp.log(k1 / m1))  # at k = 0, where it is -inf: 0
    return deviance(k, m), by_k * dk + jnp.where(positive, -e, jnp.ones_like(e)) * dm


@jax.custom_jvp
def log_deviance(k: Any, log_m: Any) -> Any:
    """D(k, m) from log m, for k >= 0: finite for means far outside the range of the dtype."""
    u, positive = _log_ratio(k, log_m)
    near = jnp.abs(u) < 0.5
    small = _or(near, u, 0.0)
    terms = 15 if _is_double(u) else 8
    series = small * small * _horner(small, [1 / math.factorial(n) for n in range(2, terms)])
    value = k * jnp.where(near, series, jnp.expm1(u) - u)
    value = jnp.where(positive, value, jnp.exp(log_m))
    return jnp.where(k >= 0, value, jnp.asarray(jnp.nan, value.dtype))


def _log_ratio(k: Any, log_m: Any) -> tuple[Any, Any]:
    """log(m / k), 0 where k is 0, and whether k > 0."""
    positive = k > 0
    return _or(positive, log_m - jnp.log(_or(positive, k, 1.0)), 0.0), positive


@log_deviance.defjvp
def _log_deviance_jvp(primals, tangents):
    (k, log_m), (dk, dm) = primals, tangents
    u, positive = _log_ratio(k, log_m)
    by_log_m = jnp.where(positive, k * jnp.expm1(u), jnp.exp(log_m))
    return log_deviance(k, log_m), -u * dk + by_log_m * dm


@jax.custom_jvp
def stirling(k: Any) -> Any:
    """S(k) = log Gamma(k + 1) - k log k + k, for k >= 0; S(0) = 0."""
    x, y, large = _stirling_ranges(k)
    series = 0.5 * jnp.log(2 * np.pi * x) + _horner(1 / (x * x), _STIRLING) / x
    value = jnp.where(large, series, gammaln(y + 1) - y * jnp.log(y) + y)
    value = jnp.where(k == 0, jnp.zeros_like(value), value)
    return jnp.where(k >= 0, value, jnp.asarray(jnp.nan, value.dtype))


def _stirling_ranges(k: Any) -> tuple[Any, Any, Any]:
    """Safe arguments of the series and of the direct form, and which of the two holds."""
    start = 16.0 if _is_double(k) else 4.0
    large = k >= start
    return _or(large, k, start), _or((k > 0) & ~large, k, 1.0), large


@stirling.defjvp
def _stirling_jvp(primals, tangents):
    (k,), (dk,) = primals, tangents
    x, y, large = _stirling_ranges(k)
    r = 1 / (x * x)
    slope = jnp.where(large, 0.5 / x + r * _horner(r, _STIRLING_SLOPE), digamma(y + 1) - jnp.log(y))
    return stirling(k), _or(k > 0, slope, 0.0) * dk  # at k = 0, where it is inf: 0


@jax.custom_jvp
def log1p_square(x: Any) -> Any:
    """log(1 + x²) without overflow."""
    a = jnp.abs(x)
    large = a > (1e8 if _is_double(a) else 1e4)
    return jnp.where(large, 2 * jnp.log(_or(large, a, 1.0)), jnp.log1p(lax.square(_or(~large, a, 0.0))))


@log1p_square.defjvp
def _log1p_square_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    large = jnp.abs(x) > 1
    outer, inner = _or(large, x, 1.0), _or(~large, x, 0.0)
    slope = jnp.where(large, 2 / (outer + 1 / outer), 2 * inner / (1 + inner * inner))
    return log1p_square(x), slope * dx


@jax.custom_jvp
def log_normal_mass(a: Any, b: Any) -> Any:
    """log P(a < Z < b) of a standard normal Z, for a < b; either bound may be infinite."""
    # By symmetry the interval is put to the left of 0, where the distribution function has its digits.
    flip = a + b > 0
    low, high = jnp.where(flip, -b, a), jnp.where(flip, -a, b)
    # A narrow one loses digits in the difference: there, with centre c and half width h, 2 h phi(c) times the mean of
    # cosh(c t) exp(-t²/2) over t in (0, h), by Gauss-Legendre quadrature.
    h = 0.5 * (high - low)
    narrow = (h < 1) & (jnp.abs(low + high) * h < 2)
    h, c = _or(narrow, h, 1.0), _or(narrow, 0.5 * (low + high), 0.0)
    mean = jnp.zeros_like(h)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        t = h * float(0.5 + 0.5 * node)
        mean = mean + float(0.5 * weight) * jnp.cosh(c * t) * jnp.exp(-0.5 * t * t)
    by_quadrature = jnp.log(2 * h * mean) - 0.5 * c * c - HALF_LOG_2PI
    top = _log_ndtr(_or(~narrow, high, 1.0))
    by_difference = top + jnp.log(-jnp.expm1(_log_ndtr(_or(~narrow, low, 0.0)) - top))
    value = jnp.where(narrow, by_quadrature, by_difference)
    return jnp.where(a < b, value, jnp.asarray(jnp.nan, value.dtype))


def _log_ndtr(x: Any) -> Any:
    """As in JAX, with enough terms of the tail's series for double precision."""
    return log_ndtr(x, series_order=10)


@log_normal_mass.defjvp
def _log_normal_mass_jvp(primals, tangents):
    (a, b), (da, db) = primals, tangents
    mass = log_normal_mass(a, b)
    return mass, _density_over(b, mass) * db - _density_over(a, mass) * da


def _density_over(z: Any, log_mass: Any) -> Any:
    return jnp.exp(-0.5 * z * z - HALF_LOG_2PI - log_mass)


def truncated_normal_quantile(u: Any, a: Any, b: Any) -> Any:
    """The quantile function at u in (0, 1) of a standard normal truncated to (a, b), exact in the far tails.

    There is no gradient through it. After putting the interval to the right of 0, it solves
    log Q(z) = log Q(a) + log(1 - u (1 - Q(b) / Q(a))) for the upper tail Q by Newton's method.
    """
    flip = ~(a + b > 0)
    low, high, u = jnp.where(flip, -b, a), jnp.where(flip, -a, b), jnp.where(flip, 1 - u, u)
    start = _log_ndtr(-low)
    target = start + jnp.log1p(u * jnp.expm1(_log_ndtr(-high) - start))
    tail = target < -10
    z = jnp.where(tail, jnp.sqrt(-2 * _or(tail, target, -1.0)), -ndtri(jnp.exp(_or(~tail, target, -1.0))))
    for _ in range(4):
        log_q = _log_ndtr(-z)
        z = z + (log_q - target) / _density_over(z, log_q)
    z = jnp.clip(z, low, high)
    return lax.stop_gradient(jnp.where(flip, -z, z))


# --- the same as ops ---


@dataclass(frozen=True)
class Deviance(Elementwise):
    """D(k, m) = k log(k / m) + m - k, without cancellation."""

    name: ClassVar[str] = "deviance"
    arity: ClassVar[int] = 2
    cost: ClassVar[float] = 30.0

    def fn(self, k, m):
        return deviance(k, m)


@dataclass(frozen=True)
class LogDeviance(Elementwise):
    """D(k, m) from k and log m, without cancellation or overflow."""

    name: ClassVar[str] = "log_deviance"
    arity: ClassVar[int] = 2
    cost: ClassVar[float] = 50.0

    def fn(self, k, log_m):
        return log_deviance(k, log_m)


@dataclass(frozen=True)
class Stirling(Elementwise):
    """S(k) = log Gamma(k + 1) - k log k + k."""

    name: ClassVar[str] = "stirling"
    cost: ClassVar[float] = 60.0

    def fn(self, k):
        return stirling(k)


@dataclass(frozen=True)
class Log1pSquare(Elementwise):
    """log(1 + x²) without overflow."""

    name: ClassVar[str] = "log1p_square"
    cost: ClassVar[float] = 20.0

    def fn(self, x):
        return log1p_square(x)


@dataclass(frozen=True)
class LogNormalMass(Elementwise):
    """log P(a < Z < b) of a standard normal."""

    name: ClassVar[str] = "log_normal_mass"
    arity: ClassVar[int] = 2
    cost: ClassVar[float] = 300.0

    def fn(self, a, b):
        return log_normal_mass(a, b)


@dataclass(frozen=True)
class TruncatedNormalQuantile(Elementwise):
    """The quantile function of a standard normal truncated to (a, b), at u: op of a draw, without a gradient."""

    name: ClassVar[str] = "truncated_normal_quantile"
    arity: ClassVar[int] = 3
    cost: ClassVar[float] = 800.0

    def fn(self, u, a, b):
        return truncated_normal_quantile(u, a, b)

    def vjp(self, cotangent, result, *operands):
        return (None, None, None)

    @classmethod
    def examples(cls):
        return []


@dataclass(frozen=True)
class StopGradient(Elementwise):
    """The operand itself; no gradient flows back through it."""

    name: ClassVar[str] = "stop_gradient"
    cost: ClassVar[float] = 0.0

    def fn(self, x):
        return lax.stop_gradient(x)

    def vjp(self, cotangent, result, x):
        return (None,)

    @classmethod
    def examples(cls):
        return []
