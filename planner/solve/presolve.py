"""Exact reductions of the pairwise form: the problem that is left has the same optimum, and `lift` leads back to it.

Until nothing changes: states that no finite pair supports go; a pair whose costs are a sum of two parts becomes the
parts; a state that another beats whatever the neighbours do, in cost and in bytes at every step, goes; a variable that
another determines joins it; a variable of at most two neighbours whose bytes do not depend on its state is minimised
away. Steps that cannot overflow, or that another step covers, are no constraint and go too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .lagrange import Lagrange
from .pairwise import Pairwise, Span

WORK = 4_000_000
"""The largest table that a test of dominance may make, in numbers."""
JOINT = 40_000
"""The largest matrix that may come from minimising a variable away."""


class Infeasible(Exception):
    """No choice is possible."""


@dataclass
class _Gone:
    """A variable minimised away or joined to others: its best state for each state of theirs."""

    variable: int
    of: tuple[int, ...]
    kept: tuple[np.ndarray, ...]
    best: np.ndarray


class Presolve:
    """The problem as it shrinks, and the way back."""

    def __init__(self, problem: Pairwise, spare: float = 0.0):
        """`spare` is by how much, at most, the room of all steps may be cut later on."""
        self.spare = spare
        self.form = problem.copy()
        self.kept = [np.arange(len(c)) for c in problem.cost]
        """By variable, the states that are left of the original's."""
        self.left = dict.fromkeys(range(len(problem.cost)))
        self.gone: list[_Gone] = []
        self.queue = dict.fromkeys(self.left)
        """What is to be looked at again, in order."""
        self.steps = np.arange(len(problem.room))
        """The steps that are left of the original's."""

    def run(self, rounds: int = 3) -> Presolve:
        """Reduces until nothing changes; raises `Infeasible` where no choice is left."""
        for _ in range(rounds):
            self._steps()
            if not self.queue:
                break
            while self.queue:
                i = next(iter(self.queue))
                del self.queue[i]
                if i in self.left:
                    self._visit(i)
        return self

    def small(self) -> tuple[Pairwise, list[int]]:
        """What is left, variables renumbered; and their old numbers."""
        order = list(self.left)
        new = {i: n for n, i in enumerate(order)}
        form = self.form
        near = [{new[j]: w for j, w in form.near[i].items()} for i in order]
        small = Pairwise([form.cost[i] for i in order], near, [form.held[i] for i in order], form.room, form.constant)
        return small, order

    def lift(self, order: list[int], states: np.ndarray) -> np.ndarray:
        """A choice for the original problem from one for the `small` one."""
        found = np.zeros(len(self.kept), int)
        for i, s in zip(order, states, strict=True):
            found[i] = self.kept[i][s]
        for gone in reversed(self.gone):
            at = tuple(int(np.searchsorted(k, found[j])) for j, k in zip(gone.of, gone.kept, strict=True))
            found[gone.variable] = gone.best[at]
        return found

    def strike(self, i: int, keep: np.ndarray) -> None:
        """Takes states (where the mask is false) from a variable."""
        if not keep.any():
            raise Infeasible
        self.form.restrict(i, keep)
        self.kept[i] = self.kept[i][keep]
        self._again(i, *self.form.near[i])

    def strike_above(self, order: list[int], dual: Lagrange, limit: float, least: float = 0.0) -> None:
        """Takes the states of the `small` problem whose proven bound exceeds the limit, and reduces what is left.

        Does nothing where that is a smaller share of all than `least`.
        """
        bounds, _ = dual.state_bounds()
        keep = [bound <= limit + 1e-9 * abs(limit) for bound in bounds]
        count = sum(map(len, keep))
        if count - sum(int(k.sum()) for k in keep) < max(least * count, 1):
            return
        for i, some in zip(order, keep, strict=True):
            if not some.all():
                self.strike(i, some)
        self.run()

    def _fitting(self, i: int) -> np.ndarray:
        """The states that hold no more than the room at any step, alone with what is sure."""
        fits = np.ones(len(self.form.cost[i]), bool)
        for first, last, size in self.form.held[i]:
            fits &= size <= self.form.room[first : last + 1].min()
        return fits

    def _again(self, *variables: int) -> None:
        for i in variables:
            self.queue[i] = None

    def _visit(self, i: int) -> None:
        form = self.form
        if not len(form.cost[i]):
            raise Infeasible
        self._unsupported(i)
        self._separable(i)
        if len(form.cost[i]) > 1:
            self._dominated(i)
        fixed = all(size.max() == size.min() for _, _, size in form.held[i])
        if fixed and len(form.near[i]) <= 2 and self._minimise(i):
            return
        if len(form.cost[i]) == 1:
            self._settle(i)
            return
        if not form.near[i]:
            return
        w, begins = self._stack(i)
        follows = np.logical_and.reduceat(np.isfinite(w).sum(axis=0) == 1, begins)
        for j, joins in zip(form.near[i], follows, strict=True):
            if joins:
                self._join(i, j)
                return

    def _stack(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """The matrices of a variable's pairs side by side, and where each begins."""
        near = self.form.near[i]
        ends = np.cumsum([w.shape[1] for w in near.values()])
        return np.concatenate(list(near.values()), axis=1), np.concatenate([[0], ends[:-1]])

    def _unsupported(self, i: int) -> None:
        keep = np.isfinite(self.form.cost[i])
        if self.form.near[i]:
            w, begins = self._stack(i)
            keep &= np.logical_or.reduceat(np.isfinite(w), begins, axis=1).all(axis=1)
        if not keep.all():
            self.strike(i, keep)

    def _separable(self, i: int) -> None:
        """Pairs w = a + b become costs of the two variables."""
        form = self.form
        if not form.near[i]:
            return
        w, begins = self._stack(i)
        widths = np.diff([*begins, w.shape[1]])
        with np.errstate(invalid="ignore"):
            rest = w - np.repeat(w[:, begins], widths, axis=1)
        same = np.logical_and.reduceat((rest == rest[0]).all(axis=0) & np.isfinite(w[0]), begins)
        same &= np.isfinite(w[:, begins]).all(axis=0)
        for j, first, width in [
            (j, first, width) for j, first, width, flat in zip(form.near[i], begins, widths, same, strict=True) if flat
        ]:
            form.cost[i] = form.cost[i] + w[:, first]
            form.cost[j] = form.cost[j] + rest[0, first : first + width]
            del form.near[i][j], form.near[j][i]
            self._again(j)

    def _dominated(self, i: int) -> None:
        """Strikes states off that another is never worse than."""
        form = self.form
        cost, held = form.cost[i], form.held[i]
        count = len(cost)
        if count * count * sum(w.shape[1] for w in form.near[i].values()) > WORK:
            return
        # worse[p, q]: by how much q may be dearer than p, at most, whatever the neighbours do
        worse = cost[None, :] - cost[:, None]
        if form.near[i]:
            w, begins = self._stack(i)
            with np.errstate(invalid="ignore"):
                gap = w[None, :, :] - w[:, None, :]
            gap = np.where(np.isinf(w)[:, None, :], -np.inf, gap)
            worse = worse + np.maximum.reduceat(gap, begins, axis=2).sum(axis=2)
        beaten = worse <= 0
        for _, _, size in held:
            beaten &= size[None, :] <= size[:, None]
        np.fill_diagonal(beaten, False)
        if not beaten.any():
            return
        keep = np.ones(count, bool)
        for p in np.flatnonzero(beaten.any(axis=1))[::-1]:
            keep[p] = not (beaten[p] & keep).any()
        self.strike(i, keep)

    def _minimise(self, i: int) -> bool:
        """Takes a variable of at most two neighbours out; whether the matrix between them stays small enough."""
        form = self.form
        others = tuple(form.near[i])
        table = form.cost[i]
        if len(others) == 2:
            a, b = (form.near[i][j] for j in others)
            if a.shape[1] * b.shape[1] > JOINT or len(table) * a.shape[1] * b.shape[1] > 10 * WORK:
                return False
            table = (table[:, None] + a)[:, :, None] + b[:, None, :]
        elif others:
            table = table[:, None] + form.near[i][others[0]]
        self.gone.append(_Gone(i, others, tuple(self.kept[j] for j in others), self.kept[i][table.argmin(axis=0)]))
        rest = table.min(axis=0)
        form.part(i)
        self._hold(i)
        if len(others) == 2:
            form.join(*others, rest)
        elif others:
            form.cost[others[0]] = form.cost[others[0]] + rest
        else:
            form.constant += float(rest)
        if not np.isfinite(form.constant):
            raise Infeasible
        del self.left[i]
        self._again(*others)
        return True

    def _settle(self, i: int) -> None:
        """A variable of one state: its costs go to its neighbours, its bytes off the room."""
        form = self.form
        others = tuple(form.near[i])
        for j in others:
            form.cost[j] = form.cost[j] + form.near[i][j][0]
        form.constant += float(form.cost[i][0])
        self.gone.append(_Gone(i, (), (), self.kept[i][0]))
        form.part(i)
        self._hold(i)
        del self.left[i]
        self._again(*others)

    def _hold(self, i: int) -> None:
        for first, last, size in self.form.held[i]:
            self.form.room[first : last + 1] -= size[0]

    def _join(self, i: int, j: int) -> None:
        """i's state follows from j's: its costs, bytes and pairs become j's."""
        form = self.form
        w = form.near[i][j]
        of = np.isfinite(w).argmax(axis=0)
        form.cost[j] = form.cost[j] + form.cost[i][of] + w[of, np.arange(len(of))]
        form.held[j] = _gathered([*form.held[j], *((a, b, size[of]) for a, b, size in form.held[i])])
        self.gone.append(_Gone(i, (j,), (self.kept[j],), self.kept[i][of]))
        others = {k: near[of] for k, near in form.near[i].items() if k != j}
        form.part(i)
        for k, near in others.items():
            form.join(j, k, near)
        del self.left[i]
        self._again(j, *others)

    def _steps(self) -> None:
        """Leaves only the steps that may overflow and that no other step covers, with the sure bytes taken off."""
        form = self.form
        for i in self.left:
            spans = []
            for first, last, size in form.held[i]:
                form.room[first : last + 1] -= size.min()
                if size.max() > size.min():
                    spans.append((first, last, size - size.min()))
            if len(spans) < len(form.held[i]):
                self._again(i)
            form.held[i] = spans
        if (form.room < 0).any():
            raise Infeasible
        for i in list(self.left):
            fits = self._fitting(i)
            if not fits.all():
                self.strike(i, fits)
        most = np.zeros(len(form.room) + 1)
        for i in self.left:
            for first, last, size in form.held[i]:
                most[first] += size.max()
                most[last + 1] -= size.max()
        spans = [(first, last) for i in self.left for first, last, _ in form.held[i]]
        kept = _uncovered(spans, form.room, np.flatnonzero(np.cumsum(most[:-1]) > form.room - self.spare))
        before = np.searchsorted(kept, np.arange(len(form.room) + 1))
        for i in self.left:
            moved = [(int(before[a]), int(before[b + 1]) - 1, size) for a, b, size in form.held[i]]
            left = _gathered([(a, b, size) for a, b, size in moved if a <= b])
            if len(left) < len(form.held[i]):
                self._again(i)
            form.held[i] = left
        form.room, self.steps = form.room[kept], self.steps[kept]


def _gathered(spans: list[Span]) -> list[Span]:
    """Spans over the same steps added up."""
    total: dict[tuple[int, int], np.ndarray] = {}
    for first, last, size in spans:
        known = total.get((first, last))
        total[first, last] = size if known is None else known + size
    return [(first, last, size) for (first, last), size in total.items()]


def _uncovered(spans: list[tuple[int, int]], room: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Of the steps those that no neighbour covers: one that holds all that it holds, in no more room."""
    while len(steps) > 1:
        at = np.searchsorted(steps, np.array(spans).reshape(-1, 2) + np.array([0, 1]))
        at = at[at[:, 0] < at[:, 1]]
        begins = np.zeros(len(steps) + 1, int)
        ends = np.zeros(len(steps) + 1, int)
        np.add.at(begins, at[:, 0], 1)
        np.add.at(ends, at[:, 1], 1)
        here, then = room[steps[:-1]], room[steps[1:]]
        later = (ends[1:-1] == 0) & (then <= here)  # the next step covers this one
        sooner = (begins[1:-1] == 0) & (here <= then) & ~later  # this step covers the next, and not the reverse
        drop = np.zeros(len(steps), bool)
        drop[:-1] |= later
        drop[1:] |= sooner
        if not drop.any():
            break
        steps = steps[~drop]
    return steps
