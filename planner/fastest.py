"""The fastest of several programs that compute the same: planned one by one, and the best that fits is taken.

Some choices change the program itself and not its layouts, as how many states the gradient of a scan keeps. The
candidates are few, so each is planned as a whole, exactly; no estimate stands between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from ir.errors import Diagnostic
from ir.graph import Program
from ir.plan import Plan


class Planned(Protocol):
    """What comes of planning a program: a plan, or a search that has one."""

    @property
    def plan(self) -> Plan: ...


Found = TypeVar("Found", bound="Plan | Planned")


def fastest(programs: Sequence[Program], solve: Callable[[Program, bool], Found]) -> tuple[Program, Found]:
    """The program whose plan takes the least predicted seconds, of equals the first, with what `solve` found for it.

    `solve(program, explain)` raises a `Diagnostic` where a program does not fit the memory, which is then left out.
    Where none fits, the last one's refusal is raised, explained.
    """
    *most, last = programs
    found = [(p, x) for p in programs if (x := _solved(p, solve)) is not None] if most else []
    return min(found, key=lambda each: _seconds(each[1])) if found else (last, solve(last, True))


def _solved(program: Program, solve: Callable[[Program, bool], Found]) -> Found | None:
    try:
        return solve(program, False)
    except Diagnostic as error:
        if error.where != "memory":
            raise
        return None


def _seconds(found: Plan | Planned) -> float:
    plan = found if isinstance(found, Plan) else found.plan
    assert plan.prediction is not None
    return plan.prediction.seconds
