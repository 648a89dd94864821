"""Splittings of Hamiltonian motion: kicks and drifts in turn, the same read backwards, so that a path runs back.

A step of size eps is p += b0 eps g; x += a1 eps F p; g = F^T grad l(x); p += b1 eps g; ..., with one gradient a drift
and momenta whitened by the map F of the metric. All of them are of second order; those of several gradients have
smaller errors for the same work where steps must be short, and are stable up to longer steps.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .leapfrog import LEAPFROGS, arrive
from .metric import Metric
from .protocol import Target
from .space import Space, Vector


class Integrator(NamedTuple):
    """Parts of the step, in order: it begins and ends with a kick."""

    kicks: tuple[float, ...]
    drifts: tuple[float, ...]

    @property
    def gradients(self) -> int:
        return len(self.drifts)


_B2 = 0.1931833275037836
"""McLachlan (1995), SIAM J. Sci. Comput. 16, 151: the smallest error of all splittings of two gradients."""
_B3, _A3 = 0.11888010966548, 0.29619504261126
"""Blanes, Casas & Sanz-Serna (2014), SIAM J. Sci. Comput. 36, A1556: three gradients, the smallest expected energy
error of Gaussian targets over all steps up to 3."""

LEAPFROG = Integrator((0.5, 0.5), (1.0,))
INTEGRATORS = {
    "leapfrog": LEAPFROG,
    "minimal_norm": Integrator((_B2, 1 - 2 * _B2, _B2), (0.5, 0.5)),
    "three_stage": Integrator((_B3, 0.5 - _B3, 0.5 - _B3, _B3), (_A3, 1 - 2 * _A3, _A3)),
}


def travel(
    space: Space,
    target: Target,
    metric: Metric,
    integrator: Integrator,
    eps: jax.Array,
    x: Vector,
    p: Vector,
    g: Vector,
    steps: jax.Array | int,
) -> tuple[Vector, Vector, jax.Array, Vector]:
    """(x, p, l, grad l) after `steps` steps (int32 or a number, at least 1) of eps[C]; g is the whitened gradient at x,
    or empty where p has had the first kick.

    The kick that ends a step and the one that begins the next are one, and the gradients before the last stand alone:
    XLA leaves log densities and their sums out of them, and of vectors only position and momentum pass from one to the
    next.
    """
    kicks, drifts, count = integrator.kicks, integrator.drifts, integrator.gradients
    inner = (*kicks[1:-1], kicks[-1] + kicks[0])
    if g:
        p = space.axpy(kicks[0] * eps, g, p)

    def move(i: jax.Array, moving: tuple[Vector, Vector]) -> tuple[Vector, Vector]:
        x, p = moving
        x = space.axpy(_at(drifts, i) * eps, metric.push(p), x)
        return x, space.axpy(_at(inner, i) * eps, metric.pull(target(x)[1]), p)

    before = count * steps - 1
    if not (isinstance(before, int) and before == 0):
        with jax.named_scope(LEAPFROGS):
            x, p = lax.fori_loop(np.int32(0), jnp.asarray(before, jnp.int32), move, (x, p))
    x, log_density, gradient = arrive(space, target, metric, drifts[-1] * eps, x, p)
    return x, space.axpy(kicks[-1] * eps, metric.pull(gradient), p), log_density, gradient


def _at(parts: tuple[float, ...], i: jax.Array) -> jax.Array | float:
    """The part of the i-th gradient, over all steps."""
    return parts[0] if len(set(parts)) == 1 else jnp.asarray(parts, jnp.float64)[i % len(parts)]
