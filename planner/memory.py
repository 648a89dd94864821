"""Bytes: which values exist at each step of the schedule, and the peak of a plan on one device.

It stands for the buffer assignment of XLA, to whose figure (arguments, outputs and temporary buffers) it is held by
tests/yardsticks/test_memory_prediction.py. Every node has a step at which its operands are brought to their layouts and
one at which it runs; a region's steps lie between the step that enters it and the one that leaves it. The order is the
program's, but what only the log density needs comes last, after the gradients (`in_order`): XLA:CPU may well do it so,
and where it does not, less memory is needed than told. The rules:

- a program's inputs and its outputs have memory throughout;
- a value that the compiler makes inside the kernels that use it (`planner.fusion`) has no memory, and what it is made
  of exists until the last of these kernels runs; only for a move to another layout is it stored, for that moment;
- any other value exists from the step that makes it to its last consumer;
- an elementwise result is written over an operand of the same size that nobody needs afterwards;
- a copy in another layout exists from its first to its last consumer, next to the original; while it is made, so do
  the intermediate blocks of its path and what its collectives pack and unpack (`staging_bytes`);
- a scatter works on copies of its operands, and a scan on copies of what it goes through, in an order of their own;
- a region's inputs have memory of their own where they are slices or carries; what is merely captured has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from ir.dims import TensorType
from ir.graph import Node, Program, Value
from ir.layout import Layout, Move, block_bytes, replay
from ir.mesh import Mesh
from ir.ops.control import Scan
from ir.ops.gather import Gather
from ir.passes.recompute import again
from ir.plan import Plan

from .fusion import Fusion, is_packer, needed

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
    packed: dict[str, tuple[Node, int, Span]] = field(default_factory=dict)
    """Operands that are copied in the order in which a node goes through them, by the name of the value: the node that
    does so first, the index of its operand, and the first and last step of the copy."""
    what: list[tuple[str, str]] = field(default_factory=lambda: [("inputs", "")])
    """By step: "inputs", "fetch", "run", "enter", "leave" or "outputs", and the key of the node."""

    @property
    def steps(self) -> int:
        return len(self.what)

    @classmethod
    @lru_cache(maxsize=16)
    def of(cls, program: Program) -> Schedule:
        """The schedule of a program; the same object for the same program, so it is not to be changed."""
        schedule = cls()
        for i in program.inputs:
            schedule._make(i.value, 0)
        schedule._body(program, "")
        for i in program.inputs:
            schedule._extend(i.value, schedule.steps - 1)
        for _, value in program.outputs:
            schedule.life[value.name] = 0, schedule.steps - 1
        return schedule

    def _make(self, value: Value, step: int, stored: bool = True) -> None:
        self.life[value.name], self.stored[value.name] = (step, step), stored

    def _extend(self, value: Value, step: int) -> None:
        first, last = self.life[value.name]
        self.life[value.name] = first, max(last, step)

    def _body(self, program: Program, prefix: str) -> None:
        fusion = Fusion.of(program)
        made = {v.name: n for n in program.nodes for v in n.results}
        for node in in_order(program, fusion.readings) if not prefix else program.nodes:
            if node.op.regions():
                self._region(node)
                self._pack(node, packed_by_scan(node, made), self.at[node.key])
                continue
            if fusion.is_stored(node):
                self.at[node.key] = self.steps, self.steps + 1
                self.what += [("fetch", node.key), ("run", node.key)]
                if is_packer(node):
                    self._pack(node, range(len(node.operands)), (self.steps - 1, self.steps - 1))
            for value in node.results:
                self._make(value, self.steps - 1, fusion.is_stored(node))
        for name, value in program.outputs:
            self.at[f"output {prefix}{name}"] = self.steps, self.steps
            self._extend(value, self.steps)
        self.what.append(("outputs", ""))
        self._read(program, fusion, prefix)
        self._write_over(program, fusion)

    def _region(self, node: Node) -> None:
        (region,), start = node.op.regions(), self.steps
        carried = set(region.ties.values())
        for outer, inner in zip(node.operands, node.op.region_operands(), strict=True):  # type: ignore[attr-defined]
            self._make(inner, start, inner.name in carried or inner.type != outer.type)
        self.what.append(("enter", node.key))
        self._body(region, f"{region.name}:")
        self.what[-1] = "leave", node.key
        self.at[node.key] = start, self.steps - 1
        for i, value in enumerate(node.results):
            stacked = value.type != region.results[node.op.result_from(i)].type  # type: ignore[attr-defined]
            self._make(value, start if stacked else self.steps - 1)

    def _pack(self, node: Node, operands: Iterable[int], span: Span) -> None:
        for index in operands:
            first = self.packed.get(node.operands[index].name)
            self.packed[node.operands[index].name] = (
                (*first[:2], (first[2][0], span[1])) if first else (node, index, span)
            )

    def _read(self, program: Program, fusion: Fusion, prefix: str) -> None:
        """Prolongs every value to its last reader; an inlined node reads wherever a kernel that it is part of runs."""
        users: dict[str, list[Node]] = {}
        for node in reversed(program.nodes if prefix else in_order(program, fusion.readings)):
            if not node.op.regions() and fusion.is_inlined(node):
                into = [u for u in users[node.key] if fusion.is_taker(u) or not fusion.is_stored(node)]
                spans = [self.at[n.key] for n in (*into, *([node] if fusion.is_stored(node) else []))]
                self.at[node.key] = min(first for first, _ in spans), max(last for _, last in spans)
            for value in dict.fromkeys((*node.operands, *fusion.readings[node.key])):
                self._extend(value, self.at[node.key][1])
                users.setdefault(value.name, []).append(node)

    def _write_over(self, program: Program, fusion: Fusion) -> None:
        """Lets the result of a loop begin where an operand of its size ends: one buffer serves both."""
        made = {v.name: n for n in program.nodes for v in n.results}
        taken = {i.name for i in program.inputs} | {n.key for n in program.nodes if isinstance(n.op, Gather)}
        taken |= {name for name in made if again(name) in made}
        for node in program.nodes:
            if not fusion.is_loop(node) or not fusion.is_stored(node):
                continue
            (result,) = node.results
            step = self.life[result.name][0]
            for value in _leaves(node, made, fusion):
                same = set(value.dims) == set(result.dims) and value.type.itemsize == result.type.itemsize
                if same and value.name not in taken and self.life[value.name][1] == step < self.life[result.name][1]:
                    taken.add(value.name)
                    self.life[result.name] = step + 1, self.life[result.name][1]
                    break


def _leaves(node: Node, made: dict[str, Node], fusion: Fusion) -> list[Value]:
    """The stored values that a node's kernel reads."""
    found: list[Value] = []
    for value in node.operands:
        maker = made.get(value.name)
        if maker is not None and not maker.op.regions() and fusion.is_inlined(maker):
            found += _leaves(maker, made, fusion)
        else:
            found.append(value)
    return found


