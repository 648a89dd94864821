"""The plane waves of a field by band of wavenumber: a program that scales each band, and sums its power.

A band is a range of f = |m / n|, the wavenumbers m over the sizes n of the transformed dims [cycles per element].
Band 0 is the mean alone, the others are equally wide in log f, from the longest wave on. With R the orthonormal real
transform over those dims and g the gain of each mode's band the program gives, for an input `field` [rest, dims] and
`gain` [rest, band],

| output    | value                                                                                        |
|-----------|----------------------------------------------------------------------------------------------|
| filtered  | R^-1 g R field, in the layout of the field: a symmetric matrix times the field               |
| power     | the sum over a band's modes of |R field|^2, [rest, band] in f64, in the layout of `gain`     |

It is planned like any other: slabs, pencils and the order of k-space are the planner's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..build import Builder, binary, cast, emit, lookup
from ..dims import COMPLEX_OF, Dim, TensorType
from ..graph import Program, Value
from ..op import Op
from ..ops.complex_parts import Conj
from ..ops.create import Coordinate
from ..ops.elementwise import RealProduct
from ..ops.fft import FFT, IRFFT, RFFT, hermitian
from ..ops.gather import ScatterAdd
from ..ops.order import reorder

RATIO = 1.25
"""Of the ends of a band: power spectra and noise change little within one."""
FIELD, GAIN, BAND = "field", "gain", "~band"  # no dim of a model is called so


@dataclass(frozen=True)
class Bands:
    """The bands of a grid of `sizes`, the dims' in their order; the last one's spectrum is kept by half."""

    sizes: tuple[int, ...]

    @property
    def lowest(self) -> float:
        """Just below the frequency of the longest wave."""
        return (1 - 1e-3) / max(self.sizes)

    @property
    def count(self) -> int:
        highest = math.sqrt(sum((n // 2 / n) ** 2 for n in self.sizes))
        return 2 + max(0, math.floor(math.log(highest / self.lowest) / math.log(RATIO)))

    @property
    def modes(self) -> np.ndarray:
        """float64[count]: degrees of freedom of each band; they add up to the elements of the grid."""
        *outer, last = self.sizes
        half = np.arange(last // 2 + 1)
        weight = np.where((half == 0) | (2 * half == last), 1.0, 2.0)
        below = np.concatenate([[0.0], np.cumsum(weight)])
        edges = (self.lowest * RATIO ** np.arange(1, self.count)) ** 2
        edges[-1] = np.inf
        square = np.zeros(1)
        for n in outer:
            square = (square[:, None] + np.square(np.fft.fftfreq(n))).reshape(-1)
        found = np.zeros(self.count)
        found[0], before = 1.0, 1.0
        for band, edge in enumerate(edges, 1):
            # Along the half spectrum the frequency grows: a row has so many modes below the edge.
            within = np.searchsorted(np.square(half / last), edge - square)
            found[band] = below[within].sum() - before
            before += found[band]
        return found

    def of(self, axes: list[Value]) -> Value:
        """i32 over all frequency dims: the band of each mode; `axes` are the integer frequencies."""
        square = None
        for axis, n in zip(axes, self.sizes, strict=True):
            term = (axis * (1 / n)) ** 2
            square = term if square is None else square + term
        assert square is not None
        # Half a log of the square; of 0 it is -inf, and the mean is band 0.
        place = emit(Op.table["log"](), square) * (0.5 / math.log(RATIO)) - math.log(self.lowest) / math.log(RATIO)
        place = emit(Op.table["floor"](), place) + 1.0
        place = binary("minimum", binary("maximum", place, 0.0), float(self.count - 1))
        return cast(place, "i32")


def banded(name: str, t: TensorType, dims: tuple[str, ...]) -> Program:
    """The program of the module's table for a field of type t, without chains, transformed along `dims`."""
    bands = Bands(tuple(t[d] for d in dims))
    rest = tuple(d for d in t.dims if d.name not in dims)
    band = Dim(BAND, bands.count)
    *outer, last = dims
    freq = {d: f"~{d}" for d in dims}
    with Builder(f"bands of {name}", real="f64" if t.dtype == "f64" else "f32") as b:
        field = b.input(FIELD, t)
        gain = b.input(GAIN, TensorType((*rest, band), t.dtype))
        modes = emit(RFFT(last, freq[last]), field)
        for d in reversed(outer):
            modes = emit(FFT(d, freq[d]), modes)
        index = bands.of([_frequency(modes.type, freq[d], t[d], half=d == last, real=b.real) for d in dims])
        scaled = modes * lookup(gain, {BAND: index})
        for d in outer:
            scaled = emit(FFT(freq[d], d, True), cast(scaled, COMPLEX_OF[t.dtype]))
        filtered = emit(IRFFT(freq[last], last, t[last]), scaled)
        weight = hermitian(modes.type, freq[last], t[last]) * (1 / math.prod(bands.sizes))
        square = cast(emit(RealProduct(), modes, emit(Conj(), modes)) * weight, "f64")
        power = emit(ScatterAdd(band, tuple(freq.values())), square, index)
        outputs = {"filtered": reorder(filtered, field.dims), "power": reorder(power, gain.dims)}
        return b.finish(outputs, {"filtered": FIELD, "power": GAIN})


def _frequency(modes: TensorType, freq: str, size: int, half: bool, real: str) -> Value:
    """The integer frequency along a dim of the modes."""
    return emit(Coordinate(Dim(freq, modes[freq]), "rfreq" if half else "freq", size, real))


__all__ = ["BAND", "FIELD", "GAIN", "Bands", "banded"]
