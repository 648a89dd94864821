"""Zarr: every array of a group at any depth, with the dims and coordinates that xarray writes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .datum import Datum, Entry, damaged, native
from .read_hdf5 import unique_names


def read_zarr(path: Path) -> Iterator[Entry]:
    """One entry per array of the store; a store that is a single array is named like the folder."""
    import zarr

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the format says about fixed-width text is no matter when reading
            node = zarr.open(path, mode="r")
            members = [] if isinstance(node, zarr.Array) else list(node.members(max_depth=None))
    except (OSError, ValueError, KeyError, zarr.errors.BaseZarrError) as error:
        raise damaged(path, error, "Zarr") from error
    if isinstance(node, zarr.Array):
        yield Entry(path.stem, lambda: _load(node, {}, str(path)), str(path))
    arrays = {name: member for name, member in members if isinstance(member, zarr.Array)}
    for name, inside in unique_names(list(arrays)).items():
        folder = inside.rpartition("/")[0]
        siblings = {k.rpartition("/")[2]: a for k, a in arrays.items() if k.rpartition("/")[0] == folder}
        source = f"{path}[{inside}]"
        yield Entry(name, lambda a=arrays[inside], near=siblings, s=source: _load(a, near, s), source, (inside,))


def dims_of(array: Any) -> tuple[str, ...] | None:
    """The names of a Zarr array's axes: of the format 3 metadata, or the attribute that xarray writes in format 2."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    return tuple(names) if names and all(names) else None


def _load(array: Any, siblings: dict[str, Any], source: str) -> Datum:
    dims = dims_of(array)
    coords: dict[str, np.ndarray] = {}
    try:
        value = native(array[...], source)
        for name in dims or ():
            near = siblings.get(name)
            if near is not None and near.ndim == 1 and near.shape[0] == array.shape[dims.index(name)]:
                coords[name] = native(near[...], source)
    except (OSError, ValueError, RuntimeError) as error:
        raise damaged(source, error, "Zarr") from error
    return Datum(value, dims, coords, source)
