"""Hold data to what a model declares: all of it present, of the right rank, size, type and range, before a run starts.

    checked = check_data(declarations, data, dim_sizes={"obs": None, "county": None})
    checked.data["cty"].value      # int32, 0 .. n-1
    checked.dim_sizes              # {"obs": 919, "county": 85}
    checked.coords["county"]       # array(["AITKIN", "ANOKA", ...])

A dim's size comes, in this order, from its declaration, from an integer named like the dim in the data, from the
arrays that have the dim, from its labels, and for a dim that is only indexed from the largest index.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ir.errors import Diagnostic

from .check_labels import factorise
from .check_values import check_index, check_values
from .datum import Data, Datum, listed, native, nearest
from .declare import Declaration
from .read import as_data


@dataclass(frozen=True)
class CheckedData:
    """Data that fits the model: arrays in the declared order of dims, every dim's size, labels, notes for the user."""

    data: dict[str, Datum]
    dim_sizes: dict[str, int]
    coords: dict[str, np.ndarray]
    notes: tuple[str, ...] = ()


def check_data(
    declarations: Iterable[Declaration],
    data: Mapping[str, Any],
    dim_sizes: Mapping[str, int | None] | None = None,
    index_base: int = 0,
) -> CheckedData:
    """The checked data of a model; the first thing that is wrong is a `Diagnostic("data")` at its declaration.

    `dim_sizes` lists the model's dims, None where the size is to come from the data. `index_base` is 0, or 1 for data
    whose indices count from 1 (Stan, R, Julia): they are shifted.
    """
    declarations = tuple(declarations)
    data = data if isinstance(data, Data) else as_data(data)
    given = _select(declarations, data)
    given = {d.name: _in_declared_order(d, given[d.name]) for d in declarations if d.name in given}
    sizes = _Sizes(dim_sizes or {})
    coords = _coordinates(data, given, sizes)
    _measure(declarations, given, sizes)
    checked: dict[str, Datum] = {}
    for dim, group in _index_groups(declarations, given).items():
        labels = factorise(dim, group, coords.get(dim), sizes.get(dim))
        if labels is not None:
            given |= labels.codes
            coords[dim] = labels.names
            sizes.agree(dim, len(labels.names), f"the labels in {listed(d.name for d, _ in group)}")
    for d in (d for d in declarations if d.name in given):
        datum = given[d.name]
        if d.type == "index":
            datum = check_index(d, datum, sizes.get(d.index_dim or ""), 0 if _was_text(data, d) else index_base)
            if sizes.get(d.index_dim or "") is None and datum.value.size:
                sizes.propose(d.index_dim or "", int(datum.value.max()) + 1, d)
        else:
            datum = check_values(d, datum)
        checked[d.name] = datum
    sizes.take_proposals()
    checked |= _defaults(declarations, checked, sizes)
    sizes.require_all()
    coords = {dim: labels for dim, labels in coords.items() if len(labels) == sizes.get(dim)}
    unused = [n for n in data if n not in checked and n not in sizes.known and n not in coords]
    notes = [*data.notes, *sizes.notes]
    if unused:
        notes.append(f"ignored, because the model does not declare it: {listed(unused)}")
    return CheckedData({d.name: checked[d.name] for d in declarations}, sizes.result(), coords, tuple(notes))


