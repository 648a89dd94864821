"""Something for each of many states, in which equals are held once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Column:
    """What each state has: the distinct ones, in the order of the first state that has them, and which by state."""

    distinct: tuple[Any, ...]
    at: np.ndarray

    @classmethod
    def of(cls, items: Iterable[Any]) -> Column:
        place: dict[Any, int] = {}
        at = [place.setdefault(x, len(place)) for x in items]
        return cls(tuple(place), np.array(at, int))

    def take(self, states: Sequence[int]) -> Column:
        """That of some of the states."""
        place: dict[int, int] = {}
        at = [place.setdefault(i, len(place)) for i in self.at[states].tolist()]
        return Column(tuple([self.distinct[i] for i in place]), np.array(at, int))

    def each(self, f: Callable[[Any], Any]) -> Column:
        """What a function makes of it that takes no two to the same."""
        return Column(tuple([f(x) for x in self.distinct]), self.at)

    def __getitem__(self, state: int) -> Any:
        return self.distinct[self.at[state]]

    def __iter__(self) -> Iterator[Any]:
        return map(self.distinct.__getitem__, self.at.tolist())
