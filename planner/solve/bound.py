"""A proven lower bound on every state, by dual ascent: with it almost all states are struck off before the search.

Each star is relaxed to pairs (source, use): every use is charged its share of each reshard, and the shares of one
reshard add up to its price, so the relaxed price never exceeds the true one. The relaxed problem is pairwise, and its
dual is raised by passing messages (TRW-S: V. Kolmogorov, IEEE PAMI 28, 1568, 2006): cost is moved between variables
and pairs without changing any total, until the sum of the separate minima, which is the bound, stops growing. Between
sweeps shares that a pair does not need go to the uses that need them. A state whose own bound exceeds the price of a
choice already found is in no better choice: it is struck off, and the messages of the others go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .eliminate import Table, Tables
from .network import Network, Use, distinct
from .pairs import Block, Messages
from .shares import alike


@dataclass
class _Turn:
    """What a variable does in one direction of a sweep: the pairs to which it hands on, and its part for each."""

    variable: int
    part: float
    blocks: list[tuple[Block, np.ndarray | None]]
    """Its own stars, with the places of the uses that come later (None: all)."""
    uses: list[tuple[Block, int]]


class Dual:
    """Messages and bounds for one network; what costs more than `big` is taken to cost that much."""

    def __init__(self, network: Network, big: float):
        self.cost, self.big = [v.cost for v in network.variables], big
        self.blocks: list[Block] = []
        for s, star in enumerate(network.stars):
            paid = np.minimum(star.price[distinct(star.labels)[0]], big)
            if uses := [(u, use) for u, use in enumerate(star.uses) if _is_charged(use, paid)]:
                self.blocks.append(Block(s, star, uses, big))
        self.own: list[list[Block]] = [[] for _ in self.cost]
        self.used: list[list[tuple[Block, int]]] = [[] for _ in self.cost]
        for block in self.blocks:
            self.own[block.source].append(block)
            for k, pair in enumerate(block.pairs):
                self.used[pair.variable].append((block, k))
        self._plan_sweeps()

    def _plan_sweeps(self) -> None:
        """Who hands on to whom; a variable of one state takes part in nothing: what it costs is the other end's."""
        many = [len(c) > 1 for c in self.cost]
        for block in self.blocks:
            if not many[block.source]:
                block.pull_to_uses()
            for k, pair in enumerate(block.pairs):
                if not many[pair.variable]:
                    block.pull_to_source(k)
        self.turns: tuple[list[_Turn], list[_Turn]] = ([], [])
        for i in range(len(self.cost)):
            if not many[i]:
                continue
            ends = [(b, [(k, p.variable) for k, p in enumerate(b.pairs) if many[p.variable]]) for b in self.own[i]]
            taken = [(b, k) for b, k in self.used[i] if many[b.source]]
            degree = sum(len(e) for _, e in ends) + len(taken)
            for turns, forward in zip(self.turns, (True, False), strict=True):
                blocks = [(b, [k for k, j in e if (j > i) == forward]) for b, e in ends]
                blocks = [(b, None if len(k) == len(b.pairs) else np.array(k)) for b, k in blocks if k]
                uses = [(b, k) for b, k in taken if (b.source > i) == forward]
                count = sum(len(b.pairs) if k is None else len(k) for b, k in blocks) + len(uses)
                if count:
                    turns.append(_Turn(i, 1.0 / max(count, degree - count), blocks, uses))
        self.turns[1].reverse()
        self.alike = alike(self.blocks)

    def pair_count(self) -> int:
        """How many pairs (layout of the source, label of a use) there are."""
        return sum(len(b.rows) * sum(len(p.columns) for p in b.pairs) for b in self.blocks)

    def theta(self, i: int) -> np.ndarray:
        """What a variable's states cost with all that has been moved to them."""
        total = self.cost[i].copy()
        for block in self.own[i]:
            total += block.row.spread(np.add.reduce(block.to_source))
        for block, k in self.used[i]:
            pair = block.pairs[k]
            total += pair.labels.spread(block.to_use[k, pair.columns])
        return total

    def sweep(self, forward: bool) -> None:
        """One pass over all variables in order, or in reverse: each hands on its cost to the pairs that come later."""
        for turn in self.turns[0 if forward else 1]:
            part = self.theta(turn.variable) * turn.part
            for block, places in turn.blocks:
                given = block.row.least(part)
                if places is None:
                    block.to_source -= given
                    block.pull_to_uses()
                else:
                    block.to_source[places] -= given
                    block.pull_to_uses(places)
            for block, k in turn.uses:
                pair = block.pairs[k]
                block.to_use[k, pair.columns] -= pair.labels.least(part)
                block.pull_to_source(k)

    def reshare(self) -> None:
        for blocks in self.alike:
            blocks.reshare()

    def ascend(self, sweeps: int) -> None:
        """Raises the bound by so many sweeps forth and back."""
        for _ in range(sweeps):
            self.sweep(forward=True)
            self.reshare()
            self.sweep(forward=False)
            self.reshare()

    def state_bounds(self) -> tuple[list[np.ndarray], float]:
        """For each variable and state a lower bound on the price of every choice with that state; and one for all.

        A state's bound counts its own pairs at their least in its row or column, all else at its least.
        """
        theta = [self.theta(i) for i in range(len(self.cost))]
        least = [float(t.min()) for t in theta]
        total = sum(least)
        for block in self.blocks:
            reduced = block.reduced()
            rows, columns = reduced.min(axis=2), reduced.min(axis=1)
            low = rows.min(axis=1)
            total += float(low.sum())
            theta[block.source] = theta[block.source] + block.row.spread((rows - low[:, None]).sum(axis=0))
            for k, pair in enumerate(block.pairs):
                theta[pair.variable] = theta[pair.variable] + pair.labels.spread(columns[k, pair.columns] - low[k])
        return [total - low + t for low, t in zip(least, theta, strict=True)], total

    def restrict(self, keep: Sequence[np.ndarray]) -> None:
        """Goes on with the kept states only (indices into those there were)."""
        changed = [len(k) < len(c) for k, c in zip(keep, self.cost, strict=True)]
        self.cost = [c[k] if less else c for k, c, less in zip(keep, self.cost, changed, strict=True)]
        for block in self.blocks:
            if changed[block.source] or any(changed[p.variable] for p in block.pairs):
                block.restrict(keep)
        self._plan_sweeps()

    def messages(self) -> list[Messages]:
        """A copy of all that a checker needs to compute the bounds again."""
        return [block.messages() for block in self.blocks]

    def tables(self, keep: Sequence[np.ndarray] | None = None) -> Tables:
        """The true (not relaxed) problem as tables, of all its states or of those at the given indices."""
        keep = keep or [np.arange(len(c)) for c in self.cost]
        tables = Tables([len(k) for k in keep])
        for i, (cost, k) in enumerate(zip(self.cost, keep, strict=True)):
            tables.found.append(Table((i,) if len(k) > 1 else (), lambda c=cost, k=k: c[k].squeeze()))
        for block in self.blocks:
            block.add_to(tables, keep)
        return tables

    def choice(self) -> np.ndarray:
        """States read off in order: each the cheapest given those before it."""
        chosen = np.full(len(self.cost), -1)
        for i in range(len(self.cost)):
            if len(self.cost[i]) == 1:
                chosen[i] = 0
                continue
            cost = self.theta(i)
            for block in self.own[i]:
                for k, pair in enumerate(block.pairs):
                    if (other := chosen[pair.variable]) >= 0:
                        column = pair.columns[pair.labels.at[other]]
                        cost += block.row.spread(block.charge[k, :, column] - block.to_source[k])
            for block, k in self.used[i]:
                if (other := chosen[block.source]) >= 0:
                    pair, row = block.pairs[k], block.row.at[other]
                    cost += pair.labels.spread(block.charge[k, row, pair.columns] - block.to_use[k, pair.columns])
            chosen[i] = int(cost.argmin())
        return chosen


def _is_charged(use: Use, price: np.ndarray) -> bool:
    """Whether any layout that the use may want can cost anything."""
    return bool(price[:, sorted({w for label in use.wants for w in label})].any())
