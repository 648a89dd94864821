"""Passing blocks on: from one way to split to another in which every device finds its new block whole on some device.

So it is where the order of mesh axes along a dim changes (`x/row+col` → `x/col+row`), where an axis takes the place of
another (`x/row` → `x/col`), and where new blocks are pieces of the old ones. Each device then sends one piece of its
block to one device. Along all mesh axes that keep their places the same is done, so it is worked out on the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations, product

import numpy as np

from .mesh import Mesh

Axes = tuple[str, ...]
Splits = tuple[tuple[str, Axes], ...]
"""The mesh axes that split each dim, as in `Layout.splits`: sorted by dim, none of them empty."""


@dataclass(frozen=True)
class Routes:
    """Who sends what to whom, among the devices along the axes of a permute, numbered in the order of the mesh."""

    pairs: tuple[tuple[int, int], ...]
    """(sender, receiver), in the order of the senders; each device stands once on either side."""
    pieces: tuple[tuple[str, tuple[int, ...]], ...]
    """For each dim that is cut further: by sender, which piece of its block is sent."""


def moved_axes(before: Splits, then: Splits, mesh: Mesh) -> Axes:
    """The axes that leave, take or change their places, in the order of the mesh.

    A place is a dim and the number of parts into which the axes before it cut the dim.
    """
    old, new = ({(d, mesh.size(axes[:i]), a) for d, axes in x for i, a in enumerate(axes)} for x in (before, then))
    found = {axis for _, _, axis in old ^ new}
    return tuple(a for a in mesh.names if a in found)


@lru_cache(maxsize=65536)
def rearranged(splits: Splits, free: Axes, dims: tuple[str, ...], mesh: Mesh) -> tuple[Splits, ...]:
    """Every other way to split `dims` over the axes of `splits` and `free` into as many parts along every dim.

    And into more along some where free slices cannot give these numbers; where they can, slice first and permute then.
    """
    held = dict(splits)
    axes = tuple(a for a in mesh.names if a in free or any(a in along for along in held.values()))
    ways = _by_parts(axes, dims, mesh)
    mine = tuple(mesh.size(held.get(d, ())) for d in dims)
    found = [s for s in ways[mine] if s != splits]
    for parts, several in ways.items():
        finer = parts != mine and all(p % m == 0 for p, m in zip(parts, mine, strict=True))
        if finer and not any(_starts_with(dict(s), held) for s in several):
            found += several
    return tuple(found)


def _starts_with(splits: dict[str, Axes], first: dict[str, Axes]) -> bool:
    return all(splits.get(dim, ())[: len(axes)] == axes for dim, axes in first.items())


@lru_cache(maxsize=1024)
def _by_parts(axes: Axes, dims: tuple[str, ...], mesh: Mesh) -> dict[tuple[int, ...], list[Splits]]:
    """Every way to split dims over some of the axes, by the number of parts along each dim."""
    found = defaultdict[tuple[int, ...], list[Splits]](list)
    for choice in product([None, *dims], repeat=len(axes)):
        held = {d: [a for a, picked in zip(axes, choice, strict=True) if picked == d] for d in dims}
        parts = tuple(mesh.size(tuple(held[d])) for d in dims)
        for orders in product(*(permutations(held[d]) for d in dims)):
            found[parts].append(tuple(sorted((d, a) for d, a in zip(dims, orders, strict=True) if a)))
    return dict(found)


@lru_cache(maxsize=4096)
def routes(before: Splits, then: Splits, mesh: Mesh) -> Routes:
    """Routes along `moved_axes` from one way to split to another, a refinement up to the devices' numbers.

    A device that holds its new block keeps it; others get theirs from as near as they can: from a device that differs
    on as late a mesh axis as possible.
    """
    axes = moved_axes(before, then, mesh)
    small = Mesh(tuple((name, size) for name, size in mesh.axes if name in axes))
    dims = [d for d, _ in {**dict(before), **dict(then)}.items()]
    have, want = _numbers(dict(before), dims, small), _numbers(dict(then), dims, small)
    cuts = [mesh.size(dict(then).get(d, ())) // mesh.size(dict(before).get(d, ())) for d in dims]
    holders, wanters = defaultdict[tuple[int, ...], list[int]](list), defaultdict[tuple[int, ...], list[int]](list)
    for device in range(small.devices):
        holders[tuple(have[:, device].tolist())].append(device)
        wanters[tuple((want[:, device] // cuts).tolist())].append(device)
    receiver = {}
    for key, senders in holders.items():
        receiver |= _matched(senders, wanters[key], small)
    pairs = tuple((sender, receiver[sender]) for sender in range(small.devices))
    pieces = [(d, tuple(int(want[i, to]) % cuts[i] for _, to in pairs)) for i, d in enumerate(dims) if cuts[i] > 1]
    return Routes(pairs, tuple(pieces))


def _numbers(splits: dict[str, Axes], dims: Iterable[str], mesh: Mesh) -> np.ndarray:
    """[dim, device] the number of the block that a device holds along a dim, counting only the axes of `mesh`."""
    place = dict(zip(mesh.names, np.indices(mesh.shape).reshape(len(mesh.names), -1), strict=True))
    found = []
    for dim in dims:
        number = np.zeros(mesh.devices, int)
        for axis in splits.get(dim, ()):
            if axis in place:
                number = number * mesh.size(axis) + place[axis]
        found.append(number)
    return np.array(found)


def _matched(senders: list[int], receivers: list[int], mesh: Mesh) -> dict[int, int]:
    """A receiver for each sender: itself, else one that shares as many leading mesh coordinates as is left."""
    found: dict[int, int] = {}
    for span in _spans(mesh):
        near = defaultdict[int, list[int]](list)
        for r in receivers:
            near[r // span].append(r)
        for s in senders:
            if near[s // span]:
                found[s] = near[s // span].pop(0)
        senders = [s for s in senders if s not in found]
        taken = set(found.values())
        receivers = [r for r in receivers if r not in taken]
    return found


def _spans(mesh: Mesh) -> Iterator[int]:
    """How many devices share the leading coordinates: all of them, all but the last, …, none."""
    span = 1
    yield span
    for size in reversed(mesh.shape):
        span *= size
        yield span
