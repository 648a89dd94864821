"""Metrics: a linear map F between whitened vectors and the latents, with F F^T near the posterior's covariance.

Samplers live in whitened coordinates: u = F^-1 x has near unit covariance. They need the map of a direction, F u, and
its transpose on a gradient, F^T g, and nothing else; neither leaves the device, but for k numbers of a `LowRank`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from .space import PACKED, Space, Vector, add, combine, multiply


class Metric(Protocol):
    """A pytree of per-chain arrays."""

    def push(self, u: Vector) -> Vector:
        """F u: a whitened direction as a step of the latents."""
        ...

    def pull(self, g: Vector) -> Vector:
        """F^T g: a gradient in whitened coordinates."""
        ...

    def deviation(self) -> Vector:
        """The square root of the diagonal of F F^T: a rough posterior standard deviation of each latent."""
        ...


class Diagonal(NamedTuple):
    """F = diag(scale); the scale is 1 on padding."""

    scale: Vector

    def push(self, u: Vector) -> Vector:
        return multiply(self.scale, u)

    def pull(self, g: Vector) -> Vector:
        return multiply(self.scale, g)

    def deviation(self) -> Vector:
        return self.scale


class Dense(NamedTuple):
    """A full F for a space of one site of shape (d,), as `ppl.infer.pack` makes them of few dims."""

    factor: jax.Array  # [C, d, d]: F[c, i, j] takes whitened j to latent i

    # Products and sums, not matrix products: XLA fuses them with what stands around.

    def push(self, u: Vector) -> Vector:
        return {n: jnp.sum(self.factor * x[:, None, :], axis=2) for n, x in u.items()}

    def pull(self, g: Vector) -> Vector:
        return {n: jnp.sum(self.factor * x[:, :, None], axis=1) for n, x in g.items()}

    def deviation(self) -> Vector:
        return {PACKED: jnp.sqrt(jnp.sum(self.factor**2, axis=2))}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LowRank:
    """F = S (1 + U (sqrt(lambda) - 1) U^T): a diagonal S, and k directions in which the rest is far from round.

    U is zero on padding, and its columns are orthonormal to rounding, or zero where lambda is 1; F^T is the transpose
    of F whatever they are. `push` and `pull` cost one all-reduce of k float64 a chain each, two more for every leapfrog
    than other metrics take, and two passes over the k directions.
    """

    scale: Vector
    directions: Vector  # U: [C, k, ...] in the latents' own layout
    eigenvalues: jax.Array  # lambda: float64[C, k]
    space: Space = field(metadata={"static": True})

    def push(self, u: Vector) -> Vector:
        return multiply(self.scale, self._along(u))

    def pull(self, g: Vector) -> Vector:
        return self._along(multiply(self.scale, g))

    def _along(self, v: Vector) -> Vector:
        """(1 + U (sqrt(lambda) - 1) U^T) v."""
        (products,) = self.space.inner([(self.directions, v)])
        return add(v, combine((jnp.sqrt(self.eigenvalues) - 1) * products, self.directions))

    def deviation(self) -> Vector:
        more = combine(self.eigenvalues - 1, multiply(self.directions, self.directions))
        # Rounded directions must not take more than there is.
        least = jnp.minimum(jnp.min(self.eigenvalues, axis=1), 1.0)
        square = {n: jnp.maximum(1 + x, self.space.spread(least, x)) for n, x in more.items()}
        return {n: self.scale[n] * jnp.sqrt(x) for n, x in square.items()}


def as_diagonal(metric: Metric) -> Diagonal:
    """A diagonal metric as it is, the deviations of any other one."""
    return metric if isinstance(metric, Diagonal) else Diagonal(metric.deviation())


def identity(space: Space) -> Diagonal:
    """F = 1."""
    return Diagonal(space.full(1.0))


def from_variance(variance: Vector) -> Diagonal:
    """The diagonal metric of rough variances, which are 1 on padding."""
    return Diagonal({n: jnp.sqrt(v) for n, v in variance.items()})
