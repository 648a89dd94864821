"""What the first run on a device checks, as data: box programs of every kind, and particles."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backend_cuda.native import BoxProgram, boxes
from ir.assign import Axis

DTYPES = ("float32", "float64", "complex64", "complex128", "int32", "int64", "int8", "bfloat16")
"""With `ADDED` of calls.py, every width of what is copied and every type that is added."""


def programs(ranks: int) -> Iterator[tuple[str, BoxProgram]]:
    """Of unlike sizes, so that a swapped axis or rank gives other numbers; and their transposes."""
    shape, wide = (3, 2 * ranks, 4), (8, 16 * ranks, 32)
    pairs = [(r, (3 * r + 1) % ranks) for r in range(ranks)]
    made = {
        "all_to_all": boxes.all_to_all(ranks, shape, 0, 1),
        "all_to_all in units of 16 bytes": boxes.all_to_all(ranks, wide, 0, 1),
        "uneven all_to_all": boxes.all_to_all(ranks, (3, 2 * ranks - 1, 4), 0, 1, size=3 * ranks - 2),
        "all_to_all of the last dim": boxes.all_to_all(ranks, (3, 5, ranks), 1, 2),
        "all_gather": boxes.all_gather(ranks, shape, 1),
        "reduce_scatter": boxes.reduce_scatter(ranks, shape, 1),
        "around a ring": boxes.around((ranks,), [(-1,), (1,)], (30, 30), (True,)),
        "around, with ends": boxes.around((ranks,), [(-1,), (1,)], (7, 7), (False,)),
        "boxes that overlap": BoxProgram.of(
            ranks,
            (4, 5),
            (5, 5),
            [(r, (r + s) % ranks, (s, s), (2 * s, s), (3 - s, 4)) for r in range(ranks) for s in (0, 1)],
        ),
    }
    if len({to for _, to in pairs}) == ranks:
        made["permute"] = boxes.permute(ranks, shape, pairs)
    if ranks % 2 == 0 and ranks > 2:
        ways = [way for way in product((-1, 0, 1), repeat=2) if any(way)]
        made["around a grid"] = boxes.around((2, ranks // 2), ways, (6, 15, 6, 24, 24, 6, 15, 6), (True, True))
    for name, program in made.items():
        yield name, program
        yield f"{name}, transposed", program.transpose()


def blocks(program: BoxProgram, dtype: str, seed: int = 0) -> np.ndarray:
    """Small whole numbers, whose sums are exact in every type."""
    x = np.random.default_rng(seed).integers(-7, 8, (program.ranks, *program.shape))
    return np.asarray(jnp.asarray(x, jnp.dtype(dtype)))


def wanted(program: BoxProgram, x: np.ndarray) -> np.ndarray:
    exact = np.complex128 if np.iscomplexobj(x) else np.float64
    return np.stack(program.apply([b.astype(exact) for b in x])).astype(x.dtype)


def swarm(cells: int, dtype: Any, seed: int = 0) -> tuple[list[Axis], list[jax.Array], list[jax.Array]]:
    """A whole cube, its particles' displacements [cells], and three fields, which are values of particles too."""
    keys = jax.random.split(jax.random.key(seed), 6)
    made = [jax.random.normal(k, (cells,) * 3, dtype) for k in keys]
    return [Axis(cells, np.arange(cells), 1, None, tail=1)] * 3, made[:3], made[3:]
