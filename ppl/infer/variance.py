"""A metric from the variances of draws, for many latents that are correlated with a few.

A diagonal cannot turn a posterior in which a few latents (amplitudes, slopes) move with the whole of a field. The
Fisher diagonal takes for their scale what is left of them when all else is held, since their gradients vary that much;
trajectories then need several times as many steps to take them from one end to the other. Their own variance lets them
move as far as they do.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .fisher import SMALLEST, share, update_variance
from .metric import Diagonal, Metric, as_diagonal
from .space import Space, Vector

SHRINK = 10.0
"""Weight, in draws, of the former metric beside the variance."""


class Variances(NamedTuple):
    count: jax.Array  # float64[C]
    mean: Vector
    variance: Vector


class Variance(NamedTuple):
    """sigma^2 = Var x of each latent; at the start sigma^2 = 1 / rms g of each site."""

    space: Space

    def copies(self) -> int:
        return 2

    def start(self) -> Variances:
        zeros = self.space.zeros
        return Variances(jnp.zeros(self.space.chains, jnp.float64), zeros(), zeros())

    def first(self, gradient: Vector) -> Diagonal:
        squares = self.space.dots([(self._only(n, gradient),) * 2 for n in gradient])
        scale = {}
        for site, square in zip(self.space.sites, squares, strict=True):
            scale_square = jnp.clip((square / site.degrees) ** -0.5, SMALLEST, 1 / SMALLEST)
            known = jnp.sqrt(jnp.where(square > 0, scale_square, 1.0))
            like = gradient[site.name]
            scale[site.name] = jnp.broadcast_to(self.space.spread(known, like), like.shape)
        return Diagonal(self.space.keep_real(scale, 1.0))

    def _only(self, name: str, vector: Vector) -> Vector:
        return {n: x if n == name else jnp.zeros_like(x) for n, x in vector.items()}

    def take(self, metric: Metric) -> Diagonal:
        return as_diagonal(metric)

    def add(self, estimate: Variances, mask: jax.Array, position: Vector, gradient: Vector) -> Variances:
        count, part = share(estimate.count, mask)
        return Variances(count, *update_variance(self.space, estimate.mean, estimate.variance, part, position))

    def switch(self, estimate: Variances, mask: jax.Array) -> Variances:
        # The first share of a new window is 1: it overwrites the rest.
        return estimate._replace(count=jnp.where(mask, 0.0, estimate.count))

    def metric(self, estimate: Variances, old: Diagonal, mask: jax.Array) -> Diagonal:
        enough = mask & (estimate.count >= 3)
        scale = {}
        for n, x in estimate.variance.items():
            count = self.space.spread(estimate.count, x)
            square = (count * x + SHRINK * old.scale[n] ** 2) / (count + SHRINK)
            scale[n] = jnp.where(jnp.isfinite(square) & (square > 0), jnp.sqrt(square), old.scale[n])
        return Diagonal(self.space.where(enough, self.space.keep_real(scale, 1.0), old.scale))
