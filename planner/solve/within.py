"""The search under a memory budget: the cheapest choice whose bytes fit at every step.

Without the budget the search is usually done in a fraction of a second, and its answer usually fits: then it is the
answer. Otherwise memory is priced (a Lagrange multiplier per byte at the steps that overflow) until some choice fits.
Its price and the bound that the multiplier proves strike off what cannot be better, and HiGHS finishes with a row for
each step that overflows, added as they show.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from .coarse import coarse_states, groupings
from .milp import Answer, Model
from .network import Network, Star, Variable, with_ties
from .search import Found, solve, strike_off


def profile(network: Network, states: np.ndarray) -> np.ndarray:
    """Bytes on one device at each step under a choice of states: `planner.memory.profile`, from the network."""
    held = np.zeros(1 + max((s.life[1] for s in network.stars), default=0))
    for star in network.stars:
        start = int(star.labels[states[star.source]])
        if star.stored:
            held[star.life[0] : star.life[1] + 1] += star.bytes[start]
        copies: dict[int, tuple[int, int]] = {}
        for use in star.uses:
            for w in use.wants[use.labels[states[use.variable]]]:
                if w != start:
                    first, last = use.time
                    held[first] += star.scratch[start, w]
                    before = copies.get(w, use.time)
                    copies[w] = min(first, before[0]), max(last, before[1])
        for w, (first, last) in copies.items():
            held[first : last + 1] += star.bytes[w]
    return held


def solve_within(
    network: Network, memory: float, seconds: float = 60.0, cutoff: float = np.inf, axes: Sequence[str] = ()
) -> Found | None:
    """The cheapest choice that fits into `memory` bytes; None where none fits or those that do exceed `cutoff`."""
    deadline = time.monotonic() + seconds
    free = solve(network, seconds, cutoff, axes)
    if free is None or profile(network, free.states).max() <= memory:
        return free
    if _surely_held(network) > memory:
        return None
    light = _light(network, memory)
    priced, best, bound = _price_memory(network, memory, free, axes)
    limit = min(cutoff, network.cost(best) if best is not None else np.inf)
    keep = light
    if priced is not None and np.isfinite(limit):
        multiplied, offset = priced
        below = strike_off(multiplied, limit + offset, all_below=True)[1]
        keep = [np.intersect1d(k, b) for k, b in zip(light, below, strict=True)]
    if not all(map(len, keep)):  # what fits is not below the limit: the best known, if any, is the answer
        if best is None:
            return None
        return Found(best, network.cost(best), network.cost(best), "HiGHS")
    small = with_ties(network).restrict(keep)
    answer = cheapest_fitting(small, memory, deadline)
    if answer.states is not None:
        states = np.array([k[s] for k, s in zip(keep, answer.states, strict=True)])
        if best is None or network.cost(states) <= network.cost(best):
            best = states
    if best is None and answer.finished:
        return None
    how = "HiGHS" if answer.finished else f"HiGHS, stopped after {seconds:.0f} s"
    bound = max(bound, min(answer.bound, limit))
    if best is None:
        return Found(free.states, np.inf, bound, how)
    cost = network.cost(best)
    return Found(best, cost, min(cost, bound), how)


def _price_memory(network: Network, memory: float, free: Found, axes: Sequence[str]):
    """Raises the price of a byte until a choice fits: ((network with it, what to take off), the choice, a bound)."""
    steps = np.zeros(0, int)
    states, best, bound, priced = free.states, None, free.bound, None
    low, price = 0.0, 0.0
    for _ in range(16):
        held = profile(network, states)
        if held.max() <= memory:
            if best is None or network.cost(states) < network.cost(best):
                best = states
            if price - low < 0.1 * price:
                break
            price = (low + price) / 2
        else:
            steps = np.union1d(steps, [int(held.argmax())])
            low = price
            price = 2 * price if best is None else price * 1.1
            price = price or 0.05 * max(free.cost, 1e-9) / float(held.max() - memory)
        multiplied = _multiply(network, steps, price)
        found = solve(multiplied, axes=axes)
        assert found is not None
        states, offset = found.states, price * memory * len(steps)
        if found.bound - offset > bound or priced is None:
            bound, priced = max(bound, found.bound - offset), (multiplied, offset)
    return priced, best, bound


def _multiply(network: Network, steps: np.ndarray, price: float) -> Network:
    """The network with each byte that a value takes at the given steps at a price; copies are not counted."""
    cost = [v.cost.copy() for v in network.variables]
    for star in network.stars:
        live = int(((steps >= star.life[0]) & (steps <= star.life[1])).sum())
        if star.stored and live:
            cost[star.source] += price * live * star.bytes[star.labels]
    variables = [Variable(v.name, v.states, c, v.tie) for v, c in zip(network.variables, cost, strict=True)]
    return Network(variables, network.stars)


def cheapest_fitting(network: Network, memory: float, deadline: float) -> Answer:
    """HiGHS with memory rows, added until no step overflows."""
    model, slack, steps = Model(network), 0.0, set()
    while True:
        answer = model.solve(deadline - time.monotonic())
        if answer.states is None:
            return answer
        held = profile(network, answer.states)
        over = np.flatnonzero(held > memory)
        if not len(over):
            return answer
        if not answer.finished:
            return Answer(None, answer.bound, False)
        fresh = [int(t) for t in (int(held.argmax()), *over[:: max(1, len(over) // 8)]) if int(t) not in steps]
        if not fresh:  # the solver's tolerance: ask for a little less
            slack += 2 * float(held.max() - memory)
            for t in sorted(steps):
                model.rows.add(memory_terms(model, t), -np.inf, 1.0 - slack / memory)
        for t in dict.fromkeys(fresh):
            steps.add(t)
            model.rows.add([(c, v / memory) for c, v in memory_terms(model, t)], -np.inf, 1.0)


def smallest_memory(network: Network, axes: Sequence[str] = (), seconds: float = 20.0) -> tuple[float, float]:
    """The least peak of any choice [bytes]: (the least that was attained, a proven lower bound)."""
    deadline = time.monotonic() + seconds
    fastest = solve(network, seconds, axes=axes)
    attained = float(profile(network, fastest.states).max()) if fastest else np.inf
    for groups in groupings(axes):
        keep = coarse_states(network, groups)
        if keep is not None:
            attained = min(attained, _smallest(network.restrict(keep), attained, deadline)[0])
    return _smallest(network, attained, deadline)


def _smallest(network: Network, attained: float, deadline: float) -> tuple[float, float]:
    bound = _surely_held(network)
    attained = min(attained, float(profile(network, _leanest(network)).max()))
    if bound >= attained:
        return attained, attained
    network = network.restrict(_light(network, attained))
    model, steps, unit = Model(network), set(), attained
    objective = [0.0] * len(model.cost)
    peak = model.column()
    objective.append(1.0)
    held = profile(network, _leanest(network))
    while True:
        attained = min(attained, float(held.max()))
        fresh = [t for t in (int(held.argmax()),) if t not in steps]
        if not fresh or bound >= attained or time.monotonic() > deadline:
            return attained, min(bound, attained)
        for t in fresh:
            steps.add(t)
            model.rows.add([*((c, v / unit) for c, v in memory_terms(model, t)), (peak, -1.0)], -np.inf, 0.0)
        answer = model.solve(deadline - time.monotonic(), objective)
        bound = max(bound, answer.bound * unit)
        if answer.states is None:
            return attained, min(bound, attained)
        held = profile(network, answer.states)


def _surely_held(network: Network) -> float:
    """Bytes that every choice holds at its peak: each value in its smallest blocks, without copies."""
    held = np.zeros(1 + max((s.life[1] for s in network.stars), default=0))
    for star in network.stars:
        if star.stored:
            held[star.life[0] : star.life[1] + 1] += star.bytes[star.labels].min()
    return float(held.max())


def _light(network: Network, memory: float) -> list[np.ndarray]:
    """The states that leave and want no block larger than the memory: with others no choice fits."""
    fits = [np.ones(len(v.states), bool) for v in network.variables]
    for star in (s for s in network.stars if s.stored):
        small = star.bytes <= memory
        fits[star.source] &= small[star.labels]
        for use in star.uses:
            fits[use.variable] &= np.array([all(small[w] for w in label) for label in use.wants])[use.labels]
    return [np.flatnonzero(f) for f in fits]


def _leanest(network: Network) -> np.ndarray:
    """For each variable the state whose own values take the fewest bytes."""
    size = [np.zeros(len(v.states)) for v in network.variables]
    for star in network.stars:
        size[star.source] += star.bytes[star.labels]
    return np.array([int(s.argmin()) for s in size])


def memory_terms(model: Model, step: int) -> list[tuple[int, float]]:
    """The bytes held at a step, as terms over the model's columns."""
    terms: list[tuple[int, float]] = []
    for s, star in enumerate(model.network.stars):
        if star.stored and star.life[0] <= step <= star.life[1]:
            states = model.state[star.source]
            terms += [(states[i], float(star.bytes[label])) for i, label in enumerate(star.labels)]
        if star.uses and star.life[0] <= step <= star.life[1]:
            terms += _copies(model, s, star, step)
    return _gathered(terms)


