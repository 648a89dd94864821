"""A program's nodes folded into boxes, so that a picture of several hundred nodes can be read.

Elementwise nodes of one line of the model whose results live in one layout are one box, where that leaves the graph
without cycles and no move between them. Whatever is not elementwise, or is a constant, or has a region, stands alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from ir.graph import Node, Program
from ir.layout import Layout
from ir.op import Map
from ir.plan import Plan

from .json import is_chosen, late_keys


@dataclass
class _Group:
    """Nodes in one box: their keys, what they have in common, and the boxes from which they take values."""

    members: list[str]
    kind: object
    named: bool
    sources: set[int]


def fold(program: Program, plan: Plan) -> list[list[str]]:
    """The boxes of two nodes and more, each as its node keys in the order of execution."""
    program = plan.applied(program)
    found: list[list[str]] = []
    _fold(program, plan, late_keys(program), found)
    return found


def _fold(program: Program, plan: Plan, late: set[str], found: list[list[str]]) -> None:
    groups: dict[int, _Group] = {}
    owner: dict[str, int] = {}
    for index, node in enumerate(program.nodes):
        for region in node.op.regions():
            _fold(region, plan, late, found)
        if node.op.name == "constant":
            continue
        kind = _kind(node, plan, late)
        near = {owner[v.name]: v.name for v in node.operands if v.name in owner}
        moved = {v.name for v, wanted in plan.wanted(node) if wanted != plan.layouts[v.name]}
        groups[index] = _Group([node.key], kind, is_chosen(node.key), set(near))
        owner |= {v.name: index for v in node.results}
        for source, value in near.items():
            here = owner[node.key]
            same = kind is not None and kind == groups[source].kind and value not in moved
            both_named = groups[source].named and groups[here].named
            if same and not both_named and not _reaches(groups, here, source):
                _merge(groups, owner, source, here)
    order = {n.key: i for i, n in enumerate(program.nodes)}
    found += [sorted(g.members, key=order.__getitem__) for g in groups.values() if len(g.members) > 1]


def _kind(node: Node, plan: Plan, late: set[str]) -> tuple[Layout, object, bool] | None:
    """What the nodes of a box have in common; None for a node that stands alone."""
    roles = node.op.roles(*node.types).values()
    if node.op.regions() or len(node.results) > 1 or not all(isinstance(r, Map) for r in roles):
        return None
    place = (node.span.source.file, node.span.line) if node.span else None
    return plan.layouts[node.key], place, node.key in late


def _reaches(groups: dict[int, _Group], here: int, source: int) -> bool:
    """Whether a path leads from `source` to `here` through another box: folding the two would make a cycle."""
    pending = [s for s in groups[here].sources if s != source]
    seen = set(pending)
    while pending:
        for s in groups[pending.pop()].sources:
            if s == source:
                return True
            if s not in seen:
                seen.add(s)
                pending.append(s)
    return False


def _merge(groups: dict[int, _Group], owner: dict[str, int], source: int, here: int) -> None:
    """Puts the box `here` into the box `source`; `owner` and the other boxes' sources learn of it."""
    into, gone = groups[source], groups.pop(here)
    into.members += gone.members
    into.named = into.named or gone.named
    into.sources |= gone.sources - {source}
    for group in groups.values():
        if here in group.sources:
            group.sources = (group.sources - {here}) | {source}
    owner |= {name: source for name, index in owner.items() if index == here}
