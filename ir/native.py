"""Which collectives hand-written kernels perform: data of a plan, by kind, mesh axes and size of the message."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import Diagnostic
from .layout import Axes, Collective

MODE = "MESHBAYES_COLLECTIVES"
"""The environment variable: auto (what the plan says), lax, or native (all that kernels serve; an error without)."""
SMALL_SUM = 64 << 10
"""Bytes up to which an all-reduce may be one-shot: every rank reads every rank's numbers."""
MAX_RANKS = 64
"""The largest group of ranks that the kernels know."""
SLOT_BYTES = {"cpu": 16 << 20, "gpu": 64 << 20}
"""Of each of a rank's two staging slots by platform; larger messages go in several rounds."""
SUMMED = ("f32", "f64", "i32", "i64")
"""The dtypes of their all-reduce."""


def mode() -> str:
    """What the user asks for; a word that is none of the three is a `Diagnostic`."""
    word = os.environ.get(MODE, "auto") or "auto"
    if word not in ("auto", "lax", "native"):
        raise Diagnostic("argument", f'"{word}" is no kind of collectives', hint="auto, lax or native", where=MODE)
    return word


@dataclass(frozen=True)
class Native:
    """Collectives of one kind along a set of mesh axes, with operands of `least` to `most` bytes on each device."""

    kind: str
    axes: Axes
    least: float = 0.0
    most: float = math.inf

    def takes(self, kind: str, axes: Axes, size: int) -> bool:
        return kind == self.kind and self.least <= size <= self.most and set(axes) == set(self.axes)

    def __str__(self) -> str:
        low = f"{self.least:,.0f} to " if self.least else "up to " if self.most < math.inf else ""
        size = f"{low}{self.most:,.0f} B" if self.most < math.inf else f"from {self.least:,.0f} B" if low else "all"
        return f"{self.kind}({'+'.join(self.axes)}) {size}"


def takes(rules: Iterable[Native], kind: str, axes: Axes, size: int) -> bool:
    """Whether the rules give a collective to the kernels; `size` is the operand's on one device [bytes]."""
    return any(rule.takes(kind, axes, size) for rule in rules)


def is_native(rules: Iterable[Native], c: Collective) -> bool:
    """The same of a plan's collective, which the kernels may not know the dtype of."""
    return (c.kind != "all_reduce" or c.dtype in SUMMED) and takes(rules, c.kind, c.axes, c.bytes)


def slot_bytes(rules: Iterable[Native], platform: str) -> int:
    """What staging takes on one device: two slots for each set of axes along which kernels perform something."""
    return 2 * SLOT_BYTES[platform] * len({frozenset(rule.axes) for rule in rules})
