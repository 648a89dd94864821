"""Moving a block along the path of moves that a plan stores, and attaching declared halos."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import jax
import jax.numpy as jnp

from ir.dims import TensorType
from ir.layout import Layout, Move, block, block_shape, replay
from ir.mesh import Mesh
from ir.permute import routes

from .halo import Edge
from .lax_collectives import LaxCollectives, Resharding

COPIES = ("all_gather", "all_to_all", "slice", "permute")
"""The moves that add nothing up."""


def reshard(
    comm: LaxCollectives, x: jax.Array, t: TensorType, path: tuple[Move, ...], layout: Layout, mesh: Mesh
) -> jax.Array:
    """The block after the moves of `path`, starting in `layout`."""
    for copies, run in groupby(replay(path, layout, t, mesh), lambda step: step[0].kind in COPIES):
        steps = list(run)
        made = comm.at_once(x, t, steps, mesh) if copies else None
        x = _one_by_one(comm, x, t, steps, mesh) if made is None else made
    return x


def _one_by_one(
    comm: LaxCollectives, x: jax.Array, t: TensorType, steps: Sequence[Resharding], mesh: Mesh
) -> jax.Array:
    for move, before, then in steps:
        source = t.index(move.source) if move.source else -1
        target = t.index(move.target) if move.target else -1
        parts = mesh.size(move.axes)
        if move.target:  # dealt out in equal pieces: pad the block to whole pieces
            piece = block(t[move.target], mesh.size(then.axes(move.target)))
            x = _grow(x, target, piece * parts)
        if move.kind == "all_reduce":
            x = comm.all_reduce(x, move.axes, before.reduce)
        elif move.kind == "reduce_scatter":
            x = comm.reduce_scatter(x, move.axes, target)
        elif move.kind == "all_gather":
            x = comm.all_gather(x, move.axes, source)
        elif move.kind == "all_to_all":
            x = comm.all_to_all(x, move.axes, source, target)
        elif move.kind == "slice":
            x = comm.slice(x, move.axes, target, parts)
        elif move.kind == "permute":
            x = _permute(comm, x, t, move, before, then, mesh)
        if move.source:
            x = _cut(x, source, block(t[move.source], mesh.size(then.axes(move.source))))
    return x


def attach_halos(comm: LaxCollectives, x: jax.Array, t: TensorType, moves: Sequence[Move], mesh: Mesh) -> jax.Array:
    """The block with its neighbours' edges on both sides along the split dims of halos."""
    return comm.halo(x, *(_edge(t, m, mesh) for m in moves))


def take_in(comm: LaxCollectives, x: jax.Array, t: TensorType, moves: Sequence[Move], mesh: Mesh) -> jax.Array:
    """The block with what its neighbours' blocks hold beyond their edges added; what it holds itself there is cut."""
    return comm.spill(x, *(_edge(t, m, mesh) for m in moves))


def _edge(t: TensorType, move: Move, mesh: Mesh) -> Edge:
    assert move.source is not None
    return Edge(move.axes, t.index(move.source), move.width, mesh.size(move.axes), t[move.source])


def _permute(
    comm: LaxCollectives, x: jax.Array, t: TensorType, move: Move, before: Layout, then: Layout, mesh: Mesh
) -> jax.Array:
    """The new block, of what other devices hold: their blocks or pieces of them, one a round."""
    rounds, made = routes(before.splits, then.splits, mesh), jnp.zeros((), x.dtype)
    me = jax.lax.axis_index(move.axes)
    for n, found in enumerate(rounds):
        piece = x
        for dim, numbers in found.cut:
            extent = block(t[dim], mesh.size(then.axes(dim)))
            piece = _grow(piece, t.index(dim), extent * (max(numbers) + 1))
            start = jnp.asarray(numbers, jnp.int32)[me] * jnp.int32(extent)
            piece = jax.lax.dynamic_slice_in_dim(piece, start, extent, t.index(dim))
        piece = comm.permute(piece, move.axes, found.pairs)
        if len(rounds) == 1:
            return piece
        put = {t.index(dim): numbers for dim, numbers in found.put}
        if n == 0:
            parts = [1 + max(put.get(axis, (0,))) for axis in range(piece.ndim)]
            made = jnp.zeros([p * extent for p, extent in zip(parts, piece.shape, strict=True)], x.dtype)
        starts = [jnp.int32(0)] * piece.ndim
        for axis, numbers in put.items():
            starts[axis] = jnp.asarray(numbers, jnp.int32)[me] * jnp.int32(piece.shape[axis])
        made = jax.lax.dynamic_update_slice(made, piece, starts)
    for axis, extent in enumerate(block_shape(t, then, mesh)):
        made = _cut(made, axis, extent)
    return made


def _grow(x: jax.Array, axis: int, extent: int) -> jax.Array:
    if x.shape[axis] == extent:
        return x
    pad = [(0, 0)] * x.ndim
    pad[axis] = (0, extent - x.shape[axis])
    return jnp.pad(x, pad)


def _cut(x: jax.Array, axis: int, extent: int) -> jax.Array:
    return x if x.shape[axis] == extent else jax.lax.slice_in_dim(x, 0, extent, axis=axis)
