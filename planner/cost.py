"""Seconds: what a node, a move and a halo cost on a machine, and what a whole plan costs.

The model is roofline for computing and alpha-beta for communication:

    node        max(flops / F, bytes / B) + launch        per device, padding included
    all_reduce      alpha log2 n + 2 (n-1)/n · S / beta   S: bytes of the operand on one device
    reduce_scatter  alpha log2 n +   (n-1)/n · S / beta
    all_gather      alpha log2 n +   (n-1)   · S / beta
    all_to_all      alpha log2 n +   (n-1)/n · S / beta + 2 S / B      (repacked before it is sent)
    halo            2 (alpha + S / beta)                  S: bytes of one edge
    slice           0

An op that is `Map` along all its dims (elementwise functions, broadcasts, coordinates) is fused by XLA into what uses
it: it is charged no launch and a quarter of its memory traffic.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from ir.dims import TensorType
from ir.graph import Node, Program
from ir.layout import Collective, Layout, Move, block, collectives_of
from ir.mesh import Mesh
from ir.op import Lookup, Map, Op, Strategy
from ir.plan import Plan

from .machine import Machine

FUSED_TRAFFIC = 0.25
"""The share of its memory traffic that a fused op is charged: most of its operands and results stay in registers."""


@dataclass(frozen=True)
class Costs:
    """The prices of one machine on one mesh."""

    machine: Machine
    mesh: Mesh

    def compute(self, op: Op, types: tuple[TensorType, ...], strategy: Strategy) -> float:
        """Seconds of a node's block computation on one device."""
        sizes, roles, results = op.dims(*types), op.roles(*types), op.results(*types)
        wants = tuple(op.operand_layout(i, types, strategy) for i in range(len(types)))
        return self.block_compute(op, types, results, strategy, wants, op.result_layouts(types, strategy), sizes, roles)

    def block_compute(self, op, types, results, strategy, wants, leaves, sizes, roles) -> float:
        """`compute`, with everything that the strategy implies at hand."""
        share = 1.0
        for dim, axes in strategy.splits:
            if not isinstance(roles.get(dim), Lookup):
                share *= block(sizes[dim], self.mesh.size(axes)) / sizes[dim]
        flops = op.flops(*types) * share
        whole = sum(whole_bytes(t) for t in (*types, *results))
        passes = op.bytes_touched(types) / whole if whole else 1.0  # an op that goes over its operands several times
        touched = passes * sum(
            split_bytes(t, layout, self.mesh) for t, layout in zip((*types, *results), (*wants, *leaves), strict=True)
        )
        fused = all(isinstance(r, Map) for r in roles.values())
        launch = 0.0 if fused else self.machine.launch
        touched *= FUSED_TRAFFIC if fused else 1.0
        rate = self.machine.flops(results[0].dtype)
        return max(flops / rate, touched / self.machine.bandwidth()) + launch

    def collective(self, c: Collective) -> float:
        """Seconds of one collective."""
        n = self.mesh.size(c.axes)
        if n == 1:
            return 0.0
        alpha, beta = self.machine.link(self.mesh, c.axes).times(c.kind)
        latency = alpha if c.kind == "collective_permute" else alpha * math.log2(n)
        repack = 2 * c.bytes / self.machine.bandwidth() if c.kind == "all_to_all" else 0.0
        return latency + self.sent(c) / beta + repack

    def sent(self, c: Collective) -> float:
        """Bytes that each device sends in one collective."""
        n = self.mesh.size(c.axes)
        if c.kind == "collective_permute":
            return float(c.bytes) if n > 1 else 0.0
        share = {"all_reduce": 2 * (n - 1) / n, "all_gather": n - 1.0}.get(c.kind, (n - 1) / n)
        return share * c.bytes

    def move(self, move: Move, t: TensorType, layout: Layout) -> float:
        """Seconds of one move of a value from `layout`."""
        return sum(self.collective(c) for c in collectives_of(move, t, layout, self.mesh))

    def halos(self, op: Op, types: tuple[TensorType, ...], strategy: Strategy) -> float:
        """Seconds of a strategy's halo exchanges."""
        found = op.halos(types, strategy)
        return sum(self.move(m, types[i], op.operand_layout(i, types, strategy)) for i, m in found)


def whole_bytes(t: TensorType) -> int:
    return _sizes(t)[1]


def split_bytes(t: TensorType, layout: Layout, mesh: Mesh) -> int:
    """`ir.layout.block_bytes`, looking only at the dims that are split: the search asks for millions."""
    sizes, total = _sizes(t)
    for dim, axes in layout.splits:
        total = total // sizes[dim] * block(sizes[dim], mesh.size(axes))
    return total


@lru_cache(maxsize=4096)
def _sizes(t: TensorType) -> tuple[dict[str, int], int]:
    return {d.name: d.size for d in t.dims}, t.size * t.itemsize


def evaluate(program: Program, plan: Plan, costs: Costs) -> tuple[float, float, Mapping[tuple[str, ...], float]]:
    """A plan's price, summed from what it performs: compute and communication seconds, bytes sent by mesh axes.

    It walks the plan and knows nothing of how the plan was found, so that it can hold the search to account.
    """
    compute = sum(trips * costs.compute(n.op, n.types, plan.strategies[n.key]) for n, trips in leaf_nodes(program))
    communication, sent = 0.0, defaultdict[tuple[str, ...], float](float)
    for step in plan.steps(program):
        for c in collectives_of(step.move, step.value.type, step.before, plan.mesh):
            communication += step.trips * costs.collective(c)
            sent[c.axes] += step.trips * costs.sent(c)
    return compute, communication, dict(sent)


def leaf_nodes(program: Program, trips: int = 1):
    """Every node that computes itself, with the number of times that it runs."""
    for node in program.nodes:
        if node.op.regions():
            for region in node.op.regions():
                yield from leaf_nodes(region, trips * trips_of(node))
        else:
            yield node, trips


def trips_of(node: Node) -> int:
    """How often the regions of a node run."""
    return node.op.trips(node.types)  # type: ignore[attr-defined]
