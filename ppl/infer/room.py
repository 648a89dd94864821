"""How much a run of an inference program holds on the devices, as a number of vectors like the latents.

A sampler states its own vectors (`Common.copies`). While draws are made, quantities whose draws do not fit have their
moments on the devices too (`ppl.infer.streaming`), with the rows of the block. A plan counts all of them, so that what
is printed before a run is what the run is planned with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .keep import Kept, choose
from .options import Common
from .pace import compiled_for
from .stages import prepared, settled_apart
from .streaming import moment_bytes

if TYPE_CHECKING:
    from ..posterior import Posterior

BLOCK_BYTES = 2**28
"""A block keeps at most this much of draws on the devices, or one draw."""


def copies(posterior: Posterior, options: Common, keep: Sequence[str] | None = None) -> float:
    """Vectors beside position and gradient of a run of `options`; `keep` as in `ppl.infer.run.run`."""
    latents = sum(t.size for t in posterior.latents.values())
    program = settled_apart(prepared(options, latents), latents)
    return copies_of(posterior, program, choose(posterior, keep, options.chains * (options.draws // options.thin)))


def copies_of(posterior: Posterior, program: Common, kept: Kept) -> float:
    """The same of a program with all its stages: they do not live together, and only the last one makes draws.

    Rows of quantities whose draws are all kept are left out: they are 2^28 bytes at most, on all devices together.
    """
    *first, last = program.stages()
    one = sum(t.size * t.itemsize for t in posterior.latents.values())
    row = sum(t.size * t.itemsize for t in kept.moments.values())
    draw = row + sum(t.size * t.itemsize for t in kept.draws.values())
    rows = block_length(last, draw * last.chains) // last.thin
    drawing = last.copies() + (moment_bytes(kept.moments) + rows * row) / one
    return max([*(stage.copies() for stage in first), drawing])


def block_length(options: Common, draw: int = 0, packed: bool = False) -> int:
    """Transitions per compiled block: as asked, but no more than fit the room for draws on the devices, where one of
    all chains takes `draw` bytes; more of latents that are packed (`ppl.infer.pace`)."""
    rows = max(1, min(compiled_for(options, packed) // options.thin, BLOCK_BYTES // max(draw, 1)))
    longest = max(options.warmup, options.draws)
    return max(options.thin, min(rows * options.thin, -(-longest // options.thin) * options.thin))
