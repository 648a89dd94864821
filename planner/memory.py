"""Bytes: which values exist at each step of the schedule, and the peak of a plan on one device.

It stands for the buffer assignment of XLA, to whose figure (arguments, outputs and temporary buffers) it is held by
tests/yardsticks/test_memory_prediction.py. Every node has a step at which its operands are brought to their layouts and
one at which it runs; a region's steps lie between the step that enters it and the one that leaves it. The order is that
in which the compiler runs the kernels (`planner.order`), in a region the program's. The rules:

- a program's inputs and its outputs have memory throughout;
- a value that the compiler makes inside the kernels that use it (`planner.fusion`) has no memory, and what it is made
  of exists until the last of these kernels runs; only for a move to another layout is it stored, for that moment, and
  on GPUs not even then if the move packs what it moves;
- any other value exists from the step that makes it to its last consumer;
- an elementwise result is written over an operand of the same size that nobody needs afterwards; an output only over
  another elementwise result, as what libraries and loops hand over has memory of its own;
- a copy in another layout exists from its first to its last consumer, next to the original; while it is made, so do
  the intermediate blocks of its path and what its collectives pack and unpack (`staging_bytes`);
- a scatter works on copies of its operands, and a scan on copies of what it goes through, in an order of their own;
- what scans stack up exists from the first of them on;
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
from ir.op import Strategy
from ir.ops.control import Scan
from ir.ops.gather import Gather, ScatterAdd
from ir.passes.recompute import SUFFIX, again
from ir.plan import Plan

from .fusion import Fusion, has_one_index
from .order import Kernels, in_order, packing

Span = tuple[int, int]


@dataclass
class Schedule:
    """The steps of a program: what lives when, and when each consumer takes its operands."""

    life: dict[str, Span] = field(default_factory=dict)
    """By value: its first and last step."""
    sure: dict[str, int] = field(default_factory=dict)
    """By value: its last step if nothing is computed again."""
    stored: dict[str, bool] = field(default_factory=dict)
    """By value: whether it takes memory of its own."""
    at: dict[str, Span] = field(default_factory=dict)
    """By consumer (a node's key, or `output NAME`): the first and last step at which it holds its operands."""
    anew: set[tuple[str, str]] = field(default_factory=set)
    """(consumer, value) where the consumer's kernels do not read the value, but make it anew or read another one."""
    over: set[str] = field(default_factory=set)
    """Values that are written over an operand of theirs."""
    packed: dict[str, tuple[Node, int, Span]] = field(default_factory=dict)
    """Operands that are copied in the order in which a node goes through them, by the name of the value: the node that
    does so first, the index of its operand, and the first and last step of the copy."""
    what: list[tuple[str, str]] = field(default_factory=lambda: [("inputs", "")])
    """By step: "inputs", "fetch", "pack", "run", "enter", "leave" or "outputs", and the key of the node."""

    @property
    def steps(self) -> int:
        return len(self.what)

    def reading(self, consumer: str, value: str) -> Span:
        """The first and last step at which a consumer holds an operand."""
        first, last = self.at[consumer]
        end = self.life[value][1] if (consumer, value) in self.anew else last
        return min(first, end), min(last, end)

    @classmethod
    @lru_cache(maxsize=16)
    def of(cls, program: Program, platform: str) -> Schedule:
        """The schedule of a program; the same object for the same program, so it is not to be changed."""
        schedule = cls()
        for i in program.inputs:
            schedule._make(i.value, 0)
        schedule._body(program, "", platform)
        for i in program.inputs:
            schedule._extend(i.name, schedule.steps - 1)
        for _, value in program.outputs:
            first = schedule.life[value.name][0] if value.name in schedule.over else 0
            schedule.life[value.name] = first, schedule.steps - 1
        return schedule

    def _make(self, value: Value, step: int, stored: bool = True) -> None:
        self.life[value.name], self.sure[value.name], self.stored[value.name] = (step, step), step, stored

    def _extend(self, name: str, step: int, sure: bool = True) -> None:
        first, last = self.life[name]
        self.life[name] = first, max(last, step)
        self.sure[name] = max(self.sure[name], step) if sure else self.sure[name]

    def _body(self, program: Program, prefix: str, platform: str) -> None:
        fusion = Fusion.of(program, platform)
        made = {v.name: n for n in program.nodes for v in n.results}
        for node, packed in [(n, None) for n in program.nodes] if prefix else in_order(program, platform, fusion):
            if packed is not None:
                self.at[packing(node, packed)] = self.steps, self.steps
                self.what.append(("pack", node.key))
                continue
            if node.op.regions():
                self._region(node, platform)
                self._pack(node, packed_by_scan(node, made), self.at[node.key])
                continue
            if fusion.is_stored(node):
                self.at[node.key] = self.steps, self.steps + 1
                self.what += [("fetch", node.key), ("run", node.key)]
                for index in range(len(node.operands)) if fusion.is_packer(node) else ():
                    start = self.at.setdefault(packing(node, index), (self.steps - 1, self.steps - 1))[0]
                    self._pack(node, (index,), (start, self.steps - 1))
                    self.at[node.key] = min(start, self.at[node.key][0]), self.steps - 1
            for value in node.results:
                self._make(value, self.steps - 1, fusion.is_stored(node))
        for name, value in program.outputs:
            self.at[f"output {prefix}{name}"] = self.steps, self.steps
            self._extend(value.name, self.steps)
        self.what.append(("outputs", ""))
        self._read(program, fusion)
        self._write_over(program, fusion)

    def _region(self, node: Node, platform: str) -> None:
        (region,), start = node.op.regions(), self.steps
        carried = set(region.ties.values())
        for outer, inner in zip(node.operands, node.op.region_operands(), strict=True):  # type: ignore[attr-defined]
            self._make(inner, start, inner.name in carried or inner.type != outer.type)
        self.what.append(("enter", node.key))
        self._body(region, f"{region.name}:", platform)
        self.what[-1] = "leave", node.key
        self.at[node.key] = start, self.steps - 1
        for i, value in enumerate(node.results):
            stacked = value.type != region.results[node.op.result_from(i)].type  # type: ignore[attr-defined]
            self._make(value, self.zeros(start) if stacked else self.steps - 1)

    def zeros(self, start: int) -> int:
        """When the memory of what a scan stacks begins: XLA makes zeros for all scans at once, before the first."""
        return next((step for step, (what, _) in enumerate(self.what) if what == "enter"), start)

    def _pack(self, node: Node, operands: Iterable[int], span: Span) -> None:
        for index in operands:
            first = self.packed.get(node.operands[index].name)
            self.packed[node.operands[index].name] = (
                (*first[:2], (first[2][0], span[1])) if first else (node, index, span)
            )

    def _read(self, program: Program, fusion: Fusion) -> None:
        """Prolongs every value to its last reader; an inlined node reads wherever a kernel that it is part of runs."""
        kernels = Kernels.of(program, fusion)
        for kernel, nodes in kernels.within.items():
            first, last = self.at[kernel]
            for key in nodes:
                before = self.at.get(key, (first, last))
                self.at[key] = min(first, before[0]), max(last, before[1])
        readers: dict[str, set[str]] = {}
        for kernel, names in kernels.reads.items():
            for name in names:
                readers.setdefault(name, set()).add(kernel)
                if name in self.life:  # not what the kernel has packed for itself
                    self._extend(name, self.at[kernel][1], not kernel.partition("#")[0].endswith(SUFFIX))
        inside: dict[str, set[str]] = {key: {key} for key in kernels.reads}
        for kernel, nodes in kernels.within.items():
            for key in nodes:
                inside.setdefault(key, set()).add(kernel)
        for node in program.nodes:
            for value in node.operands:
                if not self.stored[value.name]:
                    self._extend(value.name, self.at[node.key][1], not node.key.endswith(SUFFIX))
                elif node.key not in fusion.packers and not inside.get(node.key, set()) & readers.get(
                    value.name, set()
                ):
                    self.anew.add((node.key, value.name))

    def _write_over(self, program: Program, fusion: Fusion) -> None:
        """Lets the result of a loop begin where an operand of its size ends: one buffer serves both."""
        made = {v.name: n for n in program.nodes for v in n.results}
        taken = {i.name for i in program.inputs} | {n.key for n in program.nodes if isinstance(n.op, Gather)}
        taken |= {name for name in made if again(name) in made}
        outputs = {v.name for _, v in program.outputs}
        for node in program.nodes:
            if not fusion.is_loop(node) or not fusion.is_stored(node):
                continue
            (result,) = node.results
            step = self.life[result.name][0]
            for value in _leaves(node, made, fusion):
                same = set(value.dims) == set(result.dims) and value.type.itemsize == result.type.itemsize
                maker = made.get(value.name)
                own = result.name in outputs and (maker is None or not fusion.is_loop(maker))
                if (
                    same
                    and not own
                    and value.name not in taken
                    and self.life[value.name][1] == step < self.life[result.name][1]
                ):
                    taken.add(value.name)
                    self.over.add(result.name)
                    self.life[result.name] = step + 1, self.life[result.name][1]
                    break


def _leaves(node: Node, made: dict[str, Node], fusion: Fusion) -> list[Value]:
    """The stored values that a node's kernel reads, each once."""
    found: dict[str, Value | None] = {}
    todo = list(reversed(fusion.readings[node.key]))
    while todo:  # no recursion: a kernel may take in thousands of nodes
        value = todo.pop()
        if value.name in found:
            continue
        maker = made.get(value.name)
        inlined = maker is not None and not maker.op.regions() and fusion.is_inlined(maker)
        found[value.name] = None if inlined else value
        if maker is not None and inlined:
            todo += reversed(fusion.readings[maker.key])
    return [value for value in found.values() if value is not None]


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


def is_packed(node: Node, index: int, strategy: Strategy | None) -> bool:
    """Whether a node that may pack an operand does so: the one index of a whole table is taken as it is."""
    split = isinstance(node.op, ScatterAdd) and strategy is not None and strategy.split.get(node.op.dim.name)
    return bool(split) or not has_one_index(node, index)


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
        first, last = schedule.reading(consumer, value.name)
        room = scratch_bytes(plan, value, wanted, schedule.stored[value.name])
        yield Holding("room to reshard", value.name, wanted, room, first, first)
        before = copies.get((value.name, wanted), (first, last))
        copies[value.name, wanted] = min(before[0], first), max(before[1], last)
    for (name, wanted), (first, last) in copies.items():
        yield Holding("copy", name, wanted, block_bytes(types[name], wanted, plan.mesh), first, last)
    for name, (node, index, (first, last)) in schedule.packed.items():
        if not is_packed(node, index, plan.strategies.get(node.key)):
            continue
        layout = list(plan.wanted(node))[index][1]
        yield Holding("packed", name, layout, block_bytes(node.types[index], layout, plan.mesh), first, last)


def profile(program: Program, plan: Plan) -> np.ndarray:
    """Bytes on one device at each step of the schedule."""
    program = plan.applied(program)
    schedule = Schedule.of(program, plan.platform)
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
    own = 0
    if not stored and any(m.kind != "slice" for m in path):
        first, _, after = next(replay(path, start, value.type, plan.mesh))
        packs = staging_bytes(first, value.type, start, after, plan.mesh)[0] > 0
        own = 0 if packs and packs_alone(plan.platform) else block_bytes(value.type, start, plan.mesh)
    return float(max(0.0, worst - end) + own)


def packs_alone(platform: str) -> bool:
    """Whether the kernel that packs a collective's operand computes it too, where it is not stored.

    XLA:GPU packs by a transposition, which takes loops in (`input_transpose_fusion`); on CPUs the operand is stored.
    """
    return platform == "gpu"


def staging_bytes(move: Move, t: TensorType, before: Layout, after: Layout, mesh: Mesh) -> tuple[float, float]:
    """What a collective holds beside its operand and its result: before it runs, and to unpack its result."""
    packs, unpacks = staging(move, t)
    packed = float(block_bytes(t, before, mesh)) if packs else 0.0
    return packed, float(block_bytes(t, after, mesh)) if unpacks else 0.0


def staging(move: Move, t: TensorType) -> tuple[bool, bool]:
    """Whether a collective packs its operand, and whether it unpacks its result.

    An all-to-all packs its operand into one piece for each device. Where the dim along which blocks are cut or joined
    is not the first in memory, a reduce-scatter packs its operand and an all-gather unpacks its result; no more than
    is needed where the next move cuts the result down.
    """
    cut = move.target if move.kind == "reduce_scatter" else move.source if move.kind == "all_gather" else None
    inside = cut is not None and not leads(t, cut)
    return move.kind == "all_to_all" or (move.kind == "reduce_scatter" and inside), move.kind == "all_gather" and inside


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
