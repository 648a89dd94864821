"""Doing neighbouring 1-D transforms in one multi-dim call, where the plan lets them follow each other in place.

The plan is not changed in what it says: where a reshard stands between two transforms, or another node reads what lies
between, they stay apart.
"""

from __future__ import annotations

import dataclasses

from ir.graph import Node, Program
from ir.op import Op
from ir.ops.fft import FFT, IRFFT, RFFT
from ir.plan import Plan


def fuse_transforms(program: Program, plan: Plan) -> Program:
    """The program with transforms joined; its plan stays valid, since a joined node keeps the name of the last one."""
    uses = program.uses()
    outputs = {v.name for _, v in program.outputs}
    made: dict[str, Node] = {}
    gone: set[str] = set()
    nodes: list[Node] = []
    for node in program.nodes:
        if isinstance(node.op, FFT | IRFFT) and (before := made.get(node.operands[0].name)):
            between = node.operands[0]
            op = join(before.op, node.op)
            alone = len(uses[between.name]) == 1 and between.name not in outputs
            if op is not None and alone and _in_place(before, node, plan):
                gone.add(before.key)
                node = Node(op, before.operands, node.results, node.span)
        made[node.key] = node
        nodes.append(node)
    return dataclasses.replace(program, nodes=tuple(n for n in nodes if n.key not in gone))


def join(first: Op, second: Op) -> Op | None:
    """One op that does both transforms; None where NumPy has no such call."""
    if isinstance(first, RFFT) and isinstance(second, FFT) and not second.inverse:
        return dataclasses.replace(first, also=(*second.pairs, *first.also))
    if isinstance(first, FFT) and isinstance(second, FFT) and first.inverse == second.inverse:
        return dataclasses.replace(second, also=(*first.pairs, *second.also))
    if isinstance(first, FFT) and first.inverse and isinstance(second, IRFFT):
        return dataclasses.replace(second, also=(*first.pairs, *second.also))
    return None


def _in_place(first: Node, second: Node, plan: Plan) -> bool:
    """Whether the second transform reads the first one's result as it is left, on the same split."""
    ((value, wanted),) = plan.wanted(second)
    a, b = plan.strategies[first.key], plan.strategies[second.key]
    return not plan.path(value, wanted) and a.splits == b.splits and a.carry == b.carry


__all__ = ["fuse_transforms", "join"]
