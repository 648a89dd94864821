"""Good choices under memory rows, from a first one: repair what overflows, then descend.

A move changes one variable, or two neighbours at once, and is allowed where no step overflows after it.
"""

from __future__ import annotations

import heapq

import numpy as np

from .pairwise import Pairwise


class Walk:
    """A choice under change, with what it holds at each step."""

    def __init__(self, form: Pairwise, states: np.ndarray):
        self.form = form
        self.states = states.copy()
        self.left = form.room - form.bytes_held(states)
        """By step, the room that is left; negative where it overflows."""
        self.tolerance = 1e-12 * np.abs(form.room)

    def costs(self, i: int, without: int = -1) -> np.ndarray:
        """By state of a variable, its cost with the others (but for one) as they are."""
        total = self.form.cost[i].copy()
        for j, w in self.form.near[i].items():
            if j != without:
                total += w[:, self.states[j]]
        return total

    def fits(self, i: int, s: int) -> bool:
        """Whether nothing overflows that did not before when a variable moves to a state."""
        spans = self.form.held[i]
        if not spans:
            return True
        if len(spans) == 1:
            first, last, size = spans[0]
            more = size[s] - size[self.states[i]]
            return more <= 0 or bool((self.left[first : last + 1] >= more).all())
        self.move_bytes(i, s)
        at = [slice(first, last + 1) for first, last, _ in spans]
        good = all((self.left[a] >= -self.tolerance[a]).all() for a in at)
        self.move_bytes(i, s, -1.0)
        return good

    def move_bytes(self, i: int, s: int, sign: float = 1.0) -> None:
        old = self.states[i]
        for first, last, size in self.form.held[i]:
            more = sign * (size[s] - size[old])
            if more:
                self.left[first : last + 1] -= more

    def move(self, i: int, s: int) -> None:
        self.move_bytes(i, s)
        self.states[i] = s

    @property
    def feasible(self) -> bool:
        return bool((self.left >= -self.tolerance).all())

    def repair(self) -> bool:
        """Moves what relieves the overflow at the least cost for its bytes, step by step; whether all fits in the end.

        Gives up where relieving a step does not lower the overflow of all steps together.
        """
        index = Spans(self.form)
        before = np.inf
        while True:
            over = np.maximum(-self.left - self.tolerance, 0.0)
            total = float(over.sum())
            if total == 0 or total > before * (1 - 1e-9):
                return total == 0
            before = total
            t = int(over.argmax())
            self._relieve(t, index.at(t))

    def _relieve(self, t: int, live: np.ndarray) -> None:
        """Moves variables that hold bytes at a step, the cheapest relief first, until it fits or none is left."""
        total = np.concatenate([[0], np.cumsum(self.left < -self.tolerance)])
        queue = [(rate, i, s) for i in live.tolist() for rate, s in self._relief(i, t, total)]
        heapq.heapify(queue)
        while queue and self.left[t] < -self.tolerance[t]:
            known, i, _ = heapq.heappop(queue)
            for rate, s in self._relief(i, t, total):
                if rate > known * (1 + 1e-9):  # neighbours have moved since
                    heapq.heappush(queue, (rate, i, s))
                    continue
                self.move(i, s)
                if self.left[t] >= -self.tolerance[t]:
                    return
                for further in self._relief(i, t, total):
                    heapq.heappush(queue, (further[0], i, further[1]))

    def _relief(self, i: int, t: int, total: np.ndarray) -> list[tuple[float, int]]:
        """The state with the least extra cost for each byte that it frees at the steps that overflow, if one does."""
        now = self.states[i]
        here = relief = np.zeros(len(self.form.cost[i]))
        for first, last, size in self.form.held[i]:
            less = size[now] - size
            relief = relief + less * (total[last + 1] - total[first])
            if first <= t <= last:
                here = here + less
        able = np.flatnonzero((here > 0) & (relief > 0))
        if not len(able):
            return []
        costs = self.costs(i)
        extra = costs[able] - (costs[now] if np.isfinite(costs[now]) else 0.0)
        rate = np.maximum(extra, 0.0) / np.minimum(relief[able], 1e3 * -self.left[t])
        k = int(rate.argmin())
        return [(float(rate[k]), int(able[k]))] if np.isfinite(rate[k]) else []

    def descend(self, rounds: int = 50) -> None:
        """Moves single variables and pairs of neighbours to lower cost until nothing helps."""
        todo = dict.fromkeys(range(len(self.states)))
        for _ in range(rounds):
            again: dict[int, None] = {}
            for i in todo:
                if self._better(i) or self._better_pair(i):
                    again |= dict.fromkeys([i, *self.form.near[i]])
            if not again:
                break
            todo = again

    def _better(self, i: int) -> bool:
        costs = self.costs(i)
        now = costs[self.states[i]]
        better = np.flatnonzero(costs < now - 1e-12 * abs(now) if np.isfinite(now) else np.isfinite(costs))
        for s in better[np.argsort(costs[better], kind="stable")]:
            if self.fits(i, int(s)):
                self.move(i, int(s))
                return True
        return False

    def _better_pair(self, i: int) -> bool:
        for j, w in self.form.near[i].items():
            if j < i and len(self.form.near[i]) > 1:
                continue
            a, b = self.states[i], self.states[j]
            joint = self.costs(i, j)[:, None] + self.costs(j, i)[None, :] + w
            now = joint[a, b]
            if not np.isfinite(now):
                continue
            p, q = np.nonzero(joint < now - 1e-12 * abs(now))
            if not len(p):
                continue
            order = np.argsort(joint[p, q], kind="stable")[:8]
            for k in order:
                if self._fits_pair(i, int(p[k]), j, int(q[k])):
                    self.move(i, int(p[k]))
                    self.move(j, int(q[k]))
                    return True
        return False

    def _fits_pair(self, i: int, p: int, j: int, q: int) -> bool:
        a = self.states[i]
        self.move(i, p)
        good = self.fits(j, q)
        if good:
            b = self.states[j]
            self.move(j, q)
            spans = [*self.form.held[i], *self.form.held[j]]
            good = all((self.left[x : y + 1] >= -self.tolerance[x : y + 1]).all() for x, y, _ in spans)
            self.move(j, b)
        self.move(i, a)
        return good


class Spans:
    """All spans of a problem as arrays, to find who holds bytes at a step."""

    def __init__(self, form: Pairwise):
        spans = [(i, first, last) for i, held in enumerate(form.held) for first, last, _ in held]
        self.variable, self.first, self.last = np.array(spans, int).reshape(-1, 3).T

    def at(self, t: int) -> np.ndarray:
        return np.unique(self.variable[(self.first <= t) & (t <= self.last)])
