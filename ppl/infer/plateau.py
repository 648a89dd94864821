"""Step decay: the rate of a stochastic ascent is halved whenever its objective has stopped rising.

The objective is looked at in windows of W iterations. A window whose median is not above that of the one before by more
than the standard error of their difference halves the rate; when the rate is below its last value, the ascent has
ended. Medians, because an ELBO far from its maximum has heavy tails, in which a mean over a window says nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .fit import pick
from .leapfrog import when
from .slots import write_row

# Of normal values: sd over median absolute deviation, and sd of a median over that of a mean.
_MAD, _MEDIAN = 1.4826, 1.2533


class Plateau(NamedTuple):
    """Per chain."""

    rate: jax.Array
    window: jax.Array  # float64[C, W]
    count: jax.Array  # int32[C]: iterations, all in all
    level: jax.Array  # the median of the window before; -inf: none
    error: jax.Array  # its standard error


def begin_plateau(chains: int, rate: float, window: int) -> Plateau:
    """Before the first iteration."""
    zero = lambda: jnp.zeros(chains, jnp.float64)  # noqa: E731
    values = jnp.zeros((chains, window), jnp.float64)
    return Plateau(zero() + rate, values, jnp.zeros(chains, jnp.int32), zero() - np.inf, zero())


def record(plateau: Plateau, active: jax.Array, value: jax.Array, least: jax.Array) -> Plateau:
    """One iteration's objective, finite, of the chains of `active`; a rise of less than `least` is none."""
    length = plateau.window.shape[1]
    slot = jnp.where(active, plateau.count % length, length)
    count = plateau.count + active
    plateau = plateau._replace(window=write_row(plateau.window, slot, value), count=count)
    full = active & (count % length == 0)

    def close(plateau: Plateau) -> Plateau:
        level = jnp.median(plateau.window, axis=1)
        spread = _MAD * jnp.median(jnp.abs(plateau.window - level[:, None]), axis=1)
        error = _MEDIAN * spread / np.sqrt(length)
        rise = level - plateau.level
        flat = rise <= jnp.maximum(least, jnp.sqrt(error**2 + plateau.error**2))
        rate = jnp.where(flat, 0.5 * plateau.rate, plateau.rate)
        return pick(full, plateau._replace(rate=rate, level=level, error=error), plateau)

    return when(jnp.any(full), close, plateau)
