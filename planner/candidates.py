"""The choices: where a node may run and where a value may lie, each with what it implies.

A node's strategies come from its op. On top stand three rules that hold for the whole program: mesh axes of size one
are idle unless the user names them, a dim of size one is never split, and where chains are split (`Chains`) every value
with the chain dim is split alike and nothing else uses those axes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations, product
from typing import NamedTuple

import numpy as np

from ir.column import Column
from ir.dims import CHAIN, TensorType
from ir.graph import Node
from ir.layout import Axes, Layout
from ir.mesh import Mesh
from ir.op import Op, Strategy

from .cost import Costs


@dataclass(frozen=True)
class Chains:
    """The rule for the chain dim: None lets it be a dim like any other, axes split it everywhere or (empty) nowhere."""

    axes: Axes | None = None

    def allow(self, layout: Layout, t: TensorType) -> bool:
        if self.axes is None:
            return True
        return all(
            (axes == self.axes) if d == CHAIN else not set(axes) & set(self.axes) for d, axes in layout.splits
        ) and (CHAIN not in t or layout.axes(CHAIN) == self.axes)

    def allow_strategy(self, strategy: Strategy, sizes: dict[str, int]) -> bool:
        if self.axes is None:
            return True
        split = strategy.split
        return split.get(CHAIN, ()) == (self.axes if CHAIN in sizes else ()) and not any(
            set(axes) & set(self.axes) for d, axes in strategy.splits if d != CHAIN
        )


class Candidate(NamedTuple):
    """One way to run a node: what it wants, what it leaves, what it costs [seconds]."""

    strategy: Strategy
    wants: tuple[Layout, ...]
    leaves: tuple[Layout, ...]
    compute: float
    halos: float
    again: frozenset[str] = frozenset()
    """The operands of which it takes the second copy (see `planner.recompute`)."""


@dataclass(frozen=True)
class Ways:
    """All ways to run a node, in a fixed order."""

    candidates: list[Candidate]
    seconds: np.ndarray
    wants: tuple[Column, ...]
    """By operand, its layouts."""
    leaves: tuple[Column, ...]
    """By result, its layouts."""

    def take(self, which: list[int]) -> Ways:
        """Some of them."""
        if len(which) == len(self.candidates):
            return self
        wants, leaves = (tuple([c.take(which) for c in columns]) for columns in (self.wants, self.leaves))
        return Ways([self.candidates[i] for i in which], self.seconds[which], wants, leaves)


ABSENT = Candidate(Strategy(), (), (), 0.0, 0.0)
"""What a second copy is that no consumer takes."""


@dataclass
class Candidates:
    """The choices under one set of rules; equal ops on equal types are worked out once."""

    costs: Costs
    mesh: Mesh
    """The mesh axes that may be used."""
    found: dict[tuple[Op, tuple[TensorType, ...]], Ways] = field(default_factory=dict)
    layouts_found: dict[TensorType, list[Layout]] = field(default_factory=dict)

    def of_node(self, node: Node) -> Ways:
        """Every legal way to run a node."""
        key = node.op, node.types
        if key not in self.found:
            self.found[key] = self._of_op(*key)
        return self.found[key]

    def _of_op(self, op: Op, types: tuple[TensorType, ...]) -> Ways:
        placements = op.placements(types, self.mesh)
        strategies = placements.strategies
        wants = tuple([op.operand_column(i, types, placements) for i in range(len(types))])
        leaves = op.result_columns(types, placements)
        compute, halos = self.costs.work(op, types).all_seconds(placements), np.zeros(len(strategies))
        if op.reaches(types):
            halos = np.array([self.costs.halos(op, types, s) for s in strategies])
        by_strategy = zip(*wants, strict=True) if wants else [()] * len(strategies)
        rows = map(Candidate, strategies, by_strategy, zip(*leaves, strict=True), compute.tolist(), halos.tolist())
        return Ways(list(rows), compute + halos, wants, leaves)

    def layouts(self, t: TensorType) -> list[Layout]:
        """Every layout of a value that is not partial, the whole one first."""
        if t not in self.layouts_found:
            self.layouts_found[t] = list(all_layouts(t, self.mesh))
        return self.layouts_found[t]


def all_layouts(t: TensorType, mesh: Mesh, partial: bool = False) -> Iterator[Layout]:
    """Every layout on a mesh: each axis is idle, splits a dim (in any order with others) or, if wished, is partial."""
    dims = [d.name for d in t.dims if d.size > 1]
    for choice in product([None, *dims, *([0] if partial else [])], repeat=len(mesh.axes)):
        held: dict[str, list[str]] = {}
        open_sums = tuple(a for a, picked in zip(mesh.names, choice, strict=True) if picked == 0)
        for axis, picked in zip(mesh.names, choice, strict=True):
            if isinstance(picked, str):
                held.setdefault(picked, []).append(axis)
        for split in product(*([(d, order) for order in permutations(axes)] for d, axes in held.items())):
            yield Layout.of(dict(split), open_sums)
