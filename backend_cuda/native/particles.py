"""Painting and reading of particles (cloud in cell, three dims) by hand-written kernels.

They take the `Cells` of `ir.assign`, which says where a block's particles are, margins and tails included, and do what
`ir.ops.particles` does with XLA's scatters and gathers, eight of each, in one call. No gradients: the graph has them.
A first use builds the library (build.py); without a compiler that is a `Diagnostic`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, reduce
from operator import mul

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

from ir.assign import Cells
from ir.errors import InternalError

from .build import kernels


def paint(cells: Cells, values: jax.Array | None = None, deterministic: bool = False) -> jax.Array:
    """The flat block, margins and tails included, with the particles' values added; mass 1 each without values.

    deterministic: the same bits in any order of the particles, on CPUs and GPUs. Values become whole numbers of
    2^-61 times their largest times how many there are, rounded up to a power of two; it takes 8 bytes more a cell.
    Where a value is not finite, or a particle nowhere, the whole block is NaN. Otherwise GPUs add in the order in which
    particles come, another one in each run.
    """
    _check(cells)
    strides, size = cells.strides[:2], reduce(mul, (a.extent for a in cells.axes), 1)
    t = [x.reshape(-1) for x in cells.t]
    values = jnp.ones((1,), t[0].dtype) if values is None else values.reshape(-1)
    if values.dtype != t[0].dtype or values.shape[0] not in (1, t[0].shape[0]):
        raise InternalError(f"values {values.dtype}{values.shape} for particles {t[0].dtype}{t[0].shape}")
    return _paint(tuple(strides), size, deterministic)(cells.first.reshape(-1), *t, values)


def read(cells: Cells, field: jax.Array) -> jax.Array:
    """The values at the particles of a flat field, margins and tails included."""
    _check(cells)
    size = reduce(mul, (a.extent for a in cells.axes), 1)
    if field.shape != (size,) or field.dtype != cells.t[0].dtype:
        raise InternalError(f"a field {field.dtype}{field.shape} for {size} cells of {cells.t[0].dtype}")
    found = _read(tuple(cells.strides[:2]))(cells.first.reshape(-1), *(x.reshape(-1) for x in cells.t), field)
    return found.reshape(cells.t[0].shape)


def _check(cells: Cells) -> None:
    if cells.kernel != "cic" or len(cells.axes) != 3:
        raise InternalError(f"kernels for {cells.kernel} in {len(cells.axes)} dims: there are those of cic in three")
    if cells.t[0].dtype not in (jnp.float32, jnp.float64):
        raise InternalError(f"particles in {cells.t[0].dtype}: there are kernels for float32 and float64")
    kernels("cpu" if jax.default_backend() == "cpu" else "gpu")


@cache
def _paint(strides: Sequence[int], size: int, deterministic: bool):
    @custom_vmap
    def call(first: jax.Array, x: jax.Array, y: jax.Array, z: jax.Array, values: jax.Array) -> jax.Array:
        words = 2 * (size + 1) if deterministic else 0
        results = (jax.ShapeDtypeStruct((size,), x.dtype), jax.ShapeDtypeStruct((words,), jnp.int32))
        return jax.ffi.ffi_call("meshbayes_paint", results)(first, x, y, z, values, strides=np.array(strides))[0]

    @call.def_vmap
    def _(count: int, batched: list[bool], first, *rest):
        return _one_by_one(call, count, batched, (first, *rest)), True

    return call


@cache
def _read(strides: Sequence[int]):
    @custom_vmap
    def call(first: jax.Array, x: jax.Array, y: jax.Array, z: jax.Array, field: jax.Array) -> jax.Array:
        made = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.ffi.ffi_call("meshbayes_read", made)(first, x, y, z, field, strides=np.array(strides))

    @call.def_vmap
    def _(count: int, batched: list[bool], first, *rest):
        return _one_by_one(call, count, batched, (first, *rest)), True

    return call


def _one_by_one(call: Callable[..., jax.Array], count: int, batched: Sequence[bool], given: Sequence[jax.Array]):
    """A call for each of a batch: what is the largest value of one is not that of another."""
    each = [x if b else jnp.broadcast_to(x, (count, *x.shape)) for b, x in zip(batched, given, strict=True)]
    return jax.lax.map(lambda xs: call(*xs), tuple(each))