def _copies(model: Model, s: int, star: Star, step: int) -> list[tuple[int, float]]:
    """The copies of a value that exist at a step, and what making them takes.

    A copy exists when a use at or before the step and a use at or after it want it.
    """
    terms: list[tuple[int, float]] = []
    starts = set(star.labels.tolist())
    before = [u for u, use in enumerate(star.uses) if use.time[0] <= step]
    after = [u for u, use in enumerate(star.uses) if use.time[1] >= step]
    now = [u for u in before if u in after]
    for u in now:
        if star.uses[u].time[0] == step:
            for (p, q), column in model.pairs_of(s, u).items():
                extra = sum(float(star.scratch[p, w]) for w in star.uses[u].wants[q] if w != p)
                terms += [(column, extra)] if extra else []
    for w in sorted({w for u in (*before, *after) for label in star.uses[u].wants for w in label}):
        if starts == {w}:
            continue
        wanted = {u: model.wanted(s, u, w) for u in dict.fromkeys((*before, *after))}
        both = [(u, v) for u in before for v in after if u not in now and v not in now and wanted[u] and wanted[v]]
        sure = [u for u in now if wanted[u]]
        if not both and not sure:
            continue
        copy = model.column()
        terms.append((copy, float(star.bytes[w])))
        for u in sure:
            model.rows.add([(copy, 1.0), *((c, -v) for c, v in wanted[u])], 0.0, np.inf)
        for u, v in both:
            model.rows.add([(copy, 1.0), *((c, -k) for c, k in (*wanted[u], *wanted[v]))], -1.0, np.inf)
    return terms


def _gathered(terms: list[tuple[int, float]]) -> list[tuple[int, float]]:
    total: dict[int, float] = {}
    for column, value in terms:
        total[column] = total.get(column, 0.0) + value
    return list(total.items())
