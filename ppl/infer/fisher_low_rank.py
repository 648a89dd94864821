"""Low-rank metrics from draws and gradients: `ppl.infer.fisher`'s geometric mean where d x d matrices are too large.

The last N draws and gradients of the window, scaled and centred, are the columns y_j = (x_j - mean) / sigma and
b_j = sigma (g_j - mean) of Z = [Y B]. Whatever they tell lies in the span of Z, of which the Gram matrix Z^T Z
(2N x 2N, one all-reduce) knows everything: with Z^T Z = W D W^T the columns of Q = Z W D^-1/2 are orthonormal and
Q^T Z is D^1/2 W^T. The geometric mean of

    C_y = (Q^T Y) (Q^T Y)^T / shrink + 1    and    C_b^-1,  C_b = (Q^T B) (Q^T B)^T / shrink + 1

is 1 outside the span, and V diag(lambda) V^T inside: so F = S (1 + U (sqrt(lambda) - 1) U^T) with U = Q V, which is Z
times a small matrix. On the same draws this is `FisherDense`'s metric, up to the rank.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ir import lapack

from .fisher import CUTOFF, SHRINK, SMALLEST, FisherDiagonal, Windowed, Windows, geometric_mean
from .metric import LowRank, Metric
from .slots import write_slot
from .space import Space, Vector, combine

DRAWS, MOST_DRAWS = 4, 64
"""Draws kept a direction, and at most: the decompositions are of matrices of twice as many rows."""
MOST_RANK = MOST_DRAWS // 2
"""Directions of a metric."""
DROPPED = 1e-12
"""Eigenvalues of the Gram matrix below this part of the largest one are rounding: sixteen digits, squared scales."""


class LowRankEstimate(NamedTuple):
    diagonal: Windowed  # of the scales, over two windows
    count: jax.Array  # int32[C]: draws so far; the next one goes into slot count mod N
    x: Vector  # [C, N, ...]
    g: Vector


class FisherLowRank(NamedTuple):
    """The scales of two windows, and the directions of the last `draws` draws of those, at most `rank` of them.

    It is an `Estimator` without `Windows` around it: a draw leaves the buffer when `draws` others have come, and counts
    no more once it is older than the window of the scales.
    """

    space: Space
    rank: int
    draws: int

    @classmethod
    def of(cls, space: Space, rank: int) -> FisherLowRank:
        """With as many draws as a rank asks for; there are no more directions than dims."""
        return cls.with_draws(space, min(rank, space.degrees))

    @classmethod
    def with_draws(cls, space: Space, rank: int) -> FisherLowRank:
        """With as many draws as a rank asks for."""
        return cls(space, rank, min(DRAWS * rank, MOST_DRAWS))

    def copies(self) -> int:
        """Scales 8, draws and gradients 2 N; all of these scaled, and the directions, while a metric is made."""
        return self.scales.copies() + 4 * self.draws + self.rank

    @property
    def scales(self) -> Windows:
        return Windows(FisherDiagonal(self.space))

    def start(self) -> LowRankEstimate:
        none = jnp.zeros(self.space.chains, jnp.int32)
        return LowRankEstimate(self.scales.start(), none, self._stack(self.draws), self._stack(self.draws))

    def first(self, gradient: Vector) -> LowRank:
        return self._without_directions(self.scales.first(gradient))

    def take(self, metric: Metric) -> LowRank:
        """Another metric's scales; a low-rank one's directions too, the strongest where it has more."""
        if not isinstance(metric, LowRank):
            return self._without_directions(self.scales.take(metric))
        k = self.rank

        def fit(x: jax.Array, fill: float) -> jax.Array:
            room = [(0, 0), (0, max(0, k - x.shape[1])), *[(0, 0)] * (x.ndim - 2)]
            return jnp.pad(x[:, :k], room, constant_values=fill)

        directions = {n: fit(x, 0.0) for n, x in metric.directions.items()}
        return LowRank(metric.scale, directions, fit(metric.eigenvalues, 1.0), self.space)

    def add(self, estimate: LowRankEstimate, mask: jax.Array, position: Vector, gradient: Vector) -> LowRankEstimate:
        slot = jnp.where(mask, estimate.count % self.draws, self.draws)
        return LowRankEstimate(
            self.scales.add(estimate.diagonal, mask, position, gradient),
            estimate.count + mask,
            write_slot(estimate.x, slot, position),
            write_slot(estimate.g, slot, gradient),
        )

    def switch(self, estimate: LowRankEstimate, mask: jax.Array) -> LowRankEstimate:
        return estimate._replace(diagonal=self.scales.switch(estimate.diagonal, mask))

    def metric(self, estimate: LowRankEstimate, old: LowRank, mask: jax.Array) -> LowRank:
        window = estimate.diagonal.foreground
        scale = self.scales.metric(estimate.diagonal, old, mask).scale
        age = (estimate.count[:, None] - 1 - jnp.arange(self.draws, dtype=jnp.int32)) % self.draws
        used = age < jnp.minimum(window.count, estimate.count)[:, None]  # [C, N]

        def columns(stack: Vector, mean: Vector, scaled: Vector) -> Vector:
            def one(x: jax.Array, m: jax.Array, s: jax.Array) -> jax.Array:
                here = used.reshape(*used.shape, *(1,) * (m.ndim - 1))
                return jnp.where(here, (x - m[:, None]) * s[:, None], jnp.zeros((), x.dtype))

            return {n: one(x, mean[n], scaled[n]) for n, x in stack.items()}

        # About the window's mean: the mean of the columns themselves is taken off small matrices, below.
        y = columns(estimate.x, window.x_mean, {n: 1 / s for n, s in scale.items()})
        b = columns(estimate.g, window.g_mean, scale)
        yy, yb, bb = self.space.inner([(y, y), (y, b), (b, b)])
        gram = jnp.concatenate(
            [jnp.concatenate([yy, yb], axis=2), jnp.concatenate([jnp.swapaxes(yb, 1, 2), bb], axis=2)], axis=1
        )
        finite = jnp.isfinite(gram).all(axis=(1, 2))
        eigenvalues, weights = strongest(jnp.where(finite[:, None, None], gram, 0.0), used, self.rank)
        n = self.draws
        of_y, of_b = (jax.vmap(combine, (2, None), 1)(w, z) for w, z in ((weights[:, :n], y), (weights[:, n:], b)))
        directions = {m: of_y[m] + of_b[m] for m in y}
        enough = finite & (jnp.sum(used, axis=1) >= 3)
        enough &= jnp.isfinite(weights).all(axis=(1, 2)) & jnp.isfinite(eigenvalues).all(axis=1) & mask
        where = self.space.where
        return LowRank(
            where(enough, scale, old.scale),
            where(enough, directions, old.directions),
            jnp.where(enough[:, None], eigenvalues, old.eigenvalues),
            self.space,
        )

    def _stack(self, n: int) -> Vector:
        return {s.name: jnp.zeros((self.space.chains, n, *s.local), s.dtype) for s in self.space.sites}

    def _without_directions(self, diagonal: Metric) -> LowRank:
        ones = jnp.ones((self.space.chains, self.rank), jnp.float64)
        return LowRank(diagonal.deviation(), self._stack(self.rank), ones, self.space)


def strongest(gram: jax.Array, used: jax.Array, rank: int) -> tuple[jax.Array, jax.Array]:
    """(lambda[C, k], T[C, 2N, k]) with U = Z T, from Z^T Z of columns that are yet to be centred; `used`: bool[C, N].

    Of the eigenvalues above 2 and below 1/2 those that are farthest from 1; 1 and no direction where there are fewer.
    """
    n = used.shape[1]
    share = used / jnp.maximum(jnp.sum(used, axis=1, keepdims=True), 1)
    centre = jnp.eye(n, dtype=jnp.float64) - share[:, :, None] * used[:, None, :]
    centre = jax.vmap(lambda c: jnp.kron(jnp.eye(2, dtype=jnp.float64), c))(centre)  # of Y and of B
    transpose = lambda a: jnp.swapaxes(a, 1, 2)  # noqa: E731
    spread, basis = lapack.eigh(transpose(centre) @ gram @ centre)
    spans = spread > DROPPED * spread[:, -1:]
    root = jnp.sqrt(jnp.where(spans, spread, 1.0))
    within = jnp.where(spans, root, 0.0)[:, :, None] * transpose(basis)  # Q^T Z
    eye = jnp.eye(2 * n, dtype=jnp.float64)
    c_y, c_b = (z @ transpose(z) / SHRINK + eye for z in (within[:, :, :n], within[:, :, n:]))
    values, vectors = lapack.eigh(geometric_mean(c_y, c_b))
    kept = (values > CUTOFF) | (values < 1 / CUTOFF)
    values = jnp.where(kept, jnp.maximum(values, SMALLEST), 1.0)
    order = jax.lax.top_k(jnp.abs(jnp.log(values)), rank)[1]
    take = lambda a: jnp.take_along_axis(a, order.reshape(a.shape[0], *(1,) * (a.ndim - 2), -1), axis=-1)  # noqa: E731
    weights = centre @ (basis * jnp.where(spans, 1 / root, 0.0)[:, None, :]) @ take(vectors * kept[:, None, :])
    return take(values), weights


__all__ = ["FisherLowRank"]
