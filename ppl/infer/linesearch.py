"""A line search for the strong Wolfe conditions, one trial of every chain at a time.

For phi(a) = l(x + a d), to be maximised: phi(a) >= phi(0) + 1e-4 a phi'(0) - slack and |phi'(a)| <= c |phi'(0)|
(Nocedal & Wright, Numerical Optimization, 2006, eq. 3.7). A bracket [low, high] holds a point that meets both: below it
phi still rises steeply, above it phi falls or has gained too little. Trials are secants of phi', which is exact for a
quadratic, kept inside the bracket; `slack` is the rounding error of phi, below which only slopes can tell.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SUFFICIENT = 1e-4
MOST_TRIALS = 30


class Search(NamedTuple):
    """The scalars of a search under way, float64[C]."""

    step: jax.Array  # the trial to be evaluated
    value: jax.Array  # phi(0)
    slope: jax.Array  # phi'(0)
    low: jax.Array
    low_slope: jax.Array
    high: jax.Array  # inf: none yet
    high_slope: jax.Array  # NaN: not known
    trials: jax.Array  # int32[C]


def begin_search(value: jax.Array, slope: jax.Array, step: jax.Array) -> Search:
    """The search along a direction in which phi rises by `slope`, with its first trial."""
    zero = jnp.zeros_like(value)
    return Search(step, value, slope, zero, slope, zero + np.inf, zero + np.nan, jnp.zeros(value.shape, jnp.int32))


def judge(
    search: Search, value: jax.Array, slope: jax.Array, curvature: float, slack: jax.Array
) -> tuple[jax.Array, Search]:
    """bool[C]: the trial with this value and slope is taken; and the search that goes on where it is not."""
    step = search.step
    bad = ~(jnp.isfinite(value) & jnp.isfinite(slope))
    small = bad | (value < search.value + SUFFICIENT * step * search.slope - slack)
    falls, rises = slope < -curvature * search.slope, slope > curvature * search.slope
    back, on = small | falls, ~small & rises
    high = jnp.where(back, step, search.high)
    high_slope = jnp.where(back, jnp.where(bad, np.nan, slope), search.high_slope)
    low, low_slope = jnp.where(on, step, search.low), jnp.where(on, slope, search.low_slope)
    # Inside the bracket: the zero of phi' by its secant, where phi falls at the upper end; after a bad value a fifth.
    part = jnp.where(high_slope < 0, low_slope / (low_slope - high_slope), jnp.where(bad, 0.2, 0.5))
    inside = low + jnp.clip(part, 0.1, 0.9) * (high - low)
    # Beyond: where the slopes of the latest two points meet zero.
    fall = search.low_slope - slope
    beyond = jnp.where(fall > 0, step + slope * (step - search.low) / jnp.where(fall > 0, fall, 1.0), np.inf)
    beyond = jnp.clip(beyond, 1.1 * step, 10.0 * step)
    following = jnp.where(jnp.isfinite(high), inside, beyond)
    taken = ~back & ~on
    return taken, Search(
        *(following, search.value, search.slope, low, low_slope, high, high_slope, search.trials + np.int32(1))
    )


def exhausted(search: Search) -> jax.Array:
    """bool[C]: the bracket has shrunk to rounding, or the trials are spent."""
    shut = search.high - search.low <= 1e-14 * search.high
    return (jnp.isfinite(search.high) & shut) | (search.trials >= MOST_TRIALS)
