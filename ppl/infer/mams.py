"""MAMS: Metropolis-adjusted microcanonical trajectories (Robnik, Cohn-Gordon & Seljak 2025, arXiv:2503.01707).

A transition draws a direction, makes N isokinetic steps (`ppl.infer.isokinetic`) and accepts their end with probability
min(1, exp(-W)), where W is the sum of the kinetic changes of all kicks less the change of the log density. Kicks and
drifts are reversible and W has the logarithm of their volume in it, so draws are exact. Refreshments of the direction
between the steps keep that: they are reversible themselves and cost no W.

Steps are in units of sqrt(d), which makes them comparable to leapfrogs: a direction moves each latent by 1 / sqrt(d).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ir.counter import Key, uniform

from .isokinetic import kick, refreshment
from .leapfrog import acceptances, decide, record_leaf, select, select_point, start_progress, when
from .metric import Metric
from .protocol import ACCEPT, LENGTH, MOMENTUM, Point, Progress, Target
from .space import Space, Vector

PARTIAL = 1.25
"""Refreshed trajectories forget their direction over so many times their length."""
LONGEST = 1024
"""Steps of a trajectory."""


class Path(NamedTuple):
    """The trajectory of every chain: its moving end, and the draw it started from."""

    x: Vector
    u: Vector  # of unit length
    g: Vector  # whitened
    gg: jax.Array  # <g, g>
    ug: jax.Array
    kinetic: jax.Array  # sum of the kicks' changes
    draw: Point
    length: jax.Array  # float64[C]: the uniform number that the trajectory's length comes from
    progress: Progress


@dataclass(frozen=True)
class Mams:
    """The kernel. length: mean length of trajectories in sqrt(d); langevin: the direction is refreshed on the way."""

    space: Space
    target: Target
    length: float = 1.3
    langevin: bool = False

    def copies(self) -> int:
        """Moving end 3, draw 2; passing 2, as XLA:CPU's peak has them, and the noise of refreshments."""
        return 7 + self.langevin

    @property
    def dims(self) -> float:
        return float(self.space.degrees)

    def empty(self, draw: Point) -> Path:
        one = jnp.ones_like(draw.energy)
        progress = start_progress(draw.energy)
        return Path(draw.position, self.space.zeros(), draw.gradient, one, 0 * one, 0 * one, draw, one, progress)

    def begin(
        self, fresh: jax.Array, path: Path, momentum: Vector, kinetic: jax.Array, metric: Metric, key: Key
    ) -> Path:
        where, draw = self.space.where, path.draw
        g = metric.pull(draw.gradient)
        scale = 1 / jnp.sqrt(kinetic)
        u = {n: self.space.spread(scale, p) * p for n, p in momentum.items()}
        gg, ug = self.space.dots([(g, g), (u, g)])
        energy = -draw.log_density
        return Path(
            where(fresh, draw.position, path.x),
            where(fresh, u, path.u),
            where(fresh, g, path.g),
            jnp.where(fresh, gg, path.gg),
            jnp.where(fresh, ug, path.ug),
            jnp.where(fresh, 0.0, path.kinetic),
            draw._replace(energy=jnp.where(fresh, energy, draw.energy)),
            jnp.where(fresh, uniform(key, (np.uint32(0), np.uint32(LENGTH)), "float64"), path.length),
            select(fresh, start_progress(energy), path.progress),
        )

    def grow(self, frozen: jax.Array, path: Path, step_size: jax.Array, metric: Metric, key: Key) -> Path:
        space, eps = self.space, step_size * np.sqrt(self.dims)
        u, ug = (path.u, path.ug) if not self.langevin else self._refresh(path, eps, key)
        first = kick(path.gg, ug, 0.5 * eps, self.dims)
        u = self._combine(first.along, u, first.gradient, path.g)
        x = space.axpy(eps, metric.push(u), path.x)
        log_density, gradient = self.target(x)
        g = metric.pull(gradient)
        gg, ug, uu = space.dots([(g, g), (u, g), (u, u)])
        scale = 1 / jnp.sqrt(uu)  # one, to rounding
        last = kick(gg, ug * scale, 0.5 * eps, self.dims)
        u = self._combine(last.along * scale, u, last.gradient, g)
        kinetic = path.kinetic + first.kinetic + last.kinetic
        end = Point(x, gradient, log_density, kinetic - log_density)
        was_done = path.progress.done | frozen
        progress = record_leaf(path.progress, end.energy)
        ended = ~was_done & (progress.divergent | (progress.leapfrogs >= steps(path.length, self.length / step_size)))
        log_u = jnp.log(uniform(key, (np.uint32(0), np.uint32(ACCEPT)), "float64"))
        below, margin = decide(log_u, -progress.energy_error)
        accepted = ended & below
        draw = when(jnp.any(accepted), lambda draw: select_point(space, accepted, end, draw), path.draw)
        acceptance, symmetric = acceptances(progress.energy_error)
        progress = progress._replace(
            done=path.progress.done | ended,
            moved=path.progress.moved | accepted,
            accept_sum=jnp.where(ended, acceptance * progress.leapfrogs, progress.accept_sum),
            symmetric_sum=jnp.where(ended, symmetric * progress.leapfrogs, progress.symmetric_sum),
            accept_margin=jnp.where(ended, margin, progress.accept_margin),
        )
        ug = last.along * ug * scale + last.gradient * gg
        return Path(x, u, g, gg, ug, kinetic, draw, path.length, progress)

    def _combine(self, a: jax.Array, u: Vector, b: jax.Array, g: Vector) -> Vector:
        return {n: self.space.spread(a, x) * x + self.space.spread(b, x) * g[n] for n, x in u.items()}

    def _refresh(self, path: Path, eps: jax.Array, key: Key) -> tuple[Vector, jax.Array]:
        """The direction and its product with the gradient after a refreshment; none before the first step."""
        noise = self.space.normal(key, MOMENTUM + 1 + (path.progress.leapfrogs.astype(jnp.uint32) << np.uint32(8)))
        un, gn, nn = self.space.dots([(path.u, noise), (path.g, noise), (noise, noise)])
        nu = refreshment(eps, jnp.full_like(eps, PARTIAL * self.length * np.sqrt(self.dims)), self.dims)
        nu = jnp.where(path.progress.leapfrogs > 0, nu, 0.0)
        scale = 1 / jnp.sqrt(1 + 2 * nu * un + nu**2 * nn)
        return self._combine(scale, path.u, nu * scale, noise), scale * (path.ug + nu * gn)


def steps(u: jax.Array, mean: jax.Array) -> jax.Array:
    """int32: a number of steps whose mean is exactly `mean`, at least 1, from a uniform number: ceil(u s), where
    s = k + k (mean - (k + 1) / 2) / (k + 1 - mean) with k = floor(2 mean - 1) lies between k and k + 1."""
    mean = jnp.clip(mean, 1.0, 0.5 * LONGEST)
    k = jnp.floor(2 * mean - 1)
    s = k + k * (mean - 0.5 * (k + 1)) / (k + 1 - mean)
    return jnp.maximum(jnp.ceil(u * s), 1.0).astype(jnp.int32)
