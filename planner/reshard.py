"""The cheapest way from one layout of a value to another: shortest paths in the graph of legal moves.

The moves are those of `ir.layout`, priced by `planner.moves`; this file searches (Dijkstra). Among paths of equal price
the one with fewer collectives is taken, then the one with fewer moves. The path found is what the plan stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from ir.dims import CHAIN, TensorType
from ir.layout import Layout, Move
from ir.mesh import Mesh

from .candidates import Chains
from .cost import Costs, split_bytes
from .moves import Leg, Prices, layout_with, splits_with

_COLLECTIVE, _MOVE = 1e-12, 1e-13
"""What a collective and a move weigh in a tie [seconds]; taken off again from the price."""


class Paths(NamedTuple):
    """What the cheapest paths between some layouts of one type cost and hold."""

    bytes: np.ndarray
    """Of one block, by layout."""
    seconds: np.ndarray
    """[from, to] price of the cheapest path, infinite where there is none."""
    collectives: np.ndarray
    """[from, to] its number of collectives."""
    scratch: np.ndarray
    """[from, to] bytes that the path holds at its worst beyond the source and the copy that it makes."""
    parting: np.ndarray
    """[from, to] the same where the source is no longer needed once it is packed or moved."""
    packs: np.ndarray
    """[from, to] whether the first collective packs its operand, so that the value itself need not be stored for it."""

    def among(self, numbers: Sequence[int]) -> Paths:
        """The same for some of the layouts, by their places here."""
        at = np.array(numbers, int)
        blocks, *tables = self
        return Paths(blocks[at], *(table.take(at, 0).take(at, 1) for table in tables))


@dataclass
class LayoutGraph:
    """All-pairs cheapest paths between the layouts of one type that are reachable from the ones asked for."""

    type: TensorType
    index: dict[Layout, int]
    paths: Paths
    before: np.ndarray
    taken: np.ndarray
    """[from, to] which of the legs is the cheapest move, -1 where there is none."""
    legs: list[Leg]
    names: Mapping[str, str]
    """What dims are called here, by what they are called in `legs`."""

    def path(self, start: Layout, end: Layout) -> tuple[Move, ...]:
        """The moves of the cheapest path."""
        i, j, found = self.index[start], self.index[end], []
        while j != i:
            k = int(self.before[i, j])
            found.append(_move_with(self.legs[self.taken[k, j]].move, self.names))
            j = k
        return tuple(reversed(found))

    def renamed(self, t: TensorType, names: Mapping[str, str]) -> LayoutGraph:
        """The graph of a type that is this one's but for the names of its dims."""
        index = {layout_with(layout, names): i for layout, i in self.index.items()}
        return replace(self, type=t, index=index, names={d: names[self.names[d]] for d in self.names})


@dataclass
class Reshards:
    """Layout graphs by type, made when first asked for."""

    costs: Costs
    mesh: Mesh
    """The mesh axes that may be used."""
    chains: Chains = field(default_factory=Chains)
    prices: Prices | None = None
    """Of moves, whatever the rule for chains: shared between the graphs of several rules."""
    graphs: dict[TensorType, LayoutGraph] = field(default_factory=dict)
    first: dict[tuple[tuple[int, ...], int, int], TensorType] = field(default_factory=dict)
    """The first type that was asked for of those that differ in the names of their dims only, the chains apart."""

    def graph(self, t: TensorType, needed: Iterable[Layout]) -> LayoutGraph:
        """The graph of a type that holds the needed layouts and everything reachable from them."""
        have = self.graphs.get(t)
        missing = [layout for layout in needed if have is None or layout not in have.index]
        if have is not None and not missing:
            return have
        wanted = [*(have.index if have is not None else ()), *missing]
        first = self.first.setdefault((t.shape, t.itemsize, t.names.index(CHAIN) if CHAIN in t else -1), t)
        if first == t:
            made = self._build(t, wanted)
        else:
            there, back = dict(zip(t.names, first.names, strict=True)), dict(zip(first.names, t.names, strict=True))
            made = self.graph(first, [layout_with(layout, there) for layout in wanted]).renamed(t, back)
        self.graphs[t] = made
        return made

    def _build(self, t: TensorType, seeds: list[Layout]) -> LayoutGraph:
        """The graph of a type from its priced moves, in the numbers and names of the type's pattern."""
        self.prices = self.prices or Prices(self.costs, self.mesh)
        priced = self.prices.of(t)
        pattern = priced.pattern
        names, theirs = t.names, pattern.type.names
        there, back = dict(zip(names, theirs, strict=True)), dict(zip(theirs, names, strict=True))
        index = {pattern.number(layout_with(layout, there)): i for i, layout in enumerate(dict.fromkeys(seeds))}
        queue, starts, legs, allowed = list(index), [], [], dict[int, bool]()
        while queue:
            starts.append(queue.pop())
            for leg in priced.legal(starts[-1]):
                end = leg.end
                if end not in allowed:
                    allowed[end] = self.chains.allow(pattern.layouts[end], pattern.type)
                if not allowed[end]:
                    continue
                legs.append(leg)
                if end not in index:
                    index[end] = len(index)
                    queue.append(end)
        priced.price(starts)
        pairs = ((leg, x) for s in starts for leg, x in zip(priced.legal(s), priced.seconds[s], strict=True))
        seconds = [x for leg, x in pairs if allowed[leg.end]]
        layouts = [layout_with(pattern.layouts[n], back) for n in index]
        return _shortest(t, layouts, index, legs, seconds, back, self.mesh)


