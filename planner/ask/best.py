"""The k best plans, in order: what else would be as good, or nearly."""

from __future__ import annotations

from typing import Any

from ir.errors import Diagnostic
from ir.graph import Program
from ir.mesh import Mesh
from ir.plan import Plan

from .question import problem_of

MOST = 100


def best_plans(program: Program, mesh: Mesh, k: int = 5, **arguments: Any) -> list[Plan]:
    """The `k` cheapest plans that differ, cheapest first, proven; fewer where there are no more.

    Takes what `make_plan` takes (but preferences). Plans of equal cost come in the order in which ties are broken.
    Raises `Diagnostic` for more than 100, and as `make_plan` does.
    """
    if not 1 <= k <= MOST:
        raise Diagnostic("plan", f"{k} plans cannot be listed", where="k", hint=f"ask for 1 to {MOST}")
    problem = problem_of(program, mesh, **arguments)
    plans = problem.best(k)
    if not plans:
        raise problem.too_small()
    return plans
