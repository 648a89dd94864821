"""Read data for a model from whatever file it lies in.

`read_data` takes one file; `read_many` merges several sources as a command line gives them:

    read_many(["survey.npz", "e1=e1.fits", "mask=masks.h5:deep/mask", "box=104.4"])

Each format is a generator of entries `(name, load)`: the names are cheap to list, an array is read only when `load` is
called, so that a model which uses two maps of a 100 GB store reads two maps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ir.errors import Diagnostic

from .datum import Data, Datum, Entry, listed, native, nearest
from .read_fits import read_fits
from .read_hdf5 import read_hdf5
from .read_json import array_from_lists, read_json
from .read_manifest import read_toml
from .read_npz import read_npy, read_npz
from .read_zarr import read_zarr

Source = str | Path | Mapping[str, Any]

FORMATS: dict[str, Callable[[Path], Iterable[Entry]]] = {
    ".fit": read_fits,
    ".fits": read_fits,
    ".fits.fz": read_fits,
    ".fits.gz": read_fits,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".json": read_json,
    ".json.gz": read_json,
    ".npy": read_npy,
    ".npz": read_npz,
    ".toml": read_toml,
    ".zarr": read_zarr,
}


def suffix_of(path: str | Path) -> str:
    """The suffix that tells the format, in lower case, with the compression's: `.fits`, `.json.gz`."""
    suffixes = [s.lower() for s in Path(path).suffixes]
    if not suffixes:
        return ""
    return "".join(suffixes[-2:]) if suffixes[-1] in (".gz", ".fz") else suffixes[-1]


def read_data(path: str | Path, wanted: Iterable[str] | None = None) -> Data:
    """All arrays of a file by name, or those named in `wanted`.

    The suffix tells the format: `.npz`, `.npy`, `.json` (also `.json.gz`), `.toml` (a manifest of other files), `.h5`,
    `.hdf5`, `.zarr`, `.fits`. Names that are not wanted are listed in the result's `unread`. Raises
    `Diagnostic("data")` for a file that is missing, of unknown suffix, damaged or empty, and for an entry of a dtype
    no model can use.
    """
    path = Path(path)
    entries = list_entries(path)
    keep = None if wanted is None else _match(wanted, entries)
    data = Data()
    for name, entry in entries.items():
        if keep is None:
            data[name] = entry.load()
        elif name in keep:
            data[keep[name]] = entry.load()
        else:
            data.unread[name] = entry.source
    return data


def read_many(sources: Iterable[Source], wanted: Iterable[str] | None = None) -> Data:
    """Several sources merged, later ones over earlier ones; a name given twice is reported in `notes`.

    A source is a path, `name=path`, `name=path:entry` (an HDF5 path, a FITS extension or column, ...), `name=value`
    with a number, a truth value or a JSON list, or a mapping of names to arrays.
    """
    merged = Data()
    wanted = None if wanted is None else tuple(wanted)
    for source in sources:
        new = _read_source(source, wanted)
        for name in new.keys() & merged.keys():
            merged.notes.append(f"'{name}' is given twice: {new[name].source} replaces {merged[name].source}")
        merged.update(new)
        merged.notes += new.notes
        merged.unread |= new.unread
    merged.unread = {n: s for n, s in merged.unread.items() if n not in merged}
    return merged


def as_data(values: Mapping[str, Any]) -> Data:
    """Data given in Python: numbers, lists, NumPy or JAX arrays, pandas series, xarray arrays with coordinates."""
    data = Data()
    for name, value in values.items():
        if isinstance(value, Datum):
            data[name] = value
            continue
        source = f"data['{name}']"
        coords = getattr(value, "coords", None)
        dims = getattr(value, "dims", None)
        if coords is None or dims is None:
            data[name] = Datum(_array(value, source), source=source)
            continue
        labels = {str(d): native(coords[d].values, source) for d in dims if d in coords}
        data[name] = Datum(native(value.values, source), tuple(map(str, dims)), labels, source)
    return data


