"""Hamiltonian Monte Carlo with a fixed, jittered number of steps and a Metropolis test at the end (Neal 2011).

Only the end of a path needs its energy. A chain that has its devices to itself goes all of its path in one round: the
momentum is kept between two gradients, all of them before the last one are taken alone (XLA leaves the log density and
its sums out), and beside the draw only position, momentum and gradient are alive. Chains that advance together end at
different times: their steps are one a round and all alike, whatever the others do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ir.counter import Key, uniform

from .integrators import LEAPFROG, Integrator, travel
from .leapfrog import acceptances, decide, record_leaf, select, select_point, start_progress, when
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
    length: jax.Array  # steps of this transition
    progress: Progress


@dataclass(frozen=True)
class Hmc:
    """The kernel. The number of steps is uniform on the integers of steps (1 - jitter) .. steps (1 + jitter)."""

    space: Space
    target: Target
    steps: int = 10
    jitter: float = 0.5
    integrator: Integrator = LEAPFROG

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
        energy = 0.5 * kinetic - draw.log_density
        shortest = max(1, math.ceil(self.steps * (1 - self.jitter)))
        choices = math.floor(self.steps * (1 + self.jitter)) - shortest + 1
        u = uniform(key, (np.uint32(0), np.uint32(LENGTH)), "float64")
        length = shortest + jnp.floor(u * choices).astype(jnp.int32)
        g = metric.pull(draw.gradient)
        if self._alone:
            momentum = self.space.axpy(self.integrator.kicks[0] * step_size, g, momentum)
        return Path(
            where(fresh, draw.position, path.x),
            where(fresh, momentum, path.p),
            where(fresh, g, path.g) if path.g else {},
            draw._replace(energy=jnp.where(fresh, energy, draw.energy)),
            jnp.where(fresh, length, path.length),
            select(fresh, start_progress(energy), path.progress),
        )

    def grow(self, frozen: jax.Array, path: Path, step_size: jax.Array, metric: Metric, key: Key) -> Path:
        alone, count = self._alone, self.integrator.gradients
        steps = jnp.where(frozen | (not alone), 1, path.length)
        start = (path.draw.position, path.p, {}) if alone else (path.x, path.p, path.g)
        how = (self.space, self.target, metric, self.integrator, step_size)
        x, p, log_density, gradient = travel(*how, *start, steps[0] if alone else 1)
        kinetic = self.space.dots([(p, p)])[0]
        end = Point(x, gradient, log_density, 0.5 * kinetic - log_density)
        was_done = path.progress.done | frozen
        # Gradients without an energy say nothing of acceptance: the end stands for all (see below).
        progress = path.progress._replace(leapfrogs=path.progress.leapfrogs + (count * steps - 1))
        progress = record_leaf(progress, end.energy)
        ended = ~was_done & (progress.divergent | (progress.leapfrogs >= count * path.length))
        log_u = jnp.log(uniform(key, (np.uint32(0), np.uint32(ACCEPT)), "float64"))
        below, margin = decide(log_u, -progress.energy_error)
        accepted = ended & below
        take = lambda draw: select_point(self.space, accepted, end, draw)  # noqa: E731
        # Most paths end in a new draw: for a single chain it is selected without a loop, whose operands XLA:CPU would
        # give memory of their own.
        draw = when(jnp.any(accepted), take, path.draw, always=self.space.packed or alone)
        # The acceptance of the end is what HMC adapts to, not the path's mean.
        acceptance, symmetric = acceptances(progress.energy_error)
        progress = progress._replace(
            done=path.progress.done | ended,
            moved=path.progress.moved | accepted,
            accept_sum=jnp.where(ended, acceptance * progress.leapfrogs, progress.accept_sum),
            symmetric_sum=jnp.where(ended, symmetric * progress.leapfrogs, progress.symmetric_sum),
            accept_margin=jnp.where(ended, margin, progress.accept_margin),
        )
        if alone:
            return Path({}, p, {}, draw, path.length, progress)
        return Path(x, p, metric.pull(gradient), draw, path.length, progress)
