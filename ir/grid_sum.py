"""Sums over a mesh that no cut into blocks can change by a bit, for results that are arrays.

The largest term of all devices decides a grid so coarse that all terms, rounded to it, add up in float64 without
error; what rounding leaves is rounded to a second grid, as much finer. Exact sums have no order. This takes three
float64 of each result in the all-reduce, and one more all-reduce, of the largest term; `ir.exact`, which needs neither
that one nor a bound on the number of terms, takes 153 integers. Of N terms the bits down to 2^-(105 - 2 log2 N) of the
largest count.

The grids are powers of two and roundings are to integers, so that a compiler's contraction of products into sums
changes nothing ("pre-rounding": Demmel and Nguyen, IEEE Trans. Comput. 64, 2015). To be traced inside
`jax.enable_x64(True)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_MANTISSA, _BIAS = 52, 1023
_SMALLEST = -800
"""Terms below 2^-800 count as zero: the finer grid is still of normal numbers."""


AllReduce = Callable[[jax.Array, tuple[str, ...], str], jax.Array]
"""`f(x, mesh axes, "sum" or "max")`."""


def lax_all_reduce(x: jax.Array, mesh_axes: tuple[str, ...], kind: str) -> jax.Array:
    return {"sum": lax.psum, "max": lax.pmax}[kind](x, mesh_axes)


def grid_sum(
    terms: jax.Array,
    axes: tuple[int, ...],
    mesh_axes: tuple[str, ...],
    count: int,
    all_reduce: AllReduce = lax_all_reduce,
) -> jax.Array:
    """float64: real `terms` summed over array axes and over mesh axes, equal on all of their devices.

    count: a bound on the terms of one result, those of all devices together. Infinities and NaN give what they would
    in any sum.
    """
    terms = terms.astype(jnp.float64)
    finite = jnp.isfinite(terms)
    real = jnp.where(finite, terms, np.float64(0))
    largest = jnp.max(jnp.abs(real), axis=axes, keepdims=True)
    if mesh_axes:
        largest = all_reduce(largest, mesh_axes, "max")
    bits = _MANTISSA - math.ceil(math.log2(max(count, 1)))  # a rounded term has so many
    exponent = lax.bitcast_convert_type(largest, jnp.int64) >> np.int64(_MANTISSA)
    above = jnp.maximum(exponent - np.int64(_BIAS), np.int64(_SMALLEST)) + np.int64(1)  # largest < 2^above
    coarse = jnp.round(real * _power(np.int64(bits) - above))
    rest = real - coarse * _power(above - np.int64(bits))
    fine = jnp.round(rest * _power(np.int64(2 * bits + 1) - above))
    strange = jnp.where(finite, np.float64(0), terms)
    sums = jnp.stack([jnp.sum(x, axis=axes) for x in (coarse, fine, strange)])
    if mesh_axes:
        sums = all_reduce(sums, mesh_axes, "sum")
    above = above.reshape(sums.shape[1:])
    whole = sums[0] * _power(above - np.int64(bits)) + sums[1] * _power(above - np.int64(2 * bits + 1))
    return whole + sums[2]


def _power(exponent: jax.Array) -> jax.Array:
    """2^exponent, made of its bits."""
    return lax.bitcast_convert_type((exponent + np.int64(_BIAS)) << np.int64(_MANTISSA), jnp.float64)
