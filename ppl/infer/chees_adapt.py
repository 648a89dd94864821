"""Warm-up of ChEES-HMC: one step size, length and metric, learnt from all chains of a run (Hoffman et al. 2021).

- Step size: dual averaging brings the harmonic mean of the chains' acceptance to its target: a single chain that is
  refused counts for more than it does in the mean.
- Length T: Adam on log T climbs the change in the estimator of the expected square, E[(|x' - m'|^2 - |x - m|^2)^2] / 4,
  whose gradient is the mean over chains, weighted with acceptance, of

      h T (|x' - m'|^2 - |x - m|^2) <x' - m', p'>,

  with norms in whitened coordinates and m, m' the chains' means at the two ends of a path h T long.
- Metric: each chain keeps the sums of `ppl.infer.fisher` over its own draws and gradients, under the schedule that all
  trajectories have; when the metric is renewed these are pooled, the scatter between chains included.

Averages in which the t-th value weighs t^-1/2 are used after the warm-up. All scalars are float64[C], equal for all
chains of the run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .fisher import DiagonalEstimate, FisherDiagonal, Windowed, Windows
from .leapfrog import when
from .metric import Diagonal, Metric, identity
from .protocol import Handover, State
from .schedule import Schedule
from .space import Space, Vector
from .step_size import StepSize, after_trial, average, freeze, search_again, start_step_size

_DECAY = 0.5
_RATE, _FORGETTING, _LARGEST = 0.025, 0.95, 0.35
"""Adam's: learning rate, decay of the squares (that of the gradients is 0), and the largest change of log T."""


class Adapt(NamedTuple):
    """What adaptation knows."""

    step: StepSize
    log_length: jax.Array  # log T
    log_average: jax.Array  # of T
    square: jax.Array  # Adam's running square of the gradient
    updates: jax.Array  # of T
    metric: Metric
    estimate: Any


class Seen(NamedTuple):
    """What a transition shows: both ends of its path, the momentum at the second, and where the chain stands then."""

    begin: Vector
    end: Vector
    momentum: Vector
    state: State
    accepted: jax.Array
    acceptance: jax.Array
    path: jax.Array  # float64[C], h T


@dataclass(frozen=True)
class Pool:
    """The chains of a run, those on other devices included."""

    space: Space

    def total(self, x: jax.Array) -> jax.Array:
        """The sum over all chains of x[C, ...], [1, ...]."""
        return self.space.chain_sum(x)[None]

    def sum(self, x: jax.Array) -> jax.Array:
        """float64[C]: the same for each."""
        return jnp.broadcast_to(self.total(x), x.shape)

    def largest(self, x: jax.Array) -> jax.Array:
        """[C]: the largest of scalars."""
        return jnp.broadcast_to(self.space.over_chains(jnp.max(x), "max"), x.shape)

    @property
    def shares(self) -> jax.Array:
        """float64[C]: one over the number of chains."""
        return 1 / self.sum(jnp.ones(self.space.chains, jnp.float64))

    def weighted(self, weight: jax.Array, x: Vector) -> Vector:
        """sum_c weight[c] x_c, [1, ...]."""
        return {n: self.total(self.space.spread(weight, v) * v) for n, v in x.items()}

    def mean(self, x: jax.Array) -> jax.Array:
        return self.sum(self.shares * x)

    def harmonic(self, acceptance: jax.Array) -> jax.Array:
        return 1 / self.mean(1 / acceptance)


def start_adapt(
    space: Space, estimator: Windows | None, begin: Handover, step_size: float | None, length: float
) -> Adapt:
    """Before the first transition: metric and step size that were handed over, pooled, else the gradients' own metric
    and a search; `step_size` is where the adaptation starts in any case."""
    pool, each = Pool(space), lambda x: jnp.full(space.chains, x, jnp.float64)
    all_alike = lambda x: {n: jnp.broadcast_to(v, begin.state.position[n].shape) for n, v in x.items()}  # noqa: E731
    if estimator is None:
        metric = identity(space) if begin.metric is None else begin.metric
    elif begin.metric is None:
        size = {n: jnp.abs(g) for n, g in begin.state.gradient.items()}
        metric = estimator.first(all_alike(pool.weighted(pool.shares, size)))
    else:
        square = {n: s**2 for n, s in begin.metric.deviation().items()}
        scale = {n: jnp.sqrt(s) for n, s in pool.weighted(pool.shares, square).items()}
        metric = Diagonal(space.keep_real(all_alike(scale), 1.0))
    value, known = each(1.0 if step_size is None else step_size), step_size is not None
    if step_size is None and begin.step_size is not None:
        value, known = jnp.exp(pool.mean(jnp.log(begin.step_size))), True
    estimate = () if estimator is None else estimator.start()
    lengths = (each(math.log(length)) for _ in range(2))
    return Adapt(start_step_size(value, search=not known), *lengths, each(0.0), each(0.0), metric, estimate)


def after_search(space: Space, adapt: Adapt, tried: jax.Array, acceptance: jax.Array) -> Adapt:
    """After a trial of the step-size search."""
    error = -jnp.log(Pool(space).harmonic(acceptance))
    return adapt._replace(step=after_trial(adapt.step, tried, error))


