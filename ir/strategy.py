"""Strategies: where one node may run, and what follows for the layouts of its operands and results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations, product
from typing import NamedTuple

import numpy as np

from .column import Column
from .hashed import hash_once
from .layout import Axes, Fields, Layout


@hash_once
@dataclass(frozen=True)
class Strategy:
    """Where one node runs: the axes that split each of its dims, and the axes over which its operands stay partial.

    A dim that the op renames is named as in the operands. `carry` (axes) and `group` (an index into `Op.linear`) say
    that those operands arrive as partial sums and leave the result partial: legal because the op is linear in them.
    `method` is one of `Op.methods`: how the op runs there, where it knows several ways.
    """

    splits: tuple[tuple[str, Axes], ...] = ()
    carry: frozenset[str] = frozenset()
    group: int = 0
    method: str = ""

    @classmethod
    def of(
        cls, split: Mapping[str, Axes], carry: frozenset[str] = frozenset(), group: int = 0, method: str = ""
    ) -> Strategy:
        return cls(tuple(sorted((d, tuple(a)) for d, a in split.items() if a)), carry, group if carry else 0, method)

    @property
    def split(self) -> dict[str, Axes]:
        return dict(self.splits)

    def __str__(self) -> str:
        where = str(Layout(self.splits, self.carry))
        return f"{where[:-1]}; {self.method}}}" if self.method else where


@dataclass(frozen=True, eq=False)
class Placements:
    """Several strategies, known by identity: most ops of a program share theirs with others."""

    strategies: tuple[Strategy, ...]


class Left(NamedTuple):
    """What becomes of an op's dims in its results."""

    summed: tuple[tuple[str, str], ...]
    """The dims that are reduced away, and how."""
    looked_up: tuple[str, ...]
    renames: tuple[tuple[str, str], ...]


@lru_cache(maxsize=1024)
def all_placements(splittable: tuple[str, ...], groups: int, axes: Axes) -> Placements:
    """Every strategy that splits the given dims or carries one of the groups over the axes, legal or not, in order."""
    found = []
    for split, carry, group in _numbered_placements(len(splittable), groups, axes):
        named = [(splittable[d], order) for d, order in split]
        found.append(Strategy(tuple(sorted(named)), carry, group))
    return Placements(tuple(found))


@lru_cache(maxsize=1024)
def _numbered_placements(
    dims: int, groups: int, axes: Axes
) -> list[tuple[tuple[tuple[int, Axes], ...], frozenset[str], int]]:
    """The same with dims by number: splits, the axes that carry a group, and which."""
    found = []
    for choice in product([None, *range(dims + groups)], repeat=len(axes)):
        held: dict[int, list[str]] = {}
        carried: dict[int, set[str]] = {}
        for axis, picked in zip(axes, choice, strict=True):
            if picked is not None and picked < dims:
                held.setdefault(picked, []).append(axis)
            elif picked is not None:
                carried.setdefault(picked - dims, set()).add(axis)
        if len(carried) > 1:
            continue
        group, carry = next(iter(carried.items()), (0, set()))
        orders = [[(d, order) for order in permutations(axes)] for d, axes in held.items()]
        found += [(split, frozenset(carry), group) for split in product(*orders)]
    return found


def arriving(strategy: Strategy, names: tuple[str, ...], carried: tuple[bool, ...]) -> Layout:
    """The layout of an operand with these dims, which carries partial sums in some groups."""
    return _layout(_arriving(strategy, names, carried))


def leaving(strategy: Strategy, names: tuple[str, ...], left: Left) -> Layout:
    """The layout of a result with these dims: partial over the axes of dims that are reduced or looked up."""
    return _layout(_leaving(strategy, names, left))


@lru_cache(maxsize=4096)
def arriving_column(placements: Placements, names: tuple[str, ...], carried: tuple[bool, ...]) -> Column:
    return _column([_arriving(s, names, carried) for s in placements.strategies])


@lru_cache(maxsize=4096)
def leaving_column(placements: Placements, names: tuple[str, ...], left: Left) -> Column:
    return _column([_leaving(s, names, left) for s in placements.strategies])


_NONE: frozenset[str] = frozenset()


def _arriving(strategy: Strategy, names: tuple[str, ...], carried: tuple[bool, ...]) -> Fields:
    partial = strategy.carry if strategy.carry and carried[strategy.group] else _NONE
    return tuple([s for s in strategy.splits if s[0] in names]), partial, "sum"


def _leaving(strategy: Strategy, names: tuple[str, ...], left: Left) -> Fields:
    splits, partial, kind = strategy.splits, strategy.carry, "sum"
    if left.summed or left.looked_up:
        kinds = dict(left.summed)
        renamed = dict(left.renames)
        for dim, axes in splits:
            if (dim in kinds or dim in left.looked_up) and renamed.get(dim, dim) not in names:
                partial, kind = partial.union(axes), kinds.get(dim, kind)
    if left.renames:
        renames = dict(left.renames)
        splits = sorted([(renames.get(d, d), axes) for d, axes in splits])
    return tuple([s for s in splits if s[0] in names]), partial, kind if partial else "sum"


def _column(fields: list[Fields]) -> Column:
    """The column of the layouts that have these fields: most strategies share theirs with others."""
    place: dict[Fields, int] = {}
    at = [place.setdefault(f, len(place)) for f in fields]
    return Column(tuple(map(_layout, place)), np.array(at, int))


@lru_cache(maxsize=65536)
def _layout(fields: Fields) -> Layout:
    return Layout(*fields)
