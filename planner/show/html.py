"""A plan as one HTML page: the graph, the memory, where the time goes, and everything known of every value.

The page is one file that loads nothing: data, styles and the scripts of `page/` are inside, and its own policy forbids
the rest. Folds and colours are decided here, once for all pictures; the scripts draw.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ir.errors import Diagnostic
from ir.graph import Program
from ir.plan import Plan

from ..machine import Machine
from ..plan_file import layout_text
from ..write import write_whole
from .boxes import fold
from .colours import legend
from .json import as_json
from .prices import Prices
from .table import format_plan, totals
from .units import bytes_text, seconds_text

PAGE = Path(__file__).with_name("page")
SCRIPTS = ("data.js", "tip.js", "layers.js", "scene.js", "graph.js", "panel.js", "memory.js", "tables.js", "start.js")
"""In the order in which they build on each other."""


def write_html(
    program: Program,
    plan: Plan,
    path: str | Path,
    names: Mapping[str, str] | None = None,
    machine: Machine | None = None,
    prices: Prices | None = None,
) -> Path:
    """Writes the page of a plan to a file. Raises `Diagnostic` where it cannot be written. See `html_page`."""
    try:
        write_whole(path, html_page(program, plan, names, machine, prices))
    except OSError as error:
        hint = "give a file in a folder that exists and that you may write to"
        raise Diagnostic("plan", f"the page cannot be written: {error.strerror}", where=str(path), hint=hint) from None
    return Path(path)


def html_page(
    program: Program,
    plan: Plan,
    names: Mapping[str, str] | None = None,
    machine: Machine | None = None,
    prices: Prices | None = None,
) -> str:
    """The page as text. `prices` adds to each value what its other layouts would cost."""
    data = as_json(program, plan, names, machine)
    shown = _prices(prices) if prices else None
    data["prices"], data["legend"] = shown, legend(data, shown["layouts"] if shown else ())
    data["folds"] = fold(program, plan)
    devices = "one device" if plan.mesh.devices == 1 else f"{plan.mesh.devices} devices"
    holes = {
        "title": escape(f"{program.name}: plan"),
        "heading": escape(program.name),
        "lead": escape(
            f"The plan of its program on mesh {plan.mesh}: {devices}, machine {plan.machine or 'not named'}"
        ),
        "facts": _facts(data),
        "table": escape(format_plan(program, plan, names, machine)),
        "style": (PAGE / "plan.css").read_text(encoding="utf-8") + _layout_styles(data["legend"]),
        "script": '"use strict";\n' + "\n".join((PAGE / s).read_text(encoding="utf-8") for s in SCRIPTS),
        "data": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        "footer": "Seconds and bytes are the planner's model of the machine, not measurements.",
    }
    page = (PAGE / "page.html").read_text(encoding="utf-8")
    parts = page.split("{{")
    return parts[0] + "".join(holes[name] + rest for name, _, rest in (part.partition("}}") for part in parts[1:]))


def _prices(prices: Prices) -> dict[str, Any]:
    """`Prices` in few bytes: by value pairs of a layout's number and the seconds more, with six digits."""
    layouts = {x: i for i, x in enumerate(dict.fromkeys(x for found in prices.extra.values() for x, _ in found))}
    return {
        "limit": prices.limit,
        "layouts": [layout_text(x) for x in layouts],
        "values": {
            name: [[layouts[x], None if extra is None else float(f"{extra:.6g}")] for x, extra in found]
            for name, found in prices.extra.items()
        },
    }


def _facts(data: Mapping[str, Any]) -> str:
    """The header: predicted seconds as a bar, and the lines that stand above the printed table."""
    found = dict(totals(data))
    p = data["prediction"]
    if p and p["seconds"] > 0:
        share = 100 * p["compute_seconds"] / p["seconds"]
        split = (
            f"{seconds_text(p['compute_seconds'])} computing, {seconds_text(p['communication_seconds'])} communicating"
        )
        bar = f'<span class="split" aria-hidden="true"><i style="width:{share:.1f}%"></i></span>'
        found["predicted"] = f"<b>{seconds_text(p['seconds'])}</b>{bar}{escape(split)}"
    if p:
        found["memory"] = f"<b>{bytes_text(p['peak_bytes'])}</b> per device at the peak"
    plain = {"proof", "sent", "pins"}
    return "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(text) if name in plain else text}</dd></div>"
        for name, text in found.items()
    )


def _layout_styles(layouts: Sequence[Mapping[str, Any]]) -> str:
    light = "".join(f".L{i} {{ --fill: {x['fill']}; --line-own: {x['line']}; }}\n" for i, x in enumerate(layouts))
    dark = "".join(
        f"  .L{i} {{ --fill: {x['dark_fill']}; --line-own: {x['dark_line']}; }}\n" for i, x in enumerate(layouts)
    )
    return f"{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n"
