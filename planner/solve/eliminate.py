"""Exact minimisation by variable elimination: dynamic programming over a tree decomposition.

Variables and stars become cost tables. Eliminating a variable adds up the tables that mention it, minimises it away and
remembers the minimiser; read backwards, the memory is an optimal choice. The work is the number of entries of all
tables, so the cheapest variable goes first and the caller gives a limit; where it is passed, the answer is None.

A star whose uses share layouts would be one table over all its variables. It is cut up by *copies*: a variable of two
states for each shared layout, which says whether that copy is paid for. Then the star is tables of two variables each:
the source pays for a copy that is there, and no use may want one that is not.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .network import Network, Use

JOINT = 600
"""A star whose variables have no more combinations than this stays one table."""


LIMIT = 2e7
"""How many entries an elimination may take, if nothing else is said: one second of work."""


@dataclass
class Table:
    """Costs over the states of the variables of a (sorted) scope, worked out when they are needed."""

    scope: tuple[int, ...]
    make: Callable[[], np.ndarray]


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
            wants = [(use.variable, _wanted(use, layouts)) for use in star.uses]
            tables.star(star.source, star.price[star.labels][:, layouts], wants)
        return tables

    @property
    def scopes(self) -> list[tuple[int, ...]]:
        return [table.scope for table in self.found]

    def add(self, scope: Sequence[int], make: Callable[[], np.ndarray]) -> None:
        """Adds a table, given by what makes its array; axes of variables with one state are dropped."""
        many = [k for k, i in enumerate(scope) if self.sizes[i] > 1]
        order = sorted(many, key=scope.__getitem__)
        self.found.append(Table(tuple([scope[k] for k in order]), lambda: _arranged(make(), many, order)))

    def star(self, source: int, price: np.ndarray, wants: list[tuple[int, np.ndarray]]) -> None:
        """Adds a star: prices by [state of the source, layout]; for each use its variable, and [layout, state] wanted.

        What some use wants in any case is the source's own cost.
        """
        if not wants:
            return
        every = np.array([has.all(axis=1) for _, has in wants])
        some = np.array([has.any(axis=1) for _, has in wants])
        paid, certain = price.any(axis=0), every.any(axis=0)
        if (paid & certain).any():
            self.add((source,), lambda: price[:, certain].sum(axis=1))
        open_ = paid & ~certain & some.any(axis=0)
        if not open_.any():
            return
        single = open_ & (some.sum(axis=0) == 1)
        shared = np.flatnonzero(open_ & ~single)
        users = tuple(dict.fromkeys(i for (i, _), any_ in zip(wants, some[:, open_], strict=True) if any_.any()))
        scope = (source, *users)
        if len(shared) and math.prod(self.sizes[i] for i in scope) <= JOINT:
            self.add(scope, lambda: _joint(price[:, open_], [(i, has[open_]) for i, has in wants], scope, self.sizes))
            return
        for (i, has), any_ in zip(wants, some, strict=True):
            alone = any_ & single
            if alone.any():
                self.add((source, i), lambda a=alone, h=has: _product(price[:, a], h[a]))
        for w in shared:
            copy = len(self.sizes)
            self.sizes.append(2)
            self.add((source, copy), lambda w=w: np.stack([np.zeros(len(price)), price[:, w]], axis=1))
            for (i, has), any_ in zip(wants, some, strict=True):
                if any_[w]:
                    self.add((i, copy), lambda h=has[w]: np.stack([np.where(h, np.inf, 0.0), np.zeros(len(h))], axis=1))


def _arranged(array: np.ndarray, many: list[int], order: list[int]) -> np.ndarray:
    array = array.reshape([array.shape[k] for k in many])
    return array if many == order else array.transpose([many.index(k) for k in order])


def _wanted(use: Use, layouts: Sequence[int]) -> np.ndarray:
    """[layout, state]: whether the use wants it."""
    member = np.array([[w in label for label in use.wants] for w in layouts], bool).reshape(len(layouts), -1)
    return member[:, use.labels]


def _product(price: np.ndarray, has: np.ndarray) -> np.ndarray:
    """[state of the source, state of the use]: the sum of the prices of what is wanted; prices may be infinite."""
    if np.isfinite(price).all():
        return price @ has
    return np.where(has[None], price[:, :, None], 0.0).sum(axis=1)


def _joint(price: np.ndarray, wants: list[tuple[int, np.ndarray]], scope: Sequence[int], sizes: Sequence[int]):
    """A star's price for every combination of its variables' states."""

    def along(i: int, array: np.ndarray) -> np.ndarray:
        return array.reshape([len(array) if j == i else 1 for j in scope])

    total = np.zeros([sizes[i] for i in scope])
    for w in range(price.shape[1]):
        wanted = np.zeros((), bool)
        for i, has in wants:
            if i in scope:
                wanted = wanted | along(i, has[w])
        total += np.where(wanted, along(scope[0], price[:, w]), 0.0)
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


@dataclass
class Bucket:
    """One variable's turn: the sum of the tables that mention it, over its scope."""

    variable: int
    scope: tuple[int, ...]
    total: np.ndarray
    rest: tuple[int, ...]
    """The scope without the variable."""
    least: np.ndarray
    """`total`, the variable minimised away."""


