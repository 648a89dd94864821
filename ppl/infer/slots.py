"""Numbered rows of per-chain buffers [C, n, ...], where each chain reads and writes a row of its own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .space import Vector

FEW = 8
"""Chains up to which each one's row is written where it lies."""
SMALL = 2**14
"""Elements of a buffer up to which all of it is written anew in one fused loop: a scatter is a loop of its own."""


def read_slot(buffers: Vector, slot: jax.Array) -> Vector:
    """The row slot[C] of each chain, in range."""
    return {n: _read(b, slot) for n, b in buffers.items()}


def write_slot(buffers: Vector, slot: jax.Array, values: Vector) -> Vector:
    """Writes each chain's value to its row slot[C]; a slot past the end writes nothing."""
    return {n: write_row(b, slot, values[n]) for n, b in buffers.items()}


def _read(buffer: jax.Array, slot: jax.Array) -> jax.Array:
    if buffer.shape[0] == 1:
        return lax.dynamic_index_in_dim(buffer, slot[0], axis=1, keepdims=False)
    return buffer[jnp.arange(buffer.shape[0]), slot]


def record(buffer: jax.Array, slot: jax.Array, value: jax.Array) -> jax.Array:
    """The same of a buffer whose last row is of no account: that is where a chain writes that has nothing to write."""
    if buffer.shape[0] > FEW:
        return write_row(buffer, slot, value)
    rest = (np.int32(0),) * (buffer.ndim - 2)
    for chain in range(buffer.shape[0]):
        place = (np.int32(chain), slot[chain], *rest)
        buffer = lax.dynamic_update_slice(buffer, value[chain][None, None].astype(buffer.dtype), place)
    return buffer


def write_row(buffer: jax.Array, slot: jax.Array, value: jax.Array) -> jax.Array:
    """One buffer of `write_slot`."""
    if buffer.size > SMALL:
        return buffer.at[jnp.arange(buffer.shape[0]), slot].set(value, mode="drop")
    row = lax.broadcasted_iota(jnp.int32, buffer.shape, 1)
    here = row == slot.reshape(-1, *(1,) * (buffer.ndim - 1))
    return jnp.where(here, value[:, None], buffer)
