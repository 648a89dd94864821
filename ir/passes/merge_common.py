"""Merging common subexpressions: the same op on the same operands is computed once (value numbering)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph import Node, Program, Value
from ..ops.create import Constant
from ..ops.sites import Site
from .rewrite import Scope, rewrite

_COMMUTATIVE = frozenset({"add", "mul", "maximum", "minimum", "and", "or", "eq", "ne"})


def merge_common(program: Program) -> Program:
    """The program with equal nodes merged, region by region. Ops are pure, draws too: their key is an operand.

    Sites stay apart: two of them are two statements of the model, whatever they say.
    """
    return rewrite(program, _merge)


def _merge(node: Node, scope: Scope) -> Sequence[Value] | None:
    if isinstance(node.op, Site):
        return None
    key = _key(node)
    try:
        known = scope.notes.get(key)
    except TypeError:  # a parameter without a hash: nothing to compare by
        return None
    if known is None:
        known = scope.notes[key] = scope.keep(node)
    return known


def _key(node: Node) -> tuple[Any, ...]:
    if isinstance(node.op, Constant):  # 0.0 == -0.0 and nan != nan, but not in writing
        return Constant, repr(node.op.value), node.op.dtype
    names = tuple(v.name for v in node.operands)
    if node.op.name in _COMMUTATIVE and node.operands[0].type == node.operands[1].type:
        names = tuple(sorted(names))
    return node.op, names
