"""Steps of samplers on a mass map on one GPU, up to the largest that fits, against the bandwidth of its memory.

The model is examples/01_mass_map.ppl, one chain, float32; data are made up. The step is so small that no trajectory
turns and all are accepted; nothing adapts and no draw is kept. Of sides that do not fit a row says so. Rows:

    ns per latent per gradient   seconds of a call of many transitions over gradients and latents, the fastest of the
                                 repeats. `peer` is what no sampler can go below with this gradient: the gradient's own
                                 program, alone, and one pass over the vectors that a step changes or needs (position
                                 and momentum read and written, gradient and metric read: 24 bytes a latent) at the
                                 bandwidth that a copy reaches on this device (`bandwidth` [bytes/s]).
                                 `vectors` is what the sampler adds to the gradient, over that pass.
    copies of the latents        what XLA holds beyond the model's workspace, over the bytes of the latents.

    python benchmarks/gpu_steps.py [--quick] [--sides 1024 32768] [--only hmc mclmc]
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.95")

import jax
import jax.numpy as jnp
import numpy as np
from _block import compiled_block
from _field_cases import options_of
from _field_rows import COPIES, allowed
from _harness import parser, report, write

import ppl

MODEL = Path(__file__).parent.parent / "examples" / "01_mass_map.ppl"
SAMPLERS = ("hmc", "mclmc", "mams", "nuts")
SIDES = (4096, 16384, 32768, 40960, 46592)
VECTORS = 24
"""Bytes a latent: position and momentum twice, gradient and metric once."""
TARGET = 1.5


def bandwidth(bytes_: int) -> float:
    """Bytes read and written per second by a copy that scales, the fastest of five."""
    x = jnp.ones(bytes_ // 4, jnp.float32)
    scale = jax.jit(lambda x: x * np.float32(1.5))
    seconds = fastest(lambda: scale(x), 5, 10)
    return 2 * x.nbytes / seconds


def fastest(call: Callable[[], Any], repeats: int, calls: int = 1) -> float:
    """Seconds of a call, each repeat of which makes several; one repeat before is not counted."""
    found = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        for _ in range(calls):
            made = call()
        jax.block_until_ready(made)
        found.append((time.perf_counter() - start) / calls)
    return min(found[1:])


def posterior_of(side: int) -> Any:
    zeros, ones = np.zeros((side, side), np.float32), np.ones((side, side), np.float32)
    data = {"e1": zeros, "e2": zeros, "noise": 0.3 * ones, "mask": np.ones((side, side), bool)}
    data |= {"side_x": np.float32(60.0), "side_y": np.float32(60.0)}
    return ppl.compile(ppl.load(str(MODEL)), data, sizes={"x": side, "y": side})


def measure(side: int, samplers: list[str], rate: float, repeats: int) -> Iterator[dict[str, Any]]:
    started = time.perf_counter()
    posterior, latents = posterior_of(side), side * side + 2
    position = {n: np.zeros(t.shape, t.numpy) for n, t in posterior.latents.items()}
    gradient, one_pass = gradient_seconds(posterior, position, repeats), VECTORS * latents / rate
    ns = lambda s: s * 1e9 / latents  # noqa: E731
    for sampler in samplers:
        named = {"case": f"{sampler}, mass map of {side}^2 pixels", "metric": "ns per latent per gradient"}
        named |= {"peer_name": "the gradient alone and one pass over the sampler's vectors", "target": TARGET}
        try:
            seconds, memory, workspace = of_sampler(sampler, posterior, position, repeats)
        except Exception as problem:  # whatever XLA raises where memory does not suffice: the others are measured
            yield named | {"ratio": None, "why": str(problem).splitlines()[0][:300]}
            continue
        row = named | {"ours": ns(seconds), "peer": ns(gradient + one_pass), "ratio": seconds / (gradient + one_pass)}
        row |= {"gradient": ns(gradient), "pass": ns(one_pass), "vectors": (seconds - gradient) / one_pass}
        yield row | {"seconds_per_gradient": seconds, "latents": latents, "bandwidth": rate}
        copies = (memory - workspace) / 4 / latents
        held = {"bytes beside the data": memory}
        yield {"case": named["case"]} | held | allowed("copies of the latents", copies, COPIES[sampler], None)
        took = f"{time.perf_counter() - started:.0f} s"
        print(f"{named['case']}: {row['ratio']:.3f}, {took}", file=sys.stderr, flush=True)


def of_sampler(sampler: str, posterior: Any, position: dict[str, np.ndarray], repeats: int) -> tuple[float, int, int]:
    """Seconds a gradient, and the bytes that the program and the model's own workspace take."""
    latents = sum(x.size for x in position.values())
    block = compiled_block(posterior, options_of(sampler, max(1, min(50, 10**9 // latents))), position)
    gradients = block.advance()
    return fastest(block.advance, repeats) / gradients, block.memory, block.workspace


def gradient_seconds(posterior: Any, position: dict[str, np.ndarray], repeats: int) -> float:
    """Of the planned gradient of one chain, alone."""
    gradient = posterior.gradient_program(1)
    stored = {n: gradient.store(n, x[None]) for n, x in position.items()}
    inputs = posterior.hoisted(gradient) | stored
    with jax.enable_x64(True):
        compiled = gradient.lowered().compile()
        return fastest(lambda: compiled(*(inputs[i.name] for i in gradient.program.inputs)), repeats, 5)


if __name__ == "__main__":
    options = parser(__doc__ or "")
    options.add_argument("--sides", nargs="+", type=int, default=None, help="pixels of a side")
    options.add_argument("--only", nargs="+", choices=SAMPLERS, default=list(SAMPLERS), help="these samplers")
    chosen = options.parse_args()
    sides = chosen.sides or ((256,) if chosen.quick else SIDES)
    rows: list[dict[str, Any]] = []
    rate = bandwidth(2**26 if chosen.quick else 2**31)
    for side in sides:
        try:
            for row in measure(side, chosen.only, rate, repeats=2 if chosen.quick else 3):
                rows.append(row)
                write("gpu_steps", rows, ("jax", "jaxlib"), chosen.json)
        except Exception as problem:
            rows.append({"case": f"mass map of {side}^2 pixels", "ratio": None, "why": str(problem)[:300]})
    report(f"gpu_steps, {jax.devices()[0].device_kind}", rows, ("jax", "jaxlib"), chosen.json)
