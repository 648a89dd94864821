"""Closed forms: what a collective and an op cost, written down a second time, apart from `planner.cost`.

The tests of known best plans add up seconds with these and with nothing of the planner. n devices of a group share a
link; S is the size in bytes of the operand on one device.

    all_reduce      α log2 n + 2 (n-1)/n S/β         all_gather   α log2 n + (n-1) S/β
    reduce_scatter  α log2 n +   (n-1)/n S/β         all_to_all   α log2 n + (n-1)/n S/β + 2 S/B
    an op           max(flops/F, bytes/B) + launch   an op fused with its consumer: max(flops/F, bytes/4B)
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import pytest

from ir.graph import Program
from ir.mesh import Mesh
from ir.plan import Plan
from ir.verify import verify_plan
from planner import Costs, Machine, evaluate, make_plan, peak_bytes
from planner.machine import Link

H100 = Machine.load("h100x8").law()


@dataclass(frozen=True)
class Group:
    """n devices and the link that joins them."""

    n: int
    link: Link
    machine: Machine = H100

    def _law(self, kind: str, sent: float) -> float:
        alpha, beta = self.link.times(kind)
        return alpha * math.log2(self.n) + sent / beta

    def all_reduce(self, size: float) -> float:
        return self._law("all_reduce", 2 * (self.n - 1) / self.n * size)

    def reduce_scatter(self, size: float) -> float:
        return self._law("reduce_scatter", (self.n - 1) / self.n * size)

    def all_gather(self, size: float) -> float:
        return self._law("all_gather", (self.n - 1) * size)

    def all_to_all(self, size: float) -> float:
        repacked = 2 * size / (self.machine.efficiency * self.machine.memory_bandwidth)
        return self._law("all_to_all", (self.n - 1) / self.n * size) + repacked

    def halo(self, edge: float) -> float:
        """Both neighbours' edges, one after the other."""
        alpha, beta = self.link.times("collective_permute")
        return 2 * (alpha + edge / beta)


def inside(n: int, machine: Machine = H100) -> Group:
    return Group(n, machine.inside, machine)


def across(n: int, machine: Machine = H100) -> Group:
    return Group(n, machine.across, machine)


def work(flops: float, touched: float, machine: Machine = H100, double: bool = False) -> float:
    """Seconds of an op that mixes elements: its flops and the bytes of its operands and results on one device."""
    rate = machine.f64 if double else machine.f32
    compute, traffic = flops / rate, touched / machine.memory_bandwidth
    return max(compute, traffic) / machine.efficiency + machine.launch


def fused(flops: float, touched: float, machine: Machine = H100, double: bool = False) -> float:
    """Seconds of an op that acts on each element by itself."""
    rate = machine.f64 if double else machine.f32
    return max(flops / rate, touched / 4 / machine.memory_bandwidth) / machine.efficiency


def plan_of(program: Program, mesh: str, machine: Machine = H100, **arguments) -> Plan:
    """A plan that is legal, proven best, and whose prediction is what an independent walk of its moves adds up to."""
    plan = make_plan(program, Mesh.parse(mesh), machine=machine, **{"memory": 0, **arguments})
    verify_plan(program, plan)
    compute, communication, _ = evaluate(program, plan, Costs(machine, plan.mesh))
    assert plan.prediction is not None
    assert plan.prediction.seconds == pytest.approx(compute + communication, rel=1e-9)
    assert plan.prediction.peak_bytes == peak_bytes(program, plan)
    assert plan.prediction.gap < 1e-8
    return plan


def seconds(plan: Plan) -> float:
    assert plan.prediction is not None
    return plan.prediction.seconds


def kinds(program: Program, plan: Plan) -> Counter[str]:
    """How often one execution performs each kind of collective."""
    found: Counter[str] = Counter()
    for collective, count in plan.collectives(program).items():
        found[collective.kind] += count
    return found


def exactly(expected: float):
    return pytest.approx(expected, rel=1e-9)


def product(*dims: float, over: float = 1.0, machine: Machine = H100) -> float:
    """An f32 contraction of [a, k] with [k, b] to [a, b]: `product(a, b, over=k)`."""
    a, b = dims
    return work(2 * a * b * over, 4 * (a * over + over * b + a * b), machine)


def crossing(f, g, low: int, high: int) -> int:
    """The last whole number at which f ≤ g, where f - g changes sign once, from minus to plus."""
    assert f(low) <= g(low) and f(high) > g(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if f(middle) <= g(middle) else (low, middle)
    return low
