"""Looking up by an index tensor, and its transpose, adding into a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from ..build import emit
from ..dims import Dim, TensorType, union
from ..errors import Diagnostic
from ..op import Lookup, Op, Reduce
from ..place import align


@dataclass(frozen=True)
class Gather(Op):
    """`table[dim = index]`: the table's elements at the positions that `index` (integers, from 0) names along `dim`.

    Dims that table and index share are batch dims. When `dim` is split, each block answers for its own range and
    gives zero elsewhere: the result is partial.
    """

    dim: str
    name: ClassVar[str] = "gather"

    def result(self, table: TensorType, index: TensorType):
        if self.dim not in table:
            raise Diagnostic("type", f"cannot look up dim '{self.dim}': the table has [{', '.join(table.names)}]")
        if index.dtype not in ("i32", "i64", "u32"):
            raise Diagnostic("type", f"an index must hold integers, but this one is {index.dtype}")
        if self.dim in index:
            raise Diagnostic(
                "type",
                f"the index has dim '{self.dim}' itself, which the look-up removes",
                hint=f"give the index's own dim another name: dim other = alias({self.dim})",
            )
        return TensorType(union(table.without([self.dim]), index), table.dtype)

    def roles(self, table, index):
        return {self.dim: Lookup()}

    def linear(self, table, index):
        return ((0,),)

    def local(self, place, table, index):
        tt, ti = place.operands
        extent = place.extent(self.dim)
        at = index - place.offset(self.dim)
        shared = [d for d in tt.names if d in ti]
        rest = [d for d in tt.names if d not in ti and d != self.dim]
        table = align(table, tt.names, (*shared, self.dim, *rest))
        own = [d for d in ti.names if d not in shared]
        flat = align(at, ti.names, (*shared, *own)).reshape((*(place.extent(d) for d in shared), -1))
        take = lambda t, i: jnp.take(t, i, axis=0, mode="clip")  # noqa: E731
        for _ in shared:
            take = jax.vmap(take)
        found = take(table, flat)
        names = (*shared, *own, *rest)
        found = found.reshape(tuple(place.extent(d) for d in names))
        if place.parts(self.dim) > 1:
            mine = (flat >= 0) & (flat < extent)
            mine = align(mine.reshape(tuple(place.extent(d) for d in (*shared, *own))), (*shared, *own), names)
            found = jnp.where(mine, found, jnp.zeros((), found.dtype))
        return align(found, names, place.results[0].names)

    def vjp(self, cotangent, result, table, index):
        over = tuple(d for d in index.dims if d not in table.type)
        return emit(ScatterAdd(Dim(self.dim, table.type[self.dim]), over), cotangent, index), None

    @classmethod
    def examples(cls):
        k, n, m = Dim("k", 7), Dim("n", 9), Dim("m", 3)
        return [
            (cls("k"), (TensorType((k,), "f64"), TensorType((n,), "i32"))),
            (cls("k"), (TensorType((m, k), "f64"), TensorType((n,), "i32"))),
            (cls("k"), (TensorType((m, k), "f64"), TensorType((), "i32"))),
            (cls("k"), (TensorType((k, m), "f64"), TensorType((n, m), "i32"))),
        ]


@dataclass(frozen=True)
class ScatterAdd(Op):
    """Adds each value into position `index` of a new dim, summing over the dims `over`: the transpose of a look-up."""

    dim: Dim
    over: tuple[str, ...]
    name: ClassVar[str] = "scatter_add"

    def result(self, values: TensorType, index: TensorType):
        if self.dim.name in values or self.dim.name in index:
            raise Diagnostic("type", f"cannot scatter into dim '{self.dim.name}': an operand has it already")
        kept = tuple(d for d in union(values, index) if d.name not in self.over)
        return TensorType(union(TensorType(kept), TensorType((self.dim,))), values.dtype)

    def roles(self, values, index):
        return {d: Reduce() for d in self.over}

    def linear(self, values, index):
        return ((0,),)

    def local(self, place, values, index):
        tv, ti = place.operands
        dim, over = self.dim.name, list(self.over)
        batch = [d.name for d in union(tv, ti) if d.name not in over]
        names = (*batch, *over)
        shape = tuple(place.extent(d) for d in names)
        values = jnp.broadcast_to(align(place.select(values, tv.names, 0, over), tv.names, names), shape)
        at = align(index, ti.names, names) - place.offset(dim)
        drop = {"mode": "drop", "wrap_negative_indices": False}  # what other blocks hold
        out_type = values.dtype
        if all(d in over for d in ti.names):  # one index for every batch element
            flat = at.reshape((-1,)) if over else at.reshape((1,))
            flat = jnp.broadcast_to(at, (*(1 for _ in batch), *(place.extent(d) for d in over))).reshape(-1)
            values = values.reshape((*(place.extent(d) for d in batch), -1))
            zero = jnp.zeros((place.extent(dim), *values.shape[:-1]), out_type)
            table = zero.at[flat].add(jnp.moveaxis(values, -1, 0), **drop)
            return align(table, (dim, *batch), place.results[0].names)
        at = jnp.broadcast_to(at, shape).reshape((*shape[: len(batch)], -1))
        values = values.reshape(at.shape)
        add = lambda i, v: jnp.zeros((place.extent(dim),), out_type).at[i].add(v, **drop)  # noqa: E731
        for _ in batch:
            add = jax.vmap(add)
        return align(add(at, values), (*batch, dim), place.results[0].names)

    def vjp(self, cotangent, result, values, index):
        found = emit(Gather(self.dim.name), cotangent, index)
        from .reduce import unbroadcast

        return unbroadcast(found, values.type), None

    @classmethod
    def examples(cls):
        k, n, m = Dim("k", 7), Dim("n", 9), Dim("m", 3)
        return [
            (cls(k, ("n",)), (TensorType((n,), "f64"), TensorType((n,), "i32"))),
            (cls(k, ("n",)), (TensorType((m, n), "f64"), TensorType((n,), "i32"))),
            (cls(k, ()), (TensorType((m,), "f64"), TensorType((), "i32"))),
            (cls(k, ("n",)), (TensorType((n, m), "f64"), TensorType((n, m), "i32"))),
        ]
