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


class Adapt(NamedTuple):
    """What adaptation knows."""

    step: StepSize
    metric: Metric
    estimate: Any  # of the estimator


def start_adapt(estimator: Estimator, begin: Handover, step_size: float | None = None) -> Adapt:
    """Before the first transition: the metric and step size that were handed over, else the gradient's own metric and a
    search; `step_size` is where the adaptation starts in any case."""
    metric = estimator.first(begin.state.gradient) if begin.metric is None else estimator.take(begin.metric)
    like = begin.state.log_density
    known = step_size is not None or begin.step_size is not None
    value = jnp.full(like.shape, 1.0 if step_size is None else step_size, jnp.float64)
    if step_size is None and begin.step_size is not None:
        value = begin.step_size
    return Adapt(start_step_size(value, search=not known), metric, estimator.start())


def after_transition(
    estimator: Estimator, adapt: Adapt, flags: Schedule, progress: Progress, draw: Point, target_accept: float
) -> Adapt:
    """Adaptation after a transition, where the flags (bool[C], false for chains that did not end one) say so, but for
    the metric: `renew`."""
    leapfrogs = jnp.maximum(progress.leapfrogs, 1)
    accept_stat = jnp.where(flags.late, progress.symmetric_sum, progress.accept_sum) / leapfrogs
    step = average(adapt.step, flags.adapt_step, accept_stat, target_accept)
    # A draw that did not move says nothing new of the metric.
    enters = flags.accumulate & progress.moved

    def learn(estimate: Any) -> Any:
        return estimator.add(estimate, enters, draw.position, draw.gradient)

    estimate = when(jnp.any(enters), learn, adapt.estimate)
    return adapt._replace(step=freeze(search_again(step, flags.search), flags.freeze), estimate=estimate)


def renew(estimator: Estimator, adapt: Adapt, switch: jax.Array, update: jax.Array) -> Adapt:
    """A new window for the chains of `switch`, then the metric of what is known for those of `update` (bool[C])."""

    def made(known: tuple[Any, Metric]) -> tuple[Any, Metric]:
        # A switch comes first: the metric is then that of the window before and of the one that begins, which is empty.
        estimate = estimator.switch(known[0], switch)
        return estimate, estimator.metric(estimate, known[1], update)

    estimate, metric = when(jnp.any(update), made, (adapt.estimate, adapt.metric))
    return adapt._replace(metric=metric, estimate=estimate)
