"""What memory is worth: the seconds that a larger budget would save, and the budgets at which the plan changes.

The least time as a function of the budget is a falling staircase. Each step down has its edge where the next faster
plan begins to fit, which is that plan's own peak; so every answer here is a plan found by solving again, not an
estimate from a multiplier.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ir.graph import Program
from ir.layout import Layout
from ir.mesh import Mesh
from ir.plan import Prediction

from ..cost import Costs
from ..machine import Machine
from ..orders import Order, firm, parse_order
from ..problem import KEEP_SMALL, Problem, Question
from ..recompute import Again, asked_again
from ..show.units import bytes_text, seconds_text

GB = 1e9
STEP = 1e-5
"""Budgets are told apart to this fraction: "just below" is so much less."""
SAME = 1e-9
"""Times that differ by less than this fraction are the same."""


@dataclass(frozen=True)
class At:
    """The best plan at a budget; no plan fits where `seconds` is None."""

    budget: float
    seconds: float | None
    peak_bytes: float | None


@dataclass(frozen=True)
class MemoryPrice:
    """The worth of memory around a budget [bytes per device]; `str` of it tells it in words."""

    mesh: Mesh
    budget: float
    seconds: float
    peak_bytes: float
    binds: bool
    """Whether a larger budget has a faster plan."""
    unlimited: At
    """The fastest plan of all, whatever it needs."""
    more: tuple[At, ...]
    """With one GB more and with a tenth more; empty where the budget does not bind."""
    next_larger: At | None
    """The least larger budget at which the plan is faster; None where there is none or it was not found in time."""
    next_larger_proven: bool
    next_smaller: At | None
    """The first budget below which this plan's time cannot be had, with the best plan just below."""
    next_smaller_proven: bool

    def __str__(self) -> str:
        return format_memory_price(self)

    def as_json(self) -> dict[str, Any]:
        def row(at: At | None) -> dict[str, Any] | None:
            return at and {**vars(at), "saves": at.seconds is not None and self.seconds - at.seconds}

        return {
            "mesh": dict(self.mesh.axes),
            "budget": self.budget,
            "seconds": self.seconds,
            "peak_bytes": self.peak_bytes,
            "binds": self.binds,
            "unlimited": row(self.unlimited),
            "more": [row(at) for at in self.more],
            "next_larger": row(self.next_larger),
            "next_larger_proven": self.next_larger_proven,
            "next_smaller": row(self.next_smaller),
            "next_smaller_proven": self.next_smaller_proven,
        }


def memory_price(
    program: Program,
    mesh: Mesh,
    *,
    machine: Machine | str | None = None,
    memory: float | None = None,
    pins: Sequence[Order | str] = (),
    fixed: Mapping[str, Layout] | None = None,
    names: Mapping[str, str] | None = None,
    keep_small: int = KEEP_SMALL,
    seconds: float = 10.0,
    recompute: bool | Sequence[Again] = True,
    copies: float = 0.0,
) -> MemoryPrice:
    """What the memory budget costs. Takes what `make_plan` takes; preferences are left out.

    `seconds` limits each search, and no new search for one of the next budgets begins after as long.
    """
    if not isinstance(machine, Machine):
        machine = Machine.load(machine or "laptop")
    costs, orders = Costs(machine, mesh), firm(map(parse_order, pins))
    budget = machine.memory_size if memory is None else memory
    question = Question(orders, fixed or {}, names or {}, budget, keep_small, seconds, asked_again(recompute), copies)
    problem = Problem.of(program, costs, question)
    found = _at(problem, budget)
    here, unlimited = found.prediction, _at(problem, 0.0).prediction
    if here is None or unlimited is None:
        raise problem.too_small(found.proven)
    binds = bool(budget) and unlimited.seconds < here.seconds * (1 - SAME)
    more = [budget + GB, 1.1 * budget] if binds else []
    larger, larger_proven = None, True
    deadline = time.monotonic() + seconds
    if binds:
        start = At(unlimited.peak_bytes, unlimited.seconds, unlimited.peak_bytes)
        larger, larger_proven = _edge(problem, budget, start, here.seconds * (1 - SAME), deadline)
        deadline = time.monotonic() + seconds
    start = At(here.peak_bytes, here.seconds, here.peak_bytes)
    smaller, smaller_proven = _edge(problem, 0.0, start, here.seconds * (1 + SAME), deadline, below=True)
    if smaller_proven:
        found = _at(problem, _just_below(smaller.budget))
        smaller_proven = found.proven
        smaller = _told(smaller.budget, found)
    return MemoryPrice(
        mesh,
        budget,
        here.seconds,
        here.peak_bytes,
        binds,
        At(0.0, unlimited.seconds, unlimited.peak_bytes),
        tuple(_told(b, _at(problem, b)) for b in more),
        larger,
        larger_proven,
        smaller,
        smaller_proven,
    )


