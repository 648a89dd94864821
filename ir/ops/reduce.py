"""Reductions over named dims."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from ..build import cast, current, emit
from ..dims import DTYPES, Dim, TensorType, promote
from ..errors import Diagnostic
from ..graph import Value
from ..op import Op, Reduce


@dataclass(frozen=True)
class Reduction(Op):
    """The interface of reductions: `over` names the dims that go."""

    over: tuple[str, ...]

    kind: ClassVar[str] = "sum"

    def result(self, x: TensorType) -> TensorType:
        for dim in self.over:
            if dim not in x:
                have = ", ".join(x.names) or "no dims"
                raise Diagnostic(
                    "type",
                    f"cannot take the {self.name} over '{dim}': the tensor has [{have}]",
                    hint="a dim that is summed once is gone; reduce only over dims that the operand has",
                )
        return x.without(self.over)

    def roles(self, x):
        return {dim: Reduce(self.kind) for dim in self.over}

    def flops(self, x):
        return float(x.size)

    @classmethod
    def examples(cls):
        if "name" not in cls.__dict__:
            return []
        x, y, z = Dim("x", 9), Dim("y", 10), Dim("z", 11)
        return [(cls(("y",)), (TensorType((x, y), "f64"),)), (cls(("x", "z")), (TensorType((x, y, z), "f64"),))]


@dataclass(frozen=True)
class Sum(Reduction):
    """The sum over dims, added up in `accumulate` (f64 for energies) where that is given, which is also its dtype.

    times: what the sum is multiplied by.
    """

    accumulate: str | None = None
    times: float = 1.0
    name: ClassVar[str] = "sum"

    def result(self, x):
        kept = super().result(x).with_dtype(self.accumulate or x.dtype)
        if kept.dtype == "bool" or promote(x.dtype, kept.dtype) != kept.dtype:
            hint = "cast it first, or add up in a wider dtype"
            raise Diagnostic("type", f"cannot add up {x.dtype} in {kept.dtype}", hint=hint)
        return kept

    def linear(self, x):
        return ((0,),)

    def sums_by_place(self):
        return True

    def local(self, place, x):
        names, kept = place.operands[0].names, place.results[0]
        x = place.select(x, names, 0, self.over).astype(kept.numpy)
        total = place.sum(x, names, self.over, kept.numpy)
        return total if self.times == 1.0 else total * jnp.asarray(self.times, kept.numpy)

    def vjp(self, cotangent, result, x):
        from .create import Broadcast

        ct = cast(cotangent if self.times == 1.0 else self.times * cotangent, x.type.dtype)
        return (emit(Broadcast(tuple(d for d in x.type.dims if d.name in self.over)), ct),)

    @classmethod
    def examples(cls):
        x, y = Dim("x", 9), Dim("y", 10)
        types = (TensorType((x, y), "f32"),)
        return [*super().examples(), (cls(("x", "y"), "f64"), types), (cls(("y",), "f64", -0.5), types)]


@dataclass(frozen=True)
class MaxOver(Reduction):
    """The largest element over dims; its gradient goes in equal parts to the elements that attain it."""

    name: ClassVar[str] = "max"
    kind: ClassVar[str] = "max"

    def result(self, x):
        if x.is_complex or x.dtype == "bool":
            raise Diagnostic("type", f"max needs numbers in an order, but its operand is {x.dtype}")
        return super().result(x)

    def local(self, place, x):
        names = place.operands[0].names
        low = -jnp.inf if x.dtype.kind == "f" else jnp.iinfo(x.dtype).min
        x = place.select(x, names, low, self.over)
        return jnp.max(x, axis=tuple(names.index(d) for d in self.over))

    def vjp(self, cotangent, result, x):
        from .create import Broadcast
        from .elementwise import Eq

        hits = cast(emit(Eq(), x, result), x.type.dtype)
        share = cotangent / emit(Sum(self.over), hits)
        dims = tuple(d for d in x.type.dims if d.name in self.over)
        return (hits * emit(Broadcast(dims), share),)


def unbroadcast(cotangent: Value, target: TensorType) -> Value:
    """A cotangent brought to the type of the operand it belongs to: summed over the dims that were broadcast."""
    missing = tuple(d for d in cotangent.dims if d not in target)
    if missing:
        cotangent = emit(Sum(missing), within(current().branches, cotangent))
    return cast(cotangent, target.dtype)


def within(branches: Iterable[tuple[Value, bool]], cotangent: Value) -> Value:
    """A cotangent, 0 but where each condition has its value."""
    from .elementwise import Where, ZerosLike

    for condition, side in branches:
        zero = emit(ZerosLike(), cotangent)
        cotangent = emit(Where(), condition, *((cotangent, zero) if side else (zero, cotangent)))
    return cotangent


__all__ = ["DTYPES", "MaxOver", "Reduction", "Sum", "unbroadcast", "within"]
