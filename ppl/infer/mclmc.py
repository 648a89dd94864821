"""MCLMC: unadjusted microcanonical Langevin dynamics (Robnik & Seljak 2023, arXiv:2303.18221), all chains in lock step.

Between two gradients stand two kicks, and a drift in whose middle the direction is refreshed (the order B A O A B of
Leimkuhler & Matthews, 2013, J. Chem. Phys. 138, 174102, whose positions have the least bias):

    u <- along u + uphill g;   x += h/2 F u;   u <- u + nu n;   x += h/2 F u / sqrt(1 + nu^2 d)

Nothing is normalised after the noise, so that no product with it is needed: a step is three inner products, <g, g>,
<u, g> and <u, u>, in one all-reduce, one pass that updates direction and position, which draws the noise as it goes,
and one gradient. The last drift is thereby |u| / sqrt(1 + nu^2 d) times as long, which depends on neither the position
nor the direction in which it goes, as u is uniform: every length keeps the distribution. Nothing is accepted or
rejected but steps whose energy error is not finite or far too large: these are undone, the direction is drawn anew, and
they are counted as divergent.

The products with a gradient also end the step that led to it. A round of the loop therefore first judges the last
transition, records it and adapts, and then begins the next; one more round, which does not move, ends a block. A chain
whose direction is to be drawn anew, at the start, after a rejected step or under a new metric, rests for a transition.

Directions are kept up to their length. A rejected step of one drift is undone by drifting back, to rounding, for which
its noise is drawn again: no copy of the old position is held.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ir import counter
from ir.errors import Diagnostic, InternalError

from .isokinetic import Kick, Scheme, kick, kick_again, refreshment
from .leapfrog import when
from .mclmc_adapt import CLIMB, Adapt, Schedule, Seen, after_transition, start_adapt
from .metric import Diagonal, Metric, identity
from .protocol import MOMENTUM, Block, Collect, Handover, State, Target
from .space import Space, Vector
from .tracers import Tracers

BRAKE, RELEASE, SLOWEST = 0.5, 1.1, 1 / 16
"""A rejected step is followed by shorter ones, which grow again: a chain that has come to where the posterior is stiff
would else have most of its steps rejected there."""


class MclmcInfo(NamedTuple):
    """Of a transition, [C, K]; `divergent`, `energy_variance` and `rejected` are of all since the last kept one."""

    leapfrogs: jax.Array  # gradients spent
    divergent: jax.Array  # a step was rejected
    log_density: jax.Array
    step_size: jax.Array  # eps / sqrt(d), the one of this transition
    energy_error: jax.Array  # E of the step; 0 where the chain rested
    energy_variance: jax.Array  # mean E^2 / d; a rejected step counts as one at the threshold
    length: jax.Array  # L / sqrt(d)
    rejected: jax.Array  # the part of steps that was, since the last kept transition


class Walk(NamedTuple):
    """The state between blocks."""

    state: State
    direction: Vector  # up to its length
    fresh: jax.Array  # bool[C]: the direction is to be drawn anew
    adapt: Adapt
    brake: jax.Array  # float64[C]: the part of the step size that is used
    size: jax.Array  # float64[C]: eps of the last step, whose closing kick is still due
    since: jax.Array  # float64[C, 3]: sum of E^2 / d, steps, and rejected ones since the last kept draw


class _Step(NamedTuple):
    """A step under way."""

    moving: jax.Array  # bool[C]: it is one, not a rest
    kinetic: jax.Array  # dK so far
    log_density: jax.Array  # where it began
    origin: Vector  # there too, where a step has several drifts, else {}


class _Carry(NamedTuple):
    round: jax.Array  # int32
    walk: Walk
    step: _Step
    draws: dict[str, jax.Array]
    info: jax.Array  # float64[C, K, fields]


@dataclass(frozen=True)
class Mclmc:
    """The method. Lengths are in units of sqrt(d).

    wanted: mean E^2 / d that the step size aims at. step, length: fixed at the start (a step is adapted from there in a
    warm-up, a length stays); None: found. learn: the metric is adapted. clip: steps of E^2 / d above clip * wanted are
    rejected. rows, every: of the tracers' series. warm: there is a warm-up.
    """

    space: Space
    target: Target
    scheme: Scheme
    wanted: float
    step: float | None
    length: float | None
    learn: bool
    clip: float
    thin: int
    rows: int
    every: int
    warm: bool

    @property
    def dims(self) -> float:
        return float(self.space.degrees)

    def start(self, seed: counter.Key, begin: Handover) -> Walk:
        if self.dims < 2:
            hint = "use ppl.nuts, which needs no direction to turn in"
            raise Diagnostic("run", "microcanonical samplers need two latent dims or more", hint=hint)
        if begin.step_size is None and self.step is None and not self.warm:
            hint = "give step_size, a warm-up, or start from a run that has one"
            raise Diagnostic("argument", "mclmc without a warm-up needs a step size", hint=hint, where="step_size")
        c = self.space.chains
        known = begin.metric is not None
        metric: Metric = identity(self.space) if begin.metric is None else begin.metric
        step = begin.step_size if self.step is None else jnp.full(c, self.step, jnp.float64)
        learn = self.learn and self.warm and isinstance(metric, Diagonal)
        series = (self.rows, Tracers(self.space).size) if self._tracing else (0, 0)
        adapt = start_adapt(self.space, metric, step, self.length, known, learn, series)
        brake, size, since = jnp.ones(c, jnp.float64), jnp.zeros(c, jnp.float64), jnp.zeros((c, 3), jnp.float64)
        return Walk(begin.state, self.space.zeros(), jnp.ones(c, bool), adapt, brake, size, since)

    def handover(self, state: Walk) -> Handover:
        return Handover(state.state, state.adapt.metric, state.adapt.step)

    @property
    def _tracing(self) -> bool:
        return self.warm and self.length is None and self.rows > 3

    def advance(self, seed: counter.Key, state: Walk, schedule: Schedule, limit: Any, collect: Collect) -> Block:
        space, length, gradients = self.space, len(schedule.adapt_step), self.scheme.gradients
        if length % self.thin:
            raise InternalError(f"a block of {length} transitions cannot keep every {self.thin}th")
        limit = jnp.asarray(limit, jnp.int32)
        flags = Schedule(*(jnp.asarray(f) for f in schedule))
        chain_key, first_step = counter.derive(seed, space.chain_ids()), state.state.step
        # Positions of few latents are kept, and what is wanted of them is computed for all draws of a block at once.
        afterwards = space.packed
        keep: Collect = (lambda position: position) if afterwards else collect

        def advance(carry: _Carry) -> _Carry:
            done, phase = carry.round // gradients, carry.round % gradients
            walk, at_end = carry.walk, phase == 0

            def noise(rounds: int) -> Vector:
                """Of so many rounds ago."""
                step, part = (carry.round - rounds) // gradients, (carry.round - rounds) % gradients
                key = counter.derive(chain_key, first_step + step.astype(jnp.uint32))
                return space.normal(key if gradients == 1 else counter.derive(key, part.astype(jnp.uint32)), MOMENTUM)

            gg, ug, uu = self._products(walk)
            scale = 1 / jnp.sqrt(jnp.maximum(uu, 1e-300))
            closing = kick(gg, ug * scale, walk.size * _at(self.scheme.closing, phase), self.dims)
            step = carry.step._replace(kinetic=carry.step.kinetic + closing.kinetic)
            ended = at_end & (done > 0)
            now = Schedule(*(jnp.where(ended, f[jnp.maximum(done - 1, 0)], jnp.zeros((), f.dtype)) for f in flags))
            walk, row, rejected = self._judge(walk, step, gg, now, ended, noise)
            # A row that is written too early is written again when its transition has ended.
            info = lax.dynamic_update_index_in_dim(carry.info, row, done - at_end, axis=1)
            kept = ended & (done % self.thin == 0)
            draws = when(kept, lambda held: _write(held, keep(walk.state.position), done // self.thin - 1), carry.draws)
            walk = walk._replace(since=jnp.where(kept, 0.0, walk.since))
            go = done < limit
            h = self._size(walk, phase) * _at(self.scheme.opening, phase)
            opening = kick_again(closing, gg, ug * scale, h, self.dims)
            walk, step = self._move(walk, step, opening, scale, noise, phase, go, rejected)
            return _Carry(carry.round + 1, walk, step, draws, info)

        c = space.chains
        draws = {
            n: jnp.zeros((c, length // self.thin, *v.shape[1:]), v.dtype)
            for n, v in jax.eval_shape(keep, state.state.position).items()
        }
        info = jnp.zeros((c, length, len(MclmcInfo._fields)), jnp.float64)
        zero = jnp.zeros(c, jnp.float64)
        origin = state.state.position if gradients > 1 else {}
        step = _Step(jnp.zeros(c, bool), zero, state.state.log_density, origin)
        carry = _Carry(jnp.zeros((), jnp.int32), state, step, draws, info)
        carry = lax.while_loop(lambda k: k.round <= limit * gradients, advance, carry)
        walk = carry.walk
        walk = walk._replace(state=walk.state._replace(step=first_step + limit.astype(jnp.uint32)))
        draws = space.collectives.vmap(collect, 1)(carry.draws) if afterwards else carry.draws
        told = MclmcInfo(*(carry.info[..., i] for i in range(len(MclmcInfo._fields))))
        told = told._replace(leapfrogs=told.leapfrogs.astype(jnp.int32), divergent=told.divergent > 0)
        return Block(walk, draws, told, jnp.zeros(c, bool))

    def _products(self, walk: Walk) -> jax.Array:
        """<g, g>, <u, g> and <u, u> of direction and whitened gradient."""
        u, g = walk.direction, walk.adapt.metric.pull(walk.state.gradient)
        return self.space.dots([(g, g), (u, g), (u, u)])

    def _size(self, walk: Walk, phase: jax.Array) -> jax.Array:
        """eps of the step that begins or is under way."""
        return jnp.where(phase == 0, walk.adapt.step * walk.brake * float(np.sqrt(self.dims)), walk.size)

    def _refreshment(self, walk: Walk, way: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(nu, sqrt(1 + nu^2 d)) of a drift of that length."""
        nu = refreshment(way, walk.adapt.length * float(np.sqrt(self.dims)), self.dims)
        return nu, jnp.sqrt(1 + nu**2 * self.dims)

    def _judge(
        self, walk: Walk, step: _Step, gg: jax.Array, now: Schedule, ended: jax.Array, noise: Callable[[int], Vector]
    ) -> tuple[Walk, jax.Array, jax.Array]:
        """Ends a transition where `ended`: the walk without rejected steps and adapted, the info's row, what was
        rejected."""
        state, adapt = walk.state, walk.adapt
        stepped = ended & step.moving
        gain = state.log_density - step.log_density
        error = jnp.where(stepped, step.kinetic - gain, 0.0)
        threshold = float(np.sqrt(self.clip * self.wanted * self.dims))
        small = jnp.abs(error) <= threshold
        climbed = ~small & ~adapt.known & ~now.strict & jnp.isfinite(error) & (gain > CLIMB * np.sqrt(self.dims))
        rejected = stepped & ~small & ~climbed

        def undo(position: Vector) -> Vector:
            if step.origin:
                return self.space.where(rejected, step.origin, position)
            half = jnp.where(rejected, -0.5 * walk.size, 0.0)
            nu, norm = self._refreshment(walk, walk.size)
            space, last = self.space, walk.direction
            gone = space.axpy(-nu / (1 + 1 / norm), noise(1), last)
            return space.axpy(half * (1 + 1 / norm), adapt.metric.push(gone), position)

        position = when(jnp.any(rejected), undo, state.position)
        turned = walk.size * jnp.sqrt(gg) / self.dims
        log_density = jnp.where(rejected, step.log_density, state.log_density)
        state = state._replace(position=position, log_density=log_density)
        square = jnp.where(rejected, threshold, error) ** 2 / self.dims
        since = walk.since + jnp.stack([square, stepped * 1.0, rejected * 1.0], axis=1)
        spent = jnp.full(error.shape, float(self.scheme.gradients))
        variance, part = (since[:, i] / jnp.maximum(since[:, 1], 1.0) for i in (0, 2))
        told = (spent, since[:, 2], log_density, adapt.step, jnp.nan_to_num(error), variance, adapt.length, part)
        row = jnp.stack(told, axis=1)
        each = lambda f: jnp.broadcast_to(f, error.shape)  # noqa: E731
        flags = Schedule(*(each(f) for f in now))
        if self._tracing:
            tracers = Tracers(self.space)

            def trace(series: jax.Array) -> jax.Array:
                return lax.dynamic_update_index_in_dim(series, tracers.read(position), now.trace - 1, axis=1)

            adapt = adapt._replace(series=when(now.trace > 0, trace, adapt.series))
        fresh = walk.fresh | rejected
        if self.warm:
            seen = Seen(stepped, rejected, square / self.wanted, climbed, turned, log_density, position, state.gradient)
            new = after_transition(adapt, self.space, flags, seen, self.every, Tracers(self.space).weights)
            fresh, adapt = fresh | (flags.renew if adapt.mean else False), new
        brake = jnp.where(rejected, jnp.maximum(walk.brake * BRAKE, SLOWEST), walk.brake)
        brake = jnp.where(stepped & ~rejected, jnp.minimum(brake * RELEASE, 1.0), brake)
        return Walk(state, walk.direction, fresh, adapt, brake, walk.size, since), row, rejected

    def _move(
        self,
        walk: Walk,
        step: _Step,
        turn: Kick,
        scale: jax.Array,
        noise: Callable[[int], Vector],
        phase: jax.Array,
        go: jax.Array,
        rejected: jax.Array,
    ) -> tuple[Walk, _Step]:
        """The kicks, one drift with its refreshment and one gradient, for the chains that do not rest, if `go`."""
        space, state, first = self.space, walk.state, phase == 0
        size = self._size(walk, phase)
        moving = jnp.where(first, ~walk.fresh, step.moving)
        active, renewed = moving & go, walk.fresh & first & go
        along = jnp.where(active, turn.along * scale, jnp.where(renewed, 0.0, 1.0))
        uphill = jnp.where(active, turn.gradient, 0.0)
        way = jnp.where(active, size * _at(self.scheme.drift, phase), 0.0)
        nu, norm = self._refreshment(walk, way)
        noisy = jnp.where(active, nu, jnp.where(renewed, 1.0, 0.0))
        metric, gradient = walk.adapt.metric, state.gradient

        def kicked(along: jax.Array) -> Vector:
            # The gradient of a rejected step may be NaN. A diagonal metric takes it without that, so that XLA:CPU does
            # not keep the whitened gradient of the inner products for here; others share theirs, which they communicate
            # for.
            used = active & ~jnp.isnan(along)
            if isinstance(metric, Diagonal):
                g = metric.pull(space.where(used, gradient, space.zeros()))
            else:
                g = space.where(used, metric.pull(gradient), space.zeros())
            return {n: space.spread(along, u) * u + space.spread(uphill, u) * g[n] for n, u in walk.direction.items()}

        position = state.position
        if isinstance(metric, Diagonal) and not space.packed:
            # What goes through this loop makes the direction wait for it, and lets XLA share nothing with it that it
            # would keep.
            def depart(held: tuple[Vector, jax.Array]) -> tuple[Vector, jax.Array]:
                return space.axpy(0.5 * way, metric.push(kicked(along + held[1])), held[0]), 0.5 * held[1]

            position, nothing = when(jnp.any(active), depart, (position, jnp.zeros_like(along)))
            along = along + nothing
            direction = drift = space.axpy(noisy, noise(0), kicked(along))
            way = 0.5 * way / norm
        else:
            # Both halves of the drift at once: such a metric takes longer than noise takes room.
            before, drawn = kicked(along), noise(0)
            direction = space.axpy(noisy, drawn, before)
            drift = space.axpy(1 / norm, direction, before)
            way = 0.5 * way
        origin = {n: jnp.where(first, state.position[n], x) for n, x in step.origin.items()}
        step = _Step(
            moving,
            jnp.where(first, 0.0, step.kinetic) + turn.kinetic,
            jnp.where(first, state.log_density, step.log_density),
            origin,
        )

        # The drift stands in the loop with the gradient: outside it, XLA would compute the direction anew for it, from
        # a copy of the former one.
        def evaluate(held: tuple[Vector, Vector, jax.Array]) -> tuple[Vector, Vector, jax.Array]:
            position = space.axpy(way, metric.push(drift), held[0])
            log_density, gradient = self.target(position)
            return position, gradient, log_density

        needed = go | jnp.any(rejected)
        position, gradient, log_density = when(needed, evaluate, (position, state.gradient, state.log_density))
        state = state._replace(position=position, gradient=gradient, log_density=log_density)
        size = jnp.where(active, size, walk.size)
        return walk._replace(state=state, direction=direction, size=size, fresh=walk.fresh & ~(go & first)), step


def _at(table: tuple[float, ...], phase: jax.Array) -> jax.Array | float:
    return table[0] if len(table) == 1 else jnp.asarray(table, jnp.float64)[phase]


def _write(buffers: dict[str, jax.Array], values: dict[str, jax.Array], row: jax.Array) -> dict[str, jax.Array]:
    return {n: lax.dynamic_update_index_in_dim(b, values[n], row, axis=1) for n, b in buffers.items()}
