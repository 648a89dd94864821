"""The logarithm in float32 by additions, products and one division, so that it has the same bits in every block.

XLA's for CPUs is another polynomial for vectors of four numbers than for those of eight and for single ones, so that
its last digit may depend on how large a block is. Relative error below 4e-7, three times that of XLA's.

The division comes last: XLA computes anew in each use what ends with cheap operations, and noise is made of this.
"""

from __future__ import annotations

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
    e = exponent.astype(jnp.float32)
    top, bottom = _of_one_and(m - np.float32(1))
    found = (e * np.float32(_LN2_HIGH) * bottom + (top + e * np.float32(_LN2_LOW) * bottom)) / bottom
    return jnp.where(x > 0, found, np.float32(-np.inf))


def log1m(x: jax.Array) -> jax.Array:
    """ln(1 - x) for x from 0 to 1/2, relative to the result."""
    if x.dtype != jnp.float32:
        return jnp.log1p(-x)
    top, bottom = _of_one_and(-x)
    return top / bottom


def _of_one_and(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """ln(1 + z) as a quotient, for z from -1/2 to sqrt(2) - 1.

    2 artanh(s) at s = z / (2 + z), by the Pade approximant s (945 - 735 s^2 + 64 s^4) / (945 - 1050 s^2 + 225 s^4).
    """
    number = np.float32
    q = number(2) + z
    u, v = z * z, q * q
    above = (number(945) * v - number(735) * u) * v + number(64) * u * u
    below = (number(945) * v - number(1050) * u) * v + number(225) * u * u
    return number(2) * z * above, q * below


__all__ = ["log", "log1m"]
