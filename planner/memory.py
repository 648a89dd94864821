"""Bytes: which values exist at each step of the schedule, and the peak of a plan on one device.

The schedule is the program's order, a region's steps between the step that enters it and the step that leaves it. The
rules, each of them on the safe side:

- a program's inputs exist throughout, its outputs from where they are made to the end;
- any other value exists from the step that makes it to its last consumer;
- a copy in another layout exists from its first to its last consumer, next to the original; while it is made, so do
  the intermediate blocks of its path;
- a region's inputs have memory of their own where they are slices or carries; what is merely captured has none;
- what an op makes out of nothing (a constant, a broadcast: no flops, larger than its operands) is made where it is
  used and has none.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ir.graph import Node, Program, Value
from ir.layout import Layout, block_bytes, replay
from ir.plan import Plan

Span = tuple[int, int]


@dataclass
class Schedule:
    """The steps of a program: what lives when, and when each consumer takes its operands."""

    life: dict[str, Span] = field(default_factory=dict)
    """By value: its first and last step."""
    stored: dict[str, bool] = field(default_factory=dict)
    """By value: whether it takes memory of its own."""
    at: dict[str, Span] = field(default_factory=dict)
    """By consumer (a node's key, or `output NAME`): the first and last step at which it holds its operands."""
    steps: int = 0

    @classmethod
    def of(cls, program: Program) -> Schedule:
        schedule = cls()
        for i in program.inputs:
            schedule._make(i.value, 0)
        schedule._body(program)
        schedule.steps += 1
        schedule._outputs(program, "")
        for i in program.inputs:
            schedule._extend(i.value, schedule.steps)
        schedule.steps += 1
        return schedule

    def _make(self, value: Value, step: int, stored: bool = True) -> None:
        self.life[value.name], self.stored[value.name] = (step, step), stored

    def _extend(self, value: Value, step: int) -> None:
        first, last = self.life[value.name]
        self.life[value.name] = first, max(last, step)

    def _body(self, program: Program) -> None:
        for node in program.nodes:
            self.steps += 1
            if node.op.regions():
                self._region(node)
                continue
            self.at[node.key] = self.steps, self.steps
            for value in node.operands:
                self._extend(value, self.steps)
            for value in node.results:
                self._make(value, self.steps, not made_in_place(node))

    def _region(self, node: Node) -> None:
        (region,), start = node.op.regions(), self.steps
        carried = set(region.ties.values())
        for outer, inner in zip(node.operands, node.op.region_operands(), strict=True):  # type: ignore[attr-defined]
            self._make(inner, start, inner.name in carried or inner.type != outer.type)
        self._body(region)
        self.steps += 1
        self._outputs(region, f"{region.name}:")
        self.at[node.key] = start, self.steps
        for value in node.operands:
            self._extend(value, self.steps)
        for i, value in enumerate(node.results):
            stacked = value.type != region.results[node.op.result_from(i)].type  # type: ignore[attr-defined]
            self._make(value, start if stacked else self.steps)

    def _outputs(self, program: Program, prefix: str) -> None:
        for name, value in program.outputs:
            self.at[f"output {prefix}{name}"] = self.steps, self.steps
            self._extend(value, self.steps)


def made_in_place(node: Node) -> bool:
    """Whether a node's result is made where it is used, as a broadcast is."""
    return node.op.flops(*node.types) == 0 and sum(v.type.size for v in node.operands) < node.results[0].type.size


def profile(program: Program, plan: Plan) -> np.ndarray:
    """Bytes on one device at each step of the schedule."""
    schedule = Schedule.of(program)
    held = np.zeros(schedule.steps)
    copies: dict[tuple[str, Layout], Span] = {}
    types = {v.name: v.type for v in _values(program)}
    for name, (first, last) in schedule.life.items():
        if schedule.stored[name]:
            held[first : last + 1] += block_bytes(types[name], plan.layouts[name], plan.mesh)
    for consumer, value, wanted in _wants(program, plan):
        if wanted == plan.layouts[value.name]:
            continue
        first, last = schedule.at[consumer]
        held[first] += scratch_bytes(plan, value, wanted)
        before = copies.get((value.name, wanted), (first, last))
        copies[value.name, wanted] = min(before[0], first), max(before[1], last)
    for (name, wanted), (first, last) in copies.items():
        held[first : last + 1] += block_bytes(types[name], wanted, plan.mesh)
    return held


def peak_bytes(program: Program, plan: Plan) -> float:
    """The most bytes that one device holds at any step."""
    return float(profile(program, plan).max(initial=0.0))


def scratch_bytes(plan: Plan, value: Value, wanted: Layout) -> float:
    """What the making of a copy holds at its worst beyond the original and the copy."""
    sizes = [block_bytes(value.type, wanted, plan.mesh)]
    start = plan.layouts[value.name]
    for _, before, after in replay(plan.path(value, wanted), start, value.type, plan.mesh):
        source = 0 if before == start else block_bytes(value.type, before, plan.mesh)
        sizes.append(source + block_bytes(value.type, after, plan.mesh))
    return float(max(sizes) - sizes[0])


def _values(program: Program):
    yield from (i.value for i in program.inputs)
    for node in program.walk():
        yield from node.results
        for region in node.op.regions():
            yield from (i.value for i in region.inputs)


def _wants(program: Program, plan: Plan, prefix: str = ""):
    """Every (consumer, value, wanted layout), each once."""
    for node in program.nodes:
        yield from dict.fromkeys((node.key, value, wanted) for value, wanted in plan.wanted(node))
        for region in node.op.regions():
            yield from _wants(region, plan, f"{region.name}:")
    for name, value in program.outputs:
        yield f"output {prefix}{name}", value, plan.outputs[prefix + name]
