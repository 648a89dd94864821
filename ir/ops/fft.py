"""Discrete Fourier transforms, one op per dim: slabs, pencils and transposed k-space are the planner's, not coded here.

Conventions are NumPy's: forward transforms are not normalised, inverse ones divide by the length. Each op needs its
dims whole. `also` names further (old, new) pairs that the same call transforms, for a pass that fuses neighbours (where
no reshard lies between): one n-dimensional call is faster than n calls along dims that are not last in memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

from ..build import emit
from ..dims import COMPLEX_OF, REAL_OF, Dim, TensorType
from ..errors import Diagnostic
from ..graph import Value
from ..op import Op, Whole, log2
from ..place import Place
from .create import Coordinate

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Fourier(Op):
    """The interface of the transforms: `pairs` names what is transformed, the half-spectrum dim last."""

    kind: ClassVar[str] = "complex"

    @property
    def pairs(self) -> Pairs:
        raise NotImplementedError

    @property
    def to_signal(self) -> bool:
        """Whether the second of a pair is the signal's dim, and the first its frequencies'."""
        return self.kind == "half"

    def renames(self):
        return dict(self.pairs)

    def roles(self, x):
        return {name: Whole() for pair in self.pairs for name in pair}

    def linear(self, x):
        return ((0,),)

    def flops(self, x):
        size = max(x.size, self.result(x).size)
        points = math.prod(max(x[old], self.result(x)[new]) for old, new in self.pairs)
        return (5.0 if self.kind == "complex" else 2.5) * size * log2(points)

    def check(self, x: TensorType) -> TensorType:
        """The operand, refused where a dim is missing or its dtype is of the wrong kind."""
        for old, _ in self.pairs:
            if old not in x:
                have = ", ".join(x.names) or "no dims"
                raise Diagnostic("type", f"cannot transform '{old}': the tensor has [{have}]")
        if self.kind == "complex" and not x.is_complex:
            hint = "a real tensor is transformed by rfft, whose result is half the spectrum"
            raise Diagnostic("type", f"{self.name} needs complex numbers, but its operand is {x.dtype}", hint=hint)
        if self.kind == "real" and not x.is_real:
            raise Diagnostic("type", f"{self.name} needs real numbers, but its operand is {x.dtype}", hint="use fft")
        return x

    def renamed(self, x: TensorType, dtype: str) -> TensorType:
        names = self.renames()
        return TensorType(tuple(Dim(names.get(d.name, d.name), d.size) for d in x.dims), dtype)

    def axes(self, place) -> tuple[int, ...]:
        return tuple(place.operands[0].index(old) for old, _ in self.pairs)


@dataclass(frozen=True)
class FFT(Fourier):
    """The complex transform along `dim`, which becomes `freq`; it is its own transpose."""

    dim: str
    freq: str
    inverse: bool = False
    also: Pairs = ()
    name: ClassVar[str] = "fft"

    @property
    def pairs(self):
        return (*self.also, (self.dim, self.freq))

    @property
    def to_signal(self):
        return self.inverse

    def result(self, x):
        return self.renamed(self.check(x), x.dtype)

    def local(self, place, x):
        return row_major(
            place, (jnp.fft.ifftn if self.inverse else jnp.fft.fftn)(row_major(place, x), axes=self.axes(place))
        )

    def vjp(self, cotangent, result, x):
        back = tuple((new, old) for old, new in self.also)
        return (emit(FFT(self.freq, self.dim, self.inverse, back), cotangent),)

    @classmethod
    def examples(cls):
        x, y, z = Dim("x", 9), Dim("y", 10), Dim("z", 4)
        box = (TensorType((x, y, z), "c128"),)
        return [(cls("y", "ky"), box), (cls("x", "kx", True), box), (cls("z", "kz", False, (("x", "kx"),)), box)]


@dataclass(frozen=True)
class RFFT(Fourier):
    """The transform of a real signal along `dim` to n // 2 + 1 modes along `freq`, then the complex ones of `also`."""

    dim: str
    freq: str
    also: Pairs = ()
    name: ClassVar[str] = "rfft"
    kind: ClassVar[str] = "real"

    @property
    def pairs(self):
        return (*self.also, (self.dim, self.freq))

    def result(self, x):
        half = Dim(self.freq, self.check(x)[self.dim] // 2 + 1)
        return self.renamed(x, COMPLEX_OF[x.dtype]).replace(self.freq, half)

    def local(self, place, x):
        return row_major(place, jnp.fft.rfftn(row_major(place, x), axes=self.axes(place)))

    def vjp(self, cotangent, result, x):
        # x_j receives Re Σ_k c_k exp(-2πi jk/n): that is n irfft(conj(c) / w), as irfft counts mode k w_k times.
        size = x.type[self.dim]
        weight = hermitian(cotangent.type, self.freq, size)
        points = size * math.prod(x.type[old] for old, _ in self.also)
        back = tuple((new, old) for old, new in self.also)
        return (emit(IRFFT(self.freq, self.dim, size, back), emit(Op.table["conj"](), cotangent) * (points / weight)),)

    @classmethod
    def examples(cls):
        x, y, z = Dim("x", 9), Dim("y", 10), Dim("z", 4)
        box = (TensorType((x, y, z), "f64"),)
        return [(cls("x", "kx"), box), (cls("y", "ky"), box), (cls("z", "kz", (("x", "kx"),)), box)]


@dataclass(frozen=True)
class IRFFT(Fourier):
    """The real signal of length `size` along `dim` from half a spectrum along `freq`, after the complex ones of `also`.

    The imaginary parts of mode 0 and, for an even size, of the last mode are taken to be zero.
    """

    freq: str
    dim: str
    size: int
    also: Pairs = ()
    name: ClassVar[str] = "irfft"
    kind: ClassVar[str] = "half"

    @property
    def pairs(self):
        return (*self.also, (self.freq, self.dim))

    def result(self, x):
        if not self.check(x).is_complex:
            raise Diagnostic("type", f"irfft needs complex numbers, but its operand is {x.dtype}")
        if x[self.freq] != self.size // 2 + 1:
            raise Diagnostic(
                "type",
                f"irfft to size {self.size} needs {self.size // 2 + 1} modes along '{self.freq}', not {x[self.freq]}",
                hint="the size is that of the real signal: n // 2 + 1 modes belong to n points",
            )
        return self.renamed(x, REAL_OF[x.dtype]).replace(self.dim, Dim(self.dim, self.size))

    def local(self, place, x):
        sizes = (*(place.sizes[old] for old, _ in self.also), self.size)
        return row_major(place, jnp.fft.irfftn(row_major(place, x), s=sizes, axes=self.axes(place)))

    def vjp(self, cotangent, result, x):
        back = tuple((new, old) for old, new in self.also)
        spectrum = emit(Op.table["conj"](), emit(RFFT(self.dim, self.freq, back), cotangent))
        points = self.size * math.prod(x.type[old] for old, _ in self.also)
        return (spectrum * (hermitian(spectrum.type, self.freq, self.size) / points),)

    @classmethod
    def examples(cls):
        x, y, k = Dim("x", 9), Dim("ky", 6), Dim("kx", 3)
        box = (TensorType((x, y, k), "c128"),)
        several = cls("kx", "u", 4, (("ky", "y"),))
        return [(cls("ky", "y", 10), box), (cls("ky", "y", 11), box), (several, box)]


def row_major(place: Place, x: jax.Array) -> jax.Array:
    """x, stored in the order of its dims.

    Next to a collective XLA's CPU backend may choose another order, which its own transform then refuses (JAX 0.10).
    """
    return with_layout_constraint(x, Layout(tuple(range(x.ndim)))) if place.mesh.devices > 1 else x


def hermitian(spectrum: TensorType, freq: str, size: int) -> Value:
    """How often each mode of half the spectrum of a real signal of length `size` stands in the full one."""
    return emit(Coordinate(Dim(freq, spectrum[freq]), "hermitian", size, REAL_OF[spectrum.dtype]))
