"""The graph of a plan in Graphviz's language: `dot -Tsvg` makes a picture of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from ir.graph import Program
from ir.plan import Plan

from ..machine import Machine
from .picture import Box, Picture, picture

PARTS = {"forward": "forward", "gradient": "gradient (backward)"}
WIDEST = 7.0
"""The line of the move with most bytes [points]."""


def dot_text(
    program: Program, plan: Plan, names: Mapping[str, str] | None = None, machine: Machine | None = None
) -> str:
    """The plan's graph: colours are layouts, striped boxes partial sums, labels on arrows the moves."""
    drawn = picture(program, plan, names, machine)
    ids = {name: f"n{i}" for i, name in enumerate(drawn.boxes)}
    most = max((a.bytes for a in drawn.arrows), default=0)
    lines = [
        f"digraph {_quoted(drawn.name)} {{",
        '  graph [rankdir=TB, compound=true, fontname="Helvetica"];',
        '  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=11];',
        '  edge [color="#a3adb5", fontname="Helvetica", fontsize=9];',
        *_legend(drawn),
    ]
    for number, (part, title) in enumerate(PARTS.items()):
        body = list(_level(drawn, ids, part, None, "    "))
        if body:
            lines += [f"  subgraph cluster_part{number} {{", f'    label="{title}"; color="#d9dee3";', *body, "  }"]
    for a in drawn.arrows:
        style = ""
        if a.lines:
            width = 1 + (WIDEST - 1) * math.sqrt(a.bytes / most) if most else 1.0
            label = "\\n".join(map(_escaped, a.lines))
            style = f' [label="{label}", color="#b4472e", fontcolor="#b4472e", penwidth={width:.2f}]'
        lines.append(f"  {ids[a.start]} -> {ids[a.end]}{style};")
    return "\n".join([*lines, "}"]) + "\n"


def _level(drawn: Picture, ids: Mapping[str, str], part: str, scan: str | None, indent: str) -> Iterator[str]:
    """The boxes of one part on one level, scans as clusters in it."""
    for name, box in drawn.boxes.items():
        if box.inside == scan and box.part == part:
            yield f"{indent}{ids[name]} [{_look(drawn, box)}];"
    for number, (key, title) in enumerate(drawn.scans.items()):
        if drawn.around[key] == scan and drawn.parts[key] == part:
            yield f"{indent}subgraph cluster_scan{number} {{"
            yield f'{indent}  label={_quoted(title)}; color="#5b6670";'
            yield from _level(drawn, ids, part, key, indent + "  ")
            yield f"{indent}}}"


def _look(drawn: Picture, box: Box) -> str:
    layout = drawn.legend[box.layout]
    label = "\\n".join(_escaped(line) for line in (*box.lines, layout["layout"]))
    shape = {"input": "shape=ellipse, ", "output": "penwidth=2.5, "}.get(box.kind, "")
    fill = f'fillcolor="{layout["fill"]}"'
    if layout["partial"]:
        shape, fill = shape.replace("shape=ellipse, ", ""), f'style="striped", fillcolor="{_stripes(layout["fill"])}"'
    return f'label="{label}", {shape}{fill}, color="{layout["line"]}"'


def _stripes(fill: str) -> str:
    return ":".join([fill, "#ffffff"] * 4)


def _legend(drawn: Picture) -> Iterator[str]:
    """One box for each layout that is drawn."""
    there = {b.layout for b in drawn.boxes.values()}
    yield "  subgraph cluster_legend {"
    yield '    label="layouts"; color="#d9dee3";'
    for i, layout in enumerate(drawn.legend):
        if i in there:
            fill = f'fillcolor="{layout["fill"]}"'
            if layout["partial"]:
                fill = f'style="striped", fillcolor="{_stripes(layout["fill"])}"'
            yield f'    l{i} [label={_quoted(layout["layout"])}, {fill}, color="{layout["line"]}"];'
    yield "  }"


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
