"""How many transitions a run asks of a compiled block at once.

Between blocks the host stores draws and shows progress, at a price of about a millisecond. A block of few latents is
compiled for many transitions; the first calls ask for `block` of them, as the user's options say, and later ones for
twice as many each time as long as a call takes less than `SECONDS`.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax

from .options import Common

SECONDS = 0.2
LONGEST = 10
"""A compiled block has this many times `block` transitions at most."""


def compiled_for(options: Common, packed: bool) -> int:
    """Transitions that a block is compiled for: `block` itself where it was given or latents are many."""
    given = "block" in options.given or options.block != Common.block
    return options.block if given or not packed else LONGEST * options.block


@dataclass
class Pace:
    """`now` transitions are asked for next, a multiple of `thin` or all that a block has."""

    now: int
    length: int

    @classmethod
    def of(cls, options: Common, length: int) -> Pace:
        rows = max(1, options.block // options.thin)
        return cls(min(length, rows * options.thin), length)

    def took(self, seconds: float) -> None:
        """The call that asked for `now` took so long. Processes would not agree on that, and ask alike all the time."""
        if seconds < SECONDS and jax.process_count() == 1:
            self.now = min(self.length, 2 * self.now)
