"""Elements of flat arrays by their numbers; a batch of arrays is one array that is as many times as long.

A gather or scatter that XLA is given with a batch dim has indices of two columns, which it writes out for each call:
twice the memory of one column, and nothing that makes the index is fused with what uses it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap


@custom_vmap
def taken(x: jax.Array, at: jax.Array) -> jax.Array:
    """The elements of x [n] with the numbers `at`, all of which it has."""
    return x.at[at].get(mode="promise_in_bounds")


@custom_vmap
def added(x: jax.Array, at: jax.Array, values: jax.Array) -> jax.Array:
    """x [n] with values added to the elements with the numbers `at`, all of which it has."""
    return x.at[at].add(values, mode="promise_in_bounds")


@custom_vmap
def replaced(x: jax.Array, at: jax.Array, values: jax.Array) -> jax.Array:
    """x [n] with values instead of the elements with the numbers `at`; there is nothing to replace at n and beyond."""
    return x.at[at].set(values, mode="drop")


@taken.def_vmap
def _taken(size: int, batched: list[bool], x: jax.Array, at: jax.Array) -> tuple[jax.Array, bool]:
    if not batched[0]:
        return taken(x, at), True
    return taken(x.reshape(-1), _in_one(size, x.shape[1], at, batched[1])), True


@added.def_vmap
def _added(size: int, batched: list[bool], x: jax.Array, at: jax.Array, values: jax.Array) -> tuple[jax.Array, bool]:
    x, values = _each(size, batched[0], x), _each(size, batched[2], values)
    return added(x.reshape(-1), _in_one(size, x.shape[1], at, batched[1]), values).reshape(x.shape), True


@replaced.def_vmap
def _replaced(size: int, batched: list[bool], x: jax.Array, at: jax.Array, values: jax.Array) -> tuple[jax.Array, bool]:
    x, at, values = (_each(size, b, v) for b, v in zip(batched, (x, at, values), strict=True))
    length = x.shape[1]
    at = jnp.where(at < length, _in_one(size, length, at, True), size * length)
    return replaced(x.reshape(-1), at, values).reshape(x.shape), True


def _each(size: int, batched: bool, x: jax.Array) -> jax.Array:
    return x if batched else jnp.broadcast_to(x, (size, *x.shape))


def _in_one(size: int, length: int, at: jax.Array, batched: bool) -> jax.Array:
    """The numbers in arrays of a length, as those in the one array that all of them are."""
    integer: Any = at.dtype.type if size * length < 2**31 else jnp.int64
    at = at if batched else at[None]
    first = jnp.arange(size, dtype=integer).reshape(-1, *(1,) * (at.ndim - 1)) * integer(length)
    return at.astype(integer) + first


__all__ = ["added", "replaced", "taken"]
