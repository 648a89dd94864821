"""Several reductions of arrays of one shape in one pass.

XLA:CPU makes a tree of windows of every single reduction, and fuses no product into that: four inner products of three
vectors take four passes and 24 bytes an element of memory. One variadic reduction takes one pass and no memory
(measured at 10^7 elements: 3.3 ns an element instead of 25).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax import lax

Operator = Callable[[jax.Array, jax.Array], jax.Array]


def reduce_together(
    arrays: Sequence[jax.Array], operators: Sequence[Operator], neutral: Sequence[np.generic]
) -> list[jax.Array]:
    """Each of the [C, ...] `arrays`, all of one shape, reduced to [C] by its operator with its neutral element."""
    axes = tuple(range(1, arrays[0].ndim))
    if not axes:
        return list(arrays)

    def pairwise(a: Sequence[jax.Array], b: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
        return tuple(f(x, y) for f, x, y in zip(operators, a, b, strict=True))

    return list(lax.reduce(tuple(arrays), tuple(neutral), pairwise, axes))


def sum_together(arrays: Sequence[jax.Array]) -> list[jax.Array]:
    """The [C] sums of [C, ...] `arrays`, all of one shape."""
    return reduce_together(arrays, [jax.numpy.add] * len(arrays), [a.dtype.type(0) for a in arrays])
