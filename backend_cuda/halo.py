"""Halos of blocks: what a block hands to its neighbours, and how it takes in what they hand to it.

A halo copies neighbours' edges around a block; a spill, its transpose, adds what neighbours hold beyond their edges.
Along one dim a block is cut in three (for the left neighbour, its own, for the right one) and joined with what comes
from the left and from the right. Along several dims that is done one dim after the other. Or the pieces are cut along
all dims, go to all neighbours at once, those at corners included, and are joined one dim after the other: these are the
same elements, and the same sums in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from ir.errors import InternalError
from ir.layout import Axes, block

Cut = tuple[jax.Array, jax.Array, jax.Array]
"""What goes to the left neighbour, what stays, what goes to the right one."""


@dataclass(frozen=True)
class Edge:
    """One dim of a halo: an array axis, of `size` elements split over `parts` devices along mesh `axes`, the first one
    major, and the halo's width. Every block must hold at least `width` real elements.

    Without `periodic` what lies beyond the ends of the whole is zero, and what spills there is lost.
    """

    axes: Axes
    axis: int
    width: int
    parts: int
    size: int
    periodic: bool = True

    def __post_init__(self) -> None:
        if (last := self.size - (self.parts - 1) * self.extent) < self.width:
            raise InternalError(f"a halo of width {self.width} on blocks of {last} elements")

    @property
    def extent(self) -> int:
        """Of a block, padding included."""
        return block(self.size, self.parts)

    def held(self) -> jax.Array | int:
        """How many elements of this device's block are no padding."""
        if self.extent * self.parts == self.size:
            return self.extent
        start = jax.lax.axis_index(self.axes).astype(jnp.int32) * jnp.int32(self.extent)
        return jnp.minimum(jnp.int32(self.extent), jnp.int32(self.size) - start)


def cut_halo(x: jax.Array, e: Edge) -> Cut:
    """A block's first elements, the block, and its last real elements."""
    last = jax.lax.dynamic_slice_in_dim(x, e.held() - e.width, e.width, e.axis)
    return jax.lax.slice_in_dim(x, 0, e.width, axis=e.axis), x, last


def join_halo(left: jax.Array, x: jax.Array, right: jax.Array, e: Edge) -> jax.Array:
    """A block between its neighbours' edges; the right one's lands directly behind its real elements."""
    held = e.held()
    if isinstance(held, int):
        return jnp.concatenate([left, x, right], axis=e.axis)
    room = jnp.concatenate([left, x, jnp.zeros_like(right)], axis=e.axis)
    return jax.lax.dynamic_update_slice_in_dim(room, right, held + jnp.int32(e.width), e.axis)


def cut_spill(x: jax.Array, e: Edge) -> Cut:
    """What an extended block holds before its first element, the block, and what it holds behind its real elements."""
    before = jax.lax.slice_in_dim(x, 0, e.width, axis=e.axis)
    behind = jax.lax.dynamic_slice_in_dim(x, e.held() + e.width, e.width, e.axis)
    return before, jax.lax.slice_in_dim(x, e.width, e.width + e.extent, axis=e.axis), behind


def join_spill(left: jax.Array, x: jax.Array, right: jax.Array, e: Edge) -> jax.Array:
    """A block with what its neighbours spilt added, the left one's first."""
    for start, edge in ((0, left), (e.held() - e.width, right)):
        own = jax.lax.dynamic_slice_in_dim(x, start, e.width, e.axis)
        x = jax.lax.dynamic_update_slice_in_dim(x, own + edge, start, e.axis)
    return x


def wrap(x: jax.Array, axis: int, width: int) -> jax.Array:
    """The halo of a dim that is not split: the array's own other end."""
    n = x.shape[axis]
    index = jnp.arange(-width, n + width, dtype=jnp.int32) % jnp.int32(n)
    if width <= n:
        tail = jax.lax.slice_in_dim(x, n - width, n, axis=axis)
        head = jax.lax.slice_in_dim(x, 0, width, axis=axis)
        return jnp.concatenate([tail, x, head], axis=axis)
    return jnp.take(x, index, axis=axis)
