"""Where trajectories diverge: the scalar quantity whose values at divergent transitions differ most from all others."""

from __future__ import annotations

import math

import numpy as np

from ..io.draws import Draws
from .summary import number

LEAST = 5
"""Fewer divergences say nothing about a place."""
SIGNIFICANT = 4.0
"""A difference of so many standard errors is told; chance reaches it for one scalar in 16,000."""


def where_most(draws: Draws, diverging: np.ndarray) -> str | None:
    """`mostly where tau is small (median 0.4 against 3.6)`; None where no scalar stands out.

    The draw of a divergent transition is a point of the trajectory before it went wrong. Quantities are compared by
    ranks, since those that matter are often scales with long tails: of n draws out of N whose ranks (in (0, 1)) are
    drawn at random, the mean has standard error ((1 - n/N) / 12 n)^(1/2) about 1/2 (Wilcoxon 1945).
    """
    bad, most, found = diverging.ravel().astype(bool), SIGNIFICANT, None
    count, whole = int(bad.sum()), bad.size
    if count < LEAST or whole - count < LEAST:
        return None
    error = math.sqrt((1 - count / whole) / (12 * count))
    for name, variable in draws["posterior"].items():
        if variable.event_dims or variable.data.dtype.kind not in "fiu" or variable.shape != diverging.shape:
            continue
        values = variable.values.ravel().astype(float)
        if not np.isfinite(values).all():
            continue
        z = (_ranks(values)[bad].mean() - 0.5) / error
        if abs(z) > most:
            medians = number(float(np.median(values[bad]))), number(float(np.median(values)))
            most = abs(z)
            found = f"{name} is {'small' if z < 0 else 'large'} (median {medians[0]} against {medians[1]})"
    return f"mostly where {found}" if found else None


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks in (0, 1); equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - counts / 2)[place.ravel()] / len(values)
