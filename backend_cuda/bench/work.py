"""What is timed for the planner, as steps: the classes of computing are here, collectives in `timings`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..lax_collectives import LAX, LaxCollectives
from .loops import Step


@dataclass(frozen=True)
class Case:
    """One thing to time: a step on the block of one device, with what a step does."""

    what: str
    unit: str
    size: float
    shape: tuple[int, ...]
    dtype: Any
    step: Step
    axes: tuple[str, ...] = ()
    fill: Callable[[tuple[int, ...]], np.ndarray] | None = None
    """The block at the start; zeros where it does not matter."""
    comm: LaxCollectives = LAX
    """Whose collectives the step is given."""


def work_cases(quick: bool) -> Iterator[Case]:
    """The classes of computing, at sizes of which the smallest fits a processor's own cache."""
    for precision, real, cplx in (("f32", np.float32, np.complex64), ("f64", np.float64, np.complex128)):
        for n in (384,) if quick else (128, 384, 640):
            yield Case(f"matmul {precision}", "flop", 2.0 * n**3, (n, n), real, lambda _, x: x @ x)
        for lines, n in ((512, 96),) if quick else ((512, 96), (256, 256), (1024, 320)):
            flops = 5.0 * lines * n * math.log2(n)
            yield Case(f"fft {precision}", "flop", flops, (lines, n), cplx, lambda _, x: jnp.fft.fft(x))
        for n in (2**18,) if quick else (2**16, 2**20):
            yield Case(f"reduce {precision}", "flop", float(n), (n,), real, lambda _, x: x.at[0].set(jnp.sum(x * x[1])))
            yield Case(f"elementwise {precision}", "flop", 11.0 * n, (n,), real, lambda _, x: jnp.exp(-x))
        for n in (64,) if quick else (48, 96):
            factor = lambda _, x: jnp.linalg.cholesky(x + jnp.eye(x.shape[0], dtype=x.dtype)) * 0  # noqa: E731
            yield Case(f"linalg {precision}", "flop", n**3 / 3.0, (n, n), real, factor)
    for n in (2**20,) if quick else (2**17, 2**20, 2**22):
        yield Case("elementwise", "B", 8.0 * n, (n,), np.float32, lambda _, x: x * 1.5 + 1.0)
    for n in (2**16,) if quick else (2**14, 2**18):
        yield Case("gather", "B", 12.0 * n, (2, n), np.int32, _look_up, fill=_shuffled)
        yield Case("scatter", "B", 12.0 * n, (2, n), np.int32, _add_up, fill=_shuffled)
    for shape in ((8, 96, 160),) if quick else ((8, 96, 160), (320, 384, 1), (64, 80, 64), (192, 192, 6)):
        yield Case("repack", "B", 8.0 * math.prod(shape), shape, np.float32, _transpose)
    yield Case("launch", "op", float(LAUNCHES), (8, 8), np.float32, _many_products)


LAUNCHES = 16
"""Operations too small to count for their work, of which none can be fused with the next."""


def _look_up(_: LaxCollectives, x: jax.Array) -> jax.Array:
    return x.at[0].set(x[1][x[0]])


def _add_up(_: LaxCollectives, x: jax.Array) -> jax.Array:
    return x.at[1].set(jnp.zeros_like(x[1]).at[x[0]].add(x[1]))


def _shuffled(shape: tuple[int, ...]) -> np.ndarray:
    order = np.random.default_rng(0).permutation(shape[1])
    return np.stack([order, order])


def _transpose(_: LaxCollectives, x: jax.Array) -> jax.Array:
    a, b, c = x.shape
    return jnp.swapaxes(x.reshape(a, b, c), 0, 1).reshape(a, b, c) + 1.0


def _many_products(comm: LaxCollectives, x: jax.Array) -> jax.Array:
    for _ in range(LAUNCHES):
        x = x @ x
    return x
