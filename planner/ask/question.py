"""From the arguments of a question to the problem that it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ir.graph import Program
from ir.layout import Layout
from ir.mesh import Mesh

from ..cost import Costs
from ..machine import Machine
from ..orders import Order, firm, parse_order
from ..problem import KEEP_SMALL, Problem, Question
from ..recompute import Again, asked_again


def problem_of(
    program: Program,
    mesh: Mesh,
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
) -> Problem:
    """The problem that `make_plan` would solve for the same arguments, preferences left aside."""
    if not isinstance(machine, Machine):
        machine = Machine.load(machine or "laptop")
    orders = firm(tuple(map(parse_order, pins)))
    asked = Question(orders, fixed or {}, names or {}, memory, keep_small, seconds, asked_again(recompute), copies)
    return Problem.of(program, Costs(machine, mesh), asked)
