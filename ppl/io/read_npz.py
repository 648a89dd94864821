"""NumPy files: `.npz` archives and single `.npy` arrays. Nothing in them is ever unpickled."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ir.errors import Diagnostic

from .datum import Datum, Entry, damaged, native


def read_npz(path: Path) -> Iterator[Entry]:
    """One entry per array of the archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
    except (zipfile.BadZipFile, OSError) as error:
        raise damaged(path, error, "npz") from error
    for name in names:
        yield Entry(name, lambda name=name: _load(path, name), f"{path}[{name}]")


def read_npy(path: Path) -> Iterator[Entry]:
    """The file's one array, named like the file."""
    yield Entry(path.stem, lambda: _load(path, None), str(path))


def _load(path: Path, name: str | None) -> Datum:
    source = str(path) if name is None else f"{path}[{name}]"
    try:
        loaded = np.load(path, allow_pickle=False)
        if name is None:
            value = loaded
        else:
            with loaded:
                value = loaded[name]
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise damaged(path, error, "NumPy") from error
        raise Diagnostic(
            "data",
            "the array has dtype object: pickled Python objects, which are never loaded (a pickle can run code)",
            where=source,
            hint="save it as numbers, np.savez(..., y=np.asarray(y, dtype=float)), or as text, dtype=str",
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError) as error:
        raise damaged(source, error, "NumPy") from error
    return Datum(native(value, source), source=source)
