"""Warm-up: step size by dual averaging, a diagonal metric from windows, both per chain, all of it masked arithmetic.

Per chain and never pooled, so that a chain draws the same whatever the number of chains. What happens at which
transition is data (`Schedule`): warm-up and sampling share one executable.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .space import Space, Vector, add, multiply, subtract

# Hoffman and Gelman (2014), section 3.2.1 and Stan: shrinkage, early-iteration stabiliser, decay of the average.
_GAMMA, _T0, _KAPPA = 0.05, 10.0, 0.75
_SEARCH_ACCEPT = 0.8
_SEARCH_TRIALS = 60
_START, _FIRST_WINDOW, _END = 75, 25, 50
_PRIOR_DRAWS, _PRIOR_VARIANCE = 5.0, 1e-3


class Schedule(NamedTuple):
    """bool[K] each: what to do after each transition."""

    adapt_step: np.ndarray | jax.Array  # one update of the dual averaging
    accumulate: np.ndarray | jax.Array  # the draw enters the running mean and M2
    close_window: np.ndarray | jax.Array  # M2 becomes the metric, a new step-size search begins
    freeze: np.ndarray | jax.Array  # the averaged step size is used from here on; mean and M2 start afresh

    def part(self, start: int, length: int) -> Schedule:
        """Transitions start..start+length, all flags false past the end."""
        return Schedule(*(np.pad(f[start : start + length], (0, max(0, start + length - len(f)))) for f in self))


def make_schedule(warmup: int, draws: int, *, moments: bool = True) -> Schedule:
    """Stan's windows (reference manual, 15.2): 75 fast, then 25, 50, 100, ... slow, then 50 fast; 15/75/10 % if short.

    The last slow window takes what is left when the next, twice as long, would not fit. With `moments` the draws after
    warm-up go on accumulating, so that `Adapt.mean` and `.m2` end as the posterior's.
    """
    start, end, window = _START, _END, _FIRST_WINDOW
    if warmup < start + end + window:
        start, end = int(0.15 * warmup), int(0.1 * warmup)
        window = warmup - start - end
    index = np.arange(warmup + draws)
    close = np.zeros(warmup + draws, bool)
    at = start
    while warmup >= 20 and at < warmup - end:
        fits_another = at + 3 * window <= warmup - end
        at = at + window if fits_another else warmup - end
        close[at - 1] = True
        window *= 2
    slow = (index >= start) & (index < warmup - end)
    sampling = index >= warmup
    return Schedule(index < warmup, slow | (sampling & moments), close, index == warmup - 1)


class Adapt(NamedTuple):
    """What adaptation knows: scalars float64[C] unless said otherwise, vectors as the latents."""

    step_size: jax.Array
    inverse_mass: Vector  # 1 on padding
    mean: Vector
    m2: Vector  # sum of squared deviations
    count: jax.Array
    log_average: jax.Array  # log of the averaged step size
    h_bar: jax.Array
    mu: jax.Array
    updates: jax.Array  # of the dual averaging since its restart
    trial: jax.Array  # int32[C]: which trial of the step-size search is due, 0 when none is
    direction: jax.Array  # of the search: 0 unknown, +1 doubling, -1 halving


def start_adapt(space: Space, step_size: float | None = None, inverse_mass: Vector | None = None) -> Adapt:
    """Before the first transition; without a `step_size` the first thing a block does is to search for one."""

    def each(value: float) -> jax.Array:
        """A buffer of its own for every field: a block may be given them all to overwrite."""
        return jnp.full(space.chains, value, jnp.float64)

    eps = 1.0 if step_size is None else step_size
    return Adapt(
        step_size=each(eps),
        inverse_mass=space.full(1.0) if inverse_mass is None else inverse_mass,
        mean=space.zeros(),
        m2=space.zeros(),
        count=each(0.0),
        log_average=each(math.log(eps)),
        h_bar=each(0.0),
        mu=each(math.log(10 * eps)),
        updates=each(0.0),
        trial=jnp.full(space.chains, int(step_size is None), jnp.int32),
        direction=each(0.0),
    )


def after_trial(adapt: Adapt, tried: jax.Array, energy_error: jax.Array) -> Adapt:
    """Doubles or halves the step size of the chains of `tried` until one leapfrog crosses acceptance 0.8.

    Hoffman and Gelman (2014), algorithm 4, with Stan's threshold. At the crossing the dual averaging restarts there.
    """
    good = jnp.exp(-energy_error) > _SEARCH_ACCEPT
    way = jnp.where(good, 1.0, -1.0)
    crossed = (adapt.direction != 0) & (adapt.direction != way)
    over = crossed | (adapt.trial >= _SEARCH_TRIALS)
    eps = jnp.where(over, adapt.step_size, adapt.step_size * 2.0**way)
    found, goes_on = tried & over, tried & ~over
    return adapt._replace(
        step_size=jnp.where(tried, eps, adapt.step_size),
        trial=jnp.where(found, 0, adapt.trial + goes_on),
        direction=jnp.where(found, 0.0, jnp.where(goes_on, way, adapt.direction)),
        mu=jnp.where(found, jnp.log(10 * eps), adapt.mu),
        log_average=jnp.where(found, jnp.log(eps), adapt.log_average),
        h_bar=jnp.where(found, 0.0, adapt.h_bar),
        updates=jnp.where(found, 0.0, adapt.updates),
    )


def after_transition(
    space: Space, adapt: Adapt, flags: Schedule, accept_stat: jax.Array, position: Vector, target_accept: float
) -> Adapt:
    """Adaptation after a transition, where the flags (bool[C], false for chains that did not end one) say so."""
    adapt = _average(adapt, flags.adapt_step, accept_stat, target_accept)
    adapt = _accumulate(space, adapt, flags.accumulate, position)
    variance = _regularised_variance(space, adapt)
    close, renew = flags.close_window, flags.close_window | flags.freeze
    zeros = space.zeros()
    return adapt._replace(
        inverse_mass=space.where(close, variance, adapt.inverse_mass),
        mean=space.where(renew, zeros, adapt.mean),
        m2=space.where(renew, zeros, adapt.m2),
        count=jnp.where(renew, 0.0, adapt.count),
        trial=jnp.where(close, 1, adapt.trial),
        step_size=jnp.where(flags.freeze, jnp.exp(adapt.log_average), adapt.step_size),
    )


def _average(adapt: Adapt, mask: jax.Array, accept_stat: jax.Array, target_accept: float) -> Adapt:
    """Dual averaging, Hoffman and Gelman (2014), equation 6."""
    t = adapt.updates + 1
    h_bar = (1 - 1 / (t + _T0)) * adapt.h_bar + (target_accept - accept_stat) / (t + _T0)
    log_eps = adapt.mu - jnp.sqrt(t) / _GAMMA * h_bar
    weight = t**-_KAPPA
    log_average = weight * log_eps + (1 - weight) * adapt.log_average
    return adapt._replace(
        updates=jnp.where(mask, t, adapt.updates),
        h_bar=jnp.where(mask, h_bar, adapt.h_bar),
        log_average=jnp.where(mask, log_average, adapt.log_average),
        step_size=jnp.where(mask, jnp.exp(log_eps), adapt.step_size),
    )


def _accumulate(space: Space, adapt: Adapt, mask: jax.Array, position: Vector) -> Adapt:
    """Welford's update of mean and M2."""
    count = adapt.count + mask
    share = 1 / jnp.maximum(count, 1.0)
    delta = subtract(position, adapt.mean)
    mean = space.axpy(share, delta, adapt.mean)
    m2 = add(adapt.m2, multiply(delta, subtract(position, mean)))
    return adapt._replace(count=count, mean=space.where(mask, mean, adapt.mean), m2=space.where(mask, m2, adapt.m2))


def _regularised_variance(space: Space, adapt: Adapt) -> Vector:
    """The window's variances, shrunk as Stan does towards 1e-3 with the weight of 5 draws; 1 on padding."""
    n = adapt.count
    shrunk = n / (n + _PRIOR_DRAWS) / jnp.maximum(n - 1, 1.0)
    floor = _PRIOR_VARIANCE * _PRIOR_DRAWS / (n + _PRIOR_DRAWS)
    variance = {k: space.spread(shrunk, m2) * m2 + space.spread(floor, m2) for k, m2 in adapt.m2.items()}
    return space.keep_real(variance, 1.0)
