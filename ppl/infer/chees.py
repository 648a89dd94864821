"""ChEES-HMC: trajectories of one length for all chains, adapted by what it gains (Hoffman, Radul & Sountsov 2021).

All chains advance in lock step by the same number of leapfrogs, ceil(h T / eps) with h in (0, 1) from the van der
Corput sequence of transitions; step size, length T and metric are one for all and are learnt from all of them
(`ppl.infer.chees_adapt`). So nothing waits and no chain takes more gradients than another.

Where chains are split over mesh axes, a transition all-reduces a few scalars over those; in warm-up it also sums the
positions of the chains, for their mean. The number of leapfrogs rests on all-reduced numbers alone: loops are of equal
length on all devices. A chain's noise is its own, but as the chains learn from each other, their number changes draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ir import counter
from ir.counter import Key, uniform
from ir.errors import InternalError

from .chees_adapt import Adapt, Pool, Seen, after_search, after_transition, start_adapt, van_der_corput
from .fisher import Estimator
from .integrators import LEAPFROG, travel
from .leapfrog import DIVERGENCE, acceptances, decide, when
from .protocol import ACCEPT, MOMENTUM, TRIAL, Block, Collect, Handover, State, Target
from .schedule import Schedule
from .slots import write_row
from .space import Space, Vector


class CheesInfo(NamedTuple):
    """Of a transition, [C, K]; fields as in `ppl.infer.protocol.Info`, and the length. Leapfrogs, step size and length
    are equal for all chains."""

    accept_stat: jax.Array
    energy: jax.Array
    divergent: jax.Array
    log_density: jax.Array
    accept_margin: jax.Array
    leapfrogs: jax.Array
    step_size: jax.Array
    length: jax.Array  # T in whitened coordinates; the transition's path is h T


class Chains(NamedTuple):
    """The state between blocks."""

    state: State
    adapt: Adapt


class _Chance(NamedTuple):
    """The randomness of a transition."""

    momentum: Vector
    kinetic: jax.Array  # <p, p>
    log_u: jax.Array  # of its acceptance


class _Carry(NamedTuple):
    chains: Chains
    done: jax.Array  # int32, transitions of this block
    draws: dict[str, jax.Array]
    info: CheesInfo


@dataclass(frozen=True)
class Chees:
    """The method.

    estimator: learns the metric; None: what was handed over stays, and nothing is adapted. target_accept: harmonic mean
    of the chains' acceptance that warm-up aims at. step_size: where its adaptation starts; None: searched for. length:
    where that of T does. most: leapfrogs of a transition at most.
    """

    space: Space
    target: Target
    estimator: Estimator | None
    target_accept: float = 0.651
    step_size: float | None = None
    length: float = 1.5
    most: int = 1000
    thin: int = 1

    def start(self, seed: Key, begin: Handover) -> Chains:
        # Lengths go by the number of the transition, which must be one for all chains.
        state = begin.state._replace(step=Pool(self.space).largest(begin.state.step))
        return Chains(state, start_adapt(self.space, self.estimator, begin, self.step_size, self.length))

    def handover(self, state: Chains) -> Handover:
        return Handover(state.state, state.adapt.metric, state.adapt.step.value)

    def advance(self, seed: Key, state: Chains, schedule: Schedule, limit: jax.Array | int, collect: Collect) -> Block:
        space, length, thin = self.space, len(schedule.adapt_step), self.thin
        if length % thin:
            raise InternalError(f"a block of {length} transitions cannot keep every {thin}th")
        limit = jnp.asarray(limit, jnp.int32)
        flags = Schedule(*(jnp.asarray(f) for f in schedule))
        chain_key = counter.derive(seed, space.chain_ids())
        # Positions of few latents are kept, and what is wanted of them is computed for all draws of a block at once.
        afterwards = space.packed
        keep: Collect = (lambda position: position) if afterwards else collect

        def advance(carry: _Carry) -> _Carry:
            tried = carry.chains.adapt.step.trial[0] > 0
            now = Schedule(*(jnp.broadcast_to(f[carry.done] & ~tried, (space.chains,)) for f in flags))
            chains, told = self._transition(carry.chains, chain_key, now)
            row = jnp.broadcast_to(jnp.where(tried, length, carry.done), (space.chains,))
            kept = ~tried & ((row + 1) % thin == 0)
            draw_row = jnp.where(kept, row // thin, length)
            draws = {n: write_row(carry.draws[n], draw_row, v) for n, v in keep(chains.state.position).items()}
            info = CheesInfo(*(write_row(b, row, v) for b, v in zip(carry.info, told, strict=True)))
            return _Carry(chains, carry.done + ~tried, draws, info)

        rows = lambda v, n: jnp.zeros((space.chains, n, *v.shape[1:]), v.dtype)  # noqa: E731
        position = state.state.position
        draws = {n: rows(v, length // thin) for n, v in jax.eval_shape(keep, position).items()}
        real = jnp.zeros((space.chains, length), jnp.float64)
        whole = jnp.zeros((space.chains, length), jnp.int32)
        info = CheesInfo(real, real, whole > 0, real, real, whole, real, real)
        carry = _Carry(state, jnp.int32(0), draws, info)
        carry = lax.while_loop(lambda c: c.done < limit, advance, carry)
        draws = space.collectives.vmap(collect, 1)(carry.draws) if afterwards else carry.draws
        return Block(carry.chains, draws, carry.info, jnp.zeros(space.chains, bool))

    def _chance(self, chain_key: Key, chains: Chains) -> _Chance:
        space = self.space

        def draw(_: _Chance) -> _Chance:
            key = counter.derive(chain_key, chains.state.step)
            momentum = space.normal(key, MOMENTUM + TRIAL * chains.adapt.step.trial)
            log_u = jnp.log(uniform(key, (np.uint32(0), np.uint32(ACCEPT)), "float64"))
            return _Chance(momentum, space.dots([(momentum, momentum)])[0], log_u)

        # A loop of one round, though always needed: else XLA would derive it anew in all that rests on it.
        none = jnp.zeros(space.chains, jnp.float64)
        return when(chains.adapt.step.value[0] > 0, draw, _Chance(space.zeros(), none, none))

    def _transition(self, chains: Chains, chain_key: Key, now: Schedule) -> tuple[Chains, CheesInfo]:
        """One transition, or one trial of the step-size search, whose draw is not taken."""
        space, state, adapt = self.space, chains.state, chains.adapt
        eps, trial, metric = adapt.step.value, adapt.step.trial, adapt.metric
        tried = trial > 0
        chance = self._chance(chain_key, chains)
        start_energy = 0.5 * chance.kinetic - state.log_density
        part = van_der_corput(state.step[0] + np.uint32(1))
        length = jnp.exp(adapt.log_length)
        steps = jnp.where(tried, 1, jnp.clip(jnp.ceil(part * length / eps), 1, self.most)).astype(jnp.int32)
        start = (state.position, chance.momentum, metric.pull(state.gradient))
        x, p, log_density, gradient = travel(space, self.target, metric, LEAPFROG, eps, *start, steps[0])
        energy = 0.5 * space.dots([(p, p)])[0] - log_density
        error = energy - start_energy
        error = jnp.where(jnp.isnan(error), jnp.inf, error)
        acceptance, _ = acceptances(error)
        below, margin = decide(chance.log_u, -error)
        accepted = below & ~tried

        old = state.position
        state = State(
            space.where(accepted, x, old),
            space.where(accepted, gradient, state.gradient),
            jnp.where(accepted, log_density, state.log_density),
            state.step + (~tried).astype(jnp.uint32),
        )
        adapt = after_search(space, adapt, tried, acceptance)
        if self.estimator is not None:
            seen = Seen(old, x, p, state, accepted, acceptance, part * length)
            adapt = after_transition(space, self.estimator, adapt, now, seen, self.target_accept, self.most)
        told = CheesInfo(
            accept_stat=acceptance,
            energy=jnp.where(accepted, energy, start_energy),
            divergent=error > DIVERGENCE,
            log_density=state.log_density,
            accept_margin=margin,
            leapfrogs=steps,
            step_size=eps,
            length=length,
        )
        return Chains(state, adapt), told