class _Sizes:
    """The size of each dim as it becomes known, and who said so."""

    def __init__(self, declared: Mapping[str, int | None]) -> None:
        self.known: dict[str, tuple[int, str] | None] = {
            dim: None if size is None else (int(size), "the model or in what was set") for dim, size in declared.items()
        }
        self.notes: list[str] = []
        self.proposals: dict[str, tuple[int, Declaration]] = {}

    def get(self, dim: str) -> int | None:
        found = self.known.get(dim)
        return None if found is None else found[0]

    def agree(self, dim: str, size: int, who: str, span: Any = None) -> None:
        """Take `size` for a dim, or say which two disagree."""
        found = self.known.get(dim)
        if found is None:
            self.known[dim] = (size, who)
        elif found[0] != size:
            raise Diagnostic(
                "data",
                f"dim '{dim}' has size {found[0]} in {found[1]} and size {size} in {who}",
                span=span,
                hint=f"all data along '{dim}' must have one length; if they are different things, use two dims",
            )

    def propose(self, dim: str, size: int, declaration: Declaration) -> None:
        """A size read off the largest index: taken when nothing else gives one."""
        if size > self.proposals.get(dim, (0, declaration))[0]:
            self.proposals[dim] = (size, declaration)

    def take_proposals(self) -> None:
        for dim, (size, declaration) in self.proposals.items():
            self.known[dim] = (size, f"the largest index in {declaration.name}")
            self.notes.append(f"dim '{dim}' has size {size}, from the largest index in '{declaration.name}'")

    def require_all(self) -> None:
        unknown = [dim for dim, found in self.known.items() if found is None]
        if unknown:
            raise Diagnostic(
                "data",
                f"no data gives the size of dim {listed(unknown)}",
                hint=f"write dim {unknown[0]} = 10 in the model, or give --set {unknown[0]}=10",
            )

    def result(self) -> dict[str, int]:
        return {dim: found[0] for dim, found in self.known.items() if found is not None}


def _select(declarations: tuple[Declaration, ...], data: Data) -> dict[str, Datum]:
    """The declared data that is given; one diagnostic for all that is missing."""
    given = {d.name: data[d.name] for d in declarations if d.name in data}
    missing = [d for d in declarations if d.name not in given and d.default is None]
    if not missing:
        return given
    declared = {d.name for d in declarations}
    spare = [n for n in (*data, *data.unread) if n not in declared]
    close = {d.name: nearest(d.name, spare) for d in missing}
    guesses = [f"'{guess}' for '{name}'" for name, guess in close.items() if guess]
    have = listed((*data, *data.unread)) if data or data.unread else "nothing"
    name = missing[0].name
    raise Diagnostic(
        "data",
        f"no data is given for {'; '.join(map(str, missing))}",
        span=missing[0].span,
        where=", ".join(sorted({d.source.partition("[")[0] for d in data.values() if d.source})) or None,
        hint=(f"did you mean {', '.join(guesses)}? " if guesses else "")
        + f"given: {have}; add it with --data {name}=FILE",
    )


def _in_declared_order(d: Declaration, datum: Datum) -> Datum:
    """The datum with the declared dims; an array whose file names the same dims in another order is transposed."""
    array, dims = datum.value, datum.dims
    if array.ndim != len(d.dims):
        raise Diagnostic(
            "data",
            f"'{d.name}' needs {_dims_in_words(d.dims)}, and the data has {array.ndim} (shape {array.shape}): "
            f"{datum.source}",
            span=d.span,
            hint=_rank_hint(d, array),
        )
    if array.size == 0:
        raise Diagnostic(
            "data",
            f"'{d.name}' is empty (shape {array.shape}): {datum.source}",
            span=d.span,
            hint="give at least one value",
        )
    if dims is None or dims == d.dims or not set(dims) & set(d.dims):
        return replace(datum, dims=d.dims)
    if set(dims) == set(d.dims):
        return replace(datum, value=array.transpose([dims.index(n) for n in d.dims]), dims=d.dims)
    raise Diagnostic(
        "data",
        f"'{d.name}' is declared with dims [{', '.join(d.dims)}], and the file names them [{', '.join(dims)}]: "
        f"{datum.source}",
        span=d.span,
        hint="rename the dims in the file or in the model so that they are the same",
    )


def _dims_in_words(dims: tuple[str, ...]) -> str:
    return f"{len(dims)} dim{'s' * (len(dims) != 1)}" + (f" [{', '.join(dims)}]" if dims else ", a single number")


