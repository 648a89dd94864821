"""The search under a memory budget, on the pairwise form: reduce, bound, strike off, finish.

1. Exact reductions (`presolve.py`).
2. Multipliers on the memory rows and messages prove a bound (`lagrange.py`); choices read off on the way, repaired and
   improved, give a price (`local_search.py`). States whose own bound exceeds the price go, and 1 and 2 are repeated on
   what is left: often until nothing is.
3. What is small enough is finished by HiGHS (`exact.py`).
4. What is not is improved part by part (`neighbourhood.py`) until that stops helping or the time is over: the answer
   then has a gap, and `how` says so.

All but the time limit is deterministic.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from .exact import solve_exactly
from .lagrange import CLOSED, Lagrange, ascend
from .neighbourhood import improve_parts
from .pairwise import Pairwise
from .presolve import Infeasible, Presolve

SWEEPS = 120
"""Sweeps of one ascent."""
ROUNDS = 6
PAIRS = 60_000
"""Finite pairs up to which HiGHS finishes without a search by parts before."""
EASY = 6_000
"""Finite pairs that HiGHS finishes sooner than another ascent would be done."""
LAST_PAIRS = 600_000
"""Finite pairs up to which HiGHS is given what time is left after a search by parts."""
SHARE = 0.02
"""Of the states: striking fewer off is not worth another reduction."""
TUNE = 20
"""Sweeps to bring the messages in line with the multipliers, before parts are drawn."""
IDLE = 150
"""Parts in a row without a gain after which the search by parts ends."""


@dataclass
class Outcome:
    """A choice (None if none was found), its price, a proven lower bound (infinite: nothing fits below the cutoff)."""

    states: np.ndarray | None
    price: float
    bound: float
    how: str

    @property
    def proven(self) -> bool:
        return self.bound >= self.price


def solve_pairwise(form: Pairwise, seconds: float, cutoff: float = np.inf) -> Outcome:
    """The cheapest choice that fits and is not dearer than `cutoff`, proven unless the seconds were not enough."""
    search = _Search(form, seconds, cutoff)
    try:
        how = search.run()
    except Infeasible:  # nothing is left that is cheaper than the best
        how, search.bound = "bounds", np.inf
    if search.states is None or search.price > cutoff * (1 + CLOSED):
        return Outcome(None, np.inf, search.bound, how)
    return Outcome(search.states, search.price, min(search.price, search.bound), how)


def costless(form: Pairwise) -> Pairwise:
    """The problem with nothing but what excludes and what is held."""
    cost = [np.where(np.isfinite(c), 0.0, np.inf) for c in form.cost]
    near = [{j: np.where(np.isfinite(w), 0.0, np.inf) for j, w in near.items()} for near in form.near]
    return Pairwise(cost, near, form.held, form.room)


def find_fitting(form: Pairwise, deadline: float) -> tuple[np.ndarray | None, bool]:
    """A choice of a `costless` problem that fits (None if none was found); whether it is proved that there is none."""
    pre = Presolve(form)
    try:
        small, order = pre.run().small()
    except Infeasible:
        return None, True
    if not order:
        return pre.lift(order, np.zeros(0, int)), False
    small.constant = 1.0  # the bound of what is possible; any more proves that nothing is
    ascent = ascend(small, 2.0, SWEEPS, deadline)
    if ascent.states is None and ascent.bound <= 1 + 1e-6 and small.pairs() <= LAST_PAIRS:
        answer = solve_exactly(small, max(deadline - time.monotonic(), 0.1))
        return None if answer.states is None else pre.lift(order, answer.states), answer.bound == np.inf
    states = None if ascent.states is None else pre.lift(order, ascent.states)
    return states, ascent.bound > 1 + 1e-6


class _Search:
    def __init__(self, form: Pairwise, seconds: float, cutoff: float):
        self.form, self.seconds, self.cutoff = form, seconds, cutoff
        self.start = time.monotonic()
        self.pre = Presolve(form)
        self.states: np.ndarray | None = None
        self.price, self.bound = np.inf, -np.inf
        self.charge = np.zeros(len(form.room))
        """λ by step of the original problem."""

    @property
    def limit(self) -> float:
        return min(self.price, self.cutoff)

    def run(self) -> str:
        self.pre.run()
        self._fit()
        self._reduce(ROUNDS, 0.4)
        if self.bound >= self.limit * (1 - CLOSED):
            self.bound = np.inf
            return "bounds"
        small, order = self.pre.small()
        if order and small.pairs() > PAIRS and self.states is not None:
            self._parts(small, order)
            if small.pairs() <= LAST_PAIRS:
                self._reduce(2, 1.0)
                small, order = self.pre.small()
        return self._finish(small, order)

    def _parts(self, small: Pairwise, order: list[int]) -> None:
        """Improves the best choice, if striking off has left it its states."""
        assert self.states is not None
        here = [np.flatnonzero(self.pre.kept[i] == self.states[i]) for i in order]
        if all(map(len, here)):
            dual = ascend(small, self.limit, TUNE, self._time(0.45), self.charge[self.pre.steps]).best
            self._take(order, improve_parts(small, np.concatenate(here), dual, self._time(0.95), IDLE))

    def _time(self, share: float) -> float:
        """When a share of the time is over."""
        return self.start + share * self.seconds

    def _take(self, order: list[int], states: np.ndarray | None) -> None:
        """Keeps a choice of the small problem if it is the best."""
        if states is None:
            return
        whole = self.pre.lift(order, states)
        price = self.form.price(whole)
        if price < self.price and self.form.fits(whole):
            self.states, self.price = whole, price

    def _reduce(self, rounds: int, share: float) -> None:
        """Bounds and strikes off, until that no longer shrinks the problem."""
        small, order = self.pre.small()
        for _ in range(rounds):
            if not order or time.monotonic() > self._time(share):
                return
            ceiling = min(self.limit, _dearest(small))
            ascent = ascend(small, ceiling, SWEEPS, self._time(share), self.charge[self.pre.steps])
            self.charge[self.pre.steps] = ascent.best.price
            self._take(order, ascent.states)
            self.bound = max(self.bound, ascent.bound)
            if self.bound > ceiling * (1 + CLOSED):
                raise Infeasible
            if self.bound >= self.limit * (1 - CLOSED) or small.pairs() <= EASY:
                return
            before = small.pairs()
            if np.isfinite(self.limit):
                self.pre.strike_above(order, ascent.best, self.limit, SHARE)
            small, order = self.pre.small()
            if small.pairs() > 0.9 * before:
                return

    def _fit(self) -> None:
        """Any choice that fits, or the proof that none does: found without costs, and soon."""
        small, order = self.pre.small()
        self.bound = Lagrange(small).bound()
        states, impossible = find_fitting(costless(small), self._time(0.2))
        if impossible:
            raise Infeasible
        self._take(order, states)

    def _finish(self, small: Pairwise, order: list[int]) -> str:
        if not order:
            self._take(order, np.zeros(0, int))
            self.bound = np.inf
            return "bounds"
        if small.pairs() <= LAST_PAIRS and (left := self._time(1.0) - time.monotonic()) > 0:
            answer = solve_exactly(small, left, self.limit)
            self._take(order, answer.states)
            self.bound = np.inf if answer.finished else max(self.bound, min(answer.bound, self.limit))
            if answer.finished:
                return "HiGHS"
        if time.monotonic() < self._time(0.9):
            return "stopped, too large to be proven"
        return f"stopped after {self.seconds:.0f} s"


def _dearest(form: Pairwise) -> float:
    """A price that no choice exceeds."""
    total = form.constant + sum(float(c[np.isfinite(c)].max()) for c in form.cost)
    return total + sum(
        float(w[np.isfinite(w)].max()) for i, near in enumerate(form.near) for j, w in near.items() if i < j
    )
