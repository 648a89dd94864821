"""The summary table: what was inferred and whether the number of draws supports it.

Scalars and short arrays get a row per element. A large field gets one row: the spread of mean and sd over the field,
and the worst, median and best R-hat and ESS over a subset of its elements.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..infer.tracers_of import MARK
from ..io.draws import Draws, Variable
from .diagnose import RHAT, TAILS, HighRhats, diagnose, high_rhats

ELEMENTS = 128
"""Arrays of at most this many elements are listed element by element."""
SUBSET = 1024
"""Elements of a larger field whose R-hat and ESS are computed; ArviZ takes about 3 ms for each."""
QUANTILES = (TAILS[0], 0.5, TAILS[1])


@dataclass(frozen=True)
class Row:
    """The posterior of one scalar: moments, quantiles, Monte Carlo error of the mean, and convergence."""

    name: str
    mean: float
    sd: float
    q5: float
    q50: float
    q95: float
    mcse: float
    ess_bulk: float
    ess_tail: float
    rhat: float


@dataclass(frozen=True)
class FieldRow:
    """The posterior of a field: (min, median, max) over the `checked` elements out of `elements`."""

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    elements: int
    checked: int
    mean: tuple[float, float, float]
    sd: tuple[float, float, float]
    ess_bulk: tuple[float, float, float]
    ess_tail: tuple[float, float, float]
    rhat: tuple[float, float, float]
    high: HighRhats
    """Checked elements with an R-hat above 1.01, and how many chance makes."""


@dataclass(frozen=True)
class Summary:
    """The table, with the number of chains and draws behind it."""

    rows: tuple[Row, ...]
    fields: tuple[FieldRow, ...]
    num_chains: int
    num_draws: int

    def __getitem__(self, name: str) -> Row | FieldRow:
        return {r.name: r for r in (*self.rows, *self.fields)}[name]

    def to_json(self, path: str | Path | None = None) -> str:
        """The table as JSON (numbers that are not finite become null); written to `path` where one is given."""
        content = {
            "num_chains": self.num_chains,
            "num_draws": self.num_draws,
            "rows": [asdict(r) for r in self.rows],
            "fields": [asdict(r) for r in self.fields],
        }
        return _out(json.dumps(_nulls(content), indent=1), path)

    def to_csv(self, path: str | Path | None = None) -> str:
        """The table as CSV; a field's columns hold the medians over its elements."""
        text = io.StringIO()
        names = [f.name for f in fields(Row)]
        writer = csv.DictWriter(text, names, restval="")
        writer.writeheader()
        writer.writerows(asdict(r) for r in self.rows)
        for r in self.fields:
            medians = {n: getattr(r, n)[1] for n in ("mean", "sd", "ess_bulk", "ess_tail", "rhat")}
            writer.writerow({"name": r.name, **medians})
        return _out(text.getvalue(), path)

    def to_rich(self) -> Any:
        """The table for a terminal, a `rich` renderable."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        total = f"{self.num_chains} chains × {self.num_draws} draws"
        scalars = Table(title=f"posterior, {total}", title_justify="left")
        for heading in ("", "mean", "sd", "5%", "50%", "95%", "± mean", "ESS bulk", "ESS tail", "R-hat"):
            scalars.add_column(heading, justify="left" if not heading else "right")
        for r in self.rows:
            cells = [*(number(v) for v in (r.mean, r.sd, r.q5, r.q50, r.q95, r.mcse))]
            style = "bold red" if r.rhat > RHAT else None
            scalars.add_row(Text(r.name), *cells, whole(r.ess_bulk), whole(r.ess_tail), decimals(r.rhat), style=style)
        if not self.fields:
            return scalars
        large = Table(title="fields: min · median · max over elements", title_justify="left")
        for heading in ("", "mean", "sd", "ESS bulk", "ESS tail", "R-hat"):
            large.add_column(heading, justify="left" if not heading else "right")
        for f in self.fields:
            label = f"{f.name}[{', '.join(f'{d}={n}' for d, n in zip(f.dims, f.shape, strict=True))}]"
            parts = [three(f.mean, number), three(f.sd, number), three(f.ess_bulk, whole), three(f.ess_tail, whole)]
            large.add_row(Text(label), *parts, three(f.rhat, decimals))
        return Group(scalars, large) if self.rows else large

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(file=io.StringIO(), width=120)
        console.print(self.to_rich())
        return console.file.getvalue()  # type: ignore[attr-defined]


def summarize(
    draws: Draws,
    group: str = "posterior",
    names: Iterable[str] | None = None,
    elements: int = ELEMENTS,
    subset: int = SUBSET,
) -> Summary:
    """The summary of a group's quantities, all of them or those named.

    An array of up to `elements` elements is listed; of a larger one `subset` elements, evenly spread, are checked. The
    tracers of a quantity that was too large to keep (`ppl.infer.tracers_of`) appear as fields do.
    Complex quantities appear as their real and imaginary parts. Draws that are not finite give NaN.
    """
    rows: list[Row] = []
    field_rows: list[FieldRow] = []
    for name in draws[group] if names is None else names:
        variable = draws[group][name]
        count = math.prod(variable.event_shape)
        listed = count <= elements and not (MARK in name and variable.event_dims)
        chosen = None if listed else np.unique(np.linspace(0, count - 1, min(count, subset)).astype(int))
        for part, values in _real_parts(name, elements_of(variable, chosen)):
            if chosen is None:
                labels = element_labels(part, variable, draws.coords)
                rows += [Row(label, *numbers) for label, numbers in zip(labels, _columns(values), strict=True)]
            else:
                field_rows.append(_field_row(part, variable, values))
    return Summary(tuple(rows), tuple(field_rows), draws.num_chains, draws.num_draws)


def elements_of(variable: Variable, chosen: np.ndarray | None = None) -> np.ndarray:
    """`[chain, draw, element]` of a variable, or of the chosen elements (flat, C order) of it.

    A stored field is read draw by draw when only a part of it is wanted, so that it never lies in memory whole.
    """
    if chosen is None:
        return variable.values.reshape(*variable.shape[:2], -1)
    chains, draws = variable.shape[:2]
    picked = np.empty((chains, draws, len(chosen)), dtype=variable.data.dtype)
    for chain, block in draw_blocks(variable):
        picked[chain, block] = np.asarray(variable.data[chain, block]).reshape(block.stop - block.start, -1)[:, chosen]
    return picked


def draw_blocks(variable: Variable, block_bytes: int = 2**28) -> Iterator[tuple[int, slice]]:
    """Chains and ranges of draws such that one block of the variable is about `block_bytes`."""
    chains, draws = variable.shape[:2]
    one = max(1, math.prod(variable.event_shape) * variable.data.dtype.itemsize)
    step = max(1, block_bytes // one)
    for chain in range(chains):
        for start in range(0, draws, step):
            yield chain, slice(start, min(draws, start + step))


def element_labels(name: str, variable: Variable, coords: Any) -> list[str]:
    """`alpha[county=ANOKA]` for every element in C order; positions where a dim has no labels."""
    if not variable.event_dims:
        return [name]
    labels = []
    for index in np.ndindex(*variable.event_shape):
        inside = []
        for dim, n, i in zip(variable.event_dims, variable.event_shape, index, strict=True):
            known = coords.get(dim)
            inside.append(f"{dim}={known[i] if known is not None and len(known) == n else i}")
        labels.append(f"{name}[{', '.join(inside)}]")
    return labels


def number(value: float) -> str:
    """Four significant digits, trailing zeros kept so that a column lines up."""
    return "–" if not np.isfinite(value) else f"{value:#.4g}".rstrip(".")


def whole(value: float) -> str:
    """A count, or a dash."""
    return "–" if not np.isfinite(value) else f"{value:.0f}"


def decimals(value: float) -> str:
    """R-hat with three decimals, or a dash."""
    return f"{value:.3f}" if np.isfinite(value) else "–"


def three(values: Iterable[float], show: Any) -> str:
    """Minimum, median and maximum on one line."""
    return " · ".join(show(v) for v in values)


def _columns(values: np.ndarray) -> Iterator[tuple[float, ...]]:
    """Per element: mean, sd, quantiles, MCSE, ESS bulk, ESS tail, R-hat."""
    found = diagnose(values)
    flat = values.reshape(-1, values.shape[2])
    with np.errstate(all="ignore"):
        sd = flat.std(axis=0, ddof=1) if len(flat) > 1 else np.full(flat.shape[1], np.nan)
        quantiles = np.quantile(flat, QUANTILES, axis=0)
    columns = (flat.mean(axis=0), sd, *quantiles, found.mcse, found.ess_bulk, found.ess_tail, found.rhat)
    return zip(*(c.tolist() for c in columns), strict=True)


def _field_row(name: str, variable: Variable, values: np.ndarray) -> FieldRow:
    found = diagnose(values)
    flat = values.reshape(-1, values.shape[2])
    spread = [
        _three(v) for v in (flat.mean(axis=0), flat.std(axis=0, ddof=1), found.ess_bulk, found.ess_tail, found.rhat)
    ]
    shape = variable.event_shape
    high = high_rhats(found, *values.shape[:2])
    return FieldRow(name, variable.event_dims, shape, math.prod(shape), values.shape[2], *spread, high)


def _three(values: np.ndarray) -> tuple[float, float, float]:
    kept = values[np.isfinite(values)]
    if not kept.size:
        return (math.nan, math.nan, math.nan)
    return float(kept.min()), float(np.median(kept)), float(kept.max())


def _real_parts(name: str, values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    if values.dtype.kind == "c":
        return [(f"{name}.real", values.real), (f"{name}.imag", values.imag)]
    return [(name, values.astype(np.float64))]


def _nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _nulls(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_nulls(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _out(text: str, path: str | Path | None) -> str:
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text
