"""The plan as a table of plain text: what pipes, files and reports take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ir.graph import Program
from ir.mesh import Mesh
from ir.plan import Plan

from ..machine import Machine
from .json import as_json
from .units import bytes_text, seconds_text


def format_plan(
    program: Program, plan: Plan, names: Mapping[str, str] | None = None, machine: Machine | None = None
) -> str:
    """The plan as a table: totals, each value with its layout and its moves, and the collectives performed."""
    data = as_json(program, plan, names, machine)
    lines = [head_text(data)]
    lines += [f"  {name:<10} {text}" for name, text in totals(data)]
    rows = [("value", "type", "layout", "by", "where")]
    notes: dict[int, list[str]] = {}
    for v in data["values"]:
        rows.append((v["name"], v["type"], v["layout"], v["by"], v["where"]))
        notes[len(rows) - 1] = [note_text(m) for m in v["moves"]]
    lines += ["", *_table(rows, notes), "", "collectives"]
    lines += [f"  {collective_text(c)}" for c in data["collectives"]] or ["  none"]
    return "\n".join(lines) + "\n"


def head_text(data: Mapping[str, Any]) -> str:
    """What the plan is of."""
    return f"plan of '{data['program']}' on mesh {mesh_text(data)}, machine {data['machine']}"


def mesh_text(data: Mapping[str, Any]) -> str:
    """The mesh and how many devices it has."""
    devices = "one device" if data["devices"] == 1 else f"{data['devices']} devices"
    return f"{Mesh(tuple(data['mesh'].items()))} ({devices})"


def collective_text(c: Mapping[str, Any]) -> str:
    """How often, which, over which axes, of what, how large."""
    by = f", {c['by']}" if c["by"] else ""
    return f"{c['count']} x {c['kind']}({'+'.join(c['axes'])}) {c['dtype']} {c['bytes']:,} B{by}"


def totals(data: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """The lines above the table: a word and what is to be said of it."""
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
    bans = [text.removeprefix("ban ") for text in data["pins"] if text.startswith("ban ")]
    pins = [text for text in data["pins"] if not text.startswith(("ban ", "prefer "))]
    if pins:
        yield "pins", " ".join(pins)
    if bans:
        yield "bans", " ".join(bans)
    for preference in data["preferred"]:
        yield "prefer", _preferred(preference, p)


def _preferred(preference: Mapping[str, Any], p: Mapping[str, Any]) -> str:
    """Whether a preference was met, and what that costs or would cost."""
    text, extra, met = preference["order"].removeprefix("prefer "), preference["extra_seconds"], preference["met"]
    if extra is None:
        return f"{text}: not met, {preference['note']}"
    base = p["seconds"] - (extra if met else 0)
    price = f"{seconds_text(extra)} ({100 * extra / base:.3g} %)" if extra > 1e-9 * base else "nothing"
    note = f"; {preference['note']}" if preference["note"] else ""
    return f"{text}: {'met, costs' if met else 'not met, would cost'} {price}{note}"


def _proof(p: Mapping[str, Any]) -> str:
    if p["how"] == "single device":
        return "one device leaves no choice"
    stopped = "stopped" in p["how"]
    gap = f"gap {100 * p['gap']:.2g} %" if p["gap"] > 1e-6 else "no gap"
    how = p["how"] if p["how"].startswith("stopped") else f"by {p['how']}"
    rest = "; the plan may not be the best one" if stopped else ""
    return f"no plan is faster than {seconds_text(p['bound'])} ({gap}), {how}{rest}"


def note_text(move: Mapping[str, Any]) -> str:
    """A move with its bytes, its price, how often, and for whom."""
    return f"{move_text(move)}, for {move['for']}"


def move_text(move: Mapping[str, Any]) -> str:
    """A move with its bytes, its seconds, by whom and how often: `all_reduce(row) 8 kB, 10 us, native, 3 times`."""
    size = f" {bytes_text(move['bytes'])}" if move["bytes"] else ""
    price = f", {seconds_text(move['seconds'])}" if move["seconds"] else ""
    trips = f", {move['trips']} times" if move["trips"] > 1 else ""
    by = f", {move['by']}" if move["by"] else ""
    return f"{move['move']}{size}{price}{by}{trips}"


def _table(rows: Sequence[Sequence[str]], notes: Mapping[int, Sequence[str]]) -> Iterable[str]:
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    for number, row in enumerate(rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for note in notes.get(number, ()):
            yield f"    -> {note}"
