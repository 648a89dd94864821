"""Ops that cut a dim into pieces and join the pieces again: what a scan of scans goes through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from ..build import emit
from ..dims import Dim, TensorType
from ..errors import Diagnostic
from ..op import Op, Whole
from .shape import check_free, check_has


@dataclass(frozen=True)
class Fold(Op):
    """Dim `dim` in pieces: its element i becomes element (i // n, i % n) of `outer` and `inner`, of size n."""

    dim: str
    outer: Dim
    inner: Dim
    name: ClassVar[str] = "fold"

    def result(self, x):
        check_free(self, check_free(self, check_has(self, x, self.dim), self.outer.name), self.inner.name)
        pieces = f"{self.outer.size} pieces of {self.inner.size}"
        if self.outer.size * self.inner.size != x[self.dim]:
            raise Diagnostic("type", f"fold cuts '{self.dim}' of {x[self.dim]} elements into {pieces}")
        at = x.index(self.dim)
        return TensorType((*x.dims[:at], self.outer, self.inner, *x.dims[at + 1 :]), x.dtype)

    def roles(self, x):
        return {self.dim: Whole(), self.outer.name: Whole(), self.inner.name: Whole()}

    def linear(self, x):
        return ((0,),)

    def flops(self, x):
        return 0.0

    def local(self, place, x):
        at = place.operands[0].index(self.dim)
        return x.reshape(*x.shape[:at], self.outer.size, self.inner.size, *x.shape[at + 1 :])

    def vjp(self, cotangent, result, x):
        return (emit(Unfold(self.outer.name, self.inner.name, self.dim), cotangent),)

    @classmethod
    def examples(cls):
        box = (TensorType((Dim("x", 12), Dim("y", 10)), "f64"),)
        return [(cls("x", Dim("a", 4), Dim("b", 3)), box), (cls("y", Dim("a", 2), Dim("b", 5)), box)]


@dataclass(frozen=True)
class Unfold(Op):
    """Dims `outer` and `inner` as one, `dim`, which stands where `outer` did: pieces joined end to end."""

    outer: str
    inner: str
    dim: str
    name: ClassVar[str] = "unfold"

    def result(self, x):
        check_free(self, check_has(self, check_has(self, x, self.outer), self.inner), self.dim, self.outer, self.inner)
        joined = Dim(self.dim, x[self.outer] * x[self.inner])
        dims = (joined if d.name == self.outer else d for d in x.dims if d.name != self.inner)
        return TensorType(tuple(dims), x.dtype)

    def roles(self, x):
        return {self.dim: Whole(), self.outer: Whole(), self.inner: Whole()}

    def linear(self, x):
        return ((0,),)

    def flops(self, x):
        return 0.0

    def local(self, place, x):
        names = [d for d in place.operands[0].names if d != self.inner]
        at, pieces = names.index(self.outer), place.operands[0]
        x = jnp.moveaxis(x, pieces.index(self.inner), at + 1)
        return x.reshape(*x.shape[:at], x.shape[at] * x.shape[at + 1], *x.shape[at + 2 :])

    def vjp(self, cotangent, result, x):
        outer, inner = (Dim(d, x.type[d]) for d in (self.outer, self.inner))
        return (emit(Fold(self.dim, outer, inner), cotangent),)

    @classmethod
    def examples(cls):
        a, b, x = Dim("a", 4), Dim("b", 3), Dim("x", 9)
        t = TensorType
        return [(cls("a", "b", "z"), (t((x, a, b), "f64"),)), (cls("a", "b", "z"), (t((b, x, a), "f64"),))]
