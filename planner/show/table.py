"""A plan for people and for programs: the table in the terminal, and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ir.errors import Diagnostic
from ir.graph import Node, Program, Value
from ir.layout import collectives_of
from ir.plan import Plan, Step

from ..cost import Costs
from ..machine import Machine
from ..plan_file import layout_text


def seconds_text(seconds: float) -> str:
    """Three digits and a unit: `79.0 us`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns" if seconds else "0 s"


def bytes_text(count: float) -> str:
    """Three digits and a unit of 1000: `12.3 MB`."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def as_json(
    program: Program, plan: Plan, names: Mapping[str, str] | None = None, machine: Machine | None = None
) -> dict[str, Any]:
    """Everything that `format_plan` prints, as plain data."""
    costs = _costs(plan, machine)
    moves = _moves(program, plan)
    prediction = plan.prediction
    return {
        "program": program.name,
        "mesh": dict(plan.mesh.axes),
        "machine": plan.machine,
        "pins": list(plan.pins),
        "prediction": prediction
        and {
            "seconds": prediction.seconds,
            "compute_seconds": prediction.compute_seconds,
            "communication_seconds": prediction.communication_seconds,
            "peak_bytes": prediction.peak_bytes,
            "bytes_by_axes": {"+".join(axes): sent for axes, sent in sorted(prediction.bytes_by_axes.items())},
            "bound": prediction.bound,
            "gap": prediction.gap,
            "how": prediction.how,
        },
        "values": [
            {
                "name": shown,
                "value": value.name,
                "type": str(value.type),
                "layout": layout_text(plan.layouts[value.name]),
                "by": by,
                "where": where,
                "moves": [_move_row(step, plan, costs) for step in moves.get(value.name, ())],
            }
            for value, shown, by, where in _rows(program, names or {})
        ],
        "outputs": {name: layout_text(layout) for name, layout in plan.outputs.items()},
        "collectives": [
            {"kind": c.kind, "axes": list(c.axes), "dtype": c.dtype, "bytes": c.bytes, "count": count}
            for c, count in _collectives(program, plan)
        ],
    }


def _costs(plan: Plan, machine: Machine | None) -> Costs | None:
    """The prices under which the plan was made; None where its machine is not at hand."""
    try:
        return Costs(machine or Machine.load(plan.machine), plan.mesh)
    except Diagnostic:
        return None


def _moves(program: Program, plan: Plan) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = {}
    for step in plan.steps(program):
        found.setdefault(step.value.name, []).append(step)
    return found


def _move_row(step: Step, plan: Plan, costs: Costs | None) -> dict[str, Any]:
    size = sum(c.bytes for c in collectives_of(step.move, step.value.type, step.before, plan.mesh))
    return {
        "move": str(step.move),
        "to": layout_text(step.after),
        "for": step.consumer,
        "trips": step.trips,
        "bytes": size,
        "seconds": costs.move(step.move, step.value.type, step.before) if costs else None,
    }


def _collectives(program: Program, plan: Plan):
    return sorted(plan.collectives(program).items(), key=lambda item: (-item[0].bytes, str(item[0])))


def _rows(program: Program, names: Mapping[str, str]) -> Iterable[tuple[Value, str, str, str]]:
    """Every value with its shown name, what makes it and where: those that the user named first."""
    users = {value: user for user, value in reversed(list(names.items()))}
    named, rest = [], []
    for value, node, role in _values(program):
        by = node.op.name if node else role
        where = f"{node.span.source.file}:{node.span.line}" if node and node.span else ""
        row = (value, users.get(value.name, value.name), by, where)
        is_named = value.name in users or (node is None and role != "region")
        (named if is_named else rest).append(row)
    return [*named, *rest]


def _values(program: Program, region: bool = False) -> Iterable[tuple[Value, Node | None, str]]:
    for i in program.inputs:
        yield i.value, None, "region" if region else i.role
    for node in program.nodes:
        for value in node.results:
            yield value, node, ""
        for inner in node.op.regions():
            yield from _values(inner, True)


def format_plan(
    program: Program, plan: Plan, names: Mapping[str, str] | None = None, machine: Machine | None = None
) -> str:
    """The plan as a table: totals, each value with its layout and its moves, and the collectives performed."""
    data = as_json(program, plan, names, machine)
    devices = "one device" if plan.mesh.devices == 1 else f"{plan.mesh.devices} devices"
    lines = [f"plan of '{program.name}' on mesh {plan.mesh} ({devices}), machine {plan.machine}"]
    lines += [f"  {name:<10} {text}" for name, text in _totals(data)]
    rows = [("value", "type", "layout", "by", "where")]
    notes: dict[int, list[str]] = {}
    for v in data["values"]:
        rows.append((v["name"], v["type"], v["layout"], v["by"], v["where"]))
        notes[len(rows) - 1] = [_note(m) for m in v["moves"]]
    lines += ["", *_table(rows, notes), "", "collectives"]
    lines += [f"  {count} x {c}" for c, count in _collectives(program, plan)] or ["  none"]
    return "\n".join(lines) + "\n"


def _totals(data: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    p = data["prediction"]
    if p:
        parts = (
            f"{seconds_text(p['compute_seconds'])} computing, {seconds_text(p['communication_seconds'])} communicating"
        )
        yield "predicted", f"{seconds_text(p['seconds'])}: {parts}"
        yield "proof", _proof(p)
        yield "memory", f"{bytes_text(p['peak_bytes'])} per device at the peak"
        sent = ", ".join(f"{axes} {bytes_text(b)}" for axes, b in p["bytes_by_axes"].items())
        yield "sent", sent or "nothing"
    if data["pins"]:
        yield "pins", " ".join(data["pins"])


def _proof(p: Mapping[str, Any]) -> str:
    if p["how"] == "single device":
        return "one device leaves no choice"
    stopped = "stopped" in p["how"]
    gap = f"gap {100 * p['gap']:.2g} %" if p["gap"] > 1e-6 else "no gap"
    return f"no plan is faster than {seconds_text(p['bound'])} ({gap}), by {p['how']}" + (
        "; the plan may not be the best one" if stopped else ""
    )


def _note(move: Mapping[str, Any]) -> str:
    price = f", {seconds_text(move['seconds'])}" if move["seconds"] else ""
    size = f" {bytes_text(move['bytes'])}" if move["bytes"] else ""
    trips = f", {move['trips']} times" if move["trips"] > 1 else ""
    return f"{move['move']}{size}{price}{trips}, for {move['for']}"


def _table(rows: Sequence[Sequence[str]], notes: Mapping[int, Sequence[str]]) -> Iterable[str]:
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    for number, row in enumerate(rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for note in notes.get(number, ()):
            yield f"    -> {note}"
