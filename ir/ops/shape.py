"""Ops that rename, cut, join and accumulate along dims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from ..build import emit
from ..dims import Dim, TensorType, union
from ..errors import Diagnostic
from ..op import Op, Whole
from ..place import align
from .reduce import unbroadcast


def check_has(op: Op, x: TensorType, dim: str) -> TensorType:
    """The tensor type, refused where it lacks the dim that the op works along."""
    if dim not in x:
        raise Diagnostic(
            "type", f"{op.name} works along '{dim}', but the tensor has [{', '.join(x.names) or 'no dims'}]"
        )
    return x


def check_free(op: Op, x: TensorType, new: str, *gone: str) -> TensorType:
    """The tensor type, refused where it already has the dim that the op makes."""
    if new in x and new not in gone:
        hint = "rename that one first, or choose another name for the new dim"
        raise Diagnostic("type", f"{op.name} makes dim '{new}', but the tensor has one of that name", hint=hint)
    return x


@dataclass(frozen=True)
class Rename(Op):
    """The same tensor with dim `old` called `new`."""

    old: str
    new: str
    name: ClassVar[str] = "rename"

    def result(self, x):
        check_free(self, check_has(self, x, self.old), self.new, self.old)
        return x.replace(self.old, Dim(self.new, x[self.old]))

    def renames(self):
        return {self.old: self.new}

    def linear(self, x):
        return ((0,),)

    def flops(self, x):
        return 0.0

    def local(self, place, x):
        return x

    def vjp(self, cotangent, result, x):
        return (emit(Rename(self.new, self.old), cotangent),)

    @classmethod
    def examples(cls):
        return [(cls("x", "u"), (TensorType((Dim("x", 9), Dim("y", 10)), "f64"),))]


@dataclass(frozen=True)
class Slice(Op):
    """The elements `range(start, stop, step)` of `dim`, along `new` (the same name where it is empty).

    A negative step reverses, as `range` does: `Slice("x", n - 1, -1, -1)` is the mirror image.
    """

    dim: str
    start: int
    stop: int
    step: int = 1
    new: str = ""
    name: ClassVar[str] = "slice"

    @property
    def made(self) -> str:
        return self.new or self.dim

    @property
    def positions(self) -> range:
        return range(self.start, self.stop, self.step)

    def result(self, x):
        check_free(self, check_has(self, x, self.dim), self.made, self.dim)
        check_positions(self.positions, self.dim, x[self.dim])
        return x.replace(self.dim, Dim(self.made, len(self.positions)))

    def renames(self):
        return {self.dim: self.made} if self.made != self.dim else {}

    def roles(self, x):
        return {self.dim: Whole(), self.made: Whole()}

    def linear(self, x):
        return ((0,),)

    def flops(self, x):
        return 0.0

    def local(self, place, x):
        return x[_along(place.operands[0].index(self.dim), self.positions)]

    def vjp(self, cotangent, result, x):
        whole = Dim(self.dim, x.type[self.dim])
        return (emit(Embed(self.made, self.start, self.stop, self.step, whole), cotangent),)

    @classmethod
    def examples(cls):
        x, y = Dim("x", 9), Dim("y", 10)
        box = (TensorType((x, y), "f64"),)
        return [(cls("y", 2, 9, 3, "u"), box), (cls("x", 8, -1, -1), box), (cls("x", 1, 9), box)]


@dataclass(frozen=True)
class Embed(Op):
    """A dim placed at the positions `range(start, stop, step)` of a longer one, zero elsewhere: a slice's transpose."""

    dim: str
    start: int
    stop: int
    step: int
    into: Dim
    name: ClassVar[str] = "embed"

    @property
    def positions(self) -> range:
        return range(self.start, self.stop, self.step)

    def result(self, x):
        check_free(self, check_has(self, x, self.dim), self.into.name, self.dim)
        check_positions(self.positions, self.into.name, self.into.size)
        if len(self.positions) != x[self.dim]:
            raise Diagnostic("type", f"cannot embed {x[self.dim]} elements at {len(self.positions)} positions")
        return x.replace(self.dim, self.into)

    def renames(self):
        return {self.dim: self.into.name} if self.into.name != self.dim else {}

    def roles(self, x):
        return {self.dim: Whole(), self.into.name: Whole()}

    def linear(self, x):
        return ((0,),)

    def local(self, place, x):
        axis = place.operands[0].index(self.dim)
        shape = (*x.shape[:axis], self.into.size, *x.shape[axis + 1 :])
        return jnp.zeros(shape, x.dtype).at[_along(axis, self.positions)].set(x)

    def vjp(self, cotangent, result, x):
        return (emit(Slice(self.into.name, self.start, self.stop, self.step, self.dim), cotangent),)

    @classmethod
    def examples(cls):
        box = (TensorType((Dim("x", 9), Dim("u", 3)), "f64"),)
        return [(cls("u", 2, 9, 3, Dim("y", 10)), box), (cls("u", 2, -1, -1, Dim("u", 4)), box)]


def check_positions(positions: range, dim: str, size: int) -> None:
    """Refuses an empty range, and positions outside a dim."""
    if not positions:
        raise Diagnostic("type", f"the slice {_show(positions)} of '{dim}' is empty")
    if not (0 <= positions[0] < size and 0 <= positions[-1] < size):
        hint = f"positions count from 0: the last one is {size - 1}"
        raise Diagnostic("type", f"the slice {_show(positions)} leaves dim '{dim}', which has size {size}", hint=hint)


def _show(positions: range) -> str:
    step = f":{positions.step}" if positions.step != 1 else ""
    return f"{positions.start}:{positions.stop}{step}"


