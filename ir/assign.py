"""How a particle is shared among cells: the kernels of a particle mesh, and the cells of a block that they touch.

Kernels are B-splines of one to four cells a dim: nearest grid point, cloud in cell, triangular shaped cloud, piecewise
cubic (Hockney & Eastwood 1988, section 5-2; PCS: Chaniotis & Poulikakos 2004). Cell i stands at position i.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from operator import mul
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

CELLS = {"ngp": 1, "cic": 2, "tsc": 3, "pcs": 4}
"""By kernel, how many cells along each dim a particle touches."""

FARTHEST = 2.0**22
"""A displacement of more cells than this counts as NaN: float32 knows its cell no more."""


def beyond(kernel: str) -> int:
    """How many cells more than its displacement a particle reaches from its own cell."""
    return CELLS[kernel] // 2 + CELLS[kernel] % 2


def middle(kernel: str) -> int:
    """How many cells after its first one a particle's own cell stands."""
    return CELLS[kernel] // 2 if CELLS[kernel] % 2 else CELLS[kernel] // 2 - 1


def split_position(u: jax.Array, kernel: str) -> tuple[jax.Array, jax.Array]:
    """The whole number of the first cell that a particle at u touches, and its place t within the middle one.

    t is from 0 to 1 for kernels of an even number of cells, from -1/2 to 1/2 for the others.
    """
    cells = CELLS[kernel]
    whole = jnp.floor(u if cells % 2 == 0 else u + u.dtype.type(0.5))
    return whole - u.dtype.type(middle(kernel)), u - whole


def weights(t: jax.Array, kernel: str) -> list[jax.Array]:
    """The parts of a particle at t that its cells get, in order; they sum to 1."""
    number = t.dtype.type
    if kernel == "ngp":
        return [jnp.ones_like(t)]
    if kernel == "cic":
        return [number(1) - t, t]
    if kernel == "tsc":
        low, high = number(0.5) - t, number(0.5) + t
        return [number(0.5) * low * low, number(0.75) - t * t, number(0.5) * high * high]
    r = number(1) - t
    inner = lambda x: (number(4) - number(6) * x * x + number(3) * x * x * x) / number(6)  # noqa: E731
    return [r * r * r / number(6), inner(t), inner(r), t * t * t / number(6)]


def slopes(t: jax.Array, kernel: str) -> list[jax.Array]:
    """The derivatives of `weights`; those of CIC jump as a particle passes a cell's centre, those of NGP are zero."""
    number = t.dtype.type
    if kernel == "ngp":
        return [jnp.zeros_like(t)]
    if kernel == "cic":
        return [jnp.full_like(t, -1), jnp.ones_like(t)]
    if kernel == "tsc":
        return [t - number(0.5), number(-2) * t, t + number(0.5)]
    r = number(1) - t
    inner = lambda x: x * (number(1.5) * x - number(2))  # noqa: E731
    return [number(-0.5) * r * r, inner(t), -inner(r), number(0.5) * t * t]


@dataclass(frozen=True)
class Axis:
    """One dim of a block of the mesh, and where the lattice of particles lies on it."""

    cells: int
    """Cells of the mesh along the dim, of the block alone."""
    points: np.ndarray
    """Positions of the block's lattice points, in cells from the block's first one, margin left out: i64 numerators."""
    denominator: int
    margin: int | None
    """How many cells more a split dim's block has on both sides; None where the dim is whole."""
    tail: int = 0
    """How many of its first cells a whole dim has once more behind its end, so that no kernel goes around it."""

    @property
    def extent(self) -> int:
        return self.cells + (2 * self.margin if self.margin is not None else self.tail)


def with_tails(x: jax.Array, axes: Sequence[Axis]) -> jax.Array:
    """A field with the first cells of whole dims once more behind their ends."""
    for i, axis in enumerate(axes):
        left = axis.tail if axis.margin is None else 0
        while left:
            piece = jax.lax.slice_in_dim(x, 0, min(left, axis.cells), axis=i)
            x, left = jnp.concatenate([x, piece], axis=i), left - piece.shape[i]
    return x


def fold_tails(x: jax.Array, axes: Sequence[Axis]) -> jax.Array:
    """What was painted behind the ends of whole dims added to their first cells: the transpose of `with_tails`."""
    for i, axis in enumerate(axes):
        if axis.margin is not None:
            continue
        behind = x
        x = jax.lax.slice_in_dim(x, 0, axis.cells, axis=i)
        for start in range(axis.cells, axis.extent, axis.cells):
            piece = jax.lax.slice_in_dim(behind, start, min(start + axis.cells, axis.extent), axis=i)
            first = jax.lax.slice_in_dim(x, 0, piece.shape[i], axis=i)
            x = jax.lax.dynamic_update_slice_in_dim(x, first + piece, 0, i)
    return x


