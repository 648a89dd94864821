"""Particles that stand in a neighbour's part of a mesh: handed to it, and what was read for them handed back.

A particle keeps its lattice point and so its place in every tensor. What travels is where it stands (its first cell,
told from the receiver's first one, and its place t within a cell: no digit is lost, however large a block is) and what
it carries. It goes along one split dim after the other, by one block at most along each: one that has to reach a
block across a corner goes on along the next dim from the block that it has come to. Buffers have room for as many
particles as the op says. Where one finds no room, or would have to go farther, the device's results are NaN, and so are
those of the devices that it hands particles to: a mark in its buffers tells them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .assign import CELLS, Axis, middle
from .flat import replaced, taken
from .painter import Swarm
from .place import Place

EMPTY, ALARM = -1, -2
"""In the first word of a buffer's slot: nobody; nobody, and the sender could not hand over all that it should have."""


@dataclass(frozen=True)
class Hop:
    """One way of particles to both neighbours along a split dim.

    along: which dim of the mesh; slots: the most particles that go to either neighbour; spans: by dim, the lowest
    number of a first cell on arrival and how many there are; words: the dims whose numbers share a word of a buffer.
    """

    along: int
    slots: int
    spans: tuple[tuple[int, int], ...]
    words: tuple[tuple[int, ...], ...]

    def rows(self, carried: int) -> int:
        """Of a buffer, with so many values a particle."""
        return len(self.words) + len(self.spans) + carried


def hops_of(axes: Sequence[Axis], slots: Sequence[int], bits: int) -> tuple[Hop, ...]:
    """The hops along all split dims, in order, with buffers of words of so many bits; `slots` by dim."""
    split = [i for i, axis in enumerate(axes) if axis.margin is not None]
    found = []
    for along in split:
        spans = []
        for i, axis in enumerate(axes):
            if axis.margin is None:
                spans.append((0, axis.cells))
            elif i <= along:  # it has arrived
                spans.append((-axis.margin, axis.extent))
            else:  # by up to a block to either side
                spans.append((-axis.cells - CELLS["pcs"], 3 * axis.cells + 2 * CELLS["pcs"]))
        found.append(Hop(along, slots[along], tuple(spans), _words([n for _, n in spans], 2 ** (bits - 1))))
    return tuple(found)


def _words(counts: Sequence[int], room: int) -> tuple[tuple[int, ...], ...]:
    """Which dims' numbers are written as one number below `room`: as many as go in."""
    found, size = [[0]], counts[0]
    for i, n in enumerate(counts[1:], 1):
        if size * n < room:
            found[-1].append(i)
            size *= n
        else:
            found.append([i])
            size = n
    return tuple(map(tuple, found))


class Group(NamedTuple):
    """Particles, in flat arrays; by dim their first cells from the block's first one and t; the values they carry."""

    cells: tuple[jax.Array, ...]
    t: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]
    here: jax.Array
    """Whether a particle is real and stands in this block."""

    def masked(self) -> list[jax.Array]:
        """The values, 0 for those that are not here."""
        return [jnp.where(self.here, v, jnp.zeros((), v.dtype)) for v in self.values]


class Sent(NamedTuple):
    """What one hop has handed on: the numbers of its particles, and where those that arrived stand."""

    hop: Hop
    picked: jax.Array
    """[to the left and to the right, slot] first the block's own particles are counted and then its guests."""
    guests: int
    """How many guests there were before."""


