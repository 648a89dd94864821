"""Plan files: a plan as TOML that a person can read, edit and give back.

    machine = "h100x8"
    memory = "60GB"              # the budget on each device
    [mesh]
    row = 4
    [pin]                        # orders: these hold
    delta = { x = "row" }
    beta = "whole"
    chain = "row"
    [ban]                        # what must not be
    eta = { obs = "col" }
    [prefer]                     # taken where the plan then costs at most 5 % more than the best one
    white = { x = "row", within = 0.05 }
    [keep]                       # information: what the planner chose for every value
    eta = "obs/row"
    [outputs]
    log_density = "whole"
    [recompute]                  # an order: these, and no others, are computed again instead of kept, for these nodes
    delta = ["57", "85"]
    rate = "all"

A line moved from [keep] to [pin] becomes an order. With `keep=True` the reader takes all of [keep] and [outputs] as
orders, which gives the same plan again. `order_toml` reads and writes single entries.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ir.errors import Diagnostic, Source, Span
from ir.graph import Program
from ir.layout import Layout
from ir.mesh import Mesh
from ir.plan import Plan

from .order_toml import (
    ban_lines,
    pin_lines,
    preference_lines,
    read_again,
    read_bans,
    read_pin,
    read_preferences,
    recompute_lines,
    toml_key,
)
from .orders import Ban, Order, Pin, Preference, layout_text, parse_layout, parse_order
from .recompute import Again
from .show.units import read_bytes

__all__ = ["PlanFile", "layout_text", "parse_layout", "parse_plan", "read_plan_file", "write_plan"]

SECTIONS = ("machine", "memory", "mesh", "pin", "ban", "prefer", "keep", "outputs", "recompute")


@dataclass(frozen=True)
class PlanFile:
    """What a plan file orders: the arguments for `make_plan`. The mesh and the machine may be left out."""

    mesh: Mesh | None = None
    machine: str | None = None
    pins: tuple[Order, ...] = ()
    """Pins, bans and preferences, as `make_plan` takes them."""
    fixed: Mapping[str, Layout] | None = None
    memory: float | None = None
    """Bytes per device."""
    recompute: tuple[Again, ...] | None = None
    """What is computed again, and nothing else; None leaves that to the planner."""


def write_plan(
    plan: Plan, program: Program, names: Mapping[str, str] | None = None, memory: float | None = None
) -> str:
    """A plan as the text of a plan file, values by the user's names where they have one.

    `memory` is the budget that was given [bytes per device], if one was.
    """
    shown = {value: user for user, value in reversed(list((names or {}).items()))}
    lines = [
        f"# The plan of '{program.name}'. [pin] holds orders; [keep] and [outputs] tell what was chosen, and a line"
    ]
    lines += ["# moved from [keep] to [pin] becomes an order.", f'machine = "{plan.machine}"']
    lines += [f"memory = {int(memory) if memory == int(memory) else float(memory)!r}"] if memory is not None else []
    lines += [f"# hand-written collectives: {rule}" for rule in plan.native or ()]
    lines += ["", "[mesh]"]
    lines += [f"{toml_key(name)} = {size}" for name, size in plan.mesh.axes]
    orders = [parse_order(text) for text in plan.pins]
    lines += ["", "[pin]", *pin_lines(o for o in orders if isinstance(o, Pin))]
    if bans := ban_lines(o for o in orders if isinstance(o, Ban)):
        lines += ["", "[ban]", *bans]
    if preferences := preference_lines(o for o in orders if isinstance(o, Preference)):
        lines += ["", "[prefer]", *preferences]
    lines += ["", "[keep]"]
    own = {name: f"%{name}" for name in plan.layouts if (names or {}).get(name, name) != name}
    lines += [
        f'{toml_key(shown.get(name, own.get(name, name)))} = "{layout_text(layout)}"'
        for name, layout in plan.layouts.items()
    ]
    lines += ["", "[outputs]"]
    lines += [f'{toml_key(name)} = "{layout_text(layout)}"' for name, layout in plan.outputs.items()]
    if plan.recompute:
        lines += ["", "# What is computed again instead of being kept, and for which nodes: an order.", "[recompute]"]
        lines += recompute_lines(plan.recompute, shown, own)
    return "\n".join(lines) + "\n"


def read_plan_file(path: str | Path, keep: bool = False) -> PlanFile:
    """Reads a plan file; every mistake is a `Diagnostic` that names the file and the line."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = f"make one: meshbayes plan MODEL --mesh row=4,col=2 --write {path}"
        raise Diagnostic("plan", "there is no such plan file", where=str(path), hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        hint = "give the file that meshbayes plan --write made"
        raise Diagnostic("plan", f"the plan file cannot be read: {what}", where=str(path), hint=hint) from None
    return parse_plan(text, str(path), keep)


def parse_plan(text: str, file: str = "plan", keep: bool = False) -> PlanFile:
    """`read_plan_file` on a text."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Diagnostic(
            "plan", _without_place(str(error)), span=_span(error, text, file), hint="plan files are TOML"
        ) from None
    for section in table:
        if section not in SECTIONS:
            raise Diagnostic(
                "plan",
                f"a plan file has no section '{section}'",
                where=_place(text, file, None, section),
                hint=f"its sections are {', '.join(SECTIONS)}",
            )
    machine = table.get("machine")
    if machine is not None and not isinstance(machine, str):
        raise Diagnostic(
            "plan", "machine is not text", where=_place(text, file, None, "machine"), hint='machine = "h100x8"'
        )
    pins: list[Order] = []
    for section, read in READERS.items():
        for name, found in _table(table, section, text, file).items():
            pins += read(name, found, _place(text, file, section, name))
    fixed: dict[str, Layout] = {}
    if keep:
        for section in ("keep", "outputs"):
            for name, found in _table(table, section, text, file).items():
                where = _place(text, file, section, name)
                layout = parse_layout(str(found), where)
                if section == "keep":
                    pins.append(Pin.exact(name, layout, where))
                else:
                    fixed[name] = layout
    again = tuple(
        read_again(name, found, _place(text, file, "recompute", name))
        for name, found in _table(table, "recompute", text, file).items()
    )
    room = _read_memory(table, text, file)
    orders = again if "recompute" in table else () if keep else None
    return PlanFile(_read_mesh(table, text, file), machine, tuple(pins), fixed or None, room, orders)


def _table(table: Mapping[str, Any], section: str, text: str, file: str) -> Mapping[str, Any]:
    found = table.get(section, {})
    if not isinstance(found, dict):
        raise Diagnostic(
            "plan", f"[{section}] is not a table", where=_place(text, file, None, section), hint=f"write [{section}]"
        )
    return found


def _read_memory(table: Mapping[str, Any], text: str, file: str) -> float | None:
    found = table.get("memory")
    if found is None:
        return None
    size = read_bytes(str(found)) if not isinstance(found, bool) else None
    if found == 0 and not isinstance(found, bool):
        return 0.0
    if size is None:
        where = _place(text, file, None, "memory")
        hint = 'write memory = "80GB", or 0 for no limit'
        raise Diagnostic("plan", f"the memory of a plan file is {found!r}", where=where, hint=hint)
    return size


def _read_mesh(table: Mapping[str, Any], text: str, file: str) -> Mesh | None:
    found = table.get("mesh")
    if found is None:
        return None
    if isinstance(found, str):
        try:
            return Mesh.parse(found)
        except Diagnostic as error:
            where = _place(text, file, None, "mesh")
            raise Diagnostic("plan", error.message, where=where, hint=error.hint) from None
    axes = _table(table, "mesh", text, file)
    for name, size in axes.items():
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            where = _place(text, file, "mesh", name)
            hint = "an axis is named by a word: row = 4"
            raise Diagnostic("plan", f"a mesh axis cannot be called '{name}'", where=where, hint=hint)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            where = _place(text, file, "mesh", name)
            raise Diagnostic("plan", f"mesh axis '{name}' has size {size!r}", where=where, hint=f"write {name} = 4")
    return Mesh(tuple(axes.items()))


READERS: Mapping[str, Callable[[str, Any, str], Sequence[Order]]] = {
    "pin": lambda name, found, where: [read_pin(name, found, where)],
    "ban": read_bans,
    "prefer": read_preferences,
}
"""What each section of orders makes of a name, its entry and its place."""


def _place(text: str, file: str, section: str | None, key: str) -> str:
    """`file:line` of a key, found by looking for it in its section."""
    here = None
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[([^\]]+)\]", line):
            here = header[1].strip()
            if section is None and here.split(".")[0] == key:
                return f"{file}:{number}"
        elif here == section and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]""", line):
            return f"{file}:{number}"
    return file


def _without_place(message: str) -> str:
    return re.sub(r"\s*\(at [^)]*\)$", "", message)


def _span(error: tomllib.TOMLDecodeError, text: str, file: str) -> Span:
    found = re.search(r"at line (\d+), column (\d+)", str(error))
    lines = text.splitlines() or [""]
    line, column = (int(found[1]), int(found[2])) if found else (len(lines), len(lines[-1]) + 1)
    return Span(Source(file, text), line, column, line, column + 1)