def run(tables: Tables, order: Sequence[int], keep_totals: bool = False):
    """Eliminates in the given order: the buckets, the minimisers, the optimum.

    Only the last bucket keeps its total, unless all shall (`keep_totals`).
    """
    turn = {i: t for t, i in enumerate(order)}
    held: list[list[tuple[tuple[int, ...], np.ndarray]]] = [[] for _ in order]
    constant = 0.0

    def give(scope: tuple[int, ...], cost: np.ndarray) -> None:
        nonlocal constant
        if scope:
            held[min(turn[i] for i in scope)].append((scope, cost))
        else:
            constant += float(cost)

    for table in tables.found:
        give(table.scope, table.make())
    buckets: list[Bucket] = []
    ends = len(order) - 1
    best: list[np.ndarray] = []
    for t, i in enumerate(order):
        scope = tuple(sorted({j for mentioned, _ in held[t] for j in mentioned} | {i}))
        total = _sum(held[t], scope, tables.sizes)
        held[t] = []
        axis = scope.index(i)
        rest = scope[:axis] + scope[axis + 1 :]
        argmin = total.argmin(axis)
        least = np.take_along_axis(total, np.expand_dims(argmin, axis), axis).squeeze(axis)
        best.append(argmin)
        buckets.append(Bucket(i, scope, total if keep_totals or t == ends else least, rest, least))
        give(rest, least)
    return buckets, best, constant


def _sum(held: list[tuple[tuple[int, ...], np.ndarray]], scope: tuple[int, ...], sizes: Sequence[int]) -> np.ndarray:
    total = np.zeros([sizes[j] for j in scope])
    for mentioned, cost in held:
        total += cost if mentioned == scope else cost.reshape([sizes[j] if j in mentioned else 1 for j in scope])
    return total


def read_back(buckets: list[Bucket], best: list[np.ndarray], states: np.ndarray, skip: int = -1) -> np.ndarray:
    """The choice that the minimisers stand for, given the states of what is not eliminated (or of `skip`)."""
    for bucket, argmin in zip(reversed(buckets), reversed(best), strict=True):
        if bucket.variable != skip:
            states[bucket.variable] = argmin[tuple(states[j] for j in bucket.rest)]
    return states


def minimise(tables: Tables, limit: float) -> np.ndarray | None:
    """States of all variables, copies included, of least cost; None above the limit of entries."""
    order = order_of(tables.sizes, tables.scopes, limit)
    if order is None:
        return None
    buckets, best, _ = run(tables, order)
    return read_back(buckets, best, np.zeros(len(tables.sizes), int))


def eliminate(network: Network, limit: float = LIMIT) -> np.ndarray | None:
    """A choice of states of least cost, or None where the tables would have more than `limit` entries."""
    states = minimise(Tables.of(network), limit)
    return None if states is None else states[: len(network.variables)]


def easy(tables: Tables, limit: float) -> bool:
    """Whether elimination needs no more entries than the limit: found without making one."""
    return order_of(tables.sizes, tables.scopes, limit) is not None
