"""Text labels to numbers: `"ANOKA"` becomes the position of ANOKA among the labels of its dim."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ir.errors import Diagnostic

from .check_values import position
from .datum import Datum, nearest
from .declare import Declaration


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of a dim in order, and the data that used them as numbers."""

    names: np.ndarray
    codes: dict[str, Datum]


def factorise(
    dim: str, group: list[tuple[Declaration, Datum]], known: np.ndarray | None, size: int | None
) -> Labels | None:
    """Number the text among the data that index `dim`; None when there is none.

    The order is that of `known` labels when the data gives them, otherwise alphabetical over everything that indexes
    the dim, so that `home` and `away` agree on which team is 3.
    """
    texts = [(d, datum) for d, datum in group if datum.is_text]
    if not texts:
        return None
    mixed = next(((d, datum) for d, datum in group if not datum.is_text), None)
    if mixed and known is None:
        raise Diagnostic(
            "data",
            f"'{texts[0][0].name}' gives the elements of '{dim}' as labels and '{mixed[0].name}' as numbers",
            span=mixed[0].span,
            where=mixed[1].source,
            hint=f"give an array of labels named '{dim}', whose order the numbers follow, or labels in both",
        )
    names = known if known is not None else np.unique(np.concatenate([datum.value.ravel() for _, datum in texts]))
    names = names.astype(str)
    if len(set(names.tolist())) < len(names):
        values, counts = np.unique(names, return_counts=True)
        raise Diagnostic(
            "data",
            f"the label '{values[np.argmax(counts)]}' of dim '{dim}' stands {counts.max()} times",
            hint=f"each element of '{dim}' needs a label of its own",
        )
    if size is not None and size != len(names):
        raise Diagnostic(
            "data",
            f"dim '{dim}' has size {size}, and '{texts[0][0].name}' has {len(names)} different labels",
            span=texts[0][0].span,
            where=texts[0][1].source,
            hint=f"give an array of all {size} labels named '{dim}', or leave the size of '{dim}' to the data",
        )
    return Labels(names, {d.name: _encode(dim, d, datum, names) for d, datum in texts})


def _encode(dim: str, d: Declaration, datum: Datum, names: np.ndarray) -> Datum:
    order = np.argsort(names)
    found = np.minimum(np.searchsorted(names[order], datum.value), len(names) - 1)
    codes = order[found]
    unknown = names[codes] != datum.value
    if np.any(unknown):
        where, at = position(d, np.asarray(unknown))
        label = str(datum.value[at])
        close = nearest(label, names.tolist())
        raise Diagnostic(
            "data",
            f"{where} = '{label}' is not a label of dim '{dim}' ({datum.source})",
            span=d.span,
            hint=(f"did you mean '{close}'? " if close else "") + f"the labels begin {', '.join(names[:5].tolist())}",
        )
    return replace(datum, value=np.asarray(codes, dtype=np.int64))
