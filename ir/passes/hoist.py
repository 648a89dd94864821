"""Hoisting: what depends on the data alone is computed once, before sampling, and not at every step.

A value is worth storing where making it again costs more than reading it. Elementwise chains are fused into whatever
reads them, so they cost their sources and their arithmetic: `log(data)` is hoisted, while a product of two short data
vectors over a large grid, or a wavenumber made of coordinates, is not: it would fill memory to save nothing. What mixes
elements (sums, look-ups, transforms, scans) is always hoisted.
"""

from __future__ import annotations

import math

from ..build import Builder
from ..dims import TensorType
from ..graph import Node, Program, Value
from ..ops.create import Broadcast, Constant, Coordinate
from ..ops.elementwise import Cast, Elementwise
from ..ops.sites import Site
from .rewrite import with_fresh_regions

FLOPS_PER_BYTE = 1.0
"""Arithmetic that costs as much as moving one byte: a few on a CPU, whose logarithms are slow; about 20 on an H100."""


def hoist(program: Program) -> tuple[Program, Program]:
    """(prologue, main): the prologue's outputs are further data inputs of main, under the same names.

    The prologue takes data inputs only. Data inputs that main no longer reads are gone from it; where nothing is worth
    hoisting the prologue has no outputs.
    """
    fixed = {i.name for i in program.inputs_of("data")}
    for node in program.nodes:
        if all(v.name in fixed for v in node.operands) and not _has_site(node):
            fixed |= {v.name for v in node.results}
    hoisted = _choose(program, fixed)
    names = _names(program, hoisted)
    return _prologue(program, names), _main(program, fixed, names)


def _choose(program: Program, fixed: set[str]) -> set[str]:
    """The fixed values to store: those that main needs and that cost more to make than to read."""
    cost = {i.name: _bytes(i.type) for i in program.inputs}
    worth: set[str] = set()
    for node in program.nodes:
        if node.results[0].name in fixed:
            made = _cost(node, cost)
            worth |= {v.name for v in node.results if made > _bytes(v.type)}
            cost |= {v.name: min(made, _bytes(v.type)) for v in node.results}
    hoisted: set[str] = set()
    needed = {v.name for _, v in program.outputs}
    for node in reversed(program.nodes):
        names = {v.name for v in node.results}
        hoisted |= names & needed & worth
        if not names & fixed or names & needed - worth:
            needed |= {v.name for v in node.operands}
    return hoisted


def _cost(node: Node, cost: dict[str, float]) -> float:
    """What making a node's results costs within the kernel that reads them [bytes]; infinite where that cannot be."""
    if isinstance(node.op, Constant | Coordinate):
        return 0.0
    if not isinstance(node.op, Broadcast | Elementwise):
        return math.inf
    sources = sum(cost[name] for name in {v.name for v in node.operands})
    free = isinstance(node.op, Broadcast | Cast)
    return sources if free else sources + node.op.flops(*node.types) / FLOPS_PER_BYTE


def _bytes(t: TensorType) -> float:
    return float(t.size * t.itemsize)


def _has_site(node: Node) -> bool:
    return isinstance(node.op, Site) or any(_has_site(n) for region in node.op.regions() for n in region.nodes)


def _names(program: Program, hoisted: set[str]) -> dict[str, str]:
    """The input name of each hoisted value: its own, or a numbered one where nobody chose it."""
    taken = {v.name for n in program.walk() for v in n.results} | {i.name for i in program.inputs}
    names, count = {}, 0
    for value in (v for n in program.nodes for v in n.results if v.name in hoisted):
        if value.name.isdigit():
            while f"hoisted.{count}" in taken:
                count += 1
            taken.add(f"hoisted.{count}")
        names[value.name] = f"hoisted.{count}" if value.name.isdigit() else value.name
    return names


def _prologue(program: Program, names: dict[str, str]) -> Program:
    needed = set(names)
    for node in reversed(program.nodes):
        if any(v.name in needed for v in node.results):
            needed |= {v.name for v in node.operands}
    inputs = tuple(i for i in program.inputs if i.name in needed)
    nodes = tuple(n for n in program.nodes if any(v.name in needed for v in n.results))
    outputs = tuple((names[v.name], v) for n in nodes for v in n.results if v.name in names)
    return Program(f"{program.name}.prologue", inputs, nodes, outputs, {})


def _main(program: Program, fixed: set[str], names: dict[str, str]) -> Program:
    needed = {v.name for _, v in program.outputs}
    nodes: list[Node] = []
    for node in reversed(program.nodes):
        made = {v.name for v in node.results}
        if not made & fixed or made & needed - set(names):
            nodes.append(node)
            needed |= {v.name for v in node.operands}
    with Builder(program.name) as b:
        kept = [i for i in program.inputs if i.role != "data" or i.name in needed]
        env = {i.name: b.input(i.name, i.type, i.role) for i in kept}
        for value in (v for n in program.nodes for v in n.results if v.name in names):
            env[value.name] = b.input(names[value.name], value.type, "data")
        for node in reversed(nodes):
            operands = tuple(env[v.name] for v in node.operands)
            op, wished = with_fresh_regions(node.op, b), [v.name for v in node.results]
            results = b.emit_all(op, *operands, span=node.span, names=wished)
            new: dict[str, Value] = {old.name: v for old, v in zip(node.results, results, strict=True)}
            env |= {name: v for name, v in new.items() if name not in names}
        ties = {output: to for output, to in program.ties.items() if to in env}
        return b.finish({name: env[v.name] for name, v in program.outputs}, ties)
