"""Chains folded up: a variable between two others is no choice once theirs are known.

A variable that touches two stars of one use each (a transform between two others, say) is minimised away: its two
stars become one, from the source before it to the use after it, priced with its best state in between. One that
touches a single such star becomes a cost of the variable at the other end. What is left has the same least price, and
`Folded.unfold` gives the states of what was folded. Of a program of transforms more than half goes so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .network import Network, Star, Use, Variable


@dataclass(frozen=True)
class _Fold:
    """A variable folded away: the only use of `before` and the source of `after`; either may be missing."""

    variable: int
    cost: np.ndarray
    before: Star | None
    after: Star | None

    def prices(self) -> np.ndarray:
        """[layout before, label after] the least price of the variable and its stars; a missing end counts one."""
        cost = self.cost[:, None]
        if self.after is not None:
            cost = cost + _pair(self.after)[self.after.labels]
        if self.before is None:
            return cost.min(axis=0, keepdims=True)
        labels = self.before.uses[0].labels
        order = np.argsort(labels, kind="stable")
        found, starts = np.unique(labels[order], return_index=True)
        cost = np.minimum.reduceat(cost[order], starts)
        return (_pair(self.before)[:, found, None] + cost).min(axis=1)

    def best(self, states: np.ndarray) -> int:
        """Its state, given those around it."""
        cost = self.cost
        if self.before is not None:
            row = self.before.labels[states[self.before.source]]
            cost = cost + _pair(self.before)[row][self.before.uses[0].labels]
        if self.after is not None:
            (use,) = self.after.uses
            cost = cost + _pair(self.after)[self.after.labels, use.labels[states[use.variable]]]
        return int(cost.argmin())


@dataclass(frozen=True)
class Folded:
    """A network without its chains. All variables are still there: those folded away have one state and no star."""

    network: Network
    folds: list[_Fold]

    def unfold(self, states: np.ndarray) -> np.ndarray:
        """The best choice of all states in which what was not folded has these."""
        states = states.copy()
        for fold in reversed(self.folds):
            states[fold.variable] = fold.best(states)
        return states


def fold_chains(network: Network) -> Folded:
    """Folds whatever can be folded."""
    folding = _Folding(network)
    open_ = list(range(len(network.variables)))
    while open_:
        open_ += folding.fold(open_.pop())
    return Folded(folding.network(), folding.folds)


class _Folding:
    """A network on the way: stars by number, and which of them each variable touches."""

    def __init__(self, network: Network):
        self.variables, self.cost = network.variables, [v.cost for v in network.variables]
        self.stars = {n: star for n, star in enumerate(network.stars) if star.uses}
        self.touching: list[dict[int, None]] = [{} for _ in self.cost]
        for n, star in self.stars.items():
            for i in _ends(star):
                self.touching[i][n] = None
        self.folds: list[_Fold] = []

    def network(self) -> Network:
        gone = {f.variable for f in self.folds}
        variables = [
            Variable(v.name, v.states[:1], np.zeros(1), v.tie[:1])
            if i in gone
            else Variable(v.name, v.states, c, v.tie)
            for i, (v, c) in enumerate(zip(self.variables, self.cost, strict=True))
        ]
        return Network(variables, list(self.stars.values()))

    def fold(self, i: int) -> list[int]:
        """Folds a variable if it can be: those at whose turn it may be now."""
        if len(self.cost[i]) == 1 or not 0 < len(self.touching[i]) <= 2:
            return []
        stars = [self.stars[n] for n in self.touching[i]]
        if any(len(star.uses) > 1 for star in stars):
            return []
        before = [star for star in stars if star.source != i]
        after = [star for star in stars if star.source == i]
        if len(before) > 1 or len(after) > 1:
            return []
        fold = _Fold(i, self.cost[i], *before or [None], *after or [None])
        for n in list(self.touching[i]):
            for j in _ends(self.stars.pop(n)):
                self.touching[j].pop(n, None)
        self.folds.append(fold)
        self.cost[i] = np.zeros(1)
        return self._join(fold)

    def _join(self, fold: _Fold) -> list[int]:
        """Puts what a folded variable cost between its ends, or on the one that it had."""
        prices, before, after = fold.prices(), fold.before, fold.after
        if after is None:
            assert before is not None
            self.cost[before.source] = self.cost[before.source] + prices[before.labels, 0]
            return [before.source]
        (use,) = after.uses
        if before is None:
            self.cost[use.variable] = self.cost[use.variable] + prices[0, use.labels]
            return [use.variable]
        if before.source == use.variable:
            self.cost[use.variable] = self.cost[use.variable] + prices[before.labels, use.labels]
            return [use.variable]
        joined = Use(use.variable, use.labels, [(label,) for label in range(len(use.wants))])
        n = max(self.stars, default=-1) + 1
        self.stars[n] = Star(before.value, before.source, before.labels, [], prices, np.zeros_like(prices), [joined])
        for j in (before.source, use.variable):
            self.touching[j][n] = None
        return [before.source, use.variable]


def _ends(star: Star) -> list[int]:
    return [star.source, *(use.variable for use in star.uses)]


def _pair(star: Star) -> np.ndarray:
    """[layout, label] the price of what the star's only use wants."""
    (use,) = star.uses
    return use.by_label(star.price, np.add)
