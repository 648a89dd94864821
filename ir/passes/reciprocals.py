"""A tensor divided by one of fewer dims is multiplied by its reciprocal, which is small and computed once.

XLA does so for some divisions of a program and not for others, by how it was split; done here, kernels and memory are
the same on one device and on many. The result is one rounding further off.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import Node, Program, Value
from ..ops.create import Constant
from ..ops.elementwise import Div
from .rewrite import Scope, rewrite


def take_reciprocals(program: Program) -> Program:
    """The program without divisions of a tensor by one that lacks dims of it; constants are left to the compiler."""
    return rewrite(program, _rule)


def _rule(node: Node, scope: Scope) -> Sequence[Value] | None:
    if not isinstance(node.op, Div) or node.results[0].type.is_complex:
        return None
    x, y = node.operands
    if not set(y.dims) < set(x.dims) or isinstance(scope.op(y), Constant):
        return None
    return (x * (1.0 / y),)
