"""Orders that no plan satisfies: the smallest set of them that is to blame, and what dropping each would allow.

The set is minimal: it cannot be satisfied, and without any one of its members it can. It is found by divide and
conquer (QuickXplain: U. Junker, AAAI 2004), which asks whether a plan exists some k log2(n / k) times for a set of k
among n orders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ir.dims import CHAIN
from ir.errors import Diagnostic
from ir.graph import Program
from ir.layout import Layout

from ..orders import Ban, Pin, Unsatisfiable
from ..pins import Contradiction
from ..show.units import bytes_text, seconds_text

if TYPE_CHECKING:
    from ..problem import Problem

T = TypeVar("T")


@dataclass(frozen=True)
class Fixed:
    """An input or output whose layout the caller fixes: `make_plan(fixed=…)`."""

    name: str
    layout: Layout
    where: str = "fixed"

    def __str__(self) -> str:
        return f"fixed {self.name} as {self.layout}"


Demand = Pin | Ban | Fixed
Pose = Callable[[Sequence[Demand]], "Problem"]
"""The problem under some demands; raises `Unsatisfiable` where no plan satisfies them."""


@dataclass(frozen=True)
class Member:
    """One demand of a conflict, and the best plan without it alone: its seconds and peak bytes."""

    demand: Demand
    seconds: float | None
    peak_bytes: float | None
    why_none: str = ""
    """Why there is no plan even then."""

    def as_json(self) -> dict[str, Any]:
        return {
            "order": str(self.demand),
            "where": self.demand.where,
            "without_it": {"seconds": self.seconds, "peak_bytes": self.peak_bytes, "why_none": self.why_none or None},
        }


class Conflict(Diagnostic):
    """The diagnostic, with the same as data."""

    def __init__(self, message: str, members: Sequence[Member], notes: Sequence[str], **rest: Any):
        super().__init__("plan", message, **rest)
        self.members, self.notes = tuple(members), tuple(notes)

    def as_json(self) -> dict[str, Any]:
        return {"conflict": [m.as_json() for m in self.members], "notes": list(self.notes)}


def minimal_conflict(items: Sequence[T], possible: Callable[[Sequence[T]], bool]) -> list[T]:
    """A subset of `items`, which are not possible together, such that every proper subset of it is possible.

    `possible` must be monotone: fewer items are never less possible. Where it says True of what is not known, the
    answer is still a conflict, but may hold more than it must. Empty if nothing at all is possible.
    """

    def search(sure: list[T], fresh: bool, rest: list[T]) -> list[T]:
        if fresh and not possible(sure):
            return []
        if len(rest) == 1:
            return rest
        left, right = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        second = search(sure + left, bool(left), right)
        first = search(sure + second, bool(second), left)
        return first + second

    return search([], True, list(items)) if items else []


def demands_of(orders: Sequence[Pin | Ban], fixed: Mapping[str, Layout]) -> list[Demand]:
    return [*orders, *(Fixed(name, layout) for name, layout in fixed.items())]


def explain_conflict(
    found: Unsatisfiable, demands: Sequence[Demand], pose: Pose, program: Program, names: Mapping[str, str]
) -> Diagnostic:
    """Why `demands` admit no plan. A single impossible order is told as `found` tells it: by what its op needs."""

    def possible(some: Sequence[Demand]) -> bool:
        try:
            pose(some)
        except Unsatisfiable:
            return False
        return True

    core = minimal_conflict(demands, possible)
    if not core:
        return found
    if len(core) == 1:
        try:
            pose(core)
        except Unsatisfiable as alone:
            return Conflict(alone.message, [_without(core[0], demands, pose)], [], **_place(alone, core[0]))
    members = [_without(each, demands, pose) for each in core]
    notes = _notes(core, program, names)
    what = "these contradict each other, and no smaller set of them does"
    if isinstance(found, Contradiction) and len(core) == 2:
        what = found.message
    lines = [f"{what}:", *member_lines(members), *(f"  note: {n}" for n in notes)]
    return Conflict("\n".join(lines), members, notes, where=core[-1].where, hint="drop or change one of them")


def _place(alone: Diagnostic, demand: Demand) -> dict[str, Any]:
    return {"where": demand.where, "span": alone.span, "hint": alone.hint}


def _without(demand: Demand, demands: Sequence[Demand], pose: Pose) -> Member:
    """The best plan under all demands but one."""
    try:
        problem = pose([d for d in demands if d is not demand])
    except Unsatisfiable:
        return Member(demand, None, None, "others still contradict each other")
    plan = problem.solve()
    if plan is None or plan.prediction is None:
        return Member(demand, None, None, f"no plan then fits into {problem.memory:,.0f} B")
    return Member(demand, plan.prediction.seconds, plan.prediction.peak_bytes)


def member_lines(members: Sequence[Member]) -> list[str]:
    """A line for each member: its place, what it orders, what dropping it allows."""
    places = [m.demand.where if re.search(r":\d+$", m.demand.where) else "" for m in members]
    shown = [order_text(m.demand) for m in members]
    place, order = max(map(len, places)), max(map(len, shown))
    return [
        f"  {where:<{place}}{'  ' if place else ''}{text:<{order}}  {_allows(m)}"
        for where, text, m in zip(places, shown, members, strict=True)
    ]


def order_text(demand: Demand) -> str:
    return f"pin {demand}" if isinstance(demand, Pin) else str(demand)


def _allows(member: Member) -> str:
    if member.seconds is None or member.peak_bytes is None:
        return f"without it {member.why_none}"
    return f"without it {seconds_text(member.seconds)}, {bytes_text(member.peak_bytes)} per device"


def _notes(core: Sequence[Demand], program: Program, names: Mapping[str, str]) -> list[str]:
    """What ties the members' values to each other, where that is not plain."""
    about = {d.name if isinstance(d, Fixed) else names.get(d.pin.value, d.pin.value).removeprefix("%") for d in core}
    notes = [
        f"{' and '.join(repr(n) for n in alike if n in about)} are tied: they lie in the same layout"
        for alike in _tied(program)
        if len(alike.keys() & about) > 1
    ]
    if any(not isinstance(d, Fixed) and (d.pin.is_chain or CHAIN in dict(d.pin.split)) for d in core):
        notes.append("the chains are split alike in all values, and the mesh axes that split them split nothing else")
    return notes


def _tied(program: Program) -> Iterator[dict[str, None]]:
    """The names of what lies alike: an output, the input that it is tied to, and what leaves a loop from there."""
    for output, name in program.ties.items():
        yield dict.fromkeys([output, name])
    for node in program.walk():
        for region in node.op.regions():
            for output, name in region.ties.items():
                left = [v.name for i, v in enumerate(node.results) if node.op.result_from(i) == output]  # type: ignore
                yield dict.fromkeys([f"{region.name}:{output}", region.input(name).name, *left])
