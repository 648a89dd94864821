"""Where a device's block stands in the whole: offsets, real extents, and the padding that must never be mixed in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .dims import TensorType
from .grid_sum import AllReduce, grid_sum, lax_all_reduce
from .layout import Axes, block
from .mesh import Mesh
from .painter import XLA, Painter


class Place:
    """The place of one node's blocks: its operand and result types, and the mesh axes that split each dim.

    `split` is by the operands' dim names; a dim that the op renames is split alike under both names. Without a split
    every offset is the integer 0, and no mesh is needed. `reproducible`: sums have the same bits on every mesh.
    `method` is the strategy's. `exchange(left, right, axes, parts)` hands arrays to the neighbours along axes and gives
    those that they hand on: what `Op.passes` declares goes through it. `all_reduce(x, axes, kind)` is that of
    reproducible sums, by default `jax.lax`'s. `painter` paints and reads particles. `vmap(f, in_axes)` is `jax.vmap` of
    what may exchange.
    """

    def __init__(
        self,
        operands: Sequence[TensorType],
        results: Sequence[TensorType],
        split: Mapping[str, Axes] | None = None,
        mesh: Mesh | None = None,
        renames: Mapping[str, str] | None = None,
        reproducible: bool = False,
        method: str = "",
        exchange: Callable[[Any, Any, Axes, int], tuple[Any, Any]] | None = None,
        all_reduce: AllReduce = lax_all_reduce,
        painter: Painter = XLA,
        vmap: Callable[..., Callable[..., Any]] = jax.vmap,
    ):
        self.operands, self.results, self.mesh = tuple(operands), tuple(results), mesh or Mesh()
        self.sizes = {d.name: d.size for t in (*operands, *results) for d in t.dims}
        self.split, self.reproducible = dict(split or {}), reproducible
        self.method, self.exchange, self.all_reduce, self.painter = method, exchange, all_reduce, painter
        self.vmap = vmap
        for old, new in (renames or {}).items():
            if old in self.split:
                self.split[new] = self.split[old]

    def parts(self, dim: str) -> int:
        """How many blocks the dim has."""
        return self.mesh.size(self.split.get(dim, ()))

    def extent(self, dim: str) -> int:
        """The stored extent of a block along the dim, padding included."""
        return block(self.sizes[dim], self.parts(dim))

    def offset(self, dim: str) -> Any:
        """The global index of the block's first element along the dim (int, or a traced i32)."""
        axes = self.split.get(dim, ())
        if not axes:
            return 0
        index = jnp.int32(0)
        for axis in axes:
            index = index * jnp.int32(self.mesh.size(axis)) + jax.lax.axis_index(axis).astype(jnp.int32)
        return index * jnp.int32(self.extent(dim))

    def index(self, dim: str) -> jax.Array:
        """The global indices of the block's elements along the dim, i32[extent]; padding runs past the size."""
        return jnp.arange(self.extent(dim), dtype=jnp.int32) + self.offset(dim)

    def real(self, dim: str) -> Any:
        """How many elements of the block along the dim are no padding (int, or a traced i32)."""
        extent = self.extent(dim)
        if not self.is_padded(dim):
            return extent
        return jnp.clip(jnp.int32(self.sizes[dim]) - self.offset(dim), jnp.int32(0), jnp.int32(extent))

    def pass_on(self, dim: str, left: Any, right: Any) -> tuple[Any, Any]:
        """Hands arrays to both neighbours along a split dim: (what the left one hands on, what the right one does)."""
        assert self.exchange is not None
        return self.exchange(left, right, self.split[dim], self.parts(dim))

    def is_padded(self, dim: str) -> bool:
        return self.extent(dim) * self.parts(dim) != self.sizes[dim]

    def select(self, array: jax.Array, names: Sequence[str], fill: Any, over: Sequence[str] | None = None) -> jax.Array:
        """The block with `fill` in its padded lanes along `over` (default: all dims), selected, never multiplied."""
        for axis, dim in enumerate(names):
            if dim in self.sizes and self.is_padded(dim) and (over is None or dim in over):
                valid = self.index(dim) < self.sizes[dim]
                shape = [1] * array.ndim
                shape[axis] = -1
                array = jnp.where(valid.reshape(shape), array, jnp.asarray(fill, array.dtype))
        return array

    def sum(self, array: jax.Array, names: Sequence[str], over: Sequence[str], dtype: Any) -> jax.Array:
        """The block's part of the sum over dims, padding selected away before.

        Where sums are reproducible, the first device of those that split the dims has the whole sum and the others
        zero: whatever is linear in a part may follow, and any all-reduce of the parts is exact.
        """
        axes = tuple(names.index(d) for d in over)
        kind = jnp.dtype(dtype).kind
        if not self.reproducible or not axes or kind in "iub":
            return jnp.sum(array, axis=axes, dtype=dtype)
        if kind == "c":
            real, imaginary = (self.sum(f(array), names, over, "float64") for f in (jnp.real, jnp.imag))
            return jax.lax.complex(real, imaginary).astype(dtype)
        held = tuple(axis for d in over for axis in self.split.get(d, ()))
        count = math.prod(self.sizes[d] for d in over)
        whole = grid_sum(array, axes, held, count, self.all_reduce).astype(dtype)
        return jnp.where(jax.lax.axis_index(held) == 0, whole, jnp.zeros((), dtype)) if held else whole


def align(array: jax.Array, names: Sequence[str], wanted: Sequence[str]) -> jax.Array:
    """Transposes to the order of `wanted` and gives missing dims extent 1, so that arrays broadcast by name."""
    order = [names.index(n) for n in wanted if n in names]
    if order != sorted(order):
        array = jnp.transpose(array, order)
    if len(order) == len(wanted):
        return array
    return jnp.expand_dims(array, [i for i, n in enumerate(wanted) if n not in names])
