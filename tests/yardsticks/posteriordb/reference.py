"""What posteriordb says of a posterior: the data, Stan's draws, and their means and mean squares.

Magnusson et al. (2024), arXiv:2407.04967; github.com/stan-dev/posteriordb, BSD-3. Stan's quantities are arrays by
Stan's names, `beta[1]`, `beta[2]`, … being `beta[..., 0:2]`.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from tests.yardsticks.agree import Estimate

ELEMENT = re.compile(r"(\w+)\[(\d+)\]")


@dataclass(frozen=True)
class Summary:
    """Means and mean squares of 10,000 draws, along `names`: Stan's elements in the order of its parameters."""

    names: list[str]
    mean: Estimate
    mean_square: Estimate


def read_data(folder: Path) -> SimpleNamespace:
    """The data of a posterior as arrays by Stan's names, numbers of any kind as float64."""
    with gzip.open(folder / "data.json.gz", "rt") as file:
        return SimpleNamespace(**{name: np.array(x, float) for name, x in json.load(file).items()})


def read_draws(folder: Path) -> SimpleNamespace:
    """2,000 of the draws, thinned to independence: arrays [draw, ...] by Stan's names."""
    with np.load(folder / "reference_draws.npz") as file:
        return gather(file["names"].tolist(), file["draws"].reshape(-1, len(file["names"])))


def read_summary(folder: Path) -> Summary:
    """The moments of all draws. A mean square has the effective sample size of its mean: the draws are thinned."""
    rows = json.loads((folder / "reference_summary.json").read_text())["parameters"]
    value = {key: np.array([row[key] for row in rows.values()]) for key in ("mean", "mean_sq", "sd", "sd_sq")}
    root = np.sqrt([min(row["ess_bulk"], 10_000) for row in rows.values()])
    return Summary(
        list(rows), Estimate(value["mean"], value["sd"] / root), Estimate(value["mean_sq"], value["sd_sq"] / root)
    )


def gather(names: list[str], columns: np.ndarray) -> SimpleNamespace:
    """Arrays by Stan's names from one column for each element."""
    found: dict[str, list[np.ndarray]] = {}
    scalars = set()
    for name, column in zip(names, np.moveaxis(columns, -1, 0), strict=True):
        element = ELEMENT.fullmatch(name)
        found.setdefault(element[1] if element else name, []).append(column)
        if not element:
            scalars.add(name)
    return SimpleNamespace(**{n: c[0] if n in scalars else np.stack(c, axis=-1) for n, c in found.items()})


def spread(names: list[str], values: dict[str, np.ndarray]) -> np.ndarray:
    """The inverse of `gather`: elements `names` of arrays [..., element] by Stan's names, along a last axis."""
    columns = []
    for name in names:
        element = ELEMENT.fullmatch(name)
        columns.append(values[element[1]][..., int(element[2]) - 1] if element else values[name])
    return np.stack(columns, axis=-1)
