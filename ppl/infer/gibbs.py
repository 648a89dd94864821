"""Gibbs sampling over blocks of latents, each with a method of its own that moves it given the others.

A transition is a sweep: the blocks in their order, each `repeats` transitions of its method on the block's own space
with the target closed over where the others stand. Before a block moves, its density and gradient are made anew, for
the others have moved. Each method goes on adapting as it would alone, by its own schedule. The noise of a block is
keyed by the seed, the block's number, and its own chain and step.

A method keeps where its chains stand in one `State` within its state; that is what is renewed.
"""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ir import counter
from ir.counter import Key
from ir.errors import InternalError

from .metric import Diagonal
from .pack import Packing, packing
from .phase import rows
from .protocol import Block, Collect, Handover, Method, State, Target
from .slots import write_row
from .space import Space, Vector

_BLOCKS = 0x47494242
"""Purpose of the seeds of blocks."""


class Part(NamedTuple):
    """One block: its latents' own space, packed where they are few, and the method on it."""

    packing: Packing
    make: Any  # (space, target) -> Method
    repeats: int

    def method(self, target: Target) -> Method:
        return self.make(self.packing.space, target)

    def pick(self, vector: Vector) -> Vector:
        """Its own of a vector of all latents, packed."""
        return self.packing.pack({s.name: vector[s.name] for s in self.packing.parts or self.packing.space.sites})


class Sweeps(NamedTuple):
    """The schedules of all blocks: [K, repeats] arrays."""

    parts: tuple[Any, ...]

    def part(self, start: int, length: int) -> Sweeps:
        """Sweeps start..start+length."""
        return rows(self, start, length)


class _Carry(NamedTuple):
    parts: tuple[Any, ...]  # the methods' states
    done: jax.Array
    draws: dict[str, jax.Array]
    info: Any


OF_BLOCKS = ("accept_stat", "step_size", "energy_variance")
"""What is told of each block; the last says how far off an unadjusted one is."""


@lru_cache
def info_type(blocks: int) -> Any:
    """The info of a sweep over so many blocks: sums over them, and per block what its method tells (NaN if nothing)."""
    each = [f"{field}_{b}" for b in range(blocks) for field in OF_BLOCKS]
    return namedtuple("GibbsInfo", ["log_density", "leapfrogs", "divergent", *each])


def subspace(space: Space, names: tuple[str, ...]) -> Space:
    """The space of some of the sites."""
    sites = tuple(s for s in space.sites if s.name in names)
    split = {a for s in sites for held in s.split for a in held}
    spectra = space.spectra.among(names) if space.spectra is not None else None
    return replace(space, sites=sites, reduce_axes=tuple(a for a in space.reduce_axes if a in split), spectra=spectra)


def part_of(space: Space, names: tuple[str, ...], make: Any, repeats: int) -> Part:
    """The block of some latents."""
    return Part(packing(subspace(space, names)), make, repeats)


