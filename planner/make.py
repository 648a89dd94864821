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
from ir.passes.drop_inverses import drop_inverses
from ir.passes.recompute import recompute as write_again
from ir.plan import Plan, Prediction

from .cost import Costs, leaf_nodes
from .machine import Machine
from .memory import peak_bytes
from .orders import Order, Preference, firm, parse_order
from .pins import check_pins
from .prefer import with_preferences
from .problem import KEEP_SMALL, Problem, Question
from .recompute import Again, asked_again, check_again


def make_plan(
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
    explain: bool = True,
) -> Plan:
    """The plan of least predicted time, proven least unless `prediction.how` says that the search was stopped.

    `machine` is a `Machine`, its name or its file (default: laptop); `memory` the budget in bytes per device (default:
    the machine's, 0: none); `pins` the user's orders (pins, bans and preferences, see `planner.orders`) as data or
    text, by the names of `names` (user's name to value name) or of the program; `fixed` forces inputs and outputs to a
    layout. Of plans that cost the same the one with fewer collectives is taken, then the one in which large tensors are
    split and those below `keep_small` bytes are whole. `seconds` limits the search. Where memory binds, values that
    the backward pass needs may be computed a second time instead of being kept, unless `recompute` is false or says
    what is computed again in any case; the plan is then for `plan.applied(program)`. `copies` counts the vectors like
    the latents that a sampler holds beside the program. Raises `Diagnostic` for an order that cannot be meant, for
    orders that contradict each other and for a budget that nothing fits (without `explain` in few words, at once).
    """
    if not isinstance(machine, Machine):
        machine = Machine.load(machine or "laptop")
    program, costs = drop_inverses(program), Costs(machine, mesh)
    orders = tuple(map(parse_order, pins))
    wishes = [o for o in orders if isinstance(o, Preference)]
    again = asked_again(recompute)
    posed = program if isinstance(again, bool) else write_again(program, check_again(again, program, names or {}))
    check_pins(wishes, posed, names or {}, mesh)
    budget = machine.memory_size if memory is None else memory
    if mesh.devices == 1 and not orders and not fixed and isinstance(again, bool):
        plan = _single_device(program, costs, copies)
        if not budget or _peak(plan) <= budget:
            return plan
    question = Question(firm(orders), fixed or {}, names or {}, budget, keep_small, seconds, again, copies)
    problem = Problem.of(program, costs, question)
    plan, proven = problem.search()
    if plan is None:
        raise problem.too_small(proven) if explain else too_large(program, budget)
    if wishes:
        return with_preferences(plan, wishes, problem.solve_under)
    return plan


def too_large(program: Program, budget: float) -> Diagnostic:
    """A budget that nothing fits, for whoever has another program to try."""
    message = f"no plan of '{program.name}' fits into {budget:,.0f} B per device"
    return Diagnostic("plan", message, where="memory")


def _peak(plan: Plan) -> float:
    assert plan.prediction is not None
    return plan.prediction.peak_bytes


def _single_device(program: Program, costs: Costs, copies: float) -> Plan:
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
    whole = {n.key: Strategy() for n, _ in nodes}
    told = {"machine": costs.machine.name, "platform": costs.machine.platform, "copies": copies, "native": costs.native}
    plan = Plan(costs.mesh, layouts, whole, {}, outputs, **told)
    compute = sum(trips * costs.compute(n.op, n.types, Strategy()) for n, trips in nodes)
    peak = peak_bytes(program, plan)
    return replace(plan, prediction=Prediction(compute, compute, 0.0, peak, {}, compute, "single device"))
