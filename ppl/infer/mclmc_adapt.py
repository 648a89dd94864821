"""Adaptation of the unadjusted microcanonical sampler, per chain and never pooled, all of it masked arithmetic.

The warm-up has four parts (`make_schedule`): the chain comes from its start to the bulk of the posterior; the metric is
learnt, first from squared gradients, which need no mixing, then from the variances of draws (Welford's, not the Fisher
geometric mean, which shrinks slow directions); the path length L is set from the autocorrelation times of tracers; at
the end the step size stands still, and is corrected by the energy errors it has.

- Step size: energy errors grow with its third power, so a block of mean E^2 / d = V corrects it by (V wanted / V)^(1/6).
  Blocks are plain means, each term clipped, so that a rare large error counts as what it is and not as nothing.
- Variances are weighted by the third power of the transition's number, so that the way there is forgotten, and only
  count once the log density has stopped drifting: until then their sums are begun again.
"""

from __future__ import annotations

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
_FIRST_BLOCK, _LAST_BLOCK, _GROWTH = 5.0, 64.0, 1.5
_POWER = 3
_SHRINK = 10.0
"""Weight, in transitions, of the former metric beside the draws."""
_DRIFT = 2.0
"""The log density drifts if its means in two halves of a window differ by more than so many deviations in a half."""
ROWS = 512
"""Rows of the tracers' series."""


class Schedule(NamedTuple):
    """What to do after each transition, [K] each."""

    adapt_step: np.ndarray | jax.Array  # its energy error corrects the step size
    strict: np.ndarray | jax.Array  # steps of large energy error are rejected
    gradients: np.ndarray | jax.Array  # the squared gradient enters the moments
    draws: np.ndarray | jax.Array  # the draw enters the moments
    late: np.ndarray | jax.Array  # it lies in the second half of its window
    renew: np.ndarray | jax.Array  # the moments become the metric
    trace: np.ndarray | jax.Array  # int32: the tracers are written to this row, from 1
    set_length: np.ndarray | jax.Array  # L from the tracers
    fix: np.ndarray | jax.Array  # the averaged step size stands from here on, and its errors are counted
    settle: np.ndarray | jax.Array  # a last correction

    def part(self, start: int, length: int) -> Schedule:
        """Transitions start..start+length; past the end nothing is done."""
        return Schedule(*(np.pad(f[start : start + length], (0, max(0, start + length - len(f)))) for f in self))


