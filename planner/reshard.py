"""The cheapest way from one layout of a value to another: shortest paths in the graph of legal moves.

The moves are those of `ir.layout`; this file prices them and searches (Dijkstra). Among paths of equal price the one
with fewer collectives is taken, then the one with fewer moves. The path found is what the plan stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from ir.dims import CHAIN, TensorType
from ir.layout import Layout, Move, moves_from
from ir.mesh import Mesh
from ir.permute import Splits

from .candidates import Chains
from .cost import Costs, split_bytes
from .memory import staging_bytes

_COLLECTIVE, _MOVE = 1e-12, 1e-13
"""What a collective and a move weigh in a tie [seconds]; taken off again from the price."""


@dataclass
class LayoutGraph:
    """All-pairs cheapest paths between the layouts of one type that are reachable from the ones asked for."""

    type: TensorType
    index: dict[Layout, int]
    seconds: np.ndarray
    """[from, to] price of the cheapest path, infinite where there is none."""
    collectives: np.ndarray
    """[from, to] its number of collectives."""
    scratch: np.ndarray
    """[from, to] bytes that the path holds at its worst beyond the source and the copy that it makes."""
    packs: np.ndarray
    """[from, to] whether the first collective packs its operand, so that the value itself need not be stored for it."""
    before: np.ndarray
    moves: dict[tuple[int, int], Move]
    names: Mapping[str, str] = field(default_factory=dict)
    """What dims are called here that are called otherwise in `moves`."""

    def path(self, start: Layout, end: Layout) -> tuple[Move, ...]:
        """The moves of the cheapest path."""
        i, j, found = self.index[start], self.index[end], []
        while j != i:
            k = int(self.before[i, j])
            found.append(_move_with(self.moves[k, j], self.names))
            j = k
        return tuple(reversed(found))

    def renamed(self, t: TensorType, names: Mapping[str, str]) -> LayoutGraph:
        """The graph of a type that is this one's but for the names of its dims."""
        index = {_layout_with(layout, names): i for layout, i in self.index.items()}
        return replace(self, type=t, index=index, names=names)


@dataclass
class Reshards:
    """Layout graphs by type, made when first asked for."""

    costs: Costs
    mesh: Mesh
    """The mesh axes that may be used."""
    chains: Chains = field(default_factory=Chains)
    moves: dict[tuple[TensorType, Layout], list[tuple[Move, Layout, float]]] = field(default_factory=dict)
    """Priced moves from a layout, whatever the rule for chains: shared between the graphs of several rules."""
    graphs: dict[TensorType, LayoutGraph] = field(default_factory=dict)
    first: dict[tuple[tuple[int, ...], int, bool], TensorType] = field(default_factory=dict)
    """The first type that was asked for of those that differ in the names of their dims only."""

    def graph(self, t: TensorType, needed: Iterable[Layout]) -> LayoutGraph:
        """The graph of a type that holds the needed layouts and everything reachable from them."""
        have = self.graphs.get(t)
        missing = [layout for layout in needed if have is None or layout not in have.index]
        if have is not None and not missing:
            return have
        wanted = [*(have.index if have is not None else ()), *missing]
        first = self.first.setdefault((t.shape, t.itemsize, CHAIN in t), t)  # chains stand first wherever they are
        if first == t:
            made = self._build(t, wanted)
        else:
            there, back = (dict(zip(a, b, strict=True)) for a, b in ((t.names, first.names), (first.names, t.names)))
            made = self.graph(first, [_layout_with(layout, there) for layout in wanted]).renamed(t, back)
        self.graphs[t] = made
        return made

    def _build(self, t: TensorType, seeds: list[Layout]) -> LayoutGraph:
        index = {layout: i for i, layout in enumerate(dict.fromkeys(seeds))}
        queue, price, moves = list(index), {}, {}
        while queue:
            layout = queue.pop()
            for move, then, seconds in self._moves_from(t, layout):
                if not self.chains.allow(then, t):
                    continue
                if then not in index:
                    index[then] = len(index)
                    queue.append(then)
                pair = index[layout], index[then]
                if pair not in price or seconds < price[pair]:
                    price[pair], moves[pair] = seconds, move
        return _shortest(t, index, price, moves, self.mesh)

    def _moves_from(self, t: TensorType, layout: Layout) -> list[tuple[Move, Layout, float]]:
        if (t, layout) not in self.moves:
            found = moves_from(layout, t, self.mesh)
            self.moves[t, layout] = [(move, then, self.costs.move(move, t, layout)) for move, then in found]
        return self.moves[t, layout]


def _layout_with(layout: Layout, names: Mapping[str, str]) -> Layout:
    """The layout with its dims renamed."""
    return Layout(_splits_with(layout.splits, names), layout.partial, layout.reduce)


def _move_with(move: Move, names: Mapping[str, str]) -> Move:
    """The move with its dims renamed."""
    if not names:
        return move
    source, target = (None if d is None else names[d] for d in (move.source, move.target))
    return replace(move, source=source, target=target, splits=_splits_with(move.splits, names))


def _splits_with(splits: Splits, names: Mapping[str, str]) -> Splits:
    return tuple(sorted((names[d], axes) for d, axes in splits))


def _shortest(
    t: TensorType,
    index: dict[Layout, int],
    price: dict[tuple[int, int], float],
    moves: dict[tuple[int, int], Move],
    mesh: Mesh,
) -> LayoutGraph:
    n, layouts = len(index), list(index)
    one, many = np.zeros((n, n)), np.zeros((n, n), int)
    packed, unpacked = np.zeros((n, n)), np.zeros((n, n))
    weights = np.full((n, n), np.inf)
    for (i, j), seconds in price.items():
        one[i, j], many[i, j] = seconds, moves[i, j].kind != "slice"
        weights[i, j] = seconds + (_COLLECTIVE if many[i, j] else _MOVE)
        packed[i, j], unpacked[i, j] = staging_bytes(moves[i, j], t, layouts[i], layouts[j], mesh)
    rows, columns = np.nonzero(np.isfinite(weights))
    graph = csr_matrix((weights[rows, columns], (rows, columns)), shape=(n, n))
    distance, before = dijkstra(graph, return_predecessors=True)
    seconds = np.where(np.isfinite(distance), 0.0, np.inf)
    collectives, worst, packs = np.zeros((n, n), int), np.zeros((n, n)), np.zeros((n, n), bool)
    block = np.array([split_bytes(t, layout, mesh) for layout in layouts], float)
    start, end = np.indices((n, n))
    at = end
    while True:  # walk all paths back at once, one move a turn
        previous = before[start, at]
        live = (previous >= 0) & (start != at)
        if not live.any():
            break
        previous = np.where(live, previous, start)
        held = block[at] + np.where(previous == start, 0.0, block[previous])
        held += packed[previous, at] + np.where(at == end, unpacked[previous, at], 0.0)
        seconds[live] += one[previous[live], at[live]]
        collectives[live] += many[previous[live], at[live]]
        worst[live] = np.maximum(worst[live], held[live])
        packs |= live & (previous == start) & (packed[previous, at] > 0)
        at = np.where(live, previous, at)
    scratch = np.maximum(0.0, worst - block[None, :])
    return LayoutGraph(t, index, seconds, collectives, scratch, packs, before, moves)
