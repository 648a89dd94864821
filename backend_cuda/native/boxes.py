"""Box programs: a communication as data, a list of boxes that move from rank to rank.

A box is a range of one rank's block that is added to a range of another's result. A program is so a linear map of zeros
and ones, y = sum of boxes of x: where one box covers an element it is a copy, where several do their sum, in the order
of the list, where none does zero. Its transpose swaps the two sides of every box, so gradients need no code of their
own: that of a gather is a sum of pieces, that of an all-to-all the one back.

Ranks are those of a group. Blocks of all ranks have one shape: where a dim is split unevenly they are padded, as
`ir.layout.block` says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, product

import numpy as np

from ir.errors import InternalError

Shape = tuple[int, ...]
Box = tuple[int, int, Shape, Shape, Shape]
"""Destination and source rank, start there, start here, extent."""


@dataclass(frozen=True, eq=False)
class BoxProgram:
    """What each of `ranks` ranks gets from the others' blocks of `shape` for its result of shape `result`."""

    ranks: int
    shape: Shape
    result: Shape
    table: np.ndarray
    """int64[box, 2 + 3 * dims]: destination rank, source rank, starts in the result, starts in the block, extents."""

    @classmethod
    def of(cls, ranks: int, shape: Sequence[int], result: Sequence[int], boxes: Iterable[Box]) -> BoxProgram:
        """Empty boxes are left out; one that does not fit is an `InternalError`."""
        rows = [(to, source, *start, *here, *extent) for to, source, start, here, extent in boxes if math.prod(extent)]
        table = np.array(rows, np.int64).reshape(len(rows), 2 + 3 * len(shape))
        made = cls(ranks, tuple(shape), tuple(result), table)
        starts, here, extents = made.ranges
        fit = (starts + extents <= result).all() and (here + extents <= shape).all()
        if not fit or (table < 0).any() or (table[:, :2] >= ranks).any():
            raise InternalError(f"a box leaves its block: {made.shape} -> {made.result} on {ranks} ranks")
        return made

    @property
    def ranges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """By box: starts in the result, starts in the block, extents; int64[box, dim] each."""
        n = len(self.shape)
        return self.table[:, 2 : 2 + n], self.table[:, 2 + n : 2 + 2 * n], self.table[:, 2 + 2 * n :]

    def transpose(self) -> BoxProgram:
        """The adjoint: <A x, y> = <x, A' y>."""
        starts, here, extents = self.ranges
        table = np.concatenate([self.table[:, 1::-1], here, starts, extents], axis=1)
        return BoxProgram(self.ranks, self.result, self.shape, table)

    def batched(self, count: int) -> BoxProgram:
        """The same on every block of a stack of them: a new first dim of `count`."""
        starts, here, extents = self.ranges
        zero = np.zeros((len(self.table), 1), np.int64)
        table = np.concatenate([self.table[:, :2], zero, starts, zero, here, zero + count, extents], axis=1)
        return BoxProgram(self.ranks, (count, *self.shape), (count, *self.result), table)

    def renumbered(self, numbers: Sequence[int]) -> BoxProgram:
        """The program in which rank r is called numbers[r]."""
        table = self.table.copy()
        table[:, :2] = np.asarray(numbers, np.int64)[table[:, :2]]
        return BoxProgram(self.ranks, self.shape, self.result, table)

    def apply(self, blocks: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The results of all ranks, in NumPy: what compiled code is held to."""
        made = [np.zeros(self.result, blocks[0].dtype) for _ in range(self.ranks)]
        for (to, source), start, here, extent in zip(self.table[:, :2], *self.ranges, strict=True):
            made[to][_range(start, extent)] += blocks[source][_range(here, extent)]
        return made


def _range(start: np.ndarray, extent: np.ndarray) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for a, n in zip(start, extent, strict=True))


def _at(shape: Sequence[int], axis: int, value: int) -> Shape:
    """`shape` with another value at an axis."""
    return (*shape[:axis], value, *shape[axis + 1 :])


def _pieces(size: int, parts: int) -> tuple[int, list[int]]:
    """The stored extent of a piece when `size` elements are dealt out, and how many each piece really has."""
    piece = -(-size // parts)
    return piece, [min(piece, max(0, size - r * piece)) for r in range(parts)]


def all_to_all(ranks: int, shape: Sequence[int], source: int, target: int, size: int | None = None) -> BoxProgram:
    """Blocks of a tensor split along `source` become blocks split along `target`: packing and unpacking in one.

    `size` is the whole extent along `source`, where the last blocks are short; the result is cut to it. Along `target`
    the last pieces may be short or empty, and are padded with zeros.
    """
    size = shape[source] * ranks if size is None else size
    piece, dealt = _pieces(shape[target], ranks)
    result = _at(_at(shape, source, size), target, piece)
    zero = (0,) * len(shape)
    boxes: list[Box] = []
    for to, r in product(range(ranks), repeat=2):
        first = shape[source] * r
        held = min(shape[source], max(0, size - first))
        extent = _at(_at(shape, source, held), target, dealt[to])
        start, here = _at(zero, source, min(first, size)), _at(zero, target, min(piece * to, shape[target]))
        boxes.append((to, r, start, here, extent))
    return BoxProgram.of(ranks, shape, result, boxes)


def all_gather(ranks: int, shape: Sequence[int], source: int, size: int | None = None) -> BoxProgram:
    """Every rank gets all blocks, one behind the other along `source`, cut to `size`."""
    size = shape[source] * ranks if size is None else size
    zero, extent = (0,) * len(shape), shape[source]
    held = [(r, min(extent, max(0, size - extent * r))) for r in range(ranks)]
    boxes = [
        (to, r, _at(zero, source, min(extent * r, size)), zero, _at(shape, source, n))
        for to in range(ranks)
        for r, n in held
    ]
    return BoxProgram.of(ranks, shape, _at(shape, source, size), boxes)


def reduce_scatter(ranks: int, shape: Sequence[int], target: int) -> BoxProgram:
    """Every rank gets one piece along `target` of the sum of all blocks, which are added in the order of the ranks."""
    piece, dealt = _pieces(shape[target], ranks)
    zero = (0,) * len(shape)
    boxes = [
        (to, r, zero, _at(zero, target, min(piece * to, shape[target])), _at(shape, target, dealt[to]))
        for to in range(ranks)
        for r in range(ranks)
    ]
    return BoxProgram.of(ranks, shape, _at(shape, target, piece), boxes)


def permute(ranks: int, shape: Sequence[int], pairs: Iterable[tuple[int, int]]) -> BoxProgram:
    """Whole blocks from sender to receiver; who receives nothing has zeros."""
    zero = (0,) * len(shape)
    return BoxProgram.of(ranks, shape, shape, [(to, source, zero, zero, tuple(shape)) for source, to in pairs])


def reshard(grid: Shape, sizes: Shape, before: Sequence[Shape], then: Sequence[Shape]) -> BoxProgram:
    """Blocks split in one way become blocks split in another, in one exchange whatever moves a plan has between.

    grid: the extents of the ranks' axes, the last one fastest; sizes: the whole tensor's. `before` and `then` hold for
    each dim the axes that split it, by their places in the grid, the first one major. A rank takes what it wants from
    ranks at its own place along the axes that split nothing before.
    """
    free = set(range(len(grid))) - {a for axes in before for a in axes}
    places = list(product(*map(range, grid)))
    held, wanted = ([_region(grid, sizes, splits, at) for at in places] for splits in (before, then))
    boxes: list[Box] = []
    for (to, at), (source, there) in product(enumerate(places), repeat=2):
        if any(at[a] != there[a] for a in free):
            continue
        both = [(max(a, b), min(c, d)) for (a, c), (b, d) in zip(wanted[to], held[source], strict=True)]
        if all(low < high for low, high in both):
            start = tuple(low - a for (low, _), (a, _) in zip(both, wanted[to], strict=True))
            here = tuple(low - a for (low, _), (a, _) in zip(both, held[source], strict=True))
            boxes.append((to, source, start, here, tuple(high - low for low, high in both)))
    shape, result = (
        tuple(-(-n // math.prod(grid[a] for a in axes)) for n, axes in zip(sizes, splits, strict=True))
        for splits in (before, then)
    )
    return BoxProgram.of(len(places), shape, result, boxes)


def _region(grid: Shape, sizes: Shape, splits: Sequence[Shape], at: Shape) -> list[tuple[int, int]]:
    """From where to where the block at a place of the grid goes, along each dim of the whole tensor."""
    found = []
    for size, axes in zip(sizes, splits, strict=True):
        parts = [grid[a] for a in axes]
        extent = -(-size // math.prod(parts))
        start = extent * int(np.ravel_multi_index([at[a] for a in axes], parts)) if axes else 0
        found.append((min(start, size), min(start + extent, size)))
    return found


Way = tuple[int, ...]
"""To a neighbour on a grid of ranks: along each dim of it one back (-1), none (0) or one on (1)."""


def around(parts: Sequence[int], ways: Sequence[Way], sizes: Sequence[int], periodic: Sequence[bool]) -> BoxProgram:
    """Pieces handed to neighbours on a grid of `parts` ranks, the last dim of which runs fastest.

    A block is flat, the pieces in it one behind the other: `sizes` elements for the neighbour on each of `ways`. The
    result is what comes from the neighbours on these ways: from the left what it hands to its right. Along dims that
    are not `periodic` nothing comes from beyond the ends, which leaves zeros.
    """
    starts = dict(zip(ways, accumulate(sizes, initial=0), strict=False))
    boxes: list[Box] = []
    for at in product(*map(range, parts)):
        for way, size in zip(ways, sizes, strict=True):
            there = [i + w for i, w in zip(at, way, strict=True)]
            if all(ring or 0 <= i < n for i, n, ring in zip(there, parts, periodic, strict=True)):
                to, source = (int(np.ravel_multi_index(i, tuple(parts), mode="wrap")) for i in (there, at))
                boxes.append((to, source, (starts[tuple(-w for w in way)],), (starts[way],), (size,)))
    total = (sum(sizes),)
    return BoxProgram.of(math.prod(parts), total, total, boxes)
