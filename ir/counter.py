"""Counter-based random numbers: noise is a pure function of a key and a *global* index.

A block of a tensor draws its own part from the positions it holds, without communication, and gets what one device
would have drawn for the whole. Nothing here has state. A `Key` is two 32-bit words; `derive` makes a key for a purpose
from another key, and `bits(key, index)` are the 64 random bits of one element. Key words may be arrays (one key per
chain): they broadcast against the index, as NumPy does (`expand` adds the trailing axes).

The generator is Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2,
3", SC11), the one behind `jax.random`; its published known answers are tests. The second counter word 0xFFFFFFFF is for
`derive`; global indices stay below it, so that no element's bits are ever some derived key.

Every dtype is explicit: float32 results are the same inside and outside `jax.enable_x64`, float64 ones need it.
Gamma, Poisson and binomial draws are in `ir.counter_rejection`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import quantile
from .errors import InternalError
from .logarithm import log, log1m

Word = jax.Array | np.ndarray | np.uint32 | int
Key = tuple[jax.Array, jax.Array]
Index = tuple[jax.Array, jax.Array]
"""The low and the high 32 bits of a global row-major position."""

_MASK = 0xFFFFFFFF
_DERIVE = np.uint32(_MASK)
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def word(value: Word) -> Any:
    """`value` as 32-bit words; a Python integer is taken modulo 2^32."""
    if isinstance(value, int):
        return np.uint32(value & _MASK)
    return value.astype(jnp.uint32)


def site_hash(name: str) -> int:
    """The word of a site's name: CRC-32 of its UTF-8 bytes, the same on every machine and in every version."""
    return zlib.crc32(name.encode("utf-8"))


def seed_key(seed: int) -> tuple[np.uint32, np.uint32]:
    """The key of a 64-bit seed: low and high half."""
    return np.uint32(seed & _MASK), np.uint32((seed >> 32) & _MASK)


def threefry2x32(key: tuple[Word, Word], counter: tuple[Word, Word]) -> tuple[Any, Any]:
    """Threefry-2x32-20: two words from a key and a counter, all broadcast against each other; of NumPy's, NumPy's."""
    k0, k1 = word(key[0]), word(key[1])
    x0, x1 = word(counter[0]), word(counter[1])
    schedule = (k0, k1, k0 ^ k1 ^ _PARITY)
    with np.errstate(over="ignore"):
        x0, x1 = x0 + k0, x1 + k1
        for group in range(5):
            for rotation in _ROTATIONS[group % 2]:
                x0 = x0 + x1
                x1 = ((x1 << np.uint32(rotation)) | (x1 >> np.uint32(32 - rotation))) ^ x0
            x0 = x0 + schedule[(group + 1) % 3]
            x1 = x1 + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


def derive(key: tuple[Word, Word], *words: Word) -> Key:
    """The key of a purpose: `derive(key, a, b)` is `derive(derive(key, a), b)`, one Threefry evaluation a word."""
    for w in words:
        key = threefry2x32(key, (w, _DERIVE))
    return jnp.asarray(word(key[0])), jnp.asarray(word(key[1]))


def derive_on_host(key: tuple[Word, Word], *words: Word) -> tuple[np.ndarray, np.ndarray]:
    """`derive` of NumPy's words, without compiling anything."""
    for w in words:
        key = threefry2x32(key, (w, _DERIVE))
    return np.asarray(key[0]), np.asarray(key[1])


def expand(key: Key, ndim: int) -> Key:
    """Key words with `ndim` trailing axes of size 1, to stand against the index of a block of that many dims."""
    low, high = (jnp.reshape(w, (*jnp.shape(w), *(1,) * ndim)) for w in key)
    return low, high


def _product64(a: jax.Array, b: int) -> Index:
    """a b as two words, for 32-bit a and 64-bit b, by 16-bit halves (there is no 64-bit integer outside x64)."""
    low, high = b & _MASK, (b >> 32) & _MASK
    a0, a1 = a & np.uint32(0xFFFF), a >> np.uint32(16)
    b0, b1 = np.uint32(low & 0xFFFF), np.uint32(low >> 16)
    middle = a1 * b0 + ((a0 * b0) >> np.uint32(16))
    carry = (a0 * b1 + (middle & np.uint32(0xFFFF))) >> np.uint32(16)
    return a * np.uint32(low), a1 * b1 + (middle >> np.uint32(16)) + carry + a * np.uint32(high)


def _position(extent: int, offset: Word, wide: bool) -> Index:
    """offset + 0, 1, … as two words; the high one is 0 unless `wide`."""
    low = lax.iota(jnp.uint32, extent) + word(offset)
    if not wide:
        return low, jnp.zeros_like(low)
    # A traced offset is non-negative; one of 32 bits has no high word.
    high = np.uint32(0)
    if isinstance(offset, int) or offset.dtype.itemsize == 8:
        high = word(offset >> 32)
    return low, (low < word(offset)).astype(jnp.uint32) + high


