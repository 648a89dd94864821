"""The stars of a network: what it costs to bring a value from the layout in which it is left to those that are wanted.

Stars of one type, of the same layouts left and of the same layouts wanted have prices and labels in common. These are
worked out once and are one object for all of them, so that the search, too, works out once what follows from them.
Columns are told apart by identity: equal ones have to be one object (`Builder._one`), which is kept here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ir.column import Column
from ir.dims import TensorType
from ir.graph import Value
from ir.layout import WHOLE, Layout

from .memory import packs_alone
from .reshard import LayoutGraph, Paths, Reshards
from .solve.network import Star, Use


@dataclass
class Stars:
    """Stars for one trip, not yet with who leaves and who wants the value, and when."""

    reshards: Reshards
    platform: str
    """Whose compiler the memory is told for."""
    found: dict[tuple[Any, ...], Star] = field(default_factory=dict)
    """By type, layouts left and wanted, whether it is stored, and whether it is gone once it has been moved."""
    arrays: dict[tuple[str, tuple[int, ...], bytes], np.ndarray] = field(default_factory=dict)
    wants: dict[tuple[tuple[int, ...], ...], list[tuple[int, ...]]] = field(default_factory=dict)
    """One array or list for all equal ones."""
    held: dict[tuple[TensorType, int], Column] = field(default_factory=dict)
    """The columns whose layouts a type's graph holds, by type and identity."""
    places: dict[int, tuple[LayoutGraph, list[Layout], dict[int, list[Any]]]] = field(default_factory=dict)
    """By identity of a graph: it, its layouts, and by identity of a column where the column's layouts are."""
    paths: dict[tuple[int, tuple[int, ...]], Paths] = field(default_factory=dict)
    """By identity of a graph and the numbers of layouts in it."""

    def of(
        self, value: Value, made: Column, wanted: Sequence[Column], stored: bool = True, going: bool = False
    ) -> Star:
        """The star of a value left and wanted so; not to be changed."""
        key = value.type, id(made), stored, going, *map(id, wanted)
        if key not in self.found:
            self.found[key] = self._priced(value, made, wanted, stored, going)
        return self.found[key]

    def alike(self, array: np.ndarray) -> np.ndarray:
        """The one array that equals this one."""
        return self.arrays.setdefault((array.dtype.char, array.shape, array.tobytes()), array)

    def _priced(self, value: Value, made: Column, wanted: Sequence[Column], stored: bool, going: bool) -> Star:
        graph = self._graph(value.type, [made, *wanted])
        left, sets = self._numbers(graph, made), [self._numbers(graph, column) for column in wanted]
        numbers = dict.fromkeys(
            [*(i for i in left if i is not None), *(i for x in sets for several in x for i in several)]
        )
        index, places = {i: n for n, i in enumerate(numbers)}, self.places[id(graph)][1]
        paths = self._paths(graph, tuple(numbers))
        star = Star(
            value,
            -1,
            self.alike(np.array([len(index) if i is None else index[i] for i in left], int)[made.at]),
            [places[i] for i in numbers],
            paths.seconds,
            paths.collectives,
            bytes=paths.bytes,
            scratch=paths.parting if going else paths.scratch,
        )
        if not stored:
            moved = (star.ties > 0) & ~(paths.packs & packs_alone(self.platform))
            star.scratch = star.scratch + np.where(moved, star.bytes[:, None], 0.0)
        if None in made.distinct:
            _add_absence(star)
        for column, several in zip(wanted, sets, strict=True):
            indices = [tuple([index[i] for i in x]) for x in several]
            distinct = sorted(indices)
            rank = {x: n for n, x in enumerate(distinct)}
            labels = self.alike(np.array([rank[x] for x in indices], int)[column.at])
            star.uses.append(Use(-1, labels, self.wants.setdefault(tuple(distinct), distinct)))
        return star

    def _paths(self, graph: LayoutGraph, numbers: tuple[int, ...]) -> Paths:
        """The paths between some of a graph's layouts."""
        key = id(graph), numbers
        if key not in self.paths:
            found = graph.paths.among(numbers)
            alike = {"seconds": self.alike(found.seconds), "collectives": self.alike(found.collectives)}
            self.paths[key] = found._replace(**alike)
        return self.paths[key]

    def _graph(self, t: TensorType, columns: Sequence[Column]) -> LayoutGraph:
        """The graph of a type that holds the layouts of some columns, of which the first is what its maker leaves."""
        needed: dict[Layout, None] = {}
        for n, column in enumerate(columns):
            if (t, id(column)) not in self.held:
                self.held[t, id(column)] = column
                needed |= dict.fromkeys(x for sets in column.distinct for x in ((sets,) if n == 0 else sets) if x)
        return self.reshards.graph(t, needed)

    def _numbers(self, graph: LayoutGraph, column: Column) -> list[Any]:
        """By distinct entry of a column the number of its layout in a graph, or those of its layouts."""
        known = self.places.setdefault(id(graph), (graph, [*graph.index], {}))[2]
        if id(column) not in known:
            index = graph.index
            known[id(column)] = [
                None if x is None else index[x] if isinstance(x, Layout) else tuple([index[w] for w in x])
                for x in column.distinct
            ]
        return known[id(column)]


def _add_absence(star: Star) -> None:
    """A last layout that stands for the value not being there: nothing can be made from it, and nothing is held."""
    n = len(star.layouts)
    star.layouts = [*star.layouts, WHOLE]
    star.price = np.pad(star.price, (0, 1), constant_values=np.inf)
    star.price[n, n] = 0.0
    star.ties, star.scratch = np.pad(star.ties, (0, 1)), np.pad(star.scratch, (0, 1))
    star.bytes = np.append(star.bytes, 0.0)
