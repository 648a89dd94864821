"""`make_plan`: from a program and a mesh to the best plan.

check the pins → for each way to split the chains: build the network, solve it → the cheapest → a plan, priced again
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ir.errors import Diagnostic
from ir.graph import Node, Program
from ir.layout import WHOLE, Layout
from ir.mesh import Mesh
from ir.op import Strategy
from ir.plan import Plan, Prediction

from .cost import Costs, leaf_nodes
from .machine import Machine
from .memory import peak_bytes
from .pins import Pin, parse_pin
from .problem import Problem

KEEP_SMALL = 64 * 1024
"""Below this size [bytes] a tensor is kept whole where that costs nothing."""


def make_plan(
    program: Program,
    mesh: Mesh,
    *,
    machine: Machine | str | None = None,
    memory: float | None = None,
    pins: Sequence[Pin | str] = (),
    fixed: Mapping[str, Layout] | None = None,
    names: Mapping[str, str] | None = None,
    keep_small: int = KEEP_SMALL,
    seconds: float = 60.0,
) -> Plan:
    """The plan of least predicted time, proven least unless `prediction.how` says that the search was stopped.

    `machine` is a `Machine`, its name or its file (default: laptop); `memory` the budget in bytes per device (default:
    the machine's, 0: none); `pins` the user's, as `Pin` or text, by the names of `names` (user's name to value name) or
    of the program; `fixed` forces inputs and outputs to a layout. Of plans that cost the same the one with fewer
    collectives is taken, then the one in which large tensors are split and those below `keep_small` bytes are whole.
    `seconds` limits each search. Raises `Diagnostic` for a pin that cannot be and for a budget that nothing fits.
    """
    if not isinstance(machine, Machine):
        machine = Machine.load(machine or "laptop")
    costs = Costs(machine, mesh)
    pins = tuple(parse_pin(p) if isinstance(p, str) else p for p in pins)
    if mesh.devices == 1 and not pins and not fixed:
        return _fitting(_single_device(program, costs), machine.memory_size if memory is None else memory)
    problem = Problem.of(program, costs, pins, fixed or {}, names or {}, memory, keep_small, seconds)
    plan = problem.solve()
    if plan is None:
        raise problem.too_small()
    return plan


def _fitting(plan: Plan, memory: float) -> Plan:
    assert plan.prediction is not None
    if memory and plan.prediction.peak_bytes > memory:
        raise Diagnostic(
            "plan",
            f"the program does not fit into {memory:,.0f} B on one device",
            where="memory",
            hint=f"it needs {plan.prediction.peak_bytes:,.0f} B; use a mesh of several devices",
        )
    return plan


def _single_device(program: Program, costs: Costs) -> Plan:
    """Everything whole: no choice, no search."""
    layouts: dict[str, Layout] = {}
    outputs: dict[str, Layout] = {}

    def visit(body: Program, prefix: str) -> None:
        layouts.update((i.name, WHOLE) for i in body.inputs)
        outputs.update((prefix + name, WHOLE) for name, _ in body.outputs)
        for node in body.nodes:
            layouts.update((v.name, WHOLE) for v in node.results)
            for region in node.op.regions():
                visit(region, f"{region.name}:")

    visit(program, "")
    nodes: list[tuple[Node, int]] = list(leaf_nodes(program))
    plan = Plan(costs.mesh, layouts, {n.key: Strategy() for n, _ in nodes}, {}, outputs, machine=costs.machine.name)
    compute = sum(trips * costs.compute(n.op, n.types, Strategy()) for n, trips in nodes)
    peak = peak_bytes(program, plan)
    return replace(plan, prediction=Prediction(compute, compute, 0.0, peak, {}, compute, "single device"))
