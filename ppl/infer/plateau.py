"""Step decay: the rate of a stochastic ascent is halved whenever its objective has stopped rising.

The objective is averaged over windows of W iterations. A window that is not above the one before by more than the
standard error of their difference halves the rate; when the rate is below its last value, the ascent has ended.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .fit import pick


class Plateau(NamedTuple):
    """float64[C] each."""

    rate: jax.Array
    total: jax.Array  # of the window's objective, relative to its first value
    square: jax.Array
    first: jax.Array
    count: jax.Array  # int32[C]: iterations, all in all
    mean: jax.Array  # of the window before; -inf: none
    variance: jax.Array  # of that mean


def begin_plateau(chains: int, rate: float) -> Plateau:
    """Before the first iteration."""
    zero = lambda: jnp.zeros(chains, jnp.float64)  # noqa: E731
    return Plateau(zero() + rate, zero(), zero(), zero(), jnp.zeros(chains, jnp.int32), zero() - np.inf, zero())


def record(plateau: Plateau, active: jax.Array, value: jax.Array, least: jax.Array, window: int) -> Plateau:
    """One iteration's objective, finite, of the chains of `active`; a rise of less than `least` is none."""
    fresh = plateau.count % window == 0
    first = jnp.where(fresh, value, plateau.first)
    shifted = value - first
    total = jnp.where(fresh, 0.0, plateau.total) + shifted
    square = jnp.where(fresh, 0.0, plateau.square) + shifted**2
    full = (plateau.count + 1) % window == 0
    mean = total / window
    variance = jnp.maximum(square / window - mean**2, 0.0) / window
    flat = first + mean - plateau.mean <= jnp.maximum(least, jnp.sqrt(variance + plateau.variance))
    made = Plateau(
        jnp.where(full & flat, 0.5 * plateau.rate, plateau.rate),
        *(total, square, first, plateau.count + np.int32(1)),
        jnp.where(full, first + mean, plateau.mean),
        jnp.where(full, variance, plateau.variance),
    )
    return pick(active, made, plateau)
