"""Hand-written collectives on CPUs against `jax.lax`'s: on virtual devices of one process, and with a process for each
rank against gloo. Each case is a scan of calls, so that a call's price is not that of starting a program.

A halo is taken through a stencil: XLA joins block and ghosts, ours and its own, with what reads them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count="
    + ("1" if "--rank" in sys.argv else "8")
)

import jax
import numpy as np
from _harness import alternate, parser, report, row
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from backend_cuda import LaxCollectives
from backend_cuda.halo import Edge
from backend_cuda.native import NativeCollectives, bind

ROW = ("row",)
Step = Callable[[LaxCollectives, jax.Array], jax.Array]


def scalar(comm: LaxCollectives, x: jax.Array) -> jax.Array:
    return comm.all_reduce(x, ROW, "sum") * np.float32(0.1)


def transpose(comm: LaxCollectives, x: jax.Array) -> jax.Array:
    return comm.all_to_all(comm.all_to_all(x, ROW, 0, 1), ROW, 1, 0)


def stencil(comm: LaxCollectives, x: jax.Array) -> jax.Array:
    n = jax.lax.axis_size(ROW)
    h = comm.halo(x, Edge(ROW, 0, 1, n, n * x.shape[0]))
    return h[1:-1] + np.float32(0.1) * (h[2:] - 2 * h[1:-1] + h[:-2])


def program(comm: LaxCollectives, step: Step, mesh: jax.sharding.Mesh, calls: int) -> Callable[[jax.Array], Any]:
    def block(x: jax.Array) -> jax.Array:
        chain = comm.opened((x,))

        def body(carry: tuple[jax.Array, ...], _: None):
            chain.resume(carry[1:])
            y = step(chain, carry[0])
            return (y, *chain.carried()), None

        return jax.lax.scan(body, (x, *chain.carried()), None, length=calls)[0][0]

    spec = PartitionSpec("row")
    compiled = jax.jit(jax.shard_map(block, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))
    return lambda x: jax.block_until_ready(compiled(x))


def cases(ranks: int, quick: bool) -> list[tuple[str, Step, tuple[int, ...], int, int]]:
    """Name, step, block, steps in a scan, collectives in a step. All steps share the copy that a scan takes, and new
    pages for its buffers: among 20 transposes of 8 MiB these were a fifth of the time."""
    found: list[tuple[str, Step, tuple[int, ...], int, int]] = [("all-reduce of a scalar", scalar, (1,), 100, 1)]
    for kib in (32, 8192) if quick else (32, 512, 8192):
        shape = (ranks * 4, ranks, kib * 256 // (4 * ranks**2))
        found.append((f"transpose of {kib} KiB a rank", transpose, shape, 50, 2))
        found.append((f"stencil on {kib} KiB a rank", stencil, shape, 10, 1))
    return found


def measure(ranks: int, quick: bool, targets: dict[str, float], peer: str) -> list[dict[str, Any]]:
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:ranks]), ROW, axis_types=(AxisType.Auto,))
    binding = bind(mesh, slot_bytes=32 << 20)
    if binding is None:
        raise SystemExit("no native collectives here: there is nothing to measure")
    rows = []
    for name, step, shape, steps, calls in cases(ranks, quick):
        whole = np.random.default_rng(0).normal(size=(ranks * shape[0], *shape[1:])).astype(np.float32)
        split = NamedSharding(mesh, PartitionSpec("row"))
        x = jax.make_array_from_callback(whole.shape, split, lambda i, w=whole: w[i])
        kinds = {"ours": NativeCollectives(binding), "peer": LaxCollectives()}
        runs = {who: partial(program(c, step, mesh, steps), x) for who, c in kinds.items()}
        seconds = alternate(runs, 5 if quick else 11)
        case = f"{name}, {ranks} {'processes' if jax.process_count() > 1 else 'devices'}"
        rows.append(row(case, "seconds a collective", seconds, steps * calls, peer, targets[step.__name__]))
    return rows


def in_processes(ranks: int, quick: bool) -> list[dict[str, Any]]:
    """The rows of the first of several processes."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port, out = str(free.getsockname()[1]), Path(folder) / "rows.json"
        free.close()
        flags = ["--json", str(out), "--ranks", str(ranks), "--port", port, *(["--quick"] if quick else [])]
        command = [sys.executable, __file__, *flags, "--rank"]
        started = [subprocess.Popen([*command, str(r)], stdout=subprocess.DEVNULL) for r in range(ranks)]
        if any([p.wait() for p in started]):
            raise SystemExit("a process failed")
        return json.loads(out.read_text())


if __name__ == "__main__":
    options = parser(__doc__ or "")
    for name in ("--rank", "--ranks", "--port"):
        options.add_argument(name, type=int, help="of a process that this program starts")
    options = options.parse_args()
    if options.rank is not None:
        jax.distributed.initialize(f"127.0.0.1:{options.port}", options.ranks, options.rank)
        rows = measure(options.ranks, options.quick, {"scalar": 0.05, "transpose": 0.2, "stencil": 0.6}, "gloo")
        if options.rank == 0:
            options.json.write_text(json.dumps(rows))
    else:
        rows = measure(8, options.quick, {"scalar": 1.2, "transpose": 1.2, "stencil": 1.2}, "jax.lax")
        for ranks in (2,) if options.quick else (2, 4):
            rows += in_processes(ranks, options.quick)
        report("collectives", rows, ("jax", "jaxlib"), options.json)
