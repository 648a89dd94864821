"""Eliminating dead code: what no output needs is not computed."""

from __future__ import annotations

from ..graph import Node, Program
from ..ops.sites import Site
from .rewrite import rewrite
from .trim_scans import trim_scans


def eliminate_dead(program: Program, *, keep_inputs: bool = True) -> Program:
    """The program without the nodes that no output and no site needs; `keep_inputs=False` drops unused inputs too.

    Sites are what a model says, so they stay. Of a scan only what is read stays (see `trim_scans`).
    """
    program = trim_scans(program)
    needed = needed_values(program)
    kept = rewrite(program, lambda node, scope: None, needed)
    if keep_inputs:
        return kept
    inputs = tuple(i for i in kept.inputs if i.name in needed)
    ties = {output: to for output, to in kept.ties.items() if to in needed}
    return Program(kept.name, inputs, kept.nodes, kept.outputs, ties)


def needed_values(program: Program) -> set[str]:
    """The names of all values that the outputs or a site depend on, regions included."""
    needed = {v.name for _, v in program.outputs}
    for node in reversed(program.nodes):
        if any(v.name in needed for v in node.results) or _says_something(node):
            needed |= {v.name for v in node.results}
            needed |= {v.name for v in node.operands}
            for region in node.op.regions():
                needed |= needed_values(region)
    return needed


def _says_something(node: Node) -> bool:
    """Whether the node is a site or holds one."""
    return isinstance(node.op, Site) or any(_says_something(n) for r in node.op.regions() for n in r.nodes)
