"""Types and ranges of single values: the first offender's position and value, and how many there are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ir.errors import Diagnostic

from .datum import Datum
from .declare import Declaration


def check_values(d: Declaration, datum: Datum) -> Datum:
    """The datum in the declared type: real float32 or float64 as given, int as int64, bool, complex.

    Where the declaration may be missing, NaN and inf stay (real, complex) or become the lower bound (int): the model
    does not read them.
    """
    array = _numbers(d, datum)
    finite = np.isfinite(array)
    if not finite.all():
        if not d.may_be_missing:
            raise _not_finite(d, datum, array, finite)
        if d.type == "int":
            array = np.where(finite, array, d.lower if d.lower is not None else 0)
    if d.type == "int":
        array = _whole(d, datum, array)
    _check_bounds(d, datum, array, finite)
    return replace(datum, value=array)


def check_index(d: Declaration, datum: Datum, size: int | None, base: int) -> Datum:
    """The datum as int32 values 0 .. n-1; `size` is n, None when the largest value is to give it."""
    array = _whole(d, datum, _numbers(d, datum)) - base
    low, high = int(array.min()), int(array.max())
    top = high + 1 if size is None else size
    if low < 0:
        hint = "indices count from 0"
        if base == 1 and low == -1:
            hint = "the data has an index 0, so it counts from 0: leave --index-base 1 out"
        raise _bad_index(d, datum, array < 0, array + base, base, top, hint)
    looks_one_based = low == 1 and high == top if size is not None else low == 1
    if size is None and looks_one_based:
        raise Diagnostic(
            "data",
            f"the indices '{d.name}' run from 1 to {high} with no 0: it looks as if they count from 1, and here "
            f"indices count from 0 ({datum.source})",
            span=d.span,
            hint=f"give --index-base 1; or, if element 0 of '{d.index_dim}' just has no entry, give the size, "
            f"--set {d.index_dim}={high + 1}",
        )
    if high >= top:
        hint = f"'{d.index_dim}' has {top} elements, which are counted 0 to {top - 1}"
        if looks_one_based:
            hint = f"the values run from 1 to {top} with no 0: it looks as if they count from 1, give --index-base 1"
        raise _bad_index(d, datum, array >= top, array + base, base, top, hint)
    return replace(datum, value=array.astype(np.int32 if high < 2**31 else np.int64))


def position(d: Declaration, mask: np.ndarray) -> tuple[str, tuple[int, ...]]:
    """The first true element as `e1[x=3, y=17]`, and its index."""
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(mask)), mask.shape)) if mask.ndim else ()
    inside = ", ".join(f"{dim}={i}" for dim, i in zip(d.dims, at, strict=True))
    return (f"{d.name}[{inside}]" if inside else d.name), at


def _counted(mask: np.ndarray) -> str:
    n, size = int(np.count_nonzero(mask)), mask.size
    return "" if size == 1 else f"; {n} of {size} values {'is' if n == 1 else 'are'} so"


def _numbers(d: Declaration, datum: Datum) -> np.ndarray:
    """The array in the declared kind as far as that loses nothing."""
    array, kind = datum.value, datum.value.dtype.kind
    if datum.is_text:
        raise _wrong_type(d, datum, "text", f"text can label a dim: declare data {d.name}[...]: index[the dim]")
    if d.type == "complex":
        return array if kind == "c" else array.astype(np.complex128)
    if kind == "c":
        raise _wrong_type(d, datum, "complex numbers", f"declare {d.name}: complex, or give the real part")
    if d.type == "bool":
        if kind == "b" or np.isin(array, (0, 1)).all():
            return array.astype(bool)
        where, at = position(d, ~np.isin(array, (0, 1)))
        raise _wrong_type(d, datum, f"{where} = {array[at]}", "a truth value is true, false, 1 or 0")
    if d.type == "real":
        return array if kind == "f" else array.astype(np.float64)
    if kind == "b" and d.type == "index":
        return array.astype(np.int64)
    return array


def _whole(d: Declaration, datum: Datum, array: np.ndarray) -> np.ndarray:
    """Integers, from a float array only if every value is one."""
    if array.dtype.kind == "f":
        finite = np.isfinite(array)
        if not finite.all():
            raise _not_finite(d, datum, array, finite)
        part = (array != np.floor(array)) | (np.abs(array) >= 2.0**63)
        if part.any():
            where, at = position(d, part)
            hint = f"round the data, or declare {d.name}: real"
            if d.type == "index":
                hint = f"an index counts the elements of '{d.index_dim}' from 0: give whole numbers, or text labels"
            raise _wrong_type(d, datum, f"{where} = {array[at]:g}{_counted(part)}", hint)
    if array.dtype.kind == "u" and array.dtype.itemsize == 8 and array.max() >= 2**63:
        raise _wrong_type(d, datum, f"{array.max()}, beyond 64 signed bits", f"declare {d.name}: real")
    return array.astype(np.int64)


def _check_bounds(d: Declaration, datum: Datum, array: np.ndarray, finite: np.ndarray) -> None:
    if d.type not in ("real", "int"):
        return
    for bound, outside, word in (
        (d.lower, np.less, "below the lower"),
        (d.upper, np.greater, "above the upper"),
    ):
        if bound is None:
            continue
        bad = outside(array, bound) & finite
        if bad.any():
            where, at = position(d, bad)
            raise Diagnostic(
                "data",
                f"{where} = {array[at]:g} is {word} bound {bound:g}{_counted(bad)} ({datum.source})",
                span=d.span,
                hint=f"correct or remove these values, or change the bound in the declaration of '{d.name}'",
            )


def _not_finite(d: Declaration, datum: Datum, array: np.ndarray, finite: np.ndarray) -> Diagnostic:
    where, at = position(d, ~finite)
    return Diagnostic(
        "data",
        f"{where} = {array[at]} is not a finite number{_counted(~finite)} ({datum.source})",
        span=d.span,
        hint=f"remove these values, or, if '{d.name}' is observed, mark them as missing: {d.name} ~ … @where(mask)",
    )


def _wrong_type(d: Declaration, datum: Datum, found: str, hint: str) -> Diagnostic:
    return Diagnostic(
        "data", f"'{d}' needs {d.type} values, and the data has {found} ({datum.source})", span=d.span, hint=hint
    )


def _bad_index(
    d: Declaration, datum: Datum, bad: np.ndarray, shown: np.ndarray, base: int, top: int, hint: str
) -> Diagnostic:
    where, at = position(d, bad)
    return Diagnostic(
        "data",
        f"{where} = {shown[at]} is outside {base} .. {top - 1 + base}, the elements of '{d.index_dim}'{_counted(bad)} "
        f"({datum.source})",
        span=d.span,
        hint=hint,
    )
