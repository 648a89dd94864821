"""Gamma, Poisson and binomial draws from counted attempts: still pure functions of (key, global index).

A rejection sampler needs an unknown number of random bits. Attempt t of every element uses the key `derive(key, t)`,
and an element keeps its first accepted proposal: what it gets depends on its own attempts only, never on its
neighbours or on how the tensor was cut. The loop runs until all elements of the block are done and holds no collective,
so blocks may take different numbers of rounds. Invalid parameters give NaN at once; no valid element needs more rounds
than `_ROUNDS`.

Counts come back as whole numbers in the dtype of their parameter (float32 holds them exactly up to 2^24).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .counter import Index, Key, derive, exponential, normal, uniform

_ROUNDS = 4096
_FEW = 10.0
"""Expected counts below this are drawn by arrivals (exact, about count + 1 rounds), others by transformed rejection."""


def _first_accepted(key: Key, done: jax.Array, value: jax.Array, propose: Callable) -> jax.Array:
    """Repeats `propose(attempt key) -> (proposal, accepted)` for the elements that are not done."""

    def attempt(carry):
        t, done, value = carry
        proposal, accepted = propose(derive(key, t))
        return t + np.uint32(1), done | accepted, jnp.where(accepted & ~done, proposal, value)

    def unfinished(carry):
        return jnp.any(~carry[1]) & (carry[0] < np.uint32(_ROUNDS))

    return lax.while_loop(unfinished, attempt, (jnp.uint32(0), done, value))[2]


def _template(key: Key, index: Index, *parameters: jax.Array) -> tuple[np.dtype, tuple[int, ...], list[jax.Array]]:
    """The common dtype and shape of a draw, and the parameters in it."""
    dtype = jnp.result_type(*parameters)
    shape = jnp.broadcast_shapes(*(jnp.shape(x) for x in (*key, *index, *parameters)))
    return dtype, shape, [jnp.broadcast_to(jnp.asarray(p, dtype), shape) for p in parameters]


def gamma(key: Key, index: Index, concentration: jax.Array, *, log: bool = False) -> jax.Array:
    """Gamma of any positive concentration and rate 1; with `log`, its logarithm (needed for concentrations << 1).

    Marsaglia and Tsang (2000), "A simple method for generating gamma variables", equations of section 2; concentrations
    below 1 by their note: gamma(a) = gamma(a + 1) u^(1/a). The dtype is that of the concentration.
    """
    dtype, shape, (a,) = _template(key, index, concentration)
    one = dtype.type(1)
    boosted = jnp.where(a < one, a + one, a)
    d = boosted - dtype.type(1 / 3)
    c = dtype.type(1) / jnp.sqrt(dtype.type(9) * d)

    def propose(attempt: Key):
        x = normal(derive(attempt, 0), index, dtype)
        log_u = -exponential(derive(attempt, 1), index, dtype)
        positive = c * x > -one
        log_v = dtype.type(3) * jnp.log1p(jnp.where(positive, c * x, dtype.type(0)))
        # d (1 - v + log v) by expm1: its error is eps sqrt(d), not eps d.
        accepted = positive & (log_u < dtype.type(0.5) * x * x - d * (jnp.expm1(log_v) - log_v))
        return log_v, accepted

    invalid = ~((a > 0) & jnp.isfinite(a))
    log_v = _first_accepted(key, invalid, jnp.full(shape, np.nan, dtype), propose)
    boost = jnp.where(a < one, -exponential(derive(key, _ROUNDS), index, dtype) / a, dtype.type(0))
    if log:
        return jnp.log(d) + log_v + boost
    return d * jnp.exp(log_v) * jnp.exp(boost)


def _arrivals(key: Key, index: Index, done: jax.Array, budget: jax.Array, limit: jax.Array | None) -> jax.Array:
    """How many exponential waiting times fit into `budget`; with a `limit` n, the i-th is divided by n - i.

    Without a limit the count is Poisson(budget); with it, binomial(limit, 1 - exp(-budget)): the spacings of the order
    statistics of n exponentials (Devroye, 1986, "Non-uniform random variate generation", X.3.3 and X.4.3).
    """
    dtype = budget.dtype

    def arrive(carry):
        i, done, left, count = carry
        wait = exponential(derive(key, i), index, dtype)
        if limit is not None:
            remaining = limit - count
            wait = jnp.where(remaining > 0, wait / jnp.maximum(remaining, dtype.type(1)), dtype.type(np.inf))
        left = jnp.where(done, left, left - wait)
        done = done | (left <= 0)
        return i + np.uint32(1), done, left, jnp.where(done, count, count + dtype.type(1))

    def unfinished(carry):
        return jnp.any(~carry[1]) & (carry[0] < np.uint32(_ROUNDS))

    start = (jnp.uint32(0), done, budget, jnp.zeros(budget.shape, dtype))
    return lax.while_loop(unfinished, arrive, start)[3]


def _stirling_error(k: jax.Array) -> jax.Array:
    """log k! - log(sqrt(2 pi k) (k/e)^k), for whole k >= 1 (Loader 2000, equation 4: an asymptotic series)."""
    t = k.dtype.type
    small = k < 16
    table = np.array([0.0, *_STIRLING], dtype=k.dtype)
    looked_up = jnp.asarray(table)[jnp.where(small, jnp.maximum(k, t(0)), t(0)).astype(jnp.int32)]
    x = jnp.where(small, t(16), k)
    r = t(1) / (x * x)
    series = (t(1 / 12) - r * (t(1 / 360) - r * (t(1 / 1260) - r * (t(1 / 1680) - r * t(1 / 1188))))) / x
    return jnp.where(small, looked_up, series)


def _stirling_table() -> list[float]:
    """The Stirling error of 1..15, from log-factorials in double precision."""
    k = np.arange(1.0, 16.0)
    return list(np.cumsum(np.log(k)) - (0.5 * np.log(2 * np.pi * k) + k * np.log(k) - k))


_STIRLING = _stirling_table()


def _deviance(k: jax.Array, mean: jax.Array) -> jax.Array:
    """k log(k/mean) + mean - k without cancellation (Loader 2000, equation 5): of order one where k is typical."""
    t = k.dtype.type
    d = (k - mean) / mean
    near = jnp.abs(d) < t(0.1)
    e = jnp.where(near, d, t(0))
    # (1 + e) log(1 + e) - e = sum over n >= 2 of (-e)^n / (n (n - 1)).
    terms = 9 if k.dtype == np.float32 else 17
    series = jnp.zeros_like(e)
    for n in range(terms, 1, -1):
        series = series * -e + t(1 / (n * (n - 1)))
    far = jnp.where(k > 0, k * jnp.log(jnp.maximum(k, t(1)) / mean), t(0)) + mean - k
    return jnp.where(near, mean * e * e * series, far)


def _log_half(k: jax.Array) -> jax.Array:
    """log sqrt(2 pi k) + Stirling error: what remains of log k! beside k log k - k; 0 at k = 0."""
    t = k.dtype.type
    return jnp.where(k > 0, t(0.5) * jnp.log(t(2 * np.pi) * jnp.maximum(k, t(1))) + _stirling_error(k), t(0))


def _transformed_rejection(key, index, done, spread, centre, shift, scale, squeeze, log_mass, low, high):
    """Hörmann's transformed rejection with squeeze; `scale` and `log_mass` are relative to the same constant."""
    dtype = spread.dtype
    t = dtype.type
    hat, b = shift, spread

    def propose(attempt: Key):
        u = uniform(derive(attempt, 0), index, dtype) - t(0.5)
        e = exponential(derive(attempt, 1), index, dtype)  # -log v
        v = jnp.exp(-e)
        us = t(0.5) - jnp.abs(u)
        us = jnp.maximum(us, t(np.finfo(dtype).tiny))
        k = jnp.floor((t(2) * hat / us + b) * u + centre)
        inside = (k >= low) & (k <= high)
        kk = jnp.where(inside, k, low)
        accepted = -e + jnp.log(scale / (hat / (us * us) + b)) <= log_mass(kk)
        return k, inside & (((us >= t(0.07)) & (v <= squeeze)) | accepted)

    return _first_accepted(key, done, jnp.full(spread.shape, np.nan, dtype), propose)


