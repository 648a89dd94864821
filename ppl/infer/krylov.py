"""Linear algebra with a symmetric positive definite H of which only products are known: H^-1 b and H^-1/2 z.

Conjugate gradients on vectors in the latents' own layout. Their coefficients are those of Lanczos' tridiagonal T, so
that a second pass with the same vectors gives H^-1/2 z = |z| V T^-1/2 e_1 without a stored basis. Chains run together,
each until its residual is small; the loops' predicates rest on all-reduced products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .space import Space, Vector

Product = Callable[[Vector], Vector]
"""v -> H v, zero on padding."""

_STEP, _TAIL, _DECADES = 0.35, 27.0, 8.0


class Solution(NamedTuple):
    """Of H y = b, per chain."""

    y: Vector
    iterations: jax.Array  # int32[C]
    solved: jax.Array  # bool[C]: the residual is small and no curvature was negative
    diagonal: jax.Array  # float64[C, most]: T, 1 past the iterations
    off: jax.Array  # float64[C, most]: off[k] couples k and k + 1, 0 past the iterations


class _Carry(NamedTuple):
    k: jax.Array
    y: Vector
    r: Vector
    p: Vector
    square: jax.Array  # <r, r>
    alive: jax.Array
    broken: jax.Array
    alpha: jax.Array  # [C, most], 1 past the iterations
    beta: jax.Array  # [C, most], 0 past the iterations
    root: Vector  # the sum of weights times residuals


def conjugate_gradients(
    space: Space, product: Product, b: Vector, accuracy: float, most: int, weights: jax.Array | None = None
) -> tuple[Solution, Vector]:
    """Solves H y = b to |H y - b| <= accuracy |b| in at most `most` products.

    With `weights` (float64[C, most]) also the sum over k of weights[:, k] r_k / |r_k|, residual by residual.
    """
    square = space.dots([(b, b)])[0]
    goal = accuracy**2 * square
    zero = jnp.zeros((space.chains, most), jnp.float64)
    start = _Carry(
        jnp.int32(0), space.zeros(), b, b, square, square > 0, ~jnp.isfinite(square), zero + 1, zero, space.zeros()
    )

    def step(c: _Carry) -> _Carry:
        hp = product(c.p)
        curvature = space.dots([(c.p, hp)])[0]
        good = c.alive & (curvature > 0)
        alpha = jnp.where(good, c.square / jnp.where(good, curvature, 1.0), 0.0)
        root = c.root
        if weights is not None:
            share = jnp.where(good, weights[:, c.k] / jnp.sqrt(jnp.where(c.square > 0, c.square, 1.0)), 0.0)
            root = space.axpy(share, c.r, root)
        r = space.axpy(-alpha, hp, c.r)
        left = space.dots([(r, r)])[0]
        beta = jnp.where(good, left / jnp.where(good, c.square, 1.0), 0.0)
        onwards = good & (left > goal)
        return _Carry(
            c.k + 1,
            space.axpy(alpha, c.p, c.y),
            r,
            space.where(onwards, space.axpy(beta, c.p, r), c.p),
            jnp.where(good, left, c.square),
            onwards,
            c.broken | (c.alive & ~good),
            c.alpha.at[:, c.k].set(jnp.where(good, alpha, 1.0)),
            c.beta.at[:, c.k].set(jnp.where(onwards, beta, 0.0)),
            root,
        )

    end = lax.while_loop(lambda c: (c.k < most) & jnp.any(c.alive), step, start)
    alpha, beta = end.alpha, end.beta
    before = jnp.pad(beta[:, :-1] / alpha[:, :-1], [(0, 0), (1, 0)])
    couples = (jnp.arange(most) < most - 1) & (beta > 0)
    off = jnp.where(couples, jnp.sqrt(beta) / alpha, 0.0)
    iterations = jnp.sum(beta > 0, axis=1, dtype=jnp.int32) + 1
    solved = ~end.alive & ~end.broken
    return Solution(end.y, iterations, solved, 1 / alpha + before, off), end.root


def inverse_root(
    space: Space, product: Product, z: Vector, accuracy: float, most: int
) -> tuple[Vector, jax.Array, jax.Array]:
    """(H^-1/2 z, products made int32[C], solved bool[C]): a draw from N(0, H^-1) of white noise z."""
    first, _ = conjugate_gradients(space, product, z, accuracy, most)
    length = jnp.sqrt(space.dots([(z, z)])[0])
    # Lanczos' vectors are the residuals with alternating signs.
    signs = np.where(np.arange(most) % 2 == 0, 1.0, -1.0)
    weights = length[:, None] * signs * inverse_root_of_tridiagonal(first.diagonal, first.off)
    _, root = conjugate_gradients(space, product, z, accuracy, most, weights)
    return root, 2 * first.iterations, first.solved


def inverse_root_of_tridiagonal(diagonal: jax.Array, off: jax.Array) -> jax.Array:
    """float64[C, n]: T^-1/2 e_1 of a positive definite T, to 1e-11 for condition numbers up to 1e8.

    T^-1/2 = 2/pi int (T + t^2)^-1 dt, by the trapezoidal rule in s = log t: the integrand of an eigenvalue is
    sech(s - log(lambda)/2), whose sum at steps h is off by 4 exp(-pi^2/h), and which falls like exp(-|s|).
    """
    n = diagonal.shape[1]
    reach = jnp.abs(off) + jnp.pad(jnp.abs(off[:, :-1]), [(0, 0), (1, 0)])
    top = 0.5 * jnp.log(jnp.max(diagonal + reach, axis=1))  # Gershgorin
    nodes = np.arange(-_TAIL - 0.5 * _DECADES * np.log(10), _TAIL + _STEP, _STEP)
    t = jnp.exp(top[:, None] + nodes)  # [C, Q]
    d = jnp.moveaxis(diagonal, 1, 0)[:, :, None] + t**2  # [n, C, Q]
    e = jnp.moveaxis(off, 1, 0)[:, :, None]

    # Gauss without pivots (T + t^2 is positive definite): downwards the pivots and the right side e_1, then back.
    def down(carry: tuple[jax.Array, jax.Array, jax.Array], row: tuple[jax.Array, jax.Array, jax.Array]):
        pivot, right, coupling = carry
        factor = coupling / pivot
        pivot, right = row[0] - factor * coupling, row[2] - factor * right
        return (pivot, right, row[1]), (pivot, right)

    def up(below: jax.Array, row: tuple[jax.Array, jax.Array, jax.Array]):
        x = (row[1] - row[2] * below) / row[0]
        return x, x

    unit = jnp.zeros((n, *t.shape), jnp.float64).at[0].set(1.0)
    e_wide = jnp.broadcast_to(e, d.shape)
    zero = jnp.zeros_like(t)
    _, (pivots, rights) = lax.scan(down, (zero + 1, zero, zero), (d, e_wide, unit))
    _, x = lax.scan(up, zero, (pivots, rights, e_wide), reverse=True)
    return jnp.moveaxis(2 / np.pi * _STEP * jnp.sum(t * x, axis=2), 0, 1)