def _along(axis: int, positions: range) -> tuple[slice, ...]:
    """An index that takes `positions` along one axis; a range that runs down past 0 stops at None."""
    stop = positions.stop if positions.stop >= 0 else None
    return (*(slice(None) for _ in range(axis)), slice(positions.start, stop, positions.step))


@dataclass(frozen=True)
class Concatenate(Op):
    """Tensors joined end to end: operand i along its dim `parts[i]`, the result along `new`; other dims broadcast."""

    parts: tuple[str, ...]
    new: str
    name: ClassVar[str] = "concatenate"

    def result(self, *operands):
        if len(operands) != len(self.parts) or not operands:
            raise Diagnostic("type", f"concatenate names {len(self.parts)} dims for {len(operands)} operands")
        if len({t.dtype for t in operands}) > 1:
            raise Diagnostic("type", f"cannot concatenate {' with '.join(dict.fromkeys(t.dtype for t in operands))}")
        for t, dim in zip(operands, self.parts, strict=True):
            check_free(self, check_has(self, t, dim), self.new, dim)
        joined = Dim(self.new, sum(t[dim] for t, dim in zip(operands, self.parts, strict=True)))
        moved = (t.replace(dim, joined) for t, dim in zip(operands, self.parts, strict=True))
        return TensorType(union(*moved), operands[0].dtype)

    def renames(self):
        return {dim: self.new for dim in self.parts if dim != self.new}

    def roles(self, *operands):
        return {dim: Whole() for dim in (*self.parts, self.new)}

    def linear(self, *operands):
        return (tuple(range(len(operands))),)

    def flops(self, *operands):
        return 0.0

    def local(self, place, *blocks):
        wanted = place.results[0].names
        axis = wanted.index(self.new)
        shape = [place.extent(d) for d in wanted]
        pieces = []
        for block, t, dim in zip(blocks, place.operands, self.parts, strict=True):
            piece = align(block, [self.new if d == dim else d for d in t.names], wanted)
            pieces.append(jnp.broadcast_to(piece, (*shape[:axis], t[dim], *shape[axis + 1 :])))
        return jnp.concatenate(pieces, axis)

    def vjp(self, cotangent, result, *operands):
        start, found = 0, []
        for x, dim in zip(operands, self.parts, strict=True):
            stop = start + x.type[dim]
            found.append(unbroadcast(emit(Slice(self.new, start, stop, 1, dim), cotangent), x.type))
            start = stop
        return tuple(found)

    @classmethod
    def examples(cls):
        a, b, y = Dim("a", 3), Dim("b", 4), Dim("y", 10)
        return [
            (cls(("a", "b"), "x"), (TensorType((a, y), "f64"), TensorType((y, b), "f64"))),
            (cls(("a", "a", "b"), "a"), (TensorType((a,), "f64"), TensorType((a, y), "f64"), TensorType((b,), "f64"))),
        ]


@dataclass(frozen=True)
class Stack(Op):
    """Tensors side by side along a new dim, which comes last; other dims broadcast by name."""

    new: str
    name: ClassVar[str] = "stack"

    def result(self, *operands):
        if not operands:
            raise Diagnostic("type", "stack needs at least one operand")
        if len({t.dtype for t in operands}) > 1:
            raise Diagnostic("type", f"cannot stack {' with '.join(dict.fromkeys(t.dtype for t in operands))}")
        for t in operands:
            check_free(self, t, self.new)
        return TensorType((*union(*operands), Dim(self.new, len(operands))), operands[0].dtype)

    def roles(self, *operands):
        return {self.new: Whole()}

    def linear(self, *operands):
        return (tuple(range(len(operands))),)

    def flops(self, *operands):
        return 0.0

    def local(self, place, *blocks):
        wanted = place.results[0].names[:-1]
        shape = tuple(place.extent(d) for d in wanted)
        pieces = (align(b, t.names, wanted) for b, t in zip(blocks, place.operands, strict=True))
        return jnp.stack([jnp.broadcast_to(p, shape) for p in pieces], axis=-1)

    def vjp(self, cotangent, result, *operands):
        pieces = (emit(Slice(self.new, i, i + 1), cotangent) for i in range(len(operands)))
        return tuple(unbroadcast(p, x.type) for p, x in zip(pieces, operands, strict=True))

    @classmethod
    def examples(cls):
        x, y = Dim("x", 9), Dim("y", 10)
        return [(cls("s"), (TensorType((x,), "f64"), TensorType((y, x), "f64"), TensorType((), "f64")))]


@dataclass(frozen=True)
class CumSum(Op):
    """The running sum along `dim`: of everything up to each element, without itself where `exclusive`."""

    dim: str
    exclusive: bool = False
    reverse: bool = False
    name: ClassVar[str] = "cumsum"

    def result(self, x):
        return check_has(self, x, self.dim)

    def roles(self, x):
        return {self.dim: Whole()}

    def linear(self, x):
        return ((0,),)

    def local(self, place, x):
        axis = place.operands[0].index(self.dim)
        if self.exclusive:  # moved by one before the sum, not subtracted after it: no cancellation
            by = -1 if self.reverse else 1
            x = jax.lax.pad(
                x, jnp.zeros((), x.dtype), [(by, -by, 0) if d == axis else (0, 0, 0) for d in range(x.ndim)]
            )
        return jax.lax.cumsum(x, axis, reverse=self.reverse)

    def vjp(self, cotangent, result, x):
        return (emit(CumSum(self.dim, self.exclusive, not self.reverse), cotangent),)

    @classmethod
    def examples(cls):
        box = (TensorType((Dim("x", 9), Dim("y", 10)), "f64"),)
        return [(cls("x"), box), (cls("y", True), box), (cls("x", True, True), box), (cls("y", False, True), box)]
