"""One step of the samplers at 10^4 to 10^7 latents, beside BlackJAX and NumPyro on the same log density.

On one device: time of one gradient's share of a transition per latent, and what XLA holds. On eight virtual devices,
for a cube and five scalars: collectives and what a device holds (`_field_sharded.py`, a process of its own).

Rows (ratios are ours / peer; "allowed" is what the target sentence allows, in the same unit):

    ns per latent per gradient   CPU time of one pinned thread, median of alternated repeats. The log density is ours
                                 and a plain float32 JAX function of the same values. HMC and MAMS: 7 leapfrogs a
                                 transition; NUTS: trees that fill to depth 3; MCLMC: one gradient a step. The metric is
                                 diagonal and an array everywhere, and nothing adapts. The peer is the faster one.
    copies of the latents        XLA's temporaries + arguments + results - aliased ones - the data, over the bytes of
                                 the latents in float32 (of a device's block of the field on eight devices). The state
                                 given is overwritten, and no draw is kept. Ours holds the metric and the accumulators
                                 of the posterior's moments besides, the peers the metric.
    copies beyond the model's    ours: the same without what XLA's temporaries are of the model's log density and
    workspace                    gradient, compiled alone. This is what a sampler is allowed.
    field-sized collectives      instructions of the optimised program with a result as large as a device's block of
                                 the field, however often they run.
    the sampler's all-reduces    ours, in a transition of 7 leapfrogs (those in the loop of leapfrogs six times, all
                                 others once), or in a step of MCLMC. The model's own sums come on top: here two for
                                 each gradient, of the scalars' derivatives and of the log density where it is needed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
from _block import compiled_block, held_bytes
from _field_cases import LEAPFROGS, STEP, Case, cells, options_of
from _field_peers import peers, program
from _field_rows import COPIES, allowed, compare
from _harness import parser, report

SAMPLERS = ("hmc", "nuts", "mclmc", "mams")
DEEP = 10
TIME = {"hmc": 0.7, "mclmc": 0.25, "nuts": 1.0, "mams": 1.0}


def transitions(latents: int) -> int:
    """So many that a call takes some hundredths of a second."""
    return min(50, max(2, 3_000_000 // latents))


def measure(case: Case, sampler: str, repeats: int) -> Iterator[dict[str, Any]]:
    count = transitions(case.latents)
    named = {"case": f"{sampler}, {case.name}"}
    calls: dict[str, Callable[[], int]] = {}
    held: dict[str, float] = {}
    options = options_of(sampler, count)
    if not isinstance(options, str):
        posterior = case.posterior("1")
        case.check_same(posterior)
        block = compiled_block(posterior, options, case.position)
        calls["ours"], held["ours"], held["beyond"] = block.advance, block.memory, block.memory - block.workspace
    for name, (first, step, gradients) in peers(sampler, case.log_density, case.latents, STEP, LEAPFROGS).items():
        data = jax.device_put(case.data)
        state = jax.jit(first)(case.position, data)
        run = program(step, count).lower(state, jax.random.key(1), data).compile()
        held[name] = held_bytes(run, data)
        calls[name] = _driven(run, state, data, gradients * count)
    nanoseconds = {n: statistics.median(s) for n, s in _alternate(calls, repeats).items()}
    nanoseconds = {n: s * 1e9 / case.latents for n, s in nanoseconds.items()}
    copies = {n: b / 4 / case.latents for n, b in held.items()}
    yield named | compare("ns per latent per gradient", nanoseconds, TIME[sampler], options)
    beyond = copies.pop("beyond", None)
    yield named | compare("copies of the latents", copies, None, options)
    yield named | allowed("copies beyond the model's workspace", beyond, COPIES[sampler], options)


def deep_trees(case: Case) -> Iterator[dict[str, Any]]:
    """Copies of NUTS with room for trees of ten doublings, compiled only."""
    named = {"case": f"nuts of depth {DEEP}, {case.name}"}
    options = options_of("nuts", 2, max_depth=DEEP)
    block = compiled_block(case.posterior("1"), options, None)
    copies = {"ours": block.memory / 4 / case.latents}
    for name, (first, step, _) in peers("nuts", case.log_density, case.latents, STEP, 2**DEEP - 1).items():
        data = jax.device_put(case.data)
        state = jax.eval_shape(first, case.position, data)
        copies[name] = held_bytes(program(step, 2).lower(state, jax.random.key(1), data).compile(), data)
        copies[name] /= 4 * case.latents
    yield named | compare("copies of the latents", copies, None, options)
    beyond = (block.memory - block.workspace) / 4 / case.latents
    yield named | allowed("copies beyond the model's workspace", beyond, 13 + 2 * DEEP, options)


def _driven(run: Any, state: Any, data: Any, gradients: int) -> Callable[[], int]:
    """A call that advances a peer's state and gives the gradients that it took."""
    kept = {"state": state, "calls": 0}

    def advance() -> int:
        kept["calls"] += 1
        kept["state"] = jax.block_until_ready(run(kept["state"], jax.random.key(kept["calls"]), data))
        return gradients

    return advance


def _alternate(calls: dict[str, Callable[[], int]], repeats: int) -> dict[str, list[float]]:
    """CPU seconds per gradient of each call, in turn, after one of each that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            start = time.process_time()
            gradients = call()
            if repeat:
                seconds[name].append((time.process_time() - start) / gradients)
    return seconds


def sharded(quick: bool, only: list[str]) -> list[dict[str, Any]]:
    """The rows of the process that has eight devices."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        program = [sys.executable, str(Path(__file__).with_name("_field_sharded.py")), str(path), *only]
        subprocess.run(program + (["--quick"] if quick else []), check=True)
        return json.loads(path.read_text())


if __name__ == "__main__":
    options = parser(__doc__ or "")
    options.add_argument("--only", nargs="+", choices=SAMPLERS, default=SAMPLERS, help="these samplers")
    options.add_argument("--part", choices=("one", "eight"), help="on one device or on eight")
    chosen = options.parse_args()
    rows: list[dict[str, Any]] = []
    if chosen.part != "eight":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        for exponent in (4, 5, 6) if chosen.quick else (4, 5, 6, 7):
            for sampler in chosen.only:
                rows += measure(cells(10**exponent), sampler, repeats=3 if chosen.quick or exponent == 7 else 7)
        rows += deep_trees(cells(10**6)) if "nuts" in chosen.only else []
    if chosen.part != "one":
        rows += sharded(chosen.quick, list(chosen.only))
    report("field_samplers", rows, ("jax", "jaxlib", "blackjax", "numpyro"), chosen.json)
