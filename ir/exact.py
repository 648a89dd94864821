"""Sums of float64 terms that no order, grouping or cut into blocks can change by a bit.

A float64 is an integer of 53 bits at a place given by its exponent. The places are divided into fixed bins of 28 bits;
the largest term decides the top bin, and of every term the bits in the top three bins are kept and added as integers.
Integer addition is associative, and what a term gives to a bin depends on that term alone, so blocks may be summed in
any order and by any compiler. A block that holds no large term keeps bins below those that count in the end, never
fewer: the blocks' `accumulate` add up, in one all-reduce, to the whole's.

Bits below the three bins are cut off, at most 2^-56 of the largest term for each term; float64 addition in an arbitrary
order does worse. The scheme is that of Demmel and Nguyen, "Parallel reproducible summation" (IEEE Trans. Comput. 64,
2015), with integers in the place of their error-free float additions, which a compiler may contract into others.

To be traced inside `jax.enable_x64(True)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .together import reduce_together, sum_together

_WIDTH = 28
"""Bits of a bin; 2^35 terms of one block, and of all blocks together, can be added to it before an int64 overflows."""
_KEPT = 3
_MANTISSA = 52
_SPECIAL = 2047
"""The biased exponent of infinities and NaN."""
_BINS = (_SPECIAL + _MANTISSA) // _WIDTH + 1
SLOTS = 2 * _BINS + 3
"""int64 numbers that stand for one sum: the bins, how many blocks have their top in each, and how many blocks' terms
that are not finite come to NaN, inf and -inf."""

_MAGNITUDE = np.int64(2**63 - 1)
_FRACTION = np.int64(2**_MANTISSA - 1)


def _exponent(word: jax.Array) -> jax.Array:
    return (word & _MAGNITUDE) >> np.int64(_MANTISSA)


def _bits_in_bin(word: jax.Array, lowest: jax.Array) -> jax.Array:
    """What the float64 of these bits holds in the bin that starts at place `lowest`, with its sign."""
    exponent = _exponent(word)
    mantissa = (word & _FRACTION) | np.int64(1 << _MANTISSA)
    right = lowest - exponent
    # A shift by 64 or more is undefined; by 63 nothing is left of a mantissa, and to the left nothing within the bin.
    moved = jnp.where(
        right >= 0,
        lax.shift_right_logical(mantissa, jnp.clip(right, 0, 63)),
        lax.shift_left(mantissa, jnp.clip(-right, 0, 63)),
    )
    kept = jnp.where(exponent > 0, moved & np.int64((1 << _WIDTH) - 1), np.int64(0))  # subnormals count as zero
    return jnp.where(word < 0, -kept, kept)


def accumulate(parts: Sequence[Sequence[jax.Array]]) -> jax.Array:
    """int64[C, len(parts[0]), SLOTS]: several sums over one block, each over all `parts`.

    A part is float64[C, ...] terms for every sum, all of one shape. The results of several blocks may be added.
    """
    words = [[lax.bitcast_convert_type(terms, jnp.int64) for terms in part] for part in parts]
    looked = [_look(part, w) for part, w in zip(parts, words, strict=True)]
    largest = reduce(jnp.maximum, (size for size, _ in looked))
    special = reduce(jnp.add, (rest for _, rest in looked))
    top = (_exponent(largest) + np.int64(_MANTISSA)) // np.int64(_WIDTH)  # [C, sums], as all that follows
    slot = lax.iota(jnp.int64, _BINS)
    bins = [top - np.int64(below) for below in range(_KEPT)]
    held = reduce(jnp.add, (_held(w, [b * np.int64(_WIDTH) for b in bins]) for w in words))
    placed = [jnp.where(slot == b[..., None], held[i][..., None], np.int64(0)) for i, b in enumerate(bins)]
    kinds = jnp.stack([jnp.isnan(special), special == np.inf, special == -np.inf], axis=-1)
    return jnp.concatenate([reduce(jnp.add, placed), slot == top[..., None], kinds], axis=-1, dtype=jnp.int64)


def _look(part: Sequence[jax.Array], words: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """The largest magnitude as bits, and the sum of the terms that are not finite; [C, sums] each."""
    rest = [jnp.where(_exponent(w) == _SPECIAL, x, np.float64(0)) for x, w in zip(part, words, strict=True)]
    operators = [jnp.maximum] * len(part) + [jnp.add] * len(part)
    neutral = [np.int64(0)] * len(part) + [np.float64(0)] * len(part)
    found = reduce_together([w & _MAGNITUDE for w in words] + rest, operators, neutral)
    return jnp.stack(found[: len(part)], axis=1), jnp.stack(found[len(part) :], axis=1)


def _held(words: Sequence[jax.Array], lowest: Sequence[jax.Array]) -> jax.Array:
    """int64[kept bins, C, sums]: what the terms of one part add to each bin."""
    trail = (1,) * (words[0].ndim - 1)
    sums = sum_together([_bits_in_bin(w, at[:, i].reshape(-1, *trail)) for at in lowest for i, w in enumerate(words)])
    return jnp.stack(sums).reshape(len(lowest), len(words), -1).swapaxes(1, 2)


def total(slots: jax.Array) -> jax.Array:
    """float64[...]: the sums that int64[..., SLOTS] stand for. Terms below 2^-960 may count as zero."""
    bins, tops, kinds = jnp.split(slots, [_BINS, 2 * _BINS], axis=-1)
    slot = lax.iota(jnp.int64, _BINS)
    top = jnp.max(jnp.where(tops > 0, slot, np.int64(0)), axis=-1)
    result = jnp.zeros(top.shape, jnp.float64)
    for below in range(_KEPT - 1, -1, -1):
        bin_ = top - np.int64(below)
        count = jnp.sum(jnp.where(slot == bin_[..., None], bins, np.int64(0)), axis=-1)
        # 2^(28 bin - 1075), made of its bits: exact, and zero where no normal number is that small.
        biased = bin_ * np.int64(_WIDTH) - np.int64(1075 - 1023)
        scale = lax.bitcast_convert_type(jnp.clip(biased, 0, 2046) << np.int64(_MANTISSA), jnp.float64)
        result = result + count.astype(jnp.float64) * scale
    nan, up, down = (kinds[..., i] > 0 for i in range(3))
    result = jnp.where(up, np.inf, jnp.where(down, -np.inf, result))
    return jnp.where(nan | (up & down), np.nan, result)


__all__ = ["SLOTS", "accumulate", "total"]
