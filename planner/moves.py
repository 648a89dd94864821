"""The moves between the layouts of a type, priced all at once.

Which moves there are depends on the sizes of dims only in whether blocks are cut evenly, and their order on the names
of dims only in which dim is gathered first. So they are found once for all types of one `Pattern` and numbered; for a
type those are struck off whose cuts are uneven, and the rest is priced from arrays of block extents. `Costs.move`
prices one move by itself; tests/planner/test_in_bulk.py holds the two to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ir.dims import CHAIN, TensorType
from ir.layout import Axes, Fields, Layout, Move, is_even, possible_moves
from ir.mesh import Mesh
from ir.permute import Splits, rounds

from .cost import Costs, gathered
from .memory import staging

_SUMS = ("all_reduce", "reduce_scatter")


class Leg(NamedTuple):
    """A move from one numbered layout to another; dims are told by their places in the type."""

    start: int
    end: int
    move: Move
    source: int
    """The dim whose blocks are gathered or exchanged; -1 for moves that come before these, and past the last after."""
    cuts: tuple[tuple[int, int, int], ...]
    """What must be even: (dim, fewer parts, more parts)."""
    rounds: int
    """How many collectives it takes one after the other; none for a slice."""
    target: int
    """The dim whose blocks are padded to whole pieces before they are dealt out; -1 where there is none."""
    parts: int
    """Into how many pieces."""
    along: int
    """The dim along which blocks are gathered or scattered, or -1."""
    packs: bool
    unpacks: bool


@dataclass
class Pattern:
    """Layouts and moves of types with as many dims, the same of them longer than one, whatever their names."""

    type: TensorType
    """The first of them, whose names the layouts and moves use."""
    mesh: Mesh
    numbers: dict[Fields, int] = field(default_factory=dict)
    """By a layout's fields."""
    parts: list[tuple[int, ...]] = field(default_factory=list)
    """By layout, the number of parts along each dim."""
    found: dict[int, list[Leg]] = field(default_factory=dict)
    layouts: list[Layout] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.place = {d: i for i, d in enumerate(self.type.names)}
        self.long = tuple([d.name for d in self.type.dims if d.size > 1])

    def number(self, layout: Layout) -> int:
        return self._number((layout.splits, layout.partial, layout.reduce))

    def _number(self, fields: Fields) -> int:
        found = self.numbers.get(fields)
        if found is None:
            layout = Layout(*fields)
            found = self.numbers[fields] = len(self.layouts)
            self.layouts.append(layout)
            held, size = dict(layout.splits), self.mesh.size
            self.parts.append(tuple([size(held[d]) if d in held else 1 for d in self.type.names]))
        return found

    def legs(self, start: int) -> list[Leg]:
        """The moves from a layout that are legal where cuts are even."""
        if start not in self.found:
            moves = possible_moves(self.layouts[start], self.type.names, self.long, self.mesh)
            self.found[start] = [self._leg(start, *found) for found in moves]
        return self.found[start]

    def _leg(self, start: int, move: Move, then: Fields, cuts: Iterable[tuple[str, int, int]]) -> Leg:
        place, along, collectives = self.place, gathered(move), 1
        if move.kind in ("slice", "permute"):
            collectives = rounds(self.layouts[start].splits, move.splits, self.mesh) if move.kind == "permute" else 0
        return Leg(
            start,
            self._number(then),
            move,
            -1 if move.kind in _SUMS else len(place) if move.source is None else place[move.source],
            tuple([(place[d], few, many) for d, few, many in cuts]),
            collectives,
            -1 if move.target is None else place[move.target],
            self.mesh.size(move.axes),
            -1 if along is None else place[along],
            *staging(move, self.type),
        )


