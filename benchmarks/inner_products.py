"""CPU time of the inner products of a sampler's step on one thread: `Space.dots` against a `jnp.sum` for each.

Both widen float32 factors to float64 before they multiply. The last row is the price of results that are equal to the
last bit on every mesh: `Space(..., reproducible=True)` against the plain space.
"""

import dataclasses
import os
import time
from typing import Any

os.environ["XLA_FLAGS"] = " ".join(
    (os.environ.get("XLA_FLAGS", ""), "--xla_cpu_multi_thread_eigen=false", "intra_op_parallelism_threads=1")
).strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
from _harness import alternate, arguments, report, row

from ppl.infer.space import Space

PAIRS = {1: ((0, 1),), 4: ((0, 0), (0, 1), (1, 2), (2, 2)), 6: ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))}


def sums(pairs: Any) -> jax.Array:
    return jnp.stack([jnp.sum(a["x"].astype(jnp.float64) * b["x"].astype(jnp.float64), axis=1) for a, b in pairs])


def measure(size: int, pairs: int, reproducible: bool, repeats: int) -> dict[str, Any]:
    plain = Space.single({"x": (size,)}, 1, "float32")
    exact = dataclasses.replace(plain, reproducible=True)
    held = [{"x": np.random.default_rng(i).normal(size=(1, size)).astype(np.float32)} for i in range(3)]
    functions = {"ours": exact.dots, "peer": plain.dots} if reproducible else {"ours": plain.dots, "peer": sums}
    vectors = jax.tree.map(jnp.asarray, held)
    compiled = {
        who: jax.jit(lambda v, f=f: f([(v[i], v[j]) for i, j in PAIRS[pairs]])).lower(vectors).compile()
        for who, f in functions.items()
    }
    runs = {who: (lambda c=c: jax.block_until_ready(c(vectors))) for who, c in compiled.items()}
    seconds = alternate(runs, repeats, time.process_time)
    case = f"{pairs} of {size} float32{', reproducible' if reproducible else ''}"
    peer, target = ("Space.dots, plain", 4.0) if reproducible else ("one jnp.sum each", 1.1)
    made = row(case, "ns of CPU an element", seconds, size / 1e9, peer, target)
    made["temporary bytes an element"] = [c.memory_analysis().temp_size_in_bytes / size for c in compiled.values()]
    return made


if __name__ == "__main__":
    options = arguments(__doc__ or "")
    sizes, repeats = ((10**6,), 5) if options.quick else ((10**5, 10**6, 10**7), 15)
    with jax.enable_x64(True):
        rows = [
            measure(size, pairs, reproducible, repeats)
            for size in sizes
            for reproducible in (False, True)
            for pairs in PAIRS
        ]
    report("inner_products", rows, ("jax", "jaxlib"), options.json)