@dataclass(frozen=True)
class Gibbs:
    """The method, on the unpacked space."""

    space: Space
    target: Target
    parts: tuple[Part, ...]
    thin: int = 1

    def start(self, seed: Key, begin: Handover) -> tuple[Any, ...]:
        states = []
        for number, part in enumerate(self.parts):
            pick = part.pick
            # A buffer of its own for every block: a block may be given them all to overwrite.
            log_density, step = jnp.copy(begin.state.log_density), jnp.copy(begin.state.step)
            state = State(pick(begin.state.position), pick(begin.state.gradient), log_density, step)
            metric = Diagonal(pick(begin.metric.scale)) if isinstance(begin.metric, Diagonal) else None
            states.append(part.method(self.target).start(_seed(seed, number), Handover(state, metric)))
        return tuple(states)

    def handover(self, state: tuple[Any, ...]) -> Handover:
        return Handover(self._whole(state))

    def advance(self, seed: Key, state: tuple[Any, ...], schedule: Sweeps, limit: Any, collect: Collect) -> Block:
        length, chains = len(jax.tree.leaves(schedule)[0]), self.space.chains
        schedule = jax.tree.map(jnp.asarray, schedule)

        def sweep(carry: _Carry) -> _Carry:
            states, told = list(carry.parts), []
            for number, part in enumerate(self.parts):
                own = jax.tree.map(lambda x: x[carry.done], schedule.parts[number])
                states[number], info = self._move(_seed(seed, number), number, part, states, own)
                told.append(info)
            whole = self._whole(tuple(states))
            row = jnp.broadcast_to(carry.done, (chains,))
            draw_row = jnp.where((row + 1) % self.thin == 0, row // self.thin, length)
            info = self._info(whole.log_density, told)
            return _Carry(
                tuple(states),
                carry.done + 1,
                {n: write_row(carry.draws[n], draw_row, v) for n, v in collect(whole.position).items()},
                type(info)(*(write_row(b, row, v) for b, v in zip(carry.info, info, strict=True))),
            )

        zeros = lambda v, n: jnp.zeros((chains, n, *v.shape[1:]), v.dtype)  # noqa: E731
        kept = jax.eval_shape(collect, self._whole(state).position)
        draws = {n: zeros(v, length // self.thin) for n, v in kept.items()}
        real = jnp.zeros((chains, length), jnp.float64)
        whole, no = jnp.zeros((chains, length), jnp.int32), jnp.zeros((chains, length), bool)
        info = info_type(len(self.parts))(real, whole, no, *(real,) * (len(OF_BLOCKS) * len(self.parts)))
        carry = _Carry(state, jnp.int32(0), draws, info)
        carry = lax.while_loop(lambda c: c.done < jnp.asarray(limit, jnp.int32), sweep, carry)
        return Block(self._renewed(carry.parts), carry.draws, carry.info, jnp.zeros(chains, bool))

    def _renewed(self, states: tuple[Any, ...]) -> tuple[Any, ...]:
        """The states with the density and gradient of where all blocks stand."""
        log_density, gradient = self.target(self._whole(states).position)
        made = []
        for part, state in zip(self.parts, states, strict=True):
            made.append(renew(state, part.pick(gradient), jnp.copy(log_density)))
        return tuple(made)

    def _move(self, seed: Key, number: int, part: Part, states: list[Any], schedule: Any) -> tuple[Any, Any]:
        """A block's transitions within a sweep, given the others."""
        others: Vector = {}
        for k, other in enumerate(self.parts):
            if k != number:
                others |= self._stand(other, states[k]).position

        def target(position: Vector) -> tuple[jax.Array, Vector]:
            own = part.packing.unpack(position)
            log_density, gradient = self.target({**others, **own})
            return log_density, part.packing.pack({n: gradient[n] for n in own})

        method = part.method(target)
        position = method.handover(states[number]).state.position
        log_density, gradient = target(position)
        renewed = renew(states[number], gradient, log_density)
        made = method.advance(seed, renewed, schedule, jnp.int32(part.repeats), lambda x: {})
        return made.state, made.info

    def _stand(self, part: Part, state: Any) -> State:
        return part.packing.unpack_tree(part.method(self.target).handover(state).state)

    def _whole(self, states: tuple[Any, ...]) -> State:
        """Where the chains stand. In a sweep only the last block's density and gradient are up to date."""
        stands = [self._stand(p, s) for p, s in zip(self.parts, states, strict=True)]
        join = lambda vectors: {n: x for v in vectors for n, x in v.items()}  # noqa: E731
        last = stands[-1]
        return State(join(s.position for s in stands), join(s.gradient for s in stands), last.log_density, last.step)

    def _info(self, log_density: jax.Array, told: list[Any]) -> Any:
        nothing = jnp.full((self.space.chains, 1), jnp.nan, jnp.float64)
        leapfrogs = sum(jnp.sum(t.leapfrogs, axis=1, dtype=jnp.int32) + 1 for t in told)
        divergent = sum(jnp.any(t.divergent, axis=1) for t in told) > 0
        mean = lambda t, field: jnp.mean(getattr(t, field, nothing).astype(jnp.float64), axis=1)  # noqa: E731
        each = [mean(t, field) for t in told for field in OF_BLOCKS]
        return info_type(len(told))(log_density, leapfrogs, divergent, *each)


def renew(tree: Any, gradient: Vector, log_density: jax.Array) -> Any:
    """A method's state with another gradient and density where its chains stand."""
    is_state = lambda x: isinstance(x, State)  # noqa: E731
    if sum(is_state(x) for x in jax.tree.leaves(tree, is_leaf=is_state)) != 1:
        raise InternalError("a method of a block must keep where its chains stand in one State")
    new = lambda x: x._replace(gradient=gradient, log_density=log_density) if is_state(x) else x  # noqa: E731
    return jax.tree.map(new, tree, is_leaf=is_state)


def _seed(seed: Key, number: int) -> Key:
    return counter.derive(seed, np.uint32(_BLOCKS), np.uint32(number))
