"""A large exchange as several small ones, so that messages may be larger than the staging slots.

Every box is cut into as many parts along one of its dims, and a round takes a part of each. Ranks want the same ranges
of a block in the same round, then: what several of them pull is staged once, as before.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .boxes import BoxProgram

PIECE_BYTES = {"cpu": 1 << 19, "gpu": 32 << 20}
"""What a rank stages in a round, about. On CPUs slots of all ranks stay in the cache while large results go past it:
4 MiB take 1.3 times as long, and rounds of 256 KiB with the switches between ranks on one core 1.25 times. GPUs send
32 MiB over NVLink in about 90 us, beside which a round's own 5 us or so are little (neither is measured)."""


def cut(program: BoxProgram, count: int, step: int) -> list[BoxProgram]:
    """The program in `count` rounds, the results of which are to be laid over each other.

    step: where the last dim is cut, at multiples of so many elements, so that runs stay aligned.
    """
    n = len(program.shape)
    extents = program.table[:, 2 + 2 * n :]
    last = np.arange(n) == n - 1
    room = extents // np.where(last, step, 1)
    # The outermost dim that has enough for all rounds, else the one that has most.
    dim = np.where((room >= count).any(axis=1), (room >= count).argmax(axis=1), room.argmax(axis=1))
    row = np.arange(len(extents))
    whole, unit = extents[row, dim], np.where(dim == n - 1, step, 1)
    ends = [np.where(k == count, whole, whole * k // count // unit * unit) for k in range(count + 1)]
    made = []
    for low, high in pairwise(ends):
        table = program.table.copy()
        table[row, 2 + dim] += low
        table[row, 2 + n + dim] += low
        table[row, 2 + 2 * n + dim] = high - low
        made.append(BoxProgram(program.ranks, program.shape, program.result, table[high > low]))
    return made
