"""Exact minimisation by variable elimination: dynamic programming over a tree decomposition.

Variables and stars become cost tables. Eliminating a variable adds up the tables that mention it and minimises it
away; gone through backwards, the tables give an optimal choice. The work is the number of entries of all
tables, so the cheapest variable goes first and the caller gives a limit; where it is passed, the answer is None.

A star whose uses share layouts would be one table over all its variables. It is cut up by *copies*: a variable of two
states for each shared layout, which says whether that copy is paid for. Then the star is tables of two variables each:
the source pays for a copy that is there, and no use may want one that is not.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from .network import Network, membership

JOINT = 600
"""A star whose variables have no more combinations than this stays one table."""


LIMIT = 2e7
"""How many entries an elimination may take, if nothing else is said: one second of work."""


@dataclass
class Table:
    """Costs over the states of the variables of a (sorted) scope, worked out when they are needed."""

    scope: tuple[int, ...]
    make: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Wanting:
    """What one use wants of a star's layouts."""

    variable: int
    some: np.ndarray
    """[layout] whether one of its states wants it."""
    every: np.ndarray
    """[layout] whether all do."""
    has: Callable[[], np.ndarray]
    """[layout, state] whether the state wants it, worked out when it is needed."""

    @classmethod
    def of(cls, variable: int, member: np.ndarray, has: Callable[[], np.ndarray]) -> Wanting:
        """Of [layout, label] whether the label wants it; every label is one of some state."""
        return cls(variable, np.logical_or.reduce(member, axis=1), np.logical_and.reduce(member, axis=1), has)


@dataclass
class Tables:
    """A network as a sum of tables; the copies are numbered after the network's variables."""

    sizes: list[int]
    found: list[Table] = field(default_factory=list)

    @classmethod
    def of(cls, network: Network) -> Tables:
        tables = cls([len(v.states) for v in network.variables])
        for i, v in enumerate(network.variables):
            tables.add((i,), lambda v=v: v.cost)
        for star in network.stars:
            layouts = sorted({w for use in star.uses for label in use.wants for w in label})
            wants = []
            for use in star.uses:
                member = membership(layouts, use.wants)
                wants.append(Wanting.of(use.variable, member, lambda m=member, use=use: m[:, use.labels]))
            tables.star(star.source, star.price[star.labels][:, layouts], wants)
        return tables

    @property
    def scopes(self) -> list[tuple[int, ...]]:
        return [table.scope for table in self.found]

    def add(self, scope: Sequence[int], make: Callable[[], np.ndarray]) -> None:
        """Adds a table, given by what makes its array; axes of variables with one state are dropped."""
        if len(scope) == 2:
            a, b = scope
            if self.sizes[a] > 1 and self.sizes[b] > 1:
                ordered = a < b
                self.found.append(Table((a, b) if ordered else (b, a), make if ordered else lambda: make().T))
                return
        many = tuple([i for i in scope if self.sizes[i] > 1])
        order = sorted(range(len(many)), key=many.__getitem__)
        shape = [self.sizes[i] for i in many]
        self.found.append(Table(tuple(sorted(many)), lambda: make().reshape(shape).transpose(order)))

    def star(self, source: int, price: np.ndarray, wants: Sequence[Wanting]) -> None:
        """Adds a star: prices by [state of the source, layout], and what each use wants of these layouts.

        What some use wants in any case is the source's own cost.
        """
        if not wants:
            return
        every, some = np.array([w.every for w in wants]), np.array([w.some for w in wants])
        paid, certain = np.logical_or.reduce(price != 0), np.logical_or.reduce(every)
        if (paid & certain).any():
            self.add((source,), lambda: price[:, certain].sum(axis=1))
        open_ = paid & ~certain & np.logical_or.reduce(some)
        if not open_.any():
            return
        single = open_ & (np.add.reduce(some) == 1)
        shared = (open_ & ~single).nonzero()[0]
        if len(shared):
            users = [w for w in wants if (w.some & open_).any()]
            scope = (source, *dict.fromkeys(w.variable for w in users))
            if math.prod([self.sizes[i] for i in scope]) <= JOINT:
                self.add(scope, lambda: _joint(price, users, np.flatnonzero(open_), scope, self.sizes))
                return
        for w in wants:
            alone = w.some & single
            if alone.any():
                self.add((source, w.variable), lambda a=alone, w=w: _product(price[:, a], w.has()[a]))
        for layout in shared.tolist():
            copy = len(self.sizes)
            self.sizes.append(2)
            self.add((source, copy), lambda x=layout: np.stack([np.zeros(len(price)), price[:, x]], axis=1))
            for w in wants:
                if w.some[layout]:
                    self.add((w.variable, copy), lambda x=layout, w=w: _barred(w.has()[x]))


