"""Complex numbers and their parts: gradients by hand, as derived ones would keep operands that nobody needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from ..build import cast, emit
from ..dims import REAL_OF, Dim, TensorType
from ..errors import Diagnostic
from .elementwise import Elementwise, ZerosLike
from .reduce import unbroadcast


class ComplexPart(Elementwise):
    """Ops from complex numbers to real ones, linear over the reals."""

    real_only = False

    def dtype(self, x):
        if x[0] != "c":
            raise Diagnostic("type", f"{self.name} needs a complex operand, but got {x}")
        return REAL_OF[x]

    def linear(self, *operands):
        return ((0,),)

    @classmethod
    def examples(cls):
        return [(cls(), (TensorType((Dim("x", 9), Dim("y", 10)), "c128"),))] if "name" in cls.__dict__ else []


@dataclass(frozen=True)
class Real(ComplexPart):
    """The real part."""

    name: ClassVar[str] = "real"

    def fn(self, x):
        return jnp.real(x)

    def vjp(self, cotangent, result, x):
        return (cast(cotangent, x.type.dtype),)


@dataclass(frozen=True)
class Imag(ComplexPart):
    """The imaginary part."""

    name: ClassVar[str] = "imag"

    def fn(self, x):
        return jnp.imag(x)

    def vjp(self, cotangent, result, x):
        return (emit(Complex(), emit(ZerosLike(), cotangent), -cotangent),)


@dataclass(frozen=True)
class Conj(ComplexPart):
    """The complex conjugate."""

    name: ClassVar[str] = "conj"

    def dtype(self, x):
        super().dtype(x)
        return x

    def fn(self, x):
        return jnp.conj(x)

    def vjp(self, cotangent, result, x):
        return (emit(Conj(), cotangent),)


@dataclass(frozen=True)
class Complex(Elementwise):
    """`complex(re, im)`: a complex number of its two parts."""

    name: ClassVar[str] = "complex"
    arity: ClassVar[int] = 2

    def dtype(self, x, y):
        return "c64" if super().dtype(x, y) == "f32" else "c128"

    def fn(self, x, y):
        return jax.lax.complex(*jnp.broadcast_arrays(x, y))

    def linear(self, *operands):
        return ((0, 1),)

    def vjp(self, cotangent, result, x, y):
        return unbroadcast(emit(Real(), cotangent), x.type), unbroadcast(-emit(Imag(), cotangent), y.type)
