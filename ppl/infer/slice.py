"""Slice sampling along adapted axes, for few dims: no step size, no gradient, no rejection.

A transition updates the position along each of d directions in turn, by Neal's univariate scheme ("Slice sampling",
Annals of Statistics 31, 2003, figures 3 and 5): a level below the density, an interval around the position that is
stepped out until its ends are below the level or a random budget is spent, and proposals that shrink it. Warm-up turns
the directions into the principal axes of the draws ("factor slice sampling": Tibbits, Groendyke, Haran, Liechty,
Journal of Computational and Graphical Statistics 23, 2014) and fits the widths of the first intervals, until as many
steps are taken outwards as inwards; after it both stand.

Every round evaluates one point of every chain, wherever in its scheme the chain is, so that none waits for another. The
loop's predicate rests on log densities and noise that all devices of a chain share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ir import counter, lapack
from ir.counter import Key, uniform

from .leapfrog import when
from .phase import Phase
from .protocol import Block, Collect, Handover, State, Target
from .slots import write_row
from .space import Space

MOST = 50
"""Latents of a chain. A transition takes d times 4 to 8 evaluations: at 50 dims as many as the longest trajectories of
NUTS at such sizes, whose number of gradients grows like the fourth root of d only."""
_ROUNDS = 200
"""Proposals of one slice; the interval shrinks by a quarter on average, so that it is empty by then."""
_SPREAD = 2.5
"""Width over standard deviation after a window: about the mean width of a Gaussian's slices."""
_LEVEL, _PLACE, _BUDGET, _PROPOSAL = 1, 2, 3, 4
_BEGIN, _LEFT, _RIGHT, _SHRINK = 0, 1, 2, 3


class Slices(NamedTuple):
    """The state between blocks."""

    state: State
    axes: jax.Array  # float64[C, d, d]: direction i is axes[c, :, i], of length 1
    log_width: jax.Array  # float64[C, d]
    updates: jax.Array  # float64[C], transitions since the axes were made
    mean: jax.Array  # float64[C, d] of the window
    m2: jax.Array  # float64[C, d, d]


class SliceInfo(NamedTuple):
    """[C, K] in the result of a block."""

    log_density: jax.Array
    leapfrogs: jax.Array  # densities evaluated: no gradient is
    divergent: jax.Array  # some slice had no point that could be found: the density is not a number at the position
    expansions: jax.Array
    contractions: jax.Array


class _Search(NamedTuple):
    """Where a chain is in the update along one direction; t is the distance from its position."""

    axis: jax.Array  # int32[C]
    phase: jax.Array  # int32[C]
    level: jax.Array  # float64[C]
    low: jax.Array  # float64[C]
    high: jax.Array  # float64[C]
    left: jax.Array  # int32[C], steps that may still be taken to this side
    right: jax.Array  # int32[C]
    expansions: jax.Array  # int32[C]
    contractions: jax.Array  # int32[C]


class _Carry(NamedTuple):
    x: jax.Array  # [C, d]
    log_density: jax.Array
    held: Slices  # its State is stale
    search: _Search
    key: Key
    step: jax.Array
    done: jax.Array  # int32[C], transitions of this block
    fresh: SliceInfo  # of the transition under way, [C]
    ended: jax.Array  # bool[C]: all directions of a transition have had their turn
    draws: dict[str, jax.Array]
    info: SliceInfo


