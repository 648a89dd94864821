"""The graph of a plan as boxes and arrows, for tools that draw graphs: what `dot.py` and `mermaid.py` write.

Constants are left out and elementwise nodes are folded (`boxes.py`); the body of a scan is a box of boxes, and the
values that enter and leave it are joined to what they are inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ir.graph import Program
from ir.plan import Plan

from ..machine import Machine
from .boxes import fold
from .colours import legend
from .json import as_json
from .table import move_text
from .units import bytes_text

SHORT = 40
"""Characters of a model's line that a box shows."""


@dataclass(frozen=True)
class Box:
    """One box: its lines of text, its layout's place in the legend, its part of the program, and the scan around it."""

    kind: str
    lines: tuple[str, ...]
    layout: int
    part: str
    inside: str | None


@dataclass(frozen=True)
class Arrow:
    """One arrow, with the moves on it as lines of text and the bytes of the largest one."""

    start: str
    end: str
    lines: tuple[str, ...] = ()
    bytes: int = 0


@dataclass(frozen=True)
class Picture:
    """Boxes by an id of their own, arrows between ids, the scans by key, and the layouts' colours."""

    name: str
    boxes: Mapping[str, Box]
    arrows: tuple[Arrow, ...]
    scans: Mapping[str, str]
    """The title of each scan."""
    around: Mapping[str, str | None]
    """The scan in which each scan stands."""
    parts: Mapping[str, str]
    """The part of the program of each scan."""
    legend: tuple[Mapping[str, Any], ...]


def picture(
    program: Program, plan: Plan, names: Mapping[str, str] | None = None, machine: Machine | None = None
) -> Picture:
    """The picture of a plan; the same one for the same plan."""
    data = as_json(program, plan, names, machine)
    layouts = legend(data)
    drawn = _Drawing(data, fold(program, plan), {x["layout"]: i for i, x in enumerate(layouts)})
    scans = {n["node"]: n for n in data["nodes"] if "body" in n}
    return Picture(
        data["program"],
        drawn.boxes,
        tuple(drawn.arrows()),
        {key: f"{n['op']}, {n['body']['trips']:,} trips" for key, n in scans.items()},
        {key: n["inside"] for key, n in scans.items()},
        {key: n["part"] for key, n in scans.items()},
        tuple(layouts),
    )


class _Drawing:
    """The boxes, and for each value the box that makes it."""

    def __init__(self, data: Mapping[str, Any], folds: list[list[str]], layouts: Mapping[str, int]):
        self.data, self.layouts = data, layouts
        self.values = {v["value"]: v for v in data["values"]}
        self.nodes = {n["node"]: n for n in data["nodes"]}
        self.constants = {r for n in data["nodes"] if n["op"] == "constant" for r in n["results"]}
        self.members = {key: members for members in folds for key in members}
        self.boxes: dict[str, Box] = {}
        self.made_by: dict[str, str] = {}
        self.level = {i: n["node"] for n in data["nodes"] if "body" in n for i in n["body"]["inputs"]}
        self._inputs()
        self._nodes()
        self._outputs()

    def _inputs(self) -> None:
        used = {e["value"] for e in self.data["edges"]}
        for v in self.data["values"]:
            if v["node"] is None and v["value"] in used:
                scan = self.level.get(v["value"])
                part = self.nodes[scan]["part"] if scan else self._part_of_uses(v["value"])
                self._add(f"input {v['value']}", "input", (v["name"], v["type"]), v["layout"], part, scan)
                self.made_by[v["value"]] = f"input {v['value']}"

    def _part_of_uses(self, value: str) -> str:
        parts = {self.nodes[e["node"]]["part"] for e in self.data["edges"] if e["value"] == value and e["node"]}
        return parts.pop() if len(parts) == 1 else "forward"

    def _nodes(self) -> None:
        for n in self.data["nodes"]:
            if n["results"][0] in self.constants:
                continue
            if "body" in n:
                inner = [f"output {n['body']['region']}:{name}" for name in n["body"]["outputs"]]
                self.made_by |= dict(zip(n["results"], inner, strict=False))
                continue
            members = self.members.get(n["node"], [n["node"]])
            self.made_by |= {r: f"node {members[0]}" for r in n["results"]}
            if members[0] == n["node"]:
                shown = [self.values[r] for m in members for r in self.nodes[m]["results"]]
                self._add(
                    f"node {n['node']}",
                    "node",
                    self._title(members, shown),
                    shown[-1]["layout"],
                    n["part"],
                    n["inside"],
                )

    def _title(self, members: list[str], shown: list[Mapping[str, Any]]) -> tuple[str, ...]:
        """The user's name, or for a fold its line of the model; what is computed; the type."""
        ops = [self.nodes[m]["op"] for m in members]
        what = ops[0] if len(ops) == 1 else f"{len(ops)} nodes: {', '.join(ops[:3])}{', …' if len(ops) > 3 else ''}"
        head = ", ".join(v["name"] for v in shown if v["named"])
        if not head and len(ops) > 1:
            source = self.nodes[members[0]]["source"]
            head = source if len(source) <= SHORT else source[: SHORT - 1] + "…"
        return (*([head] if head else []), what, shown[-1]["type"])

    def _outputs(self) -> None:
        for e in self.data["edges"]:
            if e["node"] is None:
                v = self.values[e["value"]]
                maker = self.nodes.get(v["node"]) if v["node"] else None
                scan = maker["inside"] if maker else self.level.get(e["value"])
                part = maker["part"] if maker else "forward"
                self._add(e["to"], "output", (e["to"], v["type"]), e["layout"], part, scan)

    def _add(self, name: str, kind: str, lines: tuple[str, ...], layout: str, part: str, inside: str | None) -> None:
        self.boxes[name] = Box(kind, lines, self.layouts[layout], part, inside)

    def arrows(self) -> Iterator[Arrow]:
        found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for e in self.data["edges"]:
            if e["value"] in self.constants:
                continue
            for end in self._ends(e):
                start = self.made_by[e["value"]]
                if start != end:
                    found.setdefault((start, end), []).append(e)
        for (start, end), edges in found.items():
            lines = tuple(dict.fromkeys(t for e in edges for t in _lines(e)))
            sizes = [m["bytes"] for e in edges for m in e["moves"]]
            yield Arrow(start, end, lines, max(sizes, default=0))

    def _ends(self, edge: Mapping[str, Any]) -> list[str]:
        """The boxes at which a use of a value arrives: for a scan, what the value is inside."""
        if edge["node"] is None:
            return [edge["to"]]
        node = self.nodes[edge["node"]]
        if "body" not in node:
            return [f"node {self.members.get(edge['node'], [edge['node']])[0]}"]
        inner = zip(node["operands"], node["body"]["inputs"], strict=True)
        ends = [i for o, i in inner if o == edge["value"] and self.values[i]["layout"] == edge["layout"]]
        return [self.made_by[i] for i in ends if i in self.made_by]


def _lines(edge: Mapping[str, Any]) -> Iterator[str]:
    for m in edge["moves"]:
        shared = not edge["paid"] and m["kind"] not in ("halo", "pass", "slice", "spill")
        yield f"{m['move']} {bytes_text(m['bytes'])}, shared" if shared else move_text(m)
