"""Adaptation of the unadjusted microcanonical sampler, per chain and never pooled, all of it masked arithmetic.

Through the first windows of the warm-up the chain comes from its start to the bulk of the posterior, where its log
density is at rest, then the metric is learnt; after them the path length L is set from the autocorrelation times of
tracers; at the end the step size stands still, and is corrected by the energy errors it has (`make_schedule`).

- Step size: energy errors grow with its third power, so a block of mean E^2 / d = V corrects it by (wanted / V)^(1/6).
  Blocks are plain means, each term clipped, so that a rare large error counts as what it is and not as nothing.
- The first metric is 1 / mean g^2 of a window at rest: gradients need no mixing. Later ones are the variances of draws
  (Welford's, not the Fisher geometric mean, which shrinks slow directions) in which the t-th transition weighs t^3, so
  that early ones are forgotten. A window in which the log density drifts changes nothing and its sums are begun again.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .leapfrog import when
from .metric import Diagonal, Metric
from .space import Space, Vector
from .tracers import autocorrelation_time

FIRST_STEP = 0.25
"""A step per latent, eps / sqrt(d), that suits whitened coordinates."""
LENGTH = 2.0
"""L / sqrt(d) before it is known; it is then kept within `LENGTHS`, where samplers of fields do best."""
LENGTHS = (1.0, 4.0)
_TAU = 0.4
"""L is so many autocorrelation lengths (Robnik et al. 2023)."""
_CLIP = 100.0
"""E^2 / d counts for at most so many times what is wanted of it."""
_FIRST_BLOCK, _LATE, _LAST_BLOCK, _GROWTH = 5.0, 20.0, 64.0, 1.5
_POWER = 3
CLIMB = 3.0
"""A step whose log density rises by so many sqrt(d) climbs towards the bulk, whatever its energy error."""
_TURNS = 3.0
"""A window has moved if its steps, in units of posterior deviations, are so long in all ..."""
_REJECTED = 0.1
"""... and at most such a part of them was rejected."""
_SHRINK = 10.0
"""Weight, in transitions, of the former metric beside the draws."""
_DRIFT, _WIDE = 2.5, 4.0
"""The log density is not at rest if its means in two halves of a window differ by more than so many of its deviations,
those in a half or a Gaussian's, sqrt(d / 2); or if the former are so many times the latter."""
ROWS = 512
"""Rows of the tracers' series."""


class Schedule(NamedTuple):
    """What to do after each transition, [K] each."""

    adapt_step: np.ndarray | jax.Array  # its energy error corrects the step size
    strict: np.ndarray | jax.Array  # steps of large energy error are rejected, whether the chain is in the bulk or not
    learn: np.ndarray | jax.Array  # it enters the moments
    late: np.ndarray | jax.Array  # it lies in the second half of its window
    renew: np.ndarray | jax.Array  # the window ends, and the moments become the metric
    trace: np.ndarray | jax.Array  # int32: the tracers are written to this row, from 1
    set_length: np.ndarray | jax.Array  # L from the tracers
    fix: np.ndarray | jax.Array  # the averaged step size stands from here on, and its errors are counted
    settle: np.ndarray | jax.Array  # a last correction

    def part(self, start: int, length: int) -> Schedule:
        """Transitions start..start+length; past the end nothing is done."""
        return Schedule(*(np.pad(f[start : start + length], (0, max(0, start + length - len(f)))) for f in self))


_WINDOWS = (0.01, 0.02, 0.035, 0.055, 0.08, 0.11, 0.15, 0.2, 0.27, 0.36, 0.48, 0.62)
"""Where windows of the metric end, as parts of the warm-up."""
_TRACED, _TUNED = 0.67, 0.9
_SHORTEST = 50
"""A shorter warm-up adapts the step size alone."""


