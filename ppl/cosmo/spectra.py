"""Power spectra of fields by shells of wavenumber, as any other quantity of a model.

With d_k the modes of a field (NumPy's transform, not normalised) on N cells of a box of volume V

    P(k) = V / N^2 <|d_k|^2>        P_l(k) = (2 l + 1) V / N^2 <L_l(mu) |d_k|^2>,   mu = k_los / k

in (Mpc/h)^3, <> being the mean over the modes k of a shell, each as often as it stands in the full spectrum. Shells
are ranges low <= k < high along a dim of the model, half open, and the mean of the field is in none of them; one
without modes is NaN. Sums are taken in float64 over blocks of the spectrum as it lies: of a field nothing is gathered
but its shells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ir.assign import CELLS
from ir.build import as_value, binary, cast, current, diagnostic, emit
from ir.dims import Dim
from ir.graph import Value
from ir.op import Op
from ir.ops.complex_parts import Conj
from ir.ops.create import Coordinate
from ir.ops.elementwise import RealProduct
from ir.ops.gather import ScatterAdd

from ..trace.context import current_context
from ..trace.functions import floor, log, sin, sqrt, where
from ..trace.records import checked
from .box import Box
from .simulation import box_of

MULTIPOLES = (0, 2, 4)
SPACINGS = ("linear", "log")


@checked
def power_spectrum(
    field: Value,
    shell: str,
    *,
    cell: float,
    low: float | None = None,
    high: float | None = None,
    spacing: str = "linear",
    los: str | None = None,
    multipole: int = 0,
    window: str | None = None,
) -> Value:
    """The power [(Mpc/h)^3] of a density contrast of three dims in each shell of wavenumbers, along the dim `shell`.

    cell: the side of a cell [Mpc/h]. low and high: where the shells begin and end [h/Mpc] (default: half the longest
    wave's number, and the Nyquist frequency), in steps that are equal ("linear") or in ratio ("log"). los: the dim of
    the line of sight, for a multipole 2 or 4. window: the kernel with which the field was painted, to divide its modes
    by.
    """
    return _spectrum(field, field, _Shells.of(field, shell, cell, low, high, spacing), los, multipole, window)


@checked
def cross_power(
    field: Value,
    other: Value,
    shell: str,
    *,
    cell: float,
    low: float | None = None,
    high: float | None = None,
    spacing: str = "linear",
    los: str | None = None,
    multipole: int = 0,
    window: str | None = None,
) -> Value:
    """The real part of the cross power of two fields of the same dims, <d_k e_k*>; see `power_spectrum`."""
    return _spectrum(field, other, _Shells.of(field, shell, cell, low, high, spacing), los, multipole, window)


@checked
def cross_correlation(
    field: Value,
    other: Value,
    shell: str,
    *,
    cell: float,
    low: float | None = None,
    high: float | None = None,
    spacing: str = "linear",
) -> Value:
    """r(k) = P_ab / sqrt(P_aa P_bb) of two fields, from -1 to 1, in each shell; see `power_spectrum`."""
    shells = _Shells.of(field, shell, cell, low, high, spacing)
    pairs = ((field, other), (field, field), (other, other))
    cross, one, two = (_spectrum(x, y, shells, None, 0, None) for x, y in pairs)
    return cross / sqrt(one * two)


@checked
def mode_count(
    field: Value,
    shell: str,
    *,
    cell: float,
    low: float | None = None,
    high: float | None = None,
    spacing: str = "linear",
) -> Value:
    """How many modes of the full spectrum lie in each shell of a field's box; the errors of P are P sqrt(2 / modes)."""
    return cast(_Shells.of(field, shell, cell, low, high, spacing).count(), current().real)


@checked
def mean_wavenumber(
    field: Value,
    shell: str,
    *,
    cell: float,
    low: float | None = None,
    high: float | None = None,
    spacing: str = "linear",
) -> Value:
    """The mean wavenumber [h/Mpc] of the modes in each shell of a field's box."""
    shells = _Shells.of(field, shell, cell, low, high, spacing)
    return cast(shells.sum(shells.k) / shells.count(), current().real)


@dataclass(frozen=True)
class _Shells:
    """Which shell each mode is in: `index` [modes], `weight` f64 [modes], its count, 0 where it is in none."""

    box: Box
    dim: Dim
    index: Value
    weight: Value
    k: Value
    """Wavenumbers, f64 [h/Mpc]."""

    @classmethod
    def of(cls, field: Value, shell: str, cell: float, low: float | None, high: float | None, spacing: str) -> _Shells:
        box, dim = box_of(field, cell), current_context().dim(shell) if isinstance(shell, str) else None
        if dim is None:
            raise diagnostic("type", "shells lie along a dim of the model", hint="declare one, dim shell = 16")
        if dim.name in as_value(field).type:
            raise diagnostic(
                "type", f"the field itself has dim '{dim.name}'", hint="declare another one for the shells"
            )
        longest = 2 * math.pi / (box.cell * max(d.size for d in box.dims))
        low = longest / 2 if low is None else _wavenumber("low", low)
        high = math.pi / box.cell if high is None else _wavenumber("high", high)
        if spacing not in SPACINGS:
            raise diagnostic("argument", f"unknown spacing '{spacing}'", hint=f"choose from {', '.join(SPACINGS)}")
        if not 0 <= low < high or (spacing == "log" and low == 0):
            hint = "low is below high, and above 0 where shells are spaced in ratio"
            raise diagnostic("argument", f"no shells lie between low = {low:g} and high = {high:g}", hint=hint)
        k = sqrt(_squared(box)) * (1 / box.cell)
        positive = k > 0.0
        if spacing == "log":
            place = log(where(positive, k, low) * (1 / low)) * (dim.size / math.log(high / low))
        else:
            place = (k - low) * (dim.size / (high - low))
        place = floor(place)
        inside = emit(Op.table["and"](), positive, emit(Op.table["and"](), place >= 0.0, place < float(dim.size)))
        last = box.dims[-1]
        weight = emit(Coordinate(Dim(f"~{last.name}", last.size // 2 + 1), "hermitian", last.size, "f64"))
        index = cast(where(inside, place, 0.0), "i32")
        return cls(box, dim, index, where(inside, weight, 0.0), k)

    def sum(self, x: Value | None) -> Value:
        """The sums over the modes of each shell, f64; of None, how many there are."""
        x = self.weight if x is None else x * self.weight
        return emit(ScatterAdd(self.dim, tuple(f"~{d.name}" for d in self.box.dims)), x, self.index)

    def count(self) -> Value:
        return self.sum(None)


def _spectrum(
    field: Value, other: Value, shells: _Shells, los: str | None, multipole: int, window: str | None
) -> Value:
    box = shells.box
    if set(as_value(other).dims) != set(as_value(field).dims):
        names = (", ".join(x.dims) for x in (as_value(field), as_value(other)))
        raise diagnostic("type", "the fields have dims [{}] and [{}]".format(*names), hint="they need the same ones")
    cells = math.prod(d.size for d in box.dims)
    a = box.modes(field)
    b = a if other is field else box.modes(other)
    # In the model's precision powers of 10^10 cells would come near the end of float32's range.
    square = cast(emit(RealProduct(), a * (1 / cells), emit(Conj(), b)), "f64") * (box.volume)
    for factor in (_deconvolved(box, window), _legendre(box, shells, los, multipole)):
        square = square if factor is None else square * factor
    return cast(shells.sum(square) / shells.count(), current().real)


def _deconvolved(box: Box, window: str | None) -> Value | None:
    """1 / W^2, mode by mode."""
    if window is None:
        return None
    if window not in CELLS:
        raise diagnostic("argument", f"unknown kernel '{window}'", hint=f"kernels are {', '.join(CELLS)}")
    found = None
    for k in _axes(box):
        zero = binary("eq", k, 0.0)
        half = where(zero, 1.0, 0.5 * k)
        sinc = where(zero, 1.0, sin(half) / half)
        factor = sinc ** (-2 * CELLS[window])  # painting takes sinc to the number of cells (Jing 2005)
        found = factor if found is None else found * factor
    return found


def _legendre(box: Box, shells: _Shells, los: str | None, multipole: int) -> Value | None:
    """(2 l + 1) L_l(mu), mode by mode."""
    if multipole not in MULTIPOLES or isinstance(multipole, bool):
        shown = "a quantity" if isinstance(multipole, Value) else multipole
        raise diagnostic("argument", f"there is no multipole {shown}", hint="choose from 0, 2 and 4")
    if los is not None and los not in box.names:
        raise diagnostic("argument", f"'{los}' is no dim of the field", hint=f"it is one of {', '.join(box.names)}")
    if multipole == 0:
        return None
    if los is None:
        message = f"the multipole {multipole} is about a line of sight"
        raise diagnostic("argument", message, hint=f"say which: los = {box.names[-1]}")
    along = _axes(box)[box.names.index(los)] * (1 / box.cell)
    mu2 = along * along / where(shells.k > 0.0, shells.k * shells.k, 1.0)
    if multipole == 2:
        return 5.0 * (1.5 * mu2 - 0.5)
    return 9.0 * ((4.375 * mu2 - 3.75) * mu2 + 0.375)


def _axes(box: Box) -> list[Value]:
    """The wavenumbers along each dim's modes, f64 [radians a cell]."""
    found = []
    for i, d in enumerate(box.dims):
        half = i == len(box.dims) - 1
        modes = Dim(f"~{d.name}", d.size // 2 + 1 if half else d.size)
        found.append(emit(Coordinate(modes, "rfreq" if half else "freq", d.size, "f64")) * (2 * math.pi / d.size))
    return found


def _squared(box: Box) -> Value:
    x, y, z = (k * k for k in _axes(box))
    return x + y + z


def _wavenumber(name: str, x: Any) -> float:
    if isinstance(x, bool) or not isinstance(x, int | float):
        got = "a quantity of the model" if isinstance(x, Value) else f"'{x}'"
        raise diagnostic("argument", f"{name} is a wavenumber [h/Mpc] known before the data, but got {got}")
    return float(x)


__all__ = ["cross_correlation", "cross_power", "mean_wavenumber", "mode_count", "power_spectrum"]
