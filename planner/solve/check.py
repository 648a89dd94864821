"""The checker: recomputes from a network and a certificate alone what is proven. It imports nothing of the search.

A certificate is plain data (dicts, lists, numbers, arrays):

    {"states":       the choice whose price is claimed, one index for each variable; None where only a bound is
     "threshold":    the price below which there is claimed to be no choice
     "multipliers":  [[step, price of a byte at that step], …], where a memory budget binds
     "proof":        a leaf or a split}
    leaf   {"rounds": […]}                  each round a list of messages by star; a round strikes states off
    split  {"variable": v, "groups": [[states], …], "proofs": [leaf or split, …]}    one proof for each group

Whatever numbers stand in it, the bound that comes out is valid, to rounding (about 1e-13 of it): a message is cost
moved from a pair (source, use) to one of its ends, so it cancels; shares of a price are scaled down where they add up
to more than it; and a state is struck off only where its own bound reaches the threshold, and then no more than the
threshold is claimed.

    price(x)  ≥  Σ_v min θ_v  +  Σ_pairs min R      θ_v = own cost + what was moved to it,  R = charge - what was moved
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .network import Network, Star

LIMIT = 3e7
"""The most entries that the tables of one leaf may have; beyond it its messages alone count."""


@dataclass(frozen=True)
class Proof:
    """What a certificate proves: its choice's cost and peak bytes, and that no choice costs less than `bound`."""

    cost: float
    bound: float
    peak: float

    @property
    def gap(self) -> float:
        return max(0.0, self.cost - self.bound) / self.cost if self.cost > 0 else 0.0


class Rejected(Exception):
    """The certificate does not fit the network, or claims what may not be claimed."""


def check(network: Network, certificate: Mapping[str, Any], memory: float = 0.0) -> Proof:
    """What a certificate proves of a network, for all choices or (`memory` > 0) for those that fit.

    Raises `Rejected` where the choice is none, breaks the budget, or a multiplier is negative.
    """
    states = certificate["states"]
    sizes = [len(v.states) for v in network.variables]
    cost, peak = math.inf, 0.0
    if states is not None:
        cost, peak = _checked_choice(network, states, sizes, memory)
    own, offset = _priced(network, certificate.get("multipliers", ()), memory)
    threshold = float(certificate["threshold"]) + offset
    everything = [np.arange(n) for n in sizes]
    bound = _prove(network, own, everything, certificate["proof"], threshold) - offset
    return Proof(cost, min(bound, cost), peak)


def _checked_choice(network: Network, states: Sequence[int], sizes: list[int], memory: float) -> tuple[float, float]:
    """What a choice costs and holds at its peak."""
    if len(states) != len(sizes) or any(not 0 <= s < n for s, n in zip(states, sizes, strict=True)):
        raise Rejected("the choice does not name one state for each variable")
    cost, peak = _cost(network, states), float(_held(network, states).max())
    if not math.isfinite(cost):
        raise Rejected("the choice is impossible")
    if memory and peak > memory:
        raise Rejected(f"the choice holds {peak:,.0f} B, the budget is {memory:,.0f} B")
    return cost, peak


def _cost(network: Network, states: Sequence[int]) -> float:
    total = sum(float(v.cost[s]) for v, s in zip(network.variables, states, strict=True))
    for star in network.stars:
        start = star.labels[states[star.source]]
        wanted = {w for use in star.uses for w in use.wants[use.labels[states[use.variable]]]}
        total += sum(float(star.price[start, w]) for w in wanted)
    return total


