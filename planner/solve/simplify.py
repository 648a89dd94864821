"""Exact reductions of a network: settle what has no choice left, merge states that nothing can tell apart.

The reduced network has the same variables, and every choice of the states that are left has the same price in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .network import Network, Star, Use, Variable, by_label, distinct, shared


def settle(network: Network) -> Network:
    """Moves into the variables' own costs what the stars charge for certain.

    A layout that some use wants in any case is paid for by the source, and free for the other uses; a use that can
    cost nothing is dropped; a star whose source has one layout left and which has one use is that use's own cost.
    """
    cost, settled = [v.cost.copy() for v in network.variables], shared(_settled)
    stars = []
    for star in network.stars:
        if not star.uses:
            continue
        found = settled(star.price, star.labels, *[x for use in star.uses for x in (use.labels, use.wants)])
        price, left, of_source, of_use = found
        if of_source is not None:
            cost[star.source] += of_source
        if of_use is not None:
            cost[star.uses[left[0]].variable] += of_use
        elif price is star.price and len(left) == len(star.uses):
            stars.append(star)
        elif left:
            stars.append(replace(star, price=price, uses=[star.uses[u] for u in left]))
    variables = [Variable(v.name, v.states, c, v.tie) for v, c in zip(network.variables, cost, strict=True)]
    return Network(variables, stars)


def _settled(
    price: np.ndarray, labels: np.ndarray, *uses: Any
) -> tuple[np.ndarray, list[int], np.ndarray | None, np.ndarray | None]:
    """Of a star, by its uses' labels and wants in turn: its prices and uses left, what is its source's cost, and what
    its only use's: then nothing is left."""
    of_source, of_use, wants = None, None, uses[1::2]
    starts = distinct(labels)[0]
    paid = set(np.logical_or.reduce(price[starts] != 0).nonzero()[0].tolist())
    certain = sorted({w for several in wants for w in set(several[0]).intersection(*several)} & paid)
    if certain:
        of_source = price[labels][:, certain].sum(axis=1)
        price = price.copy()
        price[:, certain] = 0.0
        paid.difference_update(certain)
    left = [u for u, several in enumerate(wants) if not all(map(paid.isdisjoint, several))]
    if len(left) == 1 and len(starts) == 1:
        of_use = by_label(wants[left[0]], price[starts[0]], np.add)[uses[2 * left[0]]]
    return price, left, of_source, of_use


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


def _consistent(barred: Sequence[Barred], keep: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Of the kept states those that go with some state of every neighbour at a finite price."""
    known: dict[bytes, np.ndarray] = {}

    def alike(k: np.ndarray) -> np.ndarray:
        return known.setdefault(k.tobytes(), k)

    def both(*pair: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        found = _together(*pair)
        return found and (alike(found[0]), alike(found[1]))

    together, keep = shared(both), [alike(k) for k in keep]
    pairs, changed = list(barred), True
    while changed:
        changed = False
        for star, use, may in pairs:
            before = keep[star.source], keep[use.variable]
            after = together(star.labels, use.labels, may, *before)
            if after is not None:
                keep[star.source], keep[use.variable] = after
                changed = True
        pairs.reverse()  # so that what follows from either end goes through in one pass
    return keep


def _together(
    labels: np.ndarray, wanted: np.ndarray, may: np.ndarray, source: np.ndarray, use: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Of a source's and a use's states those that go together; None where all do."""
    rows, columns = labels[source], wanted[use]
    left = np.zeros(may.shape[0], bool)
    left[rows] = True
    fine = np.logical_or.reduce(may[left])[columns]
    columns = columns[fine]
    left = np.zeros(may.shape[1], bool)
    left[columns] = True
    good = np.logical_or.reduce(may[:, left], axis=1)[rows]
    if np.logical_and.reduce(fine) and np.logical_and.reduce(good):
        return None
    return source[good], use[fine]


def barred_of(network: Network) -> list[Barred]:
    """The uses that cannot have all they may want."""
    never, may, found = shared(_never), shared(_may), []
    for star in network.stars:
        if out_of_reach := never(star.price, star.labels):
            uses = [use for use in star.uses if not all(map(out_of_reach.isdisjoint, use.wants))]
            found += [(star, use, may(star.price, use.wants)) for use in uses]
    return found


def _never(price: np.ndarray, labels: np.ndarray) -> set[int]:
    """The layouts that some layout of the source does not lead to."""
    return set((~np.logical_and.reduce(np.isfinite(price)[labels])).nonzero()[0].tolist())


def _may(price: np.ndarray, wants: list[tuple[int, ...]]) -> np.ndarray:
    return by_label(wants, np.isfinite(price), np.logical_and)


def _merge_equal(network: Network) -> list[np.ndarray]:
    """Of the states that every star sees alike only the cheapest (the first of equals)."""
    seen: list[list[np.ndarray]] = [[] for _ in network.variables]
    differ = shared(lambda labels: np.bincount(labels).max() == 1)
    for star in network.stars:
        seen[star.source].append(star.labels)
        for use in star.uses:
            seen[use.variable].append(use.labels)
    kept = []
    for v, views in zip(network.variables, seen, strict=True):
        if len(v.states) == 1 or any(map(differ, views)):
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