@dataclass
class Priced:
    """The legal moves of one type with their seconds, found by the layout that they start from."""

    pattern: Pattern
    type: TensorType
    prices: Prices
    legs: dict[int, list[Leg]] = field(default_factory=dict)
    seconds: dict[int, list[float]] = field(default_factory=dict)
    even: dict[tuple[int, int, int], bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        theirs, mine = (sorted(range(len(x)), key=x.__getitem__) for x in (self.pattern.type.names, self.type.names))
        self.rank = None if mine == theirs else {-1: -1, len(mine): len(mine), **{i: n for n, i in enumerate(mine)}}
        """By dim its place in the order of names, where that is not the pattern's."""

    def legal(self, start: int) -> list[Leg]:
        """In the order of `possible_moves`, which decides between equals: by the name of the dim that is gathered."""
        if start not in self.legs:
            legs = [leg for leg in self.pattern.legs(start) if all(map(self._is_even, leg.cuts))]
            if (rank := self.rank) is not None:
                legs.sort(key=lambda leg: rank[leg.source])
            self.legs[start] = legs
        return self.legs[start]

    def _is_even(self, cut: tuple[int, int, int]) -> bool:
        if cut not in self.even:
            dim, few, many = cut
            self.even[cut] = is_even(self.type.shape[dim], few, many)
        return self.even[cut]

    def price(self, starts: Iterable[int]) -> None:
        """Finds the seconds of all moves from some layouts."""
        starts = [s for s in starts if s not in self.seconds]
        legs = [leg for s in starts for leg in self.legal(s)]
        found = iter(self._priced(legs))
        for s in starts:
            self.seconds[s] = [next(found) for _ in self.legs[s]]

    def _priced(self, legs: list[Leg]) -> list[float]:
        if not legs or not self.type.dims:
            return [self.prices.seconds(leg, self.type.itemsize, False) for leg in legs]
        sizes, parts = np.array(self.type.shape), np.array(self.pattern.parts)
        extents = -(-sizes // parts)
        start, end, target, pieces, along = np.array([(x.start, x.end, x.target, x.parts, x.along) for x in legs]).T
        blocks = extents[start]
        permuted = np.array([leg.move.kind == "permute" for leg in legs])
        blocks[permuted] = np.minimum(blocks, extents[end])[permuted]
        dealt = np.flatnonzero(target >= 0)
        cut, at = pieces[dealt], (dealt, target[dealt])
        blocks[at] = -(-blocks[at] // cut) * cut
        first = np.where((sizes > parts).any(axis=1), (sizes > parts).argmax(axis=1), len(sizes))
        sent, inside = blocks.prod(axis=1) * self.type.itemsize, first[start] < along
        return list(map(self.prices.seconds, legs, sent.tolist(), inside.tolist()))


@dataclass
class Prices:
    """Seconds of moves on one machine; what many moves have in common is worked out once."""

    costs: Costs
    mesh: Mesh
    """The mesh axes that may be used."""
    patterns: dict[tuple[tuple[bool, ...], int], Pattern] = field(default_factory=dict)
    """By which dims are longer than one, and where the chains are."""
    types: dict[TensorType, Priced] = field(default_factory=dict)
    curves: dict[tuple[str, Axes, bool], Callable[[int], float]] = field(default_factory=dict)
    """Of one collective by its bytes: by kind and axes, and whether it goes along a dim inside."""
    known: dict[tuple[str, Axes, bool, int], float] = field(default_factory=dict)

    def of(self, t: TensorType) -> Priced:
        if t not in self.types:
            key = tuple([n > 1 for n in t.shape]), t.names.index(CHAIN) if CHAIN in t else -1
            pattern = self.patterns.setdefault(key, Pattern(t, self.mesh))
            self.types[t] = Priced(pattern, t, self)
        return self.types[t]

    def seconds(self, leg: Leg, size: int, inside: bool) -> float:
        """Of a move with `size` bytes of operand on each device."""
        if not leg.rounds:
            return 0.0
        kind = "collective_permute" if leg.move.kind == "permute" else leg.move.kind
        key = kind, leg.move.axes, inside, size
        if (found := self.known.get(key)) is None:
            if key[:3] not in self.curves:
                self.curves[key[:3]] = self.costs.curve(*key[:3])
            found = self.known[key] = self.curves[key[:3]](size)
        return found if leg.rounds == 1 else sum([found] * leg.rounds)


def layout_with(layout: Layout, names: Mapping[str, str]) -> Layout:
    """The layout with its dims renamed."""
    return Layout(splits_with(layout.splits, names), layout.partial, layout.reduce)


def splits_with(splits: Splits, names: Mapping[str, str]) -> Splits:
    return tuple(sorted([(names[d], axes) for d, axes in splits]))
