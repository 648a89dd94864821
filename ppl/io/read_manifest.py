"""A manifest: a small TOML (or JSON) file that says which file each name of the model comes from.

    e1   = "e1.fits"                                  # a path, relative to the manifest
    mask = {file = "masks.fits", hdu = 0}
    nbar = {file = "survey.h5", entry = "deep/nbar", scale = 0.5, dtype = "float32"}
    box  = 104.4                                      # a value
    bins = [0.5, 1.0, 2.0]

Keys of an entry: `file`, and `entry` (or `hdu`, `column`: other words for it), `scale` (multiplied), `dtype`
(`float32`, `int64`, ...; taken after scaling), `dims` (names for the axes).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ir.errors import Diagnostic

from .datum import Datum, Entry, damaged, nearest
from .read_json import array_from_lists

_CHOOSERS = ("entry", "hdu", "column")
_KEYS = ("file", *_CHOOSERS, "scale", "dtype", "dims")
_DTYPES = ("bool", "int32", "int64", "float32", "float64", "complex64", "complex128")


def read_toml(path: Path) -> Iterator[Entry]:
    """One entry per key of the manifest."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise Diagnostic(
            "data", f"this is not valid TOML: {error}", where=str(path), hint='a line is name = "file" or name = 1.5'
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, error, "TOML") from error
    for name, value in content.items():
        source = f"{path}[{name}]"
        if isinstance(value, dict | str):
            yield manifest_entry(name, value, path)
        else:
            yield Entry(name, lambda v=value, s=source: Datum(array_from_lists(v, s), source=s), source)


def is_manifest_entry(value: Any) -> bool:
    """Whether a JSON value means a file rather than data."""
    from .read import FORMATS, suffix_of

    return (isinstance(value, dict) and "file" in value) or (isinstance(value, str) and suffix_of(value) in FORMATS)


def manifest_entry(name: str, value: str | dict[str, Any], manifest: Path) -> Entry:
    """The entry for `name = "file"` or `name = {file = "file", ...}`, checked now, read later."""
    where = f"{manifest}[{name}]"
    spec = {"file": value} if isinstance(value, str) else value
    for key in spec:
        if key not in _KEYS:
            close = nearest(key, _KEYS)
            raise Diagnostic(
                "data",
                f"an entry has no key '{key}'",
                where=where,
                hint=(f"did you mean '{close}'? " if close else "") + f"keys: {', '.join(_KEYS)}",
            )
    if not isinstance(spec.get("file"), str):
        raise Diagnostic(
            "data", "the entry names no file", where=where, hint=f'write {name} = {{file = "{name}.fits"}}'
        )
    if "dtype" in spec and spec["dtype"] not in _DTYPES:
        raise Diagnostic("data", f"'{spec['dtype']}' is not a dtype", where=where, hint=f"one of {', '.join(_DTYPES)}")
    chosen = [str(spec[key]) for key in _CHOOSERS if key in spec]
    if len(chosen) > 1:
        raise Diagnostic("data", "the entry chooses twice", where=where, hint="give one of entry, hdu and column")
    return Entry(name, lambda: _load(name, spec, chosen, manifest), where)


def _load(name: str, spec: dict[str, Any], chosen: list[str], manifest: Path) -> Datum:
    from .read import list_entries, pick_entry

    path = manifest.parent / spec["file"]
    if path.resolve() == manifest.resolve():
        raise Diagnostic(
            "data", f"'{name}' points at the manifest itself", where=str(manifest), hint="name a data file"
        )
    entries = list_entries(path)
    if chosen:
        datum = pick_entry(entries, chosen[0], path).load()
    elif name in entries or len(entries) > 1:
        datum = pick_entry(entries, name, path).load()
    else:
        datum = next(iter(entries.values())).load()
    array = datum.value
    if "scale" in spec:
        array = array * np.asarray(spec["scale"], dtype=array.dtype if array.dtype.kind in "fc" else None)
    if "dtype" in spec:
        array = array.astype(spec["dtype"])
    dims = tuple(spec["dims"]) if "dims" in spec else datum.dims
    if dims is not None and len(dims) != array.ndim:
        raise Diagnostic(
            "data",
            f"dims names {len(dims)} axes, the array has {array.ndim} (shape {array.shape})",
            where=f"{manifest}[{name}]",
            hint="give one name for each axis",
        )
    return replace(datum, value=array, dims=dims)
