"""Good choices, found from what a dual has moved: their prices strike states off.

All indices here are into the states that the dual has. A guess is a choice of least cost among some of them: as many
as elimination takes in its stride.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from .bound import Dual
from .eliminate import LIMIT, minimise, too_many

GUESS = 1e5
"""How many entries elimination may take for a guess."""
FREE = 1e4
"""How many entries one table may have where most variables are chosen anew."""


def among(keep: Sequence[np.ndarray], states: np.ndarray) -> np.ndarray:
    """What states stand for that are indices into those kept."""
    return np.array([k[s] for k, s in zip(keep, states, strict=True)], int)


def best_of(dual: Dual, near: list[np.ndarray], limit: float = GUESS) -> np.ndarray | None:
    """The best choice among the given states; None where that is too much work, or where a variable has none."""
    if not all(map(len, near)):
        return None
    found = minimise(dual.tables(near), limit)
    return None if found is None else among(near, found[: len(near)])


def near_bounds(dual: Dual, bounds: list[np.ndarray], gap: float) -> np.ndarray | None:
    """The best choice among the states whose bounds are least, none of them more than `gap` above."""
    slack = [b - b.min() for b in bounds]
    levels = np.unique(np.concatenate(slack))
    levels = levels[levels <= max(gap, 0.0)]
    for share in (0.5, 0.1, 0.0):
        level = levels[int(share * (len(levels) - 1))] if len(levels) else 0.0
        found = best_of(dual, [np.flatnonzero(s <= level) for s in slack])
        if found is not None:
            return found
    return None


def free_most(dual: Dual, states: Sequence[np.ndarray], spare: Collection[int]) -> tuple[np.ndarray | None, set[int]]:
    """The best choice in which a few variables stay as they are in `states` (one each), and which these are.

    Of those in `spare` one is held only if nothing else does.
    """
    held = too_many(dual.tables(), len(states), FREE, spare)
    near = [s if i in held else np.arange(len(c)) for i, (s, c) in enumerate(zip(states, dual.cost, strict=True))]
    return best_of(dual, near, LIMIT), held