def after_transition(
    space: Space, estimator: Windows, adapt: Adapt, flags: Schedule, seen: Seen, target_accept: float, most: int
) -> Adapt:
    """Adaptation after a transition, where the flags (bool[C], all alike, and all false after a trial) say so."""
    accept_stat = Pool(space).harmonic(seen.acceptance)

    def lengthen(adapt: Adapt) -> Adapt:
        return _climb(adapt, flags.adapt_step, _gain(space, adapt.metric, seen), most)

    adapt = when(jnp.any(flags.adapt_step), lengthen, adapt)
    step = average(adapt.step, flags.adapt_step, accept_stat, target_accept, _DECAY)
    step = freeze(search_again(step, flags.search), flags.freeze)
    # A draw that did not move says nothing new of the metric.
    enters = flags.accumulate & seen.accepted

    def learn(estimate: Windowed) -> Windowed:
        return estimator.add(estimate, enters, seen.state.position, seen.state.gradient)

    def renew(known: tuple[Windowed, Metric]) -> tuple[Windowed, Metric]:
        estimate = estimator.switch(known[0], flags.switch)
        pooled = estimate._replace(foreground=_pooled(space, estimate.foreground))
        return estimate, estimator.metric(pooled, known[1], flags.update)

    estimate = when(jnp.any(enters), learn, adapt.estimate)
    estimate, metric = when(jnp.any(flags.update), renew, (estimate, adapt.metric))
    length = jnp.where(flags.freeze, adapt.log_average, adapt.log_length)
    return adapt._replace(step=step, log_length=length, metric=metric, estimate=estimate)


def _gain(space: Space, metric: Metric, seen: Seen) -> jax.Array:
    """The gradient of the criterion by log T."""
    pool = Pool(space)
    # Paths that left the numbers have no weight, and must not enter sums either.
    kept = seen.acceptance > 0
    share = seen.acceptance / jnp.maximum(pool.sum(seen.acceptance), 1e-300)
    end, momentum = space.where(kept, seen.end, seen.begin), space.where(kept, seen.momentum, space.zeros())
    scale = metric.deviation()  # of a diagonal metric this is F
    whiten = lambda x, m: {n: (v - m[n]) / scale[n] for n, v in x.items()}  # noqa: E731
    before = whiten(seen.begin, pool.weighted(pool.shares, seen.begin))
    after = whiten(end, pool.weighted(share, end))
    new, old, along = space.dots([(after, after), (before, before), (after, momentum)])
    return pool.sum(jnp.where(kept, share * seen.path * (new - old) * along, 0.0))


def _climb(adapt: Adapt, mask: jax.Array, gain: jax.Array, most: int) -> Adapt:
    """One step of Adam, and of the average."""
    updates = adapt.updates + 1
    good = jnp.isfinite(gain) & (gain != 0)
    square = _FORGETTING * adapt.square + (1 - _FORGETTING) * jnp.where(good, gain, 0.0) ** 2
    size = jnp.sqrt(square / (1 - _FORGETTING**updates))
    change = jnp.where(good, jnp.clip(_RATE * gain / jnp.where(good, size, 1.0), -_LARGEST, _LARGEST), 0.0)
    least = jnp.log(adapt.step.value)
    log_length = jnp.clip(adapt.log_length + change, least, least + math.log(most))
    weight = updates**-_DECAY
    averaged = weight * log_length + (1 - weight) * adapt.log_average
    return adapt._replace(
        log_length=jnp.where(mask, log_length, adapt.log_length),
        log_average=jnp.where(mask, averaged, adapt.log_average),
        square=jnp.where(mask, square, adapt.square),
        updates=jnp.where(mask, updates, adapt.updates),
    )


def _pooled(space: Space, of_chains: DiagonalEstimate) -> DiagonalEstimate:
    """The moments of all chains' draws together, vectors [1, ...]."""
    pool = Pool(space)
    count = pool.sum(of_chains.count)
    share = of_chains.count / jnp.maximum(count, 1.0)

    def together(means: Vector, variances: Vector) -> tuple[Vector, Vector]:
        mean = pool.weighted(share, means)
        scatter = {n: v + (means[n] - mean[n]) ** 2 for n, v in variances.items()}
        return mean, pool.weighted(share, scatter)

    x, g = together(of_chains.x_mean, of_chains.x_variance), together(of_chains.g_mean, of_chains.g_variance)
    return DiagonalEstimate(count, *x, *g)


def estimator(space: Space) -> Windows:
    """The sums that every chain keeps: 8 vectors."""
    return Windows(FisherDiagonal(space))


def van_der_corput(index: jax.Array) -> jax.Array:
    """float64: the binary digits of uint32 numbers mirrored at the point, 1, 2, 3, ... -> 1/2, 1/4, 3/4, ..."""
    for shift, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF), (16, 0x0000FFFF)):
        s, m = np.uint32(shift), np.uint32(mask)
        index = ((index >> s) & m) | ((index & m) << s)
    return index.astype(jnp.float64) * 2.0**-32
