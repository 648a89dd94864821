"""What happens at which transition of a warm-up, as data: warm-up and sampling share one executable."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

EARLY, FINAL = 0.3, 0.15
"""Parts of a warm-up: the first, in which windows are short, and the last, in which only the step size adapts."""
WINDOW_EARLY, WINDOW, GROWTH = 10, 80, 1.5
"""Transitions of a window of the metric's estimate in the early part, of the first one after it, and its growth."""
UPDATE = 20
"""Transitions between two updates of the metric; it is renewed at every switch of windows too.

All these are nutpie's: Seyboldt, Carlson & Carpenter, arXiv:2603.18845, and nuts-rs 0.18.
"""


class Schedule(NamedTuple):
    """bool[K] each: what to do after each transition."""

    adapt_step: np.ndarray | jax.Array  # one update of the dual averaging
    late: np.ndarray | jax.Array  # that update aims with the symmetric acceptance
    accumulate: np.ndarray | jax.Array  # the draw and its gradient enter the estimate of the metric
    switch: np.ndarray | jax.Array  # a new window of the estimate begins
    update: np.ndarray | jax.Array  # the estimate becomes the metric
    search: np.ndarray | jax.Array  # a new step-size search begins
    freeze: np.ndarray | jax.Array  # the averaged step size is used from here on
    count: np.ndarray | jax.Array  # a large energy error says that the steps are too long somewhere

    def part(self, start: int, length: int) -> Schedule:
        """Transitions start..start+length, all flags false past the end."""
        missing = max(0, start + length - len(self.adapt_step))
        rows = (f[start : start + length] for f in self)
        return Schedule(*(np.pad(f, (0, missing)) if missing else f for f in rows))


def make_schedule(warmup: int, draws: int) -> Schedule:
    """nutpie's: windows of 10 transitions in the first 30 % of a warm-up, then of 80, 120, 180, … while another one
    fits, the metric renewed throughout; the last 15 % adapt the step size alone.

    After the first metric the step size is searched for again. Once no window is to follow, the dual averaging aims
    with the symmetric acceptance. Large energy errors count in the second half.
    """
    total = warmup + draws
    flags = {name: np.zeros(total, bool) for name in Schedule._fields}
    early, final = int(EARLY * warmup), warmup - int(FINAL * warmup)
    window, began, renewed = WINDOW, 0, -1
    for t in range(final):
        if t == early:
            window = max(WINDOW, t - began)
        length = WINDOW_EARLY if t < early else window
        following = WINDOW_EARLY if t < early else max(window + 1, round(window * GROWTH))
        flags["late"][t] = t + following > final
        if t + 1 - began >= length and t + following <= final:
            began = t + 1
            flags["switch"][t] = flags["update"][t] = True
            window = following if t >= early else window
        flags["update"][t] |= t - renewed >= UPDATE or t == final - 1
        renewed = t if flags["update"][t] else renewed
    flags["late"][final:warmup] = True
    flags["adapt_step"][:warmup] = True
    flags["accumulate"][:final] = True
    flags["count"][warmup // 2 : warmup] = True
    flags["search"][np.flatnonzero(flags["update"])[:1]] = True
    flags["freeze"][warmup - 1 : warmup] = True
    return Schedule(**flags)
