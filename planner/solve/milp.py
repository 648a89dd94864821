"""The exact fallback without a memory budget: the network as a mixed-integer program for HiGHS.

One-hot states x are binary; pairs e of (source layout, wanted layout) are continuous and tied to the states by
equalities, the local marginal polytope, whose linear relaxation is tight and which HiGHS solves several times faster
than the inequality form; z pays a reshard once for all uses that want it:

    Σ_s x_{v,s} = 1      Σ_q e_{pq} = x_p      Σ_p e_{pq} = x_q      z_{l→w} ≥ e_{pq} for every use that wants w in q

A network comes here only when it is too entangled for elimination; with memory rows it goes to `exact.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix

from .network import Network, Star, Use
from .quiet import quiet_stdout

SCALE = 1e4
"""The objective is brought to this size: HiGHS's tolerances are absolute, and seconds are small."""


@dataclass
class Answer:
    """What the solver found: a choice (None if there is none), a proven lower bound, whether it finished."""

    states: np.ndarray | None
    bound: float
    finished: bool


@dataclass
class Rows:
    """A growing set of sparse rows low ≤ A v ≤ high."""

    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    entries: tuple[list[int], list[int], list[float]] = field(default_factory=lambda: ([], [], []))

    def add(self, terms: list[tuple[int, float]], low: float, high: float) -> None:
        rows, columns, values = self.entries
        rows += [len(self.low)] * len(terms)
        columns += [c for c, _ in terms]
        values += [v for _, v in terms]
        self.low.append(low)
        self.high.append(high)


class Model:
    """The mixed-integer program of a network."""

    def __init__(self, network: Network):
        self.network, self.rows = network, Rows()
        self.cost: list[float] = []
        self.binary: list[bool] = []
        self.state: list[list[int]] = []
        self.pairs: dict[tuple[int, int], dict[tuple[int, int], int]] = {}
        """By (star, use): the column of each pair (source layout, use label)."""
        for v in network.variables:
            columns = [self.column(c, binary=True) for c in v.cost]
            self.state.append(columns)
            self.rows.add([(c, 1.0) for c in columns], 1.0, 1.0)
        for s, star in enumerate(network.stars):
            self._star(s, star)

    def column(self, cost: float = 0.0, binary: bool = False) -> int:
        self.cost.append(float(cost))
        self.binary.append(binary)
        return len(self.cost) - 1

    def marginal(self, variable: int, labels: np.ndarray, label: int) -> list[tuple[int, float]]:
        """The terms that add up to one where the variable is in a state with this label."""
        return [(self.state[variable][s], 1.0) for s in np.flatnonzero(labels == label)]

    def _star(self, s: int, star: Star) -> None:
        starts = sorted(set(star.labels.tolist()))
        charged = [u for u, use in enumerate(star.uses) if _matters(star, use, starts)]
        paid: dict[tuple[int, int], int] = {}
        shared = {w for u in charged for label in star.uses[u].wants for w in label}
        alone = len(charged) == 1 and all(len(label) == 1 for label in star.uses[charged[0]].wants)
        if not alone:
            paid = {
                (p, w): self.column(star.price[p, w])
                for p in starts
                for w in sorted(shared)
                if 0 < star.price[p, w] < np.inf
            }
        for u in charged:
            columns = self.pairs_of(s, u)
            if alone:
                for (p, q), column in columns.items():
                    self.cost[column] = float(star.price[p, star.uses[u].wants[q][0]])
            for (p, w), pay in paid.items():
                if terms := [(c, -v) for c, v in self.wanted(s, u, w, p)]:
                    self.rows.add([(pay, 1.0), *terms], 0.0, np.inf)

    def pairs_of(self, s: int, u: int) -> dict[tuple[int, int], int]:
        """The pair columns of a use, made with their marginal rows when first asked for."""
        if (s, u) in self.pairs:
            return self.pairs[s, u]
        star, use = self.network.stars[s], self.network.stars[s].uses[u]
        starts, columns = sorted(set(star.labels.tolist())), {}
        for p in starts:
            for q, label in enumerate(use.wants):
                if all(star.price[p, w] < np.inf for w in label):
                    columns[p, q] = self.column()
        for p in starts:
            terms = [(c, -1.0) for (i, _), c in columns.items() if i == p]
            self.rows.add(self.marginal(star.source, star.labels, p) + terms, 0.0, 0.0)
        for q in range(len(use.wants)):
            terms = [(c, -1.0) for (_, j), c in columns.items() if j == q]
            self.rows.add(self.marginal(use.variable, use.labels, q) + terms, 0.0, 0.0)
        self.pairs[s, u] = columns
        return columns

    def wanted(self, s: int, u: int, w: int, start: int) -> list[tuple[int, float]]:
        """Terms that add up to one where a use needs a copy in layout w, made from `start`."""
        use = self.network.stars[s].uses[u]
        return [(c, 1.0) for (p, q), c in self.pairs_of(s, u).items() if w in use.wants[q] and p == start != w]

    def solve(self, seconds: float) -> Answer:
        """Minimises the network's cost."""
        objective = np.array(self.cost)
        size = SCALE / max(float(np.abs(objective).max(initial=0.0)), 1e-300)
        rows, columns, values = self.rows.entries
        matrix = coo_matrix((values, (rows, columns)), shape=(len(self.rows.low), len(objective))).tocsr()
        upper = np.where(np.array(self.binary), 1.0, np.inf)
        with quiet_stdout():
            found = milp(
                objective * size,
                integrality=np.array(self.binary, int),
                bounds=Bounds(np.zeros(len(objective)), upper),  # pyright: ignore[reportArgumentType]
                constraints=LinearConstraint(matrix, self.rows.low, self.rows.high),  # pyright: ignore[reportArgumentType]
                options={"time_limit": max(seconds, 0.01), "mip_rel_gap": 0.0},
            )
        bound = found.mip_dual_bound
        bound = float(bound) / size if bound is not None and np.isfinite(bound) else 0.0
        if found.x is None:
            return Answer(None, np.inf if found.status == 2 else bound, found.status == 2)
        states = np.array([int(np.argmax(found.x[columns])) for columns in self.state])
        return Answer(states, bound, found.status == 0)


def _matters(star: Star, use: Use, starts: list[int]) -> bool:
    """Whether a reshard for this use can cost anything."""
    wanted = sorted({w for label in use.wants for w in label})
    return bool(star.price[starts][:, wanted].any())
