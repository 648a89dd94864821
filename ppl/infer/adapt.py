"""Warm-up of trajectories: step size and metric, all of it masked arithmetic.

Per chain and never pooled, so that a chain draws the same whatever the number of chains. What happens at which
transition is data (`ppl.infer.schedule`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .fisher import Estimator
from .leapfrog import when
from .metric import Metric
from .protocol import Handover, Point, Progress
from .schedule import Schedule
from .step_size import StepSize, average, freeze, search_again, start_step_size

LARGE_ERROR, LEAST, PART = 100.0, 5, 0.02
"""Of energy: at the usual acceptance none of well-behaved posteriors is as large; where there are so many of them, and
more than this part of all transitions, steps are too long for some region, a neck mostly, that chains get stuck in."""


class Adapt(NamedTuple):
    """What adaptation knows."""

    step: StepSize
    metric: Metric
    estimate: Any  # of the estimator
    strained: jax.Array  # bool[C]: there were many large energy errors
    errors: jax.Array  # float64[C, 2]: transitions that were looked at, and those with a large energy error


def start_adapt(estimator: Estimator, begin: Handover, step_size: float | None = None) -> Adapt:
    """Before the first transition: the metric and step size that were handed over, else the gradient's own metric and a
    search; `step_size` is where the adaptation starts in any case."""
    metric = estimator.first(begin.state.gradient) if begin.metric is None else estimator.take(begin.metric)
    like = begin.state.log_density
    known = step_size is not None or begin.step_size is not None
    value = jnp.full(like.shape, 1.0 if step_size is None else step_size, jnp.float64)
    if step_size is None and begin.step_size is not None:
        value = begin.step_size
    strained = jnp.zeros(like.shape, bool) if begin.strained is None else begin.strained
    errors = jnp.zeros((*like.shape, 2), jnp.float64)
    return Adapt(start_step_size(value, search=not known), metric, estimator.start(), strained, errors)


def after_transition(
    estimator: Estimator,
    adapt: Adapt,
    flags: Schedule,
    progress: Progress,
    draw: Point,
    target_accept: float,
    stricter: bool,
) -> Adapt:
    """Adaptation after a transition, where the flags (bool[C], false for chains that did not end one) say so, but for
    the metric: `renew`. stricter: chains that meet many large energy errors aim half as far from 1."""
    leapfrogs = jnp.maximum(progress.leapfrogs, 1)
    accept_stat = jnp.where(flags.late, progress.symmetric_sum, progress.accept_sum) / leapfrogs
    large = flags.count & ~(progress.energy_error < LARGE_ERROR)
    errors = adapt.errors + jnp.stack([flags.count, large], axis=1)
    strained = adapt.strained | ((errors[:, 1] >= LEAST) & (errors[:, 1] > PART * errors[:, 0]))
    aim = jnp.where(strained & stricter, 0.5 * (1 + target_accept), target_accept)
    step = average(adapt.step, flags.adapt_step, accept_stat, aim)
    # A draw that did not move says nothing new of the metric.
    enters = flags.accumulate & progress.moved

    def learn(estimate: Any) -> Any:
        return estimator.add(estimate, enters, draw.position, draw.gradient)

    estimate = when(jnp.any(enters), learn, adapt.estimate)
    step = freeze(search_again(step, flags.search), flags.freeze)
    return adapt._replace(step=step, estimate=estimate, strained=strained, errors=errors)


def renew(estimator: Estimator, adapt: Adapt, switch: jax.Array, update: jax.Array) -> Adapt:
    """A new window for the chains of `switch`, then the metric of what is known for those of `update` (bool[C])."""

    def made(known: tuple[Any, Metric]) -> tuple[Any, Metric]:
        # A switch comes first: the metric is then that of the window before and of the one that begins, which is empty.
        estimate = estimator.switch(known[0], switch)
        return estimate, estimator.metric(estimate, known[1], update)

    estimate, metric = when(jnp.any(update), made, (adapt.estimate, adapt.metric))
    return adapt._replace(metric=metric, estimate=estimate)
