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

from .adapt import Adapt, Schedule, after_transition, after_trial, start_adapt
from .leapfrog import select, when
from .protocol import MOMENTUM, TRIAL, Block, Collect, Handover, Info, Kernel, Point, State
from .slots import write_row
from .space import multiply


class _Carry(NamedTuple):
    trajectory: Any
    adapt: Adapt
    started: jax.Array  # bool[C]
    done: jax.Array  # int32[C], transitions of this block
    step: jax.Array
    key: counter.Key  # of (seed, chain, step), words uint32[C]
    next_key: counter.Key  # of (seed, chain, step + 1)
    draws: dict[str, jax.Array]
    info: Info


class Chains(NamedTuple):
    """The state between blocks."""

    state: State
    adapt: Adapt


@dataclass(frozen=True)
class Trajectories:
    """The method of a kernel: its transitions, and the adaptation of step size and metric between them.

    step_size: where the adaptation starts; None: searched for. thin: every thin-th transition is collected; it must
    divide the length of a block, and blocks must be aligned with it.
    """

    kernel: Kernel
    target_accept: float = 0.8
    step_size: float | None = None
    thin: int = 1

    def start(self, seed: counter.Key, begin: Handover) -> Chains:
        return Chains(begin.state, start_adapt(self.kernel.space, self.step_size))

    def handover(self, state: Chains) -> Handover:
        adapt = state.adapt
        return Handover(state.state, adapt.inverse_mass, adapt.step_size)

    def advance(
        self, seed: counter.Key, state: Chains, schedule: Schedule, limit: jax.Array | int | None, collect: Collect
    ) -> Block:
        return run(
            *(self.kernel, seed, state, schedule),
            limit=limit,
            target_accept=self.target_accept,
            collect=collect,
            thin=self.thin,
        )


def init(kernel: Kernel, position: dict) -> State:
    """The state of chains that stand at `position` ([C, ...] blocks): one gradient."""
    log_density, gradient = kernel.target(position)
    return State(position, gradient, log_density, jnp.zeros(kernel.space.chains, jnp.uint32))


