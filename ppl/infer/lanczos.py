"""The Laplace approximation of fields: draws x* + H^-1/2 n that need nothing but products with H = -Hess l(x*).

Lanczos' recurrence from the noise n gives H ~ Q T Q^T with T tridiagonal, and H^-1/2 n ~ |n| Q T^-1/2 e_1 (Simpson,
Turner & Pettitt 2008; Chow & Saad 2014, doi:10.1137/130920587). k steps are exact for k distinct eigenvalues, else the
error falls as ((sqrt(c) - 1) / (sqrt(c) + 1))^k with the condition c of H. Q is never kept: the recurrence runs twice,
to find T and to add up the draw, so that a draw holds few vectors and costs 2 k products.

Of the same T, -|n|^2/2 e_1^T log(T) e_1 estimates -1/2 log det H without bias but for the error of the recurrence
(stochastic Lanczos quadrature): the log evidence is told draw by draw, and its mean over draws is the estimate.
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
from .laplace import LOG_2PI
from .metric import Metric
from .protocol import Handover, State, Target
from .space import Space, Vector, add

ROUGH = 0.05
"""The last of k coefficients relative to all, above which k steps were too few."""


class Mode(NamedTuple):
    """Where the quadratic model is made."""

    position: Vector
    log_density: jax.Array
    gradient_norm: jax.Array


class Tridiagonal(NamedTuple):
    """T of each chain, float64[C, k]; `beta[:, j]` couples j and j + 1."""

    alpha: jax.Array
    beta: jax.Array


@dataclass(frozen=True)
class LanczosLaplace:
    """The fit; it has nothing to iterate, and its draws do the work. steps: k."""

    space: Space
    target: Target
    steps: int = 50

    def copies(self) -> int:
        """Where chains stand 2, the mode 1; of a draw two Lanczos vectors, the product, its tangent and the sum 5."""
        return 8

    def begin(self, start: Handover) -> Mode:
        state = start.state
        square = self.space.dots([(state.gradient, state.gradient)])[0]
        copied = {n: jnp.copy(x) for n, x in state.position.items()}
        return Mode(copied, jnp.copy(state.log_density), jnp.sqrt(square))

    def improve(self, key: Key, here: State, fit: Mode, active: jax.Array) -> tuple[State, Mode, FitInfo, Any]:
        row = told(self.space.chains, log_density=fit.log_density, gradient_norm=fit.gradient_norm)
        return here, fit, row, jnp.ones(self.space.chains, bool)

    def draw(self, key: Key, here: State, fit: Mode) -> tuple[State, FitInfo]:
        noise = self.space.normal(key, NOISE)
        norm = jnp.sqrt(self.space.dots([(noise, noise)])[0])
        step, log_form, last, good = self.root(fit.position, noise, norm)
        position = add(fit.position, step)
        value, gradient = self.target(position)
        half = 0.5 * norm**2
        evidence = fit.log_density + 0.5 * self.space.degrees * LOG_2PI - half * log_form
        told_row = told(
            self.space.chains,
            leapfrogs=2 * self.steps * PRODUCT + 1,
            divergent=~(good & jnp.isfinite(value)),
            log_density=value,
            objective=jnp.where(good, evidence, np.nan),
            gradient_norm=fit.gradient_norm,
            # Up to log det H, which is the same for all draws.
            log_weight=jnp.where(good, value - fit.log_density + half, np.nan),
            converged=good & (last < ROUGH),
        )
        return State(position, gradient, value, here.step), told_row

    def root(self, position: Vector, noise: Vector, norm: jax.Array) -> tuple[Vector, jax.Array, jax.Array, jax.Array]:
        """H^-1/2 noise; e_1^T log(T) e_1; the vector's last coefficient relative to all; and whether T is positive
        definite (where it is not, the vector is zero)."""
        space, k = self.space, self.steps
        first = {n: space.spread(1 / norm, x) * x for n, x in noise.items()}
        weights = jnp.zeros((space.chains, k), jnp.float64)
        none = jnp.zeros(space.chains, jnp.float64)

        def sweep(_: Any, carry: Any) -> Any:
            """The recurrence from the start, adding up the vectors with the weights known so far; then new weights."""
            weights = carry[0]
            at = (first, space.zeros(), none, space.zeros(), Tridiagonal(weights * 0, weights * 0))
            *_, total, matrix = lax.fori_loop(0, k, lambda j, c: self._step(position, weights, j, c), at)
            weights, log_form, last, good = _functions(matrix)
            return weights * norm[:, None], total, log_form, last, good

        begin = (weights, space.zeros(), none, none, none > 0)
        # Twice the same code: the second sweep meets the same vectors to the last bit.
        _, total, log_form, last, good = lax.fori_loop(0, 2, sweep, begin)
        return total, log_form, last, good

    def _step(self, position: Vector, weights: jax.Array, j: jax.Array, carry: Any) -> Any:
        space = self.space
        q, before, coupling, total, matrix = carry
        total = space.axpy(weights[:, j], q, total)
        u = space.axpy(-coupling, before, product(self.target, position, q))
        alpha, square = space.dots([(q, u), (u, u)])
        u = space.axpy(-alpha, q, u)
        # Not square - alpha^2, whose rounding would grow from step to step. What is within rounding of nothing ends the
        # recurrence, and all that follows is zero.
        rest = space.dots([(u, u)])[0]
        beta = jnp.where(rest > self._rounding() * square, jnp.sqrt(rest), 0.0)
        inverse = jnp.where(beta > 0, 1 / jnp.where(beta > 0, beta, 1.0), 0.0)
        following = {n: space.spread(inverse, x) * x for n, x in u.items()}
        write = lambda buffer, value: lax.dynamic_update_index_in_dim(buffer, value, j, axis=1)  # noqa: E731
        return following, q, beta, total, Tridiagonal(write(matrix.alpha, alpha), write(matrix.beta, beta))

    def _rounding(self) -> float:
        """Squared relative rounding of a Lanczos vector."""
        return float(max((16 * np.finfo(s.dtype).eps for s in self.space.sites), default=1.0)) ** 2

    def metric(self, fit: Mode) -> Metric | None:
        """The diagonal of H^-1 is not known from products with H."""
        return None


def _functions(matrix: Tridiagonal) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """T^-1/2 e_1, e_1^T log(T) e_1, the last element of the former relative to its norm, and T's positivity."""
    alpha, beta = matrix
    k = alpha.shape[1]
    # Past the end of the space rows are zero: 1 on the diagonal leaves them alone.
    live = jnp.cumprod(jnp.concatenate([jnp.ones_like(beta[:, :1]), beta[:, :-1]], axis=1) > 0, axis=1) > 0
    finite = jnp.isfinite(alpha).all(axis=1) & jnp.isfinite(beta).all(axis=1)
    diagonal = jnp.where(live & finite[:, None], alpha, 1.0)
    couple = jnp.where(live[:, 1:] & finite[:, None], beta[:, :-1], 0.0)
    full = jnp.zeros((alpha.shape[0], k, k), jnp.float64)
    at = jnp.arange(k)
    full = full.at[:, at, at].set(diagonal)
    full = full.at[:, at[1:], at[:-1]].set(couple).at[:, at[:-1], at[1:]].set(couple)
    values, vectors = lapack.eigh(full)
    good = finite & (values > 0).all(axis=1)
    values = jnp.where(good[:, None], values, 1.0)
    head = vectors[:, 0, :]
    weights = jnp.sum(vectors * (head / jnp.sqrt(values))[:, None, :], axis=2)
    weights = jnp.where(good[:, None], weights, 0.0)
    size = jnp.sqrt(jnp.sum(weights**2, axis=1))
    last = jnp.where(live[:, -1], jnp.abs(weights[:, -1]) / jnp.where(size > 0, size, 1.0), 0.0)
    return weights, jnp.sum(head**2 * jnp.log(values), axis=1), last, good
