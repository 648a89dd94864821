"""A program as a picture: SVG of our own making, or text for Graphviz.

Constants stand inside the box that uses them, so that what is drawn is what depends on something.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

import networkx as nx

from ir.graph import Node, Program, Value
from ir.op import Op
from ir.serial import attributes_of

from .layers import arrange

COLOURS = {
    "data": ("#dbe9f6", "#3b6ea5"),
    "latent": ("#fde6cf", "#c0651a"),
    "sample": ("#fde6cf", "#c0651a"),
    "generated": ("#ece4f4", "#7a5aa0"),
    "observe": ("#d5d9dd", "#3f4850"),
    "factor": ("#d5d9dd", "#3f4850"),
    "deterministic": ("#e2f0dc", "#4d8a3c"),
    "output": ("#e2f0dc", "#4d8a3c"),
    "op": ("#ffffff", "#8d969e"),
}
"""Fill and line of each kind of box."""
LEGEND = {
    "data": "data", "latent": "latent", "sample": "latent", "generated": "generated", "observe": "observed",
    "factor": "factor", "deterministic": "named", "output": "output",
}  # fmt: skip
CHARACTER, LINE, PAD = 7.0, 16.0, 10.0
"""Width of a character, height of a line, and room around text in a box [px]."""
INFIX = {"add": "+", "sub": "−", "mul": "×", "div": "/", "pow": "^", "lt": "<", "le": "≤", "eq": "=", "ne": "≠"}
SHORT = 40
"""Characters of a label line; a longer one is cut."""


@dataclass(frozen=True)
class Shown:
    """One box: its kind, its title and its type."""

    kind: str
    title: str
    type: str


def picture(program: Program) -> tuple[nx.DiGraph, dict[str, Shown]]:
    """The graph of a program's boxes by value name; a node's box has the name of its first result."""
    constants = {n.key: n.op.value for n in program.nodes if n.op.name == "constant"}  # type: ignore[attr-defined]
    owner = {v.name: n.key for n in program.nodes for v in n.results}
    graph, boxes = nx.DiGraph(), {}
    used = {v.name for n in program.nodes for v in n.operands} | {v.name for _, v in program.outputs}
    for i in program.inputs:
        if i.name in used:
            boxes[i.name] = Shown(i.role if i.role in COLOURS else "op", i.name, _type(i.value))
    for node in program.nodes:
        if node.key not in constants:
            boxes[node.key] = Shown(_kind(node), _title(node, constants), _type(node.results[0]))
    for name, value in program.outputs:
        boxes[f"output {name}"] = Shown("output", name, _type(value))
    graph.add_nodes_from(boxes)
    for node in program.nodes:
        if node.key not in constants:
            graph.add_edges_from(
                (owner.get(v.name, v.name), node.key) for v in node.operands if v.name not in constants
            )
    for name, value in program.outputs:
        if value.name not in constants:
            graph.add_edge(owner.get(value.name, value.name), f"output {name}")
    return graph, boxes


def _kind(node: Node) -> str:
    kind = "generated" if getattr(node.op, "generated", False) else node.op.name
    return kind if kind in COLOURS else "op"


def _title(node: Node, constants: dict[str, Any]) -> str:
    """What a box does, with the constants it uses: `mu ~ Normal(0, 10)`, `× 0.5`, `sum over obs`."""
    op: Any = node.op
    operands = [_number(constants[v.name]) if v.name in constants else "·" for v in node.operands]
    if dist := getattr(op, "dist", None):
        params = operands if op.name == "sample" else operands[1 : len(operands) - bool(op.masked)]
        return _cut(f"{op.site} ~ {dist.name}({', '.join(params)})")
    if hasattr(op, "site"):
        return _cut(f"factor {op.site}" if op.name == "factor" else op.site)
    if op.name in INFIX:
        return f"{operands[0]} {INFIX[op.name]} {operands[1]}"
    if op.name == "int_pow":
        return f"{operands[0]} ^ {op.exponent}"
    if op.name == "cast":
        return f"to {op.to}"
    inside = ", ".join(_attribute(k, v) for k, v in _attributes(op))
    numbers = f"({', '.join(operands)})" if set(operands) - {"·"} else ""
    return _cut(f"{op.name}{numbers}{f' {inside}' if inside else ''}")


def _attributes(op: Op) -> Iterator[tuple[str, Any]]:
    for name, value in attributes_of(op).items():
        if name not in ("dtype", "accumulate") and not isinstance(value, Program):
            yield name, value


def _attribute(name: str, value: Any) -> str:
    if isinstance(value, Op):
        return value.name
    shown = ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    return shown if name in ("over", "dim", "dims", "kind", "op", "sizes") else f"{name} = {shown}"


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _type(value: Value) -> str:
    dims = ", ".join(f"{d.name} {d.size}" for d in value.type.dims)
    return f"{value.type.dtype}[{dims}]" if dims else value.type.dtype


def _cut(text: str) -> str:
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"


def svg_text(program: Program) -> str:
    """The picture as an SVG file that needs nothing else."""
    graph, boxes = picture(program)
    sizes = {n: (CHARACTER * max(len(b.title), len(b.type) * 0.86) + 2 * PAD, 2 * LINE + PAD) for n, b in boxes.items()}
    drawing = arrange(graph, sizes)
    width, height = max(drawing.size[0] + 48, 360.0), drawing.size[1] + 104
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="ui-sans-serif, system-ui, sans-serif" font-size="13">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0.6 L8,4 L0,7.4 z" fill="#6b747c"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
        f'<text x="24" y="30" font-size="16" font-weight="600">{escape(program.name)}</text>',
        *_legend(boxes),
        '<g transform="translate(24,80)">',
    ]
    for (u, v), points in drawing.edges.items():
        parts.append(_edge(points, sizes[u][1] / 2, sizes[v][1] / 2))
    for name, box in boxes.items():
        parts += _box(box, *drawing.centres[name], *sizes[name])
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def _box(box: Shown, x: float, y: float, width: float, height: float) -> Iterator[str]:
    fill, line = COLOURS[box.kind]
    round_ = height / 2 if box.kind in ("sample", "latent", "observe", "generated") else 5
    yield (
        f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'rx="{round_:.0f}" fill="{fill}" stroke="{line}" stroke-width="1.4"/>'
    )
    yield f'<text x="{x:.1f}" y="{y - 2:.1f}" text-anchor="middle" fill="#14181c">{escape(box.title)}</text>'
    small = f'<text x="{x:.1f}" y="{y + 13:.1f}" text-anchor="middle" fill="#59626a" font-size="11">'
    yield f"{small}{escape(box.type)}</text>"


def _edge(points: list[tuple[float, float]], above: float, below: float) -> str:
    """A curve that leaves a box at its lower edge, runs straight through its bends and ends at an upper edge."""
    points = [(points[0][0], points[0][1] + above), *points[1:-1], (points[-1][0], points[-1][1] - below)]
    path = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(points):
        bend = (y1 - y0) * 0.45
        path += f" C{x0:.1f},{y0 + bend:.1f} {x1:.1f},{y1 - bend:.1f} {x1:.1f},{y1:.1f}"
    return f'<path d="{path}" fill="none" stroke="#6b747c" stroke-width="1.2" marker-end="url(#tip)"/>'


def _legend(boxes: dict[str, Shown]) -> Iterator[str]:
    there = {b.kind for b in boxes.values()}
    x = 24.0
    for kind, (fill, line) in COLOURS.items():
        if kind in there and kind in LEGEND:
            yield f'<rect x="{x:.0f}" y="44" width="12" height="12" rx="3" fill="{fill}" stroke="{line}"/>'
            yield f'<text x="{x + 18:.0f}" y="54" font-size="12" fill="#14181c">{LEGEND[kind]}</text>'
            x += 34 + CHARACTER * len(LEGEND[kind])


def dot_text(program: Program) -> str:
    """The picture in Graphviz's language: `dot -Tpdf` makes a file of it."""
    graph, boxes = picture(program)
    ids = {n: f"n{i}" for i, n in enumerate(boxes)}
    lines = [
        f'digraph "{_quoted(program.name)}" {{',
        '  node [shape=box, style="rounded,filled", fontname="Helvetica"];',
    ]
    for name, box in boxes.items():
        fill, line = COLOURS[box.kind]
        label = f"{_quoted(box.title)}\\n{_quoted(box.type)}"
        lines.append(f'  {ids[name]} [label="{label}", fillcolor="{fill}", color="{line}"];')
    lines += [f"  {ids[u]} -> {ids[v]};" for u, v in graph.edges]
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
