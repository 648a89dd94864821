"""Passing blocks on: from one way to split to another in which new blocks are old ones, pieces of them or several put
together.

So it is where the order of mesh axes along a dim changes (`x/row+col` → `x/col+row`), where an axis takes the place of
another (`x/row` → `x/col`), and where a dim gets fewer or more parts. A block is passed on in as many rounds as a new
block has pieces; in each, every device sends one piece of its block to one device. Along all mesh axes that keep their
places the same is done, so it is worked out on the others.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations, product

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from .mesh import Mesh

Axes = tuple[str, ...]
Splits = tuple[tuple[str, Axes], ...]
"""The mesh axes that split each dim, as in `Layout.splits`: sorted by dim, none of them empty."""


ROUNDS = 8
"""The most rounds that are considered: each costs a latency."""


@dataclass(frozen=True)
class Round:
    """Who sends what to whom, among the devices along the axes of a permute, numbered in the order of the mesh."""

    pairs: tuple[tuple[int, int], ...]
    """(sender, receiver), in the order of the senders; each device stands once on either side."""
    cut: tuple[tuple[str, tuple[int, ...]], ...]
    """For each dim that gets more parts: by sender, which piece of its block is sent."""
    put: tuple[tuple[str, tuple[int, ...]], ...]
    """For each dim that gets fewer parts: by receiver, which piece of its new block arrives."""


def moved_axes(before: Splits, then: Splits, mesh: Mesh) -> Axes:
    """The axes that leave, take or change their places, in the order of the mesh.

    A place is a dim and the number of parts into which the axes before it cut the dim.
    """
    old, new = ({(d, mesh.size(axes[:i]), a) for d, axes in x for i, a in enumerate(axes)} for x in (before, then))
    found = {axis for _, _, axis in old ^ new}
    return tuple(a for a in mesh.names if a in found)


def ratios(before: Splits, then: Splits, mesh: Mesh) -> dict[str, tuple[int, int]] | None:
    """By dim: into how many pieces an old block is cut, and of how many a new one is put together; one of them is 1.

    None where along some dim neither number of parts is a multiple of the other.
    """
    old, new, found = dict(before), dict(then), {}
    for dim in {**old, **new}:
        few, many = mesh.size(old.get(dim, ())), mesh.size(new.get(dim, ()))
        if many % few and few % many:
            return None
        found[dim] = (max(1, many // few), max(1, few // many))
    return found


def rounds(before: Splits, then: Splits, mesh: Mesh) -> int:
    """How many pieces a new block is put together of."""
    return math.prod(joined for _, joined in (ratios(before, then, mesh) or {}).values())


@lru_cache(maxsize=65536)
def rearranged(splits: Splits, free: Axes, dims: tuple[str, ...], mesh: Mesh) -> tuple[Splits, ...]:
    """Every other way to split `dims` over the axes of `splits` and `free` into as many parts along every dim.

    And into more along some where free slices cannot give these numbers; where they can, slice first and permute then.
    And into fewer where no way into as many leads there by letting go of whole axes: `x/col, y/row` → `x/row` with four
    devices along col and two along row takes half of col.
    """
    held = dict(splits)
    axes = tuple([a for a in mesh.names if a in free or any([a in along for along in held.values()])])
    alike, others = _by_share(tuple([mesh.size(held.get(d, ())) for d in dims]), axes, dims, mesh)
    found = [s for s in alike if s != splits]
    for finer, several in others:
        if not (finer and any([_starts_with(dict(s), splits) for s in several])):
            found += several
    return tuple(found)


@lru_cache(maxsize=1024)
def _by_share(
    mine: tuple[int, ...], axes: Axes, dims: tuple[str, ...], mesh: Mesh
) -> tuple[list[Splits], list[tuple[bool, list[Splits]]]]:
    """The ways to split dims into as many parts as these; and those into more (true) or fewer by whole numbers.

    Of those into fewer only the ones to which no way into as many leads by letting go of whole axes.
    """
    ways, whole = _by_parts(axes, dims, mesh), math.prod(mine)
    alike, others = [dict(s) for s in ways[mine]], list[tuple[bool, list[Splits]]]()
    for parts, several in ways.items():
        total = math.prod(parts)
        if total > whole and not any([p % m for p, m in zip(parts, mine, strict=True)]):
            others.append((True, several))
        if total < whole <= ROUNDS * total and not any([m % p for p, m in zip(parts, mine, strict=True)]):
            others.append((False, [s for s in several if not any([_starts_with(w, s) for w in alike])]))
    return ways[mine], others


def _starts_with(splits: dict[str, Axes], first: Splits) -> bool:
    return all([splits.get(dim, ())[: len(axes)] == axes for dim, axes in first])


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
def routes(before: Splits, then: Splits, mesh: Mesh) -> tuple[Round, ...]:
    """The rounds along `moved_axes` from one way to split to another; both dealt out as `ratios` says.

    A device that holds a piece of its new block keeps it; others get theirs from as near as they can: from a device
    that differs on as late a mesh axis as possible.
    """
    axes = moved_axes(before, then, mesh)
    small = Mesh(tuple((name, size) for name, size in mesh.axes if name in axes))
    shares = ratios(before, then, mesh)
    assert shares is not None
    have, want = _numbers(dict(before), shares, small), _numbers(dict(then), shares, small)
    cuts, joins = (np.array([[share[i]] for share in shares.values()], int) for i in (0, 1))
    holders, wanters = defaultdict[tuple[int, ...], list[int]](list), defaultdict[tuple[int, ...], list[int]](list)
    place = dict[tuple[int, tuple[int, ...]], tuple[int, ...]]()
    for device in range(small.devices):
        holders[tuple(have[:, device].tolist())].append(device)
    for piece in product(*(range(joined) for _, joined in shares.values())):
        for device, key in enumerate(((want * joins + np.array([piece], int).T) // cuts).T.tolist()):
            wanters[tuple(key)].append(device)
            place[device, tuple(key)] = piece
    receivers = [list[int]() for _ in range(small.devices)]
    for key, senders in holders.items():
        left = wanters[key]
        for _ in range(len(left) // len(senders)):
            chosen = _matched(senders, left, small)
            for sender, receiver in chosen.items():
                receivers[sender].append(receiver)
            left = [r for r in left if r not in chosen.values()]
    found = []
    for to in _in_rounds(receivers):
        cut = [(d, tuple((want[i, to] % c).tolist())) for i, (d, (c, _)) in enumerate(shares.items()) if c > 1]
        sender = np.argsort(to).tolist()
        arrives = [place[device, tuple(have[:, sender[device]].tolist())] for device in range(small.devices)]
        put = [(d, tuple(p[i] for p in arrives)) for i, (d, (_, j)) in enumerate(shares.items()) if j > 1]
        found.append(Round(tuple(enumerate(to)), tuple(cut), tuple(put)))
    return tuple(found)


def _in_rounds(receivers: list[list[int]]) -> list[list[int]]:
    """Rounds in which each device sends to one and receives from one, of who sends to whom in all, equally many each.

    Such a graph always has a perfect matching, and what is left is such a graph again (D. Kőnig, Math. Ann. 77, 453).
    """
    left, found = [list(to) for to in receivers], []
    while left[0]:
        if len(left[0]) == 1:
            return [*found, [to[0] for to in left]]
        starts, ends = np.cumsum([0, *map(len, left)]), np.concatenate(left)
        graph = csr_matrix((np.ones(len(ends), bool), ends, starts), shape=(len(left), len(left)))
        chosen = maximum_bipartite_matching(graph, perm_type="column").tolist()
        found.append(chosen)
        for to, receiver in zip(left, chosen, strict=True):
            to.remove(receiver)
    return found


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
