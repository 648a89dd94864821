"""Metrics from draws and gradients: the map that brings the scatter of draws and of gradients together.

A linear map F whitens a posterior when draws u = F^-1 x and gradients F^T g have the same covariance; minimising the
Fisher divergence to a unit normal gives F F^T = Cov[x] # Cov[g]^-1, the geometric mean of the covariance of the draws
and the inverse covariance of the gradients (Seyboldt, Carlson & Carpenter, arXiv:2603.18845). For a Gaussian both are
its covariance, and two numbers more than there are dims determine it.

Covariances are running ones, over the window before and the present one together (nutpie's foreground and background):
a switch drops what is older, so that where the chain came from is forgotten at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from ir import lapack

from .metric import Dense, Diagonal, Metric, as_diagonal, identity
from .space import Space, Vector

CUTOFF = 2.0
"""Eigenvalues of the whitened covariance between 1/2 and 2 are taken for 1: fewer draws than dims cannot tell."""
SHRINK = 1e-5
"""Weight of the unit matrix beside the sums over draws."""
SMALLEST = 1e-20
"""Bounds of a squared scale, with its inverse."""


class Estimator(Protocol):
    """How a metric is learnt; the estimate is a pytree of per-chain arrays."""

    def copies(self) -> int:
        """Vectors that the estimate holds."""
        ...

    def start(self) -> object:
        """The estimate before the first draw."""
        ...

    def first(self, gradient: Vector) -> Metric:
        """A metric from the gradient at the start alone."""
        ...

    def take(self, metric: Metric) -> Metric:
        """A metric that was handed over, in this estimator's form."""
        ...

    def add(self, estimate: object, mask: jax.Array, position: Vector, gradient: Vector) -> object:
        """The draws of the chains of `mask` enter."""
        ...

    def switch(self, estimate: object, mask: jax.Array) -> object:
        """A new window begins for the chains of `mask`."""
        ...

    def metric(self, estimate: object, old: Metric, mask: jax.Array) -> Metric:
        """The metric of the estimate for the chains of `mask`, the old one for others."""
        ...


class Windowed(NamedTuple):
    """The estimate over two windows from one over a single one; `background` is the present window alone."""

    foreground: Any
    background: Any


@dataclass(frozen=True)
class Windows:
    """Two windows of an estimator of one."""

    one: Estimator

    def copies(self) -> int:
        return 2 * self.one.copies()

    def start(self) -> Windowed:
        return Windowed(self.one.start(), self.one.start())

    def first(self, gradient: Vector) -> Metric:
        return self.one.first(gradient)

    def take(self, metric: Metric) -> Metric:
        return self.one.take(metric)

    def add(self, estimate: Windowed, mask: jax.Array, position: Vector, gradient: Vector) -> Windowed:
        return Windowed(*(self.one.add(e, mask, position, gradient) for e in estimate))

    def switch(self, estimate: Windowed, mask: jax.Array) -> Windowed:
        """The foreground becomes the background, and that starts afresh, for the chains of `mask`."""

        def of_chains(x: jax.Array, y: jax.Array) -> jax.Array:
            return jnp.where(mask.reshape(-1, *(1,) * (x.ndim - 1)), x, y)

        old, new = estimate
        return Windowed(jax.tree.map(of_chains, new, old), self.one.switch(new, mask))

    def metric(self, estimate: Windowed, old: Metric, mask: jax.Array) -> Metric:
        return self.one.metric(estimate.foreground, old, mask)


@dataclass(frozen=True)
class Fixed:
    """No estimate: the metric that was handed over or the identity stays, in the form of an estimator if any."""

    space: Space
    form: Estimator | None = None

    def copies(self) -> int:
        return 0

    def start(self) -> tuple[()]:
        return ()

    def first(self, gradient: Vector) -> Metric:
        return self.take(identity(self.space))

    def take(self, metric: Metric) -> Metric:
        return metric if self.form is None else self.form.take(metric)

    def add(self, estimate: object, mask: jax.Array, position: Vector, gradient: Vector) -> object:
        return estimate

    def switch(self, estimate: object, mask: jax.Array) -> object:
        return estimate

    def metric(self, estimate: object, old: Metric, mask: jax.Array) -> Metric:
        return old


