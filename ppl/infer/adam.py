"""Adam (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1) on vectors of a space, and the ascent to a mode by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ir.counter import Key

from .fit import FitInfo, told
from .metric import Metric
from .plateau import Plateau, begin_plateau, record
from .protocol import Handover, State, Target
from .space import Space, Vector

_FIRST, _SECOND, _SMALL = 0.9, 0.999, 1e-8
WINDOW = 50
"""Iterations after which the rate may fall."""
LAST_RATE = 1e-4
"""The ascent ends when its rate has fallen to this part of the first."""


class Moments(NamedTuple):
    """Running means of a gradient and of its square; vectors or stacks of them."""

    mean: Vector
    square: Vector


def no_moments(like: Vector) -> Moments:
    """Before the first gradient."""
    return Moments(*({n: jnp.zeros_like(x) for n, x in like.items()} for _ in range(2)))


def adam(
    space: Space, moments: Moments, gradient: Vector, count: jax.Array, active: jax.Array
) -> tuple[Moments, Vector]:
    """The moments after the gradient number `count` (int32[C], from 0), and the unit step, about 1 in each element;
    chains that are not `active` keep theirs, and their unit step means nothing."""
    age = count.astype(jnp.float64) + 1
    by_first, by_second = 1 / (1 - _FIRST**age), 1 / (1 - _SECOND**age)
    mean, square, step = {}, {}, {}
    for n, g in gradient.items():
        on = space.spread(active, g)
        mean[n] = jnp.where(on, _FIRST * moments.mean[n] + (1 - _FIRST) * g, moments.mean[n])
        square[n] = jnp.where(on, _SECOND * moments.square[n] + (1 - _SECOND) * g * g, moments.square[n])
        root = jnp.sqrt(space.spread(by_second, g) * square[n]) + _SMALL
        step[n] = space.spread(by_first, g) * mean[n] / root
    return Moments(mean, square), step


class Descent(NamedTuple):
    """The state beside the iterate."""

    moments: Moments
    plateau: Plateau
    square: jax.Array  # <g, g> at the iterate
    converged: jax.Array
    failed: jax.Array


@dataclass(frozen=True)
class AdamAscent:
    """The fit. Each iteration is one gradient and one all-reduce; the rate falls as `ppl.infer.plateau` says.

    It has converged when the rate has come to its end and the last step changed l, and would gain along its gradient,
    no more than `tolerance` max(1, |l|) (or the rounding of the dtype).
    """

    space: Space
    target: Target
    rate: float = 0.05
    tolerance: float = 1e-8

    def copies(self) -> int:
        """Iterate and gradient 2, moments 2, the next gradient 1; passing 3."""
        return 8

    def begin(self, start: Handover) -> Descent:
        here = start.state
        square = self.space.dots([(here.gradient, here.gradient)])[0]
        bad = ~(jnp.isfinite(here.log_density) & jnp.isfinite(square))
        plateau = begin_plateau(self.space.chains, self.rate, WINDOW)
        return Descent(no_moments(here.gradient), plateau, square, (square == 0) & ~bad, bad)

    def improve(self, key: Key, here: State, fit: Descent, active: jax.Array) -> tuple[State, Descent, FitInfo, Any]:
        space = self.space
        active = active & ~fit.converged & ~fit.failed
        moments, unit = adam(space, fit.moments, here.gradient, fit.plateau.count, active)
        position = space.axpy(fit.plateau.rate, unit, here.position)
        value, gradient = self.target(position)
        square, gain = space.dots([(gradient, gradient), (gradient, unit)])
        bad = active & ~(jnp.isfinite(value) & jnp.isfinite(square))
        size = jnp.maximum(1.0, jnp.abs(here.log_density))
        eps = float(max((np.finfo(s.dtype).eps for s in space.sites), default=2.0**-52))
        limit = max(self.tolerance, eps) * size
        taken = active & ~bad
        plateau = record(fit.plateau, taken, value, limit)
        spent = taken & (plateau.rate <= LAST_RATE * self.rate)
        small = (jnp.abs(value - here.log_density) <= limit) & (jnp.abs(gain) * fit.plateau.rate <= limit)
        here = State(
            space.where(taken, position, here.position),
            space.where(taken, gradient, here.gradient),
            jnp.where(taken, value, here.log_density),
            here.step,
        )
        square = jnp.where(taken, square, fit.square)
        fit = Descent(moments, plateau, square, fit.converged | (spent & small), fit.failed | (spent & ~small) | bad)
        ended = fit.converged | fit.failed
        return here, fit, self._told(here, fit, 1, bad), ended

    def draw(self, key: Key, here: State, fit: Descent) -> tuple[State, FitInfo]:
        """The point itself."""
        return here, self._told(here, fit, 0, ~jnp.isfinite(here.log_density))

    def _told(self, here: State, fit: Descent, gradients: int, bad: jax.Array) -> FitInfo:
        return told(
            self.space.chains,
            leapfrogs=gradients,
            divergent=bad,
            log_density=here.log_density,
            objective=here.log_density,
            gradient_norm=jnp.sqrt(fit.square),
            converged=fit.converged,
        )

    def metric(self, fit: Descent) -> Metric | None:
        """A mode has no width."""
        return None
