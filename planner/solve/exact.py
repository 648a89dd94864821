"""The pairwise form as a mixed-integer program for HiGHS: binary states, continuous pairs, a row per step.

    Σ_s x_{i,s} = 1      Σ_q e_{pq} = x_{i,p}      Σ_p e_{pq} = x_{j,q}      Σ_i Σ_s bytes_i(s, t) x_{i,s} ≤ room_t

The equalities are those of the local marginal polytope; only finite pairs have a column. Costs are shifted so that each
variable and pair has one of zero and then scaled, as HiGHS's tolerances are absolute. Its tolerance on rows is about
1e-6 of the room: an answer that overflows by less is cut off by a cover inequality, and the search goes on.
"""

from __future__ import annotations

import time

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix

from .milp import SCALE, Answer
from .pairwise import Pairwise
from .quiet import quiet_stdout


def solve_exactly(form: Pairwise, seconds: float, cutoff: float = np.inf, nodes: int | None = None) -> Answer:
    """The cheapest choice that fits and costs at most `cutoff`, proven unless seconds or nodes were not enough.

    Every state must be possible (`Presolve` sees to that).
    """
    program = _Program(form)
    costs = np.concatenate([np.zeros(0), *program.costs])
    if not program.columns:
        fits = bool((form.room >= 0).all())
        return Answer(np.zeros(0, int) if fits else None, program.constant if fits else np.inf, True)
    scale = SCALE / max(float(np.median(costs[costs > 0])) if (costs > 0).any() else 1.0, 1e-300)
    if np.isfinite(cutoff):
        row = program.limit(1, -np.inf, (cutoff - program.constant) * scale * (1 + 1e-9) + 1e-6)
        program.add(np.full(len(costs), row), np.arange(len(costs)), costs * scale)
    answer = program.solve(costs * scale, seconds, nodes)
    return Answer(answer.states, answer.bound / scale + program.constant, answer.finished)


def smallest_peak(form: Pairwise, spare: float, seconds: float) -> Answer:
    """The choice that leaves most room at the step where it leaves least, costs aside.

    The bound is one on what must be taken from the room: minus the most, up to `spare`, by which every step's room can
    be cut with something still fitting.
    """
    program = _Program(form)
    unit = max(spare, 1e-300)  # the cut is a share of it
    cut = program.columns
    program.costs.append(np.zeros(1))
    program.columns += 1
    count = len(form.room)
    program.add(program.steps + np.arange(count), np.full(count, cut), np.full(count, unit / program.unit))
    objective = np.zeros(program.columns)
    objective[cut] = -1.0
    answer = program.solve(objective, seconds, None)
    return Answer(answer.states, answer.bound * unit, answer.finished)