@dataclass(frozen=True)
class Slice:
    """The method, on a space of one site of shape (d,) that every device holds whole.

    expansions: an interval has at most so many times its first width. width: the first width along every axis.
    """

    space: Space
    target: Target
    expansions: int = 10
    width: float = 1.0
    thin: int = 1

    @property
    def site(self) -> str:
        return self.space.sites[0].name

    @property
    def dims(self) -> int:
        return self.space.sites[0].shape[0]

    def start(self, seed: Key, begin: Handover) -> Slices:
        c, d = self.space.chains, self.dims
        zero = lambda *shape: jnp.zeros((c, *shape), jnp.float64)  # noqa: E731
        axes = jnp.broadcast_to(jnp.eye(d, dtype=jnp.float64), (c, d, d))
        return Slices(begin.state, axes, zero(d) + np.log(self.width), zero(), zero(d), zero(d, d))

    def handover(self, state: Slices) -> Handover:
        return Handover(state.state)

    def advance(self, seed: Key, state: Slices, schedule: Phase, limit: jax.Array | int, collect: Collect) -> Block:
        length, chains = len(schedule.warm), self.space.chains
        flags = Phase(*(jnp.asarray(f) for f in schedule))
        limit = jnp.asarray(limit, jnp.int32)
        chain_key = counter.derive(seed, self.space.chain_ids())

        def turn(carry: _Carry) -> _Carry:
            """Records the transitions that have ended and begins what comes next."""
            ended = carry.ended
            row = jnp.where(ended, carry.done, length)
            kept = ended & ((carry.done + 1) % self.thin == 0)
            draw_row = jnp.where(kept, carry.done // self.thin, length)
            now = Phase(*(f[jnp.minimum(carry.done, length - 1)] & ended for f in flags))
            told = carry.fresh._replace(log_density=carry.log_density)
            step = carry.step + ended.astype(jnp.uint32)
            held = _learn(carry.held, now, carry.x)
            return carry._replace(
                held=held,
                search=_select(ended, _beginning(chains), carry.search),
                key=counter.derive(chain_key, step),
                step=step,
                done=carry.done + ended,
                fresh=_select(ended, _nothing(chains), carry.fresh),
                ended=jnp.zeros(chains, bool),
                draws={n: write_row(carry.draws[n], draw_row, v) for n, v in collect({self.site: carry.x}).items()},
                info=SliceInfo(*(write_row(b, row, v) for b, v in zip(carry.info, told, strict=True))),
            )

        def advance(carry: _Carry) -> _Carry:
            warm = flags.warm[jnp.minimum(carry.done, length - 1)]
            carry = self._round(carry, carry.done < limit, warm)
            return when(jnp.any(carry.ended), turn, carry)

        x, log_density = state.state.position[self.site], state.state.log_density
        key = counter.derive(chain_key, state.state.step)
        none = jnp.zeros(chains, jnp.int32)
        draws = {n: _rows_of(v, length // self.thin) for n, v in jax.eval_shape(collect, {self.site: x}).items()}
        info = SliceInfo(*(_rows_of(v, length) for v in _nothing(chains)))
        carry = _Carry(
            *(x, log_density, state, _beginning(chains), key, state.state.step, none, _nothing(chains)),
            *(none > 0, draws, info),
        )
        carry = lax.while_loop(lambda c: jnp.any(c.done < limit), advance, carry)
        position = {self.site: carry.x}
        log_density, gradient = self.target(position)
        ended = State(position, gradient, log_density, carry.step)
        return Block(carry.held._replace(state=ended), carry.draws, carry.info, none > 0)

    def _begin(self, key: Key, log_width: jax.Array, log_density: jax.Array, axis: jax.Array) -> _Search:
        """A level, an interval at random around the position, and how far it may be stepped out on each side."""
        purposes = np.array([[_LEVEL], [_PLACE], [_BUDGET]], np.uint32)
        level, place, budget = uniform(key, (axis.astype(jnp.uint32)[None], purposes), "float64")
        width = jnp.exp(_at(log_width, axis))
        left = jnp.floor(self.expansions * budget).astype(jnp.int32)
        return _beginning(len(axis))._replace(
            axis=axis,
            phase=jnp.full_like(axis, _LEFT),
            level=log_density + jnp.log(level),
            low=-width * place,
            high=width * (1 - place),
            left=left,
            right=self.expansions - 1 - left,
        )

    def _round(self, carry: _Carry, active: jax.Array, warm: jax.Array) -> _Carry:
        """One density for every chain, and what follows from it."""
        s, held = carry.search, carry.held
        s = _select(s.phase == _BEGIN, self._begin(carry.key, held.log_width, carry.log_density, s.axis), s)
        shrinking = s.phase == _SHRINK
        index = carry.fresh.leapfrogs.astype(jnp.uint32)
        u = uniform(carry.key, (index, np.uint32(_PROPOSAL)), "float64")
        t = jnp.where(shrinking, s.low + u * (s.high - s.low), jnp.where(s.phase == _LEFT, s.low, s.high))
        along = jnp.take_along_axis(held.axes, s.axis[:, None, None], axis=2)[:, :, 0]
        there = carry.x + (t[:, None] * along).astype(carry.x.dtype)
        log_density = self.target({self.site: there})[0]
        above = log_density > s.level  # false for NaN

        width = jnp.exp(_at(held.log_width, s.axis))
        out_left = active & (s.phase == _LEFT) & above & (s.left > 0)
        out_right = active & (s.phase == _RIGHT) & above & (s.right > 0)
        stopped = active & ~shrinking & ~out_left & ~out_right
        accepted = active & shrinking & above
        refused = active & shrinking & ~above
        lost = refused & (s.contractions >= _ROUNDS)
        out = out_left | out_right
        s = s._replace(
            phase=s.phase + stopped,
            low=jnp.where(refused & (t < 0), t, s.low - width * out_left),
            high=jnp.where(refused & (t >= 0), t, s.high + width * out_right),
            left=s.left - out_left,
            right=s.right - out_right,
            expansions=s.expansions + out,
            contractions=s.contractions + refused,
        )
        over = accepted | lost
        x = jnp.where(accepted[:, None], there, carry.x)
        log_density = jnp.where(accepted, log_density, carry.log_density)
        # Robbins and Monro: intervals grow until a slice takes as many steps outwards as inwards.
        balance = (s.expansions - s.contractions) / jnp.maximum(s.expansions + s.contractions, 1)
        change = jnp.where(over & warm, balance / jnp.sqrt(held.updates + 1), 0.0)
        log_width = held.log_width + change[:, None] * (jnp.arange(self.dims) == s.axis[:, None])
        fresh = carry.fresh._replace(
            leapfrogs=carry.fresh.leapfrogs + active,
            divergent=carry.fresh.divergent | lost,
            expansions=carry.fresh.expansions + out,
            contractions=carry.fresh.contractions + refused,
        )
        ended = over & (s.axis == self.dims - 1)
        return carry._replace(
            x=x,
            log_density=log_density,
            held=held._replace(log_width=log_width),
            search=s._replace(axis=s.axis + over, phase=jnp.where(over, _BEGIN, s.phase)),
            fresh=fresh,
            ended=ended,
        )


def _learn(held: Slices, now: Phase, x: jax.Array) -> Slices:
    """Welford's update of the window's covariance, and new axes where the window ends."""
    weight = now.warm.astype(jnp.float64)
    updates = held.updates + weight
    delta = x - held.mean
    mean = held.mean + delta * (weight / jnp.maximum(updates, 1))[:, None]
    m2 = held.m2 + weight[:, None, None] * delta[:, :, None] * (x - mean)[:, None, :]
    held = held._replace(updates=updates, mean=mean, m2=m2)
    return when(jnp.any(now.close), lambda held: _new_axes(held, now.close), held)


def _new_axes(held: Slices, close: jax.Array) -> Slices:
    """The window's principal axes, with widths that fit them, and an empty window."""
    square, axes = lapack.eigh(0.5 * (held.m2 + jnp.swapaxes(held.m2, 1, 2)))
    square = square / jnp.maximum(held.updates - 1, 1)[:, None]
    # A window with fewer draws than dims says nothing of some axes: their widths start small and grow.
    square = jnp.maximum(square, 1e-8 * square[:, -1:] + np.finfo(np.float64).tiny)
    return held._replace(
        axes=jnp.where(close[:, None, None], axes, held.axes),
        log_width=jnp.where(close[:, None], 0.5 * jnp.log(square) + np.log(_SPREAD), held.log_width),
        updates=jnp.where(close, 0.0, held.updates),
        mean=jnp.where(close[:, None], 0.0, held.mean),
        m2=jnp.where(close[:, None, None], 0.0, held.m2),
    )


def _beginning(chains: int) -> _Search:
    """Before the first direction."""
    none, zero = jnp.zeros(chains, jnp.int32), jnp.zeros(chains, jnp.float64)
    return _Search(none, none, zero, zero, zero, none, none, none, none)


def _nothing(chains: int) -> SliceInfo:
    none = jnp.zeros(chains, jnp.int32)
    return SliceInfo(jnp.zeros(chains, jnp.float64), none, none > 0, none, none)


def _select(mask: jax.Array, a: Any, b: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.where(mask, x, y), a, b)


def _at(rows: jax.Array, column: jax.Array) -> jax.Array:
    return jnp.take_along_axis(rows, column[:, None], axis=1)[:, 0]


def _rows_of(value: Any, rows: int) -> jax.Array:
    return jnp.zeros((value.shape[0], rows, *value.shape[1:]), value.dtype)
