"""The last m steps and gradient changes of an ascent, and the BFGS inverse Hessian that they make.

With s the step and z = g_old - g_new = -(change of the gradient), the inverse of -Hessian is, in compact form (Byrd,
Nocedal & Schnabel 1994, Mathematical Programming 63, eq. 3.1; S, Z hold the pairs, oldest first),

    H = gamma 1 + [S, gamma Z] [ R^-T (D + gamma Z^T Z) R^-1   -R^-T ] [S, gamma Z]^T,
                               [ -R^-1                           0   ]

    R = triu(S^T Z), D = diag(S^T Z).

All products of the pairs are kept as float64 scalars, so that H g costs one all-reduce and one pass over the pairs
(Chen et al. 2014, "Large-scale L-BFGS using MapReduce").
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ir.lapack import triangular_solve

from .slots import write_slot
from .space import Space, Vector, add, combine

PARALLEL = 1e-10
"""A pair enters only if <s, z> is above this part of |s| |z|: its curvature is positive beyond rounding."""


class Pairs(NamedTuple):
    """m slots used in turn; slot k holds a pair once k < count."""

    s: Vector  # [C, m, ...]
    z: Vector
    sz: jax.Array  # float64[C, m, m]: <s_i, z_j>
    zz: jax.Array
    count: jax.Array  # int32[C], pairs since the last reset


def no_pairs(space: Space, m: int) -> Pairs:
    """m empty slots."""
    stack = lambda: {s.name: jnp.zeros((space.chains, m, *s.local), s.dtype) for s in space.sites}  # noqa: E731
    square = lambda: jnp.zeros((space.chains, m, m), jnp.float64)  # noqa: E731
    return Pairs(stack(), stack(), square(), square(), jnp.zeros(space.chains, jnp.int32))


class Products(NamedTuple):
    """Of a new pair (s, z) and the gradient g at its end with the pairs before and with each other."""

    s_z: jax.Array  # [C, m]: <s, z_j>
    z_s: jax.Array
    z_z: jax.Array
    g_s: jax.Array
    g_z: jax.Array
    ss: jax.Array  # [C]
    sz: jax.Array
    zz: jax.Array
    gs: jax.Array
    gz: jax.Array
    gg: jax.Array


def wanted(pairs: Pairs, s: Vector, z: Vector, g: Vector) -> list[tuple[Vector, Vector]]:
    """The pairs of vectors whose `Space.inner` is a `Products`."""
    return [
        *((s, pairs.z), (z, pairs.s), (z, pairs.z), (g, pairs.s), (g, pairs.z)),
        *((s, s), (s, z), (z, z), (g, s), (g, z), (g, g)),
    ]


def append(pairs: Pairs, enter: jax.Array, s: Vector, z: Vector, found: Products) -> tuple[Pairs, Products, jax.Array]:
    """The pairs with the new one where enter[C] and its curvature is good, the products with what is there then, and
    where it entered."""
    m = pairs.sz.shape[1]
    enter = enter & (found.sz > PARALLEL * jnp.sqrt(found.ss * found.zz)) & (found.sz > 0)
    slot = jnp.where(enter, pairs.count % m, m)
    here = (jnp.arange(m) == slot[:, None])[..., None]  # [C, m, 1]
    row = lambda matrix, value: jnp.where(here, value[:, None, :], matrix)  # noqa: E731
    column = lambda matrix, value: jnp.where(here.swapaxes(1, 2), value[:, :, None], matrix)  # noqa: E731
    with_own = lambda values, own: jnp.where(here[..., 0], own[:, None], values)  # noqa: E731
    sz = column(row(pairs.sz, with_own(found.s_z, found.sz)), with_own(found.z_s, found.sz))
    own_zz = with_own(found.z_z, found.zz)
    zz = column(row(pairs.zz, own_zz), own_zz)
    found = found._replace(g_s=with_own(found.g_s, found.gs), g_z=with_own(found.g_z, found.gz))
    made = Pairs(write_slot(pairs.s, slot, s), write_slot(pairs.z, slot, z), sz, zz, pairs.count + enter)
    return made, found, enter


def ordered(pairs: Pairs) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """(order, R, Z^T Z, D), oldest first: order[C, k] is the slot of the k-th; empty slots come first and have 1 on the
    diagonal of R and nothing else."""
    m = pairs.sz.shape[1]
    order = (pairs.count[:, None] + jnp.arange(m, dtype=jnp.int32)) % m
    full = order < pairs.count[:, None]
    both = full[:, :, None] & full[:, None, :]
    sz, zz = (jnp.where(both, sort(sort(x, order, 1), order, 2), 0.0) for x in (pairs.sz, pairs.zz))
    diagonal = jnp.diagonal(sz, axis1=1, axis2=2)
    r = jnp.triu(sz) + jnp.eye(m, dtype=jnp.float64) * ~full[:, None, :]
    return order, r, zz, diagonal


def sort(values: jax.Array, order: jax.Array, axis: int = 1) -> jax.Array:
    """`values` along an axis in the order of each chain."""
    index = order.reshape(order.shape[0], *(order.shape[1] if a == axis else 1 for a in range(1, values.ndim)))
    return jnp.take_along_axis(values, index, axis=axis)


def unsort(values: jax.Array, pairs: Pairs) -> jax.Array:
    """[C, m] of the pairs, oldest first, as they lie in the slots."""
    m = values.shape[1]
    return sort(values, (jnp.arange(m, dtype=jnp.int32) - pairs.count[:, None]) % m)


def solve(r: jax.Array, b: jax.Array, transpose: bool = False) -> jax.Array:
    """R^-1 b or R^-T b; b is [C, m] or [C, m, k]."""
    columns = b if b.ndim == 3 else b[..., None]
    found = triangular_solve(r, columns, left_side=True, lower=False, transpose_a=transpose)
    return found if b.ndim == 3 else found[..., 0]


def ascent(space: Space, pairs: Pairs, found: Products, g: Vector) -> tuple[Vector, jax.Array]:
    """(H g, <g, H g>), with gamma = <s, z> / <z, z> of the newest pair; g itself where there is none."""
    order, r, zz, diagonal = ordered(pairs)
    full = order < pairs.count[:, None]
    last_sz, last_zz = diagonal[:, -1], zz[:, -1, -1]
    some = pairs.count > 0
    gamma = jnp.where(some, last_sz / jnp.where(some, last_zz, 1.0), 1.0)
    g_s, g_z = (jnp.where(full, sort(x, order), 0.0) for x in (found.g_s, found.g_z))
    u = solve(r, g_s)
    wide = gamma[:, None]
    middle = diagonal * u + wide * (jnp.sum(zz * u[:, None, :], axis=2) - g_z)
    on_s, on_z = solve(r, middle, transpose=True), -wide * u
    slope = gamma * found.gg + jnp.sum(on_s * g_s + on_z * g_z, axis=1)
    on_s, on_z = unsort(on_s, pairs), unsort(on_z, pairs)
    moved = add(combine(on_s, pairs.s), combine(on_z, pairs.z))
    return space.axpy(gamma, g, moved), slope


def forget(pairs: Pairs, where: jax.Array) -> Pairs:
    """No pairs where where[C]; the slots are written anew before they are read."""
    return pairs._replace(count=jnp.where(where, np.int32(0), pairs.count))
