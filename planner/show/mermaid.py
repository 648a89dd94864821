"""The graph of a plan as a Mermaid flowchart, which many tools show inside Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from ir.graph import Program
from ir.plan import Plan

from ..machine import Machine
from .dot import PARTS, WIDEST
from .picture import Box, Picture, picture

SHAPES = {"input": ("([", "])"), "output": ("[[", "]]"), "node": ("[", "]")}


def mermaid_text(
    program: Program, plan: Plan, names: Mapping[str, str] | None = None, machine: Machine | None = None
) -> str:
    """The plan's graph: colours are layouts, dashed boxes partial sums, labels on arrows the moves."""
    drawn = picture(program, plan, names, machine)
    ids = {name: f"n{i}" for i, name in enumerate(drawn.boxes)}
    lines = ["flowchart TD"]
    for number, (part, title) in enumerate(PARTS.items()):
        body = list(_level(drawn, ids, part, None, "    "))
        if body:
            lines += [f"  subgraph part{number} [{_quoted(title)}]", *body, "  end"]
    most = max((a.bytes for a in drawn.arrows), default=0)
    styles = []
    for number, a in enumerate(drawn.arrows):
        label = f"|{_quoted(a.lines)}|" if a.lines else ""
        lines.append(f"  {ids[a.start]} -->{label} {ids[a.end]}")
        if a.lines:
            width = 1 + (WIDEST - 1) * math.sqrt(a.bytes / most) if most else 1.0
            styles.append(f"  linkStyle {number} stroke:#b4472e,stroke-width:{width:.2f}px")
    there = sorted({b.layout for b in drawn.boxes.values()})
    for i in there:
        layout = drawn.legend[i]
        dashes = ",stroke-dasharray:4 3" if layout["partial"] else ""
        lines.append(f"  classDef L{i} fill:{layout['fill']},stroke:{layout['line']},color:#1c2126{dashes}")
    return "\n".join([*lines, *styles]) + "\n"


def _level(drawn: Picture, ids: Mapping[str, str], part: str, scan: str | None, indent: str) -> Iterator[str]:
    for name, box in drawn.boxes.items():
        if box.inside == scan and box.part == part:
            yield f"{indent}{ids[name]}{_look(drawn, box)}"
    for number, (key, title) in enumerate(drawn.scans.items()):
        if drawn.around[key] == scan and drawn.parts[key] == part:
            yield f"{indent}subgraph scan{number} [{_quoted(title)}]"
            yield from _level(drawn, ids, part, key, indent + "  ")
            yield f"{indent}end"


def _look(drawn: Picture, box: Box) -> str:
    before, after = SHAPES[box.kind]
    return f"{before}{_quoted((*box.lines, drawn.legend[box.layout]['layout']))}{after}:::L{box.layout}"


def _quoted(text: str | tuple[str, ...]) -> str:
    """Text between quotes; whatever Mermaid, HTML or Markdown might read as a sign of its own is given by number."""
    lines = (text,) if isinstance(text, str) else text
    return '"' + "<br/>".join(re.sub(r"[^\w ,.:/+()\[\]=-]", lambda m: f"#{ord(m[0])};", line) for line in lines) + '"'
