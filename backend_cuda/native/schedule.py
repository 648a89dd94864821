"""From a box program to the tables that the compiled core reads: what each rank stages, and where it pulls from.

A rank packs each distinct range that others want of it into its slot, one behind the other. Its result is cut into
boxes that do not overlap, each with the list of its sources, so that every element is written once, by one worker. A
large program that only copies may do so in several rounds (`rounds.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from .boxes import BoxProgram, Shape
from .rounds import cut

MAX_RANKS, MAX_DIMS, MAX_SIZE = 64, 6, 1 << 31  # kMaxRanks, kMaxDims and Box of core.h
OWN = -1
"""The peer of a source that lies in the rank's own block."""
ALIGNMENT = 16
"""Bytes to which ranges in a slot are aligned."""


class Operand(NamedTuple):
    """A place in memory that a box walks over; in elements."""

    offset: int
    strides: Shape


class Stage(NamedTuple):
    """A range of the block that is packed into the slot."""

    extents: Shape
    slot: Operand
    block: Operand


class Pull(NamedTuple):
    """A range of the result and the sum that it is: (peer, place) each."""

    extents: Shape
    result: Operand
    sources: tuple[tuple[int, Operand], ...]


@dataclass(frozen=True)
class Schedule:
    """A program in tables: one row of words per rank and round, as core.h's `Program` reads them."""

    words: np.ndarray
    """int64[rank, round, word]."""
    unit: int
    """Bytes that are copied at once; 0 where sources are added and the data type counts."""
    slot_bytes: int
    """The most that a rank stages in a round."""


class Round(NamedTuple):
    """What the ranks do between two waits; by rank."""

    stages: list[list[Stage]]
    pulls: list[list[Pull]]
    staged: list[int]
    """How many elements."""

    @property
    def boxes(self) -> list[Stage | Pull]:
        return [box for rank in (*self.stages, *self.pulls) for box in rank]