def run(
    kernel: Kernel,
    seed: tuple[jax.Array, jax.Array],
    chains: Chains,
    schedule: Schedule,
    *,
    limit: jax.Array | int | None = None,
    target_accept: float = 0.8,
    collect: Collect | None = None,
    thin: int = 1,
) -> Block:
    """`limit` (at most K, the length of the schedule; traced) transitions of every chain.

    seed: two uint32 words, as `ir.counter.seed_key` gives. collect: what to keep of a position, a dict of [C, ...]
    (default: all sites); it may hold collectives over the axes of the model.
    """
    state, adapt = chains
    space, length = kernel.space, len(schedule.adapt_step)
    if length % thin:
        raise InternalError(f"a block of {length} transitions cannot keep every {thin}th")
    limit = jnp.asarray(length if limit is None else limit, jnp.int32)
    flags = Schedule(*(jnp.asarray(f) for f in schedule))
    chain_key = counter.derive(seed, space.chain_ids())
    keep = collect or (lambda position: position)

    def begin(carry: _Carry, fresh: jax.Array) -> _Carry:
        noise = space.normal(carry.key, MOMENTUM + TRIAL * carry.adapt.trial)
        # p = n M^(1/2), as (n M^(-1/2)) / M^-1: XLA computes a cheap producer anew in each of its consumers, and a
        # division only once, so with the division last the noise is drawn once (x / sqrt(y) it would rewrite).
        inverse_mass = carry.adapt.inverse_mass
        momentum = {n: z * jnp.sqrt(inverse_mass[n]) / inverse_mass[n] for n, z in noise.items()}
        kinetic = space.dots([(momentum, multiply(inverse_mass, momentum))])[0]
        trajectory = kernel.begin(fresh, carry.trajectory, momentum, kinetic, carry.key)
        return carry._replace(trajectory=trajectory, started=carry.started | fresh)

    def turn(carry: _Carry) -> _Carry:
        """Records what has ended, adapts, and begins what comes next."""
        progress, draw, trial = carry.trajectory.progress, carry.trajectory.draw, carry.adapt.trial
        active = carry.started & (carry.done < limit)
        tried = active & (trial > 0)
        ended = active & (trial == 0) & progress.done
        accept_stat = progress.accept_sum / jnp.maximum(progress.leapfrogs, 1)
        info = Info(
            *(accept_stat, progress.depth, progress.leapfrogs, draw.energy, progress.divergent, draw.log_density),
            *(carry.adapt.step_size, progress.accept_margin, progress.turn_margin),
        )
        row = jnp.where(ended, carry.done, length)
        kept = ended & ((carry.done + 1) % thin == 0)
        draw_row = jnp.where(kept, carry.done // thin, length)
        now = Schedule(*(f[jnp.minimum(carry.done, length - 1)] & ended for f in flags))
        adapt = after_trial(carry.adapt, tried, progress.energy_error)
        adapt = after_transition(space, adapt, now, accept_stat, draw.position, target_accept)
        renewed = ended | ~carry.started
        carry = carry._replace(
            key=select(renewed, carry.next_key, carry.key),
            adapt=adapt,
            done=carry.done + ended,
            step=carry.step + ended.astype(jnp.uint32),
            draws={n: write_row(carry.draws[n], draw_row, v) for n, v in keep(draw.position).items()},
            info=Info(*(write_row(buffer, row, value) for buffer, value in zip(carry.info, info, strict=True))),
        )
        return begin(carry, (tried | ended | ~carry.started) & (carry.done < limit))

    def advance(carry: _Carry) -> _Carry:
        """One round. Turning comes first, so that the beginning of a transition is compiled only once."""
        active, searching = carry.done < limit, carry.adapt.trial > 0
        due = active & (searching | carry.trajectory.progress.done | ~carry.started)
        carry = when(jnp.any(due), turn, carry)
        idle = (carry.adapt.trial > 0) | (carry.done >= limit)
        args = (carry.adapt.step_size, carry.adapt.inverse_mass, carry.key)
        # Made a round ahead, in every round, so that what draws from the key reads it and does not derive it again.
        next_key = counter.derive(chain_key, carry.step + np.uint32(1))
        return carry._replace(trajectory=kernel.grow(idle, carry.trajectory, *args), next_key=next_key)

    def row_of(value, rows: int) -> jax.Array:
        return jnp.zeros((value.shape[0], rows, *value.shape[1:]), value.dtype)

    point = Point(state.position, state.gradient, state.log_density, jnp.zeros_like(state.log_density))
    draws = {n: row_of(v, length // thin) for n, v in jax.eval_shape(keep, state.position).items()}
    none = jnp.zeros(space.chains, jnp.int32)
    real, whole, no = (jnp.zeros((space.chains, length), t) for t in (jnp.float64, jnp.int32, bool))
    info = Info(real, whole, whole, real, no, real, real, real, real)
    key = counter.derive(chain_key, state.step)
    carry = _Carry(kernel.empty(point), adapt, none > 0, none, state.step, key, key, draws, info)
    carry = lax.while_loop(lambda c: jnp.any(c.done < limit), advance, carry)
    last = carry.trajectory.draw
    ended = State(last.position, last.gradient, last.log_density, carry.step)
    return Block(Chains(ended, carry.adapt), carry.draws, carry.info, none > 0)


def transition(
    kernel: Kernel, seed: tuple[jax.Array, jax.Array], state: State, step_size: jax.Array, inverse_mass: dict
) -> tuple[State, Info]:
    """Exactly one transition of every chain, without adaptation; info is [C]. step_size: float64[C] or a number."""
    adapt = start_adapt(kernel.space, 1.0, inverse_mass)
    adapt = adapt._replace(step_size=jnp.broadcast_to(jnp.asarray(step_size, jnp.float64), (kernel.space.chains,)))
    nothing = Schedule(*(np.zeros(1, bool) for _ in Schedule._fields))
    result = run(kernel, seed, Chains(state, adapt), nothing)
    return result.state.state, Info(*(value[:, 0] for value in result.info))
