"""Hamiltonian Monte Carlo with a fixed, jittered number of leapfrogs and a Metropolis test at the end (Neal 2011).

Only the end of a path needs its energy. A chain that has its devices to itself goes all of its path in one round: the
momentum is kept at half steps, the leapfrogs before the last one take gradients alone (XLA leaves the log density and
its sums out), and beside the draw only position, momentum and gradient are alive. Chains that advance together end at
different times: their leapfrogs are one a round and all alike, whatever the others do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ir.counter import Key, uniform

from .leapfrog import acceptances, decide, leapfrog, record_leaf, select, select_point, start_progress, when
from .metric import Metric
from .protocol import ACCEPT, LENGTH, Point, Progress, Target
from .space import Space, Vector


class Path(NamedTuple):
    """The trajectory of every chain: its moving end, and the draw it started from.

    A single chain's position and gradient are no part of it (empty): between rounds it stands at its draw.
    """

    x: Vector
    p: Vector
    g: Vector  # whitened, as the momentum is
    draw: Point
    length: jax.Array  # leapfrogs of this transition
    progress: Progress


@dataclass(frozen=True)
class Hmc:
    """The kernel. The number of leapfrogs is uniform on the integers of steps (1 - jitter) .. steps (1 + jitter)."""

    space: Space
    target: Target
    steps: int = 10
    jitter: float = 0.5

    def copies(self) -> int:
        """Moving end 3, draw 2; passing 2 where chains advance together, as XLA:CPU's peak has them."""
        return 7

    def empty(self, draw: Point) -> Path:
        length = jnp.ones(draw.energy.shape, jnp.int32)
        x, g = ({}, {}) if self._alone else (draw.position, draw.gradient)
        return Path(x, self.space.zeros(), g, draw, length, start_progress(draw.energy))

    @property
    def _alone(self) -> bool:
        return self.space.chains == 1

    def begin(
        self, fresh: jax.Array, path: Path, momentum: Vector, kinetic: jax.Array, metric: Metric, key: Key
    ) -> Path:
        where, draw = self.space.where, path.draw
        energy = 0.5 * kinetic - draw.log_density
        shortest = max(1, math.ceil(self.steps * (1 - self.jitter)))
        choices = math.floor(self.steps * (1 + self.jitter)) - shortest + 1
        u = uniform(key, (np.uint32(0), np.uint32(LENGTH)), "float64")
        length = shortest + jnp.floor(u * choices).astype(jnp.int32)
        return Path(
            where(fresh, draw.position, path.x),
            where(fresh, momentum, path.p),
            where(fresh, metric.pull(draw.gradient), path.g) if path.g else {},
            draw._replace(energy=jnp.where(fresh, energy, draw.energy)),
            jnp.where(fresh, length, path.length),
            select(fresh, start_progress(energy), path.progress),
        )

    def grow(self, frozen: jax.Array, path: Path, step_size: jax.Array, metric: Metric, key: Key) -> Path:
        inner = jnp.where(frozen | (not self._alone), 0, path.length - 1)
        if self._alone:
            x, p, gradient, log_density = self._whole_path(path, inner[0], step_size, metric)
            g = {}
        else:
            x, p, g, log_density, gradient = leapfrog(
                self.space, self.target, metric, step_size, path.x, path.p, path.g
            )
        kinetic = self.space.dots([(p, p)])[0]
        end = Point(x, gradient, log_density, 0.5 * kinetic - log_density)
        was_done = path.progress.done | frozen
        # Leapfrogs without an energy say nothing of acceptance: the end stands for all (see below).
        progress = path.progress._replace(leapfrogs=path.progress.leapfrogs + inner)
        progress = record_leaf(progress, end.energy)
        ended = ~was_done & (progress.divergent | (progress.leapfrogs >= path.length))
        log_u = jnp.log(uniform(key, (np.uint32(0), np.uint32(ACCEPT)), "float64"))
        below, margin = decide(log_u, -progress.energy_error)
        accepted = ended & below
        take = lambda draw: select_point(self.space, accepted, end, draw)  # noqa: E731
        draw = when(jnp.any(accepted), take, path.draw, always=self.space.packed)
        # The acceptance of the end is what HMC adapts to, not the path's mean.
        acceptance, symmetric = acceptances(progress.energy_error)
        progress = progress._replace(
            done=path.progress.done | ended,
            moved=path.progress.moved | accepted,
            accept_sum=jnp.where(ended, acceptance * progress.leapfrogs, progress.accept_sum),
            symmetric_sum=jnp.where(ended, symmetric * progress.leapfrogs, progress.symmetric_sum),
            accept_margin=jnp.where(ended, margin, progress.accept_margin),
        )
        return Path({} if self._alone else x, p, g, draw, path.length, progress)

    def _whole_path(
        self, path: Path, inner: jax.Array, eps: jax.Array, metric: Metric
    ) -> tuple[Vector, Vector, Vector, jax.Array]:
        """(x, p, grad l, l) after `inner` leapfrogs and a last one, from the draw."""
        axpy = self.space.axpy
        half = axpy(0.5 * eps, metric.pull(path.draw.gradient), path.p)

        def move(_: jax.Array, moving: tuple[Vector, Vector]) -> tuple[Vector, Vector]:
            x, half = moving
            x = axpy(eps, metric.push(half), x)
            return x, axpy(eps, metric.pull(self.target(x)[1]), half)

        x, half = lax.fori_loop(0, inner, move, (path.draw.position, half))
        x = axpy(eps, metric.push(half), x)
        log_density, gradient = self.target(x)
        return x, axpy(0.5 * eps, metric.pull(gradient), half), gradient, log_density
