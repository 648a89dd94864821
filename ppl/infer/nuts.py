"""NUTS: multinomial, iterative, with the generalised U-turn criterion (Betancourt 2017, appendix A).

A trajectory is a binary tree grown by doublings. Here it grows by one leaf per call of `grow`, without recursion, and
each chain is in its own place of its own tree. When it ends, and what is kept of its subtrees for that, is the subject
of `ppl.infer.turns`. All decisions rest on all-reduced numbers and counted randomness: devices of one chain decide
alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ir.counter import Key, bits, uniform

from .leapfrog import decide, exchange, leapfrog, record_leaf, select, select_point, start_progress, when
from .metric import Metric
from .pack import MOST
from .protocol import DIRECTION, LEAF, MERGE, Point, Progress, Target
from .space import Space, Vector, add
from .turns import Ends, Gapless, Halves, Marks, Turns, place

_LEAF_MERGE = np.array([[LEAF], [MERGE]], np.uint32)


class Tree(NamedTuple):
    """The trajectory of every chain; the tree grows from its near end."""

    x: Vector
    p: Vector
    g: Vector  # whitened, as the momenta are
    far_x: Vector
    far_p: Vector
    far_g: Vector
    draw: Point
    candidate: Point  # drawn from the subtree under construction
    total: Vector  # sum of all momenta of the tree
    marks: Marks  # the checkpoints
    coins: jax.Array  # uint32[C]: bit d is the direction of doubling d
    sign: jax.Array  # direction of growth in time, +1 or -1
    leaf: jax.Array  # leaves of the subtree under construction so far
    log_weight: jax.Array  # of the tree, relative to its first point
    subtree_log_weight: jax.Array
    start_kinetic: jax.Array
    progress: Progress


@dataclass(frozen=True)
class Nuts:
    """The kernel. `half_checks`: trajectories are tested as Stan does (`ppl.infer.turns.Halves`), by default those of
    up to MOST latents; others without a gap."""

    space: Space
    target: Target
    max_depth: int = 10
    half_checks: bool | None = None

    def copies(self) -> int:
        """Ends 6, draw and candidate 4, total 1; checkpoints 2 or 3 per level but one; passing 1, the new gradient, as
        XLA:CPU has them in blocks without warm-up."""
        return 12 + (3 if self.half_checks else 2) * self._slots

    @property
    def turns(self) -> Turns:
        stan = self.space.degrees <= MOST if self.half_checks is None else self.half_checks
        return (Halves if stan else Gapless)(self.space, self._slots)

    @property
    def _slots(self) -> int:
        """The last doubling has 2^(max_depth - 1) leaves, so first leaves of subtrees have at most this many bits."""
        return max(1, self.max_depth - 1)

    def empty(self, draw: Point) -> Tree:
        zeros, scalar = self.space.zeros(), jnp.zeros_like(draw.energy)
        none = jnp.zeros(scalar.shape, jnp.int32)
        return Tree(
            *(
                draw.position,
                zeros,
                draw.gradient,
                draw.position,
                zeros,
                draw.gradient,
                draw,
                draw,
                zeros,
            ),
            self.turns.empty(),
            *(none.astype(jnp.uint32), scalar + 1, none, scalar, scalar, scalar, start_progress(draw.energy)),
        )

    def begin(
        self,
        fresh: jax.Array,
        tree: Tree,
        momentum: Vector,
        kinetic: jax.Array,
        step_size: jax.Array,
        metric: Metric,
        key: Key,
    ) -> Tree:
        where, draw = self.space.where, tree.draw
        gradient = metric.pull(draw.gradient)
        energy = 0.5 * kinetic - draw.log_density
        zero, first = jnp.zeros_like(kinetic), jnp.where(fresh, 0, self._slots)
        coins = bits(key, (np.uint32(0), np.uint32(DIRECTION)))[0]
        sign = _sign(coins, jnp.zeros_like(tree.leaf))
        marks = tree.marks
        if not self.space.packed:
            entering = self.space.axpy(0.5 * sign * step_size, gradient, momentum)
            marks = self.turns.stand(marks, first, momentum, momentum, entering)
        return tree._replace(
            x=where(fresh, draw.position, tree.x),
            p=where(fresh, momentum, tree.p),
            g=where(fresh, gradient, tree.g),
            far_x=where(fresh, draw.position, tree.far_x),
            far_p=where(fresh, momentum, tree.far_p),
            far_g=where(fresh, gradient, tree.far_g),
            total=where(fresh, momentum, tree.total),
            marks=marks,
            draw=draw._replace(energy=jnp.where(fresh, energy, draw.energy)),
            start_kinetic=jnp.where(fresh, kinetic, tree.start_kinetic),
            coins=jnp.where(fresh, coins, tree.coins),
            sign=jnp.where(fresh, sign, tree.sign),
            leaf=jnp.where(fresh, 0, tree.leaf),
            log_weight=jnp.where(fresh, zero, tree.log_weight),
            subtree_log_weight=jnp.where(fresh, zero - np.inf, tree.subtree_log_weight),
            progress=select(fresh, start_progress(energy), tree.progress),
        )

    def grow(self, frozen: jax.Array, tree: Tree, step_size: jax.Array, metric: Metric, key: Key) -> Tree:
        old, eps = tree, tree.sign * step_size
        x, p, g, log_density, gradient = leapfrog(self.space, self.target, metric, eps, old.x, old.p, old.g)
        turns, total = self.turns, add(old.total, p)
        top = lax.population_count(old.leaf >> 1)
        slot = jnp.where(old.leaf % 2 == 0, top, self._slots)
        marks = old.marks
        if self.space.packed:
            marks = turns.stand(marks, slot, old.total, old.p, self.space.axpy(0.5 * eps, old.g, old.p))
        marks = turns.arrive(marks, slot, p)
        ends = Ends(old.far_p, old.far_g, p, g, eps, total)
        # The leaf before an odd one has the checkpoint that was written last; before the first stands the start.
        smallest = jnp.where(old.progress.depth == 0, -1, top)
        kinetic, *pair = self.space.dots([(p, p), *([] if self.space.packed else turns.pairs(marks, ends, smallest))])
        energy = 0.5 * kinetic - log_density
        progress = record_leaf(old.progress, energy)

        # Multinomial within the subtree: a reservoir over its leaves, weights exp(H0 - H).
        log_weight = -progress.energy_error
        subtree_log_weight = jnp.logaddexp(old.subtree_log_weight, log_weight)
        log_u_leaf, log_u_merge = jnp.log(uniform(key, (progress.leapfrogs, _LEAF_MERGE), "float64"))
        take, margin = decide(log_u_leaf, log_weight - subtree_log_weight)
        margin = jnp.where(old.leaf > 0, margin, np.inf)
        candidate = select_point(self.space, take, Point(x, gradient, log_density, energy), old.candidate)

        at = place(old.leaf, progress.depth, ~progress.divergent & ~progress.done, old.start_kinetic)
        if self.space.packed:
            found = turns.test_at_once(marks, ends, at, progress.turn_margin)
        else:
            found = turns.test(marks, ends, at, jnp.minimum(*pair), progress.turn_margin)
        margin = jnp.minimum(progress.accept_margin, margin)
        tree = old._replace(
            **dict(x=x, p=p, g=g, candidate=candidate, subtree_log_weight=subtree_log_weight, total=total, marks=marks),
            progress=progress._replace(accept_margin=margin, turn_margin=found.margin),
        )
        tree = self._merge(frozen | old.progress.done, tree, found.subtree, found.tree, log_u_merge)
        if self.space.packed:
            return tree
        # What stands before the next leaf is written now: momentum and sum of fields are then overwritten where they
        # lie. Few latents would pay for it with checkpoints that every beginning has to pass on.
        slot = jnp.where(tree.leaf % 2 == 0, lax.population_count(tree.leaf >> 1), self._slots)
        entering = self.space.axpy(0.5 * tree.sign * step_size, tree.g, tree.p)
        return tree._replace(marks=turns.stand(tree.marks, slot, tree.total, tree.p, entering))

    def _merge(
        self, frozen: jax.Array, tree: Tree, subtree_turns: jax.Array, tree_turns: jax.Array, log_u: jax.Array
    ) -> Tree:
        """Joins a completed subtree to the tree, ends the transition or begins the next doubling."""
        progress = tree.progress
        failed = subtree_turns | progress.divergent
        complete = (tree.leaf + 1 == 1 << progress.depth) & ~failed & ~frozen
        # Biased progressive: the subtree's candidate replaces the draw with min(1, w'/w).
        take, margin = decide(log_u, tree.subtree_log_weight - tree.log_weight)
        depth = progress.depth + complete
        ended = complete & (tree_turns | (depth == self.max_depth))
        goes_on = complete & ~ended
        sign = jnp.where(goes_on, _sign(tree.coins, depth), tree.sign)
        flip = goes_on & (sign != tree.sign)
        tree = tree._replace(
            sign=sign,
            leaf=jnp.where(goes_on, 0, tree.leaf + 1),
            log_weight=jnp.where(complete, jnp.logaddexp(tree.log_weight, tree.subtree_log_weight), tree.log_weight),
            subtree_log_weight=jnp.where(goes_on, -np.inf, tree.subtree_log_weight),
            progress=progress._replace(
                depth=depth,
                done=progress.done | ended | (failed & ~frozen),
                moved=progress.moved | (take & complete),
                accept_margin=jnp.where(complete, jnp.minimum(progress.accept_margin, margin), progress.accept_margin),
            ),
        )

        take = take & complete

        def choose(held: tuple[Point, jax.Array]) -> tuple[Point, jax.Array]:
            return select_point(self.space, take, tree.candidate, held[0]), flip

        # The flag that comes out makes the swaps wait for the candidate, which may be the near end: XLA would else copy
        # that before it is swapped.
        draw, swaps = when(jnp.any(flip | take), choose, (tree.draw, jnp.zeros_like(flip)), always=self.space.packed)
        x, far_x = exchange(self.space, swaps, tree.x, tree.far_x)
        p, far_p = exchange(self.space, swaps, tree.p, tree.far_p)
        g, far_g = exchange(self.space, swaps, tree.g, tree.far_g)
        return tree._replace(x=x, p=p, g=g, far_x=far_x, far_p=far_p, far_g=far_g, draw=draw)


def _sign(coins: jax.Array, depth: jax.Array) -> jax.Array:
    """+1 or -1, for the doubling that starts at `depth`."""
    return jnp.where((coins >> depth.astype(jnp.uint32)) & np.uint32(1) == 1, 1.0, -1.0)