def list_entries(path: Path) -> dict[str, Entry]:
    """What a file holds by name, nothing of it read yet."""
    if not path.exists():
        raise _missing_file(path)
    suffix = suffix_of(path)
    if suffix not in FORMATS:
        close = nearest(suffix, FORMATS)
        raise Diagnostic(
            "data",
            f"'{suffix or path.name}' is not a data format that is known here",
            where=str(path),
            hint=(f"did you mean '{close}'? " if close else "") + f"known: {', '.join(sorted(FORMATS))}",
        )
    if path.is_file() and path.stat().st_size == 0:
        raise Diagnostic("data", "the file is empty (0 bytes)", where=str(path), hint="write or copy the file again")
    entries = {entry.name: entry for entry in FORMATS[suffix](path)}
    if not entries:
        raise Diagnostic(
            "data", "the file holds no arrays", where=str(path), hint="give a file with at least one named array"
        )
    return entries


def _read_source(source: Source, wanted: tuple[str, ...] | None) -> Data:
    if isinstance(source, Mapping):
        return as_data(source)
    text = str(source)
    name, equals, rest = text.partition("=")
    if isinstance(source, Path) or not equals or Path(text).exists():
        return read_data(source, wanted)
    if not name.isidentifier():
        raise Diagnostic("argument", f"'{name}' is not a name", where=f"--data {text}", hint="write --data NAME=FILE")
    if not rest:
        raise Diagnostic(
            "argument", f"nothing stands after '{name}='", where=f"--data {text}", hint="write --data NAME=FILE"
        )
    try:
        return Data({name: Datum(_array(json.loads(rest), text), source=text)})
    except json.JSONDecodeError:
        return Data({name: _read_one(name, rest)})


def _read_one(name: str, text: str) -> Datum:
    """The array that `name=text` means: `text` is a file, or a file and an entry of it behind a colon."""
    path, colon, chosen = Path(text), "", ""
    if not path.exists() and ":" in text:
        head, colon, chosen = text.rpartition(":")
        path = Path(head)
    entries = list_entries(path)
    if colon:
        return pick_entry(entries, chosen, path).load()
    if name in entries:
        return entries[name].load()
    if len(entries) > 1:
        raise Diagnostic(
            "data",
            f"none of the file's {len(entries)} entries is named '{name}': it holds {listed(entries)}",
            where=str(path),
            hint=f"say which one: --data {name}={path}:{nearest(name, entries) or next(iter(entries))}",
        )
    return next(iter(entries.values())).load()


def pick_entry(entries: Mapping[str, Entry], chosen: str, path: Path) -> Entry:
    """The entry called `chosen`: by name, by a path that ends so, or by number."""
    if chosen in entries:
        return entries[chosen]
    aliased = [e for e in entries.values() if chosen.strip("/") in e.aliases]
    if len(aliased) == 1:
        return aliased[0]
    close = nearest(chosen, entries)
    raise Diagnostic(
        "data",
        f"the file has no entry '{chosen}'" if not aliased else f"'{chosen}' could be any of several entries",
        where=str(path),
        hint=(f"did you mean '{close}'? " if close else "") + f"it holds {listed(entries)}",
    )


def _match(wanted: Iterable[str], entries: Mapping[str, Entry]) -> dict[str, str]:
    """Entry name -> wanted name: exact, or by an alias (the case-blind names of FITS) that only one entry has."""
    keep = {}
    for name in wanted:
        if name in entries:
            keep[name] = name
            continue
        aliased = [e.name for e in entries.values() if name in e.aliases or name.lower() in e.aliases]
        if len(aliased) == 1 and aliased[0] not in keep:
            keep[aliased[0]] = name
    return keep


def _array(value: Any, source: str) -> np.ndarray:
    return array_from_lists(value, source) if isinstance(value, list | tuple) else native(value, source)


def _missing_file(path: Path) -> Diagnostic:
    folder = path.parent
    if not folder.is_dir():
        return Diagnostic(
            "data", f"there is no folder '{folder}'", where=str(path), hint="check the path, or the folder you are in"
        )
    close = nearest(path.name, (p.name for p in folder.iterdir()))
    hint = f"did you mean '{folder / close}'?" if close else f"the folder it should be in is {folder.resolve()}"
    return Diagnostic("data", "there is no such file", where=str(path), hint=hint)
