"""Bytes: which values exist at each step of the schedule, and the peak of a plan on one device.

It stands for the buffer assignment of XLA, to whose figure (arguments, outputs and temporary buffers) it is held by
tests/yardsticks/test_memory_prediction.py. The steps are those of `planner.schedule`. The rules:

- a program's inputs have memory throughout, and so have its outputs: but before an output is made, its memory serves
  other values of its size, one after another;
- a value that the compiler makes inside the kernels that use it (`planner.fusion`) has no memory, and what it is made
  of exists until the last of these kernels runs; only for a move to another layout is it stored, for that moment, and
  on GPUs not even then if the move packs what it moves;
- any other value exists from the step that makes it to its last consumer; where one node alone reads it, and wants it
  in another layout, only until it is packed or moved for that (`Schedule.going`);
- between two transforms that one call does (`ir.passes.join_transforms`) there is nothing;
- an elementwise result is written over an operand of the same size that nobody needs afterwards; an output only over
  another elementwise result, as what libraries and loops hand over has memory of its own;
- a copy in another layout exists from its first to its last consumer, next to the original; while it is made, so do
  the intermediate blocks of its path and what its collectives pack and unpack (`staging_bytes`);
- a scatter works on copies of its operands, and a scan on copies of what it goes through, in an order of their own;
- blocks with halos, and those that spill over to neighbours, exist while their op runs, beside the ones they come from;
- what scans stack up exists from the first of them on;
- a region's inputs have memory of their own where they are slices or carries; what is merely captured has none;
- the staging slots of hand-written collectives are there throughout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ir.dims import TensorType
from ir.graph import Node, Program, Value
from ir.layout import Layout, Move, block_bytes, replay
from ir.mesh import Mesh
from ir.native import Native, slot_bytes
from ir.op import Strategy
from ir.ops.gather import ScatterAdd
from ir.plan import Plan

from .fusion import has_one_index
from .schedule import Schedule, Span, leads


def is_packed(node: Node, index: int, strategy: Strategy | None) -> bool:
    """Whether a node that may pack an operand does so: the one index of a whole table is taken as it is."""
    split = isinstance(node.op, ScatterAdd) and strategy is not None and strategy.split.get(node.op.dim.name)
    return bool(split) or not has_one_index(node, index)


@dataclass(frozen=True)
class Holding:
    """Bytes that a plan holds on one device from one step to another: what for, of which value, in which layout."""

    kind: str
    """"value", "copy", "room to reshard", "with halos", "packed", or "kept free" for an output not yet made."""
    name: str
    layout: Layout
    bytes: float
    first: int
    last: int


def holdings(program: Program, plan: Plan, schedule: Schedule) -> Iterator[Holding]:
    """Everything that an applied program's plan holds, a sampler's vectors apart."""
    copies: dict[tuple[str, Layout], Span] = {}
    types = {v.name: v.type for v in _values(program)}
    wants = list(_wants(program, plan))
    gone = {v.name for consumer, v, wanted in wants if _is_gone(plan, schedule, consumer, v, wanted)}
    for name, (first, last) in schedule.life.items():
        if schedule.stored[name]:
            layout = plan.layouts[name]
            size = block_bytes(types[name], layout, plan.mesh)
            yield Holding("value", name, layout, size, first, last - 1 if name in gone else last)
            for span in schedule.idle.get(name, ()):
                yield Holding("kept free", name, layout, size, *span)
    for consumer, value, wanted in wants:
        if wanted == plan.layouts[value.name]:
            continue
        first, last = schedule.reading(consumer, value.name)
        room = scratch_bytes(plan, value, wanted, schedule.stored[value.name], value.name in schedule.going)
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
    yield from _rooms(program, plan, schedule)


def _rooms(program: Program, plan: Plan, schedule: Schedule) -> Iterator[Holding]:
    """What nodes hold beside their blocks while they run."""
    for node in program.walk():
        if not node.op.regions() and node.op.reaches(node.types):
            room = node.op.room(node.types, plan.strategies[node.key], plan.mesh)
            if room:
                yield Holding("with halos", node.key, plan.layouts[node.key], room, *schedule.at[node.key])


def _is_gone(plan: Plan, schedule: Schedule, consumer: str, value: Value, wanted: Layout) -> bool:
    """Whether a value is gone when its one reader runs: it was moved for it, or one call does both transforms."""
    alone = schedule.going.get(value.name) == consumer
    return alone and (wanted != plan.layouts[value.name] or value.name in schedule.joined)


def profile(program: Program, plan: Plan) -> np.ndarray:
    """Bytes on one device at each step of the schedule."""
    program = plan.applied(program)
    schedule = Schedule.of(program, plan.platform)
    held = np.zeros(schedule.steps)
    for h in holdings(program, plan, schedule):
        held[h.first : h.last + 1] += h.bytes
    return held + plan.copies * latent_bytes(program, plan) + staging_slots(plan.native, plan.platform)


def staging_slots(rules: Sequence[Native] | None, platform: str) -> int:
    """Bytes of a GPU's memory in which hand-written collectives stage; on CPUs XLA's account does not have it."""
    return slot_bytes(rules or (), platform) if platform == "gpu" else 0


def latent_bytes(program: Program, plan: Plan) -> int:
    """Bytes of the latents on one device: of one vector of a sampler."""
    return sum(block_bytes(i.type, plan.layouts[i.name], plan.mesh) for i in program.inputs_of("latent"))


def peak_bytes(program: Program, plan: Plan) -> float:
    """The most bytes that one device holds at any step."""
    return float(profile(program, plan).max(initial=0.0))


def scratch_bytes(plan: Plan, value: Value, wanted: Layout, stored: bool = True, going: bool = False) -> float:
    """What the making of a copy holds at its worst beyond the original and the copy.

    `going`: where the original is no longer needed once it is packed or moved.
    """
    start, path = plan.layouts[value.name], plan.path(value, wanted)
    first, end = (block_bytes(value.type, x, plan.mesh) for x in (start, wanted))
    worst = 0.0
    for move, before, after in replay(path, start, value.type, plan.mesh):
        source, made = (block_bytes(value.type, x, plan.mesh) for x in (before, after))
        packed, unpacked = staging_bytes(move, value.type, before, after, plan.mesh)
        unpacked = unpacked if after == wanted else 0.0
        if going:
            worst = max(worst, source + packed, (packed or source) + made, made + unpacked)
        else:
            worst = max(worst, (0 if before == start else source) + made + packed + unpacked)
    if going:
        return float(max(0.0, worst - first - end))
    own = 0
    if not stored and any(m.kind != "slice" for m in path):
        move, _, after = next(replay(path, start, value.type, plan.mesh))
        packs = staging_bytes(move, value.type, start, after, plan.mesh)[0] > 0
        own = 0 if packs and packs_alone(plan.platform) else first
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
