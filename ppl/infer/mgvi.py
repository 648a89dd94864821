"""Metric Gaussian variational inference (Knollmueller & Ensslin 2019, arXiv:1901.11033).

The approximation is N(m, G(m)^-1) with the Fisher metric G = J^T I J of everything that the model says: of the
observations, and of the priors as observations of the latents (for whitened latents the unit matrix). A draw of G^-1
needs products with G alone: with b = J^T sqrt(I) n of white noise n, whose covariance is G, it is the solution r of
G r = b, by conjugate gradients. The mean maximises what is left of the evidence bound with the draws r_k held,

    K(m) = 1/(2N) sum_k l(m + r_k) + l(m - r_k),

by Newton steps with G in the place of the curvature and a line search; then draws are made at the new mean, and so on.

Draws come from the same noise in every round, so that the rounds have a fixed point: the mean has converged when a
round moves it by less than `tolerance` posterior standard deviations, sqrt(d^T G d). What it is off by for the choice
of the noise differs from chain to chain, and R-hat tells it. For a Gaussian posterior, mean and covariance are exact.
Where l is not finite at m + r_k, the round is one towards the mode: its r_k are zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ir.counter import Key

from .fit import NOISE, FitInfo, pick, told
from .information import PRODUCT, Information, no_information
from .krylov import conjugate_gradients
from .leapfrog import when
from .linesearch import Search, begin_search, exhausted, judge
from .metric import Metric
from .protocol import Handover, State, Target
from .space import Space, Vector, add, subtract

CURVATURE = 0.5
"""The line search's bound on the slope at its end, relative to that at its start."""
CLOSE = 0.1
"""Newton steps of a round end this far from its best mean, in units of the tolerance."""


class Mean(NamedTuple):
    """The state of the fit."""

    mean: Vector
    level: jax.Array  # K at the mean
    noise: Key  # of all rounds, uint32[C] each
    begun: jax.Array  # bool[C]: the noise is chosen
    moved: jax.Array  # by the latest round [sd]
    converged: jax.Array
    failed: jax.Array


class Newton(NamedTuple):
    """The way to the best mean for given draws."""

    mean: Vector
    value: jax.Array
    gradient: Vector
    direction: Vector
    search: Search
    steps: jax.Array  # int32[C], taken
    gradients: jax.Array  # int32[C], spent
    solved: jax.Array  # bool[C]: every direction was found
    going: jax.Array
    arrived: jax.Array  # bool[C]: no step worth taking is left
    fresh: jax.Array  # bool[C]: a direction is wanted