@dataclass(frozen=True)
class _Found:
    """The prediction of the best plan found, if any, and whether the search came to its end."""

    prediction: Prediction | None
    proven: bool


def _at(problem: Problem, budget: float, cutoff: float = math.inf) -> _Found:
    """The best plan at a budget (0: any), none where nothing within the cutoff fits."""
    plan, proven = replace(problem, memory=budget, wide={}).search(cutoff=cutoff)
    return _Found(plan.prediction if plan is not None else None, proven)


def _told(budget: float, found: _Found) -> At:
    p = found.prediction
    return At(budget, None, None) if p is None else At(budget, p.seconds, p.peak_bytes)


def _edge(
    problem: Problem, low: float, best: At, limit: float, deadline: float, below: bool = False
) -> tuple[At, bool]:
    """The least budget above `low` at which some plan takes at most `limit` seconds, and whether that is proved.

    Known are `best`, such a plan, which fits into its own peak, and that there is none at `low`. Tried in turn are the
    budget half way between (unless `below`) and the one right below the best peak: with no plan there, it is the edge.
    """
    proven = True
    while time.monotonic() < deadline:
        edge = _just_below(best.budget)
        if edge <= low:
            return best, proven
        budget = edge if below else min(edge, math.floor((low + best.budget) / 2))
        found = _at(problem, budget, limit * (1 + 1e-6))  # the search's own tie-breaks weigh a little
        p = found.prediction
        if p is not None and p.seconds <= limit and p.peak_bytes < best.budget:
            best, below = At(p.peak_bytes, p.seconds, p.peak_bytes), not below
            continue
        if budget == edge:
            return best, found.proven
        proven &= found.proven
        low, below = budget, True
    return best, False


def _just_below(budget: float) -> float:
    return max(1.0, math.floor(budget * (1 - STEP)) - 1.0)


def format_memory_price(found: MemoryPrice) -> str:
    """The answer in words."""
    mesh = found.mesh
    peak = f"{bytes_text(found.peak_bytes)} per device"
    if not found.budget:
        lines = [f"no memory budget on mesh {mesh}: the plan takes {seconds_text(found.seconds)} and {peak}"]
    else:
        share = 100 * found.peak_bytes / found.budget
        head = f"memory budget {bytes_text(found.budget)} per device on mesh {mesh}"
        uses = f"the plan takes {seconds_text(found.seconds)} and uses {peak} ({share:.3g} %)"
        lines = [f"{head}: {uses}"]
        lines.append(_bound(found) if found.binds else "it costs nothing: no plan is faster, whatever memory it has")
    lines += [f"  {_more(found, at)}" for at in found.more]
    if found.next_larger is not None:
        how = "" if found.next_larger_proven else " (a smaller step was not ruled out in time)"
        at = found.next_larger
        lines.append(f"  the next budget that is faster: {_bytes(at.budget)}{how}, which saves {_saved(found, at)}")
    lines.append(f"  {_smaller(found)}")
    return "\n".join(lines) + "\n"


def _bound(found: MemoryPrice) -> str:
    at = found.unlimited
    assert at.peak_bytes is not None
    return f"it binds: without it the plan would need {bytes_text(at.peak_bytes)} and save {_saved(found, at)}"


def _more(found: MemoryPrice, at: At) -> str:
    what = "1 GB more" if at.budget == found.budget + GB else "a tenth more"
    return f"{what} ({bytes_text(at.budget)}) would save {_saved(found, at)}"


def _saved(found: MemoryPrice, at: At) -> str:
    assert at.seconds is not None
    saved = max(0.0, found.seconds - at.seconds)
    return f"{seconds_text(saved)} ({100 * saved / found.seconds:.3g} %)" if saved > 1e-9 * found.seconds else "nothing"


def _smaller(found: MemoryPrice) -> str:
    at = found.next_smaller
    assert at is not None
    if not found.next_smaller_proven:
        return f"{_bytes(at.budget)} would do for this time; whether less would, no search told in time"
    if at.seconds is None or at.peak_bytes is None:
        return f"below {_bytes(at.budget)} nothing fits"
    more = at.seconds - found.seconds
    text = f"below {_bytes(at.budget)} it {'costs more' if found.binds else 'begins to cost'}"
    price = f"{seconds_text(more)} ({100 * more / found.seconds:.3g} %)"
    return f"{text}: {price} for the next plan, which uses {bytes_text(at.peak_bytes)}"


def _bytes(count: float) -> str:
    return f"{count:,.0f} B ({bytes_text(count)})"
