"""The part of `field_samplers.py` that needs eight devices: a cube of white noise and five scalars on a 4 x 2 mesh.

    python benchmarks/_field_sharded.py ROWS.json SAMPLER... [--quick]

Peers get their data and positions split as ours, and what they return is asked for in the same layout; in between
JAX's partitioner decides. Programs are compiled and not run: virtual devices share the CPU, and tell no time.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the partitioner warns about every gather that it puts in

import jax
from _block import compiled_block, held_bytes
from _field_cases import LEAPFROGS, STEP, Case, biased, options_of
from _field_peers import peers, program
from _field_rows import COPIES, allowed, compare
from _hlo import Found, collectives
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import backend_cuda as backend
from ir.mesh import Mesh
from ppl.infer.leapfrog import LEAPFROGS as LEAPFROG_LOOP
from ppl.infer.space import OWN_SUMS

MESH = "row=4,col=2"


def measure(case: Case, sampler: str) -> Iterator[dict[str, Any]]:
    local = max(x.size for x in case.position.values()) // 8
    named = {"case": f"{sampler}, {case.name} on {MESH}"}
    held: dict[str, float] = {}
    found: dict[str, list[Found]] = {}
    options = options_of(sampler, 1)
    if not isinstance(options, str):
        posterior = case.posterior(MESH)
        case.check_same(posterior)
        block = compiled_block(posterior, options, None)
        held["ours"], found["ours"] = block.memory, collectives(block.text)
        held["beyond"] = block.memory - block.workspace
    for name, (first, step, _) in peers(sampler, case.log_density, case.latents, STEP, LEAPFROGS).items():
        compiled, data = partitioned(case, first, step)
        held[name], found[name] = held_bytes(compiled, data), collectives(compiled.as_text())
    copies = {n: b / 4 / local for n, b in held.items()}
    field_sized = {n: float(sum(c.elements >= local for c in made)) for n, made in found.items()}
    beyond = copies.pop("beyond", None)
    yield named | compare("copies of the block", copies, None, options)
    yield named | allowed("copies beyond the model's workspace", beyond, COPIES[sampler], options)
    yield named | compare("field-sized collectives", field_sized, 0.0, options)
    yield row_of_sums(named, sampler, found.get("ours", []), options)
    whole = {n: float(len(made)) for n, made in found.items()}
    yield named | compare("collectives of any size in the program", whole, None, options)


def row_of_sums(named: dict[str, Any], sampler: str, made: list[Found], options: Any) -> dict[str, Any]:
    """All-reduces of the sampler's own in a transition of `LEAPFROGS` leapfrogs; NUTS has no bound."""
    own = [c for c in made if c.kind == "all-reduce" and OWN_SUMS in c.scopes]
    inside = sum(LEAPFROG_LOOP in c.scopes for c in own)
    count = len(own) + inside * (LEAPFROGS - 2)
    metric = f"the sampler's all-reduces in a transition of {LEAPFROGS} leapfrogs"
    if sampler == "mclmc":
        metric, count = "the sampler's all-reduces in a step", len(own)
    if sampler == "nuts":
        metric, count = "the sampler's all-reduces in the program", len(own)
        return {**named, "metric": metric, "ours": count, "ratio": None, "target": None, "why": "no target is set"}
    return named | allowed(metric, float(count), 1 if sampler == "mclmc" else LEAPFROGS + 1, options)


def partitioned(case: Case, first: Any, step: Any) -> tuple[Any, dict[str, jax.Array]]:
    """A peer's program of one transition, its state laid out as well as it can be, and the data."""
    devices = backend.device_mesh(Mesh.parse(MESH))
    shape = next(x.shape for x in case.position.values() if x.ndim)

    def placed(tree: Any) -> Any:
        specs = jax.tree.map(lambda x: P("row", "col") if tuple(x.shape) == shape else P(), tree)
        return jax.tree.map(lambda s: NamedSharding(devices, s), specs, is_leaf=lambda s: isinstance(s, P))

    data = jax.device_put(case.data, placed(case.data))
    position = jax.device_put(case.position, placed(case.position))
    state = placed(jax.eval_shape(first, position, data))
    begun = jax.jit(first, out_shardings=state)(position, data)
    return program(step, 1, state).lower(begun, jax.random.key(1), data).compile(), data


if __name__ == "__main__":
    path, *samplers = [a for a in sys.argv[1:] if a != "--quick"]
    sides = (64,) if "--quick" in sys.argv else (64, 128)
    rows = [row for side in sides for sampler in samplers for row in measure(biased(side), sampler)]
    Path(path).write_text(json.dumps(rows))
