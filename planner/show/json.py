"""A plan as plain data: everything that the tables and the pictures show. planner/README.md describes the fields.

`SCHEMA` grows when a field changes its meaning or goes; new fields do not change it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ir.errors import Diagnostic
from ir.graph import Node, Program, Value
from ir.layout import Collective, Layout, block_bytes, block_shape, collectives_of, replay
from ir.native import is_native
from ir.op import Op
from ir.passes.recompute import late_nodes
from ir.plan import Plan, Step

from ..cost import Costs, made_anew, trips_of
from ..machine import Machine
from ..memory import holdings, latent_bytes, profile
from ..plan_file import layout_text
from ..schedule import Schedule

SCHEMA = 2
FORWARD, GRADIENT = "forward", "gradient"


def as_json(
    program: Program, plan: Plan, names: Mapping[str, str] | None = None, machine: Machine | None = None
) -> dict[str, Any]:
    """A plan as plain data. `names` maps the user's names to the program's.

    Seconds are those of `machine` (default: the plan's, by its name); they are None where it is not at hand.
    """
    program = plan.applied(program)
    costs = costs_of(plan, machine)
    moves: dict[str, list[dict[str, Any]]] = {}
    for step in plan.steps(program):
        moves.setdefault(step.value.name, []).append(_move_row(step, plan, costs))
    schedule = Schedule.of(program, plan.platform)
    late, free = late_keys(program), made_anew(program, plan.platform)
    return {
        "schema": SCHEMA,
        "program": program.name,
        "mesh": dict(plan.mesh.axes),
        "devices": plan.mesh.devices,
        "machine": plan.machine,
        "pins": list(plan.pins),
        "preferred": [
            {"order": p.text, "met": p.met, "extra_seconds": p.extra, "note": p.note} for p in plan.preferred
        ],
        "prediction": _prediction(plan),
        "values": [
            {
                "name": shown,
                "value": value.name,
                "type": str(value.type),
                "layout": layout_text(plan.layouts[value.name]),
                "by": node.op.name if node else role,
                "where": where(node),
                "moves": moves.get(value.name, []),
                "named": shown != value.name or is_chosen(value.name),
                "node": node.key if node else None,
                "part": GRADIENT if node and node.key in late else FORWARD,
                "block": list(block_shape(value.type, plan.layouts[value.name], plan.mesh)),
                "block_bytes": block_bytes(value.type, plan.layouts[value.name], plan.mesh),
                "life": list(schedule.life[value.name]),
                "stored": schedule.stored[value.name],
            }
            for value, shown, node, role in rows(program, names or {})
        ],
        "outputs": {name: layout_text(layout) for name, layout in plan.outputs.items()},
        "nodes": [_node_row(node, inside, trips, plan, costs, late, free) for node, inside, trips in nested(program)],
        "edges": list(_edges(program, plan, costs)),
        "memory": _memory(program, plan, schedule),
        "collectives": [
            {
                "kind": c.kind,
                "axes": list(c.axes),
                "dtype": c.dtype,
                "bytes": c.bytes,
                "count": count,
                "by": performer(plan, [c]),
            }
            for c, count in collectives(program, plan)
        ],
    }


def costs_of(plan: Plan, machine: Machine | None) -> Costs | None:
    """The prices under which the plan was made; None where its machine is not at hand."""
    try:
        return Costs(machine or Machine.load(plan.machine), plan.mesh, plan.native)
    except Diagnostic:
        return None


def collectives(program: Program, plan: Plan) -> list[tuple[Collective, int]]:
    """What one execution performs with how often, the largest first."""
    return sorted(plan.collectives(program).items(), key=lambda item: (-item[0].bytes, str(item[0])))


def rows(program: Program, names: Mapping[str, str]) -> Iterable[tuple[Value, str, Node | None, str]]:
    """Every value with its shown name, the node that makes it and its role: the inputs and what `names` holds first."""
    users = {value: user for user, value in reversed(list(names.items()))}
    named, rest = [], []
    for value, node, role in _values(program):
        row = (value, users.get(value.name, value.name), node, role)
        is_named = value.name in users or (node is None and role != "region")
        (named if is_named else rest).append(row)
    return [*named, *rest]


def is_chosen(name: str) -> bool:
    """Whether a person chose a value's name: not a number, nor one that hoisting or a region made."""
    return re.fullmatch(r"(.*:)?(\d+|hoisted)(\.\w+)*", name) is None


def where(node: Node | None) -> str:
    """File and line of the model that a node comes from."""
    return f"{node.span.source.file}:{node.span.line}" if node and node.span else ""


def nested(program: Program, inside: str | None = None, trips: int = 1) -> Iterator[tuple[Node, str | None, int]]:
    """Every node with the scan in which it stands and how often it runs; a scan before its body."""
    for node in program.nodes:
        yield node, inside, trips
        for region in node.op.regions():
            yield from nested(region, node.key, trips * trips_of(node))


def late_keys(program: Program) -> set[str]:
    """The nodes of the backward pass, their regions' included."""
    late = late_nodes(program)
    return {inner.key for n in program.nodes if n.key in late for inner, _, _ in nested_in(n)} | late


def nested_in(node: Node) -> Iterator[tuple[Node, str | None, int]]:
    """The nodes in a node's regions."""
    for region in node.op.regions():
        yield from nested(region, node.key)


def op_text(op: Op) -> str:
    """An op and what it is applied along: `fft x -> kx`, `sum x, y`, `pullback sqrt`."""
    if renames := op.renames():
        return f"{op.name} {', '.join(f'{old} -> {new}' for old, new in renames.items())}"
    found = [t for value in op.attributes().values() for t in _words(value)]
    return f"{op.name} {', '.join(found)}" if found and not op.regions() else op.name


def _words(value: Any) -> list[str]:
    if isinstance(value, Op):
        return [value.name]
    if isinstance(value, tuple | list):
        return [v for v in value if isinstance(v, str)]
    return []


def _prediction(plan: Plan) -> dict[str, Any] | None:
    p = plan.prediction
    return p and {
        "seconds": p.seconds,
        "compute_seconds": p.compute_seconds,
        "communication_seconds": p.communication_seconds,
        "peak_bytes": p.peak_bytes,
        "bytes_by_axes": {"+".join(axes): sent for axes, sent in sorted(p.bytes_by_axes.items())},
        "bound": p.bound,
        "gap": p.gap,
        "how": p.how,
    }


def _values(program: Program, region: bool = False) -> Iterable[tuple[Value, Node | None, str]]:
    for i in program.inputs:
        yield i.value, None, "region" if region else i.role
    for node in program.nodes:
        for value in node.results:
            yield value, node, ""
        for inner in node.op.regions():
            yield from _values(inner, True)


def performer(plan: Plan, found: Sequence[Collective]) -> str | None:
    """Whose collectives these are, "native" or "jax.lax"; None for none, and where the plan leaves it open."""
    if not found or not plan.native:
        return None
    return "native" if all(is_native(plan.native, c) for c in found) else "jax.lax"


def _move_row(step: Step, plan: Plan, costs: Costs | None) -> dict[str, Any]:
    performed = collectives_of(step.move, step.value.type, step.before, plan.mesh)
    size = sum(c.bytes for c in performed)
    return {
        "move": str(step.move),
        "to": layout_text(step.after),
        "for": step.consumer,
        "trips": step.trips,
        "bytes": size,
        "seconds": costs.move(step.move, step.value.type, step.before) if costs else None,
        "kind": step.move.kind,
        "axes": list(step.move.axes),
        "by": performer(plan, performed),
    }


def _node_row(
    node: Node, inside: str | None, trips: int, plan: Plan, costs: Costs | None, late: set[str], free: set[str]
) -> dict[str, Any]:
    strategy = plan.strategies.get(node.key)
    row = {
        "node": node.key,
        "op": op_text(node.op),
        "operands": [v.name for v in node.operands],
        "results": [v.name for v in node.results],
        "strategy": str(strategy)[1:-1] if strategy is not None and not node.op.regions() else None,
        "trips": trips,
        "seconds": None,
        "part": GRADIENT if node.key in late else FORWARD,
        "inside": inside,
        "where": where(node),
        "source": node.span.source.line(node.span.line).strip() if node.span else "",
    }
    if costs is not None and strategy is not None and not node.op.regions():
        row["seconds"] = 0.0 if node.key in free else costs.compute(node.op, node.types, strategy)
    for region in node.op.regions():
        row["body"] = {
            "region": region.name,
            "trips": trips_of(node),
            "inputs": [i.value.name for i in region.inputs],
            "outputs": {name: value.name for name, value in region.outputs},
        }
    return row


def _edges(program: Program, plan: Plan, costs: Costs | None) -> Iterator[dict[str, Any]]:
    """Each use of a value, with the moves before it; only the first to want a layout pays for its path."""
    paid: set[tuple[str, Layout]] = set()
    for value, wanted, node, consumer, trips in _uses(program, plan):
        path = replay(plan.path(value, wanted), plan.layouts[value.name], value.type, plan.mesh)
        moves = [Step(value, move, before, after, consumer, trips) for move, before, after in path]
        if node is not None and not node.op.regions():
            strategy = plan.strategies[node.key]
            halos = node.op.halos(node.types, strategy)
            moves += [Step(value, m, wanted, wanted, consumer, trips) for i, m in halos if node.operands[i] == value]
            if value == node.operands[0]:  # what is not an operand's stands with the first one
                passes = node.op.passes(node.types, strategy, plan.mesh)
                moves += [Step(Value(node.key, t), m, x, x, consumer, trips) for t, x, m in passes]
                for i, m in node.op.spills(node.types, strategy):
                    x = plan.layouts[node.results[i].name]
                    moves.append(Step(node.results[i], m, x, x, consumer, trips))
        yield {
            "value": value.name,
            "to": consumer,
            "node": node.key if node else None,
            "layout": layout_text(wanted),
            "moves": [_move_row(step, plan, costs) for step in moves],
            "paid": (value.name, wanted) not in paid,
        }
        if wanted != plan.layouts[value.name]:
            paid.add((value.name, wanted))


def _uses(
    program: Program, plan: Plan, prefix: str = "", trips: int = 1
) -> Iterator[tuple[Value, Layout, Node | None, str, int]]:
    """Every (value, wanted layout, node or None, consumer, trips), each once, in the order of execution."""
    for node in program.nodes:
        for value, wanted in dict.fromkeys(plan.wanted(node)):
            yield value, wanted, node, node.key, trips
        for region in node.op.regions():
            yield from _uses(region, plan, f"{region.name}:", trips * trips_of(node))
    for name, value in program.outputs:
        yield value, plan.output_layout(program, name), None, f"output {prefix}{name}", trips


def _memory(program: Program, plan: Plan, schedule: Schedule) -> dict[str, Any]:
    """The profile and what it is the sum of; `program` is the applied one."""
    held = profile(program, plan)
    return {
        "bytes": [float(b) for b in held],
        "peak_step": int(held.argmax()),
        "steps": [list(what) for what in schedule.what],
        "held": [
            {
                "kind": h.kind,
                "value": h.name,
                "layout": layout_text(h.layout),
                "bytes": h.bytes,
                "life": [h.first, h.last],
            }
            for h in holdings(program, plan, schedule)
            if h.bytes
        ],
        "sampler_bytes": plan.copies * latent_bytes(program, plan),
    }
