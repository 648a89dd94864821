"""What every sampler is made of: the target, the state, what a transition tells, and the protocol of a trajectory.

Shapes: C is the number of local chains, K the transitions of one compiled block. Scalars of a chain are float64[C] (or
int32, uint32, bool); vectors are dicts of blocks [C, ...] in the latents' own layout (`ppl.infer.space`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

from ir.counter import Key

from .space import Vector

Target = Callable[[Vector], tuple[jax.Array, Vector]]
"""position -> (log density float64[C], gradient). It may hold collectives over the model's mesh axes, so every device
of a chain must call it equally often; its gradient is zero on padding, and a bad position gives NaN or -inf."""

MOMENTUM, LEAF, MERGE, DIRECTION, LENGTH, ACCEPT = 1, 2, 3, 4, 5, 6
"""Purposes of randomness within one transition, under the key of (seed, chain, step)."""
TRIAL = 16
"""The momentum of trial t of a step-size search has purpose MOMENTUM + 16 t."""


class State(NamedTuple):
    """What the next transition needs, and all that a checkpoint must hold beside the adaptation."""

    position: Vector
    gradient: Vector
    log_density: jax.Array  # float64[C]
    step: jax.Array  # uint32[C], transitions since the start of the run, warm-up included


class Info(NamedTuple):
    """What a person wants to see of a transition; [C, K] in the result of a block."""

    accept_stat: jax.Array  # mean acceptance probability along the trajectory, in [0, 1]
    depth: jax.Array  # doublings of the tree that were kept (0 for HMC)
    leapfrogs: jax.Array  # gradients spent
    energy: jax.Array  # H of the draw, with the momentum it was reached with
    divergent: jax.Array
    log_density: jax.Array
    step_size: jax.Array  # the one that this transition used
    accept_margin: jax.Array  # smallest |uniform - probability| of its decisions
    turn_margin: jax.Array  # smallest |U-turn product| over <p, M^-1 p> at its start (inf for HMC)


class Point(NamedTuple):
    """A place in phase space without its momentum; `energy` is H there."""

    position: Vector
    gradient: Vector
    log_density: jax.Array
    energy: jax.Array


class Progress(NamedTuple):
    """Scalars of a trajectory under way, per chain."""

    done: jax.Array  # the transition has ended: its draw stands
    start_energy: jax.Array
    energy_error: jax.Array  # H - H0 of the latest leapfrog; NaN counts as +inf
    accept_sum: jax.Array
    leapfrogs: jax.Array
    depth: jax.Array
    divergent: jax.Array
    accept_margin: jax.Array
    turn_margin: jax.Array


class Trajectory(Protocol):
    """The memory of a kernel; `draw` is the chain's state until the transition ends, then its next state."""

    draw: Point
    progress: Progress


class Kernel(Protocol):
    """How a trajectory grows, one gradient at a time: `ppl.infer.nuts.Nuts`, `ppl.infer.hmc.Hmc`.

    `run` in `ppl.infer.block` drives it. Masks are bool[C]; nothing may change for chains outside them.
    """

    def copies(self) -> int:
        """Vectors alive during a block, metric and its accumulators included, the target's workspace not."""
        ...

    def empty(self, draw: Point) -> Any:
        """Memory for a trajectory whose chains stand at `draw`."""
        ...

    def begin(self, fresh: jax.Array, trajectory: Any, momentum: Vector, kinetic: jax.Array, key: Key) -> Any:
        """Starts a transition from the draw, for the chains of `fresh`; `kinetic` is <p, M^-1 p>."""
        ...

    def grow(self, frozen: jax.Array, trajectory: Any, step_size: jax.Array, inverse_mass: Vector, key: Key) -> Any:
        """One leapfrog for every chain; the draws of `frozen` chains stay."""
        ...
