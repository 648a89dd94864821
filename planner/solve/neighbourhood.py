"""Better choices by solving parts of a problem exactly, the rest held fixed (large neighbourhood search).

What a choice pays beyond a proven bound is a sum over variables, pairs and unused room (`Lagrange.excess`): parts are
drawn where that is large. A part is a ball around a variable, or variables that hold bytes at a step and their
neighbours. It is presolved, bounded and finished with HiGHS, memory rows and all. Parts grow when they stop helping.
"""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from .exact import solve_exactly
from .lagrange import Lagrange, ascend
from .local_search import Spans, Walk
from .pairwise import Pairwise
from .presolve import Infeasible, Presolve

FIRST, LARGEST = 40, 240
"""Variables of a part: at first and at most."""
FRESH = 50
"""Parts between two looks at what is paid where."""
PAIRS = 60_000
"""Finite pairs that a part may have when HiGHS takes it."""
NODES = 200
"""Branch and bound nodes that HiGHS may spend on a part."""


def improve_parts(form: Pairwise, states: np.ndarray, dual: Lagrange, deadline: float, tries: int) -> np.ndarray:
    """A choice at least as good: stops after `tries` largest parts in a row that do not help, or at the deadline.

    Parts are drawn with a fixed seed, so that the same question has the same answer unless the deadline cuts in.
    """
    rng = np.random.default_rng(0)
    walk = Walk(form, states)
    count, largest = len(form.cost), min(LARGEST, len(form.cost))
    size, idle, n = min(FIRST, largest), 0, 0
    index, draw = Spans(form), _Draw(form, dual, states, rng)
    while time.monotonic() < deadline:
        if n % FRESH == FRESH - 1:
            draw = _Draw(form, dual, walk.states, rng)
        free = _ball(form, draw.seeds(size, index), size, rng)
        better = solve_part(form, walk, free, deadline)
        n, idle = n + 1, idle + 1
        if better is not None:
            for i, s in zip(free, better.tolist(), strict=True):
                if walk.states[i] != s:
                    walk.move(i, s)
            idle = 0
        elif idle >= (tries if size == largest else max(30, count // size)):
            if size == largest:
                break
            size, idle = min(largest, size * 3 // 2), 0
    return walk.states


class _Draw:
    """Where parts begin: by turns a variable and a step, likelier where more is paid beyond the bound."""

    def __init__(self, form: Pairwise, dual: Lagrange, states: np.ndarray, rng: np.random.Generator):
        own, unused = dual.excess(states)
        self.rng, self.turn = rng, 0
        self.own, self.unused = _weights(own), _weights(unused)

    def seeds(self, size: int, index: Spans) -> list[int]:
        self.turn += 1
        if self.turn % 2 or not len(self.unused):
            return [int(self.rng.choice(len(self.own), p=self.own))]
        live = index.at(int(self.rng.choice(len(self.unused), p=self.unused)))
        few = min(len(live), size // 2)
        return self.rng.choice(live, few, replace=False, p=_weights(self.own[live])).tolist()


def _weights(excess: np.ndarray) -> np.ndarray:
    """Probabilities: mostly by excess, a quarter alike."""
    if not len(excess):
        return excess
    even = np.full(len(excess), 1 / len(excess))
    excess = np.maximum(excess, 0.0)
    total = float(excess.sum())
    return even if total <= 0 else 0.25 * even + 0.75 * excess / total


def _ball(form: Pairwise, seeds: list[int], size: int, rng: np.random.Generator) -> list[int]:
    """The seeds and their neighbours, breadth first, in random order."""
    found, queue = dict.fromkeys(seeds), deque(seeds)
    while queue and len(found) < size:
        near = list(form.near[queue.popleft()])
        for k in rng.permutation(len(near)).tolist():
            if near[k] not in found and len(found) < size:
                found[near[k]] = None
                queue.append(near[k])
    return list(found)


def solve_part(form: Pairwise, walk: Walk, free: list[int], deadline: float) -> np.ndarray | None:
    """States for the free variables that are cheaper than the present ones, if some are found."""
    part = form.around(walk.states, free, walk.left)
    part.room = np.maximum(part.room, part.bytes_held(now := walk.states[free]))
    price = part.price(now)
    limit = price - 1e-9 * abs(price)
    pre, best, answer = Presolve(part), None, None
    try:
        small, order = pre.run().small()
        for _ in range(2):
            if not order:
                break
            ascent = ascend(small, limit, 20, deadline)
            if ascent.states is not None:
                limit, best = ascent.price, pre.lift(order, ascent.states)
            before = small.pairs()
            pre.strike_above(order, ascent.best, limit)
            small, order = pre.small()
            if small.pairs() > 0.8 * before:
                break
    except Infeasible:
        return best
    if small.pairs() <= PAIRS and time.monotonic() < deadline:
        answer = solve_exactly(small, deadline - time.monotonic(), limit, NODES)
        if answer.states is not None:
            found = pre.lift(order, answer.states)
            if part.fits(found) and part.price(found) <= limit:
                best = found
    return best
