"""Pathfinder: along an ascent to the mode, the normal approximation with the best ELBO (Zhang, Carpenter, Gelman &
Vehtari 2022, JMLR 23(306), arXiv:2108.03782).

At every point of an L-BFGS path the inverse Hessian is H = diag(alpha) + beta gamma beta^T with beta = [alpha Z, S] of
the last J pairs and a diagonal alpha that the pairs update (Gilbert & Lemarechal 1989, eq. 4.9), and the approximation
is N(x + H g, H), g being the gradient of the log density itself. Only the best one's factors are kept.

The factorisation is by the 2J x 2J Gram matrix W = beta^T alpha^-1 beta, never by a QR of beta: with W = U w U^T and
B = U w^-1/2, Q = alpha^-1/2 beta B has orthonormal columns, M = 1 + B^T W gamma W B is H in their span, L L^T = M, and
x = mean + alpha^1/2 n + beta K beta^T alpha^-1/2 n with K = B (L - 1) B^T.

With several chains each walks a path of its own; the chains' draws are pooled by their weights (`ppl.report.psis`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ir import lapack
from ir.counter import Key

from .climb import Ascent, Climb, Lbfgs
from .fit import NOISE, FitInfo, pick, told
from .history import Pairs, ordered, solve, sort
from .laplace import LOG_2PI
from .leapfrog import when
from .metric import Diagonal
from .protocol import Handover, State, Target
from .space import Space, Vector, add, combine, multiply

THIN = 1e-10
"""Directions of beta whose part in W is below this are left out: they are within rounding of the others."""


class Approximation(NamedTuple):
    """N(mean, diag(alpha) + beta gamma beta^T)."""

    mean: Vector
    alpha: Vector  # 1 on padding
    s: Vector  # [C, J, ...]
    z: Vector
    spread: jax.Array  # K, float64[C, 2J, 2J]
    gamma: jax.Array
    half_log_det: jax.Array  # of the covariance
    elbo: jax.Array  # -inf: none yet


class Path(NamedTuple):
    """The state of the walk: the iterate, the climb, the diagonal, and the best approximation so far."""

    iterate: State
    climb: Ascent
    alpha: Vector
    best: Approximation


@dataclass(frozen=True)
class Pathfinder:
    """The fit. history: J. samples: draws that an ELBO is estimated from."""

    space: Space
    target: Target
    history: int = 6
    samples: int = 10
    tolerance: float = 1e-8

    @property
    def climb(self) -> Climb:
        return Climb(self.space, self.target, Lbfgs(self.history), self.tolerance)

    def copies(self) -> int:
        """Where chains stand 2, the climb 8 + 4J, alpha 1; the best 2 + 2J, the one in hand 2; a sample 3."""
        return self.climb.copies() + 2 * self.history + 10

    def begin(self, start: Handover) -> Path:
        state = State(*(jax.tree.map(jnp.copy, start.state)))
        return Path(state, self.climb.begin(Handover(state)), self.space.full(1.0), self._nothing(state.position))

    def _nothing(self, position: Vector) -> Approximation:
        """Before the first pair: a unit normal, with no claim to be good."""
        space, m = self.space, 2 * self.history
        stack = lambda: {s.name: jnp.zeros((space.chains, self.history, *s.local), s.dtype) for s in space.sites}  # noqa: E731
        zero = lambda *shape: jnp.zeros((space.chains, *shape), jnp.float64)  # noqa: E731
        mean = {n: jnp.copy(x) for n, x in position.items()}
        return Approximation(
            *(mean, space.full(1.0), stack(), stack(), zero(m, m), zero(m, m), zero(), zero() - np.inf)
        )

    def improve(self, key: Key, here: State, fit: Path, active: jax.Array) -> tuple[State, Path, FitInfo, jax.Array]:
        """One trial of the line search; where it is taken, the approximation at the new point and its ELBO."""
        before = fit.climb.memory.count
        iterate, climb, ended, row, (taken, s, z) = self.climb.round(fit.iterate, fit.climb, active)
        entered = taken & (climb.memory.count > before)
        alpha = self._diagonal(fit.alpha, s, z, entered)

        def examine(best: Approximation) -> Approximation:
            made = self._approximate(iterate, climb.memory, alpha)
            elbo = self._elbo(key, made)
            better = entered & (elbo > best.elbo)
            return pick(better, made._replace(elbo=elbo), best)

        best = when(jnp.any(entered), examine, fit.best)
        row = row._replace(
            leapfrogs=1 + jnp.where(entered, np.int32(self.samples), np.int32(0)),
            objective=best.elbo,
            converged=climb.converged & jnp.isfinite(best.elbo),
        )
        return here, Path(iterate, climb, alpha, best), row, ended

    def _diagonal(self, alpha: Vector, s: Vector, z: Vector, entered: jax.Array) -> Vector:
        """1/alpha' = a/(b alpha) + z^2/b - a s^2 / (b c alpha^2), a = <alpha z, z>, b = <z, s>, c = <s/alpha, s>."""
        space = self.space
        s_over = {n: x / alpha[n] for n, x in s.items()}
        a, b, c = space.dots([(multiply(alpha, z), z), (z, s), (s_over, s)])
        a, b, c = (jnp.where(entered, x, 1.0) for x in (a, b, c))
        made = {}
        for n, old in alpha.items():
            a_b, over_b, a_bc = (space.spread(x, old) for x in (a / b, 1 / b, a / (b * c)))
            inverse = a_b / old + z[n] ** 2 * over_b - a_bc * s_over[n] ** 2
            made[n] = jnp.where(space.spread(entered, old), 1 / inverse, old)
        return space.keep_real(made, 1.0)

    def _approximate(self, here: State, pairs: Pairs, alpha: Vector) -> Approximation:
        space, j, g = self.space, self.history, here.gradient
        alpha_z = {n: alpha[n][:, None] * z for n, z in pairs.z.items()}
        s_over = {n: s / alpha[n][:, None] for n, s in pairs.s.items()}
        log_alpha = {n: jnp.log(x) for n, x in alpha.items()}
        zaz, sas, g_az, g_s, log_det = space.inner(
            [(alpha_z, pairs.z), (s_over, pairs.s), (g, alpha_z), (g, pairs.s), (log_alpha, space.full(1.0))]
        )
        order, r, _, diagonal = ordered(pairs)
        full = order < pairs.count[:, None]
        square = full[:, :, None] & full[:, None, :]
        both = lambda x: jnp.where(square, sort(sort(x, order, 1), order, 2), 0.0)  # noqa: E731
        zaz, sas, sz = both(zaz), both(sas), both(pairs.sz)
        eye = jnp.broadcast_to(jnp.eye(j, dtype=jnp.float64), r.shape)
        inverse = jnp.where(square, solve(r, eye), 0.0)
        middle = zaz + eye * diagonal[:, None, :]
        zero = jnp.zeros_like(zaz)
        lower_right = inverse.swapaxes(1, 2) @ middle @ inverse
        gamma = _blocks(zero, -inverse, -inverse.swapaxes(1, 2), lower_right)
        gram = _blocks(zaz, sz.swapaxes(1, 2), sz, sas)
        spread, log_det_m = _factorise(gram, gamma)
        # Back to the slots.
        order2 = jnp.concatenate([_slots(pairs, j), _slots(pairs, j) + j], axis=1)
        gamma, spread = (sort(sort(x, order2, 1), order2, 2) for x in (gamma, spread))
        onto = jnp.sum(gamma * jnp.concatenate([g_az, g_s], axis=1)[:, None, :], axis=2)
        step = add(multiply(alpha, g), add(combine(onto[:, :j], alpha_z), combine(onto[:, j:], pairs.s)))
        return Approximation(
            *(add(here.position, step), alpha, pairs.s, pairs.z, spread, gamma),
            0.5 * (log_det + log_det_m),
            jnp.full(space.chains, -np.inf, jnp.float64),
        )

    def _elbo(self, key: Key, made: Approximation) -> jax.Array:
        def sample(t: jax.Array, total: jax.Array) -> jax.Array:
            x, log_q = self._sample(key, NOISE + 16 * t, made)
            value, _ = self.target(x)
            return total + value - log_q

        zero = jnp.zeros(self.space.chains, jnp.float64)
        elbo = lax.fori_loop(0, self.samples, sample, zero) / self.samples
        return jnp.where(jnp.isfinite(elbo), elbo, -np.inf)

    def _sample(self, key: Key, purpose: jax.Array | int, made: Approximation) -> tuple[Vector, jax.Array]:
        """(x, log q(x)), with one all-reduce."""
        space, j = self.space, self.history
        noise = space.normal(key, purpose)
        root = {n: jnp.sqrt(x) for n, x in made.alpha.items()}
        wide = multiply(root, noise)
        square, on_z, on_s = space.inner(
            [(noise, noise), (wide, made.z), ({n: x / root[n] for n, x in noise.items()}, made.s)]
        )
        onto = jnp.sum(made.spread * jnp.concatenate([on_z, on_s], axis=1)[:, None, :], axis=2)
        low = add(multiply(made.alpha, combine(onto[:, :j], made.z)), combine(onto[:, j:], made.s))
        log_q = -0.5 * square - made.half_log_det - 0.5 * space.degrees * LOG_2PI
        return add(made.mean, add(wide, low)), log_q

    def draw(self, key: Key, here: State, fit: Path) -> tuple[State, FitInfo]:
        x, log_q = self._sample(key, NOISE, fit.best)
        value, gradient = self.target(x)
        row = told(
            self.space.chains,
            leapfrogs=1,
            divergent=~jnp.isfinite(value),
            log_density=value,
            objective=fit.best.elbo,
            gradient_norm=jnp.sqrt(fit.climb.square),
            log_weight=value - log_q,
            converged=jnp.isfinite(fit.best.elbo),
        )
        return State(x, gradient, value, here.step), row

    def metric(self, fit: Path) -> Diagonal:
        """sqrt of alpha + sum_jk beta_j gamma_jk beta_k, row by row of gamma."""
        best, j = fit.best, self.history
        found = {}
        for n, alpha in best.alpha.items():
            beta = jnp.concatenate([alpha[:, None] * best.z[n], best.s[n]], axis=1)
            variance = alpha
            for row in range(2 * j):
                variance = variance + beta[:, row] * combine(best.gamma[:, row], {n: beta})[n]
            found[n] = jnp.sqrt(jnp.maximum(variance, np.asarray(1e-6, alpha.dtype) * alpha))
        return Diagonal(found)