def _barred(wanted: np.ndarray) -> np.ndarray:
    """[state, whether the copy is there]: no state that wants the copy goes without."""
    return np.stack([np.where(wanted, np.inf, 0.0), np.zeros(len(wanted))], axis=1)


def _product(price: np.ndarray, has: np.ndarray) -> np.ndarray:
    """[state of the source, state of the use]: the sum of the prices of what is wanted; prices may be infinite."""
    if np.isfinite(price).all():
        return price @ has
    return np.where(has[None], price[:, :, None], 0.0).sum(axis=1)


def _joint(
    price: np.ndarray, wants: Sequence[Wanting], layouts: np.ndarray, scope: Sequence[int], sizes: Sequence[int]
) -> np.ndarray:
    """A star's price for every combination of its variables' states."""

    def along(i: int, array: np.ndarray) -> np.ndarray:
        return array.reshape([len(array) if j == i else 1 for j in scope])

    total, has = np.zeros([sizes[i] for i in scope]), [(w.variable, w.has()) for w in wants]
    for x in layouts.tolist():
        wanted = np.zeros((), bool)
        for i, mine in has:
            wanted = wanted | along(i, mine[x])
        total += np.where(wanted, along(scope[0], price[:, x]), 0.0)
    return total


def order_of(sizes: Sequence[int], scopes: Sequence[tuple[int, ...]], limit: float, last: int = -1) -> list[int] | None:
    """An order of elimination, the smallest table first and `last` at the end; None above the limit of entries."""
    near: list[set[int]] = [{i} for i in range(len(sizes))]
    for scope in scopes:
        for i in scope:
            near[i].update(scope)
    weight = [math.prod(sizes[j] for j in near[i]) for i in range(len(sizes))]
    heap = [(weight[i], i) for i in range(len(sizes)) if sizes[i] > 1 and i != last]
    heapq.heapify(heap)
    order, total, gone = [], 0, [False] * len(sizes)
    while heap:
        volume, i = heapq.heappop(heap)
        if gone[i] or volume != weight[i]:
            continue
        total += volume
        if total > limit:
            return None
        gone[i] = True
        order.append(i)
        scope = near[i] - {i}
        for j in scope:
            near[j] |= scope
            near[j].discard(i)
        for j in scope:
            weight[j] = math.prod(sizes[k] for k in near[j])
            heapq.heappush(heap, (weight[j], j))
    return [*order, last] if last >= 0 else order


def too_many(tables: Tables, count: int, limit: float, spare: Collection[int] = ()) -> set[int]:
    """Of the first `count` variables some to hold, so that no table of the others has more than `limit` entries.

    Where the smallest table is too large, of its variables the one that most others meet is held; those in `spare`
    only if nothing else is left.
    """
    sizes = tables.sizes
    near: list[set[int]] = [{i} for i in range(len(sizes))]
    for scope in tables.scopes:
        for i in scope:
            near[i].update(scope)
    heap = [(math.prod(sizes[j] for j in near[i]), i) for i in range(len(sizes)) if sizes[i] > 1]
    weight, held = dict((i, w) for w, i in heap), set()
    heapq.heapify(heap)
    while heap:
        volume, i = heapq.heappop(heap)
        if weight.get(i) != volume:
            continue
        scope = near[i] - {i}
        if volume > limit and (may := [j for j in near[i] if j < count]):
            gone = max(may, key=lambda j: (j not in spare, sizes[j] > 2, len(near[j]), -j))
            held.add(gone)
            scope = near[gone] - {gone}
        else:
            gone = i
            for j in scope:
                near[j] |= scope
        del weight[gone]
        for j in scope:
            near[j].discard(gone)
            weight[j] = math.prod(sizes[k] for k in near[j])
            heapq.heappush(heap, (weight[j], j))
    return held


