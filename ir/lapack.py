"""Decompositions and solutions of batches [..., d, d] that cannot bring a mesh of CPU devices to a stand.

jaxlib 0.10.0 to 0.11.0 shares a batch of matrices out among XLA:CPU's threads, and the thread that wanted them waits
(`ParallelBatchMap` in jaxlib/cpu/lapack_kernels.cc). The devices of a mesh run on the same threads: where they are as
many, all of them come to wait and none is left that works. On a mesh a CPU is therefore given one matrix at a time,
which it decomposes where it stands, to the same bits; GPUs, and a single device, are given all of them.

To go when jaxlib 0.11.1 is the oldest that is supported: from it on a batch is one thread's work.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def one_by_one(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f` of matrices of one batch, those of a mesh of CPU devices in a loop."""

    @wraps(f)
    def of_batch(*matrices: jax.Array, **options: Any) -> Any:
        batch = matrices[0].shape[:-2]

        def at_once(*matrices: jax.Array) -> Any:
            return f(*matrices, **options)

        def in_turn(*matrices: jax.Array) -> Any:
            each = tuple(x.reshape(-1, 1, *x.shape[-2:]) for x in matrices)
            found = lax.map(lambda one: at_once(*one), each)
            return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[2:]), found)

        if jax.sharding.get_abstract_mesh().size <= 1 or math.prod(batch) <= 1:
            return at_once(*matrices)
        return lax.platform_dependent(*matrices, cpu=in_turn, default=at_once)

    return of_batch


cholesky = one_by_one(jnp.linalg.cholesky)
eigh = one_by_one(jnp.linalg.eigh)
slogdet = one_by_one(jnp.linalg.slogdet)
solve = one_by_one(jnp.linalg.solve)
svd = one_by_one(jnp.linalg.svd)
triangular_solve = one_by_one(lax.linalg.triangular_solve)
