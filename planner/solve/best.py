"""The k best choices, in order, exactly.

First what is surely dearer than the k-th is struck off: the best choice changed in one variable gives choices enough
for a limit. Of what is left elimination gives the best choice and, by the min-marginals, the place where the next best
differs from it. There the choices are split in two, those with that state and those without, and each part has its own
best and next best (C. Yanover, Y. Weiss, NIPS 2003; the idea of splitting is E. Lawler's, Manag. Sci. 18, 401, 1972).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .eliminate import LIMIT, Table, Tables, order_of, read_back, run
from .improve import neighbours
from .marginals import of_tables
from .network import Network, with_ties
from .search import Found, Striking, among, solve
from .within import profile, solve_within


def best_choices(
    network: Network, count: int, memory: float = 0.0, seconds: float = 60.0, axes: Sequence[str] = ()
) -> list[Found]:
    """The `count` cheapest choices, cheapest first: fewer where there are no more. With `memory` of those that fit.

    Choices of equal price come in the order of their ties, the one that `solve` gives in front of its equals.
    `Found.how` says how it was proved, or that it was not.
    """
    first = solve(network, seconds, axes=axes)
    if first is None or not np.isfinite(first.cost) or count < 1:
        return []
    for more in (count, 4 * count, 16 * count) if memory else (count,):
        found = _by_tables(network, more, first)
        if found is None:
            break
        found = _led_by(first, found)
        fitting = [f for f in found if not memory or profile(network, f.states).max() <= memory]
        if len(fitting) >= count or len(found) < more:
            return fitting[:count]
        if not fitting:  # the budget binds: what fits may be far down the list
            break
    if memory:
        first = solve_within(network, memory, seconds, axes=axes)
    if first is None or not np.isfinite(first.cost):
        return []
    return _by_searches(network, count, first, memory, seconds, axes)


def _led_by(first: Found, found: list[Found]) -> list[Found]:
    """The choices with one of the best of them in front, whichever it is of many equals."""
    return [first, *(f for f in found if not np.array_equal(first.states, f.states))][: len(found)]


@dataclass
class _Part:
    """Some of the choices: those whose states are allowed; the best of them, and how the next best differs."""

    allowed: list[np.ndarray]
    """By variable, whether each state is allowed."""
    best: np.ndarray
    next_cost: float
    variable: int
    state: int


def _by_tables(network: Network, count: int, first: Found) -> list[Found] | None:
    """By elimination; None where that is too much."""
    priced = with_ties(network)
    prices = [priced.cost(first.states), *neighbours(priced, first.states)]
    limit = sorted(prices)[min(count, len(prices)) - 1] if len(prices) >= count else np.inf
    left = Striking.of(priced, limit * (1 + 1e-12), first.states, all_below=True)
    small, keep = left.network()
    tables = Tables.of(small)
    order = order_of(tables.sizes, tables.scopes, LIMIT / 4)
    if order is None:
        return None
    part = _part(tables, order, [np.ones(len(k), bool) for k in keep])
    results = [part.best]
    queue = [(part.next_cost, 0, part)]
    while queue and len(results) < count and np.isfinite(queue[0][0]):
        _, _, part = heapq.heappop(queue)
        here = np.arange(len(part.allowed[part.variable])) == part.state
        for mine in (here, part.allowed[part.variable] & ~here):
            allowed = [mine if i == part.variable else a for i, a in enumerate(part.allowed)]
            piece = _part(tables, order, allowed)
            if mine is here:
                results.append(piece.best)
            heapq.heappush(queue, (piece.next_cost, len(results) * 2 + (mine is here), piece))
    choices = [among(keep, states) for states in results]
    return [Found(x, cost, cost, "elimination") for x in choices for cost in (network.cost(x),)]


def _part(tables: Tables, order: list[int], allowed: list[np.ndarray]) -> _Part:
    barred = [
        Table((i,) if tables.sizes[i] > 1 else (), lambda a=a: np.where(a, 0.0, np.inf).squeeze())
        for i, a in enumerate(allowed)
        if not a.all()
    ]
    whole = Tables(tables.sizes, [*tables.found, *barred])
    buckets, _ = run(whole, order)
    states = read_back(buckets, np.zeros(len(tables.sizes), int))[: len(allowed)]
    next_cost, variable, state = np.inf, -1, -1
    for i, marginal in enumerate(of_tables(whole, order, len(allowed))):
        marginal = marginal.copy()
        marginal[states[i]] = np.inf
        if len(marginal) > 1 and marginal.min() < next_cost:
            next_cost, variable, state = float(marginal.min()), i, int(marginal.argmin())
    return _Part(allowed, states, next_cost, variable, state)


def _by_searches(
    network: Network, count: int, first: Found, memory: float, seconds: float, axes: Sequence[str]
) -> list[Found]:
    """By a search for each part: slower, and for any network and budget."""
    everything = [np.arange(len(v.states)) for v in network.variables]
    queue = [(first.cost, 0, everything, first)]
    results: list[Found] = []
    made = 0
    while queue and len(results) < count:
        _, _, allowed, found = heapq.heappop(queue)
        results.append(found)
        allowed = list(allowed)
        for i, states in enumerate(allowed):
            others = states[states != found.states[i]]
            if not len(others):
                continue
            known = sorted([f.cost for _, _, _, f in queue])
            needed = count - len(results)
            cutoff = known[needed - 1] if 0 < needed <= len(known) else np.inf
            piece = [others if j == i else a for j, a in enumerate(allowed)]
            part = network.restrict(piece)
            if memory:
                answer = solve_within(part, memory, seconds, cutoff, axes)
            else:
                answer = solve(part, seconds, cutoff, axes)
            allowed[i] = found.states[i : i + 1]
            if answer is None or not np.isfinite(answer.cost):
                continue
            states = among(piece, answer.states)
            if memory and profile(network, states).max() > memory:
                continue
            made += 1
            heapq.heappush(queue, (answer.cost, made, piece, Found(states, answer.cost, answer.bound, answer.how)))
    return results
