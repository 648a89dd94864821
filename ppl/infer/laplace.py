"""The Laplace approximation with a dense Hessian: N(x* + H^-1 g, H^-1), H = -Hess l(x*), of few packed latents.

The step H^-1 g corrects what the search for the mode has left, so that a Gaussian comes out exactly; its length in
posterior standard deviations, sqrt(g^T H^-1 g), tells how far from the mode the search had stopped. The evidence of the
quadratic model (with respect to the unconstrained latents) is

    log Z = l(x*) + g^T H^-1 g / 2 + d/2 log 2 pi - 1/2 log det H.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ir import lapack
from ir.counter import Key

from .curvature import PRODUCT, product
from .fit import NOISE, FitInfo, told
from .metric import Diagonal
from .protocol import Handover, State, Target
from .space import Space, Vector

LOG_2PI = float(np.log(2 * np.pi))
NEAR = 0.1
"""A mode this close [posterior standard deviations] has been found."""


class Normal(NamedTuple):
    """The approximation."""

    mean: Vector
    factor: jax.Array  # [C, d, d] float64: F with F F^T = H^-1
    half_log_det: jax.Array  # 1/2 log det H
    log_evidence: jax.Array
    distance: jax.Array  # of the start from the mode [sd]
    good: jax.Array  # bool[C]: H is positive definite


@dataclass(frozen=True)
class DenseLaplace:
    """The fit: one iteration, of d Hessian products, from where the chains stand."""

    space: Space
    target: Target

    @property
    def site(self) -> Any:
        return self.space.sites[0]

    def copies(self) -> int:
        """Where chains stand 2, the mean 1, the factor in float64."""
        return 3 + 2 * self.space.degrees

    def begin(self, start: Handover) -> Normal:
        d = self.space.degrees
        zero = lambda: jnp.zeros(self.space.chains, jnp.float64)  # noqa: E731
        square = jnp.zeros((self.space.chains, d, d), jnp.float64)
        return Normal(self.space.zeros(), square, zero(), zero() - np.inf, zero() + np.inf, zero() > 0)

    def improve(self, key: Key, here: State, fit: Normal, active: jax.Array) -> tuple[State, Normal, FitInfo, Any]:
        name, d, dtype = self.site.name, self.space.degrees, self.site.dtype

        def column(i: jax.Array) -> jax.Array:
            unit = jnp.zeros((self.space.chains, d), dtype).at[:, i].set(1.0)
            return product(self.target, here.position, {name: unit})[name]

        columns = lax.map(column, jnp.arange(d, dtype=jnp.int32)).astype(jnp.float64)  # [d, C, d]
        hessian = jnp.moveaxis(columns, 1, 0)
        lower = lapack.cholesky(0.5 * (hessian + hessian.swapaxes(1, 2)))
        gradient = here.gradient[name].astype(jnp.float64)
        good = jnp.isfinite(lower).all(axis=(1, 2)) & jnp.isfinite(gradient).all(axis=1)
        eye = jnp.broadcast_to(jnp.eye(d, dtype=jnp.float64), lower.shape)
        lower = jnp.where(good[:, None, None], lower, eye)
        factor = lapack.triangular_solve(lower, eye, left_side=True, lower=True).swapaxes(1, 2)
        white = jnp.sum(factor * gradient[:, :, None], axis=1)  # F^T g
        step = jnp.sum(factor * white[:, None, :], axis=2)
        half_log_det = jnp.sum(jnp.log(jnp.diagonal(lower, axis1=1, axis2=2)), axis=1)
        square = jnp.sum(white**2, axis=1)
        evidence = here.log_density + 0.5 * square + 0.5 * d * LOG_2PI - half_log_det
        fit = Normal(
            {name: here.position[name] + jnp.where(good[:, None], step, 0.0).astype(dtype)},
            jnp.where(good[:, None, None], factor, 0.0),
            half_log_det,
            jnp.where(good, evidence, np.nan),
            jnp.where(good, jnp.sqrt(square), np.inf),
            good,
        )
        row = self._told(fit, here.log_density, d * PRODUCT, jnp.full(self.space.chains, np.nan))
        return here, fit, row, jnp.ones(self.space.chains, bool)

    def draw(self, key: Key, here: State, fit: Normal) -> tuple[State, FitInfo]:
        """mean + F n; chains whose H is not positive definite stay at the mean, and say so."""
        name = self.site.name
        noise = self.space.normal(key, NOISE)[name].astype(jnp.float64)
        step = jnp.sum(fit.factor * noise[:, None, :], axis=2)
        position = {name: fit.mean[name] + step.astype(self.site.dtype)}
        value, gradient = self.target(position)
        square = jnp.sum(noise**2, axis=1)
        log_q = fit.half_log_det - 0.5 * square - 0.5 * self.space.degrees * LOG_2PI
        weight = jnp.where(fit.good, value - log_q, np.nan)
        return State(position, gradient, value, here.step), self._told(fit, value, 1, weight)

    def _told(self, fit: Normal, value: jax.Array, gradients: int, weight: jax.Array) -> FitInfo:
        return told(
            self.space.chains,
            leapfrogs=gradients,
            divergent=~(fit.good & jnp.isfinite(value)),
            log_density=value,
            objective=fit.log_evidence,
            gradient_norm=fit.distance,
            log_weight=weight,
            converged=fit.good & (fit.distance < NEAR),
        )

    def metric(self, fit: Normal) -> Diagonal:
        square = jnp.sum(fit.factor**2, axis=2)
        scale = jnp.where(fit.good[:, None], jnp.sqrt(square), 1.0)
        return Diagonal({self.site.name: scale.astype(self.site.dtype)})
