"""Plan files: a plan as TOML that a person can read, edit and give back.

    machine = "h100x8"
    [mesh]
    row = 4
    [pin]                        # orders: these hold
    delta = { x = "row" }
    beta = "whole"
    chain = "row"
    [keep]                       # information: what the planner chose for every value
    eta = "obs/row"
    [outputs]
    log_density = "whole"

A line moved from [keep] to [pin] becomes an order. With `keep=True` the reader takes all of [keep] and [outputs] as
orders, which gives the same plan again.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ir.errors import Diagnostic, Source, Span
from ir.graph import Program
from ir.layout import Layout
from ir.mesh import Mesh
from ir.plan import Plan

from .pins import Pin, parse_pin

SECTIONS = ("machine", "mesh", "pin", "keep", "outputs")


@dataclass(frozen=True)
class PlanFile:
    """What a plan file orders: the arguments for `make_plan`. The mesh and the machine may be left out."""

    mesh: Mesh | None = None
    machine: str | None = None
    pins: tuple[Pin, ...] = ()
    fixed: Mapping[str, Layout] | None = None


def layout_text(layout: Layout) -> str:
    """A layout as plan files write it: `x/row+col, y/col`, `whole`, `whole; sum over row`."""
    return str(layout)[1:-1]


def parse_layout(text: str, where: str = "layout") -> Layout:
    """The inverse of `layout_text`."""
    head, _, tail = text.partition(";")
    splits = (
        [] if head.strip() == "whole" else [re.fullmatch(r"\s*(\w+)/(\w+(?:\+\w+)*)\s*", p) for p in head.split(",")]
    )
    partial = re.fullmatch(r"\s*(sum|max|min) over (\w+(?:,\s*\w+)*)\s*", tail) if tail.strip() else None
    if not all(splits) or (tail.strip() and partial is None):
        raise Diagnostic(
            "plan", f'cannot read the layout "{text}"', where=where, hint="write x/row+col, y/col or whole"
        )
    split = {m[1]: tuple(m[2].split("+")) for m in splits if m}
    if partial is None:
        return Layout.of(split)
    return Layout.of(split, tuple(a.strip() for a in partial[2].split(",")), partial[1])


def write_plan(plan: Plan, program: Program, names: Mapping[str, str] | None = None) -> str:
    """A plan as the text of a plan file, values by the user's names where they have one."""
    shown = {value: user for user, value in reversed(list((names or {}).items()))}
    lines = [
        f"# The plan of '{program.name}'. [pin] holds orders; [keep] and [outputs] tell what was chosen, and a line"
    ]
    lines += ["# moved from [keep] to [pin] becomes an order.", f'machine = "{plan.machine}"', "", "[mesh]"]
    lines += [f"{_key(name)} = {size}" for name, size in plan.mesh.axes]
    lines += ["", "[pin]"]
    lines += [_pin_line(parse_pin(text)) for text in plan.pins]
    lines += ["", "[keep]"]
    own = {name: f"%{name}" for name in plan.layouts if (names or {}).get(name, name) != name}
    lines += [
        f'{_key(shown.get(name, own.get(name, name)))} = "{layout_text(layout)}"'
        for name, layout in plan.layouts.items()
    ]
    lines += ["", "[outputs]"]
    lines += [f'{_key(name)} = "{layout_text(layout)}"' for name, layout in plan.outputs.items()]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return (
        name if re.fullmatch(r"[\w-]+", name, re.ASCII) else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    )


def _pin_line(pin: Pin) -> str:
    if pin.is_chain:
        return f'chain = "{str(pin).partition(":")[2]}"'
    if pin.whole:
        return (
            f'{_key(pin.value)} = "whole"'
            if not pin.split
            else f'{_key(pin.value)} = "{layout_text(Layout.of(dict(pin.split)))}"'
        )
    split = ", ".join(f'{_key(d)} = "{"+".join(axes)}"' for d, axes in pin.split)
    return f"{_key(pin.value)} = {{ {split} }}"


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
    pins = [_read_pin(n, v, _place(text, file, "pin", n)) for n, v in _table(table, "pin", text, file).items()]
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
    return PlanFile(_read_mesh(table, text, file), machine, tuple(pins), fixed or None)


def _table(table: Mapping[str, Any], section: str, text: str, file: str) -> Mapping[str, Any]:
    found = table.get(section, {})
    if not isinstance(found, dict):
        raise Diagnostic(
            "plan", f"[{section}] is not a table", where=_place(text, file, None, section), hint=f"write [{section}]"
        )
    return found


def _read_mesh(table: Mapping[str, Any], text: str, file: str) -> Mesh | None:
    found = table.get("mesh")
    if found is None:
        return None
    if isinstance(found, str):
        return Mesh.parse(found)
    axes = _table(table, "mesh", text, file)
    for name, size in axes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            where = _place(text, file, "mesh", name)
            raise Diagnostic("plan", f"mesh axis '{name}' has size {size!r}", where=where, hint=f"write {name} = 4")
    return Mesh(tuple(axes.items()))


def _read_pin(name: str, found: Any, where: str) -> Pin:
    if isinstance(found, dict):
        split = {d: _read_axes(name, d, axes, where) for d, axes in found.items()}
        return Pin(name, tuple(split.items()), where=where)
    if isinstance(found, str) and ("/" in found or found == "whole") and name != "chain":
        layout = parse_layout(found, where)
        return Pin(name, layout.splits, whole=True, partial=layout.partial or None, where=where)
    if isinstance(found, str):
        return parse_pin(f"{name}:{found}", where)
    raise Diagnostic(
        "plan", f"the pin of '{name}' is {found!r}", where=where, hint=f'write {name} = {{ x = "row" }} or "whole"'
    )


def _read_axes(name: str, dim: str, found: Any, where: str) -> tuple[str, ...]:
    if isinstance(found, str):
        return tuple(a.strip() for a in found.split("+")) if found.strip() else ()
    if isinstance(found, list) and all(isinstance(a, str) for a in found):
        return tuple(found)
    raise Diagnostic(
        "plan",
        f"the pin of '{name}' gives dim '{dim}' the axes {found!r}",
        where=where,
        hint=f'write {dim} = "row" or "row+col"',
    )


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
