"""The simplest schedule: which transitions belong to warm-up, and at which of them what was learnt is put to use."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

_FIRST, _LAST = 25, 0.8


class Phase(NamedTuple):
    """bool[K] each."""

    warm: np.ndarray | jax.Array  # the transition is part of warm-up: it adapts
    close: np.ndarray | jax.Array  # a window of warm-up ends with it

    def part(self, start: int, length: int) -> Phase:
        """Transitions start..start+length, all flags false past the end."""
        return rows(self, start, length)


def make_phase(warmup: int, draws: int) -> Phase:
    """Windows of 25, 50, 100, ... transitions that end within the first 80 % of warm-up."""
    close, at, window = np.zeros(warmup + draws, bool), _FIRST, _FIRST
    while at <= _LAST * warmup:
        close[at - 1] = True
        window *= 2
        at += window
    return Phase(np.arange(warmup + draws) < warmup, close)


def rows(tree: Any, start: int, length: int) -> Any:
    """Rows start..start+length of every array of a tree, zero (false) past the end."""

    def cut(x: Any) -> np.ndarray:
        x = np.asarray(x)
        short = max(0, start + length - len(x))
        return np.pad(x[start : start + length], [(0, short)] + [(0, 0)] * (x.ndim - 1))

    return jax.tree.map(cut, tree)
