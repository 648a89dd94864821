"""Dense linear algebra on one matrix per batch element: a matrix has a dim for its rows and another for its columns.

All other dims are a batch. A factor L of a covariance is lower triangular: L[rows, cols] is zero where row < col.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from .. import lapack
from ..build import emit
from ..dims import Dim, TensorType, union
from ..errors import Diagnostic
from ..op import Op, Whole
from ..place import align
from .elementwise import product_into
from .reduce import unbroadcast
from .shape import check_free, check_has


@dataclass(frozen=True)
class Matrix(Op):
    """The interface of ops on a square matrix with dims `rows` and `cols`."""

    rows: str
    cols: str

    def check(self, x: TensorType) -> TensorType:
        """The matrix, refused where it lacks a dim, is not square or not real."""
        check_has(self, check_has(self, x, self.rows), self.cols)
        if x[self.rows] != x[self.cols]:
            raise Diagnostic(
                "type",
                f"{self.name} needs a square matrix, but '{self.rows}' has size {x[self.rows]} "
                f"and '{self.cols}' has {x[self.cols]}",
            )
        if not x.is_real:
            raise Diagnostic("type", f"{self.name} needs real numbers, but its operand is {x.dtype}")
        return x

    def roles(self, *operands):
        return {self.rows: Whole(), self.cols: Whole()}

    def batch(self, names: Sequence[str]) -> list[str]:
        return [d for d in names if d not in (self.rows, self.cols)]


@dataclass(frozen=True)
class Cholesky(Matrix):
    """The lower factor L of a symmetric positive definite A = L Lᵀ; NaN where A is not positive definite."""

    name: ClassVar[str] = "cholesky"

    def result(self, a):
        return self.check(a)

    def flops(self, a):
        return a.size * a[self.rows] / 3.0

    def local(self, place, a):
        names = place.operands[0].names
        last = (*self.batch(names), self.rows, self.cols)
        return align(lapack.cholesky(align(a, names, last)), last, names)

    @classmethod
    def examples(cls):
        i, j, n = Dim("i", 4), Dim("j", 4), Dim("n", 9)
        return [(cls("i", "j"), (TensorType((i, j), "f64"),)), (cls("i", "j"), (TensorType((j, n, i), "f64"),))]


@dataclass(frozen=True)
class TriangularSolve(Matrix):
    """z with L z = b, for b along `rows` and z along `cols`; with `transpose` z with Lᵀ z = b, from `cols` to `rows`.

    Only the lower triangle of L is read. Dims of b that L does not have are further right-hand sides.
    """

    transpose: bool = False
    name: ClassVar[str] = "triangular_solve"

    @property
    def given(self) -> str:
        return self.cols if self.transpose else self.rows

    @property
    def found(self) -> str:
        return self.rows if self.transpose else self.cols

    def result(self, factor, b):
        check_free(self, check_has(self, b, self.given), self.found)
        if factor.dtype != b.dtype:
            raise Diagnostic("type", f"triangular_solve of {factor.dtype} and {b.dtype}: both must have the same dtype")
        union(self.check(factor), b)  # refuses sizes that differ
        made = b.replace(self.given, Dim(self.found, b[self.given]))
        return TensorType(union(made, factor.without([self.rows, self.cols])), b.dtype)

    def renames(self):
        return {self.given: self.found}

    def linear(self, factor, b):
        return ((1,),)

    def flops(self, factor, b):
        return float(self.result(factor, b).size * b[self.given])

    def local(self, place, factor, b):
        tf, tb = place.operands
        batch = self.batch(tf.names)
        rest = [d for d in self.batch(tb.names) if d not in batch]
        extents = tuple(place.extent(d) for d in batch)
        size, many = tb[self.given], tuple(place.extent(d) for d in rest)
        a = align(factor, tf.names, (*batch, self.rows, self.cols))
        b = align(b, tb.names, (*batch, self.given, *rest))
        b = jnp.broadcast_to(b, (*extents, size, *many)).reshape((*extents, size, -1))
        z = lapack.triangular_solve(a, b, left_side=True, lower=True, transpose_a=self.transpose)
        names = (*batch, self.found, *rest)
        return align(z.reshape((*extents, size, *many)), names, place.results[0].names)

    def vjp(self, cotangent, result, factor, b):
        into_b = emit(TriangularSolve(self.rows, self.cols, not self.transpose), factor, cotangent)
        into_factor = emit(Tril(self.rows, self.cols), product_into(-into_b, result, factor.type))
        return into_factor, unbroadcast(into_b, b.type)

    @classmethod
    def examples(cls):
        i, j, n, m = Dim("i", 4), Dim("j", 4), Dim("n", 9), Dim("m", 3)
        one, many = TensorType((i, j), "f64"), TensorType((j, n, i), "f64")
        return [
            (cls("i", "j"), (one, TensorType((i,), "f64"))),
            (cls("i", "j"), (one, TensorType((n, i), "f64"))),
            (cls("i", "j", True), (many, TensorType((n, j, m), "f64"))),
            (cls("i", "j"), (many, TensorType((i, m), "f64"))),
        ]


@dataclass(frozen=True)
class Tril(Matrix):
    """The lower triangle of a matrix, zero where row < col (row <= col where `strict`)."""

    strict: bool = False
    name: ClassVar[str] = "tril"

    def result(self, x):
        return self.check(x)

    def roles(self, x):
        return {}

    def linear(self, x):
        return ((0,),)

    def local(self, place, x):
        names = place.operands[0].names
        row = align(place.index(self.rows), (self.rows,), names)
        col = align(place.index(self.cols), (self.cols,), names)
        return jnp.where(row > col if self.strict else row >= col, x, jnp.zeros((), x.dtype))

    def vjp(self, cotangent, result, x):
        return (emit(Tril(self.rows, self.cols, self.strict), cotangent),)

    @classmethod
    def examples(cls):
        box = (TensorType((Dim("i", 9), Dim("n", 3), Dim("j", 9)), "f64"),)
        return [(cls("i", "j"), box), (cls("i", "j", True), box)]


@dataclass(frozen=True)
class Diagonal(Matrix):
    """The diagonal of a matrix, along `rows`."""

    name: ClassVar[str] = "diagonal"

    def result(self, x):
        return self.check(x).without([self.cols])

    def linear(self, x):
        return ((0,),)

    def local(self, place, x):
        names = place.operands[0].names
        found = jnp.diagonal(x, axis1=names.index(self.rows), axis2=names.index(self.cols))
        return align(found, (*self.batch(names), self.rows), place.results[0].names)

    def vjp(self, cotangent, result, x):
        return (emit(DiagonalMatrix(self.rows, self.cols), cotangent),)

    @classmethod
    def examples(cls):
        i, j, n = Dim("i", 4), Dim("j", 4), Dim("n", 9)
        return [(cls("i", "j"), (TensorType((i, j), "f64"),)), (cls("i", "j"), (TensorType((j, n, i), "f64"),))]


@dataclass(frozen=True)
class DiagonalMatrix(Matrix):
    """The matrix with the operand, which has dim `rows`, on its diagonal and zeros elsewhere."""

    name: ClassVar[str] = "diagonal_matrix"

    def result(self, x):
        check_free(self, check_has(self, x, self.rows), self.cols)
        at = x.index(self.rows) + 1
        return TensorType((*x.dims[:at], Dim(self.cols, x[self.rows]), *x.dims[at:]), x.dtype)

    def roles(self, x):
        return {}

    def linear(self, x):
        return ((0,),)

    def local(self, place, x):
        wanted = place.results[0].names
        row = align(place.index(self.rows), (self.rows,), wanted)
        col = align(place.index(self.cols), (self.cols,), wanted)
        return jnp.where(row == col, align(x, place.operands[0].names, wanted), jnp.zeros((), x.dtype))

    def vjp(self, cotangent, result, x):
        return (emit(Diagonal(self.rows, self.cols), cotangent),)

    @classmethod
    def examples(cls):
        i, n = Dim("i", 9), Dim("n", 3)
        return [(cls("i", "j"), (TensorType((i,), "f64"),)), (cls("i", "j"), (TensorType((n, i), "f64"),))]