def schedule(program: BoxProgram, itemsize: int, piece_bytes: int = 0) -> Schedule | None:
    """The tables, or None beyond the core's 64 ranks, boxes of six strided dims and of 2^31 elements.

    piece_bytes: in rounds of about so many staged bytes, where that is not 0 and the program only copies.
    """
    if program.ranks > MAX_RANKS:
        return None
    whole = _round(program, itemsize)
    copies = all(len(p.sources) <= 1 for rank in whole.pulls for p in rank)
    count = -(-max(whole.staged) * itemsize // piece_bytes) if copies and piece_bytes else 1
    rounds = [whole] if count <= 1 else _even(whole, program, itemsize, count)
    every = [box for made in rounds for box in made.boxes]
    if any(len(box.extents) > MAX_DIMS or math.prod(box.extents) >= MAX_SIZE for box in every):
        return None
    factor = _factor(every, itemsize) if copies else 1
    rows = {
        (rank, k): _words(made.stages[rank], made.pulls[rank], made.staged[rank] * itemsize, factor)
        for k, made in enumerate(rounds)
        for rank in range(program.ranks)
    }
    words = np.zeros((program.ranks, len(rounds), max(map(len, rows.values()))), np.int64)
    for place, row in rows.items():
        words[place][: len(row)] = row
    return Schedule(words, itemsize * factor if copies else 0, _most(rounds) * itemsize)


def _round(program: BoxProgram, itemsize: int) -> Round:
    offsets, stages, staged = _stages(program, itemsize)
    pulls = [_pulls(program, rank, offsets) for rank in range(program.ranks)]
    stages = [[Stage(e, *operands) for e, *operands in map(_joined_stage, rank)] for rank in stages]
    return Round(stages, [[_joined_pull(p) for p in rank] for rank in pulls], staged)


def _even(whole: Round, program: BoxProgram, itemsize: int, count: int) -> list[Round]:
    """At most `count` rounds. 16 rows in 12 rounds are two or one in each: 8 rounds of two need no larger slots."""
    made = _laid_over(whole, program, itemsize, count)
    fewer = -(-max(whole.staged) // _most(made))
    if fewer < count and _most(even := _laid_over(whole, program, itemsize, fewer)) <= _most(made):
        return even
    return made


def _most(rounds: list[Round]) -> int:
    """Elements that a rank stages in a round."""
    return max(max(r.staged) for r in rounds)


def _laid_over(whole: Round, program: BoxProgram, itemsize: int, count: int) -> list[Round]:
    """The rounds of a program of copies. What no box covers is set to zero in the first one alone."""
    made = [_round(part, itemsize) for part in cut(program, count, max(1, ALIGNMENT // itemsize))]
    made = [r._replace(pulls=[[p for p in rank if p.sources] for rank in r.pulls]) for r in made]
    for pulls, rank in zip(made[0].pulls, whole.pulls, strict=True):
        pulls += [p for p in rank if not p.sources]
    return made


def _strides(shape: Sequence[int]) -> Shape:
    """Of a row-major array."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def _offset(start: Iterable[int], strides: Shape) -> int:
    return sum(int(a) * s for a, s in zip(start, strides, strict=True))


Range = tuple[int, Shape, Shape]
"""Whose, start and extent in the block."""


def _stages(program: BoxProgram, itemsize: int) -> tuple[dict[Range, int], list[list[Stage]], list[int]]:
    """Where each range that others want lies in its owner's slot, what each rank packs, and how much that is."""
    offsets: dict[Range, int] = {}
    stages: list[list[Stage]] = [[] for _ in range(program.ranks)]
    used = [0] * program.ranks
    step = max(1, ALIGNMENT // itemsize)
    strides = _strides(program.shape)
    for (to, source), here, extent in zip(program.table[:, :2].tolist(), *program.ranges[1:], strict=True):
        wanted = source, tuple(here.tolist()), tuple(extent.tolist())
        if to == source or wanted in offsets:
            continue
        offsets[wanted] = used[source]
        slot = Operand(used[source], _strides(wanted[2]))
        stages[source].append(Stage(wanted[2], slot, Operand(_offset(wanted[1], strides), strides)))
        used[source] += -(-math.prod(wanted[2]) // step) * step
    return offsets, stages, used


def _pulls(program: BoxProgram, rank: int, offsets: dict[Range, int]) -> list[Pull]:
    """The result of a rank in boxes that do not overlap, cut wherever a box of the program begins or ends."""
    mine = program.table[:, 0] == rank
    starts, here, extents = (r[mine] for r in program.ranges)
    sources = program.table[mine, 1].tolist()
    cuts = [
        np.unique(np.concatenate([[0, n], a, a + e]))
        for n, a, e in zip(program.result, starts.T, extents.T, strict=True)
    ]
    result, block = _strides(program.result), _strides(program.shape)
    pulls = []
    for cell in product(*(range(len(c) - 1) for c in cuts)):
        low = np.array([c[i] for c, i in zip(cuts, cell, strict=True)], np.int64)
        high = np.array([c[i + 1] for c, i in zip(cuts, cell, strict=True)], np.int64)
        found = []
        for k in np.flatnonzero(((starts <= low) & (high <= starts + extents)).all(axis=1)):
            inside = low - starts[k]
            if sources[k] == rank:
                found.append((OWN, Operand(_offset(here[k] + inside, block), block)))
            else:
                extent = tuple(extents[k].tolist())
                slot = offsets[sources[k], tuple(here[k].tolist()), extent]
                packed = _strides(extent)
                found.append((sources[k], Operand(slot + _offset(inside, packed), packed)))
        pulls.append(Pull(tuple((high - low).tolist()), Operand(_offset(low, result), result), tuple(found)))
    return pulls


def _joined(extents: Shape, operands: Sequence[Operand]) -> tuple[Shape, list[Operand]]:
    """The same walk in fewer dims: those of extent one left out, those that are contiguous in all operands joined."""
    kept: list[tuple[int, tuple[int, ...]]] = []
    for n, *strides in zip(extents, *(o.strides for o in operands), strict=True):
        if n == 1:
            continue
        if kept and all(outer == n * s for outer, s in zip(kept[-1][1], strides, strict=True)):
            kept[-1] = (kept[-1][0] * n, tuple(strides))
        else:
            kept.append((n, tuple(strides)))
    new = [Operand(o.offset, tuple(s[i] for _, s in kept)) for i, o in enumerate(operands)]
    return tuple(n for n, _ in kept), new


def _joined_stage(s: Stage) -> tuple[Shape, Operand, Operand]:
    extents, (slot, block) = _joined(s.extents, (s.slot, s.block))
    return extents, slot, block


def _joined_pull(p: Pull) -> Pull:
    extents, (result, *places) = _joined(p.extents, (p.result, *(place for _, place in p.sources)))
    return Pull(extents, result, tuple((peer, o) for (peer, _), o in zip(p.sources, places, strict=True)))


def _operands(box: Stage | Pull) -> tuple[Operand, ...]:
    return (box.slot, box.block) if isinstance(box, Stage) else (box.result, *(o for _, o in box.sources))


def _factor(boxes: Sequence[Stage | Pull], itemsize: int) -> int:
    """How many elements can be copied as one, up to 16 bytes: what divides every offset, run and outer stride."""
    common = max(1, ALIGNMENT // itemsize)
    for box in boxes:
        for o in _operands(box):
            if not o.strides or o.strides[-1] != 1:
                return 1
            common = math.gcd(common, o.offset, box.extents[-1], *o.strides[:-1])
    return common


def _words(stages: Sequence[Stage], pulls: Sequence[Pull], staged: int, factor: int) -> list[int]:
    local = [p for p in pulls if all(peer == OWN for peer, _ in p.sources)]
    rest = [p for p in pulls if any(peer != OWN for peer, _ in p.sources)]
    words = [len(stages), len(local), len(rest), staged]
    for s in stages:
        words += [*_box(s.extents, factor), *_place(s.slot, factor), OWN, *_place(s.block, factor)]
    for p in (*local, *rest):
        words += [len(p.sources), *_box(p.extents, factor), *_place(p.result, factor)]
        for peer, place in p.sources:
            words += [peer, *_place(place, factor)]
    return words


def _box(extents: Shape, factor: int) -> list[int]:
    return [len(extents), *extents[:-1], extents[-1] // factor] if extents else [0]


def _place(o: Operand, factor: int) -> list[int]:
    return [o.offset // factor, *(s // factor for s in o.strides[:-1]), *o.strides[-1:]]
