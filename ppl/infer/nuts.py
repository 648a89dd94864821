"""NUTS: multinomial, iterative, with the generalised U-turn criterion (Betancourt 2017, appendix A) as Stan tests it.

A trajectory is a binary tree grown by doublings. Here it grows by one leaf per call of `grow`, without recursion, and
each chain is in its own place of its own tree. What is kept of a subtree still to be tested is a *checkpoint* at its
first leaf, in slot popcount(leaf >> 1); slot -1 stands for the tree of the earlier doublings, whose far end is its
first leaf. A slot holds, for its leaf m in the order of growth,

    p[m]         the momentum,
    before[m]    the sum of all the tree's momenta that stand before m,
    previous[m]  the momentum of leaf m - 1,

so that one rule tests every subtree i..n, the whole tree included: with rho = before[i+1] - before[i] of the first half
and rho' = total - before[i+1] of the second, whose first leaf is the next slot's,

    <p[i], rho + rho'>,  <p[n], rho + rho'>           Betancourt (2017), A.4.2, in whitened momenta
    <p[i], rho + p[m]>,  <p[m], rho + p[m]>           Stan since 2.21: the first half with one leaf more,
    <p[m-1], p[m-1] + rho'>,  <p[n], p[m-1] + rho'>                    the second half with one leaf more

must all be positive. For a pair of leaves all six say <p, p + p'> > 0, which costs one product with the kinetic
energy's. All decisions rest on all-reduced numbers and counted randomness: devices of one chain decide alike.
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
from .protocol import DIRECTION, LEAF, MERGE, Point, Progress, Target
from .slots import read_slot, write_slot
from .space import Space, Vector, add, subtract

_LEAF_MERGE = np.array([[LEAF], [MERGE]], np.uint32)


class Tree(NamedTuple):
    """The trajectory of every chain; the tree grows from its near end."""

    x: Vector
    p: Vector
    g: Vector  # whitened, as the momenta are
    kinetic: jax.Array  # <p, p> of the near end
    far_x: Vector
    far_p: Vector
    far_g: Vector
    far_kinetic: jax.Array
    draw: Point
    candidate: Point  # drawn from the subtree under construction
    total: Vector  # sum of all momenta of the tree
    slot_p: Vector  # [C, max_depth - 1, ...], and so the next two
    slot_before: Vector
    slot_previous: Vector
    coins: jax.Array  # uint32[C]: bit d is the direction of doubling d
    sign: jax.Array  # direction of growth in time, +1 or -1
    leaf: jax.Array  # leaves of the subtree under construction so far
    log_weight: jax.Array  # of the tree, relative to its first point
    subtree_log_weight: jax.Array
    start_kinetic: jax.Array
    progress: Progress


@dataclass(frozen=True)
class Nuts:
    """The kernel; `half_checks` are Stan's additional tests of half-trajectories (max_depth more copies)."""

    space: Space
    target: Target
    max_depth: int = 10
    half_checks: bool = True

    def copies(self) -> int:
        """Ends 6, draw and candidate 4, total 1; checkpoints 2 or 3 per level but one; passing 1, the new gradient, as
        XLA:CPU has them in blocks without warm-up."""
        return 12 + (3 if self.half_checks else 2) * self._slots

    @property
    def _slots(self) -> int:
        """The last doubling has 2^(max_depth - 1) leaves, so first leaves of subtrees have at most this many bits."""
        return max(1, self.max_depth - 1)

    def empty(self, draw: Point) -> Tree:
        zeros, scalar = self.space.zeros(), jnp.zeros_like(draw.energy)
        none = jnp.zeros(scalar.shape, jnp.int32)
        slots = {n: jnp.zeros((z.shape[0], self._slots, *z.shape[1:]), z.dtype) for n, z in zeros.items()}
        return Tree(
            *(
                draw.position,
                zeros,
                draw.gradient,
                scalar,
                draw.position,
                zeros,
                draw.gradient,
                scalar,
                draw,
                draw,
                zeros,
            ),
            *(slots, slots, slots if self.half_checks else {}),
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
        return tree._replace(
            x=where(fresh, draw.position, tree.x),
            p=where(fresh, momentum, tree.p),
            g=where(fresh, gradient, tree.g),
            far_x=where(fresh, draw.position, tree.far_x),
            far_p=where(fresh, momentum, tree.far_p),
            far_g=where(fresh, gradient, tree.far_g),
            total=where(fresh, momentum, tree.total),
            **({} if self.space.packed else self._stand(tree, first, momentum, momentum)),
            draw=draw._replace(energy=jnp.where(fresh, energy, draw.energy)),
            kinetic=jnp.where(fresh, kinetic, tree.kinetic),
            far_kinetic=jnp.where(fresh, kinetic, tree.far_kinetic),
            start_kinetic=jnp.where(fresh, kinetic, tree.start_kinetic),
            coins=jnp.where(fresh, coins, tree.coins),
            sign=jnp.where(fresh, _sign(coins, jnp.zeros_like(tree.leaf)), tree.sign),
            leaf=jnp.where(fresh, 0, tree.leaf),
            log_weight=jnp.where(fresh, zero, tree.log_weight),
            subtree_log_weight=jnp.where(fresh, zero - np.inf, tree.subtree_log_weight),
            progress=select(fresh, start_progress(energy), tree.progress),
        )

    def grow(self, frozen: jax.Array, tree: Tree, step_size: jax.Array, metric: Metric, key: Key) -> Tree:
        old, eps = tree, tree.sign * step_size
        x, p, g, log_density, gradient = leapfrog(self.space, self.target, metric, eps, old.x, old.p, old.g)
        even = old.leaf % 2 == 0
        top = lax.population_count(old.leaf >> 1)
        slot = jnp.where(even, top, self._slots)
        slot_p = write_slot(old.slot_p, slot, p)
        before, stands = old.p, {}
        if self.space.packed:
            stands = self._stand(old, slot, old.total, old.p)
        else:
            # The leaf before an odd one has the checkpoint that was written last; before the first stands the start.
            before = self.space.where(old.progress.depth == 0, old.far_p, read_slot(slot_p, top))
        kinetic, cross = self.space.dots([(p, p), (before, p)])
        energy = 0.5 * kinetic - log_density
        progress = record_leaf(old.progress, energy)

        # Multinomial within the subtree: a reservoir over its leaves, weights exp(H0 - H).
        log_weight = -progress.energy_error
        subtree_log_weight = jnp.logaddexp(old.subtree_log_weight, log_weight)
        log_u_leaf, log_u_merge = jnp.log(uniform(key, (progress.leapfrogs, _LEAF_MERGE), "float64"))
        take, margin = decide(log_u_leaf, log_weight - subtree_log_weight)
        margin = jnp.where(old.leaf > 0, margin, np.inf)
        candidate = select_point(self.space, take, Point(x, gradient, log_density, energy), old.candidate)

        tree = old._replace(
            **dict(x=x, p=p, g=g, kinetic=kinetic, candidate=candidate, subtree_log_weight=subtree_log_weight),
            total=add(old.total, p),
            slot_p=slot_p,
            **stands,
            progress=progress._replace(accept_margin=jnp.minimum(progress.accept_margin, margin)),
        )
        pair = jnp.minimum(old.kinetic, kinetic) + cross
        subtree_turns, tree_turns, tree = self._test_turns(tree, pair)
        tree = self._merge(frozen | old.progress.done, tree, subtree_turns, tree_turns, log_u_merge)
        if self.space.packed:
            return tree
        # What stands before the next leaf is written now: momentum and sum of fields are then overwritten where they
        # lie. Few latents would pay for it with checkpoints that every beginning has to pass on.
        slot = jnp.where(tree.leaf % 2 == 0, lax.population_count(tree.leaf >> 1), self._slots)
        return tree._replace(**self._stand(tree, slot, tree.total, tree.p))

    def _stand(self, tree: Tree, slot: jax.Array, total: Vector, momentum: Vector) -> dict[str, Vector]:
        """The checkpoints with what stands before the leaf of `slot`."""
        return {
            "slot_before": write_slot(tree.slot_before, slot, total),
            "slot_previous": write_slot(tree.slot_previous, slot, momentum),
        }

    def _test_turns(self, tree: Tree, pair: jax.Array) -> tuple[jax.Array, jax.Array, Tree]:
        """Whether a subtree that ends at the new leaf turns, and whether the whole tree does if it is complete."""
        leaf, depth = tree.leaf, tree.progress.depth
        complete = leaf + 1 == 1 << depth
        top_slot = lax.population_count(leaf >> 1)
        completed = lax.population_count((~leaf & (leaf + 1)) - 1)  # levels of subtrees that end here
        lowest = jnp.where(complete, -1, top_slot - completed + 1)
        is_pair = (leaf % 2 == 1) | (depth == 0)
        live = ~tree.progress.divergent & ~tree.progress.done
        turns = is_pair & (pair <= 0)
        margin = jnp.where(is_pair & live, jnp.abs(pair) / tree.start_kinetic, np.inf)
        # At depth 0 the pair is the whole tree.
        no = jnp.zeros_like(turns)
        if self.space.packed:
            level = jnp.arange(self._slots) - 1
            tested = (level >= lowest[:, None]) & (level < top_slot[:, None]) & (is_pair & (depth > 0))[:, None]
            tested &= (live & ~turns)[:, None]
            product = self._all_turn_products(tree)
            turned = tested & (product <= 0)
            margins = jnp.where(tested, jnp.abs(product) / tree.start_kinetic[:, None], np.inf)
            margin = jnp.minimum(jnp.minimum(tree.progress.turn_margin, margin), jnp.min(margins, axis=1))
            tree = tree._replace(progress=tree.progress._replace(turn_margin=margin))
            subtree_turns = (turns & (depth > 0)) | jnp.any(turned[:, 1:], axis=1)
            return subtree_turns, (turns & (depth == 0)) | turned[:, 0], tree
        # Wider subtrees are left to the loop, from the smallest.
        slot = jnp.where(is_pair & (depth > 0), top_slot - 1, -2)

        def pending(carry):
            slot, turns, *_ = carry
            return (slot >= lowest) & ~turns & live

        def test(carry):
            slot, turns, tree_turns, margin = carry
            now = pending(carry)
            product = self._turn_product(tree, slot, now)
            turned = now & (product <= 0)
            margin = jnp.where(now, jnp.minimum(margin, jnp.abs(product) / tree.start_kinetic), margin)
            return slot - 1, turns | (turned & (slot >= 0)), tree_turns | (turned & (slot < 0)), margin

        # The predicate rests on all-reduced products only, so all devices of a chain take the same rounds.
        start = (slot, turns & (depth > 0), turns & (depth == 0), jnp.minimum(tree.progress.turn_margin, margin))
        _, turns, tree_turns, margin = lax.while_loop(lambda c: jnp.any(pending(c)), test, start)
        return turns, tree_turns | no, tree._replace(progress=tree.progress._replace(turn_margin=margin))

    def _turn_product(self, tree: Tree, slot: jax.Array, now: jax.Array) -> jax.Array:
        """The smallest of the six products for the subtree that starts at `slot` and ends at the near end; any number
        where it is not asked for `now`."""
        # Were the end the same in all rounds of the loop around this, XLA would keep it in float64.
        end = self.space.where(now, tree.p, self.space.zeros())
        at, whole = jnp.maximum(slot, 0), slot < 0
        first = self.space.where(whole, tree.far_p, read_slot(tree.slot_p, at))
        before = self.space.where(whole, self.space.zeros(), read_slot(tree.slot_before, at))
        rho = subtract(tree.total, before)
        pairs = [(first, rho), (end, rho)]
        if self.half_checks:
            middle, split = read_slot(tree.slot_p, slot + 1), read_slot(tree.slot_before, slot + 1)
            previous = read_slot(tree.slot_previous, slot + 1)
            rho = add(subtract(split, before), middle)
            pairs += [(first, rho), (middle, rho)]
            rho = add(subtract(tree.total, split), previous)
            pairs += [(previous, rho), (end, rho)]
        return jnp.min(self.space.dots(pairs), axis=0)

    def _all_turn_products(self, tree: Tree) -> jax.Array:
        """float64[C, slots]: `_turn_product` of the whole tree, and of the subtrees from slots 0, 1, …, in one pass."""

        only = lambda vector: next(iter(vector.values()))  # noqa: E731
        slot_p, split, p = only(tree.slot_p), only(tree.slot_before), only(tree.p)[:, None]
        total, far = only(tree.total)[:, None], only(tree.far_p)[:, None]
        p = jnp.broadcast_to(p, slot_p.shape)
        first = jnp.concatenate([far, slot_p[:, :-1]], axis=1)
        before = jnp.concatenate([jnp.zeros_like(far), split[:, :-1]], axis=1)
        rho = total - before
        pairs = [(first, rho), (p, rho)]
        if self.half_checks:
            rho = split - before + slot_p
            pairs += [(first, rho), (slot_p, rho)]
            previous = only(tree.slot_previous)
            rho = total - split + previous
            pairs += [(previous, rho), (p, rho)]
        # One reduction of all pairs, not six.
        a, b = (jnp.stack(side).astype(jnp.float64) for side in zip(*pairs, strict=True))
        return jnp.min(jnp.sum(a * b, axis=-1), axis=0)

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
            kinetic=jnp.where(flip, tree.far_kinetic, tree.kinetic),
            far_kinetic=jnp.where(flip, tree.kinetic, tree.far_kinetic),
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