def make_schedule(warmup: int, draws: int) -> Schedule:
    """Parts of the warm-up: way 2 %, gradients to 10 %, draws to 60 %, step size to 66 %, tracers to 90 %, check."""
    n = warmup + draws
    index = np.arange(n)
    part = lambda a, b: (index >= round(a * warmup)) & (index < round(b * warmup))  # noqa: E731
    renew, late, gradients, walks = np.zeros(n, bool), np.zeros(n, bool), np.zeros(n, bool), np.zeros(n, bool)
    if warmup >= 50:
        gradients, walks = part(0.02, 0.1), part(0.1, 0.6)
        for a, b in ((0.02, 0.05), (0.05, 0.1), (0.1, 0.16), (0.16, 0.25), (0.25, 0.4), (0.4, 0.6)):
            late |= part((a + b) / 2, b)
            renew[round(b * warmup) - 1] = True
    trace = np.zeros(n, np.int32)
    traced = np.flatnonzero(part(0.66, 0.9))[:: stride(warmup)]
    trace[traced] = 1 + np.arange(len(traced))
    at = lambda a: index == round(a * warmup) - 1  # noqa: E731
    tuned = at(0.9) if warmup >= 50 else np.zeros(n, bool)
    return Schedule(
        adapt_step=index < warmup,
        strict=index >= round(0.1 * warmup),
        gradients=gradients,
        draws=walks,
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
    return -(-_traced(warmup) // stride(warmup))


def _traced(warmup: int) -> int:
    return round(0.9 * warmup) - round(0.66 * warmup)


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
    density: jax.Array  # [C, 2, 3]: count, sum and sum of squares of l - l0 in both halves of a window
    density_start: jax.Array  # l0
    weight: jax.Array  # transitions in the moments
    mean: Vector  # {} where the metric is not adapted
    variance: Vector
    known: jax.Array  # bool[C]: the metric is not learnt from gradients
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
        density=jnp.zeros((space.chains, 2, 3), jnp.float64),
        density_start=each(0.0),
        weight=each(0.0),
        mean=space.zeros() if learn else {},
        variance=space.zeros() if learn else {},
        known=jnp.full(space.chains, known, bool),
        series=jnp.zeros((space.chains, *series), jnp.float64),
    )


class Seen(NamedTuple):
    """What adaptation sees of a transition."""

    moved: jax.Array  # bool[C]: it was a step, not a rest
    good: jax.Array  # bool[C]: the gradient belongs to the position (not so after a rejected step)
    energy: jax.Array  # E^2 / d over what is wanted; large for a rejected step
    log_density: jax.Array
    position: Vector
    gradient: Vector


def after_transition(adapt: Adapt, space: Space, flags: Schedule, seen: Seen, every: int) -> Adapt:
    """Adaptation after a transition where `flags`, [C] each, say so.

    every: transitions between two rows of the tracers' series, which has been written; 0: L stays.
    """
    adapt = _step_size(adapt, flags, seen)
    if every and adapt.series.size:
        adapt = when(jnp.any(flags.set_length), lambda a: _set_length(a, flags.set_length, every), adapt)
    if adapt.mean:
        adapt = _moments(space, adapt, flags, seen)
    return adapt


def _step_size(adapt: Adapt, flags: Schedule, seen: Seen) -> Adapt:
    used = flags.adapt_step & seen.moved
    energy = adapt.energy + jnp.where(used, jnp.minimum(seen.energy, _CLIP), 0.0)
    count = adapt.count + used
    full = used & (count >= adapt.block)
    factor = (energy / jnp.maximum(count, 1.0) + 1e-12) ** (-1 / 6)
    # Late blocks are averaged; the first ones still look for the order of magnitude.
    late = full & (count >= 20)
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


def _set_length(adapt: Adapt, mask: jax.Array, every: int) -> Adapt:
    """L = 0.4 eps tau, for the chains of `mask`."""
    found = _TAU * adapt.step * every * autocorrelation_time(adapt.series)
    return adapt._replace(length=jnp.where(mask & jnp.isfinite(found), jnp.clip(found, *LENGTHS), adapt.length))


def _moments(space: Space, adapt: Adapt, flags: Schedule, seen: Seen) -> Adapt:
    gradients, draws = flags.gradients & ~adapt.known & seen.good, flags.draws
    adding = gradients | draws
    # The log density of both halves of the window.
    l0 = jnp.where(adapt.density[:, 0, 0] == 0, seen.log_density, adapt.density_start)
    off = seen.log_density - l0
    row = jnp.stack([jnp.ones_like(off), off, off * off], axis=1)
    half = jnp.stack([adding & ~flags.late, adding & flags.late], axis=1)
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
    n, s, q = (adapt.density[..., i] for i in range(3))
    means = s / jnp.maximum(n, 1.0)
    spread = jnp.sqrt(jnp.maximum(q / jnp.maximum(n, 1.0) - means**2, 0.0).mean(axis=1))
    rest = (n > 1).all(axis=1) & (jnp.abs(means[:, 1] - means[:, 0]) <= _DRIFT * spread)
    from_gradient = flags.gradients & ~adapt.known
    renewed = flags.renew & (adapt.weight >= 5) & jnp.where(from_gradient, True, rest & flags.draws)
    again = flags.renew & (from_gradient | ~rest)
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
        step=jnp.where(renewed & from_gradient, FIRST_STEP, adapt.step),
        block=jnp.where(renewed, _FIRST_BLOCK, adapt.block),
        energy=jnp.where(renewed, 0.0, adapt.energy),
        count=jnp.where(renewed, 0.0, adapt.count),
        averaged=jnp.where(renewed, 0.0, adapt.averaged),
        weight=jnp.where(again, 0.0, adapt.weight),
        mean=space.where(again, zeros, adapt.mean),
        variance=space.where(again, zeros, adapt.variance),
        density=jnp.where(flags.renew[:, None, None], 0.0, adapt.density),
    )