class _Program:
    """Columns and rows in pieces."""

    def __init__(self, form: Pairwise):
        self.form = form
        self.costs: list[np.ndarray] = []
        self.entries: tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]] = ([], [], [])
        self.low: list[np.ndarray] = []
        self.high: list[np.ndarray] = []
        self.constant = form.constant
        self.columns = self.rows = 0
        self.span = [self._state(cost) for cost in form.cost]
        self.binary = self.columns
        for i, near in enumerate(form.near):
            for j, w in near.items():
                if i < j:
                    self._pair(i, j, w)
        self.steps = self._steps()

    def limit(self, count: int, low: float, high: float) -> int:
        """New rows between two numbers: the first of them."""
        self.low.append(np.full(count, low))
        self.high.append(np.full(count, high))
        first, self.rows = self.rows, self.rows + count
        return first

    def add(self, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        for part, piece in zip(self.entries, (rows, columns, values), strict=True):
            part.append(piece)

    def solve(self, objective: np.ndarray, seconds: float, nodes: int | None) -> Answer:
        """Minimises; the bound holds for the objective. What overflows within the tolerance is cut off."""
        deadline, bound = time.monotonic() + seconds, -np.inf
        while True:
            answer = self._solve(objective, deadline - time.monotonic(), nodes)
            bound = max(bound, answer.bound)
            if answer.states is None or self.form.fits(answer.states):
                return Answer(answer.states, bound, answer.finished)
            if not answer.finished or time.monotonic() > deadline:
                return Answer(None, bound, False)
            self._cover(answer.states)

    def _solve(self, objective: np.ndarray, seconds: float, nodes: int | None) -> Answer:
        rows, columns, values = (np.concatenate(part) for part in self.entries)
        matrix = coo_matrix((values, (rows, columns)), shape=(self.rows, self.columns)).tocsr()
        matrix.eliminate_zeros()
        options = {"time_limit": max(seconds, 0.01), "mip_rel_gap": 0.0} | ({"node_limit": nodes} if nodes else {})
        with quiet_stdout():
            found = milp(
                objective,
                integrality=(np.arange(self.columns) < self.binary).astype(int),
                bounds=Bounds(np.zeros(self.columns), np.ones(self.columns)),  # pyright: ignore[reportArgumentType]
                constraints=LinearConstraint(matrix, np.concatenate(self.low), np.concatenate(self.high)),  # pyright: ignore[reportArgumentType]
                options=options,
            )
        bound = found.mip_dual_bound
        bound = float(bound) if bound is not None and np.isfinite(bound) else -np.inf
        if found.x is None:
            return Answer(None, np.inf if found.status == 2 else bound, found.status == 2)
        return Answer(np.array([int(np.argmax(found.x[a:b])) for a, b in self.span], int), bound, found.status == 0)

    def _cover(self, states: np.ndarray) -> None:
        """Not all variables at once that hold bytes at a step that overflows may hold as much as they do here."""
        form = self.form
        for t in np.flatnonzero(form.bytes_held(states) > form.room * (1 + 1e-12)):
            columns, count = [], 0
            for i, spans in enumerate(form.held):
                size = sum((size for a, b, size in spans if a <= t <= b), np.zeros(len(form.cost[i])))
                if size[states[i]] > 0:
                    columns.append(self.span[i][0] + np.flatnonzero(size >= size[states[i]]))
                    count += 1
            row, column = self.limit(1, -np.inf, count - 1.0), np.concatenate(columns)
            self.add(np.full(len(column), row), column, np.ones(len(column)))

    def _new(self, cost: np.ndarray) -> int:
        least = cost.min()
        self.constant += float(least)
        self.costs.append(cost - least)
        first, self.columns = self.columns, self.columns + len(cost)
        return first

    def _state(self, cost: np.ndarray) -> tuple[int, int]:
        first = self._new(cost)
        columns = np.arange(first, self.columns)
        self.add(np.full(len(cost), self.limit(1, 1.0, 1.0)), columns, np.ones(len(cost)))
        return first, self.columns

    def _pair(self, i: int, j: int, w: np.ndarray) -> None:
        p, q = np.nonzero(np.isfinite(w))
        columns = self._new(w[p, q]) + np.arange(len(p))
        for end, at in ((i, p), (j, q)):
            first, last = self.span[end]
            row = self.limit(last - first, 0.0, 0.0)
            self.add(row + at, columns, np.ones(len(at)))
            self.add(row + np.arange(last - first), np.arange(first, last), -np.ones(last - first))

    def _steps(self) -> int:
        """A row for each step, in units of the largest room; the first of them."""
        form, first_row = self.form, self.rows
        unit = max(float(np.abs(form.room).max(initial=0.0)), 1e-300)
        self.low.append(np.full(len(form.room), -np.inf))
        self.high.append(form.room / unit)
        self.rows += len(form.room)
        for i, spans in enumerate(form.held):
            for first, last, size in spans:
                s = np.flatnonzero(size)
                at, state = np.meshgrid(np.arange(first, last + 1), s, indexing="ij")
                columns = self.span[i][0] + state.ravel()
                self.add(first_row + at.ravel(), columns, (size[state] / unit).ravel())
        self.unit = unit
        return first_row
