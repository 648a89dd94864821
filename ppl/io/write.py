"""Named quantities as a file: `.npz`, arrays by name, or `.zarr`, with the names of their dims and their labels too."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ir.errors import Diagnostic

Types = Mapping[str, tuple[tuple[str, ...], tuple[int, ...], np.dtype]]
"""By name: dims, shape and dtype of one draw."""


class Writer(Protocol):
    """Takes the draws in their order."""

    def write(self, draw: int, values: Mapping[str, np.ndarray]) -> None:
        """All quantities of one draw."""
        ...


def check_target(path: str | Path, where: str) -> Path:
    """The path of a file that can be written: its format is known, its folder exists, no store stands there yet."""
    path = Path(path)
    if path.suffix not in (".npz", ".zarr"):
        hint = f"write {where} {path.stem or 'draws'}.npz, or .zarr for draws that are larger than memory"
        raise Diagnostic("argument", f"'{path.name}' has no format that is known", where=where, hint=hint)
    if not path.parent.is_dir():
        hint = f"make it, or give a file in a folder that exists: {where} {path.name}"
        raise Diagnostic("argument", f"there is no folder '{path.parent}'", where=where, hint=hint)
    if path.is_dir():
        hint = "give another name, or remove it first"
        raise Diagnostic("argument", f"'{path}' exists already", where=where, hint=hint)
    return path


@contextmanager
def writing(path: Path, types: Types, draws: int | None, coords: Mapping[str, Any]) -> Iterator[Writer]:
    """A writer of so many draws, which is a leading dim `draw`; None: of one draw, without that dim."""
    try:
        if path.suffix == ".zarr":
            yield _Zarr(path, types, draws, coords)
            return
        held = _Npz(types, draws)
        yield held
        held.save(path)
    except OSError as error:
        raise Diagnostic(
            "run", f"cannot write {path}: {error.strerror or error}", hint="is there room on it?"
        ) from None


class _Npz:
    def __init__(self, types: Types, draws: int | None):
        lead = () if draws is None else (draws,)
        self.lead, self.arrays = bool(lead), {n: np.empty((*lead, *s), t) for n, (_, s, t) in types.items()}

    def write(self, draw: int, values: Mapping[str, np.ndarray]) -> None:
        for name, array in self.arrays.items():
            array[(draw,) if self.lead else ...] = values[name]

    def save(self, path: Path) -> None:
        """Whole, or not at all. (`np.savez` has no room for a quantity that is called `file`.)"""
        part = path.with_name(path.name + ".part")
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, array in self.arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)
        os.replace(part, path)


class _Zarr:
    def __init__(self, path: Path, types: Types, draws: int | None, coords: Mapping[str, Any]):
        import zarr

        lead, names = ((), ()) if draws is None else ((draws,), ("draw",))
        self.lead, self.arrays = bool(lead), {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that text of fixed width is not in the format's standard yet
            root = zarr.open_group(path, mode="w-")
            for name, (dims, shape, dtype) in types.items():
                chunks = (1, *shape) if lead else shape
                self.arrays[name] = root.create_array(
                    name, shape=(*lead, *shape), dtype=dtype, chunks=chunks, dimension_names=(*names, *dims)
                )
            used = {d for dims, _, _ in types.values() for d in dims}
            for dim, labels in coords.items():
                if dim in used and dim not in types:
                    array = np.asarray(labels)
                    root.create_array(dim, data=array, dimension_names=(dim,))

    def write(self, draw: int, values: Mapping[str, np.ndarray]) -> None:
        for name, array in self.arrays.items():
            array[(draw,) if self.lead else ...] = values[name]


__all__ = ["Writer", "check_target", "writing"]
