"""The collectives in terms of `jax.lax`: the reference implementation, used on the CPU and as the fallback.

Each method takes one device's block inside a `shard_map` body and speaks of mesh axes and array axes only; padding and
layouts are the business of `reshard`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Axes = tuple[str, ...]


class LaxCollectives:
    """What a backend offers. `axes` name one mesh axis or several, the first one major.

    XLA orders these by itself. An implementation that has to order its calls does so by what `opened`, `carried` and
    `resume` hand about; these know of nothing to hand.
    """

    name = "jax.lax"

    def chained(self, f: Callable[..., Any], loops: bool = False) -> Callable[..., Any]:
        """`f` of blocks as one trace, in which all that takes its collectives from these is ordered.

        loops: whether it calls them inside of JAX's loops and branches (and `vmap` then only by the one here).
        """
        return f

    def vmap(self, f: Callable[..., Any], axis: int) -> Callable[..., Any]:
        """`f` inside of such a trace, of a batch along an axis of all that it takes and gives."""
        return jax.vmap(f, axis, axis)

    def opened(self, blocks: Sequence[jax.Array]) -> LaxCollectives:
        """The collectives of a trace that begins, which take their turn after `blocks`; in one that has begun, self."""
        return self

    def closed(self, outputs: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """The outputs of the trace, which whoever needs them gets after all its collectives."""
        return outputs

    def carried(self) -> tuple[jax.Array, ...]:
        """What a loop carries in addition."""
        return ()

    def resume(self, carried: Sequence[jax.Array]) -> None:
        """Goes on from what a loop carried: in its body, and behind it."""

    def all_reduce(self, x: jax.Array, axes: Axes, kind: str) -> jax.Array:
        reduce = {"sum": jax.lax.psum, "max": jax.lax.pmax, "min": jax.lax.pmin}[kind]
        return reduce(x, axes)

    def reduce_scatter(self, x: jax.Array, axes: Axes, target: int) -> jax.Array:
        return jax.lax.psum_scatter(x, axes, scatter_dimension=target, tiled=True)

    def all_gather(self, x: jax.Array, axes: Axes, source: int) -> jax.Array:
        if x.ndim == 1 and jnp.issubdtype(x.dtype, jnp.integer):
            # XLA scatters by a column of indices. A column it shifts to a block's own range in place; a vector it turns
            # into a column on the way, and then XLA:CPU needs a second buffer.
            return jax.lax.all_gather(x[:, None], axes, axis=0, tiled=True)[:, 0]
        return jax.lax.all_gather(x, axes, axis=source, tiled=True)

    def all_to_all(self, x: jax.Array, axes: Axes, source: int, target: int) -> jax.Array:
        return jax.lax.all_to_all(x, axes, target, source, tiled=True)

    def slice(self, x: jax.Array, axes: Axes, target: int, parts: int) -> jax.Array:
        extent = x.shape[target] // parts
        start = jax.lax.axis_index(axes).astype(jnp.int32) * jnp.int32(extent)
        return jax.lax.dynamic_slice_in_dim(x, start, extent, target)

    def permute(self, x: jax.Array, axes: Axes, pairs: Sequence[tuple[int, int]]) -> jax.Array:
        """The block of the device that sends to this one. Devices along `axes`, which stand in the order of the mesh,
        are numbered with the first axis major; `pairs` are (sender, receiver)."""
        return jax.lax.ppermute(x, axes, list(pairs))

    def halo(self, x: jax.Array, axes: Axes, axis: int, width: int, parts: int, size: int) -> jax.Array:
        """The block extended on both sides by `width` elements of its periodic neighbours along an array axis.

        `size` is the dim's whole extent; the right neighbour's edge lands directly after a block's real elements.
        """
        real = _real(axes, parts, x.shape[axis], size)
        last = jax.lax.dynamic_slice_in_dim(x, real - width, width, axis)
        first = jax.lax.slice_in_dim(x, 0, width, axis=axis)
        left, right = _from_neighbours(last, first, axes, parts)
        if isinstance(real, int):
            return jnp.concatenate([left, x, right], axis=axis)
        room = jnp.concatenate([left, x, jnp.zeros_like(first)], axis=axis)
        return jax.lax.dynamic_update_slice_in_dim(room, right, real + jnp.int32(width), axis)

    def spill(self, x: jax.Array, axes: Axes, axis: int, width: int, parts: int, extent: int, size: int) -> jax.Array:
        """The block of `extent` elements with what its neighbours hold beyond their edges added: `halo` transposed.

        x holds `width` elements before the block's first one, and `width` more right behind its real ones. `size` is
        the dim's whole extent.
        """
        real = _real(axes, parts, extent, size)
        before = jax.lax.slice_in_dim(x, 0, width, axis=axis)
        behind = jax.lax.dynamic_slice_in_dim(x, real + width, width, axis)
        left, right = _from_neighbours(behind, before, axes, parts)
        x = jax.lax.slice_in_dim(x, width, width + extent, axis=axis)
        for start, edge in ((0, left), (real - width, right)):
            held = jax.lax.dynamic_slice_in_dim(x, start, width, axis)
            x = jax.lax.dynamic_update_slice_in_dim(x, held + edge, start, axis)
        return x

    def pass_on(self, left: jax.Array, right: jax.Array, axes: Axes, parts: int) -> tuple[jax.Array, jax.Array]:
        """Hands an array to each neighbour on the ring, and gives what these hand on: (the left one's, the right's)."""
        return _from_neighbours(right, left, axes, parts)


LAX = LaxCollectives()


def _real(axes: Axes, parts: int, extent: int, size: int) -> jax.Array | int:
    """How many elements of a block of `extent` are no padding, where `size` are split over `parts`."""
    if extent * parts == size:
        return extent
    start = jax.lax.axis_index(axes).astype(jnp.int32) * jnp.int32(extent)
    return jnp.minimum(jnp.int32(extent), jnp.int32(size) - start)


def _from_neighbours(last: jax.Array, first: jax.Array, axes: Axes, parts: int) -> tuple[jax.Array, jax.Array]:
    """What the left neighbour on the ring has as `last`, and the right one as `first`."""
    rank, axes = mesh_ranks(axes), tuple(a for a in _mesh_order() if a in axes)
    left = jax.lax.ppermute(last, axes, [(rank[i], rank[(i + 1) % parts]) for i in range(parts)])
    right = jax.lax.ppermute(first, axes, [(rank[i], rank[(i - 1) % parts]) for i in range(parts)])
    return left, right


def mesh_ranks(axes: Axes) -> list[int]:
    """For each position along `axes` (the first one major), the number by which `ppermute` knows the device.

    Unlike the other collectives, `ppermute` counts in the order of the mesh axes, in which newer JAX wants them given.
    """
    order = [a for a in _mesh_order() if a in axes]
    sizes = [jax.lax.axis_size(a) for a in axes]
    grid = np.arange(math.prod(sizes)).reshape([jax.lax.axis_size(a) for a in order])
    return np.transpose(grid, [order.index(a) for a in axes]).reshape(-1).tolist()


def _mesh_order() -> Axes:
    return jax.sharding.get_abstract_mesh().axis_names


def wrap(x: jax.Array, axis: int, width: int) -> jax.Array:
    """The halo of a dim that is not split: the array's own other end."""
    n = x.shape[axis]
    index = jnp.arange(-width, n + width, dtype=jnp.int32) % jnp.int32(n)
    if width <= n:
        tail = jax.lax.slice_in_dim(x, n - width, n, axis=axis)
        head = jax.lax.slice_in_dim(x, 0, width, axis=axis)
        return jnp.concatenate([tail, x, head], axis=axis)
    return jnp.take(x, index, axis=axis)