def poisson(key: Key, index: Index, rate: jax.Array) -> jax.Array:
    """Poisson of any rate >= 0, as whole numbers in the rate's dtype.

    Rates below 10 count unit-exponential arrivals, exact in the far tail too (a uniform of 24 bits is not: at 10^10
    voxels of rate 0.1 it misplaces every count above 4). Others use PTRS of Hörmann (1993), "The transformed rejection
    method for generating Poisson random variables", with log-probabilities in Loader's form (2000, "Fast and accurate
    computation of binomial probabilities"), which float32 can hold at any rate.
    """
    dtype, _, (rate,) = _template(key, index, rate)
    t = dtype.type
    valid = (rate >= 0) & jnp.isfinite(rate)
    few = valid & (rate < t(_FEW))
    count = _arrivals(derive(key, 0), index, ~few, jnp.where(few, rate, t(0)), None)

    mean = jnp.where(valid & ~few, rate, t(_FEW))
    b = t(0.931) + t(2.53) * jnp.sqrt(mean)
    a = t(-0.059) + t(0.02483) * b
    scale = t(1.1239) + t(1.1328) / (b - t(3.4))
    squeeze = t(0.9277) - t(3.6224) / (b - t(2))

    def log_mass(k):
        return -_deviance(k, mean) - _log_half(k)

    args = (b, mean + t(0.43), a, scale, squeeze, log_mass, t(0), t(np.inf))
    many = _transformed_rejection(derive(key, 1), index, few | ~valid, *args)
    return jnp.where(few, count, many)