def packed_by_scan(node: Node, made: Mapping[str, Node]) -> list[int]:
    """The operands that a scan copies with its dim first in memory, as it goes through them: their indices.

    Those of the program are copied in any case; what another scan has stacked is in that order already.
    """
    if not isinstance(node.op, Scan):
        return []
    scanned = range(node.op.carries, node.op.carries + node.op.scanned)
    makers = {i: made.get(node.operands[i].name) for i in scanned}
    return [
        i
        for i, maker in makers.items()
        if maker is None or not (leads(node.types[i], node.op.dim) or maker.op.regions())
    ]


def in_order(program: Program, readings: Mapping[str, list[Value]]) -> list[Node]:
    """The nodes in the order in which XLA runs them: first what the tied outputs need, then what only others do.

    JAX hands outputs over sorted by name, so that in a gradient's program the log density comes after all gradients.
    """
    first = needed(program, readings)
    return sorted(program.nodes, key=lambda n: n.key not in first)


@dataclass(frozen=True)
class Holding:
    """Bytes that a plan holds on one device from one step to another: what for, of which value, in which layout."""

    kind: str
    """"value", "copy", "room to reshard" or "packed"."""
    name: str
    layout: Layout
    bytes: float
    first: int
    last: int


def holdings(program: Program, plan: Plan, schedule: Schedule) -> Iterator[Holding]:
    """Everything that an applied program's plan holds, a sampler's vectors apart."""
    copies: dict[tuple[str, Layout], Span] = {}
    types = {v.name: v.type for v in _values(program)}
    for name, (first, last) in schedule.life.items():
        if schedule.stored[name]:
            layout = plan.layouts[name]
            yield Holding("value", name, layout, block_bytes(types[name], layout, plan.mesh), first, last)
    for consumer, value, wanted in _wants(program, plan):
        if wanted == plan.layouts[value.name]:
            continue
        first, last = schedule.at[consumer]
        room = scratch_bytes(plan, value, wanted, schedule.stored[value.name])
        yield Holding("room to reshard", value.name, wanted, room, first, first)
        before = copies.get((value.name, wanted), (first, last))
        copies[value.name, wanted] = min(before[0], first), max(before[1], last)
    for (name, wanted), (first, last) in copies.items():
        yield Holding("copy", name, wanted, block_bytes(types[name], wanted, plan.mesh), first, last)
    for name, (node, index, (first, last)) in schedule.packed.items():
        layout = list(plan.wanted(node))[index][1]
        yield Holding("packed", name, layout, block_bytes(node.types[index], layout, plan.mesh), first, last)