def _move_with(move: Move, names: Mapping[str, str]) -> Move:
    """The move with its dims renamed."""
    source, target = (None if d is None else names[d] for d in (move.source, move.target))
    return replace(move, source=source, target=target, splits=splits_with(move.splits, names))


def _shortest(
    t: TensorType,
    layouts: list[Layout],
    index: dict[int, int],
    legs: list[Leg],
    seconds: list[float],
    names: Mapping[str, str],
    mesh: Mesh,
) -> LayoutGraph:
    n = len(layouts)
    block = np.array([split_bytes(t, layout, mesh) for layout in layouts], float)
    one, many, taken = np.full((n, n), np.inf), np.zeros((n, n), int), np.full((n, n), -1)
    packed, unpacked = np.zeros((n, n)), np.zeros((n, n))
    if legs:
        found = [(index[x.start], index[x.end], x.rounds > 0, x.packs, x.unpacks) for x in legs]
        start, end, collective, packs, unpacks = np.array(found).T
        price = np.array(seconds)
        order = np.lexsort((price, end, start))[::-1]  # of the moves between two layouts the first of the cheapest wins
        at = start[order], end[order]
        one[at], many[at], taken[at] = price[order], collective[order], order
        packed[at], unpacked[at] = (packs * block[start])[order], (unpacks * block[end])[order]
    weights = one + np.where(many > 0, _COLLECTIVE, _MOVE)
    rows, columns = np.nonzero(taken >= 0)
    ends = np.concatenate([[0], np.bincount(rows, minlength=n).cumsum()])
    graph = csr_matrix((weights[rows, columns], columns, ends), shape=(n, n))
    distance, before = dijkstra(graph, return_predecessors=True)
    total = np.where(np.isfinite(distance), 0.0, np.inf).ravel()
    collectives, packed_first = np.zeros(n * n, int), np.zeros(n * n, bool)
    worst, least = np.zeros(n * n), np.zeros(n * n)
    one, many, packed, unpacked = one.ravel(), many.ravel(), packed.ravel(), unpacked.ravel()
    back: np.ndarray = before.ravel()
    path = (back >= 0).nonzero()[0]
    start, at = path // n, path % n
    last = True
    while len(path):  # walk all paths back at once, one move a turn
        previous = back[start * n + at]
        move, first = previous * n + at, previous == start
        pack, unpack = packed[move], unpacked[move] if last else 0.0
        here, there = block[at], block[previous]
        held = here + np.where(first, 0.0, there) + pack + unpack
        left = np.maximum.reduce([there + pack, here + np.where(pack > 0, pack, there), here + unpack])
        total[path] += one[move]
        collectives[path] += many[move]
        worst[path] = np.maximum(worst[path], held)
        least[path] = np.maximum(least[path], left)
        packed_first[path] |= first & (pack > 0)
        more, last = ~first, False
        path, start, at = path[more], start[more], previous[more]
    total, collectives, packed_first = total.reshape(n, n), collectives.reshape(n, n), packed_first.reshape(n, n)
    scratch = np.maximum(0.0, worst.reshape(n, n) - block[None, :])
    parting = np.maximum(0.0, least.reshape(n, n) - block[None, :] - block[:, None])
    place = {layout: i for i, layout in enumerate(layouts)}
    paths = Paths(block, total, collectives, scratch, parting, packed_first)
    return LayoutGraph(t, place, paths, before, taken, legs, names)
