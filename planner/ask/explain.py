"""Why a value lives where it does: each layout that it could have, with what it would cost, all else chosen anew."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ir.graph import Program
from ir.layout import Layout
from ir.mesh import Mesh
from ir.plan import Plan

from ..cost import Costs
from ..machine import Machine
from ..orders import Order, Preference, firm, parse_order
from ..pins import find_value
from ..plan_file import layout_text
from ..prefer import met_pins, with_preferences
from ..problem import KEEP_SMALL, Problem, Question
from ..recompute import Again, asked_again
from ..show import bytes_text, seconds_text


@dataclass(frozen=True)
class Alternative:
    """The best plan in which the value leaves its producer in `layout`."""

    layout: Layout
    plan: Plan
    extra: float
    """Seconds more than the best plan of all."""


def alternatives(
    program: Program,
    mesh: Mesh,
    value: str,
    *,
    machine: Machine | str | None = None,
    memory: float | None = None,
    pins: Sequence[Order | str] = (),
    fixed: Mapping[str, Layout] | None = None,
    names: Mapping[str, str] | None = None,
    keep_small: int = KEEP_SMALL,
    seconds: float = 60.0,
    recompute: bool | Sequence[Again] = True,
    copies: float = 0.0,
) -> list[Alternative]:
    """Every layout of a value that some plan has, cheapest first: the first one is the best plan's.

    Takes what `make_plan` takes. Each alternative is the best with its layout, proven; without a binding memory budget
    all are found together, otherwise by as many searches as there are layouts.
    """
    if not isinstance(machine, Machine):
        machine = Machine.load(machine or "laptop")
    name = find_value(value, program, names or {}).name
    orders = tuple(map(parse_order, pins))
    wishes = [o for o in orders if isinstance(o, Preference)]
    asked = Question(
        firm(orders), fixed or {}, names or {}, memory, keep_small, seconds, asked_again(recompute), copies
    )
    problem = Problem.of(program, Costs(machine, mesh), asked)
    best, proven = problem.search()
    if best is not None and wishes:  # those that the plan meets hold in every alternative too
        met = met_pins(with_preferences(best, wishes, problem.solve_under), wishes)
        problem = Problem.of(program, Costs(machine, mesh), replace(asked, orders=(*firm(orders), *met)))
        best = problem.solve()
    if best is None or best.prediction is None:
        raise problem.too_small(proven)
    stars = [next(s for s in option.network.stars if s.value.name == name) for option in problem.options]
    possible = dict.fromkeys(star.layouts[label] for star in stars for label in star.labels)
    found = [Alternative(best.layouts[name], best, 0.0)]
    others = [layout for layout in possible if layout != best.layouts[name]]
    for layout, plan in zip(others, problem.solve_each(name, others), strict=True):
        if plan is not None and plan.prediction:
            found.append(Alternative(layout, plan, plan.prediction.seconds - best.prediction.seconds))
    return sorted(found, key=lambda a: (a.extra, a.layout != best.layouts[name], str(a.layout)))


def alternatives_json(found: Sequence[Alternative]) -> list[dict[str, Any]]:
    """`alternatives` as plain data, the chosen layout first."""
    return [
        {
            "layout": layout_text(a.layout),
            "extra_seconds": a.extra,
            "seconds": a.plan.prediction.seconds,
            "compute_seconds": a.plan.prediction.compute_seconds,
            "communication_seconds": a.plan.prediction.communication_seconds,
            "peak_bytes": a.plan.prediction.peak_bytes,
            "how": a.plan.prediction.how,
        }
        for a in found
        if a.plan.prediction is not None
    ]


def _beyond_ties(found: Sequence[Alternative], seconds: float) -> list[str]:
    """How many layouts tie with the chosen one, where it is more than two, and the first that costs more."""
    dearer = [a for a in found if a.extra > 1e-9 * seconds]
    tied, lines = len(found) - len(dearer), []
    if tied > 2:
        lines.append(f"{tied} layouts cost the same in all")
    if dearer:
        share = 100 * dearer[0].extra / seconds
        more = f"{seconds_text(dearer[0].extra)} more ({share:.3g} %)"
        lines.append(f"beyond the ties, {layout_text(dearer[0].layout)} would cost {more}")
    return lines


def explain(program: Program, mesh: Mesh, value: str, **arguments: Any) -> str:
    """`alternatives` in words: the chosen layout, the runner-up, and a table of all."""
    if mesh.devices == 1:
        return f"'{value}' is whole: the mesh is one device\n"
    found = alternatives(program, mesh, value, **arguments)
    target = find_value(value, program, arguments.get("names") or {})
    chosen = found[0].plan.prediction
    assert chosen is not None
    lines = [f"'{value}' ({target.type}) on mesh {mesh}: {layout_text(found[0].layout)}"]
    if len(found) == 1:
        lines.append("no other layout can be had: its producer leaves none, or the pins, ties and the memory forbid it")
    elif found[1].extra <= 1e-9 * chosen.seconds:
        lines.append(
            f"{layout_text(found[1].layout)} would cost the same; the tie was broken for fewer collectives and splits"
        )
        lines += _beyond_ties(found, chosen.seconds)
    else:
        share = 100 * found[1].extra / chosen.seconds
        more = f"{seconds_text(found[1].extra)} more ({share:.3g} %)"
        lines.append(f"the next best, {layout_text(found[1].layout)}, would cost {more}")
    width = max(len(layout_text(a.layout)) for a in found)
    lines.append("")
    for a in found:
        p = a.plan.prediction
        assert p is not None
        more = "chosen" if a is found[0] else f"+{seconds_text(a.extra)}"
        sent = bytes_text(sum(p.bytes_by_axes.values()))
        lines.append(
            f"  {layout_text(a.layout):<{width}}  {more:>10}  {seconds_text(p.seconds):>8}: computing"
            f" {seconds_text(p.compute_seconds)}, communicating {seconds_text(p.communication_seconds)},"
            f" sent {sent}, peak {bytes_text(p.peak_bytes)}"
        )
    if any(math.isfinite(a.extra) and "stopped" in (a.plan.prediction.how if a.plan.prediction else "") for a in found):
        lines.append("some of these searches hit the time limit: their costs are upper bounds")
    return "\n".join(lines) + "\n"
