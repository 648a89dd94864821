"""What every value's other layouts would cost, all else chosen anew: for all values at once, by min-marginals.

Prices are exact up to a limit that the elimination can bear; beyond it all that is known is that they are larger. They
leave the memory budget aside, so they are given only for a plan that the budget does not touch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ir.graph import Program
from ir.layout import Layout
from ir.plan import Plan

from ..cost import Costs
from ..machine import Machine
from ..orders import Order, Preference, firm, parse_order
from ..prefer import met_pins
from ..problem import KEEP_SMALL, Option, Problem, Question
from ..show.prices import Prices
from ..solve.marginals import marginals
from ..solve.simplify import Impossible

REACHES = (2.0, 1.5, 1.2, 1.1, 1.05, 1.02)
"""The limits tried, in units of the plan's seconds: the first that one elimination can bear is taken."""
SAME = 1e-9


def prices(
    program: Program,
    plan: Plan,
    *,
    machine: Machine,
    pins: Sequence[Order | str] = (),
    fixed: Mapping[str, Layout] | None = None,
    names: Mapping[str, str] | None = None,
    keep_small: int = KEEP_SMALL,
) -> Prices | None:
    """The prices of a plan's other layouts, or None where they are not to be had.

    That is where the plan is not the cheapest of those without a memory budget, and where no limit can be borne.
    """
    prediction = plan.prediction
    if prediction is None or plan.mesh.devices == 1:
        return None
    orders = tuple(map(parse_order, pins))
    held = (*firm(orders), *met_pins(plan, [o for o in orders if isinstance(o, Preference)]))
    question = Question(held, fixed or {}, names or {}, 0.0, keep_small, math.inf)
    problem = Problem.of(program, Costs(machine, plan.mesh, plan.native), question)
    best, limit = prediction.seconds, math.inf
    found: dict[str, dict[Layout, float]] = {}
    for option in problem.options:
        reach, costs = _reached(option, best)
        if costs is None:
            return None
        limit = min(limit, (reach - 1) * best)
        for star in (s for s in option.network.stars if s.value.name in plan.layouts):
            prices = found.setdefault(star.value.name, {})
            for label in np.unique(star.labels):
                layout = star.layouts[label]
                price = float(costs[star.source][star.labels == label].min(initial=math.inf))
                prices[layout] = min(price, prices.get(layout, math.inf))
    least = min((p for of_value in found.values() for p in of_value.values()), default=math.inf)
    if not math.isclose(least, best, rel_tol=SAME):
        return None
    extra = {name: _ordered(of_value, best, limit, plan.layouts[name]) for name, of_value in found.items()}
    return Prices(extra, limit)


def _reached(option: Option, best: float) -> tuple[float, list[np.ndarray] | None]:
    """The min-marginals of one problem up to the furthest limit that can be borne."""
    for reach in REACHES:
        try:
            costs = marginals(option.network, reach * best)
        except Impossible:
            return math.inf, [np.full(len(v.states), math.inf) for v in option.network.variables]
        if costs is not None:
            return reach, costs
    return 1.0, None


def _ordered(
    found: Mapping[Layout, float], best: float, limit: float, chosen: Layout
) -> list[tuple[Layout, float | None]]:
    """The chosen layout first, then the others by price and name."""
    extra: dict[Layout, float | None] = {}
    for layout, price in found.items():
        more = price - best if price - best > SAME * best else 0.0
        extra[layout] = more if more <= limit * (1 + SAME) else None
    order = sorted(extra, key=lambda x: (x != chosen, math.inf if extra[x] is None else extra[x], str(x)))
    return [(x, extra[x]) for x in order]
