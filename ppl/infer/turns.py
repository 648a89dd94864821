"""When a NUTS trajectory turns: the tests of its subtrees, from checkpoints at their first leaves.

A subtree of leaves i..n, in the order of growth, with rho = p[i] + ... + p[n] in whitened momenta, turns unless

    <start[i], rho> > 0  and  <end[n], rho> > 0.

`Halves` is the criterion of Betancourt (2017, A.4.2), start[i] = p[i] and end[n] = p[n], with the tests that Stan has
since 2.21: two neighbouring halves of 2^k leaves span 2^k - 1 steps each, and the step between them would stand in the
whole's test alone, which misses a turn where the whole is about a period long. Each half is therefore tested with one
leaf of the other too: with m the first leaf of the second half, rho = p[i] + ... + p[m-1] and rho' = p[m] + ... + p[n],

    <p[i], rho + p[m]>,  <p[m], rho + p[m]>,  <p[m-1], p[m-1] + rho'>,  <p[n], p[m-1] + rho'>  > 0.

`Gapless` takes for start[i] the momentum of leapfrog between leaf i and the leaf before it, and for end[n] that between
n and the leaf after it. Halves then meet in one momentum and leave no gap: a third of the products, and two vectors a
level where the other needs three. A trajectory is held to turn one step earlier, which matters for paths of two or
three steps (few latents: up to 45 % fewer effective draws a gradient) and not for those of fields.

A checkpoint stands in slot popcount(m >> 1) for its leaf m. It holds before[m], the sum of all the tree's momenta that
stand before m, and start[m]; for `Halves` p[m-1] too. Slot -1 stands for the tree of the earlier doublings, whose
far end is its first leaf.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .slots import read_slot, write_slot
from .space import Space, Vector, add, subtract

Marks = dict[str, Vector]
"""The checkpoints: vectors [C, slots, ...] by what they hold."""


class Ends(NamedTuple):
    """Of a tree whose newest leaf is its near end: momenta and whitened gradients."""

    far: Vector
    far_gradient: Vector
    near: Vector
    near_gradient: Vector
    eps: jax.Array  # the step in the direction of growth
    total: Vector  # the sum of all momenta


class Place(NamedTuple):
    """Which subtrees end at the newest leaf: those from slots first..last, none if last is less."""

    first: jax.Array  # int32[C]
    last: jax.Array
    live: jax.Array  # bool[C]: they are to be tested
    scale: jax.Array  # float64[C]: what margins are in units of


class Found(NamedTuple):
    subtree: jax.Array  # bool[C]: a subtree turns
    tree: jax.Array  # the whole tree does
    margin: jax.Array  # how far the closest product was from zero


def place(leaf: jax.Array, depth: jax.Array, live: jax.Array, scale: jax.Array) -> Place:
    """Of the leaf of that number in the doubling `depth`."""
    top = lax.population_count(leaf >> 1)
    levels = lax.population_count((~leaf & (leaf + 1)) - 1)
    first = jnp.where(leaf + 1 == 1 << depth, -1, top - levels + 1)
    # At depth 0 the pair is the whole tree.
    last = jnp.where(depth == 0, -1, jnp.where(leaf % 2 == 1, top, -2))
    return Place(first, last, live, scale)


@dataclass(frozen=True)
class Turns:
    """One criterion for trees of at most `slots` checkpoints."""

    space: Space
    slots: int

    names = ("before", "start")

    def empty(self) -> Marks:
        zeros = self.space.zeros()
        return {
            mark: {n: jnp.zeros((z.shape[0], self.slots, *z.shape[1:]), z.dtype) for n, z in zeros.items()}
            for mark in self.names
        }

    def stand(self, marks: Marks, slot: jax.Array, total: Vector, momentum: Vector, entering: Vector) -> Marks:
        """With what is known before the leaf of `slot`: the tree's sum and last momentum, and that which enters the
        leaf. A slot past the end writes nothing, here and below."""
        return self._write(marks, slot, before=total, start=entering)

    def arrive(self, marks: Marks, slot: jax.Array, momentum: Vector) -> Marks:
        """With the momentum of the leaf of `slot`."""
        return marks

    def start(self, ends: Ends) -> Vector:
        """Of the whole tree."""
        return self.space.axpy(-0.5 * ends.eps, ends.far_gradient, ends.far)

    def end(self, ends: Ends) -> Vector:
        """Of all subtrees."""
        return self.space.axpy(0.5 * ends.eps, ends.near_gradient, ends.near)

    def pairs(self, marks: Marks, ends: Ends, slot: jax.Array) -> list[tuple[Vector, Vector]]:
        """The factors of the two products of the subtree from `slot` to the near end."""
        start, before = self._first(marks, ends, slot)
        rho = subtract(ends.total, before)
        return [(start, rho), (self.end(ends), rho)]

    def half_pairs(self, marks: Marks, ends: Ends, slot: jax.Array) -> list[tuple[Vector, Vector]]:
        """Those of its halves, if it is more than a pair."""
        return []

    def test(self, marks: Marks, ends: Ends, at: Place, pair: jax.Array, margin: jax.Array) -> Found:
        """Of all subtrees `at` a leaf; `pair` is the smaller product of the smallest, `margin` of the leaves before."""

        def pending(slot: jax.Array, found: Found) -> jax.Array:
            return (slot >= at.first) & (slot <= at.last) & at.live & ~found.subtree

        def judged(slot: jax.Array, product: jax.Array, found: Found) -> Found:
            now = pending(slot, found)
            turned = now & (product <= 0)
            closest = jnp.where(now, jnp.minimum(found.margin, jnp.abs(product) / at.scale), found.margin)
            return Found(found.subtree | (turned & (slot >= 0)), found.tree | (turned & (slot < 0)), closest)

        def wider(carry: tuple[jax.Array, Found]) -> tuple[jax.Array, Found]:
            slot, found = carry
            # Were start and end the same in all rounds of the loop, XLA would compute and keep them before it.
            now = pending(slot, found)
            near = self.space.where(now, ends.near, self.space.zeros())
            held = ends._replace(near=near, eps=jnp.where(now, ends.eps, 0.0))
            pairs = self.pairs(marks, held, slot) + self.half_pairs(marks, held, slot)
            return slot - 1, judged(slot, jnp.min(self.space.dots(pairs), axis=0), found)

        none = jnp.zeros_like(at.live)
        found = judged(at.last, pair, Found(none, none, margin))
        # From the smallest. The predicate rests on all-reduced products: all devices of a chain take as many rounds.
        return lax.while_loop(lambda c: jnp.any(pending(*c)), wider, (at.last - 1, found))[1]

    def test_at_once(self, marks: Marks, ends: Ends, at: Place, margin: jax.Array) -> Found:
        """`test` of few latents: all products of all slots in one reduction."""
        only = lambda vector: next(iter(vector.values()))  # noqa: E731
        kept = {n: only(m) for n, m in marks.items()}
        given = tuple(only(v)[:, None] for v in (self.start(ends), self.end(ends), ends.total))
        pairs, halves = self._all_pairs(kept, *given), self._all_half_pairs(kept, *given)
        a, b = (jnp.concatenate(side, axis=1).astype(jnp.float64) for side in zip(*pairs, *halves, strict=True))
        products = jnp.sum(a * b, axis=-1)
        slot, last, all_slots = jnp.arange(self.slots + 1) - 1, at.last[:, None], self.slots + 1
        product = jnp.minimum(products[:, :all_slots], products[:, all_slots : 2 * all_slots])
        if halves:
            half = jnp.min(products[:, 2 * all_slots :].reshape(len(products), len(halves), -1), axis=1)
            half = jnp.where(slot[:-1] < last, half, np.inf)
            product = product.at[:, :-1].min(half)
        tested = (slot >= at.first[:, None]) & (slot <= last) & at.live[:, None]
        turned = tested & (product <= 0)
        closest = jnp.min(jnp.where(tested, jnp.abs(product) / at.scale[:, None], np.inf), axis=1)
        return Found(jnp.any(turned[:, 1:], axis=1), turned[:, 0], jnp.minimum(margin, closest))

    def _write(self, marks: Marks, slot: jax.Array, **values: Vector) -> Marks:
        return marks | {name: write_slot(marks[name], slot, value) for name, value in values.items()}

    def _first(self, marks: Marks, ends: Ends, slot: jax.Array) -> tuple[Vector, Vector]:
        """start and before of the subtree from `slot`."""
        at, whole = jnp.maximum(slot, 0), slot < 0
        start = self.space.where(whole, self.start(ends), read_slot(marks["start"], at))
        return start, self.space.where(whole, self.space.zeros(), read_slot(marks["before"], at))

    def _all_pairs(
        self, marks: dict[str, jax.Array], start: jax.Array, end: jax.Array, total: jax.Array
    ) -> list[tuple[jax.Array, jax.Array]]:
        """`pairs` of the whole tree and of all slots, [C, 1 + slots, d]."""
        starts = jnp.concatenate([start, marks["start"]], axis=1)
        rho = total - jnp.concatenate([jnp.zeros_like(start), marks["before"]], axis=1)
        return [(starts, rho), (jnp.broadcast_to(end, rho.shape), rho)]

    def _all_half_pairs(
        self, marks: dict[str, jax.Array], start: jax.Array, end: jax.Array, total: jax.Array
    ) -> list[tuple[jax.Array, jax.Array]]:
        """`half_pairs` of the whole tree and of all slots but the last, [C, slots, d]."""
        return []


class Gapless(Turns):
    """The momenta half a step beyond the ends."""


class Halves(Turns):
    """The momenta of the ends, and halves with one leaf more."""

    names = ("before", "start", "previous")

    def stand(self, marks: Marks, slot: jax.Array, total: Vector, momentum: Vector, entering: Vector) -> Marks:
        return self._write(marks, slot, before=total, previous=momentum)

    def arrive(self, marks: Marks, slot: jax.Array, momentum: Vector) -> Marks:
        return self._write(marks, slot, start=momentum)

    def start(self, ends: Ends) -> Vector:
        return ends.far

    def end(self, ends: Ends) -> Vector:
        return ends.near

    def half_pairs(self, marks: Marks, ends: Ends, slot: jax.Array) -> list[tuple[Vector, Vector]]:
        start, before = self._first(marks, ends, slot)
        middle, split, previous = (read_slot(marks[n], slot + 1) for n in ("start", "before", "previous"))
        first = add(subtract(split, before), middle)
        second = add(subtract(ends.total, split), previous)
        return [(start, first), (middle, first), (previous, second), (self.end(ends), second)]

    def _all_half_pairs(
        self, marks: dict[str, jax.Array], start: jax.Array, end: jax.Array, total: jax.Array
    ) -> list[tuple[jax.Array, jax.Array]]:
        middle, split, previous = (marks[n] for n in ("start", "before", "previous"))
        starts = jnp.concatenate([start, middle[:, :-1]], axis=1)
        first = split - jnp.concatenate([jnp.zeros_like(start), split[:, :-1]], axis=1) + middle
        second = total - split + previous
        return [(starts, first), (middle, first), (previous, second), (jnp.broadcast_to(end, second.shape), second)]