def first_cells(axis: Axis, displacement: jax.Array, kernel: str, along: int) -> tuple[jax.Array, jax.Array]:
    """The first cell of each particle along a dim, from the block's first one (i32; it may lie outside), and t.

    displacement [lattice …] in cells, whose array axis `along` is the dim's.
    """
    whole, rest = np.divmod(axis.points, axis.denominator)
    displacement = jnp.where(jnp.abs(displacement) < FARTHEST, displacement, displacement.dtype.type(np.nan))
    shape = [-1 if i == along else 1 for i in range(displacement.ndim)]
    part = jnp.asarray((rest / axis.denominator).reshape(shape), displacement.dtype)
    first, t = split_position(displacement + part if rest.any() else displacement, kernel)
    return first.astype(jnp.int32) + jnp.asarray(whole.reshape(shape), jnp.int32), t


def settle(axis: Axis, cell: jax.Array, kernel: str, dtype: Any) -> jax.Array:
    """The numbers of first cells in the block with its margins: taken around where the dim is whole, never outside.

    dtype: of the displacements, in which turns around the box are counted.
    """
    if axis.margin is not None:
        last = axis.extent - CELLS[kernel]
        return jnp.clip(cell + jnp.int32(axis.margin), jnp.int32(0), jnp.int32(last))
    number = jnp.dtype(dtype).type
    turns = jnp.floor((cell.astype(dtype) + number(0.5)) * number(1 / axis.cells)).astype(jnp.int32)
    cell = cell - turns * jnp.int32(axis.cells)
    cell = jnp.where(cell < 0, cell + jnp.int32(axis.cells), cell)  # where the product was rounded
    cell = jnp.where(cell >= axis.cells, cell - jnp.int32(axis.cells), cell)
    return jnp.clip(cell, jnp.int32(0), jnp.int32(axis.cells - 1))  # NaN has no cell


class Cells:
    """The cells that particles of a block touch, as numbers in the flat block with its margins and tails.

    All of a particle's cells are found from its first one by adding constants. firsts, t: by dim, what `first_cells`
    says of the particles, all of one shape.
    """

    def __init__(self, axes: Sequence[Axis], kernel: str, firsts: Sequence[jax.Array], t: Sequence[jax.Array]):
        self.axes, self.kernel, self.t = axes, kernel, t
        size = reduce(mul, [a.extent for a in axes], 1)
        self.integer: Any = jnp.int32 if size < 2**31 else jnp.int64
        self.strides = [reduce(mul, [a.extent for a in axes[i + 1 :]], 1) for i in range(len(axes))]
        firsts = [settle(axis, f, kernel, x.dtype) for axis, f, x in zip(axes, firsts, t, strict=True)]
        parts = [f.astype(self.integer) * self.integer(n) for f, n in zip(firsts, self.strides, strict=True)]
        self.first = reduce(jnp.add, parts)

    @classmethod
    def of(cls, axes: Sequence[Axis], displacements: Sequence[jax.Array], kernel: str) -> Cells:
        """The cells of the particles of a block's lattice."""
        found = [first_cells(axis, d, kernel, i) for i, (axis, d) in enumerate(zip(axes, displacements, strict=True))]
        return cls(axes, kernel, [first for first, _ in found], [t for _, t in found])

    def over(self, body: Callable[[Any, jax.Array, Picked], Any], carry: Any) -> Any:
        """body(carry, numbers of the cells, picked) over the cells that each particle touches, one after the other.

        `picked(lists)` are, of a list by dim with an entry for each of the kernel's cells there, those of this cell.
        CPUs go around in a loop: XLA's compiler for them would hold what is read from all cells at once.
        """
        count, rank = CELLS[self.kernel], len(self.axes)

        def unrolled(carry):
            for corner in product(range(count), repeat=rank):
                at = self.first + self.integer(sum(map(mul, corner, self.strides)))
                carry = body(carry, at, lambda lists, corner=corner: [x[j] for x, j in zip(lists, corner, strict=True)])
            return carry

        def in_turn(carry):
            def one(n, carry):
                n = n.astype(jnp.int32)
                corner = [jax.lax.rem(n // jnp.int32(count**i), jnp.int32(count)) for i in reversed(range(rank))]
                steps = [j.astype(self.integer) * self.integer(s) for j, s in zip(corner, self.strides, strict=True)]
                pick = lambda lists: [jax.lax.select_n(j, *x) for x, j in zip(lists, corner, strict=True)]  # noqa: E731
                return body(carry, self.first + reduce(jnp.add, steps), pick)

            return jax.lax.fori_loop(0, count**rank, one, carry)  # whole numbers: a scan, which can be differentiated

        return jax.lax.platform_dependent(carry, cpu=in_turn, default=unrolled)


Picked = Callable[[list[list[jax.Array]]], list[jax.Array]]
