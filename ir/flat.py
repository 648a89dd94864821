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
def _take(x: jax.Array, at: jax.Array) -> jax.Array:
    return x.at[at].get(mode="promise_in_bounds")


@custom_vmap
def _add(x: jax.Array, at: jax.Array, values: jax.Array) -> jax.Array:
    return x.at[at].add(values, mode="promise_in_bounds")


@custom_vmap
def _replace(x: jax.Array, at: jax.Array, values: jax.Array) -> jax.Array:
    return x.at[at].set(values, mode="drop")


@_take.def_vmap
def _taken(size: int, batched: list[bool], x: jax.Array, at: jax.Array) -> tuple[jax.Array, bool]:
    if not batched[0]:
        return _take(x, at), True
    return _take(x.reshape(-1), _in_one(size, x.shape[1], at, batched[1])), True


@_add.def_vmap
def _added(size: int, batched: list[bool], x: jax.Array, at: jax.Array, values: jax.Array) -> tuple[jax.Array, bool]:
    x, values = _each(size, batched[0], x), _each(size, batched[2], values)
    return _add(x.reshape(-1), _in_one(size, x.shape[1], at, batched[1]), values).reshape(x.shape), True


@_replace.def_vmap
def _replaced(size: int, batched: list[bool], x: jax.Array, at: jax.Array, values: jax.Array) -> tuple[jax.Array, bool]:
    x, at, values = (_each(size, b, v) for b, v in zip(batched, (x, at, values), strict=True))
    length = x.shape[1]
    at = jnp.where(at < length, _in_one(size, length, at, True), size * length)
    return _replace(x.reshape(-1), at, values).reshape(x.shape), True


def _each(size: int, batched: bool, x: jax.Array) -> jax.Array:
    return x if batched else jnp.broadcast_to(x, (size, *x.shape))


def _in_one(size: int, length: int, at: jax.Array, batched: bool) -> jax.Array:
    """The numbers in arrays of a length, as those in the one array that all of them are."""
    integer: Any = at.dtype.type if size * length < 2**31 else jnp.int64
    at = at if batched else at[None]
    first = jnp.arange(size, dtype=integer).reshape(-1, *(1,) * (at.ndim - 1)) * integer(length)
    return at.astype(integer) + first


def _linear(f: Any, plain: Any) -> Any:
    """f with the derivative of a linear map of all its arrays but the numbers `at`, the second."""
    f = jax.custom_jvp(f)

    @f.defjvp
    def _(arrays: tuple[jax.Array, ...], tangents: tuple[Any, ...]) -> tuple[jax.Array, Any]:
        return f(*arrays), plain(tangents[0], arrays[1], *tangents[2:])

    return f


taken = _linear(_take, _take.fun)
"""taken(x [n], at): the elements of x with the numbers `at`, all of which it has."""
added = _linear(_add, _add.fun)
"""added(x [n], at, values): x with values added to the elements with the numbers `at`, all of which it has."""
replaced = _linear(_replace, _replace.fun)
"""replaced(x [n], at, values): x with values instead of the elements with the numbers `at`; there is nothing to replace
at n and beyond."""

__all__ = ["added", "replaced", "taken"]
