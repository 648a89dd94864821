"""JSON as Stan writes it: one object whose values are numbers, truth values, nested lists or text labels.

`null` and the strings "NaN", "Inf" and "-Inf" stand for numbers that JSON cannot spell. A value that is an object with
`file`, or text that ends like a data file, is an entry of a manifest (`read_manifest.py`).
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ir.errors import Diagnostic

from .datum import Datum, Entry, damaged, native

_SPECIAL = {"nan": np.nan, "inf": np.inf, "infinity": np.inf}
_SPECIAL |= {"+" + k: v for k, v in _SPECIAL.items()} | {"-" + k: -v for k, v in _SPECIAL.items()}


def read_json(path: Path) -> Iterator[Entry]:
    """One entry per key of the file's one object."""
    from .read_manifest import is_manifest_entry, manifest_entry

    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
        content = json.loads(text, object_pairs_hook=lambda pairs: _no_duplicates(pairs, path))
    except json.JSONDecodeError as error:
        raise Diagnostic(
            "data",
            f"this is not valid JSON: {error.msg}",
            where=f"{path}:{error.lineno}:{error.colno}",
            hint="the file may be cut short; a JSON checker, python -m json.tool FILE, shows the place",
        ) from error
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise damaged(path, error, "JSON") from error
    if not isinstance(content, dict):
        raise Diagnostic(
            "data",
            f"the file holds a {type(content).__name__}, where one object with a name for each array is needed",
            where=str(path),
            hint='write {"y": [1.0, 2.0], "N": 2}',
        )
    for name, value in content.items():
        source = f"{path}[{name}]"
        if is_manifest_entry(value):
            yield manifest_entry(name, value, path)
        else:
            yield Entry(name, lambda v=value, s=source: Datum(array_from_lists(v, s), source=s), source)


def array_from_lists(value: Any, source: str) -> np.ndarray:
    """Numbers or text in nested lists as an array; `Diagnostic` where the lists are ragged or mix the two."""
    if isinstance(value, dict):
        raise Diagnostic(
            "data",
            f"the value is an object with the keys {', '.join(value)}, not an array",
            where=source,
            hint="give each array a name of its own at the top level",
        )
    try:
        array = np.array(value)
    except ValueError:
        raise _ragged(value, source) from None
    if array.dtype.kind not in "OU":
        return native(array, source)
    leaves = list(_leaves(value, ""))
    texts = [text for _, text in leaves if isinstance(text, str) and text.lower() not in _SPECIAL]
    if len(texts) == len(leaves):
        return native(array, source)
    if texts:
        where, first = next((w, v) for w, v in leaves if isinstance(v, str) and v.lower() not in _SPECIAL)
        raise Diagnostic(
            "data",
            f"text among numbers: element {where} is {first!r}",
            where=source,
            hint="give numbers only, or text only",
        )
    numbers = [np.nan if v is None else _SPECIAL[v.lower()] if isinstance(v, str) else v for _, v in leaves]
    if any(isinstance(v, int) and abs(v) >= 2**63 for v in numbers):
        raise Diagnostic(
            "data",
            "an integer is beyond 64 bits",
            where=source,
            hint="write it with a decimal point, 1.0e20, to have it read as a real number",
        )
    return np.array(numbers, dtype=float).reshape(array.shape)


def _leaves(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, list | tuple):
        yield where or "itself", value
        return
    for i, v in enumerate(value):
        yield from _leaves(v, f"{where}[{i}]")


def _ragged(value: Any, source: str) -> Diagnostic:
    """Names the first list whose length differs from its first sibling's."""
    level = [("", value)]
    while all(isinstance(v, list | tuple) for _, v in level):
        level = [(f"{where}[{i}]", v) for where, child in level for i, v in enumerate(child)]
        sizes = [len(v) if isinstance(v, list | tuple) else None for _, v in level]
        odd = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
        if odd is None:
            continue
        told = [
            "is a single value" if n is None else f"has {n} element{'s' * (n != 1)}" for n in (sizes[odd], sizes[0])
        ]
        return Diagnostic(
            "data",
            f"the nested lists are ragged: element {level[odd][0]} {told[0]} where {level[0][0]} {told[1]}",
            where=source,
            hint="an array has rows of one length: pad and mask them, or store one long list and an index",
        )
    return Diagnostic("data", "the nested lists do not form an array", where=source, hint="give rows of one length")


def _no_duplicates(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    keys = [k for k, _ in pairs]
    twice = next((k for i, k in enumerate(keys) if k in keys[:i]), None) if len(set(keys)) < len(keys) else None
    if twice is not None:
        raise Diagnostic("data", f"the key '{twice}' stands twice", where=str(path), hint="remove one of the two")
    return dict(pairs)
