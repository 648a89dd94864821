"""The search under a memory budget: the cheapest choice whose bytes fit at every step.

Without the budget the search is usually done in a fraction of a second, and its answer usually fits: then it is the
answer. Otherwise the network is brought into the pairwise form (`lower.py`) and searched with a row per step
(`budget.py`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from .budget import costless, find_fitting, solve_pairwise
from .coarse import coarse_states, groupings
from .exact import smallest_peak
from .lower import lower, most_held, steps_of
from .network import Network, with_ties
from .pairwise import Pairwise
from .presolve import Infeasible, Presolve
from .search import Found, solve

PEAK_PAIRS = 200_000
"""Finite pairs up to which HiGHS looks for the least peak at once."""


def profile(network: Network, states: np.ndarray) -> np.ndarray:
    """Bytes on one device at each step under a choice of states: `planner.memory.profile`, from the network.

    An original is held over its `life`, and on to the last step of any use that wants something. A use that wants
    nothing holds nothing.
    """
    held = np.zeros(steps_of(network))
    for star in network.stars:
        start = int(star.labels[states[star.source]])
        end = star.life[1]
        copies: dict[int, tuple[int, int]] = {}
        for use in star.uses:
            wanted = use.wants[use.labels[states[use.variable]]]
            first, last = use.time
            end = max(end, last) if wanted else end
            for w in wanted:
                if w != start:
                    held[first] += star.scratch[start, w]
                    before = copies.get(w, use.time)
                    copies[w] = min(first, before[0]), max(last, before[1])
        if star.stored:
            held[star.life[0] : end + 1] += star.bytes[start]
        for w, (first, last) in copies.items():
            held[first : last + 1] += star.bytes[w]
    return held


def solve_within(
    network: Network,
    memory: float,
    seconds: float = 60.0,
    cutoff: float = np.inf,
    axes: Sequence[str] = (),
    free: Found | None = None,
) -> Found | None:
    """The cheapest choice that fits into `memory` bytes; None where none fits or those that do exceed `cutoff`.

    `free` is the answer without the budget, if it is known. Where the seconds are over, `how` says so; if nothing that
    fits was found in them, the cost is infinite.
    """
    start = time.monotonic()
    free = free or solve(network, seconds, cutoff, axes)
    if free is None or profile(network, free.states).max() <= memory:
        return free
    if surely_held(network) > memory:
        return None
    keep = _light(network, memory)
    if not all(map(len, keep)):
        return None
    form = lower(with_ties(network).restrict(keep), memory)
    outcome = solve_pairwise(form, max(seconds - (time.monotonic() - start), 0.1), cutoff)
    if outcome.states is None and outcome.bound == np.inf:
        return None
    bound = max(free.bound, outcome.bound)
    if outcome.states is None:
        return Found(free.states, np.inf, bound, outcome.how)
    states = np.array([k[s] for k, s in zip(keep, outcome.states, strict=False)])
    cost = network.cost(states)
    return Found(states, cost, cost if outcome.proven else min(cost, bound), outcome.how)


def smallest_memory(network: Network, axes: Sequence[str] = (), seconds: float = 20.0) -> tuple[float, float]:
    """The least peak of any choice [bytes]: (the least that was attained, a proven lower bound)."""
    deadline = time.monotonic() + seconds
    attained = _peak(network, _leanest(network))
    for groups in groupings(axes):
        keep = coarse_states(network, groups)
        if keep is not None:
            attained = min(attained, _peak(part := network.restrict(keep), _leanest(part)))
    above = min(attained, float(most_held(network).max()))  # no least peak is larger
    bound = min(surely_held(network), above)
    while bound < above and time.monotonic() < deadline:
        before = above - bound
        form, keep = _only_bytes(network, above, bound)
        if form.pairs() <= PEAK_PAIRS:
            states, least = _least_peak(form, above - bound, deadline)
            bound = max(bound, least)
        else:
            middle = (above + bound) / 2
            form, keep = _only_bytes(network, middle, middle)
            states, impossible = find_fitting(form, deadline)
            bound = middle if impossible else bound
        if states is not None:
            attained = min(attained, _peak(network, np.array([k[s] for k, s in zip(keep, states, strict=False)])))
            above = min(above, attained)
        if above - bound > 0.99 * before:
            break
    return attained, min(bound, attained)


def _peak(network: Network, states: np.ndarray) -> float:
    """The peak of a choice; infinite for an impossible one."""
    return float(profile(network, states).max()) if np.isfinite(network.cost(states)) else np.inf


def _only_bytes(network: Network, memory: float, above: float) -> tuple[Pairwise, list[np.ndarray]]:
    """The pairwise form without costs, with a row for each step that could hold more than `above`; the states kept."""
    keep = _light(network, memory)
    form = lower(network.restrict(keep), memory, above)
    return costless(form), keep


def _least_peak(form: Pairwise, spare: float, deadline: float) -> tuple[np.ndarray | None, float]:
    """The choice of least peak (None if none has a smaller one than the room), and a bound on all peaks.

    `spare` is by how much, at most, the room may be larger than need be.
    """
    room = float(form.room.max(initial=0.0))
    pre = Presolve(form, spare)
    try:
        small, order = pre.run().small()
    except Infeasible:
        return None, room
    if not order:
        return pre.lift(order, np.zeros(0, int)), room - min(spare, float(small.room.min(initial=np.inf)))
    answer = smallest_peak(small, spare, deadline - time.monotonic())
    states = None if answer.states is None else pre.lift(order, answer.states)
    return states, room + min(0.0, max(answer.bound, -spare))


def surely_held(network: Network) -> float:
    """Bytes that every choice holds at its peak: each value in its smallest blocks, without copies."""
    held = np.zeros(steps_of(network))
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
