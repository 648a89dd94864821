"""HDF5: every dataset at any depth, named by the last component of its path where that is unique, else by the path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ir.errors import Diagnostic

from .datum import Datum, Entry, damaged, native


def read_hdf5(path: Path) -> Iterator[Entry]:
    """One entry per dataset; axis labels and dimension scales become dims and coordinates."""
    import h5py

    found: list[str] = []
    try:
        with h5py.File(path, "r") as file:
            file.visititems(lambda name, node: found.append(name) if isinstance(node, h5py.Dataset) else None)
    except (OSError, RuntimeError) as error:
        raise damaged(path, error, "HDF5") from error
    for name, inside in unique_names(found).items():
        yield Entry(name, lambda inside=inside: _load(path, inside), f"{path}[{inside}]", (inside,))


def unique_names(paths: list[str]) -> dict[str, str]:
    """Name -> path inside the file: the last component, or the whole path where several end alike."""
    count = Counter(p.rpartition("/")[2] for p in paths)
    last = {p: p.rpartition("/")[2] for p in paths}
    return {(last[p] if count[last[p]] == 1 else p): p for p in paths}


def _load(path: Path, inside: str) -> Datum:
    import h5py

    source = f"{path}[{inside}]"
    try:
        with h5py.File(path, "r") as file:
            dataset = file[inside]
            if h5py.check_string_dtype(dataset.dtype):
                value: Any = np.asarray(dataset.asstr()[()], dtype=object)
            elif h5py.check_vlen_dtype(dataset.dtype) or dataset.shape is None:
                raise Diagnostic(
                    "data",
                    "the dataset is empty or holds lists of varying length, which is not an array",
                    where=source,
                    hint="store one long array and an index of where each list begins",
                )
            else:
                value = dataset[()]
            dims, coords = _axes(dataset, source)
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise damaged(source, error, "HDF5") from error
    return Datum(native(value, source), dims, coords, source)


def _axes(dataset: Any, source: str) -> tuple[tuple[str, ...] | None, dict[str, np.ndarray]]:
    """Names from axis labels or attached scales, all or none; coordinates from scales of the right length."""
    import h5py

    names, coords = [], {}
    for axis, size in zip(dataset.dims, dataset.shape, strict=True):
        scales = list(axis.values())
        name = axis.label or (scales[0].name.rpartition("/")[2] if scales else "")
        names.append(name)
        if name and scales and scales[0].shape == (size,):
            text = h5py.check_string_dtype(scales[0].dtype)
            coords[name] = native(np.asarray(scales[0].asstr()[()], object) if text else scales[0][()], source)
    return (tuple(names), coords) if names and all(names) else (None, {})
