"""What is done otherwise than a program says it, where the plan lets nodes follow each other in place.

Neighbouring 1-D transforms are one multi-dim call, and a sum takes a factor of its terms out. The plan is not changed
in what it says: where a reshard stands between two nodes, or of transforms another node reads what lies between, they
stay apart.
"""

from __future__ import annotations

from ir.graph import Node, Program
from ir.passes.join_transforms import join_transforms, neighbours
from ir.passes.scale_sums import Scaled, scale_sums, scaled
from ir.plan import Plan


def fuse_transforms(program: Program, plan: Plan) -> Program:
    """The program with transforms joined; its plan stays valid, since a joined node keeps the name of the last one."""
    return join_transforms(program, [v for v, pair in neighbours(program).items() if _in_place(*pair, plan)])


def take_factors(program: Program, plan: Plan) -> Program:
    """The program with sums of products with a number as products of the number; its plan stays valid."""
    return scale_sums(program, [key for key, one in scaled(program).items() if _lies_alike(one, plan)])


def _lies_alike(one: Scaled, plan: Plan) -> bool:
    """Whether tensor, product and what is summed are blocks of one layout, and none of them is computed again."""
    ((product, summed),) = plan.wanted(one.total)
    wanted = {v.name: layout for v, layout in plan.wanted(one.product)}
    lies = {summed, plan.layouts[product.name], wanted[one.tensor.name], plan.layouts[one.tensor.name]}
    return len(lies) == 1 and not plan.recompute


def _in_place(first: Node, second: Node, plan: Plan) -> bool:
    """Whether the second transform reads the first one's result as it is left, on the same split."""
    ((value, wanted),) = plan.wanted(second)
    a, b = plan.strategies[first.key], plan.strategies[second.key]
    return not plan.path(value, wanted) and a.splits == b.splits and a.carry == b.carry


__all__ = ["fuse_transforms", "take_factors"]
