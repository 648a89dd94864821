"""Proven bounds under memory rows: bytes at a price, messages between variables.

Each byte held at step t is charged λ_t ≥ 0 and each byte of room credited. For every λ the charged problem's minimum is
at most the true one, and messages M_{j→i} (V. Kolmogorov, TRW-S, IEEE PAMI 28, 1568, 2006) bound that minimum:

    Σ_i min_x u_i(x) + Σ_ij min_{x,y} [ W_ij(x, y) − M_{j→i}(x) − M_{i→j}(y) ] − Σ_t λ_t room_t  ≤  optimum
    u_i(x) = cost_i(x) + Σ_t λ_t bytes_i(x, t) + Σ_j M_{j→i}(x)

This holds whatever λ ≥ 0 and M are, so anyone can check it in one pass over the problem; here sweeps of messages and
steps of λ along the averaged overflow raise it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from .local_search import Walk
from .pairwise import Pairwise

EVERY, RARELY = 5, 20
"""Sweeps between two choices that are tried, in small problems and in large ones."""
LARGE = 1000
"""Variables of a large problem."""
CLOSED = 1e-10
"""Relative gap at which a bound counts as met: rounding, not cost."""
TINY = 1e-300


class Lagrange:
    """Messages and multipliers for one problem, and the bound they prove. Every state must be possible."""

    def __init__(self, form: Pairwise):
        self.form = form
        count = len(form.cost)
        self.price = np.zeros(len(form.room))
        """λ: by step, the price of a byte."""
        self.own = [c.copy() for c in form.cost]
        """By variable, cost_i + its bytes at their price."""
        self.into = [{j: np.zeros(len(form.cost[i])) for j in form.near[i]} for i in range(count)]
        """M_{j→i}, by i and j."""
        self.overflow = np.zeros(len(form.room))

    def set_price(self, price: np.ndarray) -> None:
        """New multipliers; the messages stay."""
        self.price = price
        total = np.concatenate([[0.0], np.cumsum(price)])
        for i, spans in enumerate(self.form.held):
            if spans:
                self.own[i] = self.form.cost[i] + sum(
                    (total[last + 1] - total[first]) * size for first, last, size in spans
                )

    def unary(self, i: int) -> np.ndarray:
        """u_i."""
        u = self.own[i].copy()
        for m in self.into[i].values():
            u += m
        return u

    def sweep(self, forward: bool) -> np.ndarray:
        """Passes messages along the order of the variables or against it; gives the choice read off on the way."""
        form, into = self.form, self.into
        count = len(form.cost)
        chosen = np.full(count, -1)
        for i in range(count) if forward else range(count - 1, -1, -1):
            near, come = form.near[i], into[i]
            u = self.own[i].copy()
            decided = self.own[i].copy()
            later = []
            for j, m in come.items():
                u += m
                if (j > i) == forward:
                    later.append(j)
                    decided += m
                else:
                    decided += near[j][:, chosen[j]]
            chosen[i] = decided.argmin()
            if not later:
                continue
            u /= max(len(later), len(come) - len(later))
            for j in later:
                m = (near[j] + (u - come[j])[:, None]).min(axis=0)
                m -= m.min()
                into[j][i] = m
        return chosen

    def settled(self) -> Lagrange:
        """The same after a backward sweep, with what a sweep keeps in mind moved for good: this one proves the bound.

        The sweep lends each variable's u to its pairs with earlier ones; here the pairs get it.
        """
        found = Lagrange(self.form)
        found.price, found.own = self.price, list(self.own)
        for i, come in enumerate(self.into):
            earlier = [j for j in come if j < i]
            share = self.unary(i) / max(len(earlier), len(come) - len(earlier), 1)
            found.into[i] = {j: m - share if j < i else m for j, m in come.items()}
        return found

    def slack(self) -> tuple[list[np.ndarray], dict[tuple[int, int], np.ndarray]]:
        """The terms of the bound: u by variable, and W − M − M by pair i < j."""
        pairs = {
            (i, j): w - self.into[i][j][:, None] - self.into[j][i]
            for i, near in enumerate(self.form.near)
            for j, w in near.items()
            if i < j
        }
        return [self.unary(i) for i in range(len(self.own))], pairs

    def bound(self) -> float:
        """The proven lower bound."""
        own, pairs = self.slack()
        least = sum(float(u.min()) for u in own) + sum(float(r.min()) for r in pairs.values())
        return self.form.constant + least - float(self.price @ self.form.room)

    def state_bounds(self) -> tuple[list[np.ndarray], float]:
        """For each variable and state a bound on every choice with that state; and one on all choices."""
        own, pairs = self.slack()
        own = [u - u.min() for u in own]
        pairs = {p: r - r.min() for p, r in pairs.items()}
        total, found = self.bound(), []
        for i, near in enumerate(self.form.near):
            above = own[i].copy()
            for j in near:
                r = pairs[i, j] if i < j else pairs[j, i].T
                above += (r + own[j]).min(axis=1)
            found.append(total + above)
        return found, total

    def excess(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a choice pays beyond the bound: by variable, pairs halved between both; by step, for room unused."""
        own = np.array([u[s] - u.min() for u, s in zip(map(self.unary, range(len(self.own))), states, strict=True)])
        for i, near in enumerate(self.form.near):
            for j, w in near.items():
                if i < j:
                    r = w - self.into[i][j][:, None] - self.into[j][i]
                    half = 0.5 * (r[states[i], states[j]] - r.min())
                    own[i] += half
                    own[j] += half
        return own, self.price * np.maximum(self.form.room - self.form.bytes_held(states), 0.0)

    def step(self, chosen: np.ndarray, length: float) -> None:
        """Moves λ along the average overflow of the choices seen, by `length` in the bound if it were linear."""
        over = self.form.bytes_held(chosen) - self.form.room
        self.overflow = 0.5 * self.overflow + 0.5 * over
        way = np.where((self.price <= 0) & (self.overflow < 0), 0.0, self.overflow)
        norm = float(way @ way)
        if norm > 0:
            self.set_price(np.maximum(0.0, self.price + length / norm * way))


