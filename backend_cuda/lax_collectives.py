"""The collectives in terms of `jax.lax`: the reference implementation, used on the CPU and as the fallback.

Each method takes one device's block inside a `shard_map` body and speaks of mesh axes and array axes only; padding and
layouts are the business of `reshard`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ir.dims import TensorType
from ir.layout import Axes, Layout, Move
from ir.mesh import Mesh

from .halo import Edge, cut_halo, cut_spill, join_halo, join_spill
from .spmd import on_cpu

Resharding = tuple[Move, Layout, Layout]
"""A move with the layouts before and after it."""

_apart: ContextVar[bool] = ContextVar("apart", default=False)


@contextmanager
def apart(devices: jax.sharding.Mesh, axes: Axes) -> Iterator[None]:
    """Where devices along `axes` may be in different rounds of a loop, as those of chains that are split over them are.

    In what is traced here, only devices that hand each other something wait for each other. XLA:CPU lets all devices of
    a program meet in a permute, whoever its pairs are (JAX 0.10): there a gather stands in for it.
    """
    before = _apart.set(bool(axes) and on_cpu(devices))
    try:
        yield
    finally:
        _apart.reset(before)


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

    def batched(self, f: Callable[..., Any], in_axes: Sequence[int | None]) -> Callable[..., Any]:
        """`jax.vmap` of an op's function that may call these."""
        return jax.vmap(f, tuple(in_axes))

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

    def at_once(self, x: jax.Array, t: TensorType, steps: Sequence[Resharding], mesh: Mesh) -> jax.Array | None:
        """A block after several moves that only copy, in one call; None where they have to go one after the other."""
        return None

    def slice(self, x: jax.Array, axes: Axes, target: int, parts: int) -> jax.Array:
        extent = x.shape[target] // parts
        start = jax.lax.axis_index(axes).astype(jnp.int32) * jnp.int32(extent)
        return jax.lax.dynamic_slice_in_dim(x, start, extent, target)

    def permute(self, x: jax.Array, axes: Axes, pairs: Sequence[tuple[int, int]]) -> jax.Array:
        """The block of the device that sends to this one. Devices along `axes`, which stand in the order of the mesh,
        are numbered with the first axis major; `pairs` are (sender, receiver)."""
        return _permuted(x, axes, pairs)

    def halo(self, x: jax.Array, *edges: Edge) -> jax.Array:
        """The block extended on both sides by its neighbours' edges, along several dims with corners."""
        for e in edges:
            first, x, last = cut_halo(x, e)
            left, right = _from_neighbours(last, first, e.axes, e.parts, e.periodic)
            x = join_halo(left, x, right, e)
        return x

    def spill(self, x: jax.Array, *edges: Edge) -> jax.Array:
        """The block with what its neighbours hold beyond their edges added: `halo` transposed.

        x holds `width` elements before the block's first one, and `width` more right behind its real ones.
        """
        for e in edges:
            before, x, behind = cut_spill(x, e)
            left, right = _from_neighbours(behind, before, e.axes, e.parts, e.periodic)
            x = join_spill(left, x, right, e)
        return x

    def pass_on(self, left: jax.Array, right: jax.Array, axes: Axes, parts: int) -> tuple[jax.Array, jax.Array]:
        """Hands an array to each neighbour on the ring, and gives what these hand on: (the left one's, the right's)."""
        return _from_neighbours(right, left, axes, parts)


LAX = LaxCollectives()


def _from_neighbours(
    last: jax.Array, first: jax.Array, axes: Axes, parts: int, periodic: bool = True
) -> tuple[jax.Array, jax.Array]:
    """What the left neighbour has as `last`, and the right one as `first`; zeros beyond the ends of what is no ring."""
    rank, axes = mesh_ranks(axes), tuple(a for a in _mesh_order() if a in axes)
    on = [(rank[i], rank[(i + 1) % parts]) for i in range(parts if periodic else parts - 1)]
    left = _permuted(last, axes, on)
    right = _permuted(first, axes, [(there, here) for here, there in on])
    return left, right


def _permuted(x: jax.Array, axes: Axes, pairs: Sequence[tuple[int, int]]) -> jax.Array:
    """`jax.lax.ppermute`; in a trace that is `apart` each device takes its sender's part of a gather instead."""
    if not _apart.get():
        return jax.lax.ppermute(x, axes, list(pairs))
    sender = np.full(math.prod(jax.lax.axis_size(a) for a in axes), -1, np.int32)
    for here, there in pairs:
        sender[there] = here
    mine = jnp.asarray(sender)[jax.lax.axis_index(axes)]
    found = jax.lax.all_gather(x, axes)[jnp.maximum(mine, 0)]
    return found if (sender >= 0).all() else jnp.where(mine >= 0, found, jnp.zeros((), x.dtype))


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
