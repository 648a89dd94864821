"""Holding programs and plans to their invariants: a violation is an `InternalError` that shows the node.

`verify` runs between passes; `verify_plan` before lowering, in the place of JAX's own check of replication: what it
accepts computes what the program says, whatever the layouts.
"""

from __future__ import annotations

from .errors import Diagnostic, InternalError
from .graph import Node, Program, Value
from .layout import Layout, replay
from .mesh import Mesh
from .plan import Plan
from .text import print_node

Place = str | Node
"""Where a violation is: a node is printed only if there is one."""


def verify(program: Program) -> Program:
    """The program, checked.

    Every value has a name of its own (regions included), is defined before it is used and within the same region, and
    has the type that its op infers; outputs and ties name what exists.
    """
    _verify(program, set())
    return program


def _verify(program: Program, taken: set[str]) -> None:
    defined: dict[str, Value] = {}

    def define(value: Value, place: Place) -> None:
        _require(value.name not in taken, f"{value} is defined twice", program, place)
        taken.add(value.name)
        defined[value.name] = value

    def use(value: Value, place: Place) -> None:
        _require(value.name in defined, f"{value} is used here, but defined later, elsewhere or never", program, place)
        held = defined[value.name].type
        if held != value.type:
            _require(False, f"{value} is {held} where it is made and {value.type} here", program, place)

    for i in program.inputs:
        define(i.value, f"input {i.name}")
    for node in program.nodes:
        for value in node.operands:
            use(value, node)
        for region in node.op.regions():
            key = f"region {region.name}"  # a plan knows a region's outputs by its name
            _require(key not in taken, f"two regions are called '{region.name}'", program, node)
            taken.add(key)
            _verify(region, taken)
        declared = tuple(v.type for v in node.results)
        try:
            inferred = node.op.results(*node.types)
        except Diagnostic as error:
            raise InternalError(f"{error.message}, in program '{program.name}':\n{print_node(node)}") from error
        if inferred != declared:
            _require(False, f"the op infers {', '.join(map(str, inferred))}", program, node)
        for value in node.results:
            define(value, node)
    for name, value in program.outputs:
        use(value, f"output {name}")
    names = [name for name, _ in program.outputs]
    _require(len(set(names)) == len(names), "two outputs have one name", program, ", ".join(names))
    for output, to in program.ties.items():
        place = f"tie {output} = {to}"
        _require(output in names, f"there is no output '{output}'", program, place)
        _require(any(i.name == to for i in program.inputs), f"there is no input '{to}'", program, place)
        same = set(program.results[output].type.dims) == set(program.input(to).type.dims)
        _require(same, "the two have different dims", program, place)


def verify_plan(program: Program, plan: Plan) -> Plan:
    """The plan, checked against a (verified) program.

    Every value has a layout of its own dims and of this mesh; every node's strategy is legal and leaves its results as
    the plan says; every operand gets from where it lies to where it is wanted by legal moves; outputs are whole sums,
    tied ones in the layout of their input; what a loop carries arrives and leaves alike.
    """
    applied = plan.applied(program)
    _verify_plan(verify(applied) if plan.recompute else applied, plan)
    return plan


def _verify_plan(program: Program, plan: Plan) -> None:
    for i in program.inputs:
        place = f"input {i.name}"
        layout = _layout(i.value, plan, program, place)
        _require(not layout.partial, f"an input arrives in the partial layout {layout}", program, place)
    for node in program.nodes:
        for value in node.results:
            _layout(value, plan, program, node)
        if node.op.regions():
            _verify_regions(program, node, plan)
        else:
            _verify_strategy(program, node, plan)
    for name, value in program.outputs:
        place, wanted = f"output {name}", plan.output_layout(program, name)
        _verify_layout(value, wanted, plan.mesh, program, place)
        _require(not wanted.partial, f"the output leaves in the partial layout {wanted}", program, place)
        _verify_path(program, value, wanted, plan, place)
    for output, to in program.ties.items():
        wanted, found = plan.layouts[to], plan.output_layout(program, output)
        place = f"tie {output} = {to}"
        _require(found == wanted, f"the output leaves in {found}, its input arrives in {wanted}", program, place)


def _verify_strategy(program: Program, node: Node, plan: Plan) -> None:
    _require(node.key in plan.strategies, "the plan has no strategy for the node", program, node)
    strategy = plan.strategies[node.key]
    dims = node.op.dims(*node.types)
    for dim, axes in strategy.splits:
        _require(dim in dims, f"the strategy {strategy} splits '{dim}', which the op does not have", program, node)
        _require(set(axes) <= set(plan.mesh.names), f"{strategy} uses axes that {plan.mesh} lacks", program, node)
    _require(strategy.carry <= set(plan.mesh.names), f"{strategy} uses axes that {plan.mesh} lacks", program, node)
    reason = node.op.illegal(node.types, strategy, plan.mesh)
    _require(reason is None, f"the strategy {strategy} is illegal: {reason}", program, node)
    for value, wanted in plan.wanted(node):
        _verify_path(program, value, wanted, plan, node)
    for value, layout in zip(node.results, node.op.result_layouts(node.types, strategy), strict=True):
        held = plan.layouts[value.name]
        _require(held == layout, f"the plan has {value} in {held}, but {strategy} leaves {layout}", program, node)


def _verify_regions(program: Program, node: Node, plan: Plan) -> None:
    for value, wanted in plan.wanted(node):
        _verify_path(program, value, wanted, plan, node)
    (region,) = node.op.regions()
    _verify_plan(region, plan)
    for index, value in enumerate(node.results):
        held, layout = plan.layouts[value.name], plan.output_layout(region, node.op.result_from(index))  # type: ignore[attr-defined]
        _require(held == layout, f"the plan has {value} in {held}, but the region leaves {layout}", program, node)


def _verify_path(program: Program, value: Value, wanted: Layout, plan: Plan, place: Place) -> None:
    layout = plan.layouts[value.name]
    try:
        for _, _, after in replay(plan.path(value, wanted), layout, value.type, plan.mesh):
            layout = after
    except InternalError as error:
        raise InternalError(f"{error}, for {value} in program '{program.name}':\n{_shown(place)}") from None
    _require(layout == wanted, f"the path of {value} ends in {layout}, but {wanted} is wanted", program, place)


def _layout(value: Value, plan: Plan, program: Program, place: Place) -> Layout:
    _require(value.name in plan.layouts, f"the plan has no layout for {value}", program, place)
    layout = plan.layouts[value.name]
    _verify_layout(value, layout, plan.mesh, program, place)
    return layout


def _verify_layout(value: Value, layout: Layout, mesh: Mesh, program: Program, place: Place) -> None:
    axes = [a for _, held in layout.splits for a in held] + list(layout.partial)
    _require(len(set(axes)) == len(axes), f"{layout} of {value} uses an axis twice", program, place)
    _require(set(axes) <= set(mesh.names), f"{layout} of {value} uses axes that {mesh} lacks", program, place)
    for dim, _ in layout.splits:
        _require(dim in value.type, f"{layout} splits '{dim}', but {value} is {value.type}", program, place)


def _require(condition: bool, why: str, program: Program, place: Place) -> None:
    if not condition:
        raise InternalError(f"{why}, in program '{program.name}':\n{_shown(place)}")


def _shown(place: Place) -> str:
    return place if isinstance(place, str) else print_node(place)