class DiagonalEstimate(NamedTuple):
    count: jax.Array  # float64[C]
    x_mean: Vector
    x_variance: Vector
    g_mean: Vector
    g_variance: Vector


class FisherDiagonal(NamedTuple):
    """sigma^2 = sqrt(Var x / Var g) of each latent."""

    space: Space

    def copies(self) -> int:
        return 4

    def start(self) -> DiagonalEstimate:
        zeros = self.space.zeros
        return DiagonalEstimate(jnp.zeros(self.space.chains, jnp.float64), zeros(), zeros(), zeros(), zeros())

    def first(self, gradient: Vector) -> Diagonal:
        return Diagonal(self.space.keep_real({n: first_scale(g) for n, g in gradient.items()}, 1.0))

    def take(self, metric: Metric) -> Diagonal:
        return as_diagonal(metric)

    def add(self, estimate: DiagonalEstimate, mask: jax.Array, position: Vector, gradient: Vector) -> DiagonalEstimate:
        count, part = share(estimate.count, mask)
        x = update_variance(self.space, estimate.x_mean, estimate.x_variance, part, position)
        g = update_variance(self.space, estimate.g_mean, estimate.g_variance, part, gradient)
        return DiagonalEstimate(count, *x, *g)

    def switch(self, estimate: DiagonalEstimate, mask: jax.Array) -> DiagonalEstimate:
        # The first share of a new window is 1: it overwrites the rest.
        return estimate._replace(count=jnp.where(mask, 0.0, estimate.count))

    def metric(self, estimate: DiagonalEstimate, old: Diagonal, mask: jax.Array) -> Diagonal:
        enough = mask & (estimate.count >= 3)
        scale = {}
        for n, x in estimate.x_variance.items():
            square = jnp.sqrt(x) / jnp.sqrt(estimate.g_variance[n])
            good = jnp.isfinite(square) & (square > 0)
            square = jnp.where(good, jnp.clip(square, SMALLEST, 1 / SMALLEST), old.scale[n] ** 2)
            scale[n] = jnp.sqrt(square)
        return Diagonal(self.space.where(enough, self.space.keep_real(scale, 1.0), old.scale))


class DenseEstimate(NamedTuple):
    """All float64, of the one packed site."""

    count: jax.Array  # [C]
    x_mean: jax.Array  # [C, d]
    x_covariance: jax.Array  # [C, d, d]
    g_mean: jax.Array
    g_covariance: jax.Array


class FisherDense(NamedTuple):
    """The full geometric mean, for a space of one site of few dims."""

    space: Space

    def copies(self) -> int:
        return 2 + 2 * self.space.degrees

    def start(self) -> DenseEstimate:
        c, d = self.space.chains, self.space.degrees
        zeros = lambda *shape: jnp.zeros((c, *shape), jnp.float64)  # noqa: E731
        return DenseEstimate(zeros(), zeros(d), zeros(d, d), zeros(d), zeros(d, d))

    def first(self, gradient: Vector) -> Dense:
        (g,) = gradient.values()
        return Dense(first_scale(g)[:, :, None] * jnp.eye(g.shape[1], dtype=g.dtype))

    def take(self, metric: Metric) -> Dense:
        if isinstance(metric, Dense):
            return metric
        (scale,) = metric.deviation().values()
        return Dense(scale[:, :, None] * jnp.eye(scale.shape[1], dtype=scale.dtype))

    def add(self, estimate: DenseEstimate, mask: jax.Array, position: Vector, gradient: Vector) -> DenseEstimate:
        count, part = share(estimate.count, mask)
        (x,), (g,) = position.values(), gradient.values()
        x_mean, x_covariance = _update_dense(estimate.x_mean, estimate.x_covariance, part, x)
        g_mean, g_covariance = _update_dense(estimate.g_mean, estimate.g_covariance, part, g)
        return DenseEstimate(count, x_mean, x_covariance, g_mean, g_covariance)

    def switch(self, estimate: DenseEstimate, mask: jax.Array) -> DenseEstimate:
        return estimate._replace(count=jnp.where(mask, 0.0, estimate.count))

    def metric(self, estimate: DenseEstimate, old: Dense, mask: jax.Array) -> Dense:
        scale_square = jnp.sqrt(_diagonal(estimate.x_covariance)) / jnp.sqrt(_diagonal(estimate.g_covariance))
        scale = jnp.sqrt(jnp.clip(scale_square, SMALLEST, 1 / SMALLEST))
        usable = jnp.isfinite(scale) & (scale_square > 0)
        scale = jnp.where(usable, scale, 1.0)
        outer = scale[:, :, None] * scale[:, None, :]
        eye = jnp.eye(scale.shape[1], dtype=jnp.float64)
        draws = estimate.count[:, None, None] / SHRINK
        x = jnp.nan_to_num(draws * estimate.x_covariance / outer) + eye
        g = jnp.nan_to_num(draws * estimate.g_covariance * outer) + eye
        values, vectors = lapack.eigh(geometric_mean(x, g))
        kept = (values > CUTOFF) | (values < 1 / CUTOFF)
        roots = jnp.where(kept, jnp.sqrt(jnp.maximum(values, SMALLEST)), 1.0) - 1.0
        # F = S (1 + U (sqrt(lambda) - 1) U^T), with the square root symmetric.
        factor = scale[:, :, None] * (eye + (vectors * roots[:, None, :]) @ jnp.swapaxes(vectors, 1, 2))
        good = mask & (estimate.count >= 3) & jnp.isfinite(factor).all(axis=(1, 2)) & usable.all(axis=1)
        return Dense(jnp.where(good[:, None, None], factor.astype(old.factor.dtype), old.factor))


