"""Shifts and weighted sums of neighbours along a periodic dim: ops with the role `Halo`.

What a block computation gets, whether the dim is split or not: the block with `width` elements more on both sides, so
that its real element j stands at `width + j` with its true neighbours beside it, those of the last one right behind it
(before any padding). So one static slice per neighbour does, also for blocks of uneven size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..build import emit
from ..dims import Dim, TensorType
from ..errors import Diagnostic
from ..op import Halo, Op, Role
from ..place import Place
from .shape import check_has


def nearest(offset: int, size: int) -> int:
    """The offset of least magnitude that is the same on a circle of `size` elements."""
    offset %= size
    return offset - size if 2 * offset > size else offset


def neighbour(place: Place, extended: Any, dim: str, width: int, offset: int) -> Any:
    """For each element of the block its neighbour `offset` further along `dim`, from the block with its halo."""
    axis = place.operands[0].index(dim)
    start = width + offset
    return jax.lax.slice_in_dim(extended, start, start + place.extent(dim), axis=axis)


def _halo(dim: str, width: int) -> dict[str, Role]:
    return {dim: Halo(width)} if width else {}


@dataclass(frozen=True)
class Shift(Op):
    """y[i] = x[i - by] along a periodic dim."""

    dim: str
    by: int
    name: ClassVar[str] = "shift"

    def offset(self, x: TensorType) -> int:
        return nearest(-self.by, x[self.dim])

    def result(self, x):
        return check_has(self, x, self.dim)

    def roles(self, x):
        return _halo(self.dim, abs(self.offset(x)))

    def linear(self, x):
        return ((0,),)

    def flops(self, x):
        return 0.0

    def local(self, place, x):
        offset = self.offset(place.operands[0])
        return neighbour(place, x, self.dim, abs(offset), offset)

    def vjp(self, cotangent, result, x):
        return (emit(Shift(self.dim, -self.by), cotangent),)

    @classmethod
    def examples(cls):
        x, y = Dim("x", 9), Dim("y", 16)
        box = (TensorType((x, y), "f64"),)
        return [(cls("y", 1), box), (cls("y", -2), box), (cls("x", 3), box), (cls("x", 10), box), (cls("x", 0), box)]


@dataclass(frozen=True)
class Stencil(Op):
    """y[i] = Σ_k weights[k] x[i + offsets[k]] along a periodic dim."""

    dim: str
    offsets: tuple[int, ...]
    weights: tuple[float, ...]
    name: ClassVar[str] = "stencil"

    def near(self, x: TensorType) -> tuple[int, ...]:
        return tuple(nearest(o, x[self.dim]) for o in self.offsets)

    def result(self, x):
        if len(self.offsets) != len(self.weights) or not self.offsets:
            raise Diagnostic("type", f"a stencil of {len(self.offsets)} offsets has {len(self.weights)} weights")
        if not (x.is_real or x.is_complex):
            raise Diagnostic("type", f"a stencil needs real or complex numbers, but its operand is {x.dtype}")
        return check_has(self, x, self.dim)

    def roles(self, x):
        return _halo(self.dim, max(map(abs, self.near(x))))

    def linear(self, x):
        return ((0,),)

    def flops(self, x):
        return 2.0 * len(self.offsets) * x.size

    def local(self, place, x):
        near = self.near(place.operands[0])
        width = max(map(abs, near))
        total = None
        for offset, weight in zip(near, self.weights, strict=True):
            term = jnp.asarray(weight, x.dtype) * neighbour(place, x, self.dim, width, offset)
            total = term if total is None else total + term
        return total

    def vjp(self, cotangent, result, x):
        return (emit(Stencil(self.dim, tuple(-o for o in self.offsets), self.weights), cotangent),)

    @classmethod
    def examples(cls):
        x, y = Dim("x", 9), Dim("y", 16)
        box = (TensorType((x, y), "f64"),)
        return [
            (cls("y", (-1, 1), (-0.5, 0.5)), box),
            (cls("x", (0, 1, 2), (1.0, -3.0, 0.25)), box),
            (cls("y", (-2, 0, 1), (0.5, -1.0, 2.0)), (TensorType((y,), "c128"),)),
        ]