def binomial(key: Key, index: Index, total: jax.Array, probability: jax.Array) -> jax.Array:
    """Binomial of `total` trials and `probability` in [0, 1], as whole numbers in the probability's dtype.

    Fewer than 10 expected (after exchanging successes and failures so that p <= 1/2) by arrivals, others by BTRS of
    Hörmann (1993), "The generation of binomial random variates", J. Stat. Comput. Simul. 46, algorithm BTRS.
    """
    dtype, _, (n, p) = _template(key, index, jnp.asarray(total, jnp.result_type(probability)), probability)
    t = dtype.type
    valid = (n >= 0) & jnp.isfinite(n) & (p >= 0) & (p <= 1)
    flip = p > t(0.5)
    p = jnp.where(valid, jnp.where(flip, t(1) - p, p), t(0))
    few = valid & (n * p < t(_FEW))
    count = _arrivals(derive(key, 0), index, ~few, jnp.where(few, -jnp.log1p(-p), t(0)), jnp.where(valid, n, t(0)))

    trials = jnp.where(valid & ~few, n, t(100))
    success = jnp.where(valid & ~few, p, t(0.5))
    failure = t(1) - success
    deviation = jnp.sqrt(trials * success * failure)
    b = t(1.15) + t(2.53) * deviation
    a = t(-0.0873) + t(0.0248) * b + t(0.01) * success
    alpha = (t(2.83) + t(5.1) / b) * deviation
    squeeze = t(0.92) - t(4.2) / b

    def log_mass(k):
        rest = trials - k
        return -_deviance(k, trials * success) - _deviance(rest, trials * failure) - _log_half(k) - _log_half(rest)

    mode_mass = log_mass(jnp.floor((trials + t(1)) * success))
    args = (b, trials * success + t(0.5), a, alpha, squeeze, lambda k: log_mass(k) - mode_mass, t(0), trials)
    many = _transformed_rejection(derive(key, 1), index, few | ~valid, *args)
    drawn = jnp.where(few, count, many)
    return jnp.where(flip, n - drawn, drawn)