def _held(network: Network, states: Sequence[int]) -> np.ndarray:
    """Bytes at each step: values while they live or are wanted, copies from first to last use, and their making."""
    held = np.zeros(1 + max((max(s.life[1], *(u.time[1] for u in s.uses), 0) for s in network.stars), default=0))
    for star in network.stars:
        start = int(star.labels[states[star.source]])
        end = star.life[1]
        spans: dict[int, list[int]] = {}
        for use in star.uses:
            for w in use.wants[use.labels[states[use.variable]]]:
                end = max(end, use.time[1])
                if w != start:
                    held[use.time[0]] += star.scratch[start, w]
                    spans.setdefault(w, []).extend(use.time)
        if star.stored:
            held[star.life[0] : end + 1] += star.bytes[start]
        for w, times in spans.items():
            held[min(times) : max(times) + 1] += star.bytes[w]
    return held


def _priced(network: Network, multipliers: Sequence[Sequence[float]], memory: float) -> tuple[list[np.ndarray], float]:
    """The variables' own costs with the bytes of values priced, and what that adds to a choice that fits."""
    own = [np.array(v.cost, float) for v in network.variables]
    offset = 0.0
    for step, price in multipliers:
        if not memory or not 0 <= price < math.inf:
            raise Rejected("a multiplier is negative, or there is no budget for it to price")
        offset += price * memory
        for star in network.stars:
            if star.stored and star.life[0] <= step <= star.life[1]:
                own[star.source] += price * star.bytes[star.labels]
    return own, offset


def _prove(network: Network, own: list[np.ndarray], keep: list[np.ndarray], proof: Mapping, threshold: float) -> float:
    """A lower bound of every choice of the kept states."""
    if "variable" in proof:
        v, groups = proof["variable"], [np.asarray(g, int) for g in proof["groups"]]
        if not set(keep[v].tolist()) <= {s for g in groups for s in g.tolist()} or len(groups) != len(proof["proofs"]):
            raise Rejected("a split does not cover every state of its variable")
        parts = []
        for group, part in zip(groups, proof["proofs"], strict=True):
            among = [np.intersect1d(k, group) if i == v else k for i, k in enumerate(keep)]
            parts.append(_prove(network, own, among, part, threshold) if len(among[v]) else math.inf)
        return min(parts)
    best = -math.inf
    for messages in proof["rounds"]:
        keep = _possible(network, own, keep)
        if not all(map(len, keep)):
            return threshold
        bounds, total = _state_bounds(network, own, keep, {m["star"]: m for m in messages}, threshold)
        best = max(best, total)
        keep = [k[~(b >= threshold)] for k, b in zip(keep, bounds, strict=True)]
        if not all(map(len, keep)):
            return threshold
    exact = _least(network, own, keep)
    return min(threshold, best if exact is None else max(best, exact))


def _possible(network: Network, own: list[np.ndarray], keep: list[np.ndarray]) -> list[np.ndarray]:
    """The states that some state of every neighbour goes with at a finite price."""
    while True:
        fine = [np.isfinite(cost[k]) for cost, k in zip(own, keep, strict=True)]
        for star in network.stars:
            rows, at = np.unique(star.labels[keep[star.source]], return_inverse=True)
            price = star.price[rows]
            if np.isfinite(price).all():
                continue
            for use in star.uses:
                labels, chosen = np.unique(use.labels[keep[use.variable]], return_inverse=True)
                may = np.stack([np.isfinite(price[:, list(use.wants[label])]).all(axis=1) for label in labels], axis=1)
                fine[star.source] &= np.asarray(may.any(axis=1))[at]
                fine[use.variable] &= np.asarray(may.any(axis=0))[chosen]
        if all(f.all() for f in fine):
            return keep
        keep = [k[f] for k, f in zip(keep, fine, strict=True)]
        if not all(map(len, keep)):
            return keep