@dataclass(frozen=True)
class Mgvi:
    """The fit. samples: N, pairs of mirrored draws. accuracy: of a solution, |G r - b| / |b|, found in at most
    `iterations` products. steps: Newton steps of a round."""

    space: Space
    target: Target
    information: Information = field(default_factory=no_information)
    samples: int = 8
    tolerance: float = 0.1
    accuracy: float = 1e-5
    iterations: int = 1000
    steps: int = 10

    def copies(self) -> int:
        """Where chains stand 2, mean 1, draws N; gradient, direction, trial and its gradient 4; a solution 6."""
        return 13 + self.samples

    def begin(self, start: Handover) -> Mean:
        c = self.space.chains
        zero = lambda: jnp.zeros(c, jnp.float64)  # noqa: E731
        key = (jnp.zeros(c, jnp.uint32), jnp.zeros(c, jnp.uint32))
        mean = {n: jnp.copy(x) for n, x in start.state.position.items()}
        bad = ~jnp.isfinite(start.state.log_density)
        level = jnp.copy(start.state.log_density)
        return Mean(mean, level, key, zero() > 0, zero() + np.inf, zero() > 0, bad)

    def improve(self, key: Key, here: State, fit: Mean, active: jax.Array) -> tuple[State, Mean, FitInfo, jax.Array]:
        """One round: draws at the mean, then the best mean for them."""
        space = self.space
        active = active & ~fit.converged & ~fit.failed
        noise = pick(fit.begun, fit.noise, tuple(jnp.broadcast_to(w, space.chains) for w in key))
        draws, spent, solved = self._draws(noise, fit.mean, active)
        end, full = self._climb(fit.mean, draws, active)
        step = subtract(end.mean, fit.mean)
        moved = jnp.sqrt(space.dots([(step, self.information.product(fit.mean, step))])[0])
        bad = active & ~jnp.isfinite(end.value)
        taken = active & ~bad
        good = solved & end.solved & full & end.arrived
        fit = Mean(
            space.where(taken, end.mean, fit.mean),
            jnp.where(taken, end.value, fit.level),
            noise,
            fit.begun | active,
            jnp.where(taken, moved, fit.moved),
            fit.converged | (taken & good & (moved < self.tolerance)),
            fit.failed | bad,
        )
        row = told(
            space.chains,
            leapfrogs=spent + end.gradients + np.int32(PRODUCT),
            divergent=fit.failed,
            log_density=here.log_density,
            objective=fit.level,
            gradient_norm=fit.moved,
            converged=fit.converged,
        )
        return here, fit, row, fit.converged | fit.failed

    def draw(self, key: Key, here: State, fit: Mean) -> tuple[State, FitInfo]:
        r, form, iterations, solved = self._draw(key, NOISE, fit.mean, ~fit.failed)
        position = add(fit.mean, r)
        value, gradient = self.target(position)
        good = solved & ~fit.failed & jnp.isfinite(value)
        row = told(
            self.space.chains,
            leapfrogs=iterations * np.int32(PRODUCT) + np.int32(2),
            divergent=~good,
            log_density=value,
            objective=fit.level,
            gradient_norm=fit.moved,
            # Up to log det G, which is the same for all draws of a chain.
            log_weight=jnp.where(good, value - fit.level + 0.5 * form, np.nan),
            converged=fit.converged & solved,
        )
        return State(position, gradient, value, here.step), row

    def metric(self, fit: Mean) -> Metric | None:
        """The diagonal of G^-1 is not known from products with G."""
        return None

    def _solve(self, at: Vector, b: Vector) -> tuple[Vector, jax.Array, jax.Array]:
        """(G(at)^-1 b, products made, solved)."""
        rounding = max((float(np.finfo(s.dtype).eps) for s in self.space.sites), default=0.0)
        accuracy = max(self.accuracy, 50 * rounding)
        product = lambda v: self.information.product(at, v)  # noqa: E731
        found, _ = conjugate_gradients(self.space, product, b, accuracy, self.iterations)
        return found.y, found.iterations, found.solved

    def _draw(
        self, key: Key, purpose: jax.Array | int, at: Vector, wanted: jax.Array
    ) -> tuple[Vector, jax.Array, jax.Array, jax.Array]:
        """(r ~ N(0, G^-1), r^T G r, products made, solved); zero for chains that are not wanted."""
        b = self.information.noise(key, purpose, at)
        b = self.space.where(wanted, b, self.space.zeros())
        r, iterations, solved = self._solve(at, b)
        return r, self.space.dots([(r, b)])[0], iterations, solved

    def _draws(self, key: Key, at: Vector, active: jax.Array) -> tuple[Vector, jax.Array, jax.Array]:
        """N draws [N, C, ...], gradients spent, and whether all were solved."""

        def one(t: jax.Array) -> tuple[Vector, jax.Array, jax.Array]:
            r, _, iterations, solved = self._draw(key, NOISE + 16 * t, at, active)
            return r, iterations * np.int32(PRODUCT) + np.int32(1), solved

        draws, spent, solved = lax.map(one, jnp.arange(self.samples, dtype=jnp.int32))
        return draws, jnp.sum(spent, axis=0, dtype=jnp.int32), jnp.all(solved, axis=0)

    def _bound(self, mean: Vector, draws: Vector) -> tuple[jax.Array, Vector]:
        """K and its gradient."""

        def one(t: jax.Array, carry: tuple[jax.Array, Vector]) -> tuple[jax.Array, Vector]:
            sign = 1 - 2 * (t % 2)
            r = {n: lax.dynamic_index_in_dim(x, t // 2, keepdims=False) for n, x in draws.items()}
            value, gradient = self.target({n: x + sign.astype(x.dtype) * r[n] for n, x in mean.items()})
            return carry[0] + value, add(carry[1], gradient)

        begin = (jnp.zeros(self.space.chains, jnp.float64), self.space.zeros())
        value, gradient = lax.fori_loop(0, 2 * self.samples, one, begin)
        share = 1 / (2 * self.samples)
        return value * share, {n: g * np.asarray(share, g.dtype) for n, g in gradient.items()}

    def _climb(self, start: Vector, draws: Vector, active: jax.Array) -> tuple[Newton, jax.Array]:
        """The best mean from a start on, and bool[C]: the draws could be used."""
        space = self.space
        none = jnp.zeros(space.chains, jnp.int32)
        no = none > 0

        def first(carry: Any) -> Any:
            """K at the start; a second time without the draws where it is not finite."""
            count, draws, _, _, full = carry
            value, gradient = self._bound(start, draws)
            full = full & jnp.isfinite(value) & space.all_finite(gradient)
            kept = {n: jnp.where(space.spread(full, x[0])[None], x, jnp.zeros_like(x)) for n, x in draws.items()}
            return count + np.int32(1), kept, value, gradient, full

        zero = jnp.zeros(space.chains, jnp.float64)
        count, draws, value, gradient, full = lax.while_loop(
            lambda c: (c[0] == 0) | ((c[0] == 1) & jnp.any(active & ~c[4])),
            first,
            (jnp.int32(0), draws, zero, space.zeros(), ~no),
        )
        going = active & jnp.isfinite(value)
        found = Newton(
            *(start, value, gradient, space.zeros(), begin_search(value, zero, zero + 1.0), none),
            *(none + 2 * self.samples * count, ~no, going, no, going),
        )
        found = lax.while_loop(lambda c: jnp.any(c.going), lambda c: self._step(start, draws, c), found)
        return found, full

    def _step(self, at: Vector, draws: Vector, c: Newton) -> Newton:
        """A direction where one is wanted, then one trial of every chain's line search."""
        space = self.space
        c = when(jnp.any(c.fresh), lambda c: self._turn(at, c), c)
        mean = space.axpy(c.search.step, c.direction, c.mean)
        value, gradient = self._bound(mean, draws)
        slope = space.dots([(gradient, c.direction)])[0]
        slack = self._rounding() * jnp.maximum(1.0, jnp.abs(c.value))
        taken, following = judge(c.search, value, slope, CURVATURE, slack)
        taken = taken & c.going
        return c._replace(
            mean=space.where(taken, mean, c.mean),
            value=jnp.where(taken, value, c.value),
            gradient=space.where(taken, gradient, c.gradient),
            search=pick(c.going, following, c.search),
            steps=c.steps + taken,
            gradients=c.gradients + jnp.where(c.going, np.int32(2 * self.samples), 0),
            going=c.going & (taken | ~exhausted(following)),
            fresh=taken,
        )

    def _turn(self, at: Vector, c: Newton) -> Newton:
        """The next direction and its search, for the chains that want them; those that have arrived stop."""
        space, fresh = self.space, c.fresh
        direction, iterations, solved = self._solve(at, space.where(fresh, c.gradient, space.zeros()))
        slope = space.dots([(c.gradient, direction)])[0]
        size = jnp.maximum(1.0, jnp.abs(c.value))
        arrived = (slope <= (CLOSE * self.tolerance) ** 2) | (0.5 * slope <= 10 * self._rounding() * size)
        ended = arrived | (c.steps >= self.steps) | ~jnp.isfinite(slope)
        return c._replace(
            direction=space.where(fresh, direction, c.direction),
            search=pick(fresh, begin_search(c.value, slope, jnp.ones_like(slope)), c.search),
            gradients=c.gradients + jnp.where(fresh, iterations * np.int32(PRODUCT), 0),
            solved=c.solved & (solved | ~fresh),
            going=c.going & ~(fresh & ended),
            arrived=c.arrived | (fresh & arrived),
        )

    def _rounding(self) -> float:
        """The relative rounding of log densities."""
        return float(max((np.finfo(s.dtype).eps for s in self.space.sites), default=2.0**-52))