def profile(program: Program, plan: Plan) -> np.ndarray:
    """Bytes on one device at each step of the schedule."""
    program = plan.applied(program)
    schedule = Schedule.of(program)
    held = np.zeros(schedule.steps)
    for h in holdings(program, plan, schedule):
        held[h.first : h.last + 1] += h.bytes
    return held + plan.copies * latent_bytes(program, plan)


def latent_bytes(program: Program, plan: Plan) -> int:
    """Bytes of the latents on one device: of one vector of a sampler."""
    return sum(block_bytes(i.type, plan.layouts[i.name], plan.mesh) for i in program.inputs_of("latent"))


def peak_bytes(program: Program, plan: Plan) -> float:
    """The most bytes that one device holds at any step."""
    return float(profile(program, plan).max(initial=0.0))


def scratch_bytes(plan: Plan, value: Value, wanted: Layout, stored: bool = True) -> float:
    """What the making of a copy holds at its worst beyond the original and the copy."""
    start, path = plan.layouts[value.name], plan.path(value, wanted)
    end, worst = block_bytes(value.type, wanted, plan.mesh), 0.0
    for move, before, after in replay(path, start, value.type, plan.mesh):
        source = 0 if before == start else block_bytes(value.type, before, plan.mesh)
        made = block_bytes(value.type, after, plan.mesh)
        packed, unpacked = staging_bytes(move, value.type, before, after, plan.mesh)
        worst = max(worst, source + made + packed + (unpacked if after == wanted else 0))
    own = 0 if stored or all(m.kind == "slice" for m in path) else block_bytes(value.type, start, plan.mesh)
    return float(max(0.0, worst - end) + own)


def staging_bytes(move: Move, t: TensorType, before: Layout, after: Layout, mesh: Mesh) -> tuple[float, float]:
    """What a collective holds beside its operand and its result: before it runs, and to unpack its result.

    An all-to-all packs its operand into one piece for each device. Where the dim along which blocks are cut or joined
    is not the first in memory, a reduce-scatter packs its operand and an all-gather unpacks its result; no more than
    is needed where the next move cuts the result down.
    """
    cut = move.target if move.kind == "reduce_scatter" else move.source if move.kind == "all_gather" else None
    if move.kind == "all_to_all" or (move.kind == "reduce_scatter" and cut and not leads(t, cut)):
        return float(block_bytes(t, before, mesh)), 0.0
    if move.kind == "all_gather" and cut and not leads(t, cut):
        return 0.0, float(block_bytes(t, after, mesh))
    return 0.0, 0.0


def leads(t: TensorType, dim: str) -> bool:
    """Whether a dim is the first in memory, dims of one element apart."""
    return all(d.size == 1 for d in t.dims[: t.index(dim)])


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
