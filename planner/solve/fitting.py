"""Which states can fit a memory budget: bytes propagated through a network, as in constraint programming.

Every star holds at each step at least what its leanest choice there holds; what is left of the memory is the room of
all the others. A state goes whose own stars would hold more than they must by more than the room at some step; that
leaves others less room, and so on until nothing changes. A variable without states then proves that nothing fits.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .network import Network, Star, Use

ROUNDING = 1e-12
"""Relative: sums of bytes in another order may differ by so much."""
NEAR = 1e-6
"""Budgets closer than this fraction are not told apart."""
WINDOW = 24
"""Steps of one use that are looked at, at most: any number proves."""


@dataclass(frozen=True)
class _Wish:
    """What one use may want of a star, by layout of the original [start] and by label of the use."""

    variable: int
    labels: np.ndarray
    at: np.ndarray
    """The steps that are looked at, from the star's first: ascending, the use's first among them."""
    bytes: np.ndarray
    """[start, label, step] of copies and their making; infinite where it cannot be made."""
    late: slice | None
    """The steps, from the star's first, over which the original stays if anything is wanted."""
    wanted: np.ndarray
    """[label] whether anything is."""


class _Bytes:
    """A star's bytes by layout of the original, step and wish."""

    def __init__(self, star: Star):
        self.star, self.source = star, star.source
        self.starts, self.of_state = np.unique(star.labels, return_inverse=True)
        self.own = star.bytes[self.starts] if star.stored else np.zeros(len(self.starts))
        self.first = min([star.life[0], *(use.time[0] for use in star.uses)])
        self.last = max([star.life[1], *(use.time[1] for use in star.uses)])
        self.span = slice(self.first, self.last + 1)
        steps = np.arange(self.first, self.last + 1)
        self.held = np.where((star.life[0] <= steps) & (steps <= star.life[1]), self.own[:, None], 0.0)
        """[start, step] of the original within its life."""
        self.wishes = [self._wish(star, use) for use in star.uses]
        self.variables = {star.source, *(use.variable for use in star.uses)}

    def _wish(self, star: Star, use: Use) -> _Wish:
        first, last = use.time
        begin = np.zeros((len(self.starts), len(use.wants)))
        rest = begin.copy()
        for q, label in enumerate(use.wants):
            for w in label:
                other = self.starts != w
                rest[other, q] += star.bytes[w]
                begin[other, q] += star.bytes[w] + star.scratch[self.starts[other], w]
                begin[np.isinf(star.price[self.starts, w]), q] = np.inf
        at = np.arange(first, last + 1)
        if len(at) > WINDOW:
            at = np.concatenate([at[: WINDOW // 2], at[-WINDOW // 2 :]])
        size = np.where(at == first, begin[:, :, None], rest[:, :, None])
        late = slice(star.life[1] + 1 - self.first, last + 1 - self.first) if last > star.life[1] else None
        wanted = np.array([bool(label) for label in use.wants])
        return _Wish(use.variable, use.labels, at - self.first, size, late, wanted)

    def settled(self, start: int, wants: Sequence[Sequence[int]]) -> np.ndarray:
        """By step, what it holds under one layout of the original and one wish of each use."""
        held = star_profile(self.star, start, wants)
        return held[self.first : self.last + 1]


def _left(wish: _Wish, alive: np.ndarray) -> np.ndarray:
    """The labels that some state left has."""
    here = np.zeros(len(wish.wanted), bool)
    here[wish.labels[alive]] = True
    return here


def star_profile(star: Star, start: int, wants: Sequence[Sequence[int]]) -> np.ndarray:
    """Bytes of one star by step, from 0 to its last: its original in the layout `start`, its copies as uses want them.

    An original is held over its `life`, and on to the last step of any use that wants something. A use that wants
    nothing holds nothing. A copy is held from the first to the last use that wants it.
    """
    held = np.zeros(1 + max([star.life[1], *(use.time[1] for use in star.uses)]))
    end = star.life[1]
    copies: dict[int, tuple[int, int]] = {}
    for use, wanted in zip(star.uses, wants, strict=True):
        first, last = use.time
        end = max(end, last) if wanted else end
        for w in wanted:
            if w != start:
                held[first] += star.scratch[start, w]
                before = copies.get(w, use.time)
                copies[w] = min(first, before[0]), max(last, before[1])
    if star.stored:
        held[star.life[0] : end + 1] += star.bytes[start]
    for w, (first, last) in copies.items():
        held[first : last + 1] += star.bytes[w]
    return held


class Fitting:
    """The states that are left under a budget, and by step the bytes that every choice of them holds."""

    def __init__(self, network: Network, memory: float):
        self.memory = memory * (1 + ROUNDING)
        self.stars = [_Bytes(star) for star in network.stars]
        self.alive = [np.isfinite(v.cost) for v in network.variables]
        self.uses: list[list[tuple[int, int]]] = [[] for _ in network.variables]
        """By variable, the stars and which of their wishes are its."""
        self.sources: list[list[int]] = [[] for _ in network.variables]
        for k, star in enumerate(self.stars):
            self.sources[star.source].append(k)
            for n, wish in enumerate(star.wishes):
                self.uses[wish.variable].append((k, n))
        steps = 1 + max((s.last for s in self.stars), default=0)
        self.sure = np.zeros(steps)
        self.least = [np.zeros(s.last + 1 - s.first) for s in self.stars]
        self.beyond: dict[tuple[int, int], np.ndarray] = {}
        """By star and wish, [label, step] what the star then holds beyond its least."""
        self.given: dict[int, np.ndarray] = {}
        """By star, [start, step] the same for the layouts of the original."""
        self.most = [np.zeros(s.last + 1 - s.first) for s in self.stars]
        """By star and step of it, what some choice that is left may hold beyond the least."""

    def keep(self) -> list[np.ndarray]:
        return [np.flatnonzero(a) for a in self.alive]

    def propagate(self) -> bool:
        """Strikes off what cannot fit; false if nothing can."""
        dirty = set(range(len(self.stars)))
        while dirty:
            changed: set[int] = set()
            before = self.sure.copy()
            for k in sorted(dirty):
                if not self._star(k, changed):
                    return False
            if not all(self._node(i, changed) for i in sorted({i for k in dirty for i in self.stars[k].variables})):
                return False
            if (self.sure > self.memory).any():
                return False
            dirty = self._around(changed)
            risen = self.sure > before
            if risen.any():
                room = self.memory - self.sure
                dirty |= {k for k, s in enumerate(self.stars) if (risen[s.span] & (self.most[k] > room[s.span])).any()}
        return True

    def _around(self, variables: Iterable[int]) -> set[int]:
        """The stars that variables give or use."""
        return {k for i in variables for k in (*self.sources[i], *(k for k, _ in self.uses[i]))}

    def _strike(self, i: int, keep: np.ndarray, changed: set[int]) -> bool:
        """Leaves a variable some states; false if none is left."""
        left = self.alive[i] & keep
        if left.sum() < self.alive[i].sum():
            self.alive[i] = left
            changed.add(i)
        return bool(left.any())

    def _star(self, k: int, changed: set[int]) -> bool:
        """Looks at a star again: what it must hold, and what of it still fits; false if nothing does."""
        star = self.stars[k]
        starts = np.zeros(len(star.starts), bool)
        starts[star.of_state[self.alive[star.source]]] = True
        labels = [_left(w, self.alive[w.variable]) for w in star.wishes]
        held = self._must_hold(star, starts, labels)
        starts &= np.isfinite(held).all(axis=1)
        if not starts.any():
            return False
        least = held[starts].min(axis=0)
        self.sure[star.span] += least - self.least[k]
        self.least[k] = least
        room = self.memory - self.sure[star.span] + least
        starts &= (held <= room).all(axis=1)
        most = held[starts].max(axis=0, initial=0.0)
        for n, (wish, here) in enumerate(zip(star.wishes, labels, strict=True)):
            whole = np.maximum(wish.bytes + star.held[:, None, wish.at], held[:, None, wish.at])
            able = (whole <= room[wish.at]).all(axis=2) & here & starts[:, None]
            if wish.late is not None:
                able &= ~wish.wanted | (star.own <= room[wish.late].min())[:, None]
                if (here & wish.wanted).any():
                    most[wish.late] = np.maximum(most[wish.late], star.own[starts].max(initial=0.0))
            starts &= able.any(axis=1)
            most[wish.at] = np.maximum(most[wish.at], np.where(able[:, :, None], whole, 0.0).max(axis=(0, 1)))
            beyond = np.where(able[:, :, None], whole - least[wish.at], np.inf).min(axis=0)
            self.beyond[k, n] = beyond
            if not self._strike(wish.variable, able.any(axis=0)[wish.labels], changed):
                return False
        self.most[k] = most - least
        self.given[k] = np.where(starts[:, None], held - least, np.inf)
        return self._strike(star.source, starts[star.of_state], changed)

    def _node(self, i: int, changed: set[int]) -> bool:
        """Looks at what a variable's states make all its stars hold together, at the steps of its uses."""
        uses = self.uses[i]
        if not uses:
            return True
        at = np.unique(np.concatenate([self.stars[k].first + self.stars[k].wishes[n].at for k, n in uses]))
        total = np.zeros((len(self.alive[i]), len(at)))
        for k in {k: None for k, _ in uses}:
            star, own = self.stars[k], np.zeros_like(total)
            for n in (n for j, n in uses if j == k):
                here = np.searchsorted(at, star.first + star.wishes[n].at)
                own[:, here] = np.maximum(own[:, here], self.beyond[k, n][star.wishes[n].labels])
            total += own
        for k in (k for k in self.sources[i] if all(k != j for j, _ in uses)):
            star = self.stars[k]
            here = (star.first <= at) & (at <= star.last)
            total[:, here] += self.given[k][star.of_state][:, at[here] - star.first]
        return self._strike(i, np.all(total <= (self.memory - self.sure)[at], axis=1), changed)

    def _must_hold(self, star: _Bytes, starts: np.ndarray, labels: list[np.ndarray]) -> np.ndarray:
        """[start, step] bytes that every choice left holds, by the layout of the original."""
        if starts.sum() == 1 and all(here.sum() == 1 for here in labels):
            p = int(star.starts[starts.argmax()])
            wants = [use.wants[int(here.argmax())] for use, here in zip(star.star.uses, labels, strict=True)]
            if np.isfinite(star.star.price[p, [w for label in wants for w in label]]).all():
                return np.broadcast_to(star.settled(p, wants), star.held.shape)
        held, extra = star.held.copy(), np.zeros_like(star.held)
        for wish, here in zip(star.wishes, labels, strict=True):
            extra[:, wish.at] = np.maximum(extra[:, wish.at], wish.bytes[:, here].min(axis=1))
            if wish.late is not None and wish.wanted[here].all():
                held[:, wish.late] = star.own[:, None]
        return held + extra


def least_possible(network: Network, low: float, high: float, deadline: float) -> float:
    """A bound on the peaks of all choices [bytes], between two numbers: nothing fits into less, whatever it costs.

    `low` is such a bound. Halves the interval until it is a millionth, or the deadline is over.
    """

    def impossible(memory: float) -> bool:
        return not Fitting(network, memory).propagate()

    nearly = high * (1 - 1e-9)
    if nearly > low and impossible(nearly):
        return nearly
    while high - low > NEAR * high and time.monotonic() < deadline:
        middle = (low + high) / 2
        low, high = (middle, high) if impossible(middle) else (low, middle)
    return low
