"""Doing transforms that follow each other in one multi-dim call.

Which pairs one call could do is said here; for which of them it does depends on the plan, since a reshard may stand
between the two (`backend_cuda.fuse`). What lies between the members of a joined pair is never made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from ..errors import InternalError
from ..graph import Node, Program
from ..op import Op
from ..ops.fft import FFT, IRFFT, RFFT


def join(first: Op, second: Op) -> Op | None:
    """One op that does both transforms; None where NumPy has no such call."""
    if isinstance(first, RFFT) and isinstance(second, FFT) and not second.inverse:
        return dataclasses.replace(first, also=(*second.pairs, *first.also))
    if isinstance(first, FFT) and isinstance(second, FFT) and first.inverse == second.inverse:
        return dataclasses.replace(second, also=(*first.pairs, *second.also))
    if isinstance(first, FFT) and first.inverse and isinstance(second, IRFFT):
        return dataclasses.replace(second, also=(*first.pairs, *second.also))
    return None


def neighbours(program: Program) -> dict[str, tuple[Node, Node]]:
    """The values between two transforms that one call could do, which nobody else reads: each with both nodes."""
    made = {v.name: n for n in program.nodes for v in n.results}
    uses, outputs = program.uses(), {v.name for _, v in program.outputs}
    found: dict[str, tuple[Node, Node]] = {}
    for second in program.nodes:
        if not isinstance(second.op, FFT | IRFFT):
            continue
        (between,) = second.operands
        first = made.get(between.name)
        alone = len(uses[between.name]) == 1 and between.name not in outputs
        if first is not None and alone and join(first.op, second.op) is not None:
            found[between.name] = first, second
    return found


def join_transforms(program: Program, between: Collection[str]) -> Program:
    """The program without the named values between neighbours; a joined node keeps the name of the last one."""
    nodes = {n.key: n for n in program.nodes}
    for name, (first, second) in neighbours(program).items():
        if name in between:
            before = nodes.pop(first.key)
            op = join(before.op, second.op)
            if op is None:
                raise InternalError(f"{before.op.name} and {second.op.name} are neighbours that cannot be joined")
            nodes[second.key] = Node(op, before.operands, second.results, second.span)
    return dataclasses.replace(program, nodes=tuple(nodes.values()))


__all__ = ["join", "join_transforms", "neighbours"]
