"""Adaptive tempered sequential Monte Carlo: a population of particles from a reference to the posterior, and evidence.

The chains are the particles. They begin as draws of a Gaussian q with independent components, whose means and spreads
are those of the starting points, and pass through the densities q^(1-b) p^b with p the posterior's joint density. Each
transition is one stage (Del Moral, Doucet, Jasra, JRSS B 68, 2006; Jasra et al., Scand. J. Stat. 38, 2011): the largest
b for which the weights (p/q)^(db) keep a given share of effective particles, by bisection; systematic resampling; some
Hamiltonian trajectories, whose metric is the particles' spread and whose step size follows their acceptance. The
product of the mean weights estimates the evidence, the integral of p, without bias but for the adaptation.

The error of its logarithm follows from the shares of the first particles' clans, as those alone are independent (Chan
and Lai, Annals of Statistics 41, 2013; Lee and Whiteley, Biometrika 105, 2018, for multinomial resampling).

Where particles are split over mesh axes, the weights of all are gathered (three numbers a particle), and resampling
gathers positions and gradients along the particles: for fields, keep particles whole on devices, or let the model's
axes split the field. Loops have equal lengths on all devices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import logsumexp

from ir import counter
from ir.counter import Key, uniform

from .metric import Diagonal
from .phase import Phase
from .protocol import ACCEPT, LENGTH, MOMENTUM, TRIAL, Block, Collect, Handover, State, Target
from .slots import write_row
from .space import Space, Vector, add, multiply, subtract

_POPULATION = 0x534D4331
"""Purpose of the randomness that all particles share."""
_REFERENCE = 7
"""Purpose of the noise that draws the first particles."""
_DIVERGENCE = 1000.0
_BISECTIONS = 100


class Population(NamedTuple):
    """The state between blocks; vectors without a particle of their own are equal for all of them."""

    state: State  # of p, not of the tempered density
    centre: Vector  # of the reference
    spread: Vector  # of the reference, 1 on padding
    scale: Vector  # of the mutations, 1 on padding
    temperature: jax.Array  # float64[C], b
    step_size: jax.Array  # float64[C]
    log_evidence: jax.Array  # float64[C]
    variance: jax.Array  # float64[C], of log_evidence
    ancestor: jax.Array  # int32[C]: the number of the first particle that this one comes from


class SmcInfo(NamedTuple):
    """[C, K] in the result of a block; rows of stages that were not needed are zero."""

    log_density: jax.Array
    leapfrogs: jax.Array
    divergent: jax.Array  # an energy error above 1000, or no posterior yet though warm-up is over
    accept_stat: jax.Array  # mean of the particle's moves
    step_size: jax.Array
    temperature: jax.Array  # after the stage
    effective: jax.Array  # share of effective particles before resampling
    log_evidence: jax.Array  # so far
    log_evidence_error: jax.Array


class _Carry(NamedTuple):
    population: Population
    done: jax.Array
    draws: dict[str, jax.Array]
    info: SmcInfo


class _Path(NamedTuple):
    """A particle under way: momenta are whitened."""

    x: Vector
    p: Vector
    log_density: jax.Array
    g: Vector


@dataclass(frozen=True)
class Smc:
    """The method. effective: share of effective particles that a stage keeps; moves: trajectories of a stage; steps:
    leapfrogs of one at most; target_accept: their mean acceptance."""

    space: Space
    target: Target
    effective: float = 0.7
    moves: int = 3
    steps: int = 16
    target_accept: float = 0.8
    thin: int = 1

    def start(self, seed: Key, begin: Handover) -> Population:
        space = self.space
        centre, spread = self._moments(begin.state.position)
        spread = {n: jnp.where(s > 0, s, jnp.ones_like(s)) for n, s in spread.items()}
        step = jnp.copy(begin.state.step)
        key = counter.derive(seed, space.chain_ids(), step[0])
        position = add(centre, multiply(spread, space.normal(key, _REFERENCE)))
        # Density and gradient there are made when the first block begins.
        state = State(position, begin.state.gradient, begin.state.log_density, step)
        each = lambda x: jnp.full(space.chains, x, jnp.float64)  # noqa: E731
        copied = {n: jnp.copy(s) for n, s in spread.items()}
        first = max(space.degrees, 1) ** -0.25
        return Population(
            *(state, centre, spread, copied, each(0.0), each(first), each(0.0), each(0.0)),
            space.chain_ids().astype(jnp.int32),
        )

    def handover(self, state: Population) -> Handover:
        return Handover(state.state, Diagonal(state.scale), state.step_size)

    def advance(self, seed: Key, state: Population, schedule: Phase, limit: jax.Array | int, collect: Collect) -> Block:
        length, chains = len(schedule.warm), self.space.chains
        warm = jnp.asarray(schedule.warm)
        log_density, gradient = _apart(self.target(state.state.position))
        state = state._replace(state=state.state._replace(log_density=log_density, gradient=gradient))

        def needed(carry: _Carry) -> jax.Array:
            over = warm[jnp.minimum(carry.done, length - 1)] & (carry.population.temperature[0] >= 1)
            return (carry.done < jnp.asarray(limit, jnp.int32)) & ~over

        def stage(carry: _Carry) -> _Carry:
            population, told = self._stage(seed, carry.population, ~warm[carry.done])
            row = jnp.broadcast_to(carry.done, (chains,))
            draw_row = jnp.where((row + 1) % self.thin == 0, row // self.thin, length)
            draws = collect(population.state.position)
            return _Carry(
                population,
                carry.done + 1,
                {n: write_row(carry.draws[n], draw_row, v) for n, v in draws.items()},
                SmcInfo(*(write_row(b, row, v) for b, v in zip(carry.info, told, strict=True))),
            )

        rows = lambda v, n: jnp.zeros((chains, n, *v.shape[1:]), v.dtype)  # noqa: E731
        draws = {n: rows(v, length // self.thin) for n, v in jax.eval_shape(collect, state.state.position).items()}
        real, whole = jnp.zeros((chains, length), jnp.float64), jnp.zeros((chains, length), jnp.int32)
        info = SmcInfo(real, whole, whole > 0, *(real,) * (len(SmcInfo._fields) - 3))
        carry = lax.while_loop(needed, stage, _Carry(state, jnp.int32(0), draws, info))
        return Block(carry.population, carry.draws, carry.info, carry.population.temperature >= 1)

    def _stage(self, seed: Key, held: Population, drawing: jax.Array) -> tuple[Population, SmcInfo]:
        step = held.state.step
        common = counter.derive(seed, np.uint32(_POPULATION), step[0])
        held, effective = _apart(self._reweight(common, held))
        held = held._replace(scale=_apart(self._scale(held.state.position)))
        key = counter.derive(seed, self.space.chain_ids(), step)

        def move(m: jax.Array, carry: tuple[Population, jax.Array, jax.Array, jax.Array]):
            held, accepted, diverged, spent = carry
            held, accept, bad, leapfrogs = self._move(common, key, held, m)
            return held, accepted + accept, diverged | bad, spent + leapfrogs

        zero = jnp.zeros(self.space.chains, jnp.float64)
        start = (held, zero, zero > 0, jnp.zeros(self.space.chains, jnp.int32))
        held, accepted, diverged, spent = lax.fori_loop(0, self.moves, move, start)
        held = held._replace(state=held.state._replace(step=step + np.uint32(1)))
        return held, SmcInfo(
            *(held.state.log_density, spent, diverged | (drawing & (held.temperature < 1)), accepted / self.moves),
            *(held.step_size, held.temperature, zero + effective, held.log_evidence, jnp.sqrt(held.variance)),
        )

    # --- weights ---

    def _reweight(self, key: Key, held: Population) -> tuple[Population, jax.Array]:
        """The next temperature, its share of effective particles, and the population that stands for it."""
        log_reference, _ = self._reference(held, held.state.position)
        ratio = self._gather(held.state.log_density - log_reference)
        finite = jnp.isfinite(ratio)
        many = ratio.shape[0]
        log_weight = lambda db: jnp.where(finite, db * jnp.where(finite, ratio, 0.0), -jnp.inf)  # noqa: E731

        def effective(db: jax.Array) -> jax.Array:
            w = log_weight(db)
            return jnp.exp(2 * logsumexp(w) - logsumexp(2 * w))

        rest, goal = 1 - held.temperature[0], self.effective * jnp.sum(finite)

        def halve(_: int, bracket: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            low, high = bracket
            middle = 0.5 * (low + high)
            enough = effective(middle) >= goal
            return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

        low, _ = lax.fori_loop(0, _BISECTIONS, halve, (jnp.zeros_like(rest), rest))
        db = jnp.where(effective(rest) >= goal, rest, low)
        moved = db > 0
        w = log_weight(db)
        total = logsumexp(w)
        weight = jnp.exp(w - total)
        # The clans of the first particles are independent: the scatter of their shares is that of the total.
        ancestor = self._gather(held.ancestor)
        clans = jnp.zeros(many, jnp.float64).at[ancestor].add(weight)
        variance = jnp.maximum(jnp.sum(clans**2) - 1 / many, 0.0)
        # Systematic resampling (Kitagawa 1996): one uniform for all.
        u = uniform(key, (np.uint32(0), np.uint32(ACCEPT)), "float64")
        marks = (jnp.arange(many) + u) / many
        chosen = jnp.searchsorted(jnp.cumsum(weight), marks).astype(jnp.int32)
        chosen = jnp.where(moved, jnp.minimum(chosen, many - 1), jnp.arange(many, dtype=jnp.int32))
        mine = chosen[self.space.chain_ids().astype(jnp.int32)]
        state = held.state
        taken = {"x": state.position, "g": state.gradient, "l": state.log_density}
        taken = jax.tree.map(lambda x: self._gather(x)[mine], taken)
        return held._replace(
            state=State(taken["x"], taken["g"], taken["l"], state.step),
            temperature=jnp.where(db == rest, 1.0, held.temperature + db),
            log_evidence=held.log_evidence + jnp.where(moved, total - math.log(many), 0.0),
            variance=jnp.where(moved, variance, held.variance),
            ancestor=ancestor[mine],
        ), effective(db) / many

    def _reference(self, held: Population, x: Vector) -> tuple[jax.Array, Vector]:
        """log q and its gradient."""
        space = self.space
        z = {n: d / held.spread[n] for n, d in subtract(x, held.centre).items()}
        logs = {n: jnp.log(s) for n, s in held.spread.items()}
        square, volume = space.dots([(z, z), (space.full(1.0), logs)])
        log_density = -0.5 * square - volume - 0.5 * space.degrees * math.log(2 * math.pi)
        return log_density, {n: -v / held.spread[n] for n, v in z.items()}

    # --- mutation ---

    def _move(self, common: Key, key: Key, held: Population, m: jax.Array) -> tuple[Population, Any, Any, jax.Array]:
        """One trajectory of every particle, of a common number of leapfrogs about a quarter of a period long."""
        space, b, eps, scale = self.space, held.temperature, held.step_size, held.scale
        number = m.astype(jnp.uint32)
        u = uniform(common, (number, np.uint32(LENGTH)), "float64")
        quarter = 0.5 * math.pi * (0.5 + u)
        count = jnp.clip(jnp.round(quarter / eps[0]), 1, self.steps).astype(jnp.int32)

        def tempered(x: Vector, log_density: jax.Array, g: Vector) -> tuple[jax.Array, Vector]:
            log_reference, pull = self._reference(held, x)
            return b * log_density + (1 - b) * log_reference, space.axpy(b, g, space.axpy(1 - b, pull, space.zeros()))

        def kick(path: _Path) -> Vector:
            return space.axpy(0.5 * eps, multiply(scale, tempered(path.x, path.log_density, path.g)[1]), path.p)

        def leapfrog(_: int, path: _Path) -> _Path:
            p = kick(path)
            x = space.axpy(eps, multiply(scale, p), path.x)
            path = _Path(x, p, *_apart(self.target(x)))
            return path._replace(p=kick(path))

        state = held.state
        noise = _apart(space.normal(key, MOMENTUM + TRIAL * number))
        path = _Path(state.position, noise, state.log_density, state.gradient)
        end = lax.fori_loop(0, count, leapfrog, path)

        def energy(path: _Path) -> jax.Array:
            return 0.5 * space.dots([(path.p, path.p)])[0] - tempered(path.x, path.log_density, path.g)[0]

        error = energy(end) - energy(path)
        error = jnp.where(jnp.isnan(error), jnp.inf, error)
        chance = jnp.exp(-jnp.maximum(error, 0.0))
        accepted = uniform(key, (number, np.uint32(ACCEPT)), "float64") < chance
        state = State(
            space.where(accepted, end.x, state.position),
            space.where(accepted, end.g, state.gradient),
            jnp.where(accepted, end.log_density, state.log_density),
            state.step,
        )
        mean = self._mean(chance)
        held = held._replace(state=state, step_size=eps * jnp.exp(mean - self.target_accept))
        return held, chance, error > _DIVERGENCE, jnp.broadcast_to(count, chance.shape)

    def _scale(self, x: Vector) -> Vector:
        """The particles' spread; where they are all at one place, 1."""
        _, spread = self._moments(x)
        return {n: jnp.where(s > 0, s, jnp.ones_like(s)) for n, s in spread.items()}

    # --- over all particles ---

    def _moments(self, x: Vector) -> tuple[Vector, Vector]:
        """Mean and standard deviation over the particles, [C, ...] of equal rows; the deviation of padding is 0."""
        total = lambda v: self.space.chain_sum(v.astype(jnp.float64))  # noqa: E731
        count = total(jnp.ones(self.space.chains))
        mean = {n: total(v) / count for n, v in x.items()}
        square = {n: total((v - mean[n]) ** 2) / jnp.maximum(count - 1, 1) for n, v in x.items()}
        like = lambda v, n: jnp.broadcast_to(v, x[n].shape).astype(x[n].dtype)  # noqa: E731
        return {n: like(v, n) for n, v in mean.items()}, {n: like(jnp.sqrt(v), n) for n, v in square.items()}

    def _mean(self, scalar: jax.Array) -> jax.Array:
        return self.space.chain_sum(scalar) / self.space.chain_sum(jnp.ones_like(scalar))

    def _gather(self, x: jax.Array) -> jax.Array:
        axes = self.space.chain_axes
        return self.space.collectives.all_gather(x, axes, 0) if axes else x


def _apart(tree: Any) -> Any:
    """The same, but never computed anew in what uses it, as XLA would do with many small arrays."""
    return lax.optimization_barrier(tree)
