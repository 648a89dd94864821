"""Dropping inverses: once gradients are taken, or where none will be, nobody reads how a scan's steps are undone."""

from __future__ import annotations

import dataclasses

from ..graph import Node, Program
from ..ops.control import has_inverse


def drop_inverses(program: Program) -> Program:
    """The program without the inverses of its scans, which never run as they stand; itself where it has none.

    Such scans are then like any other: their form for a gradient has nothing that it keeps.
    """
    if not any(has_inverse(n.op) for n in program.walk()):
        return program
    return dataclasses.replace(program, nodes=tuple(_without(n) for n in program.nodes))


def _without(node: Node) -> Node:
    op = node.op
    if has_inverse(op):
        op = dataclasses.replace(op, inverse=None, active=())  # type: ignore[call-arg]
    if regions := op.regions():
        op = op.with_regions(*map(drop_inverses, regions))
    return node if op is node.op else dataclasses.replace(node, op=op)
