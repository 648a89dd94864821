"""The search under a memory budget: the cheapest choice whose bytes fit at every step.

Without the budget the search is usually done in a fraction of a second, and its answer usually fits: then it is the
answer. Otherwise bytes get a price (`priced.py`), which proves a bound and mostly finds a choice that fits. States that
cannot be better go. What is left is brought into the pairwise form (`lower.py`) and searched with a row of bytes per
step (`budget.py`): what originals hold counts at every step, copies only at the steps that overflowed before. As long
as an answer overflows somewhere else, that step is added; the first answer that fits everywhere is the best.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ir.errors import InternalError

from .budget import Outcome, costless, find_fitting, solve_pairwise
from .coarse import coarse_states, groupings
from .exact import smallest_peak
from .fitting import NEAR, Fitting, least_possible, star_profile
from .lower import lower, most_owned, steps_of
from .network import Network, with_ties
from .pairwise import Pairwise
from .presolve import Infeasible, Presolve
from .priced import lean, price_memory
from .search import Found, among, solve

PRICES = 0.2
"""The share of the time in which prices of bytes are tried, before bytes alone are looked at."""
PEAK_PAIRS = 200_000
"""Finite pairs up to which HiGHS looks for the least peak at once."""


def profile(network: Network, states: np.ndarray) -> np.ndarray:
    """Bytes on one device at each step under a choice of states: `planner.memory.profile`, from the network."""
    held = np.zeros(steps_of(network))
    for star in network.stars:
        wants = [use.wants[use.labels[states[use.variable]]] for use in star.uses]
        own = star_profile(star, int(star.labels[states[star.source]]), wants)
        held[: len(own)] += own
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
    deadline = time.monotonic() + seconds
    free = free or solve(network, seconds, cutoff, axes)
    if free is None or profile(network, free.states).max() <= memory:
        return free
    fitting = Fitting(network, memory)
    if not fitting.propagate():
        return None
    keep = fitting.keep()
    small = network.restrict(keep)
    least = solve(small, max(deadline - time.monotonic(), 0.1), cutoff, axes)
    if least is None:
        return None
    held = profile(small, least.states)
    found = least if held.max() <= memory else _search(small, memory, least, held, deadline, cutoff, axes)
    return found and replace(found, states=among(keep, found.states), proof=[])


def _search(
    network: Network, memory: float, free: Found, held: np.ndarray, deadline: float, cutoff: float, axes: Sequence[str]
) -> Found | None:
    """`solve_within` for states that may all fit; `free` is the answer without the budget, and does not fit."""
    soon = time.monotonic() + PRICES * (deadline - time.monotonic())
    priced = price_memory(network, memory, free, held, profile, soon, axes)
    best, full = priced.best, {int(held.argmax())}
    if best is None:
        leanest = lean(network, memory, priced.steps, profile, time.monotonic() + 0.5 * (deadline - time.monotonic()))
        if leanest.bound > memory:
            return None
        best, impossible = leanest.states if leanest.peak <= memory else None, False
    if best is None:
        best, impossible = _any_fitting(network, memory, full, time.monotonic() + 0.5 * (deadline - time.monotonic()))
        if impossible:
            return None
    limit = min(cutoff, network.cost(best) if best is not None else np.inf)
    keep = priced.below(limit) or [np.arange(len(v.states)) for v in network.variables]
    if all(map(len, keep)):
        left = _Left(with_ties(network).restrict(keep), keep, memory, full)
        outcome = left.solve(limit, deadline)
    else:  # what fits is not cheaper than the limit
        outcome = Outcome(None, np.inf, np.inf, "bounds")
    better = outcome.states
    if better is not None and (best is None or network.cost(better) <= network.cost(best)):
        best = better
    proven = outcome.bound == np.inf or outcome.proven
    bound = max(priced.bound, min(outcome.bound, limit))
    if best is None or network.cost(best) > cutoff:
        return None if proven else Found(free.states, np.inf, bound, outcome.how)
    cost = network.cost(best)
    return Found(best, cost, cost if proven else min(cost, bound), outcome.how)


@dataclass
class _Left:
    """What is left of a network, to be searched with rows that count copies where that shows to be needed."""

    network: Network
    keep: list[np.ndarray]
    """The states that are left of the whole network's."""
    memory: float
    full: set[int]

    def solve(self, limit: float, deadline: float) -> Outcome:
        """The cheapest choice not dearer than the limit, as states of the whole network."""
        while True:
            form = lower(self.network, self.memory, self.full)
            outcome = solve_pairwise(form, max(deadline - time.monotonic(), 0.1), limit)
            if outcome.states is None:
                return outcome
            states = outcome.states[: len(self.keep)]
            held = profile(self.network, states)
            if held.max() <= self.memory:
                return replace(outcome, states=among(self.keep, states))
            if time.monotonic() > deadline:
                return Outcome(None, np.inf, outcome.bound, "stopped while copies still overflowed")
            self.full |= _fresh(held, self.memory, self.full)


