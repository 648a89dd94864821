"""CPU time of a normal number on one thread: ours, of a key and a global index, against `jax.random.normal`.

The peer is JAX's default (threefry, partitionable), the one whose numbers do not depend on the mesh either. Cases: a
field of noise as such; noise that is used up by an update x + s n; and a step's worth of a sampler, in which the noise
enters three of four inner products and then an update (`Space.normal` and `Space.dots` against `jax.random.normal` and
four `jnp.sum`).
"""

import os
import time
from collections.abc import Callable
from typing import Any

os.environ["XLA_FLAGS"] = " ".join(
    (os.environ.get("XLA_FLAGS", ""), "--xla_cpu_multi_thread_eigen=false", "intra_op_parallelism_threads=1")
).strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
from _harness import alternate, arguments, report, row

from ir import counter
from ppl.infer.space import Space

SEED = 20260101
Draw = Callable[[Any], jax.Array]


def noise(draw: Draw) -> Callable[..., Any]:
    return lambda key, x, g: draw(key)


def update(draw: Draw) -> Callable[..., Any]:
    return lambda key, x, g: x + x.dtype.type(0.1) * draw(key)


def our_step(space: Space) -> Callable[..., Any]:
    def step(key: Any, x: jax.Array, g: jax.Array):
        n = space.normal(key, 1)["x"]
        x, g = x[None], g[None]
        products = space.dots([({"x": a}, {"x": b}) for a, b in ((x, n), (g, n), (n, n), (x, g))])
        return (x + (products[0] * 1e-9).astype(x.dtype) * g + x.dtype.type(0.1) * n)[0], products

    return step


def their_step(draw: Draw) -> Callable[..., Any]:
    def step(key: Any, x: jax.Array, g: jax.Array):
        n = draw(key)
        pairs = ((x, n), (g, n), (n, n), (x, g))
        products = jnp.stack([jnp.sum(a.astype(jnp.float64) * b.astype(jnp.float64)) for a, b in pairs])
        return x + (products[0] * 1e-9).astype(x.dtype) * g + x.dtype.type(0.1) * n, products

    return step


def measure(size: int, dtype: str, repeats: int) -> list[dict[str, Any]]:
    space = Space.single({"x": (size,)}, 1, dtype)
    our_key = tuple(np.uint32(w) for w in counter.seed_key(SEED))
    their_key = jax.random.key(SEED)
    x, g = (jnp.asarray(np.random.default_rng(i).normal(size=size).astype(dtype)) for i in (1, 2))

    def ours(key: Any) -> jax.Array:
        return counter.normal(key, counter.global_index((size,), (0,), (size,)), dtype)

    def theirs(key: Any) -> jax.Array:
        return jax.random.normal(key, (size,), dtype)

    cases = {
        "noise": (noise(ours), noise(theirs)),
        "update": (update(ours), update(theirs)),
        "noise, 4 inner products, update": (our_step(space), their_step(theirs)),
    }
    rows = []
    for name, (mine, other) in cases.items():
        compiled = [jax.jit(f).lower(k, x, g).compile() for f, k in ((mine, our_key), (other, their_key))]
        seconds = alternate(
            {
                "ours": lambda c=compiled[0]: jax.block_until_ready(c(our_key, x, g)),
                "peer": lambda c=compiled[1]: jax.block_until_ready(c(their_key, x, g)),
            },
            repeats,
            time.process_time,
        )
        scale = size / 1e9
        made = row(
            f"{name}, {size} {dtype}", "ns of CPU a number", seconds, scale, f"jax.random {jax.__version__}", 1.0
        )
        made["temporary bytes a number"] = [c.memory_analysis().temp_size_in_bytes / size for c in compiled]
        rows.append(made)
    return rows


if __name__ == "__main__":
    options = arguments(__doc__ or "")
    sizes, repeats = ((10**6,), 5) if options.quick else ((10**5, 10**6, 10**7), 15)
    with jax.enable_x64(True):
        rows = [r for size in sizes for dtype in ("float32", "float64") for r in measure(size, dtype, repeats)]
    report("random_numbers", rows, ("jax", "jaxlib"), options.json)
