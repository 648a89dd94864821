"""MAMS: Metropolis-adjusted microcanonical trajectories (Robnik, Cohn-Gordon & Seljak 2025, arXiv:2503.01707).

A transition draws a direction, makes N isokinetic steps (`ppl.infer.isokinetic`) and accepts their end with probability
min(1, exp(-W)), where W is the sum of the kinetic changes of all kicks less the change of the log density. Kicks and
drifts are reversible and W has the logarithm of their volume in it, so draws are exact. Refreshments of the direction
between the steps keep that: they are reversible themselves and cost no W.

A chain that has its devices to itself goes all of its path in one round, as HMC's does (`ppl.infer.hmc`).

Steps are in units of sqrt(d), which makes them comparable to leapfrogs: a direction moves each latent by 1 / sqrt(d).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ir.counter import Key, uniform

from .isokinetic import Products, kick, refreshment, turn
from .leapfrog import LEAPFROGS, acceptances, arrive, decide, record_leaf, select, select_point, start_progress, when
from .metric import Metric
from .protocol import ACCEPT, LENGTH, MOMENTUM, Point, Progress, Target
from .space import Space, Vector

PARTIAL = 1.25
"""Refreshed trajectories forget their direction over so many times their length."""
LONGEST = 1024
"""Steps of a trajectory."""


class Path(NamedTuple):
    """The trajectory of every chain: its moving end, and the draw it started from.

    A single chain's position is no part of it (empty): between rounds it stands at its draw.
    """

    x: Vector
    u: Vector  # of unit length up to rounding, after the kick that opens the next step
    kinetic: jax.Array  # sum of the kicks' changes, that one included
    draw: Point
    length: jax.Array  # float64[C]: the uniform number that the trajectory's length comes from
    progress: Progress


@dataclass(frozen=True)
class Mams:
    """The kernel. length: mean length of trajectories in sqrt(d); langevin: the direction is refreshed on the way.

    The kick that closes a step, a refreshment and the kick that opens the next step are one linear combination, and
    their products one all-reduce (`ppl.infer.isokinetic.turn`): between two gradients only position and direction stay.
    """

    space: Space
    target: Target
    length: float = 1.3
    langevin: bool = False

    def copies(self) -> int:
        """Moving end 2, draw 2; passing 2 where chains advance together, as XLA:CPU's peak has them, and the noise of
        refreshments."""
        return 6 + self.langevin

    @property
    def dims(self) -> float:
        return float(self.space.degrees)

    def empty(self, draw: Point) -> Path:
        one = jnp.ones_like(draw.energy)
        x = {} if self._alone else draw.position
        return Path(x, self.space.zeros(), 0 * one, draw, one, start_progress(draw.energy))

    @property
    def _alone(self) -> bool:
        return self.space.chains == 1

    def begin(
        self,
        fresh: jax.Array,
        path: Path,
        momentum: Vector,
        kinetic: jax.Array,
        step_size: jax.Array,
        metric: Metric,
        key: Key,
    ) -> Path:
        where, draw = self.space.where, path.draw
        g = metric.pull(draw.gradient)
        # The length of the momentum with the others in one all-reduce: that of `kinetic` is then not made.
        gg, pg, pp = self.space.dots([(g, g), (momentum, g), (momentum, momentum)])
        scale = 1 / jnp.sqrt(pp)
        u, ug = {n: self.space.spread(scale, p) * p for n, p in momentum.items()}, pg * scale
        opening = kick(gg, ug, 0.5 * step_size * np.sqrt(self.dims), self.dims)
        # Whitened anew, so that XLA:CPU does not keep what the inner products were of for here.
        g = metric.pull(where(fresh, draw.gradient, self.space.zeros()))
        u = self._combine(opening.along, u, opening.gradient, g)
        energy = -draw.log_density
        return Path(
            where(fresh, draw.position, path.x) if path.x else {},
            where(fresh, u, path.u),
            jnp.where(fresh, opening.kinetic, path.kinetic),
            draw._replace(energy=jnp.where(fresh, energy, draw.energy)),
            jnp.where(fresh, uniform(key, (np.uint32(0), np.uint32(LENGTH)), "float64"), path.length),
            select(fresh, start_progress(energy), path.progress),
        )

    def grow(self, frozen: jax.Array, path: Path, step_size: jax.Array, metric: Metric, key: Key) -> Path:
        space, eps, alone = self.space, step_size * np.sqrt(self.dims), self._alone
        whole = steps(path.length, self.length / step_size)
        x, u, kinetic, leapfrogs = path.x or path.draw.position, path.u, path.kinetic, path.progress.leapfrogs
        if alone:

            def move(i: jax.Array, moving: tuple[Vector, Vector, jax.Array]) -> tuple[Vector, Vector, jax.Array]:
                x, u, kinetic = moving
                x = space.axpy(eps, metric.push(u), x)
                u, closing, opening = self._turn(u, self.target(x)[1], metric, eps, leapfrogs + 1 + i, key)
                return x, u, kinetic + closing + opening

            before = jnp.where(frozen, 0, whole - 1)
            with jax.named_scope(LEAPFROGS):
                x, u, kinetic = lax.fori_loop(np.int32(0), before[0], move, (x, u, kinetic))
            leapfrogs = leapfrogs + before
        x, log_density, gradient = arrive(space, self.target, metric, eps, x, u)
        turned, closing, opening = self._turn(u, gradient, metric, eps, leapfrogs + 1, key)
        kinetic = kinetic + closing
        end = Point(x, gradient, log_density, kinetic - log_density)
        was_done = path.progress.done | frozen
        # Gradients without an energy say nothing of acceptance: the end stands for all (see below).
        progress = record_leaf(path.progress._replace(leapfrogs=leapfrogs), end.energy)
        ended = ~was_done & (progress.divergent | (progress.leapfrogs >= whole))
        log_u = jnp.log(uniform(key, (np.uint32(0), np.uint32(ACCEPT)), "float64"))
        below, margin = decide(log_u, -progress.energy_error)
        accepted = ended & below
        take = lambda draw: select_point(space, accepted, end, draw)  # noqa: E731
        # For a single chain it is selected without a loop, whose operands XLA:CPU would give memory of their own.
        draw = when(jnp.any(accepted), take, path.draw, always=alone)
        acceptance, symmetric = acceptances(progress.energy_error)
        progress = progress._replace(
            done=path.progress.done | ended,
            moved=path.progress.moved | accepted,
            accept_sum=jnp.where(ended, acceptance * progress.leapfrogs, progress.accept_sum),
            symmetric_sum=jnp.where(ended, symmetric * progress.leapfrogs, progress.symmetric_sum),
            accept_margin=jnp.where(ended, margin, progress.accept_margin),
        )
        if alone:
            return Path({}, u, kinetic, draw, path.length, progress)
        return Path(x, turned, kinetic + opening, draw, path.length, progress)

    def _turn(
        self, u: Vector, gradient: Vector, metric: Metric, eps: jax.Array, leapfrogs: jax.Array, key: Key
    ) -> tuple[Vector, jax.Array, jax.Array]:
        """(u, dK, dK): the kick that closes a step, a refreshment if there are any, and the kick that opens the next
        step; and the kicks' kinetic changes. leapfrogs: int32[C], of the trajectory so far."""
        g = metric.pull(gradient)
        noise, products = self._products(u, g, leapfrogs, key)
        closing = kick(products.gg, products.ug / jnp.sqrt(products.uu), 0.5 * eps, self.dims)
        nu = refreshment(eps, jnp.full_like(eps, PARTIAL * self.length * np.sqrt(self.dims)), self.dims)
        made = turn(products, closing, nu if self.langevin else jnp.zeros_like(eps), 0.5 * eps, self.dims)
        u = self._combine(made.along, u, made.gradient, g)
        if noise is not None:
            u = {n: v + self.space.spread(made.noise, v) * noise[n] for n, v in u.items()}
        return u, closing.kinetic, made.opening

    def _products(self, u: Vector, g: Vector, leapfrogs: jax.Array, key: Key) -> tuple[Vector | None, Products]:
        """The noise of the refreshment after so many steps, if there are any, and all that decides a turn."""
        if not self.langevin:
            gg, ug, uu = self.space.dots([(g, g), (u, g), (u, u)])
            none = jnp.zeros_like(gg)
            return None, Products(gg, ug, uu, none, none, none)
        noise = self.space.normal(key, MOMENTUM + 1 + (leapfrogs.astype(jnp.uint32) << np.uint32(8)))
        pairs = [(g, g), (u, g), (u, u), (g, noise), (u, noise), (noise, noise)]
        found = self.space.dots(pairs)
        return noise, Products(*(found[i] for i in range(len(pairs))))

    def _combine(self, a: jax.Array, u: Vector, b: jax.Array, g: Vector) -> Vector:
        return {n: self.space.spread(a, x) * x + self.space.spread(b, x) * g[n] for n, x in u.items()}


def steps(u: jax.Array, mean: jax.Array) -> jax.Array:
    """int32: a number of steps whose mean is exactly `mean`, at least 1, from a uniform number: ceil(u s), where
    s = k + k (mean - (k + 1) / 2) / (k + 1 - mean) with k = floor(2 mean - 1) lies between k and k + 1."""
    mean = jnp.clip(mean, 1.0, 0.5 * LONGEST)
    k = jnp.floor(2 * mean - 1)
    s = k + k * (mean - 0.5 * (k + 1)) / (k + 1 - mean)
    return jnp.maximum(jnp.ceil(u * s), 1.0).astype(jnp.int32)
