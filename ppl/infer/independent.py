"""Methods whose transitions draw anew from a density that they know: no path, nothing adapted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ir import counter
from ir.counter import Key

from .phase import Phase
from .protocol import Block, Collect, Handover, State, Target
from .slots import write_row
from .space import Space


class Standing(NamedTuple):
    """The state between blocks."""

    state: State


class ExactInfo(NamedTuple):
    """[C, K] in the result of a block."""

    log_density: jax.Array
    leapfrogs: jax.Array  # gradients spent
    divergent: jax.Array  # the density is not what the method takes it for: the chain has not moved
    misfit: jax.Array  # by how much the gradient is another, as a share


class _Carry(NamedTuple):
    state: State
    done: jax.Array
    draws: dict[str, jax.Array]
    info: ExactInfo


@dataclass(frozen=True, kw_only=True)
class Independent:
    """A method of which `_draw` is a transition."""

    space: Space
    target: Target
    thin: int = 1

    def _draw(self, key: Key, state: State) -> tuple[State, ExactInfo]:
        raise NotImplementedError

    def start(self, seed: Key, begin: Handover) -> Standing:
        return Standing(begin.state)

    def handover(self, state: Standing) -> Handover:
        return Handover(state.state)

    def advance(self, seed: Key, state: Standing, schedule: Phase, limit: jax.Array | int, collect: Collect) -> Block:
        length, chains = len(schedule.warm), self.space.chains
        chain_key = counter.derive(seed, self.space.chain_ids())

        def one(carry: _Carry) -> _Carry:
            now, told = self._draw(counter.derive(chain_key, carry.state.step), carry.state)
            row = jnp.broadcast_to(carry.done, (chains,))
            draw_row = jnp.where((row + 1) % self.thin == 0, row // self.thin, length)
            return _Carry(
                now,
                carry.done + 1,
                {n: write_row(carry.draws[n], draw_row, v) for n, v in collect(now.position).items()},
                ExactInfo(*(write_row(b, row, v) for b, v in zip(carry.info, told, strict=True))),
            )

        rows = lambda v, n: jnp.zeros((chains, n, *v.shape[1:]), v.dtype)  # noqa: E731
        draws = {n: rows(v, length // self.thin) for n, v in jax.eval_shape(collect, state.state.position).items()}
        real, no = jnp.zeros((chains, length), jnp.float64), jnp.zeros((chains, length), bool)
        info = ExactInfo(real, jnp.zeros((chains, length), jnp.int32), no, real)
        carry = _Carry(state.state, jnp.int32(0), draws, info)
        carry = lax.while_loop(lambda c: c.done < jnp.asarray(limit, jnp.int32), one, carry)
        return Block(Standing(carry.state), carry.draws, carry.info, jnp.zeros(chains, bool))
