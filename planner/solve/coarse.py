"""Coarse problems: mesh axes acting together, as one axis of their product.

A plan of the 8-device mesh row=8 is also a plan of row=2,mid=2,col=2 in which the three axes always go together. Such
plans are few and soon searched, and the best of them is often the best of all, or close: its price then strikes off
most states of the full problem.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from ir.layout import Axes

from ..candidates import Candidate
from .network import Network

Groups = tuple[Axes, ...]


def groupings(axes: Sequence[str]) -> Iterator[Groups]:
    """Every way to cut the axes, in order, into fewer groups: the coarsest first."""
    for count in range(1, len(axes)):
        for cuts in combinations(range(1, len(axes)), count - 1):
            yield tuple(tuple(axes[a:b]) for a, b in pairwise((0, *cuts, len(axes))))


def coarse_states(network: Network, groups: Groups) -> list[np.ndarray] | None:
    """The states in which each group acts as one axis; None where some variable has none.

    A variable of one state has no choice, and may also be one that was folded away.
    """
    keep = [
        np.array([s for s, x in enumerate(v.states) if len(v.states) == 1 or all(_together(x, g) for g in groups)], int)
        for v in network.variables
    ]
    return keep if all(len(k) for k in keep) else None


def _together(state: Any, group: Axes) -> bool:
    """Whether a state has the axes of a group in a row on one dim, all partial, or all idle."""
    if len(group) == 1:
        return True
    open_sums = state.strategy.carry if isinstance(state, Candidate) else state.partial
    splits = state.strategy.splits if isinstance(state, Candidate) else state.splits
    members = set(group)
    if open_sums & members:
        return members <= open_sums
    for _, axes in splits:
        if members & set(axes):
            at = axes.index(group[0]) if group[0] in axes else -1
            return at >= 0 and axes[at : at + len(group)] == group
    return True