def _blocks(a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array) -> jax.Array:
    return jnp.concatenate([jnp.concatenate([a, b], axis=2), jnp.concatenate([c, d], axis=2)], axis=1)


def _slots(pairs: Pairs, m: int) -> jax.Array:
    """int32[C, m]: where the pair of each slot stands in order of age."""
    return (jnp.arange(m, dtype=jnp.int32) - pairs.count[:, None]) % m


def _factorise(gram: jax.Array, gamma: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(K, log det M) of W and gamma, [C, 2J, 2J]; NaN where M is not positive definite."""
    length = jnp.sqrt(jnp.diagonal(gram, axis1=1, axis2=2))
    unit = jnp.where(length > 0, 1 / jnp.where(length > 0, length, 1.0), 0.0)
    scaled = gram * unit[:, :, None] * unit[:, None, :]
    values, vectors = lapack.eigh(0.5 * (scaled + scaled.swapaxes(1, 2)))
    thick = values > THIN * values[:, -1:]
    inverse_root = jnp.where(thick, 1 / jnp.sqrt(jnp.where(thick, values, 1.0)), 0.0)
    b = unit[:, :, None] * vectors * inverse_root[:, None, :]
    eye = jnp.eye(gram.shape[1], dtype=jnp.float64)
    inside = gram @ b  # W B; its columns are zero where b's are
    m = eye + inside.swapaxes(1, 2) @ gamma @ inside
    lower = lapack.cholesky(0.5 * (m + m.swapaxes(1, 2)))
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(lower, axis1=1, axis2=2)), axis=1)
    return b @ (lower - eye) @ b.swapaxes(1, 2), log_det
