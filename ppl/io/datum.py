"""What a data file gives a model: named arrays, perhaps with named dims and coordinate labels, and their source.

Readers of every format end in one `Datum` per array. A datum knows nothing of the model: whether its shape and values
are what a declaration asks for is `check.py`'s question.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ir.errors import Diagnostic


@dataclass(frozen=True, eq=False)
class Datum:
    """One named array as it was read.

    `value` is a native-endian NumPy array of bool, integer, float, complex or text (`<U`). `dims` are the names the
    file gives the axes, or None where it gives none. `coords` holds, per dim, the labels along it (1-D). `source` is
    what an error names: `e1.fits[EXT1]`, or the text the user typed.
    """

    value: np.ndarray
    dims: tuple[str, ...] | None = None
    coords: dict[str, np.ndarray] = field(default_factory=dict)
    source: str = ""

    @property
    def is_text(self) -> bool:
        return self.value.dtype.kind == "U"


@dataclass(frozen=True, eq=False)
class Entry:
    """An array that a file holds, before it is read: `load` reads it.

    `aliases` are other names it answers to when nothing carries that name exactly: a path inside the file, a number,
    a name without regard to case.
    """

    name: str
    load: Callable[[], Datum]
    source: str
    aliases: tuple[str, ...] = ()


class Data(dict[str, Datum]):
    """The data at hand by name: a dict that also remembers what was seen but not read, and what was overridden.

    `unread` maps names of entries that were not asked for to their source (a did-you-mean still finds them);
    `notes` are sentences for the user.
    """

    def __init__(self, entries: Mapping[str, Datum] | Iterable[tuple[str, Datum]] = ()) -> None:
        super().__init__(entries)
        self.unread: dict[str, str] = {}
        self.notes: list[str] = []


def damaged(source: str | Path, error: BaseException, what: str) -> Diagnostic:
    """The diagnostic for a file that is not what its suffix says, or breaks off."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return Diagnostic(
        "data",
        f"this is not a readable {what} file, or it is damaged or cut short: {reason}",
        where=str(source),
        hint="compare its size with the original, copy it again, or write it again",
    )


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known spelling closest to `word`, upper and lower case alike, or None when nothing is close."""
    by_lower = {k.lower(): k for k in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def listed(names: Iterable[str], limit: int = 12) -> str:
    """`'a', 'b' and 'c'`, cut short after `limit` names."""
    quoted = [f"'{n}'" for n in names]
    if len(quoted) > limit:
        quoted = [*quoted[:limit], f"{len(quoted) - limit} more"]
    return " and ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]])) if quoted else "nothing"


def native(value: Any, source: str) -> np.ndarray:
    """`value` as an array of a dtype that a model can use: native byte order, text as `<U`.

    float16 widens to float32 and long double narrows to float64. Raises `Diagnostic` for what is no number, truth
    value or text: Python objects, dates, records.
    """
    array = np.asarray(value)
    kind = array.dtype.kind
    if kind == "O":
        array, kind = _text_from_objects(array, source), "U"
    if kind == "T":  # variable-width text, as Zarr reads it
        return np.array(array.tolist(), dtype=str).reshape(array.shape)
    if kind == "S":
        return np.char.decode(array, "utf-8")
    if kind not in "biufcU":
        what = {"M": "dates", "m": "time differences", "V": "records"}.get(kind, "values")
        raise Diagnostic(
            "data",
            f"the array holds {what} (dtype {array.dtype}), which a model cannot use",
            where=source,
            hint="store numbers (real, integer, bool, complex) or text labels",
        )
    if kind == "f" and array.dtype.itemsize not in (4, 8):
        array = array.astype(np.float32 if array.dtype.itemsize == 2 else np.float64)
    if kind == "c" and array.dtype.itemsize not in (8, 16):
        array = array.astype(np.complex128)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _text_from_objects(array: np.ndarray, source: str) -> np.ndarray:
    """Text from an object array (as pandas and h5py hand it over)."""
    flat = [v.decode("utf-8") if isinstance(v, bytes) else v for v in array.ravel()]
    strange = next((v for v in flat if not isinstance(v, str)), None)
    if strange is not None or not flat:
        raise Diagnostic(
            "data",
            f"the array holds Python objects (such as {strange!r}), not numbers or text",
            where=source,
            hint="store each quantity as its own array of numbers",
        )
    return np.array(flat, dtype=str).reshape(array.shape)
