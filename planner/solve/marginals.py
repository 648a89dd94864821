"""What every other state would cost, all else chosen anew: min-marginals, exactly.

One pass over the buckets of an elimination gives the optimum; a second one, backwards, gives for every variable and
state the price of the best choice with that state. States may be struck off first only where no choice with them is
below the price up to which the answer is wanted.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np

from .bound import Dual
from .eliminate import LIMIT, Bucket, Tables, order_of, read_back, run
from .improve import improve
from .network import Network, with_ties
from .search import Found, Striking, finish
from .simplify import Impossible, reduce

SWEEPS = 24
"""Before the states of one variable are told apart, the bound of all is raised by so many sweeps."""


def marginals(network: Network, cutoff: float = np.inf, limit: float = LIMIT) -> list[np.ndarray] | None:
    """For every variable and state the price of the best choice with it, infinite where that exceeds `cutoff`.

    None where elimination would take more than `limit` entries. Raises `Impossible` where there is no choice at all.
    """
    left = Striking.of(network, cutoff, all_below=True)
    if left.bound == np.inf:
        raise Impossible
    if left.bound > cutoff:
        return [np.full(len(v.states), np.inf) for v in network.variables]
    small, keep = left.network()
    tables = Tables.of(small)
    order = order_of(tables.sizes, tables.scopes, limit)
    if order is None:
        return None
    found = of_tables(tables, order, len(keep))
    result = []
    for v, k, marginal in zip(network.variables, keep, found, strict=True):
        full = np.full(len(v.states), np.inf)
        full[k] = np.where(marginal <= cutoff * (1 + 1e-12), marginal, np.inf)
        result.append(full)
    return result


def of_tables(tables: Tables, order: Sequence[int], count: int) -> list[np.ndarray]:
    """The min-marginals of the first `count` variables of a sum of tables, by a pass forth and a pass back."""
    buckets, optimum = run(tables, order, keep_totals=True)
    turn = {i: t for t, i in enumerate(order)}
    beliefs: list[np.ndarray] = [np.zeros(0)] * len(buckets)
    found = [np.full(tables.sizes[i], optimum) for i in range(count)]
    for t in range(len(buckets) - 1, -1, -1):
        bucket = buckets[t]
        belief = bucket.total
        if bucket.rest:
            parent = min(turn[i] for i in bucket.rest)
            above = _project(beliefs[parent], buckets[parent].scope, bucket.rest)
            with np.errstate(invalid="ignore"):
                rise = np.where(np.isfinite(bucket.least), above - bucket.least, np.inf)
            belief = belief + np.expand_dims(rise, bucket.scope.index(bucket.variable))
        else:
            belief = belief + (optimum - float(bucket.least))
        beliefs[t] = belief
        if bucket.variable < count:
            found[bucket.variable] = _project(belief, bucket.scope, (bucket.variable,))
    return found


def _project(belief: np.ndarray, scope: tuple[int, ...], onto: tuple[int, ...]) -> np.ndarray:
    return belief.min(axis=tuple(k for k, i in enumerate(scope) if i not in onto))


def cheapest_with(
    network: Network, variable: int, groups: Sequence[np.ndarray], best: np.ndarray, seconds: float = 60.0
) -> list[Found | None]:
    """For each group of states of a variable the cheapest choice with one of them, exactly; None where there is none.

    `best` is a good choice. The bound is raised once for all; what is then struck off depends on the group. Groups
    whose states can be told apart by one elimination share it: what has the largest price among them sets the limit.
    """
    priced = with_ties(network)
    try:
        _, keep = reduce(priced, [np.arange(len(v.states)) for v in network.variables])
    except Impossible:
        return [None] * len(groups)
    keep[variable] = np.intersect1d(np.concatenate([np.asarray(g, int) for g in groups]), _possible(priced, variable))
    if not len(keep[variable]):
        return [None] * len(groups)
    starts = [_start(priced, variable, np.intersect1d(g, keep[variable]), best) for g in groups]
    prices = [np.inf if s is None else priced.cost(s) for s in starts]
    if not any(np.isfinite(p) for p in prices):
        return [
            _alone(network, priced, variable, g, s, None, keep, seconds) for g, s in zip(groups, starts, strict=True)
        ]
    dual = Dual(priced.restrict(keep), 10 * max(p for p in prices if np.isfinite(p)))
    dual.ascend(SWEEPS)
    bounds, _ = dual.state_bounds()
    found: list[Found | None] = [None] * len(groups)
    open_ = sorted(range(len(groups)), key=lambda g: (prices[g], g))
    while open_:
        together, states = _together(dual, bounds, keep, variable, groups, [(g, prices[g]) for g in open_])
        for g in together:
            choice = states.get(g)
            if choice is not None:
                cost = network.cost(choice)
                found[g] = Found(choice, cost, cost, "elimination")
        if not together:
            together = open_[:1]
            g = open_[0]
            found[g] = _alone(network, priced, variable, groups[g], starts[g], dual, keep, seconds)
        open_ = [g for g in open_ if g not in together]
    return found


def _possible(network: Network, variable: int) -> np.ndarray:
    return np.flatnonzero(np.isfinite(network.variables[variable].cost))


def _start(network: Network, variable: int, group: np.ndarray, best: np.ndarray) -> np.ndarray | None:
    """A choice with one of the group's states, improved from the best one."""
    tried = []
    for state in group.tolist():
        states = best.copy()
        states[variable] = state
        tried.append(improve(network, states, held=(variable,)))
    return min(tried, key=network.cost) if tried else None


