"""Checkpoints: a long scan as a scan of short ones, so that its gradient keeps only the states between these.

The gradient of a scan keeps what comes into each of its steps. That of a scan of n / k scans of k steps keeps what
comes into each short one, and while it goes backwards, what comes into each step of the one that it runs again: n / k
+ k states instead of n, for one more run of the steps (Griewank and Walther 2000, with two levels). Steps that are
left are a scan of their own, run last and not again: its states are gone before those of a short one are needed.
There are two short ones at least: a loop of one trip is opened by compilers, which then keep what should be made
again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from ..build import Builder, current, emit
from ..dims import Dim
from ..graph import Node, Program, Value
from ..ops.control import AUTO, Scan, scan
from ..ops.fold import Fold, Unfold
from ..ops.order import reorder
from ..ops.shape import Concatenate, Slice
from .rewrite import Scope, rewrite, with_fresh_regions

Choice = Callable[[int], int]
"""Every how many of its steps a scan keeps a state, by its number of steps; 0: all states."""


def keep_all(steps: int) -> int:
    """All states: nothing runs twice."""
    return 0


def keep_third(steps: int) -> int:
    """About a third of the states at once: two thirds of the steps run twice."""
    return steps // 3 + 1


def keep_least(steps: int) -> int:
    """Two levels of least memory, about 2 sqrt(n) states: nearly all steps run twice.

    A divisor of the steps near sqrt(n) is taken where there is one: then nothing has to be cut off and joined again.
    """
    root = math.sqrt(steps)
    near = [k for k in range(1, steps + 1) if steps % k == 0 and root / 1.5 <= k <= root * 1.5]
    return min(near, key=lambda k: steps / k + k, default=max(1, round(root)))


CHOICES: tuple[Choice, ...] = (keep_all, keep_third, keep_least)
"""What is tried where nobody says how many states are kept, from the most memory to the least."""


def is_open(program: Program) -> bool:
    """Whether a scan of the program leaves open how many states its gradient keeps."""
    return any(isinstance(n.op, Scan) and n.op.every == AUTO for n in program.walk())


def checkpoint(program: Program, choice: Choice = keep_all) -> Program:
    """The program with every scan that names its checkpoints as a scan of scans; `choice` is for open numbers.

    A number above half of the steps counts as half of them; from all of them on, every state is kept.
    """
    if not any(isinstance(n.op, Scan) and n.op.every for n in program.walk()):
        return program
    return rewrite(program, lambda node, scope: _rule(node, scope, choice))


def _rule(node: Node, scope: Scope, choice: Choice) -> Sequence[Value] | None:
    op = node.op
    if not isinstance(op, Scan) or not op.every:
        return None
    steps = op.trips(node.types)
    every = choice(steps) if op.every == AUTO else op.every
    op = dataclasses.replace(op, every=0)
    short = min(every, steps // 2)
    if short < 2 or every >= steps:
        return scope.keep(dataclasses.replace(node, op=op))
    return _Pieces(op, node, scope.builder, short, steps).emit()


class _Pieces:
    """A scan as one of `count` scans of `every` steps, and one of the steps that are left."""

    def __init__(self, op: Scan, node: Node, b: Builder, every: int, steps: int):
        self.op, self.node, self.b, self.steps = op, node, b, steps
        self.count, self.left = divmod(steps, every)
        self.outer, self.inner = Dim(f"{op.dim}.piece", self.count), Dim(f"{op.dim}.step", every)
        end = op.carries + op.scanned
        self.first, self.shared = node.operands[: op.carries], node.operands[end:]
        self.through = node.operands[op.carries : end]

    def emit(self) -> list[Value]:
        (carries, made), op = self._pieces(), self.op
        if self.left:
            rest = dataclasses.replace(with_fresh_regions(op, self.b), length=self.left)
            through = [self._part(x, rest=True) for x in self.through]
            last = current().emit_all(rest, *carries, *through, *self.shared)
            carries, ends = last[: op.carries], last[op.carries :]
            pairs = [(b, a) if op.reverse else (a, b) for a, b in zip(made, ends, strict=True)]
            made = tuple(emit(Concatenate((op.dim, op.dim), op.dim), *pair) for pair in pairs)
        found = zip((*carries, *made), self.node.results, strict=True)
        return [reorder(x, old.dims) for x, old in found]

    def _pieces(self) -> tuple[Sequence[Value], Sequence[Value]]:
        op, count = self.op, self.op.carries
        inner = dataclasses.replace(op, dim=self.inner.name, length=self.inner.size)

        def piece(carries, slices, shared):
            made = current().emit_all(inner, *carries, *slices, *shared)
            return made[:count], made[count:]

        through = [emit(Fold(op.dim, self.outer, self.inner), self._part(x)) for x in self.through]
        name = f"{op.region.name}:pieces"
        length = self.outer.size
        carries, made = scan(
            self.outer.name, piece, self.first, through, self.shared, length=length, reverse=op.reverse, name=name
        )
        return carries, [emit(Unfold(self.outer.name, self.inner.name, op.dim), x) for x in made]

    def _part(self, x: Value, rest: bool = False) -> Value:
        """The entries of a tensor for the pieces, which run first, or for what is left."""
        if not self.left:
            return x
        first = not rest if not self.op.reverse else rest
        cut = self.left if self.op.reverse else self.steps - self.left
        return emit(Slice(self.op.dim, 0, cut) if first else Slice(self.op.dim, cut, self.steps), x)


__all__ = ["CHOICES", "Choice", "checkpoint", "is_open", "keep_all", "keep_least", "keep_third"]
