"""A block of transitions as one program: every chain at its own place, one gradient per round for all of them.

Each round of the loop grows every chain's trajectory by one leapfrog. A chain whose transition has ended records its
draw, adapts and at once begins its next one, so no chain waits for the deepest tree of its neighbours; one that has
done all its transitions idles, and the loop ends when all have. The step-size search is a transition of a single
leapfrog whose draw is not taken.

Randomness is keyed by (seed, chain, step) and, within a transition, by purpose and index: neither the length of the
block nor the number of chains changes a draw. The predicates of the loops rest on all-reduced energies and products and
on replicated counters, so they are equal on all devices over which anything but chains is split; devices that hold
other chains may take different numbers of rounds, and the body's collectives never join them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ir import counter
from ir.errors import InternalError

from .adapt import Adapt, after_transition, renew, start_adapt
from .fisher import Estimator, FisherDiagonal
from .leapfrog import select, when
from .metric import Metric
from .protocol import MOMENTUM, TRIAL, Block, Collect, Handover, Info, Kernel, Point, State
from .schedule import Schedule
from .slots import record, write_row
from .step_size import after_trial

KINDS = {"depth": jnp.int32, "leapfrogs": jnp.int32, "divergent": jnp.bool_}
"""Fields of `Info` that are no real numbers."""


class _Carry(NamedTuple):
    trajectory: Any
    adapt: Adapt
    between: jax.Array  # bool[C]: chains with no transition under way
    switch: jax.Array  # bool[C]: chains that begin a window of the estimate before the next one,
    update: jax.Array  # bool[C]: and those that take a new metric
    done: jax.Array  # int32[C], transitions of this block
    step: jax.Array
    key: counter.Key  # of (seed, chain, step), words uint32[C]
    next_key: counter.Key  # of (seed, chain, step + 1)
    draws: dict[str, jax.Array]
    info: jax.Array  # float64[C, K + 1, fields of Info]


class Chains(NamedTuple):
    """The state between blocks."""

    state: State
    adapt: Adapt


@dataclass(frozen=True)
class Trajectories:
    """The method of a kernel: its transitions, and the adaptation of step size and metric between them.

    estimator: learns the metric. step_size: where the adaptation starts; None: searched for. thin: every thin-th
    transition is collected; it must divide the length of a block, and blocks must be aligned with it. stricter: chains
    with many large energy errors in their warm-up aim at a higher acceptance.
    """

    kernel: Kernel
    estimator: Estimator
    target_accept: float = 0.8
    step_size: float | None = None
    thin: int = 1
    stricter: bool = False

    def start(self, seed: counter.Key, begin: Handover) -> Chains:
        return Chains(begin.state, start_adapt(self.estimator, begin, self.step_size))

    def handover(self, state: Chains) -> Handover:
        return Handover(state.state, state.adapt.metric, state.adapt.step.value, state.adapt.strained)

    def advance(
        self, seed: counter.Key, state: Chains, schedule: Schedule, limit: jax.Array | int, collect: Collect
    ) -> Block:
        space, length, thin = self.kernel.space, len(schedule.adapt_step), self.thin
        if length % thin:
            raise InternalError(f"a block of {length} transitions cannot keep every {thin}th")
        limit = jnp.asarray(limit, jnp.int32)
        flags = Schedule(*(jnp.asarray(f) for f in schedule))
        chain_key = counter.derive(seed, space.chain_ids())
        begin_state, adapt = state
        # Positions of few latents are kept, and what is wanted of them is computed for all draws of a block at once.
        afterwards = space.packed
        keep: Collect = (lambda position: position) if afterwards else collect
        write = record if afterwards else write_row

        def begin(carry: _Carry, fresh: jax.Array) -> _Carry:
            noise = space.normal(carry.key, MOMENTUM + TRIAL * carry.adapt.step.trial)
            kinetic = space.dots([(noise, noise)])[0]
            adapt = carry.adapt
            args = (noise, kinetic, adapt.step.value, adapt.metric, carry.key)
            trajectory = self.kernel.begin(fresh, carry.trajectory, *args)
            return carry._replace(trajectory=trajectory, between=carry.between & ~fresh)

        def turn(carry: _Carry) -> _Carry:
            """Records what has ended, adapts, and begins what comes next."""
            progress, draw, step = carry.trajectory.progress, carry.trajectory.draw, carry.adapt.step
            active = ~carry.between & (carry.done < limit)
            tried = active & (step.trial > 0)
            ended = active & (step.trial == 0) & progress.done
            accept_stat = progress.accept_sum / jnp.maximum(progress.leapfrogs, 1)
            info = Info(
                *(accept_stat, progress.depth, progress.leapfrogs, draw.energy, progress.divergent, draw.log_density),
                *(step.value, progress.accept_margin, progress.turn_margin),
            )
            row = jnp.where(ended, carry.done, length)
            kept = ended & ((carry.done + 1) % thin == 0)
            draw_row = jnp.where(kept, carry.done // thin, length)
            now = Schedule(*(f[jnp.minimum(carry.done, length - 1)] & ended for f in flags))
            adapt = carry.adapt._replace(step=after_trial(step, tried, progress.energy_error))
            adapt = after_transition(self.estimator, adapt, now, progress, draw, self.target_accept, self.stricter)
            carry = carry._replace(
                key=select(ended, carry.next_key, carry.key),
                adapt=adapt,
                between=carry.between | ended | tried,
                switch=carry.switch | now.switch,
                update=carry.update | now.update,
                done=carry.done + ended,
                step=carry.step + ended.astype(jnp.uint32),
                draws={n: write(carry.draws[n], draw_row, v) for n, v in keep(draw.position).items()},
                info=record(carry.info, row, jnp.stack([x.astype(jnp.float64) for x in info], axis=1)),
            )
            return begin(carry, carry.between & ~carry.update & (carry.done < limit))

        def advance(carry: _Carry) -> _Carry:
            """One round. Turning comes first, so that the beginning of a transition is compiled only once."""
            active, searching = carry.done < limit, carry.adapt.step.trial > 0
            due = active & (searching | carry.trajectory.progress.done | carry.between)
            carry = when(jnp.any(due), turn, carry)
            idle = (carry.adapt.step.trial > 0) | carry.between
            args = (carry.adapt.step.value, carry.adapt.metric, carry.key)
            # Made a round ahead, in every round, so that what draws from the key reads it and does not derive it again.
            next_key = counter.derive(chain_key, carry.step + np.uint32(1))
            return carry._replace(trajectory=self.kernel.grow(idle, carry.trajectory, *args), next_key=next_key)

        def until_renewal(carry: _Carry) -> _Carry:
            """Rounds until a chain wants a new metric, then that: few latents' decompositions are calls of libraries,
            and without them the rounds are one loop that XLA:CPU compiles to machine code as a whole."""
            going = lambda c: jnp.any(c.done < limit) & ~jnp.any(c.update)  # noqa: E731
            carry = lax.while_loop(going, advance, carry)
            adapt = renew(self.estimator, carry.adapt, carry.switch, carry.update)
            return carry._replace(adapt=adapt, switch=carry.switch & False, update=carry.update & False)

        def row_of(value, rows: int) -> jax.Array:
            return jnp.zeros((value.shape[0], rows, *value.shape[1:]), value.dtype)

        log_density = begin_state.log_density
        point = Point(begin_state.position, begin_state.gradient, log_density, jnp.zeros_like(log_density))
        rows = length // thin + afterwards
        draws = {n: row_of(v, rows) for n, v in jax.eval_shape(keep, begin_state.position).items()}
        none = jnp.zeros(space.chains, jnp.int32)
        info = jnp.zeros((space.chains, length + 1, len(Info._fields)), jnp.float64)
        key = counter.derive(chain_key, begin_state.step)
        fixed = (adapt, none == 0, none > 0, none > 0, none, begin_state.step, key, key, draws, info)
        carry = _Carry(self.kernel.empty(point), *fixed)
        carry = lax.while_loop(lambda c: jnp.any(c.done < limit), until_renewal, carry)
        last = carry.trajectory.draw
        ended = State(last.position, last.gradient, last.log_density, carry.step)
        draws = carry.draws
        if afterwards:
            draws = space.collectives.vmap(collect, 1)({n: x[:, : length // thin] for n, x in draws.items()})
        told = Info(*(carry.info[:, :length, i] for i in range(len(Info._fields))))
        told = told._replace(**{n: getattr(told, n).astype(t) for n, t in KINDS.items()})
        return Block(Chains(ended, carry.adapt), draws, told, none > 0)


def init(kernel: Kernel, position: dict) -> State:
    """The state of chains that stand at `position` ([C, ...] blocks): one gradient."""
    log_density, gradient = kernel.target(position)
    return State(position, gradient, log_density, jnp.zeros(kernel.space.chains, jnp.uint32))


def transition(
    kernel: Kernel, seed: tuple[jax.Array, jax.Array], state: State, step_size: jax.Array, metric: Metric
) -> tuple[State, Info]:
    """Exactly one transition of every chain, without adaptation; info is [C]. step_size: float64[C] or a number."""
    step_size = jnp.broadcast_to(jnp.asarray(step_size, jnp.float64), (kernel.space.chains,))
    method = Trajectories(kernel, FisherDiagonal(kernel.space))
    begin = method.start(seed, Handover(state, metric, step_size))
    nothing = Schedule(*(np.zeros(1, bool) for _ in Schedule._fields))
    result = method.advance(seed, begin, nothing, 1, lambda position: {})
    return result.state.state, Info(*(value[:, 0] for value in result.info))
