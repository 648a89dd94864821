"""Doing neighbouring 1-D transforms in one multi-dim call, where the plan lets them follow each other in place.

The plan is not changed in what it says: where a reshard stands between two transforms, or another node reads what lies
between, they stay apart.
"""

from __future__ import annotations

from ir.graph import Node, Program
from ir.passes.join_transforms import join_transforms, neighbours
from ir.plan import Plan


def fuse_transforms(program: Program, plan: Plan) -> Program:
    """The program with transforms joined; its plan stays valid, since a joined node keeps the name of the last one."""
    return join_transforms(program, [v for v, pair in neighbours(program).items() if _in_place(*pair, plan)])


def _in_place(first: Node, second: Node, plan: Plan) -> bool:
    """Whether the second transform reads the first one's result as it is left, on the same split."""
    ((value, wanted),) = plan.wanted(second)
    a, b = plan.strategies[first.key], plan.strategies[second.key]
    return not plan.path(value, wanted) and a.splits == b.splits and a.carry == b.carry


__all__ = ["fuse_transforms"]
