"""The logarithm in float32 by additions, products and one division, so that it has the same bits in every block.

XLA's for CPUs is another polynomial for vectors of four numbers than for those of eight and for single ones, so that
its last digit may depend on how large a block is. Relative error below 2.5e-7, twice that of XLA's.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
"""ln 2 in two parts, of which the first times a whole number up to 127 is exact."""


def log(x: jax.Array) -> jax.Array:
    """ln x of normal numbers x > 0; -inf at 0. float64 is XLA's, which does not depend on the block."""
    if x.dtype != jnp.float32:
        return jnp.log(x)
    bits = lax.bitcast_convert_type(x, jnp.int32)
    # x = m 2^e with m from sqrt(1/2) to sqrt(2): 0x3f3504f3 is the former's bits.
    exponent = (bits - np.int32(0x3F3504F3)) >> np.int32(23)
    m = lax.bitcast_convert_type(bits - (exponent << np.int32(23)), jnp.float32)
    e, s = exponent.astype(jnp.float32), (m - np.float32(1)) / (m + np.float32(1))
    found = e * np.float32(_LN2_HIGH) + (_twice_artanh(s, 5) + e * np.float32(_LN2_LOW))
    return jnp.where(x > 0, found, np.float32(-np.inf))


def log1m(x: jax.Array) -> jax.Array:
    """ln(1 - x) for x from 0 to 1/2, relative to the result."""
    if x.dtype != jnp.float32:
        return jnp.log1p(-x)
    return -_twice_artanh(x / (np.float32(2) - x), 8)


def _twice_artanh(s: jax.Array, terms: int) -> jax.Array:
    """ln((1 + s) / (1 - s)) = 2 s (1 + s^2 / 3 + s^4 / 5 + ...)."""
    square, total = s * s, jnp.full_like(s, 1 / (2 * terms - 1))
    for k in range(terms - 2, -1, -1):
        total = total * square + np.float32(1 / (2 * k + 1))
    double: Any = np.float32(2) * s
    return double * total


__all__ = ["log", "log1m"]
