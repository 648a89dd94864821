"""Preferences: pins that hold where the plan with them is not too dear.

With c* the time of the best plan without preferences, a set of them is *affordable* if the best plan that has all of
them takes at most (1 + within) c* for the margin of every member. Of the affordable sets the largest is taken, and of
equally large ones the first in the user's order. What is affordable stays so when a preference is dropped, so the
search tries a preference, then goes without it, and gives up a branch that cannot beat the largest set known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ir.plan import Plan, Preferred

from .orders import Pin, Preference

MOST = 200
"""Searches after which the largest affordable set found so far stands."""

Solve = Callable[[Sequence[Pin]], Plan | None]
"""The best plan under further pins; None where there is none."""


@dataclass
class _Search:
    """The largest affordable set, by depth-first search over the preferences in order."""

    preferences: Sequence[Preference]
    solve: Solve
    free: Plan
    found: dict[tuple[int, ...], Plan | None] = field(default_factory=dict)
    best: tuple[int, ...] = ()
    stopped: bool = False

    def plan(self, chosen: tuple[int, ...]) -> Plan | None:
        """The best plan with the chosen preferences as pins."""
        if chosen not in self.found:
            self.found[chosen] = self.solve([self.preferences[i].pin for i in chosen])
        return self.found[chosen]

    def affordable(self, chosen: tuple[int, ...]) -> bool:
        if len(self.found) >= MOST and chosen not in self.found:
            self.stopped = True
            return False
        margin = min(self.preferences[i].within for i in chosen)
        plan = self.plan(chosen)
        return plan is not None and _seconds(plan) <= (1 + margin) * _seconds(self.free) * (1 + 1e-9)

    def extend(self, chosen: tuple[int, ...], rest: tuple[int, ...]) -> None:
        if len(chosen) > len(self.best):
            self.best = chosen
        if not rest or len(chosen) + len(rest) <= len(self.best):
            return
        if self.affordable((*chosen, rest[0])):
            self.extend((*chosen, rest[0]), rest[1:])
        self.extend(chosen, rest[1:])


def with_preferences(free: Plan, preferences: Sequence[Preference], solve: Solve) -> Plan:
    """The plan with the largest affordable set of preferences, `Plan.preferred` telling what came of each.

    `free` is the best plan without them. The bound of its prediction is then one for plans that have the set.
    """
    search = _Search(preferences, solve, free, {(): free})
    everything = tuple(range(len(preferences)))
    possible = everything
    if not everything or not search.affordable(everything):
        possible = tuple(i for i in everything if search.affordable((i,)))
        search.extend((), possible)
    else:
        search.best = everything
    plan = search.plan(search.best)
    assert plan is not None
    outcome = [_outcome(search, i, plan) for i in everything]
    return replace(plan, pins=(*free.pins, *map(str, preferences)), preferred=tuple(outcome))


def met_pins(plan: Plan, preferences: Sequence[Preference]) -> list[Pin]:
    """The preferences that a plan meets, as pins."""
    return [p.pin for p, outcome in zip(preferences, plan.preferred, strict=True) if outcome.met]


def _outcome(search: _Search, index: int, plan: Plan) -> Preferred:
    """Whether a preference was met, and what it costs or would cost on top of the others that were met."""
    text, met = str(search.preferences[index]), index in search.best
    others = tuple(i for i in search.best if i != index)
    beside = search.plan(others if met else tuple(sorted((*others, index))))
    if beside is None:
        alone = search.plan((index,)) is not None
        return Preferred(text, False, None, "no plan has it beside those that are met" if alone else "no plan has it")
    extra = _seconds(plan) - _seconds(beside) if met else _seconds(beside) - _seconds(plan)
    return Preferred(text, met, max(0.0, extra), "the search was stopped" if search.stopped and not met else "")


def _seconds(plan: Plan) -> float:
    assert plan.prediction is not None
    return plan.prediction.seconds
