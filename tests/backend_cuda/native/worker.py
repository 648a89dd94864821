"""One process of a run of several: `python worker.py RANK PROCESSES PORT TASK`. Prints a line for what holds.

Tasks: `compare` with lax over gloo; `die`, where the last process leaves before the first collective; `rebind`, where
the last one comes too late for a collective, and all go on after they have bound again; `differ`, where it calls
another collective; `unequal`, where it asks for lax; `crowded`, with slots that no memory holds.
"""

import os
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from backend_cuda import LaxCollectives
from backend_cuda.halo import Edge
from backend_cuda.native import NativeCollectives, bind
from ir.errors import Diagnostic

RANK, PROCESSES, PORT, TASK = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
LAST = RANK == PROCESSES - 1
AXES = ("row",)


def say(what: str) -> None:
    print(f"[{RANK}] {what}", flush=True)


def main() -> None:
    jax.distributed.initialize(f"127.0.0.1:{PORT}", num_processes=PROCESSES, process_id=RANK)
    ranks = jax.device_count()
    mesh = jax.make_mesh((ranks,), AXES, axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("row"))
    limit = {"compare": 60.0, "unequal": 20.0}.get(TASK, 6.0)
    if TASK == "unequal":
        os.environ["MESHBAYES_COLLECTIVES"] = "lax" if LAST else "native"
        try:
            bind(mesh, seconds=limit)
        except Diagnostic as error:
            say(error.message)
        return
    binding = bind(mesh, slot_bytes=1 << 50 if TASK == "crowded" else 4 << 20, seconds=limit)
    assert binding is not None
    if TASK == "crowded":
        try:
            binding.communicator(AXES)
        except Diagnostic as error:
            say(error.message)
        return
    native = NativeCollectives(binding)

    def program(collectives, body):
        def block(x):
            return body(collectives.opened() if collectives is native else collectives, x)

        spec = PartitionSpec("row")
        return jax.jit(jax.shard_map(block, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))

    def run(collectives, body, x):
        return own(program(collectives, body)(x))

    def own(y):
        return np.asarray(jax.block_until_ready(y).addressable_shards[0].data)

    # Integers: gloo adds in an order of its own.
    whole = np.random.default_rng(0).integers(-99, 99, (ranks * 8, ranks * 6, 5)).astype(np.float32)
    x = jax.make_array_from_callback(whole.shape, split, lambda i: whole[i])

    def several(comm, x):
        y = comm.all_to_all(x, AXES, 0, 1)
        z = comm.halo(x, Edge(AXES, 0, 2, ranks, 8 * ranks))
        g = comm.all_gather(x[:, 0], AXES, 1)
        s = comm.reduce_scatter(x, AXES, 1)
        e = comm.all_reduce(x[0, 0], AXES, "sum")
        return jnp.concatenate([v.reshape(-1) for v in (y, z, g, s, e)])[None]

    def small(comm, x):
        return comm.all_reduce(x[:1, 0], AXES, "sum")

    if TASK == "compare":
        np.testing.assert_array_equal(run(native, several, x), run(LaxCollectives(), several, x))
        say("equal to lax")
        f = program(native, several)
        made = [f(x * i) for i in range(2)]
        for _ in range(100):
            # Not waited for, where each process has one device: with several, JAX 0.10's threads for CPU devices run
            # out when executions queue, as they do with collectives over gloo.
            made.append(f(x * len(made)))
            if jax.local_device_count() > 1:
                jax.block_until_ready(made)
        for i, y in enumerate(made):
            np.testing.assert_array_equal(own(y), i * own(made[1]))
        say("equal in a hundred runs")
        return
    run(native, small, x)
    if TASK == "die" and LAST:
        os._exit(3)
    if TASK == "rebind" and LAST:
        time.sleep(limit + 2)
    begun = time.monotonic()
    body = (lambda comm, x: comm.all_gather(x[:1, 0], AXES, 1)) if TASK == "differ" and LAST else small
    try:
        run(native, body, x)
    except jax.errors.JaxRuntimeError as error:
        say(f"after {time.monotonic() - begun:.1f} s: {error}")
    try:
        run(native, small, x)
    except jax.errors.JaxRuntimeError:
        say("refused")
    if TASK == "rebind":
        binding.rebind()
        np.testing.assert_array_equal(run(native, several, x), run(LaxCollectives(), several, x))
        say("equal after binding again")
    if TASK == "die":
        os._exit(0)  # JAX's own farewell waits for all processes


main()