def _any_fitting(network: Network, memory: float, full: set[int], deadline: float) -> tuple[np.ndarray | None, bool]:
    """A choice that fits, whatever it costs (None if none was found in time); whether it is proved that there is none.

    Adds to `full` the steps at which copies have to be counted.
    """
    while time.monotonic() < deadline:
        form, keep = _only_bytes(network, memory, memory, full)
        found, impossible = find_fitting(form, deadline)
        if found is None:
            return None, impossible
        states = np.array([k[s] for k, s in zip(keep, found, strict=False)], int)
        held = profile(network, states)
        if held.max() <= memory:
            return states, False
        full |= _fresh(held, memory, full)
    return None, False


def _fresh(held: np.ndarray, memory: float, full: set[int]) -> set[int]:
    """Steps to count in full from now on: the worst that overflows, and some of the others."""
    over = np.flatnonzero(held > memory)
    fresh = {int(held.argmax()), *over[:: max(1, len(over) // 8)].tolist()} - full
    if not fresh:
        raise InternalError(f"a choice that fits by its rows holds {held.max():,.0f} B, more than {memory:,.0f} B")
    return fresh


def smallest_memory(
    network: Network, axes: Sequence[str] = (), seconds: float = 20.0, known: float = np.inf
) -> tuple[float, float]:
    """The least peak of any choice [bytes]: (the least that was attained, a proven lower bound).

    `known` is a peak that is attained.
    """
    deadline = time.monotonic() + seconds
    attained, bound, full = known, surely_held(network), set()
    for states in (_leanest(network), *_coarse(network, axes)):
        attained = min(attained, _peak(network, states))
    above = attained if np.isfinite(attained) else float(most_held(network))  # no least peak is larger
    bound = max(bound, least_possible(network, bound, above, time.monotonic() + 0.3 * seconds))
    if bound < above * (1 - NEAR):
        leanest = lean(network, bound, (), profile, time.monotonic() + 0.3 * seconds)
        attained, bound = min(attained, leanest.peak), max(bound, leanest.bound)
        above = min(above, attained)
    while bound < above * (1 - NEAR) and time.monotonic() < deadline:
        form, keep = _only_bytes(network, above, bound, full)
        if form.pairs() <= PEAK_PAIRS:
            found, least = _least_peak(form, above - bound, deadline)
            bound = max(bound, least)
        else:
            middle = (above + bound) / 2
            form, keep = _only_bytes(network, middle, middle, full)
            found, impossible = find_fitting(form, deadline)
            bound = middle if impossible else bound
        if found is None and bound < above:
            break
        if found is not None:
            states = np.array([k[s] for k, s in zip(keep, found, strict=False)], int)
            attained = min(attained, _peak(network, states))
            above, known = min(above, attained), len(full)
            full.add(int(profile(network, states).argmax()))
            if len(full) == known and form.pairs() <= PEAK_PAIRS:  # all that counts was counted
                break
    return attained, min(bound, attained)


def _coarse(network: Network, axes: Sequence[str]) -> Iterator[np.ndarray]:
    """The leanest choices in which mesh axes act together."""
    for groups in groupings(axes):
        keep = coarse_states(network, groups)
        if keep is not None:
            yield among(keep, _leanest(network.restrict(keep)))


def most_held(network: Network) -> float:
    """Bytes that no choice exceeds at any step."""
    held = most_owned(network).max(initial=0.0)
    return float(held + sum(s.bytes.sum() * (1 + len(s.uses)) + s.scratch.max(initial=0.0) for s in network.stars))


def _peak(network: Network, states: np.ndarray) -> float:
    """The peak of a choice; infinite for an impossible one."""
    return float(profile(network, states).max()) if np.isfinite(network.cost(states)) else np.inf


def _only_bytes(network: Network, memory: float, above: float, full: set[int]) -> tuple[Pairwise, list[np.ndarray]]:
    """The pairwise form without costs, with a row for each step that could hold more than `above`; the states kept."""
    fitting = Fitting(network, memory)
    fitting.propagate()
    keep = fitting.keep() if all(map(np.any, fitting.alive)) else [np.arange(len(v.states)) for v in network.variables]
    form = lower(network.restrict(keep), memory, full, above)
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


def _leanest(network: Network) -> np.ndarray:
    """For each variable the state whose own values take the fewest bytes."""
    size = [np.zeros(len(v.states)) for v in network.variables]
    for star in network.stars:
        size[star.source] += star.bytes[star.labels]
    return np.array([int(s.argmin()) for s in size], int)
