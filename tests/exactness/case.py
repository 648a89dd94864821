"""What a case is: a model with data, and numbers that are known of its posterior without sampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

import ppl

Draws = Mapping[str, np.ndarray]
"""Quantities by name, [chain, draw, ...]."""


class Moment(NamedTuple):
    """The exact mean of a statistic under the posterior and its standard deviation there, numbers or [n].

    of: how many latents' moments of equal weight it is the mean of.
    """

    value: Any
    sd: Any
    of: Any = 1


@dataclass(frozen=True, eq=False)
class Case:
    """A posterior of which moments are known.

    model: text of the language. statistics: of draws, by name, [chain, draw] or [chain, draw, n]; exact: their moments.
    direct: (generator, draws of each of 4 chains) -> independent draws, made by NumPy alone.
    others: numbers that are standard normal if the draws are from the posterior, for what is no mean over draws.
    log_evidence: where it is known. from_mode: how far draws are from the mode, in posterior deviations.
    """

    model: str
    data: Mapping[str, Any]
    exact: Mapping[str, Moment]
    statistics: Callable[[Draws], Mapping[str, np.ndarray]]
    direct: Callable[[np.random.Generator, int], Draws]
    sizes: Mapping[str, int] = field(default_factory=dict)
    dtype: str = "float64"
    others: Callable[[Draws], Mapping[str, np.ndarray]] = lambda draws: {}
    log_evidence: float | None = None
    from_mode: Callable[[Draws], np.ndarray] | None = None

    @cached_property
    def posterior(self) -> Any:
        return ppl.compile(ppl.from_text(self.model), self.data, dtype=self.dtype, sizes=self.sizes)

    def standard(self, draws: Draws) -> np.ndarray:
        """All statistics in posterior deviations from their exact means, float64[chain, draw, n]."""
        found = self.statistics(draws)
        if found.keys() != self.exact.keys():
            raise ValueError(f"there are moments of {set(self.exact)} and statistics {set(found)}")
        columns = []
        for name, s in found.items():
            s = np.asarray(s, np.float64)
            columns.append((s.reshape(*s.shape[:2], -1) - self.exact[name].value) / self.exact[name].sd)
        return np.concatenate(columns, axis=2)

    @cached_property
    def labels(self) -> list[str]:
        """What the columns of `standard` are."""
        sizes = {n: np.broadcast(m.value, m.sd).size for n, m in self.exact.items()}
        return [f"{n}[{i}]" if k > 1 else n for n, k in sizes.items() for i in range(k)]

    @cached_property
    def latents(self) -> np.ndarray:
        """Of how many latents' moments each column of `standard` is the mean."""
        each = (np.broadcast_to(m.of, np.broadcast(m.value, m.sd, m.of).shape) for m in self.exact.values())
        return np.concatenate([np.ravel(n).astype(float) for n in each])