def _together(
    dual: Dual,
    bounds: Sequence[np.ndarray],
    keep: Sequence[np.ndarray],
    variable: int,
    groups: Sequence[np.ndarray],
    open_: Sequence[tuple[int, float]],
) -> tuple[list[int], Mapping[int, np.ndarray]]:
    """As many groups as one elimination with the variable last can tell apart, cheapest first; and their choices."""
    for count in sorted({len(open_), (len(open_) + 1) // 2, 1}, reverse=True):
        limit = open_[count - 1][1] * (1 + 1e-12)
        if not np.isfinite(limit):
            continue
        asked = np.concatenate([groups[g] for g, _ in open_[:count]])
        near = [np.flatnonzero(b <= limit) for b in bounds]
        near[variable] = near[variable][np.isin(keep[variable][near[variable]], asked)]
        if not all(map(len, near)):
            continue
        tables = dual.tables(near)
        last = variable if len(near[variable]) > 1 else -1
        order = order_of(tables.sizes, tables.scopes, LIMIT / 4, last)
        if order is not None:
            return [g for g, _ in open_[:count]], _read(tables, order, near, keep, variable, groups, open_[:count])
    return [], {}


def _read(tables: Tables, order, near, keep, variable, groups, asked) -> Mapping[int, np.ndarray]:
    buckets, optimum = run(tables, order)
    states = keep[variable][near[variable]]
    if len(states) > 1:
        last: Bucket = buckets[-1]
        vector = optimum - float(last.least) + last.total
    else:
        vector = np.array([optimum])
    found: dict[int, np.ndarray] = {}
    for g, _ in asked:
        among = np.flatnonzero(np.isin(states, groups[g]))
        if not len(among) or not np.isfinite(vector[among].min()):
            continue
        chosen = np.zeros(len(tables.sizes), int)
        chosen[variable] = among[int(vector[among].argmin())]
        chosen = read_back(buckets, chosen, skip=variable)
        found[g] = np.array([k[n[s]] for k, n, s in zip(keep, near, chosen, strict=False)])
    return found


def _alone(network, priced, variable, group, start, dual: Dual | None, keep, seconds: float) -> Found | None:
    """One group by a search of its own, which goes on from the common bound."""
    at = np.flatnonzero(np.isin(keep[variable], group))
    if not len(at):
        return None
    among = [k[at] if i == variable else k for i, k in enumerate(keep)]
    if dual is not None:
        dual = copy.deepcopy(dual)
        dual.restrict([at if i == variable else np.arange(len(k)) for i, k in enumerate(keep)])
    left = Striking.within(priced, among, start, dual, variable)
    found = finish(network, priced, left, seconds)
    return found if found is not None and np.isfinite(found.cost) else None
