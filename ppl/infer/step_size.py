"""The step size: a search by doubling and halving, then dual averaging; all of it masked arithmetic, per chain."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Hoffman and Gelman (2014), section 3.2.1 and Stan: shrinkage, early-iteration stabiliser, decay of the average.
_GAMMA, _T0, _KAPPA = 0.05, 10.0, 0.75
_SEARCH_ACCEPT = 0.8
_SEARCH_TRIALS = 60
LARGEST = math.pi
"""No step size exceeds it: in whitened coordinates, where a unit normal's leapfrog is stable below 2."""


class StepSize(NamedTuple):
    """Scalars float64[C] unless said otherwise."""

    value: jax.Array
    log_average: jax.Array  # log of the averaged step size
    h_bar: jax.Array
    mu: jax.Array
    updates: jax.Array  # of the dual averaging since its restart
    trial: jax.Array  # int32[C]: which trial of the search is due, 0 when none is
    direction: jax.Array  # of the search: 0 unknown, +1 doubling, -1 halving


def start_step_size(value: jax.Array, search: bool) -> StepSize:
    """Before the first transition; with `search` the first thing a block does is to search, from `value`."""
    zero = lambda: jnp.zeros(value.shape, jnp.float64)  # noqa: E731  (a buffer of its own for every field)
    return StepSize(
        value=value,
        log_average=jnp.log(value),
        h_bar=zero(),
        mu=jnp.log(10 * value),
        updates=zero(),
        trial=jnp.full(value.shape, int(search), jnp.int32),
        direction=zero(),
    )


def after_trial(step: StepSize, tried: jax.Array, energy_error: jax.Array) -> StepSize:
    """Doubles or halves the step size of the chains of `tried` until one leapfrog crosses acceptance 0.8.

    Hoffman and Gelman (2014), algorithm 4, with Stan's threshold. At the crossing the dual averaging restarts there.
    """
    good = jnp.exp(-energy_error) > _SEARCH_ACCEPT
    way = jnp.where(good, 1.0, -1.0)
    crossed = (step.direction != 0) & (step.direction != way)
    over = crossed | (step.trial >= _SEARCH_TRIALS) | (good & (step.value >= LARGEST))
    eps = jnp.minimum(jnp.where(over, step.value, step.value * 2.0**way), LARGEST)
    found, goes_on = tried & over, tried & ~over
    return StepSize(
        value=jnp.where(tried, eps, step.value),
        trial=jnp.where(found, 0, step.trial + goes_on),
        direction=jnp.where(found, 0.0, jnp.where(goes_on, way, step.direction)),
        mu=jnp.where(found, jnp.log(10 * eps), step.mu),
        log_average=jnp.where(found, jnp.log(eps), step.log_average),
        h_bar=jnp.where(found, 0.0, step.h_bar),
        updates=jnp.where(found, 0.0, step.updates),
    )


def average(
    step: StepSize, mask: jax.Array, accept_stat: jax.Array, target_accept: jax.Array | float, decay: float = _KAPPA
) -> StepSize:
    """Dual averaging, Hoffman and Gelman (2014), equation 6, for the chains of `mask`; t^-decay weighs what enters the
    average."""
    t = step.updates + 1
    h_bar = (1 - 1 / (t + _T0)) * step.h_bar + (target_accept - accept_stat) / (t + _T0)
    log_eps = jnp.minimum(step.mu - jnp.sqrt(t) / _GAMMA * h_bar, math.log(LARGEST))
    weight = t**-decay
    log_average = weight * log_eps + (1 - weight) * step.log_average
    return step._replace(
        updates=jnp.where(mask, t, step.updates),
        h_bar=jnp.where(mask, h_bar, step.h_bar),
        log_average=jnp.where(mask, log_average, step.log_average),
        value=jnp.where(mask, jnp.exp(log_eps), step.value),
    )


def search_again(step: StepSize, mask: jax.Array) -> StepSize:
    """A new search for the chains of `mask`, from where they are."""
    return step._replace(trial=jnp.where(mask, 1, step.trial))


def freeze(step: StepSize, mask: jax.Array) -> StepSize:
    """The averaged step size is the one from here on, for the chains of `mask`."""
    return step._replace(value=jnp.where(mask, jnp.exp(step.log_average), step.value))
