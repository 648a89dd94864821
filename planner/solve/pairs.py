"""The pairs (source, use) of a star: its prices shared among its uses, and the messages between source and uses.

A use is charged its share of each reshard that it wants. Cost is moved between a pair and its two variables; the shares
of one reshard never add up to more than its price. So whatever is moved and however it is shared, what is left in the
pairs together with what the variables have received never exceeds the true price of any choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .eliminate import Tables, Wanting
from .network import Star, Use, distinct, membership

Wants = tuple[int, ...]


class Labels:
    """Which label each state carries: states with one label have one message."""

    def __init__(self, at: np.ndarray, count: int):
        self.at = at
        self.plain = len(at) == count and bool((at == np.arange(count)).all())
        if not self.plain:
            self.order = np.argsort(at, kind="stable")
            self.starts = np.searchsorted(at[self.order], np.arange(count))

    def least(self, cost: np.ndarray) -> np.ndarray:
        """The minimum over the states that carry each label."""
        return cost if self.plain else np.minimum.reduceat(cost[self.order], self.starts)

    def spread(self, message: np.ndarray) -> np.ndarray:
        return message if self.plain else message[self.at]


@dataclass
class Pair:
    """One use within a block: which columns its labels are."""

    use: int
    """Its place among the star's uses."""
    variable: int
    labels: Labels
    columns: np.ndarray


@dataclass
class Messages:
    """What has been moved between the ends of a star's pairs, and how its prices are shared: enough to prove a bound.

    Arrays go by [use, row] and [use, column], shares by [use, row, layout].
    """

    star: int
    uses: list[int]
    rows: list[int]
    """The layouts in which the source leaves the value."""
    columns: list[Wants]
    layouts: list[int]
    """Those that the shares are for; none where one use pays it all."""
    to_source: np.ndarray
    to_use: np.ndarray
    share: np.ndarray

    def as_data(self) -> dict[str, Any]:
        """As a certificate holds it."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


class Block:
    """The pairs of one star as arrays by [use, row, column]: rows are the source's layouts, columns the sets wanted."""

    def __init__(self, index: int, star: Star, uses: list[tuple[int, Use]], big: float):
        self.star, self.source = index, star.source
        rows, at = distinct(star.labels)
        self.rows, self.row = rows, Labels(at, len(rows))
        self.columns: list[Wants] = sorted({label for _, use in uses for label in use.wants})
        self.layouts = sorted({w for label in self.columns for w in label})
        place = {c: i for i, c in enumerate(self.columns)}
        self.price = np.minimum(star.price[rows][:, self.layouts], big)
        self.member = membership(self.layouts, self.columns).astype(float)
        self.has = np.zeros((len(uses), len(self.columns)), bool)
        self.pairs: list[Pair] = []
        for k, (u, use) in enumerate(uses):
            columns = np.array([place[label] for label in use.wants], int)
            self.has[k, columns] = True
            self.pairs.append(Pair(u, use.variable, Labels(use.labels, len(columns)), columns))
        self._look_at_columns()
        self.share = self._first_shares()[:, None, :] * self.price
        self.charge_shares()
        self.to_source, self.to_use = np.zeros((len(uses), len(rows))), np.zeros(self.has.shape)
        self.pull_to_uses()

    def _first_shares(self) -> np.ndarray:
        """[use, layout]: all for a use that wants the layout in any case, else in equal parts to those that may."""
        wants = (self.has @ self.member.T) > 0
        share = wants / np.maximum(1, wants.sum(axis=0))
        sure = wants & ((self.has @ (1 - self.member.T)) == 0)
        first = np.zeros_like(share)
        first[sure.argmax(axis=0), np.arange(len(self.layouts))] = 1.0
        return np.where(sure.any(axis=0), first, share)

    def _look_at_columns(self) -> None:
        """What is true of all columns."""
        self.plain = all([len(label) == 1 for label in self.columns])
        self.simple = all([len(label) < 2 for label in self.columns])
        """Whether no use ever wants two copies at once."""
        self.lacks = ~self.has

    def add_to(self, tables: Tables, keep: Sequence[np.ndarray]) -> None:
        """Adds the star's true prices to a sum of tables over the states at the given indices."""
        rows = self.row.at[keep[self.source]]
        columns = [p.columns[p.labels.at[keep[p.variable]]] for p in self.pairs]
        if len(columns) == 1:  # nothing is shared: what the pair is charged is the price
            charge = self.charge[0, rows[:, None], columns[0]]
            if charge.any():
                tables.add((self.source, self.pairs[0].variable), lambda: charge)
            return
        wants = []
        for pair, c in zip(self.pairs, columns, strict=True):
            member = self.member[:, c] > 0
            wants.append(Wanting.of(pair.variable, member, lambda m=member: m))
        tables.star(self.source, self.price[rows], wants)

    def charge_shares(self) -> None:
        charge = self.share if self.plain else self.share @ self.member
        self.charge = np.where(self.has[:, None, :], charge, np.inf)

    def pull_to_source(self, k: int | slice = slice(None)) -> None:
        """All that the pairs surely cost, for each row, is the source's."""
        self.to_source[k] = np.minimum.reduce(self.charge[k] - self.to_use[k][..., None, :], axis=-1)

    def pull_to_uses(self, k: slice | np.ndarray = slice(None)) -> None:
        if isinstance(k, slice):
            pulled = np.minimum.reduce(self.charge - self.to_source[:, :, None], axis=1)
            pulled[self.lacks] = 0.0
            self.to_use[...] = pulled
            return
        pulled = np.minimum.reduce(self.charge[k] - self.to_source[k][:, :, None], axis=1)
        pulled[self.lacks[k]] = 0.0
        self.to_use[k] = pulled

    def reduced(self) -> np.ndarray:
        return self.charge - self.to_source[:, :, None] - self.to_use[:, None, :]

    def restrict(self, keep: Sequence[np.ndarray]) -> None:
        """Keeps the rows and columns of the kept states (indices into those there were)."""
        rows, at = distinct(self.row.at[keep[self.source]])
        self.rows, self.row = self.rows[rows], Labels(at, len(rows))
        has = np.zeros_like(self.has)
        for k, pair in enumerate(self.pairs):
            labels, again = distinct(pair.labels.at[keep[pair.variable]])
            pair.columns, pair.labels = pair.columns[labels], Labels(again, len(labels))
            has[k, pair.columns] = True
        columns = np.flatnonzero(has.any(axis=0))
        place = np.zeros(len(self.columns), int)
        place[columns] = np.arange(len(columns))
        for pair in self.pairs:
            pair.columns = place[pair.columns]
        self.columns = [self.columns[c] for c in columns]
        self.has, self.member = has[:, columns], self.member[:, columns]
        self._look_at_columns()
        wanted = np.flatnonzero(self.member.any(axis=1))
        self.layouts, self.member = [self.layouts[w] for w in wanted], self.member[wanted]
        self.price = self.price[np.ix_(rows, wanted)]
        self.share = self.share[:, rows][:, :, wanted]
        self.to_source, self.to_use = self.to_source[:, rows], np.where(self.has, self.to_use[:, columns], 0.0)
        self.charge_shares()

    def messages(self) -> Messages:
        alone = len(self.pairs) == 1
        return Messages(
            self.star,
            [p.use for p in self.pairs],
            self.rows.tolist(),
            list(self.columns),
            [] if alone else list(self.layouts),
            self.to_source.copy(),
            self.to_use.copy(),
            np.zeros((0, 0, 0)) if alone else self.share.copy(),
        )