Part = tuple[tuple[int, ...], np.ndarray]
"""A scope, and costs over the states of its variables."""


@dataclass
class Bucket:
    """One variable's turn: the tables that mention it, added up and minimised."""

    variable: int
    scope: tuple[int, ...]
    parts: list[Part]
    """The tables."""
    total: np.ndarray
    """Their sum, over the scope."""
    rest: tuple[int, ...]
    """The scope without the variable."""
    least: np.ndarray
    """`total`, the variable minimised away."""

    def best(self, states: np.ndarray) -> int:
        """The variable's best state, given those of the rest: from the tables, so that no totals have to be kept."""
        cost = np.zeros(())
        for scope, part in self.parts:
            cost = cost + part[tuple([slice(None) if j == self.variable else states[j] for j in scope])]
        return int(cost.argmin())


def run(tables: Tables, order: Sequence[int], keep_totals: bool = False) -> tuple[list[Bucket], float]:
    """Eliminates in the given order: the buckets and the optimum.

    Only the last bucket keeps its total, unless all shall (`keep_totals`). Scopes go from few states to many here:
    arrays are added up fast where their last axis is long.
    """
    turn = {i: t for t, i in enumerate(order)}
    sizes = tables.sizes
    place = {i: n for n, i in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__))}
    held: list[list[Part]] = [[] for _ in order]
    constant = 0.0

    def give(scope: tuple[int, ...], cost: np.ndarray) -> None:
        nonlocal constant
        if scope:
            held[min([turn[i] for i in scope])].append((scope, cost))
        else:
            constant += float(cost)

    for table in tables.found:
        axes = sorted(range(len(table.scope)), key=lambda k: place[table.scope[k]])
        give(tuple([table.scope[k] for k in axes]), table.make().transpose(axes))
    buckets: list[Bucket] = []
    ends = len(order) - 1
    for t, i in enumerate(order):
        scope = tuple(sorted({j for mentioned, _ in held[t] for j in mentioned} | {i}, key=place.__getitem__))
        total = _sum(held[t], scope, sizes)
        axis = scope.index(i)
        rest = scope[:axis] + scope[axis + 1 :]
        least = np.minimum.reduce(total, axis=axis)
        buckets.append(Bucket(i, scope, held[t], total if keep_totals or t == ends else least, rest, least))
        give(rest, least)
    return buckets, constant


def _sum(held: list[Part], scope: tuple[int, ...], sizes: Sequence[int]) -> np.ndarray:
    total = np.zeros([sizes[j] for j in scope])
    for mentioned, cost in held:
        total += cost if mentioned == scope else cost.reshape([sizes[j] if j in mentioned else 1 for j in scope])
    return total


def read_back(buckets: list[Bucket], states: np.ndarray, skip: int = -1) -> np.ndarray:
    """The choice of least cost, given the states of what is not eliminated (or of `skip`)."""
    for bucket in reversed(buckets):
        if bucket.variable != skip:
            states[bucket.variable] = bucket.best(states)
    return states


def minimise(tables: Tables, limit: float) -> np.ndarray | None:
    """States of all variables, copies included, of least cost; None above the limit of entries."""
    order = order_of(tables.sizes, tables.scopes, limit)
    if order is None:
        return None
    buckets, _ = run(tables, order)
    return read_back(buckets, np.zeros(len(tables.sizes), int))


def eliminate(network: Network, limit: float = LIMIT) -> np.ndarray | None:
    """A choice of states of least cost, or None where the tables would have more than `limit` entries."""
    states = minimise(Tables.of(network), limit)
    return None if states is None else states[: len(network.variables)]


def easy(tables: Tables, limit: float) -> bool:
    """Whether elimination needs no more entries than the limit: found without making one."""
    return order_of(tables.sizes, tables.scopes, limit) is not None
