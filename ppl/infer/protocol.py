"""What every algorithm is made of: the target, where chains start, what a transition tells, and two protocols.

A `Method` is an algorithm as the engine compiles it: a sampler, an optimiser, an approximation. A `Kernel` is how a
trajectory grows, for those methods whose transitions are trajectories (`ppl.infer.block` drives them).

Shapes: C is the number of local chains, K the transitions of one compiled block. Scalars of a chain are float64[C] (or
int32, uint32, bool); vectors are dicts of blocks [C, ...] in the latents' own layout (`ppl.infer.space`), or
[C, n, ...] for n vectors of one kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

from ir.counter import Key
from ir.errors import InternalError

from .metric import Metric
from .space import Vector

Target = Callable[[Vector], tuple[jax.Array, Vector]]
"""position -> (log density float64[C], gradient). It may hold collectives over the model's mesh axes, so every device
of a chain must call it equally often; its gradient is zero on padding, and a bad position gives NaN or -inf."""


def nowhere(position: Vector) -> tuple[jax.Array, Vector]:
    """A target that is never to be evaluated: an algorithm starts, hands over and states its copies without one."""
    raise InternalError("an algorithm evaluated its target outside a block")


MOMENTUM, LEAF, MERGE, DIRECTION, LENGTH, ACCEPT = 1, 2, 3, 4, 5, 6
"""Purposes of randomness within one transition, under the key of (seed, chain, step)."""
TRIAL = 16
"""The momentum of trial t of a step-size search has purpose MOMENTUM + 16 t."""


Collect = Callable[[Vector], dict[str, jax.Array]]
"""position -> what is kept of a draw, [C, ...] each. It may hold collectives over the model's mesh axes."""


class State(NamedTuple):
    """Where chains stand."""

    position: Vector
    gradient: Vector
    log_density: jax.Array  # float64[C]
    step: jax.Array  # uint32[C], transitions since the start of the run, warm-up and earlier stages included


class Handover(NamedTuple):
    """What one stage of an inference program leaves to the next, and what a run can be started from again."""

    state: State
    metric: Metric | None = None
    """Whitens the posterior roughly; None: nothing is known."""
    step_size: jax.Array | None = None
    """float64[C]: a leapfrog step that fits the metric; None: not known."""
    strained: jax.Array | None = None
    """bool[C]: chains that met many large energy errors (`ppl.infer.adapt`); None: not known."""


class Block(NamedTuple):
    """The result of one compiled block of at most K transitions."""

    state: Any  # of the method, for the next block
    draws: dict[str, jax.Array]  # [C, K // thin, ...] of what was collected
    info: Any  # a NamedTuple of [C, K]
    finished: jax.Array  # bool[C]: warm-up has reached its end before its last transition (converged, tempered, ...)
    needs: Any = ()  # what particles needed, if anything (`ppl.infer.needs`)


class Method(Protocol):
    """An algorithm for a space and a target; traced inside one `shard_map` body, pure, plain data otherwise.

    The state is any pytree. The engine finds the layout of a leaf by its place: below a dict key that names a latent it
    lies as that latent (with further axes, if it has more, after the chains), without axes it is equal on all devices,
    else its first axis is the local chains. A leaf must not be aliased to another one: blocks are donated.
    """

    def start(self, seed: Key, begin: Handover) -> Any:
        """The first state. It does not evaluate the target: `begin` has density and gradient."""
        ...

    def advance(self, seed: Key, state: Any, schedule: Any, limit: jax.Array, collect: Collect) -> Block:
        """`limit` (traced, at most K) transitions. `schedule` is the block's part of the options' `schedule()`, a
        NamedTuple of [K] arrays. Every thin-th draw is collected; only blocks after warm-up keep theirs."""
        ...

    def handover(self, state: Any) -> Handover:
        """What the next stage starts from."""
        ...


class Info(NamedTuple):
    """What a person wants to see of a transition; [C, K] in the result of a block.

    A method may have an info of its own: it has `leapfrogs`, `divergent`, `log_density` with these meanings, and names
    what else it shares with these as here.
    """

    accept_stat: jax.Array  # mean acceptance probability along the trajectory, in [0, 1]
    depth: jax.Array  # doublings of the tree that were kept (0 for HMC)
    leapfrogs: jax.Array  # gradients spent
    energy: jax.Array  # H of the draw, with the momentum it was reached with
    divergent: jax.Array
    log_density: jax.Array
    step_size: jax.Array  # the one that this transition used
    accept_margin: jax.Array  # smallest |uniform - probability| of its decisions
    turn_margin: jax.Array  # smallest |U-turn product| over <p, p> at its start (inf for HMC)


class Point(NamedTuple):
    """A place in phase space without its momentum; `energy` is H there."""

    position: Vector
    gradient: Vector
    log_density: jax.Array
    energy: jax.Array


class Progress(NamedTuple):
    """Scalars of a trajectory under way, per chain."""

    done: jax.Array  # the transition has ended: its draw stands
    moved: jax.Array  # the draw is another point than the one that the transition began at
    start_energy: jax.Array
    energy_error: jax.Array  # H - H0 of the latest leapfrog; NaN counts as +inf
    accept_sum: jax.Array  # of acceptance probabilities over the leapfrogs
    symmetric_sum: jax.Array  # the same of `ppl.infer.leapfrog.acceptances`' second
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

    Momenta are whitened: p ~ N(0, 1), x += eps F p and p += eps/2 F^T grad l(x) with the map F of `ppl.infer.metric`
    (F F^T is the inverse mass matrix), so that the kinetic energy is <p, p>/2 and products of momenta need no metric.

    `Trajectories` in `ppl.infer.block` drives it. Masks are bool[C]; nothing may change for chains outside them.
    """

    def copies(self) -> int:
        """Vectors alive during a block, without the metric, its estimate and the target's workspace."""
        ...

    def empty(self, draw: Point) -> Any:
        """Memory for a trajectory whose chains stand at `draw`."""
        ...

    def begin(
        self,
        fresh: jax.Array,
        trajectory: Any,
        momentum: Vector,
        kinetic: jax.Array,
        step_size: jax.Array,
        metric: Metric,
        key: Key,
    ) -> Any:
        """Starts a transition from the draw, for the chains of `fresh`; `kinetic` is <p, p>. The step size stays until
        the transition ends."""
        ...

    def grow(self, frozen: jax.Array, trajectory: Any, step_size: jax.Array, metric: Metric, key: Key) -> Any:
        """One leapfrog for every chain; the draws of `frozen` chains stay."""
        ...
