"""Exact minimisation by variable elimination: dynamic programming over a tree decomposition.

Variables and stars become cost tables. Eliminating a variable adds up the tables that mention it, minimises it away and
remembers the minimiser; read backwards, the memory is an optimal choice. The work is the size of the largest table,
so the cheapest variable goes first and the caller gives a limit; where it is passed, the answer is None.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .network import Network, Star


@dataclass
class _Table:
    scope: tuple[int, ...]
    cost: np.ndarray


def eliminate(network: Network, limit: float = 2e6) -> np.ndarray | None:
    """A choice of states of least cost, or None where some table would have more than `limit` entries."""
    sizes = [len(v.states) for v in network.variables]
    tables = [_Table((i,), v.cost) for i, v in enumerate(network.variables)]
    for star in network.stars:
        scope = star_scope(star, sizes)
        if math.prod(sizes[i] for i in scope) > limit:
            return None
        tables.append(_Table(scope, star_table(star, scope, sizes)))
    return _eliminate(tables, sizes, limit)


def easy(network: Network, limit: float = 2e4) -> bool:
    """Whether elimination needs no table beyond the limit: found without making one."""
    sizes = [len(v.states) for v in network.variables]
    near: list[set[int]] = [{i} for i in range(len(sizes))]
    for star in network.stars:
        scope = set(star_scope(star, sizes))
        for i in scope:
            near[i] |= scope
    left = {i for i, n in enumerate(sizes) if n > 1}
    while left:
        i = min(left, key=lambda j: (_volume(tuple(near[j] & left), sizes), j))
        scope = near[i] & left
        if _volume(tuple(scope), sizes) > limit:
            return False
        left.remove(i)
        for j in scope:
            near[j] |= scope
    return True


def _eliminate(tables: list[_Table], sizes: list[int], limit: float) -> np.ndarray | None:
    mention: list[set[int]] = [set() for _ in sizes]
    for t, table in enumerate(tables):
        for i in table.scope:
            mention[i].add(t)

    def reach(i: int) -> tuple[int, ...]:
        return tuple(sorted({j for t in mention[i] for j in tables[t].scope}))

    weight = {i: _volume(reach(i), sizes) for i in range(len(sizes))}
    order: list[tuple[int, tuple[int, ...], np.ndarray]] = []
    while weight:
        i = min(weight, key=lambda j: (weight[j], j))
        scope = reach(i)
        if weight.pop(i) > limit:
            return None
        total = np.zeros([sizes[j] for j in scope])
        for t in sorted(mention[i]):
            total += _spread(tables[t], scope)
        axis = scope.index(i)
        order.append((i, tuple(j for j in scope if j != i), total.argmin(axis)))
        rest = _Table(tuple(j for j in scope if j != i), total.min(axis))
        gone = set(mention[i])
        tables.append(rest)
        for j in rest.scope:
            mention[j] = (mention[j] - gone) | {len(tables) - 1}
        for j in rest.scope:
            weight[j] = _volume(reach(j), sizes)
    states = np.zeros(len(sizes), int)
    for i, scope, best in reversed(order):
        states[i] = best[tuple(states[j] for j in scope)]
    return states


def _volume(scope: tuple[int, ...], sizes: list[int]) -> float:
    return float(math.prod(sizes[j] for j in scope))


def _spread(table: _Table, scope: tuple[int, ...]) -> np.ndarray:
    """The table with an axis for each variable of `scope` (which is sorted, as the table's own)."""
    shape = [1] * len(scope)
    for i, n in zip(table.scope, table.cost.shape, strict=True):
        shape[scope.index(i)] = n
    return table.cost.reshape(shape)


def star_scope(star: Star, sizes: list[int]) -> tuple[int, ...]:
    """The variables on which a star's price depends; those with a single state are left out of its table."""
    return tuple(sorted({i for i in (star.source, *(u.variable for u in star.uses)) if sizes[i] > 1}))


def star_table(star: Star, scope: tuple[int, ...], sizes: list[int]) -> np.ndarray:
    """A star's price for every combination of its variables' states."""

    def along(variable: int, array: np.ndarray) -> np.ndarray:
        shape = [1] * len(scope)
        if variable in scope:
            shape[scope.index(variable)] = sizes[variable]
        return array.reshape(shape)

    table = np.zeros([sizes[i] for i in scope])
    wanted: dict[int, np.ndarray] = {}
    for use in star.uses:
        for w in {w for label in use.wants for w in label}:
            has = np.array([w in label for label in use.wants])[use.labels]
            wanted[w] = wanted.get(w, np.zeros((), bool)) | along(use.variable, has)
    for w, has in wanted.items():
        price = along(star.source, star.price[star.labels, w])
        table += np.where(has, price, 0.0)
    return table
