"""Exact reductions of a network: settle what has no choice left, merge states that nothing can tell apart.

The reduced network has the same variables, and every choice of the states that are left has the same price in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from .network import Network, Star, Use, Variable, distinct


def settle(network: Network) -> Network:
    """Moves into the variables' own costs what the stars charge for certain.

    A layout that some use wants in any case is paid for by the source, and free for the other uses; a use that can
    cost nothing is dropped; a star whose source has one layout left and which has one use is that use's own cost.
    """
    cost = [v.cost.copy() for v in network.variables]
    stars = [reduced for star in network.stars if (reduced := _settle_star(star, cost)).uses]
    variables = [Variable(v.name, v.states, c, v.tie) for v, c in zip(network.variables, cost, strict=True)]
    return Network(variables, stars)


def _settle_star(star: Star, cost: list[np.ndarray]) -> Star:
    if not star.uses:
        return star
    starts = distinct(star.labels)[0]
    price = star.price
    paid = set(np.logical_or.reduce(price[starts] != 0).nonzero()[0].tolist())
    certain = sorted({w for use in star.uses for w in set(use.wants[0]).intersection(*use.wants)} & paid)
    if certain:
        cost[star.source] += price[star.labels][:, certain].sum(axis=1)
        price = price.copy()
        price[:, certain] = 0.0
        paid.difference_update(certain)
    uses = [use for use in star.uses if not all(map(paid.isdisjoint, use.wants))]
    if len(uses) == 1 and len(starts) == 1:
        (use,) = uses
        cost[use.variable] += use.by_label(price[starts[0]], np.add)[use.labels]
        uses = []
    if price is star.price and len(uses) == len(star.uses):
        return star
    return replace(star, price=price, uses=uses)


Barred = tuple[Star, Use, np.ndarray]
"""A use of a star, and by [layout of the source, label] whether it can have what it wants."""


class Impossible(Exception):
    """A variable has no state left: no choice of states is possible."""


def reduce(
    network: Network, keep: Sequence[np.ndarray], merge: bool = True, barred: Sequence[Barred] | None = None
) -> tuple[Network, list[np.ndarray]]:
    """The settled network of the kept states, without impossible ones and (`merge`) those that no price tells apart.

    `barred` is `barred_of(network)`, where it is known already.

    Raises `Impossible` where nothing is left of a variable.
    """
    keep = list(keep)
    barred = barred_of(network) if barred is None else barred
    while True:
        keep = _consistent(barred, keep)
        if any(len(k) == 0 for k in keep):
            raise Impossible
        settled = settle(network.restrict(keep))
        possible = [np.flatnonzero(np.isfinite(v.cost)) for v in settled.variables]
        if all(len(p) == len(k) for p, k in zip(possible, keep, strict=True)):
            break
        keep = [k[p] for k, p in zip(keep, possible, strict=True)]
    if not merge:
        return settled, keep
    merged = _merge_equal(settled)
    return settled.restrict(merged), [k[m] for k, m in zip(keep, merged, strict=True)]


def _consistent(barred: Sequence[Barred], keep: list[np.ndarray]) -> list[np.ndarray]:
    """Of the kept states those that go with some state of every neighbour at a finite price."""
    pairs = list(barred)
    keep, changed = list(keep), True
    while changed:
        changed = False
        for star, use, may in pairs:
            rows, columns = star.labels[keep[star.source]], use.labels[keep[use.variable]]
            left = np.zeros(may.shape[0], bool)
            left[rows] = True
            fine = np.asarray(may[left].any(axis=0))[columns]
            if not fine.all():
                keep[use.variable], columns, changed = keep[use.variable][fine], columns[fine], True
            left = np.zeros(may.shape[1], bool)
            left[columns] = True
            fine = np.asarray(may[:, left].any(axis=1))[rows]
            if not fine.all():
                keep[star.source], changed = keep[star.source][fine], True
        pairs.reverse()  # so that what follows from either end goes through in one pass
    return keep


def barred_of(network: Network) -> list[Barred]:
    """The uses that cannot have all they may want."""
    return [pair for star in network.stars for pair in _barred(star)]


def _barred(star: Star) -> Iterator[Barred]:
    finite = np.isfinite(star.price)
    never = set((~np.logical_and.reduce(finite[star.labels])).nonzero()[0].tolist())
    if never:
        for use in star.uses:
            if not all(map(never.isdisjoint, use.wants)):
                yield star, use, use.by_label(finite, np.logical_and)


def _merge_equal(network: Network) -> list[np.ndarray]:
    """Of the states that every star sees alike only the cheapest (the first of equals)."""
    seen: list[list[np.ndarray]] = [[] for _ in network.variables]
    for star in network.stars:
        seen[star.source].append(star.labels)
        for use in star.uses:
            seen[use.variable].append(use.labels)
    kept = []
    for v, views in zip(network.variables, seen, strict=True):
        if len(v.states) == 1 or any([np.bincount(labels).max() == 1 for labels in views]):
            kept.append(np.arange(len(v.states)))  # one star tells all of them apart
            continue
        best: dict[tuple[int, ...], int] = {}
        for s, view in enumerate(
            zip(*(labels.tolist() for labels in views), strict=True) if views else [()] * len(v.states)
        ):
            if view not in best or v.cost[s] < v.cost[best[view]]:
                best[view] = s
        kept.append(np.array(sorted(best.values()), int))
    return kept
