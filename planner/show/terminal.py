"""The plan as a table for a terminal: coloured by layout, fitted to the width, what nobody named folded away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ir.graph import Program
from ir.plan import Plan

from ..machine import Machine
from .colours import legend
from .json import as_json
from .table import collective_text, head_text, move_text, totals
from .units import bytes_text, seconds_text

FEW = 12
"""As many unnamed values without moves are shown; of more, none is."""
FORMS = (
    ("value", "type", "layout", "bytes", "by", "time", "moves", "where"),
    ("value", "type", "layout", "bytes", "by", "time", "moves"),
    ("value", "type*", "layout", "bytes", "by", "time", "moves"),
    ("value", "type*", "layout", "bytes", "by", "time", "moves*"),
    ("value", "type*", "layout", "bytes", "time", "moves*"),
    ("value", "layout", "bytes", "time", "moves*"),
    ("value", "layout", "bytes", "moves*"),
    ("value", "layout", "bytes"),
)
"""The columns of ever narrower tables: the first that fits is printed."""


def print_plan(
    program: Program,
    plan: Plan,
    names: Mapping[str, str] | None = None,
    machine: Machine | None = None,
    *,
    everything: bool = False,
    console: Console | None = None,
) -> None:
    """Prints a plan to a terminal. `everything` shows also the values that have neither a name nor a move."""
    console = console or Console(highlight=False)
    console.print(plan_view(as_json(program, plan, names, machine), console.width, everything))


def plan_view(data: Mapping[str, Any], width: int, everything: bool = False) -> RenderableType:
    """What `print_plan` prints, for a terminal of some width."""
    colours = {x["layout"]: x["line"] for x in legend(data)}
    shown, folded = _chosen(data, everything)
    parts: list[RenderableType] = [Text(head_text(data), style="bold")]
    parts += [Text(f"  {name:<10} ", style="dim").append(text, style="default not dim") for name, text in totals(data)]
    parts += [Text(), _table(data, shown, colours, width)]
    if folded:
        parts.append(Text(f"and {folded} values without a name and without moves; --all shows them", style="dim"))
    parts += [Text(), Text("collectives", style="bold")]
    parts += [Text(f"  {collective_text(c)}") for c in data["collectives"]] or [Text("  none")]
    return Group(*parts)


def _chosen(data: Mapping[str, Any], everything: bool) -> tuple[list[Mapping[str, Any]], int]:
    """The values to show, those with names first, and how many are folded away."""
    named = [v for v in data["values"] if v["named"]]
    rest = [v for v in data["values"] if not v["named"]]
    telling = [v for v in rest if any(m["bytes"] for m in v["moves"])]
    if everything or len(rest) - len(telling) <= FEW:
        return [*named, *rest], 0
    return [*named, *telling], len(rest) - len(telling)


def _table(
    data: Mapping[str, Any], values: Sequence[Mapping[str, Any]], colours: Mapping[str, str], width: int
) -> Table:
    cells = {name: [cell(v) for v in values] for name, cell in _columns(data, colours).items()}
    chosen = next((form for form in FORMS if _width(cells, form) <= width), FORMS[-1])
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in chosen:
        right = "right" if name in ("bytes", "time") else "left"
        table.add_column(name.removesuffix("*"), justify=right, no_wrap=True, overflow="ellipsis")
    for row in zip(*(cells[name] for name in chosen), strict=True):
        table.add_row(*row)
    return table


def _columns(data: Mapping[str, Any], colours: Mapping[str, str]) -> dict[str, Callable[[Mapping[str, Any]], Text]]:
    """Every column, by its heading; a star marks the shorter form."""
    cost = {r: n["seconds"] * n["trips"] for n in data["nodes"] if n["seconds"] is not None for r in n["results"][:1]}
    ops = {n["node"]: n["op"] for n in data["nodes"]}
    return {
        "value": lambda v: Text(v["name"], style="bold" if v["named"] else ""),
        "type": lambda v: Text(v["type"]),
        "type*": lambda v: Text(_short(v["type"])),
        "layout": lambda v: Text("■ ", style=colours[v["layout"]]).append(v["layout"], style="default"),
        "bytes": lambda v: Text(bytes_text(v["block_bytes"])),
        "by": lambda v: Text(ops.get(v["node"], v["by"])),
        "time": lambda v: Text(seconds_text(cost[v["value"]]) if v["value"] in cost else ""),
        "moves": lambda v: Text("\n".join(move_text(m) for m in v["moves"] if m["bytes"])),
        "moves*": lambda v: Text("\n".join(_brief(m) for m in v["moves"] if m["bytes"])),
        "where": lambda v: Text(v["where"], style="dim"),
    }


def _width(cells: Mapping[str, Sequence[Text]], form: Sequence[str]) -> int:
    """How wide a table of some columns is."""
    lines = {name: [name, *(line for cell in cells[name] for line in cell.plain.split("\n"))] for name in form}
    return sum(max(map(cell_len, found)) + 2 for found in lines.values()) - 2


def _brief(move: Mapping[str, Any]) -> str:
    """A move in a few letters: `all_to_all 894 us`."""
    return f"{move['kind']} {seconds_text(move['seconds'] * move['trips']) if move['seconds'] else ''}".rstrip()


def _short(kind: str) -> str:
    """A type without its sizes: `f32[x, y]`."""
    dtype, _, dims = kind.rstrip("]").partition("[")
    return f"{dtype}[{', '.join(d.partition('=')[0] for d in dims.split(', '))}]"
