"""Gradients of branches not taken: in where(x > 0, log(x), 0) an x below 0 has gradient 0, and not 0 times infinity.

A cotangent that comes from a branch of `where` alone is 0 where the other one was taken. Ops behind the branch multiply
it by their derivatives, which there may be infinite or no number. So such a cotangent carries the conditions under
which it counts, from elementwise op to elementwise op, and is selected anew where it leaves them: where it is added to
another one, summed over a dim that was broadcast, or handed to any other op.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..build import Builder
from ..errors import InternalError
from ..graph import Node, Value
from ..ops.elementwise import Cast, Elementwise, Linear, Where
from ..ops.reduce import within


@dataclass(frozen=True)
class Cotangent:
    """A cotangent, and the branches that it comes from: pairs of a condition and the side that counts.

    stale: whether it may be anything but 0 where they do not count.
    """

    value: Value
    branches: tuple[tuple[Value, bool], ...] = ()
    stale: bool = False

    def selected(self) -> Value:
        """The cotangent, 0 where it does not count."""
        return within(self.branches, self.value) if self.stale else self.value

    def plus(self, other: Cotangent) -> Cotangent:
        if self.branches == other.branches:
            return Cotangent(self.value + other.value, self.branches, self.stale or other.stale)
        return Cotangent(self.selected() + other.selected())


def pull_through(b: Builder, node: Node, given: Sequence[Cotangent | None]) -> list[Cotangent | None]:
    """The cotangents of a node's operands from those of its results."""
    if not isinstance(node.op, Elementwise):
        found = node.op.vjp_all(tuple(c and c.selected() for c in given), node.results, node.operands)
        pairs = zip(found, node.operands, strict=True)
        return [None if v is None else Cotangent(_conform(v, x, node)) for v, x in pairs]
    (outer,) = given
    assert outer is not None
    stale = outer.stale or not isinstance(node.op, Linear | Cast | Where)
    b.branches = outer.branches if stale else ()  # what is summed over a dim is selected before
    found = node.op.vjp_all((outer.value,), node.results, node.operands)
    b.branches = ()
    made: list[Cotangent | None] = []
    for i, (v, x) in enumerate(zip(found, node.operands, strict=True)):
        if v is None:
            made.append(None)
            continue
        v, branches = _conform(v, x, node), outer.branches
        if isinstance(node.op, Where):
            branches = (*branches, (node.operands[0], i == 1))
        whole = set(x.type.dims) == set(node.results[0].type.dims)
        made.append(Cotangent(v, branches, stale) if branches and whole else Cotangent(v))
    return made


def _conform(cotangent: Value, operand: Value, node: Node) -> Value:
    """A cotangent with the operand's dims in another order is fine; anything else is our mistake."""
    ct, t = cotangent.type, operand.type
    if ct != t and (set(ct.dims) != set(t.dims) or ct.dtype != t.dtype):
        raise InternalError(f"{node.op.name} gave a cotangent {ct} for an operand {t}")
    return cotangent


__all__ = ["Cotangent", "pull_through"]
