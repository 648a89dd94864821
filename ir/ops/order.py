"""The one op that speaks of the order of dims: an output that must match an input in memory needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..build import emit
from ..dims import Dim, TensorType
from ..graph import Value
from ..op import Op
from ..place import align


@dataclass(frozen=True)
class Reorder(Op):
    """The same tensor with the dims named in `order` last, in that order; the others come first, as they stand."""

    order: tuple[str, ...]
    name: ClassVar[str] = "reorder"

    def result(self, x):
        named = [d for n in self.order for d in x.dims if d.name == n]
        return TensorType((*(d for d in x.dims if d.name not in self.order), *named), x.dtype)

    def linear(self, x):
        return ((0,),)

    def flops(self, x):
        return 0.0

    def local(self, place, x):
        return align(x, place.operands[0].names, place.results[0].names)

    def vjp(self, cotangent, result, x):
        return (emit(Reorder(x.dims), cotangent),)

    @classmethod
    def examples(cls):
        t = TensorType((Dim("x", 9), Dim("y", 10), Dim("z", 4)), "f64")
        return [(cls(("z", "x", "y")), (t,)), (cls(("y", "x")), (t,))]


def reorder(x: Value, order: tuple[str, ...]) -> Value:
    """x with its dims in an order; x itself where they stand so already."""
    op = Reorder(order)
    return x if op.result(x.type) == x.type else emit(op, x)