def global_index(block: Sequence[int], offset: Sequence[Word], shape: Sequence[int], salt: Word = 0) -> Index:
    """The row-major positions in a tensor of extents `shape` of the elements of a block of extents `block` at `offset`.

    Offsets may be traced, in 64 bits where a dim has more than 2^32 positions. Elements past the end of a dim (padding)
    get positions that belong to other elements: they are to be selected away.

    `salt` is any number, and changes nothing: of one that differs from round to round of a loop, such as a key's word,
    XLA does not know that, and does not keep the positions of a block from before the loop.
    """
    if math.prod(shape) >= _MASK << 32:
        raise InternalError(f"a tensor of {math.prod(shape)} elements has no 64-bit positions")
    if max(block, default=0) > _MASK + 1:
        raise InternalError(f"a block of extents {tuple(block)} is counted by 32 bits along each dim")
    wide = math.prod(shape) > _MASK + 1
    high = jnp.zeros((1,) * len(block), jnp.uint32)
    salt = jnp.uint32(0) if wide else word(salt)  # of 64 bits a sum's carry tells of the low words
    low = high + salt
    for d, extent in enumerate(block):
        along = [1] * len(block)
        along[d] = extent
        stride = math.prod(shape[d + 1 :])
        position, over = (x.reshape(along) for x in _position(extent, offset[d], shape[d] > _MASK + 1))
        step, carry = _product64(position, stride) if wide else (position * np.uint32(stride & _MASK), high)
        total = low + step
        if wide:
            high = high + carry + over * np.uint32(stride & _MASK) + (total < low).astype(jnp.uint32)
        low = total
    return jnp.broadcast_to(low - salt, block), jnp.broadcast_to(high, block)


def bits(key: tuple[Word, Word], index: tuple[Word, Word]) -> tuple[jax.Array, jax.Array]:
    """The 64 random bits of each element, as two words."""
    return threefry2x32(key, index)


def _check_dtype(dtype) -> np.dtype:
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise InternalError(f"noise is drawn in float32 or float64, not in {dtype}")
    if dtype == np.float64 and not jax.config.read("jax_enable_x64"):
        raise InternalError("float64 noise needs jax.enable_x64(True) around the trace")
    return dtype


def _fraction(high: jax.Array, low: jax.Array, dtype: np.dtype) -> jax.Array:
    """(high + (low + 1/2) / 2^32) / 2^32 in (0, 1]: small values keep all digits of the dtype."""
    rest = (low.astype(dtype) + dtype.type(0.5)) * dtype.type(2.0**-32)
    return (high.astype(dtype) + rest) * dtype.type(2.0**-32)


def uniform(key: tuple[Word, Word], index: tuple[Word, Word], dtype: Any = "float32") -> jax.Array:
    """Uniform in the open interval (0, 1), from 64 bits: as small as 2^-65, at most 1 - eps/2, never 0 or 1."""
    dtype = _check_dtype(dtype)
    return jnp.minimum(_fraction(*bits(key, index), dtype), dtype.type(1 - np.finfo(dtype).epsneg))


def exponential(key: tuple[Word, Word], index: tuple[Word, Word], dtype: Any = "float32") -> jax.Array:
    """Exponential of rate 1, exact to rounding in relative terms at both ends, between 2^-65 and 45."""
    dtype = _check_dtype(dtype)
    high, low = bits(key, index)
    # -log(u) for u < 1/2 and -log1p(-(1 - u)) above: 1 - u is the complement of the bits, with no cancellation.
    below = high < np.uint32(1 << 31)
    u = _fraction(jnp.where(below, high, ~high), jnp.where(below, low, ~low), dtype)
    return jnp.where(below, -log(u), -log1m(u))


def normal(key: tuple[Word, Word], index: tuple[Word, Word], dtype: Any = "float32") -> jax.Array:
    """Standard normal, one element per 64 bits: a sign and 63 bits of magnitude, so that tails reach |z| = 9.1.

    Held to the inverse of the normal distribution by `test_normal_is_the_inverse_distribution`: relative error below
    1e-6 (float32) and 1e-13 (float64).
    """
    dtype = _check_dtype(dtype)
    high, low = bits(key, index)
    negative = (low & np.uint32(1)) == 0
    q = _fraction(high, low >> np.uint32(1) << np.uint32(1), dtype)  # P(|normal| > |z|), exact to rounding when small
    x = _fraction(~high, ~low, dtype)  # 1 - q, exact to rounding when small
    return (quantile.double if dtype == np.float64 else quantile.single)(q, x, negative)