def _state_bounds(network: Network, own, keep, messages: Mapping[int, Mapping], threshold: float):
    """For each kept state a lower bound of the choices with it, and one for all choices: the formula above."""
    theta = [cost[k] for cost, k in zip(own, keep, strict=True)]
    slack = [np.zeros(len(k)) for k in keep]
    total = 0.0
    for s, star in enumerate(network.stars):
        sent = messages.get(s)
        rows, at = np.unique(star.labels[keep[star.source]], return_inverse=True)
        shares = _shares(star, rows, sent)
        for u, use in enumerate(star.uses):
            labels, chosen = np.unique(use.labels[keep[use.variable]], return_inverse=True)
            wants = [use.wants[label] for label in labels]
            left = np.stack([shares[u][:, list(w)].sum(axis=1) for w in wants], axis=1)
            if sent is not None and u in sent["uses"]:
                to_source, to_use = _moved(left, rows.tolist(), wants, sent, list(sent["uses"]).index(u))
                left = left - to_source[:, None] - to_use
                theta[star.source] = theta[star.source] + to_source[at]
                theta[use.variable] = theta[use.variable] + to_use[chosen]
            least = float(left.min())
            total += least
            slack[star.source] += (left.min(axis=1) - least)[at]
            slack[use.variable] += (left.min(axis=0) - least)[chosen]
    low = [float(t.min()) for t in theta]
    total += sum(low)
    return [total - n + t + more for n, t, more in zip(low, theta, slack, strict=True)], total


def _moved(left: np.ndarray, rows: list[int], wants: list[tuple[int, ...]], sent: Mapping, k: int):
    """What is moved from one pair to its source, by row, and to its use, by column.

    Where the certificate says nothing, all that is left for certain is moved.
    """
    by_row = dict(zip(sent["rows"], sent["to_source"][k], strict=True))
    by_column = dict(zip(map(tuple, sent["columns"]), sent["to_use"][k], strict=True))
    to_source = np.array([by_row.get(r, np.nan) for r in rows], float)
    to_use = np.array([by_column.get(w, np.nan) for w in wants], float)
    known = np.isfinite(to_use)
    new = ~np.isfinite(to_source)
    to_source[new] = (left[new][:, known] - to_use[known]).min(axis=1, initial=np.inf) if known.any() else 0.0
    to_source[~np.isfinite(to_source)] = 0.0
    to_use[~known] = (left[:, ~known] - to_source[:, None]).min(axis=0)
    to_use[~np.isfinite(to_use)] = 0.0
    return to_source, to_use


def _shares(star: Star, rows: np.ndarray, sent: Mapping | None) -> np.ndarray:
    """[use, row, layout]: what each use is charged for each layout, together never more than the price.

    What the certificate does not share is shared in equal parts among the uses that may want it.
    """
    price = star.price[rows]
    wants = np.zeros((len(star.uses), price.shape[1]))
    for u, use in enumerate(star.uses):
        wants[u, sorted({w for label in use.wants for w in label})] = 1.0
    share = np.where(wants[:, None, :] > 0, price / np.maximum(1.0, wants.sum(axis=0)), 0.0)
    if sent is not None:
        place = {row: i for i, row in enumerate(sent["rows"])}
        here = np.array([i for i, r in enumerate(rows) if r in place], int)
        there = [place[rows[i]] for i in here]
        uses, layouts = list(sent["uses"]), list(sent["layouts"])
        if not layouts and len(uses) == 1:
            share[:, here] = 0.0
            share[uses[0], here] = np.where(wants[uses[0]] > 0, price[here], 0.0)
        elif layouts and len(here):
            given = np.maximum(np.nan_to_num(np.asarray(sent["share"], float), posinf=0.0), 0.0)
            share[:, here[:, None], layouts] = 0.0
            share[np.ix_(np.array(uses), here, np.array(layouts))] = given[:, there]
    together = share.sum(axis=0)
    over = together > price
    return share * np.where(over, price / np.where(over, together, 1.0), 1.0)