def _rank_hint(d: Declaration, array: np.ndarray) -> str:
    if array.ndim == 0:
        return f"for one value everywhere declare data {d.name}: {d.type}, or give an array"
    if array.size == 1 and not d.dims:
        return f"take the one element out of the array: {d.name}.item()"
    if array.ndim > len(d.dims) and 1 in array.shape:
        return f"the shape has an axis of length 1: give np.squeeze({d.name})"
    return f"declare as many dims as the data has: data {d.name}[{', '.join('abcdefgh'[: array.ndim])}]: {d.type}"


def _coordinates(data: Data, given: Mapping[str, Datum], sizes: _Sizes) -> dict[str, np.ndarray]:
    """Labels of the model's dims: arrays named like a dim, or coordinates that came with the data.

    An integer named like a dim gives the dim's size instead.
    """
    coords: dict[str, np.ndarray] = {}
    for datum in given.values():
        coords |= {dim: labels for dim, labels in datum.coords.items() if dim in (datum.dims or ())}
    dims = set(sizes.known) | {dim for datum in given.values() for dim in datum.dims or ()}
    for name in data.keys() - given.keys():
        value = data[name].value
        if name not in dims:
            continue
        if value.ndim == 1:
            coords[name] = value
            sizes.agree(name, len(value), f"its labels in {data[name].source}")
        elif value.ndim == 0 and value.dtype.kind in "iu":
            sizes.agree(name, int(value), f"{data[name].source} ({name} = {int(value)})")
    return coords


def _measure(declarations: tuple[Declaration, ...], given: Mapping[str, Datum], sizes: _Sizes) -> None:
    """Read the sizes of dims off the arrays; two that disagree are both named."""
    for d in declarations:
        if d.name not in given:
            continue
        datum = given[d.name]
        shape = datum.value.shape
        needed = tuple(sizes.get(dim) for dim in d.dims)
        if None not in needed and needed != shape and sorted(needed) == sorted(shape):  # type: ignore[type-var]
            wanted = ", ".join(f"{dim}={n}" for dim, n in zip(d.dims, needed, strict=True))
            raise Diagnostic(
                "data",
                f"'{d.name}' needs the shape [{wanted}] and has {shape}, the same numbers in another order: "
                f"{datum.source}",
                span=d.span,
                hint=f"the array looks transposed: swap its axes, or declare '{d.name}' with its dims in that order",
            )
        for dim, size in zip(d.dims, shape, strict=True):
            sizes.agree(dim, size, f"'{d.name}' of shape {shape} from {datum.source}", d.span)


def _index_groups(
    declarations: tuple[Declaration, ...], given: Mapping[str, Datum]
) -> dict[str, list[tuple[Declaration, Datum]]]:
    """The index data of each dim: two that index one dim by labels must share its numbering."""
    groups: dict[str, list[tuple[Declaration, Datum]]] = {}
    for d in declarations:
        if d.type == "index" and d.index_dim and d.name in given:
            groups.setdefault(d.index_dim, []).append((d, given[d.name]))
    return groups


def _was_text(data: Data, d: Declaration) -> bool:
    return data[d.name].is_text


def _defaults(declarations: tuple[Declaration, ...], checked: Mapping[str, Datum], sizes: _Sizes) -> dict[str, Datum]:
    """Data that is not given, from its default; one number fills the declared shape."""
    filled = {}
    for d in declarations:
        if d.name in checked:
            continue
        value = native(d.default, f"the default of {d.name}")
        shape = tuple(sizes.get(dim) for dim in d.dims)
        if value.ndim == 0 and None not in shape:
            value = np.full(shape, value)  # type: ignore[arg-type]
        datum = _in_declared_order(d, Datum(value, source=f"the default of '{d.name}'"))
        _measure((d,), {d.name: datum}, sizes)
        filled[d.name] = (
            check_index(d, datum, sizes.get(d.index_dim or ""), 0) if d.type == "index" else check_values(d, datum)
        )
    return filled