def geometric_mean(a: jax.Array, b: jax.Array) -> jax.Array:
    """A # B^-1, the positive definite X with X B X = A, for [..., d, d]: with A = M M^T, B = L L^T and the singular
    values M^T L = P diag(w) V^T it is L^-T V diag(w) V^T L^-1.

    The eigenvalues of L^T A L are w^2 and span the square of what A and B span, which is more than sixteen digits where
    there are fewer draws than dims; w is not.
    """
    lower = lapack.cholesky(b)
    _, values, rows = lapack.svd(jnp.swapaxes(lapack.cholesky(a), -1, -2) @ lower)
    vectors = jnp.swapaxes(rows, -1, -2)
    half = lapack.triangular_solve(lower, vectors, left_side=True, lower=True, transpose_a=True)
    return (half * values[..., None, :]) @ jnp.swapaxes(half, -1, -2)


def first_scale(gradient: jax.Array) -> jax.Array:
    """|g|^-1/2, so that sigma^2 = 1/|g|; 1 where the gradient vanishes."""
    square = jnp.clip(1 / jnp.abs(gradient), SMALLEST, 1 / SMALLEST)
    return jnp.sqrt(jnp.where(gradient == 0, jnp.ones_like(square), square))


def share(count: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The number of draws with this one, and its share; zero outside the mask."""
    count = count + mask
    return count, jnp.where(mask, 1 / jnp.maximum(count, 1.0), 0.0)


def update_variance(
    space: Space, mean: Vector, variance: Vector, share: jax.Array, value: Vector
) -> tuple[Vector, Vector]:
    """Running mean and variance with one value more, whose share [C] is 1 for the first and 0 for none."""
    means, variances = {}, {}
    for n, x in value.items():
        a = space.spread(share, x)
        delta = x - mean[n]
        means[n] = mean[n] + a * delta
        variances[n] = (1 - a) * (variance[n] + a * delta * delta)
    return means, variances


def _update_dense(mean: jax.Array, covariance: jax.Array, share: jax.Array, x: jax.Array):
    a = share[:, None]
    delta = x.astype(jnp.float64) - mean
    outer = delta[:, :, None] * delta[:, None, :]
    return mean + a * delta, (1 - a)[:, :, None] * (covariance + a[:, :, None] * outer)


def _diagonal(matrix: jax.Array) -> jax.Array:
    return jnp.diagonal(matrix, axis1=1, axis2=2)


__all__ = [
    "Estimator",
    "FisherDense",
    "FisherDiagonal",
    "Fixed",
    "Windows",
    "geometric_mean",
    "share",
    "update_variance",
]