@dataclass
class Ascent:
    """Where an ascent ended: multipliers and messages of the best bound, and the best choice read off on the way."""

    best: Lagrange
    bound: float
    states: np.ndarray | None
    price: float
    """Of the choice; the limit given where no better one was found."""


def ascend(form: Pairwise, limit: float, sweeps: int, deadline: float, charge: np.ndarray | None = None) -> Ascent:
    """Raises the bound, and repairs and improves some choices that the messages suggest.

    Stops at the number of sweeps, where bound and limit meet, or at the deadline [s, `time.monotonic`]. `charge` is a
    first λ.
    """
    dual = Lagrange(form)
    warm = charge is not None and bool(charge.any())
    if charge is not None:
        dual.set_price(charge)
    found = Ascent(dual, -np.inf, None, limit)
    length, stale = 1.0, 0
    every = EVERY if len(form.cost) < LARGE else RARELY
    for n in range(sweeps):
        dual.sweep(forward=True)
        states = dual.sweep(forward=False)
        settled = dual.settled()
        bound = settled.bound()
        stale = 0 if bound > found.bound + 1e-5 * abs(found.bound) else stale + 1
        if bound > found.bound or n == 0:
            found.best, found.bound = settled, bound
        late = time.monotonic() > deadline
        if late or n % every == every - 1:
            _try(form, states, found)
        if late or found.bound >= found.price * (1 - CLOSED):
            break
        if stale == 5:
            length, stale = 0.7 * length, 0
        hope = min(found.price, found.bound + 0.2 * max(abs(found.bound), abs(form.constant), TINY))
        if not warm or n >= EVERY:  # let the messages catch up with a given λ first
            dual.step(states, length * max(hope - bound, 1e-3 * abs(hope)))
    return found


def _try(form: Pairwise, states: np.ndarray, found: Ascent) -> None:
    """Repairs and improves a choice; keeps it if it is the best."""
    walk = Walk(form, states)
    if not walk.repair():
        return
    walk.descend()
    price = form.price(walk.states)
    if price < found.price:
        found.states, found.price = walk.states, price
