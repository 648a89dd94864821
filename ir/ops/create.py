"""Ops that make dims: constants, broadcasts and coordinates. What they make can be split in any way for free."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from ..build import emit
from ..dims import DTYPES, Dim, TensorType, union
from ..errors import Diagnostic
from ..op import Op
from ..place import align


@dataclass(frozen=True)
class Constant(Op):
    """A scalar known when the program is built."""

    value: float | int | bool
    dtype: str
    name: ClassVar[str] = "constant"

    def __post_init__(self):
        if self.value != self.value:  # one object stands for all that are no number, so that equal programs are equal
            object.__setattr__(self, "value", math.nan)

    def result(self):
        return TensorType((), self.dtype)

    def flops(self):
        return 0.0

    def local(self, place):
        return jnp.asarray(self.value, DTYPES[self.dtype][0])

    def vjp(self, cotangent, result):
        return ()

    @classmethod
    def examples(cls):
        return [(cls(1.5, "f64"), ()), (cls(3, "i32"), ())]


@dataclass(frozen=True)
class Broadcast(Op):
    """The operand repeated along `dims` that it does not have."""

    sizes: tuple[Dim, ...]
    name: ClassVar[str] = "broadcast"

    def result(self, x):
        for dim in self.sizes:
            if dim.name in x:
                raise Diagnostic("type", f"cannot broadcast along '{dim.name}': the tensor has that dim already")
        return TensorType(union(x, TensorType(self.sizes)), x.dtype)

    def linear(self, x):
        return ((0,),)

    def flops(self, x):
        return 0.0

    def local(self, place, x):
        wanted = place.results[0].names
        shape = tuple(place.extent(d) for d in wanted)
        return jnp.broadcast_to(align(x, place.operands[0].names, wanted), shape)

    def vjp(self, cotangent, result, x):
        from .reduce import Sum

        return (emit(Sum(tuple(d.name for d in self.sizes)), cotangent),)

    @classmethod
    def examples(cls):
        x, y, z = Dim("x", 9), Dim("y", 10), Dim("z", 11)
        return [(cls((y,)), (TensorType((x,), "f64"),)), (cls((x, z)), (TensorType((), "f64"),))]


@dataclass(frozen=True)
class Coordinate(Op):
    """A number that depends only on the position along one dim.

    index      0, 1, 2, …
    freq       the signed integer frequency of a full transform: 0, 1, …, -2, -1
    rfreq      the integer frequency of a real transform's half: 0, 1, …, full // 2
    hermitian  how often a mode of that half stands in the full spectrum: 1 at 0 (and at full / 2), else 2
    """

    dim: Dim
    kind: str = "index"
    full: int = 0
    """For rfreq and hermitian, the length of the real signal."""
    dtype: str = "f32"
    name: ClassVar[str] = "coordinate"

    def result(self):
        if self.kind not in ("index", "freq", "rfreq", "hermitian"):
            raise Diagnostic("type", f"unknown kind of coordinate '{self.kind}'")
        return TensorType((self.dim,), self.dtype)

    def local(self, place):
        i, n = place.index(self.dim.name), self.dim.size
        if self.kind == "freq":
            i = jnp.where(i < jnp.int32((n + 1) // 2), i, i - jnp.int32(n))
        elif self.kind == "hermitian":
            single = (i == 0) | ((2 * i == self.full) if self.full % 2 == 0 else jnp.zeros_like(i, bool))
            i = jnp.where(single, jnp.int32(1), jnp.int32(2))
        return i.astype(DTYPES[self.dtype][0])

    def vjp(self, cotangent, result):
        return ()

    @classmethod
    def examples(cls):
        x, k = Dim("x", 9), Dim("k", 6)
        kinds = [("index", 0), ("rfreq", 10), ("hermitian", 10), ("hermitian", 11)]
        return [(cls(x, "freq", 0, "f64"), ()), *((cls(k, kind, full, "f64"), ()) for kind, full in kinds)]