def _least(network: Network, own: list[np.ndarray], keep: list[np.ndarray]) -> float | None:
    """The least price of the kept states, by eliminating one variable after the other; None where that is too much.

    States that every star sees alike count once. A layout that several uses may want gets a variable of its own:
    whether its copy is paid for.
    """
    own, keep = _merged(network, own, keep)
    sizes = {i: len(k) for i, k in enumerate(keep)}
    tables: list[tuple[tuple[int, ...], np.ndarray]] = [((i,), own[i]) for i in sizes]
    for star in network.stars:
        price = star.price[star.labels[keep[star.source]]]
        wants: dict[int, dict[int, np.ndarray]] = {}
        for use in star.uses:
            labels = use.labels[keep[use.variable]]
            for w in {w for label in np.unique(labels) for w in use.wants[label] if price[:, w].any()}:
                has = np.array([w in label for label in use.wants])[labels]
                by = wants.setdefault(w, {})
                by[use.variable] = by.get(use.variable, np.zeros(len(has), bool)) | has
        for w, by in wants.items():
            if any(has.all() for has in by.values()):
                tables.append(((star.source,), price[:, w]))
            elif len(by) == 1:
                ((i, has),) = by.items()
                tables.append(((star.source, i), np.where(has, price[:, w, None], 0.0)))
            else:
                copy = len(sizes)
                sizes[copy] = 2
                tables.append(((star.source, copy), np.stack([0 * keep[star.source], price[:, w]], axis=1)))
                tables += [((i, copy), np.stack([np.where(h, np.inf, 0.0), 0.0 * h], axis=1)) for i, h in by.items()]
    return _eliminated(tables, sizes)


def _merged(network: Network, own: list[np.ndarray], keep: list[np.ndarray]):
    seen: list[list[np.ndarray]] = [[] for _ in keep]
    for star in network.stars:
        seen[star.source].append(star.labels[keep[star.source]])
        for use in star.uses:
            seen[use.variable].append(use.labels[keep[use.variable]])
    costs, kept = [], []
    for cost, k, views in zip(own, keep, seen, strict=True):
        order = np.lexsort((cost[k], *views))
        first = np.ones(len(k), bool)
        first[1:] = np.any([v[order][1:] != v[order][:-1] for v in views], axis=0) if views else False
        chosen = k[order[first]]
        costs.append(cost[chosen])
        kept.append(chosen)
    return costs, kept


def _eliminated(tables: list[tuple[tuple[int, ...], np.ndarray]], sizes: dict[int, int]) -> float | None:
    held: dict[int, list[tuple[tuple[int, ...], np.ndarray]]] = {i: [] for i in sizes}
    near: dict[int, set[int]] = {i: {i} for i in sizes}
    for scope, _ in tables:
        for i in scope:
            near[i].update(scope)
    weight = {i: math.prod(sizes[j] for j in near[i]) for i in sizes}
    heap = [(w, i) for i, w in weight.items()]
    heapq.heapify(heap)
    order, turn, entries = [], {}, 0
    while heap:
        w, i = heapq.heappop(heap)
        if i in turn or w != weight[i]:
            continue
        entries += w
        if entries > LIMIT:
            return None
        turn[i] = len(order)
        order.append(i)
        for j in near[i] - {i}:
            near[j] = (near[j] | near[i]) - {i}
            weight[j] = math.prod(sizes[k] for k in near[j])
            heapq.heappush(heap, (weight[j], j))
    total = 0.0
    for table in tables:
        held[min(table[0], key=turn.__getitem__)].append(table)
    for i in order:
        scope = (i, *sorted({j for mentioned, _ in held[i] for j in mentioned} - {i}))
        added = np.zeros([sizes[j] for j in scope])
        for mentioned, cost in held.pop(i):
            axes = sorted(range(len(mentioned)), key=lambda k: scope.index(mentioned[k]))
            added += cost.transpose(axes).reshape([sizes[j] if j in mentioned else 1 for j in scope])
        if len(scope) == 1:
            total += float(added.min())
        else:
            held[min(scope[1:], key=turn.__getitem__)].append((scope[1:], added.min(axis=0)))
    return total
