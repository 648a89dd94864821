"""The derived gradient of an op: a node whose block computation is `jax.vjp` of the op's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..build import current, emit
from ..dims import TensorType
from ..errors import InternalError
from ..graph import Value
from ..layout import block
from ..op import Map, Op, Reduce, Whole
from ..place import Place, align
from .create import Broadcast
from .elementwise import Elementwise
from .reduce import unbroadcast

_DIFFERENTIABLE = ("f32", "f64", "c64", "c128")


@dataclass(frozen=True)
class Pullback(Op):
    """The cotangent of operand `index` of the op `of`, from the result's cotangent and all operands.

    Roles are transposed: a dim along which the operand was broadcast is summed, so that a split one leaves the
    cotangent partial. Linear in the cotangent. No padded lane ever enters a sum: an elementwise op's gradient is taken
    lane by lane and padding selected away before the sum; for another op, padded operands repeat a real lane, padded
    cotangents are zero, and blocks of padding only give zero.
    """

    of: Op
    index: int
    name: ClassVar[str] = "pullback"

    def result(self, cotangent: TensorType, *operands: TensorType) -> TensorType:
        return operands[self.index]

    def roles(self, cotangent, *operands):
        mine, roles = operands[self.index], {}
        for dim, role in self.of.roles(*operands).items():
            if not isinstance(role, Map | Reduce | Whole):
                raise InternalError(f"{self.of.name} has role {role} along '{dim}' and must write its own vjp")
            roles[dim] = Whole() if isinstance(role, Whole) else Map()
        for t in (cotangent, *operands):
            for dim in t.names:
                if dim not in mine and not isinstance(roles.get(dim), Whole):
                    roles[dim] = Reduce()
        return roles

    def renames(self):
        return {}

    def linear(self, *operands):
        return ((0,),)

    def sums_by_place(self):
        return isinstance(self.of, Elementwise)

    def flops(self, cotangent, *operands):
        return 2.0 * self.of.flops(*operands)

    def local(self, place, cotangent, *blocks):
        if isinstance(self.of, Elementwise):
            return self._by_lane(place, cotangent, *blocks)
        types = place.operands
        inner = Place(types[1:], self.of.results(*types[1:]), place.split, place.mesh, self.of.renames())
        blocks = tuple(_repeat_edge(inner, b, t) for b, t in zip(blocks, types[1:], strict=True))
        before, after = blocks[: self.index], blocks[self.index + 1 :]
        _, pull = jax.vjp(lambda x: self.of.local(inner, *before, x, *after), blocks[self.index])
        (made,) = inner.results
        cotangent = align(place.select(cotangent, types[0].names, 0), types[0].names, made.names)
        (mine,) = pull(jnp.broadcast_to(cotangent, tuple(inner.extent(d) for d in made.names)))
        for dim in _summed(place):
            if place.is_padded(dim):  # a block may have no real lane at all
                mine = jnp.where(place.offset(dim) < place.sizes[dim], mine, jnp.zeros((), mine.dtype))
        return mine

    def illegal(self, operands, strategy, mesh):
        inner = self.of.roles(*operands[1:])
        for dim, axes in strategy.splits:
            size, parts = self.dims(*operands)[dim], mesh.size(axes)
            inside = isinstance(inner.get(dim), Reduce) and dim not in self.result(*operands)
            if inside and not isinstance(self.of, Elementwise) and block(size, parts) * parts != size:
                return f"the gradient of {self.of.name} sums over '{dim}', which {parts} blocks would pad"
        return super().illegal(operands, strategy, mesh)

    def _by_lane(self, place: Place, cotangent: Any, *blocks: Any) -> Any:
        assert isinstance(self.of, Elementwise)
        wanted = self.of.result(*place.operands[1:]).names
        lanes = [align(b, t.names, wanted) for b, t in zip(blocks, place.operands[1:], strict=True)]
        cotangent = align(cotangent, place.operands[0].names, wanted)
        shape = jnp.broadcast_shapes(cotangent.shape, *(b.shape for b in lanes))
        mine = jnp.broadcast_to(lanes[self.index], shape)
        fn = self.of.fn
        _, pull = jax.vjp(lambda x: fn(*lanes[: self.index], x, *lanes[self.index + 1 :]), mine)
        (mine,) = pull(jnp.broadcast_to(cotangent, shape))
        target = place.results[0].names
        gone = [d for d in wanted if d not in target]
        if gone:
            mine = place.select(mine, wanted, 0, gone)
            mine = place.sum(mine, wanted, gone, mine.dtype)
        return align(mine, [d for d in wanted if d in target], target)

    @classmethod
    def examples(cls):
        found = []
        for leaf in ("pow", "exp", "logaddexp"):
            op, types = Op.table[leaf].examples()[0]
            ct = op.result(*types)
            found += [(cls(op, i), (ct, *types)) for i in range(len(types))]
        tables = Op.table["interp"].examples()[1:4:2]  # their cotangents are sums over the points, of padded blocks too
        for op, types in (Op.table["jax_fn"].examples()[-1], Op.table["cholesky"].examples()[-1], *tables):
            found += [(cls(op, i), (op.result(*types), *types)) for i in range(len(types))]
        return found


def _summed(place: Place) -> list[str]:
    """The dims that some operand has and the result has not."""
    return [d for d in dict.fromkeys(n for t in place.operands for n in t.names) if d not in place.results[0]]


def _repeat_edge(place: Place, array: Any, t: TensorType) -> Any:
    """The block with padded lanes replaced by its first lane, which is real unless the block is empty."""
    for axis, dim in enumerate(t.names):
        if place.is_padded(dim):
            valid = place.index(dim) < place.sizes[dim]
            shape = [1] * array.ndim
            shape[axis] = -1
            array = jnp.where(valid.reshape(shape), array, jax.lax.slice_in_dim(array, 0, 1, axis=axis))
    return array


def pullbacks(op: Op, cotangent: Value, *operands: Value) -> tuple[Value | None, ...]:
    """The derived cotangents of all operands; None for those without a gradient (integers, conditions)."""
    types = [v.type for v in operands]
    if current().branches:  # sums over dims that were broadcast come after a selection: see `unbroadcast`
        operands = tuple(_broadcast(v, cotangent.type) for v in operands)
    found = (
        emit(Pullback(op, i), cotangent, *operands) if v.type.dtype in _DIFFERENTIABLE else None
        for i, v in enumerate(operands)
    )
    return tuple(None if v is None else unbroadcast(v, t) for v, t in zip(found, types, strict=True))


def _broadcast(x: Value, t: TensorType) -> Value:
    missing = tuple(d for d in t.dims if d.name not in x.type)
    return emit(Broadcast(missing), x) if missing else x
