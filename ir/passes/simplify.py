"""Folding, merging and eliminating, until nothing changes."""

from __future__ import annotations

from ..graph import Program
from .eliminate_dead import eliminate_dead
from .fold_constants import fold_constants
from .merge_common import merge_common

ROUNDS = 4
"""Enough for what a fold uncovers to be folded too; more rounds find nothing in practice."""


def simplify(program: Program) -> Program:
    """The program with constants folded, equal nodes merged and dead ones gone; inputs and outputs stay."""
    for first in (True, *[False] * (ROUNDS - 1)):
        before = [n.op.name for n in program.walk()]
        folded = fold_constants(program)
        if not first and folded == program:  # it is merged and holds nothing dead since the last round
            break
        program = eliminate_dead(merge_common(folded))
        if [n.op.name for n in program.walk()] == before:
            break
    return program
