"""A periodic box of cells: its transforms, wavenumbers and differential operators, along dims of any names.

Spectra are those of NumPy's transforms (forward not normalised), along dims that no model can name: the modes of `x`
lie along `~x`, half of them along the last one. Lengths are in cells, wavenumbers in radians a cell, from -pi to pi.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ir.build import binary, cast, constant, current, emit
from ir.dims import Dim
from ir.errors import Diagnostic
from ir.graph import Value
from ir.op import Op
from ir.ops.create import Coordinate
from ir.ops.fft import FFT, IRFFT, RFFT

GRADIENTS = ("spectral", "finite")
LAPLACIANS = ("spectral", "finite")


@dataclass(frozen=True)
class Box:
    """Cells along `dims`, each with sides of `cell` [Mpc/h]. The last dim's modes are the half that a real field has.

    gradient: "spectral" (i k, none at the Nyquist frequency) or "finite", the differences of fourth order that FlowPM
    and JaxPM use (i (8 sin k - sin 2k) / 6). laplacian: "spectral" (-k^2) or "finite" (-4 sum sin^2(k / 2)).
    """

    dims: tuple[Dim, ...]
    cell: float
    gradient: str = "spectral"
    laplacian: str = "spectral"

    def __post_init__(self) -> None:
        for what, given, known in (
            ("gradient", self.gradient, GRADIENTS),
            ("laplacian", self.laplacian, LAPLACIANS),
        ):
            if given not in known:
                raise Diagnostic("argument", f"unknown {what} '{given}'", hint=f"choose from {', '.join(known)}")
        if not self.dims or not self.cell > 0:
            shown = ", ".join(self.names) or "no dims"
            message = f"a box needs dims and cells of positive size, not {shown} of {self.cell:g}"
            raise Diagnostic("argument", message, hint="give the side of a cell in Mpc/h, as cell = 4.0")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(d.name for d in self.dims)

    @property
    def volume(self) -> float:
        """Of a cell [(Mpc/h)^3, or to the power of the number of dims]."""
        return self.cell ** len(self.dims)

    def finer(self, ratio: int) -> Box:
        """The same volume in cells `ratio` times as small, along dims of its own."""
        if ratio == 1:
            return self
        if ratio < 1 or int(ratio) != ratio:
            message = f"a mesh is a whole number of times as fine as its particles, not {ratio}"
            raise Diagnostic("argument", message, hint="write ratio = 1 or ratio = 2")
        dims = tuple(Dim(f"{d.name}~{ratio}", d.size * int(ratio)) for d in self.dims)
        return Box(dims, self.cell / ratio, self.gradient, self.laplacian)

    # --- transforms ---

    def modes(self, field: Value) -> Value:
        """The spectrum [..., ~x, ~y, half of ~z] of a real field."""
        last = self.names[-1]
        found = emit(RFFT(last, f"~{last}"), field)
        for name in self.names[-2::-1]:
            found = emit(FFT(name, f"~{name}"), found)
        return found

    def field(self, modes: Value) -> Value:
        """The real field of a spectrum."""
        for name in self.names[:-1]:
            modes = emit(FFT(f"~{name}", name, True), modes)
        last = self.dims[-1]
        return emit(IRFFT(f"~{last.name}", last.name, last.size), modes)

    # --- wavenumbers ---

    def wavenumber(self, i: int, *, odd: bool = False) -> Value:
        """k along dim i [radians a cell], along its modes; `odd`: none at the Nyquist frequency, which has no sign."""
        n, half = self.dims[i].size, i == len(self.dims) - 1
        modes = Dim(f"~{self.dims[i].name}", n // 2 + 1 if half else n)
        k = emit(Coordinate(modes, "rfreq" if half else "freq", n, current().real)) * (2 * math.pi / n)
        if odd and n % 2 == 0:
            k = _where(_apply("abs", k) < math.pi * (1 - 0.5 / n), k, 0.0)
        return k

    def squared(self) -> Value:
        """k^2 [radians^2 a cell^2]."""
        parts = [k * k for k in map(self.wavenumber, range(len(self.dims)))]
        return _sum(parts)

    def slope(self, i: int) -> Value:
        """The gradient along dim i is i times this, mode by mode [1 / cell]."""
        if self.gradient == "spectral":
            return self.wavenumber(i, odd=True)
        k = self.wavenumber(i)
        return (8.0 * _apply("sin", k) - _apply("sin", 2.0 * k)) / 6.0

    def potential(self) -> Value:
        """The inverse Laplacian, mode by mode [cell^2]; 0 for the mean."""
        if self.laplacian == "spectral":
            square = self.squared()
        else:
            halves = [_apply("sin", 0.5 * self.wavenumber(i)) for i in range(len(self.dims))]
            square = _sum([4.0 * s * s for s in halves])
        return _where(square > 0.0, -1.0 / _where(square > 0.0, square, 1.0), 0.0)

    def second(self, i: int, j: int) -> Value:
        """The second derivative along dims i and j is minus this, mode by mode [1 / cell^2]."""
        if self.gradient == "finite" or i != j:
            return self.slope(i) * self.slope(j)
        k = self.wavenumber(i)
        return k * k

    # --- operators ---

    def gradients(self, modes: Value) -> tuple[Value, ...]:
        """The real fields of the derivatives of a spectrum along each dim [1 / cell]."""
        return tuple(self.field(turned(self.slope(i) * modes)) for i in range(len(self.dims)))


def turned(modes: Value) -> Value:
    """i times a spectrum."""
    return binary("complex", -emit(Op.table["imag"](), modes), emit(Op.table["real"](), modes))


def box(*dims: str, cell: float, gradient: str = "spectral", laplacian: str = "spectral") -> Box:
    """The box of a model's dims, as `box("x", "y", "z", cell=4.0)`; `cell` in Mpc/h. See `Box`."""
    from ..trace.context import current_context

    context = current_context()
    return Box(context.dims(dims), float(cell), gradient, laplacian)


def _apply(name: str, x: Value) -> Value:
    return emit(Op.table[name](), x)


def _sum(parts: Sequence[Value]) -> Value:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _where(condition: Value, x: Any, y: Any) -> Value:
    like = x if isinstance(x, Value) else y
    x, y = (v if isinstance(v, Value) else cast(constant(float(v)), like.type.dtype) for v in (x, y))
    return emit(Op.table["where"](), condition, x, y)


__all__ = ["GRADIENTS", "LAPLACIANS", "Box", "box", "turned"]
