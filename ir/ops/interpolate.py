"""Tables in one variable: interpolation between knots, and the slopes at the knots that a smooth curve needs.

Between the knots x0 and x1 = x0 + h, with t = (x - x0) / h:

    linear    y0 + t (y1 - y0)
    hermite   the cubic with the values y0, y1 and the slopes m0, m1 at the knots; its error is h⁴ |y''''| / 384

Knots on a uniform grid are static parameters, and are found without a search.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ..dims import Dim, TensorType, union
from ..errors import Diagnostic
from ..op import Op, Whole, log2
from ..place import align

KINDS = {"linear": 1, "hermite": 2}
"""How many tables each kind has: values, and slopes."""
OUTSIDE = ("clamp", "nan")
POINTS = 5
"""Of the polynomial whose slope is taken at a knot."""


@dataclass(frozen=True)
class Interp(Op):
    """The curve through a table along `dim`, at the points `at`: `interp(at, knots, values[, slopes])`.

    Knots ascend along `dim`; those of a uniform grid are `start + step i` and no operand. Outside the table it has the
    value at its end ("clamp") or is NaN ("nan"); knots that do not ascend give NaN. Dims that only a table has join
    the result, dims that it shares with `at` go element by element.
    """

    dim: str
    kind: str = "linear"
    outside: str = "clamp"
    start: float = 0.0
    step: float = 0.0
    """0: the knots are an operand."""
    name: ClassVar[str] = "interp"

    @property
    def first(self) -> int:
        """The position of the values among the operands."""
        return 1 if self.step else 2

    def result(self, *operands):
        check_choice("kind of interpolation", self.kind, tuple(KINDS))
        check_choice("choice for points outside a table", self.outside, OUTSIDE)
        check_step(self.step)
        wanted = self.first + KINDS[self.kind]
        if len(operands) != wanted:
            have = ["points", *([] if self.step else ["knots"]), "values", "slopes"][:wanted]
            raise Diagnostic("type", f"interp takes {', '.join(have)}, but got {len(operands)} operand(s)")
        at, *tables = operands
        check_reals(self, operands)
        if self.dim in at:
            hint = "give the points' own dim another name"
            raise Diagnostic("type", f"the points to interpolate at have the table's dim '{self.dim}'", hint=hint)
        for t in tables:
            check_table(self, t, self.dim)
        union(*tables)  # they agree on the size
        return TensorType(union(at, *(t.without([self.dim]) for t in tables)), at.dtype)

    def roles(self, *operands):
        return {self.dim: Whole()}

    def linear(self, *operands):
        return (tuple(range(self.first, len(operands))),)

    def flops(self, *operands):
        search = 0.0 if self.step else 2 * log2(operands[1][self.dim])
        return (search + (6.0 if self.kind == "linear" else 16.0)) * self.result(*operands).size

    def local(self, place, at, *tables):
        (t_at, *types), names = place.operands, place.results[0].names
        batch = [d for d in names if any(d in t for t in types)]
        own = [d for d in names if d not in batch]
        shape = [place.extent(d) for d in batch]
        at = jnp.broadcast_to(align(at, t_at.names, (*batch, *own)), (*shape, *(place.extent(d) for d in own)))
        tables = [
            jnp.broadcast_to(align(x, t.names, (*batch, self.dim)), (*shape, t[self.dim]))
            for x, t in zip(tables, types, strict=True)
        ]
        curve = self._uniform if self.step else self._search
        for _ in batch:
            curve = jax.vmap(curve)
        found = curve(at.reshape((*shape, -1)), *tables).reshape(at.shape)
        return align(found, (*batch, *own), names)

    def _uniform(self, at: Any, values: Any, *slopes: Any) -> Any:
        last = jnp.asarray(values.shape[0] - 2, at.dtype)
        place = (at - jnp.asarray(self.start, at.dtype)) / jnp.asarray(self.step, at.dtype)
        cell = jnp.clip(jnp.floor(place), jnp.zeros((), at.dtype), last)
        return self._between(cell.astype(jnp.int32), place - cell, jnp.asarray(self.step, at.dtype), values, *slopes)

    def _search(self, at: Any, knots: Any, values: Any, *slopes: Any) -> Any:
        above = jnp.searchsorted(knots, at, side="right", method="scan")
        cell = jnp.clip(above.astype(jnp.int32) - jnp.int32(1), jnp.int32(0), jnp.int32(knots.shape[0] - 2))
        low, high = _take(knots, cell), _take(knots, cell + jnp.int32(1))
        found = self._between(cell, (at - low) / (high - low), high - low, values, *slopes)
        return jnp.where(jnp.all(knots[1:] > knots[:-1]), found, jnp.asarray(jnp.nan, at.dtype))

    def _between(self, cell: Any, t: Any, h: Any, values: Any, *slopes: Any) -> Any:
        """The curve at t, from 0 to 1, between the knots `cell` and `cell + 1`, which are h apart."""
        inside = jnp.clip(t, jnp.zeros((), t.dtype), jnp.ones((), t.dtype))
        low, rise = _take(values, cell), _take(values, cell + jnp.int32(1)) - _take(values, cell)
        if self.kind == "linear":
            found = low + inside * rise
        else:
            first, last = (h * _take(slopes[0], cell + jnp.int32(i)) for i in (0, 1))
            cubic = first + last - 2 * rise
            found = low + inside * (first + inside * (rise - first - cubic + inside * cubic))
        if self.outside == "clamp":
            return found
        slack = jnp.asarray(8 * values.shape[0] * jnp.finfo(t.dtype).eps, t.dtype)  # an end of a uniform grid, rounded
        return jnp.where((t < -slack) | (t > 1 + slack), jnp.asarray(jnp.nan, t.dtype), found)

    @classmethod
    def examples(cls):
        k, n, m = Dim("k", 7), Dim("n", 9), Dim("m", 3)
        table, points = (TensorType((d,), "f64") for d in (k, n))
        batch, plane = TensorType((m, k), "f64"), TensorType((n, m), "f64")
        return [
            (cls("k"), (plane, table, table)),
            (cls("k", "hermite", "nan"), (points, table, table, table)),
            (cls("k", "linear", "nan", -2.0, 0.75), (points, table)),
            (cls("k", "hermite", "clamp", -1.0, 0.25), (plane, table, table)),
            (cls("k", "hermite", "clamp", -2.0, 0.75), (points, batch, table)),  # a dim that only a table has
            (cls("k", "hermite"), (plane, table, batch, batch)),  # a dim that points and tables share
            (cls("k"), (TensorType((), "f64"), table, table)),
        ]


@dataclass(frozen=True)
class Slopes(Op):
    """dy/dx at the knots of a table along `dim`: `slopes(knots, values)`, by the polynomial through five knots.

    The two knots on either side where there are, else the nearest ones; exact up to fourth powers. With a `step` the
    knots are a uniform grid and no operand.
    """

    dim: str
    step: float = 0.0
    name: ClassVar[str] = "slopes"

    def result(self, *operands):
        check_step(self.step)
        wanted = 1 if self.step else 2
        if len(operands) != wanted:
            have = "values" if self.step else "knots and values"
            raise Diagnostic("type", f"slopes takes {have}, but got {len(operands)} operand(s)")
        check_reals(self, operands)
        for t in operands:
            check_table(self, t, self.dim)
        return TensorType(union(*reversed(operands)), operands[0].dtype)

    def roles(self, *operands):
        return {self.dim: Whole()}

    def linear(self, *operands):
        return ((len(operands) - 1,),)

    def flops(self, *operands):
        return (2.0 if self.step else 12.0) * POINTS * self.result(*operands).size

    def local(self, place, *blocks):
        names = place.results[0].names
        wanted = (*(d for d in names if d != self.dim), self.dim)
        *knots, values = (align(x, t.names, wanted) for x, t in zip(blocks, place.operands, strict=True))
        size = values.shape[-1]
        window = min(POINTS, size)
        start = np.clip(np.arange(size) - window // 2, 0, size - window)
        near = start[:, None] + np.arange(window)  # the knots of each polynomial
        here = np.eye(window, dtype=bool)[np.arange(size) - start]
        if self.step:
            weights = jnp.asarray(_weights(np, self.step * np.arange(size)[near], here), values.dtype)
        else:
            weights = _weights(jnp, knots[0][..., near], here)
        found = jnp.sum(weights * (values[..., near] - values[..., :, None]), axis=-1)
        return align(found, wanted, names)

    @classmethod
    def examples(cls):
        k, m = Dim("k", 7), Dim("m", 3)
        table, batch, few = TensorType((k,), "f64"), TensorType((m, k), "f64"), TensorType((m,), "f64")
        return [
            (cls("k"), (table, table)),
            (cls("k"), (table, batch)),
            (cls("k", 0.3), (batch,)),
            (cls("m"), (few, few)),
        ]


def _weights(xp: Any, x: Any, here: np.ndarray) -> Any:
    """What each of the points x [..., knot, point] adds to the slope at the point of its row that is `here`.

    With d_jm = x_j - x_m the derivative of Lagrange's j-th polynomial at x_r is (Π d_rm / d_rj) / Π d_jm, the products
    over other points. All of them add up to zero, which leaves the r-th to the difference from y_r.
    """
    d = x[..., :, None] - x[..., None, :]
    d = xp.where(np.eye(x.shape[-1], dtype=bool), xp.ones_like(d), d)
    products = xp.prod(d, axis=-1)
    at = xp.argmax(here, axis=-1)[..., None]
    mine = xp.take_along_axis(products, xp.broadcast_to(at, (*products.shape[:-1], 1)), axis=-1)
    to = xp.take_along_axis(d, xp.broadcast_to(at[..., None], (*d.shape[:-2], 1, d.shape[-1])), axis=-2)[..., 0, :]
    return xp.where(here, xp.zeros_like(products), mine / (to * products))


def _take(table: Any, at: Any) -> Any:
    return jnp.take(table, at, axis=0, mode="clip")


def check_choice(what: str, given: str, known: tuple[str, ...]) -> None:
    """Refuses a word that is none of the known ones."""
    if given not in known:
        raise Diagnostic("type", f"unknown {what} '{given}'", hint=f"it is one of {', '.join(known)}")


def check_step(step: float) -> None:
    """Refuses a distance of knots that is no positive number; 0 stands for knots that are given."""
    if not (math.isfinite(step) and step >= 0):
        raise Diagnostic("type", f"the knots of a table ascend, but their step is {step:g}", hint="give a positive one")


def check_reals(op: Op, operands: tuple[TensorType, ...]) -> None:
    """Refuses operands that are not all of one real dtype."""
    if len({t.dtype for t in operands}) > 1 or not operands[0].is_real:
        have = " and ".join(dict.fromkeys(t.dtype for t in operands))
        raise Diagnostic("type", f"{op.name} needs real operands of one dtype, but got {have}")


def check_table(op: Op, t: TensorType, dim: str) -> None:
    """Refuses a table without its dim, or with a single knot."""
    if dim not in t:
        raise Diagnostic("type", f"{op.name} goes along '{dim}', but a table has [{', '.join(t.names) or 'no dims'}]")
    if t[dim] < 2:
        raise Diagnostic("type", f"a table needs two knots or more, but dim '{dim}' has size {t[dim]}")
