"""Tables along ln a: their knots, and the curve between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ir.build import emit
from ir.dims import Dim
from ir.graph import Value
from ir.ops.create import Coordinate
from ir.ops.interpolate import Interp
from ir.ops.shape import Slice

from ..trace.functions import log
from .double import double

START, STOP = -8.0, 1 / 16
"""The ends of ln a: a redshift of 2980, and a little after today, for scale factors that are rounded up."""
A_MIN, A_MAX = math.exp(START), math.exp(STOP)


@dataclass(frozen=True)
class Grid:
    """Knots from `START` to `STOP`, so many per unit of ln a. A model's dim has no name as `dim`."""

    dim: str
    density: int

    @property
    def step(self) -> float:
        return 1 / self.density

    @property
    def knots(self) -> Dim:
        return Dim(self.dim, round((STOP - START) * self.density) + 1)

    @property
    def today(self) -> int:
        """The knot at a = 1."""
        return round(-START * self.density)

    def ln_a(self, ahead: float = 0.0) -> Value:
        """ln a at the knots, or so many steps ahead of them, f64."""
        return emit(Coordinate(self.knots, "index", 0, "f64")) * self.step + (START + ahead * self.step)

    def curve(self, a: Any, values: Value, slopes: Value) -> Value:
        """The cubics through values with their slopes d / d ln a at the knots; NaN outside of them."""
        return emit(Interp(self.dim, "hermite", "nan", START, self.step), log(double(a)), values, slopes)

    def reversed(self, table: Value) -> Value:
        """The table from its last knot to its first one."""
        return emit(Slice(self.dim, self.knots.size - 1, -1, -1), table)


__all__ = ["A_MAX", "A_MIN", "START", "STOP", "Grid"]
