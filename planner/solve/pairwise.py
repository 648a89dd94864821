"""The form on which the search under a memory budget works: unary and pairwise costs, and room at each step.

Every variable has a few states, each with a cost and with bytes that it holds over spans of steps; pairs of variables
have a matrix of costs (infinite where two states exclude each other). At each step the bytes held must not exceed the
room:

    min over x   Σ_i cost_i(x_i) + Σ_{i<j} near_ij(x_i, x_j)      Σ_{spans of i over t} bytes(x_i) ≤ room_t  for every t

Cost networks are brought into this form by `lower.py`; `benchmarks/iopddl.py` reads a public set of problems that have
it already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Span = tuple[int, int, np.ndarray]
"""First and last step, and by state the bytes held from the one to the other, both included."""


@dataclass
class Pairwise:
    """Variables with costs and bytes by state, and costs of pairs."""

    cost: list[np.ndarray]
    near: list[dict[int, np.ndarray]]
    """By variable and neighbour: costs [own state, neighbour's state]; the neighbour has the transposed view."""
    held: list[list[Span]]
    room: np.ndarray
    """By step, the bytes that may be held [B]; may be negative, and then nothing fits."""
    constant: float = 0.0
    """Added to the price of every choice."""

    @classmethod
    def of(cls, cost: Sequence[np.ndarray], held: Sequence[list[Span]], room: np.ndarray) -> Pairwise:
        """Variables without pairs yet: `join` adds those."""
        return cls([np.array(c, float) for c in cost], [{} for _ in cost], [list(h) for h in held], room.astype(float))

    def join(self, i: int, j: int, price: np.ndarray) -> None:
        """Adds costs [state of i, state of j]; what is joined already is added up."""
        if i == j:
            self.cost[i] = self.cost[i] + np.diagonal(price)
            return
        known = self.near[i].get(j)
        self.near[i][j] = price if known is None else known + price
        self.near[j][i] = self.near[i][j].T

    def part(self, i: int) -> None:
        """Takes a variable out of all its pairs."""
        for j in self.near[i]:
            del self.near[j][i]
        self.near[i] = {}

    def price(self, states: Sequence[int] | np.ndarray) -> float:
        """The price of a choice of one state for each variable."""
        x = [int(s) for s in states]
        total = self.constant + float(sum(c[s] for c, s in zip(self.cost, x, strict=True)))
        return total + float(sum(w[x[i], x[j]] for i, near in enumerate(self.near) for j, w in near.items() if i < j))

    def bytes_held(self, states: Sequence[int] | np.ndarray) -> np.ndarray:
        """By step, the bytes held under a choice."""
        change = np.zeros(len(self.room) + 1)
        for spans, s in zip(self.held, states, strict=True):
            for first, last, size in spans:
                change[first] += size[s]
                change[last + 1] -= size[s]
        return np.cumsum(change[:-1])

    def fits(self, states: Sequence[int] | np.ndarray) -> bool:
        return bool((self.bytes_held(states) <= self.room * (1 + 1e-12)).all())

    def restrict(self, i: int, keep: np.ndarray) -> None:
        """Leaves a variable only some of its states (indices or a mask)."""
        self.cost[i] = self.cost[i][keep]
        self.held[i] = [(first, last, size[keep]) for first, last, size in self.held[i]]
        for j, w in self.near[i].items():
            self.near[i][j] = w[keep]
            self.near[j][i] = self.near[i][j].T

    def copy(self) -> Pairwise:
        """One that can be changed without changing this."""
        near = [dict(n) for n in self.near]
        return Pairwise(list(self.cost), near, [list(h) for h in self.held], self.room.copy(), self.constant)

    def around(self, states: np.ndarray, free: Sequence[int], left: np.ndarray) -> Pairwise:
        """The problem of some variables, the others as they are; `left` is the room that all together leave."""
        new = {i: n for n, i in enumerate(free)}
        cost, near, room = [], [], left.copy()
        for i in free:
            own, among = self.cost[i], {}
            for j, w in self.near[i].items():
                if j in new:
                    among[new[j]] = w
                else:
                    own = own + w[:, states[j]]
            for first, last, size in self.held[i]:
                room[first : last + 1] += size[states[i]]
            cost.append(own)
            near.append(among)
        return Pairwise(cost, near, [self.held[i] for i in free], room)

    def pairs(self) -> int:
        """The number of entries of all matrices that are finite."""
        return sum(int(np.isfinite(w).sum()) for i, near in enumerate(self.near) for j, w in near.items() if i < j)
