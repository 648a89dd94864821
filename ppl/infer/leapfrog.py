"""The leapfrog step and what the kernels share: one gradient a step, energies as float64 scalars.

Momenta and gradients are whitened by the metric (see `Kernel`), positions are not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .metric import Metric
from .protocol import Point, Progress, Target
from .space import Space, Vector

LEAPFROGS = "leapfrogs"
"""The scope in HLO of the loop that goes all leapfrogs of a path before the last one."""
DIVERGENCE = 1000.0
"""An energy error above this is a divergence (Stan's threshold)."""


def leapfrog(
    space: Space, target: Target, metric: Metric, eps: jax.Array, x: Vector, p: Vector, g: Vector
) -> tuple[Vector, Vector, Vector, jax.Array, Vector]:
    """(x, p, F^T g, l, g) after p += eps/2 F^T g; x += eps F p; g = grad l(x); p += eps/2 F^T g; eps is float64[C]."""

    def depart(held: tuple[Vector, Vector]) -> tuple[Vector, Vector]:
        half = space.axpy(0.5 * eps, g, held[1])
        return space.axpy(eps, metric.push(half), held[0]), half

    # In a loop, so that XLA:CPU writes the half momentum over the momentum.
    x, half = when(jnp.any(eps != 0.0), depart, (x, p), always=space.packed)
    log_density, gradient = target(x)
    pulled = metric.pull(gradient)
    return x, space.axpy(0.5 * eps, pulled, half), pulled, log_density, gradient


def arrive(
    space: Space, target: Target, metric: Metric, way: jax.Array, x: Vector, p: Vector
) -> tuple[Vector, jax.Array, Vector]:
    """(x, l, grad l) where a path ends, after its last drift x += way F p; the gradient is NaN where l is.

    The drift is in a loop, so that XLA:CPU writes the end over the position before it. The gradient waits for the log
    density, so that it takes the place of what both are made of.
    """
    x = when(jnp.any(way != 0.0), lambda x: space.axpy(way, metric.push(p), x), x, always=space.packed)
    log_density, gradient = target(x)
    if space.packed:
        return x, log_density, gradient
    undefined = jnp.isnan(log_density)
    return x, log_density, {n: jnp.where(space.spread(undefined, g), jnp.nan, g) for n, g in gradient.items()}


def record_leaf(progress: Progress, energy: jax.Array) -> Progress:
    """The scalars after one more leapfrog that ended at H = `energy`."""
    error = energy - progress.start_energy
    error = jnp.where(jnp.isnan(error), np.inf, error)
    acceptance, symmetric = acceptances(error)
    return progress._replace(
        energy_error=error,
        accept_sum=progress.accept_sum + acceptance,
        symmetric_sum=progress.symmetric_sum + symmetric,
        leapfrogs=progress.leapfrogs + 1,
        divergent=error > DIVERGENCE,
    )


def acceptances(error: jax.Array) -> tuple[jax.Array, jax.Array]:
    """min(1, e^-D) of an energy error D, and 2 min(1, e^-D) / (1 + e^-D), which is small for errors of either sign."""
    acceptance = jnp.exp(-jnp.maximum(error, 0.0))
    return acceptance, 2 * acceptance / (1 + jnp.exp(-error))


def start_progress(energy: jax.Array) -> Progress:
    """The scalars of a trajectory that has not moved yet and starts at H = `energy`."""
    zero, none = jnp.zeros_like(energy), jnp.zeros(energy.shape, jnp.int32)
    no, far = jnp.zeros(energy.shape, bool), jnp.full_like(energy, np.inf)
    return Progress(no, no, energy, zero, zero, zero, none, none, no, far, far)


def decide(log_u: jax.Array, log_probability: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Whether a uniform is below a probability, and how far from it; both in logarithms."""
    return log_u < log_probability, jnp.abs(jnp.exp(log_u) - jnp.exp(log_probability))


def select(mask: jax.Array, a: Any, b: Any) -> Any:
    """`a` where mask[C], else `b`, for pytrees of per-chain scalars."""
    return jax.tree.map(lambda x, y: jnp.where(mask, x, y), a, b)


def select_point(space: Space, mask: jax.Array, a: Point, b: Point) -> Point:
    """Chain by chain, the point `a` where mask[C], else `b`."""
    return Point(
        space.where(mask, a.position, b.position),
        space.where(mask, a.gradient, b.gradient),
        jnp.where(mask, a.log_density, b.log_density),
        jnp.where(mask, a.energy, b.energy),
    )


def exchange(space: Space, mask: jax.Array, a: Vector, b: Vector) -> tuple[Vector, Vector]:
    """Chain by chain (b, a) where mask[C], else (a, b), without room for any of them.

    Bits are mixed three times, each time in a loop of its own that XLA writes in place: a ^= b, b ^= a, a ^= b.
    """
    if space.packed:
        return space.where(mask, b, a), space.where(mask, a, b)

    def mixed(a: Vector, b: Vector) -> Vector:
        def mix(a: Vector) -> Vector:
            return {n: jnp.where(space.spread(mask, x), _xor(x, b[n]), x) for n, x in a.items()}

        return when(jnp.any(mask), mix, a)

    a = mixed(a, b)
    b = mixed(b, a)
    return mixed(a, b), b


def _xor(x: jax.Array, y: jax.Array) -> jax.Array:
    kind = jnp.uint32 if x.dtype.itemsize == 4 else jnp.uint64
    return lax.bitcast_convert_type(lax.bitcast_convert_type(x, kind) ^ lax.bitcast_convert_type(y, kind), x.dtype)


def when(needed: jax.Array, body: Callable[[Any], Any], carry: Any, always: bool = False) -> Any:
    """`body(carry)` if the scalar `needed` is true, else `carry`.

    A loop of zero or one rounds and not `lax.cond`: XLA updates a loop's vectors in place and copies a branch's. `body`
    must itself change nothing where nothing is needed. `needed` must be equal on all devices that the body's
    collectives join. `always`: the body is so little work that a loop would be more.
    """
    if always:
        return body(carry)
    return lax.while_loop(lambda c: c[0], lambda c: (jnp.zeros((), bool), body(c[1])), (needed, carry))[1]