def make_schedule(warmup: int, draws: int) -> Schedule:
    """Windows of the metric to 62 % of the warm-up, tracers from 67 % to 90 %, then the check of the step size."""
    n = warmup + draws
    index = np.arange(n)
    part = lambda a, b: (index >= round(a * warmup)) & (index < round(b * warmup))  # noqa: E731
    learn, late, renew, tuned = (np.zeros(n, bool) for _ in range(4))
    trace = np.zeros(n, np.int32)
    if warmup >= _SHORTEST:
        learn = part(0, _WINDOWS[-1])
        for a, b in pairwise((0.0, *_WINDOWS)):
            late |= part((a + b) / 2, b)
            renew[round(b * warmup) - 1] = True
        traced = np.flatnonzero(part(_TRACED, _TUNED))[:: stride(warmup)]
        trace[traced] = 1 + np.arange(len(traced))
        tuned = index == round(_TUNED * warmup) - 1
    return Schedule(
        adapt_step=index < warmup,
        strict=index >= round(_WINDOWS[-1] * warmup),
        learn=learn,
        late=late,
        renew=renew,
        trace=trace,
        set_length=tuned,
        fix=tuned,
        settle=index == warmup - 1,
    )


def stride(warmup: int) -> int:
    """Transitions between two rows of the tracers' series."""
    return max(1, -(-_traced(warmup) // ROWS))


def rows(warmup: int) -> int:
    """Rows of the tracers' series."""
    return -(-_traced(warmup) // stride(warmup)) if _traced(warmup) else 0


def _traced(warmup: int) -> int:
    return round(_TUNED * warmup) - round(_TRACED * warmup) if warmup >= _SHORTEST else 0


class Adapt(NamedTuple):
    """What adaptation knows: float64[C] unless said otherwise."""

    step: jax.Array  # eps / sqrt(d)
    length: jax.Array  # L / sqrt(d)
    metric: Metric
    energy: jax.Array  # sum of clipped E^2 / d in units of what is wanted, of this block of transitions
    count: jax.Array  # transitions of the block
    block: jax.Array  # transitions it is to have
    log_average: jax.Array  # mean log step size of the late blocks
    averaged: jax.Array  # their transitions
    density: jax.Array  # [C, 2, 5]: of both halves of a window: count, sum and squares of l - l0, rejected, turned
    density_start: jax.Array  # l0
    weight: jax.Array  # transitions in the moments
    mean: Vector  # {} where the metric is not adapted
    variance: Vector
    known: jax.Array  # bool[C]: the chain was at rest in the window before; at the start, its metric was handed over
    drawn: jax.Array  # bool[C]: the metric comes from draws, or was handed over
    series: jax.Array  # [C, rows, tracers]


def start_adapt(
    space: Space,
    metric: Metric,
    step: jax.Array | None,
    length: float | None,
    known: bool,
    learn: bool,
    series: tuple[int, int],
) -> Adapt:
    """Before the first transition. known: the metric was handed over; learn: it is adapted; series: rows, tracers."""
    each = lambda value: jnp.full(space.chains, value, jnp.float64)  # noqa: E731  (buffers of their own)
    step = each(FIRST_STEP) if step is None else step
    return Adapt(
        step=step,
        length=each(LENGTH if length is None else length),
        metric=metric,
        energy=each(0.0),
        count=each(0.0),
        block=each(_FIRST_BLOCK),
        log_average=jnp.log(step),
        averaged=each(0.0),
        density=jnp.zeros((space.chains, 2, 5), jnp.float64),
        density_start=each(0.0),
        weight=each(0.0),
        mean=space.zeros() if learn else {},
        variance=space.zeros() if learn else {},
        known=jnp.full(space.chains, known, bool),
        drawn=jnp.full(space.chains, known, bool),
        series=jnp.zeros((space.chains, *series), jnp.float64),
    )


class Seen(NamedTuple):
    """What adaptation sees of a transition."""

    moved: jax.Array  # bool[C]: it was a step, not a rest
    rejected: jax.Array  # bool[C]
    energy: jax.Array  # E^2 / d over what is wanted
    climbed: jax.Array  # bool[C]: a large error was let pass
    turned: jax.Array  # eps |g| / d, about eps / sqrt(d) in a whitened bulk, in any units
    log_density: jax.Array
    position: Vector
    gradient: Vector


def after_transition(adapt: Adapt, space: Space, flags: Schedule, seen: Seen, every: int, weights: np.ndarray) -> Adapt:
    """Adaptation after a transition where `flags`, [C] each, say so.

    every: transitions between two rows of the tracers' series, which has been written; weights: the tracers'.
    """
    adapt = _step_size(adapt, flags, seen)
    if adapt.series.size:
        adapt = when(jnp.any(flags.set_length), lambda a: _set_length(a, flags.set_length, every, weights), adapt)
    if adapt.mean:
        adapt = _moments(space, adapt, flags, seen)
    return adapt


def _step_size(adapt: Adapt, flags: Schedule, seen: Seen) -> Adapt:
    # A step that climbs tells nothing: far below the bulk the log density rises by orders of magnitude.
    used = flags.adapt_step & seen.moved & ~seen.climbed
    error = jnp.where(seen.rejected, _CLIP, jnp.minimum(seen.energy, _CLIP))
    energy = adapt.energy + jnp.where(used, error, 0.0)
    count = adapt.count + used
    # A step that is rejected while the order of magnitude is looked for need not be seen again.
    full = used & ((count >= adapt.block) | (seen.rejected & (adapt.block < _LATE)))
    factor = (energy / jnp.maximum(count, 1.0) + 1e-12) ** (-1 / 6)
    # Late blocks are averaged; the first ones still look for the order of magnitude.
    late = full & (count >= _LATE)
    averaged = adapt.averaged + jnp.where(late, count, 0.0)
    log_used = jnp.log(adapt.step * jnp.clip(factor, 0.3, 2.0))
    gain = jnp.where(late, count / jnp.maximum(averaged, 1.0), 0.0)
    log_average = adapt.log_average + gain * (log_used - adapt.log_average)
    step = jnp.where(full, jnp.exp(log_used), adapt.step)
    # From `fix` on the block never fills: the step size stands, and `settle` corrects it by the whole part's errors.
    step = jnp.where(flags.fix & (averaged > 0), jnp.exp(log_average), step)
    settled = flags.settle & (count > 10)
    step = jnp.where(settled, step * jnp.clip(factor, 0.5, 1.1), step)
    begin_again = full | flags.fix | flags.settle
    block = jnp.where(full, jnp.minimum(adapt.block * _GROWTH, _LAST_BLOCK), adapt.block)
    return adapt._replace(
        step=step,
        energy=jnp.where(begin_again, 0.0, energy),
        count=jnp.where(begin_again, 0.0, count),
        block=jnp.where(flags.fix, jnp.inf, block),
        log_average=log_average,
        averaged=averaged,
    )


def _set_length(adapt: Adapt, mask: jax.Array, every: int, weights: np.ndarray) -> Adapt:
    """L = 0.4 eps tau, for the chains of `mask`."""
    found = _TAU * adapt.step * every * autocorrelation_time(adapt.series, weights)
    return adapt._replace(length=jnp.where(mask & jnp.isfinite(found), jnp.clip(found, *LENGTHS), adapt.length))


def _moments(space: Space, adapt: Adapt, flags: Schedule, seen: Seen) -> Adapt:
    gradients = flags.learn & ~adapt.known & ~seen.rejected
    adding = gradients | (flags.learn & adapt.known)
    # The log density of both halves of the window.
    l0 = jnp.where(adapt.density[:, 0, 0] == 0, seen.log_density, adapt.density_start)
    off = seen.log_density - l0
    row = jnp.stack([jnp.ones_like(off), off, off * off, seen.rejected * 1.0, seen.turned * seen.moved], axis=1)
    half = jnp.stack([flags.learn & ~flags.late, flags.learn & flags.late], axis=1)
    density = adapt.density + jnp.where(half[:, :, None], row[:, None, :], 0.0)
    weight = adapt.weight + adding
    share = jnp.where(adding, (_POWER + 1) / (weight + _POWER), 0.0)

    def add(held: tuple[Vector, Vector]) -> tuple[Vector, Vector]:
        means, variances = {}, {}
        for n, x in seen.position.items():
            mean, variance = held[0][n], held[1][n]
            a, from_gradient = space.spread(share, x), space.spread(gradients, x)
            delta = jnp.where(from_gradient, seen.gradient[n], x - mean)
            square = jnp.where(from_gradient, delta * delta, (1 - a) * delta * delta)
            means[n] = jnp.where(from_gradient, mean, mean + a * delta)
            variances[n] = jnp.where(a == 0, variance, (1 - a) * variance + a * square)
        return means, variances

    mean, variance = when(jnp.any(adding), add, (adapt.mean, adapt.variance))
    adapt = adapt._replace(mean=mean, variance=variance, weight=weight, density=density, density_start=l0)
    return when(jnp.any(flags.renew), lambda a: _renew(space, a, flags), adapt)


def _renew(space: Space, adapt: Adapt, flags: Schedule) -> Adapt:
    """The moments become the metric of the chains whose log density is at rest."""
    n, s, q, rejected, turned = (adapt.density[..., i] for i in range(5))
    means = s / jnp.maximum(n, 1.0)
    spread = jnp.sqrt(jnp.maximum(q / jnp.maximum(n, 1.0) - means**2, 0.0).mean(axis=1))
    moved = (turned.sum(axis=1) >= _TURNS) & (rejected.sum(axis=1) <= _REJECTED * n.sum(axis=1))
    usual = float(np.sqrt(space.degrees / 2))
    still = jnp.abs(means[:, 1] - means[:, 0]) <= _DRIFT * jnp.maximum(spread, usual)
    rest = moved & still & (n > 1).all(axis=1) & (spread <= _WIDE * usual)
    from_gradient = flags.renew & ~adapt.known
    renewed = flags.renew & (adapt.weight >= 5) & (rest | (from_gradient & ~adapt.drawn))
    again = flags.renew & (from_gradient | ~rest)  # what comes next may be the other kind of moment
    metric = adapt.metric
    assert isinstance(metric, Diagonal)
    scale = {}
    for name, v in adapt.variance.items():
        count = space.spread(adapt.weight, v)
        square = jnp.where(space.spread(from_gradient, v), 1 / v, v)
        mixed = (count * square + _SHRINK * metric.scale[name] ** 2) / (count + _SHRINK)
        fit = jnp.isfinite(mixed) & (mixed > 0)
        scale[name] = jnp.where(fit, jnp.sqrt(mixed), metric.scale[name])
    scale = space.where(renewed, space.keep_real(scale, 1.0), metric.scale)
    zeros = space.zeros()
    return adapt._replace(
        metric=Diagonal(scale),
        known=jnp.where(flags.renew, rest, adapt.known),
        drawn=adapt.drawn | (renewed & ~from_gradient),
        step=jnp.where(renewed & from_gradient, jnp.minimum(adapt.step, FIRST_STEP), adapt.step),
        block=jnp.where(renewed, _FIRST_BLOCK, adapt.block),
        energy=jnp.where(renewed, 0.0, adapt.energy),
        count=jnp.where(renewed, 0.0, adapt.count),
        averaged=jnp.where(renewed, 0.0, adapt.averaged),
        weight=jnp.where(again, 0.0, adapt.weight),
        mean=space.where(again, zeros, adapt.mean),
        variance=space.where(again, zeros, adapt.variance),
        density=jnp.where(flags.renew[:, None, None], 0.0, adapt.density),
    )