class Migration:
    """All hops of one block's particles: afterwards `residents` and `guests` are whom this device paints or reads.

    fill: the largest share of a buffer's slots that was needed; bad: whether anything was lost, here or at a neighbour
    that should have handed it over.
    """

    def __init__(self, place: Place, axes: Sequence[Axis], dims: Sequence[str], kernel: str, hops: tuple[Hop, ...]):
        self.place, self.axes, self.dims, self.kernel, self.hops = place, axes, dims, kernel, hops

    def out(self, residents: Group, load: jax.Array) -> Migration:
        """Sends all particles on; `load` is how far the farthest one has gone, as a share of the smallest block."""
        n, number = residents.here.size, load.dtype
        self.integer: Any = jnp.int32 if n < 2**31 else jnp.int64
        self.word: Any = jnp.int32 if number.itemsize == 4 else jnp.int64
        self.residents, self.fill, self.bad = residents, jnp.zeros_like(load), ~(load <= 1)
        none = lambda like: tuple(jnp.zeros((0,), x.dtype) for x in like)  # noqa: E731
        self.guests = Group(none(residents.cells), none(residents.t), none(residents.values), jnp.zeros((0,), bool))
        self.log: list[Sent] = []
        for hop in self.hops:
            self._hop(hop)
        return self

    def _hop(self, hop: Hop) -> None:
        dim, groups = self.dims[hop.along], (self.residents, self.guests)
        size = self.place.real(dim)
        before = self._size_before(dim) if self.place.is_padded(dim) else size
        places = [g.cells[hop.along] + jnp.int32(middle(self.kernel)) for g in groups]
        sides = [[g.here & side for side in (p < 0, p >= size)] for g, p in zip(groups, places, strict=True)]
        leaving = jnp.concatenate([jnp.stack(both) for both in sides], axis=1)
        picked, count = first_of(leaving, hop.slots, self.integer)
        count = jnp.max(count)
        share = count.astype(self.fill.dtype) / self.fill.dtype.type(hop.slots)
        over = share.dtype.type(1 + 2 * jnp.finfo(share.dtype).eps)  # a share just above 1 may be rounded to it
        self.fill = jnp.maximum(self.fill, jnp.where(count > hop.slots, jnp.maximum(share, over), share))
        self.bad = self.bad | (count > hop.slots)
        buffer = self._packed(hop, picked, jnp.stack([jnp.int32(before), -jnp.int32(size)])[:, None])
        buffer = jnp.where(self.bad, buffer.at[0].set(ALARM), buffer)
        arrived = jnp.concatenate(self.place.pass_on(dim, buffer[:, 0], buffer[:, 1]), axis=1)
        self.log.append(Sent(hop, picked, self.guests.here.size))
        own, guests = [g._replace(here=g.here & ~left & ~right) for g, (left, right) in zip(groups, sides, strict=True)]
        self.residents = own
        self.guests = jax.tree.map(lambda *xs: jnp.concatenate(xs), guests, self._unpacked(hop, arrived))

    def _size_before(self, dim: str) -> jax.Array:
        """How many cells the block before this one has: the last block is a short one."""
        place, extent = self.place, self.place.extent(dim)
        last = place.sizes[dim] - (place.parts(dim) - 1) * extent
        return jnp.where(place.offset(dim) == 0, jnp.int32(last), jnp.int32(extent))

    def _taken(self, own: jax.Array, guests: jax.Array, at: jax.Array) -> jax.Array:
        """Of the block's own particles and its guests, those of these numbers."""
        found = taken(own, jnp.minimum(at, own.size - 1))
        if not guests.size:
            return found
        other = taken(guests, jnp.clip(at - own.size, 0, guests.size - 1))
        return jnp.where(at < own.size, found, other)

    def _packed(self, hop: Hop, at: jax.Array, shift: jax.Array) -> jax.Array:
        """The buffers [row, side, slot] of particles: words of their cells, then the bits of t and of what they carry.

        shift [side, 1]: what takes cells along the hop's dim to the receiver's first one.
        """
        own, guests = self.residents, self.guests
        numbers = []
        for i, (axis, (low, count)) in enumerate(zip(self.axes, hop.spans, strict=True)):
            cell = self._taken(own.cells[i], guests.cells[i], at)
            cell = cell + shift if i == hop.along else cell
            number = cell - jnp.int32(low) if axis.margin is not None else cell - self._turns(cell, axis)
            numbers.append(jnp.clip(number, jnp.int32(0), jnp.int32(count - 1)).astype(self.word))
        rows = []
        for dims in hop.words:
            word = numbers[dims[0]]
            for i in dims[1:]:
                word = word * self.word(hop.spans[i][1]) + numbers[i]
            rows.append(word)
        real = at < own.here.size + guests.here.size
        rows[0] = jnp.where(real, rows[0], self.word(EMPTY))
        for mine, theirs in zip((*own.t, *own.values), (*guests.t, *guests.values), strict=True):
            rows.append(jax.lax.bitcast_convert_type(self._taken(mine, theirs, at), self.word))
        return jnp.stack(rows)

    @staticmethod
    def _turns(cell: jax.Array, axis: Axis) -> jax.Array:
        """What takes cells around a whole dim into the box."""
        return jnp.floor_divide(cell, jnp.int32(axis.cells)) * jnp.int32(axis.cells)

    def _unpacked(self, hop: Hop, buffer: jax.Array) -> Group:
        self.bad = self.bad | jnp.any(buffer[0] == ALARM)
        here = buffer[0] >= 0
        cells: list[Any] = [None] * len(hop.spans)
        for word, dims in zip(buffer, hop.words, strict=False):
            word = jnp.maximum(word, self.word(0))
            for i in reversed(dims):
                low, count = hop.spans[i]
                cells[i] = jax.lax.rem(word, self.word(count)).astype(jnp.int32) + jnp.int32(low)
                word = jax.lax.div(word, self.word(count))
        numbers = jax.lax.bitcast_convert_type(buffer[len(hop.words) :], self.fill.dtype)
        numbers = list(jnp.where(here, numbers, jnp.zeros((), numbers.dtype)))  # empty slots may hold NaN
        return Group(tuple(cells), tuple(numbers[: len(cells)]), tuple(numbers[len(cells) :]), here)

    def swarm(self, displacements: Sequence[jax.Array]) -> Swarm:
        """Whom this device paints or reads: of the block's own particles those that left stand anywhere."""
        return Swarm(self.axes, self.kernel, displacements, self.guests.cells, self.guests.t)

    def home(self, own: Sequence[jax.Array], guests: Sequence[jax.Array]) -> list[jax.Array]:
        """By particle of the block what was read for it, here or at those whose guest it was.

        own, guests: what was read here, for the block's own particles and for its guests.
        """
        found = list(own)
        there = jnp.where(self.bad, jnp.asarray(jnp.nan, self.fill.dtype), jnp.stack(guests))
        for hop, picked, before in reversed(self.log):
            arrived, there = there[:, before:], there[:, :before]
            left, right = arrived[:, : hop.slots], arrived[:, hop.slots :]
            back = jnp.concatenate(self.place.pass_on(self.dims[hop.along], left, right), axis=1)
            at, n = picked.reshape(-1), found[0].size
            found = [replaced(x, at, row) for x, row in zip(found, back, strict=True)]
            if before:  # those that were guests themselves go on from here
                there = there.at[:, jnp.where(at >= n, at - n, before)].set(back, mode="drop")
        return found


def first_of(leaving: jax.Array, slots: int, integer: Any) -> tuple[jax.Array, jax.Array]:
    """(the numbers of the first `slots` that leave to each side, past the end where there are fewer; how many leave).

    leaving: bool [side, particle]. The k-th that leaves stands where a running count first is k. It is looked up, in as
    many steps as the count has binary digits, for the buffer's slots only; a sort or a scatter handles all particles.
    """
    count = jnp.cumsum(leaving, axis=1, dtype=integer)
    wanted = jnp.arange(1, slots + 1, dtype=integer)
    return jax.vmap(lambda c: jnp.searchsorted(c, wanted))(count).astype(integer), count[:, -1]


__all__ = ["Group", "Hop", "Migration", "hops_of"]
