"""Cosmology is computed in float64, whatever the real numbers of the model are.

An error of 1e-7 in a table of the growth is one of every particle of a simulation, in the same direction. Tables hold a
few hundred numbers, so that precision costs nothing there; what leaves has the model's precision again.
"""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, runtime_checkable

from ir.build import as_value, cast, constant, current
from ir.graph import Value

P = ParamSpec("P")


@runtime_checkable
class Parameters(Protocol):
    """A record of numbers and values, as a cosmology."""

    def values(self) -> list[Value]:
        """Those of its fields that are values."""
        ...

    def in_double(self) -> Any:
        """The record with all fields as float64 values."""
        ...


def double(x: Any) -> Value:
    """A number or a value as a float64 value."""
    return constant(float(x), "f64") if _is_number(x) else cast(as_value(x), "f64")


def in_double(function: Callable[P, Value]) -> Callable[P, Value]:
    """Makes a function compute with float64 values.

    Numbers, values and cosmologies among its arguments arrive as float64. The result is float64 where an argument was,
    else it has the model's real dtype: a function may call another one without losing precision on the way.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Value:
        given = [v for x in (*args, *kwargs.values()) for v in _values(x)]
        found = function(*map(_widen, args), **{n: _widen(x) for n, x in kwargs.items()})  # type: ignore[arg-type]
        return found if any(v.type.dtype == "f64" for v in given) else cast(found, current().real)

    return wrapped


def _is_number(x: Any) -> bool:
    return isinstance(x, numbers.Real) and not isinstance(x, bool)


def _values(x: Any) -> list[Value]:
    if isinstance(x, Parameters):
        return x.values()
    return [x] if isinstance(x, Value) else []


def _widen(x: Any) -> Any:
    if isinstance(x, Parameters):
        return x.in_double()
    return double(x) if isinstance(x, Value) or _is_number(x) else x


__all__ = ["double", "in_double"]
