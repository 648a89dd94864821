"""The steps of the first run on a device; each runs in a process of its own and gives rows."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import _device_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
from _harness import alternate, row
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from backend_cuda import LaxCollectives
from backend_cuda.halo import Edge
from backend_cuda.native import NativeCollectives, bind, boxes
from backend_cuda.native.build import kernels
from backend_cuda.native.calls import ADDED, scheduled
from backend_cuda.native.particles import NativePainter
from backend_cuda.native.virtual import VirtualRanks
from ir.painter import XLA, Swarm

Rows = list[dict[str, Any]]
RANKS, LIMIT, MIB = 4, 20.0, 1 << 20
ROW = ("row",)


def passed(case: str, metric: str, value: float) -> dict[str, Any]:
    """A row of what has no peer: it is here because it held."""
    return {"case": case, "metric": metric, "ours": value, "ratio": None, "why": "nothing to compare with"}


def is_served(program: boxes.BoxProgram, dtype: np.dtype) -> bool:
    s = scheduled(program, dtype.itemsize)
    return s is not None and s.slot_bytes <= MIB and (s.unit > 0 or dtype.name in ADDED)


def versions(dry: bool) -> Rows:
    """The machine, and the library built on it."""
    begun = time.perf_counter()
    kernels("cpu" if dry else "gpu")
    rows = [passed(f"library on {jax.devices()[0].device_kind}", "seconds to build", time.perf_counter() - begun)]
    for tool, options in {
        "nvidia-smi": ["--query-gpu=name,driver_version", "--format=csv,noheader"],
        "nvcc": ["--version"],
        "compute-sanitizer": ["--version"],
        "nvidia-cuda-mps-control": ["-v"],
    }.items():
        found = shutil.which(tool)
        said = subprocess.run([found, *options], capture_output=True, text=True).stdout if found else "not here"
        rows.append({"case": tool, "metric": said.strip().splitlines()[-1:], "ratio": None, "why": "a version"})
    return rows


def virtual(dry: bool) -> Rows:
    """All box programs in all types, and reductions, of virtual ranks against NumPy."""
    rows = []
    for ranks in (2, RANKS) if dry else (2, RANKS, 8, 64):
        comm, count = VirtualRanks(ranks, MIB, LIMIT), 0
        for dtype in cases.DTYPES if ranks == RANKS else ("float32",):
            given = {name: (p, cases.blocks(p, dtype)) for name, p in cases.programs(ranks)}
            given = {name: (p, x) for name, (p, x) in given.items() if is_served(p, x.dtype)}
            run = jax.jit(lambda xs, g=given, c=comm: {name: c.exchange(p, xs[name]) for name, (p, _) in g.items()})
            found = run({name: x for name, (_, x) in given.items()})
            for name, (p, x) in given.items():
                answer, where = cases.wanted(p, x), f"{name}, {ranks} ranks, {dtype}"
                np.testing.assert_array_equal(np.asarray(found[name]), answer, where)
            count += len(given)
        x = np.random.default_rng(0).normal(size=(ranks, 700))
        total = x[0]
        for block in x[1:]:
            total = total + block
        for kind, answer in {"sum": total, "max": x.max(0), "min": x.min(0)}.items():
            found = np.asarray(jax.jit(lambda x, kind=kind, comm=comm: comm.all_reduce(x, kind))(x))
            np.testing.assert_array_equal(found, np.broadcast_to(answer, x.shape))
        rows.append(passed(f"{ranks} virtual ranks equal NumPy's", "programs", count))
    return rows


def painting(dry: bool) -> Rows:
    """Kernels of particles against XLA's scatters and gathers, and as a share of the bandwidth of a copy."""
    n, rows = (16 if dry else 256), []
    bandwidth, native = copied(dry), NativePainter("cpu" if dry else "gpu")
    for dtype in ("float32", "float64"):
        axes, moved, fields = cases.swarm(n, dtype)
        for name, arrays, run in particle_runs(axes, moved, fields):
            ours, peer = (jax.jit(partial(run, painter)) for painter in (native, XLA))
            made, again, wanted = ours(*arrays), ours(*arrays), peer(*arrays)
            off = max(float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in zip(made, wanted, strict=True))
            same = all(bool((a == b).all()) for a, b in zip(made, again, strict=True))
            if not off <= (1e-5 if dtype == "float32" else 1e-12) or ("reproducible" in name and not same):
                raise AssertionError(f"{name} {dtype}: off by {off:.1e} of the largest, the same bits again: {same}")
            size = sum(x.nbytes for x in (*arrays, *made))
            rows += timed(f"{name} {n}^3 {dtype}", partial(ours, *arrays), partial(peer, *arrays), size, bandwidth)
    return rows


def particle_runs(axes: Any, moved: Any, fields: Any) -> Iterator[tuple[str, tuple[jax.Array, ...], Any]]:
    """Names, operands, and what painters make of them: of one and of three fields, as a simulation's gradient."""
    of = lambda xs: Swarm.of(axes, "cic", xs[:3])  # noqa: E731
    for count in (1, 3):
        given = (*moved, *fields[:count])
        yield f"paint {count}", given, lambda by, *xs: by.paint(of(xs), xs[3:], [])
        yield f"paint {count}, reproducible,", given, lambda by, *xs: by.paint(of(xs), xs[3:], [], True)
        yield f"read {count}", given, lambda by, *xs: by.read(of(xs), xs[3:])[0]
        yield f"slopes of {count}", given, lambda by, *xs: by.read_slopes(of(xs), xs[3:], xs[3:], [])[0]


def replay(dry: bool) -> Rows:
    """A thousand runs of one program, whose result says how often it ran: with CUDA graphs, as XLA_FLAGS has it."""
    comm, times = VirtualRanks(RANKS, MIB, LIMIT), 1000
    there = boxes.all_to_all(RANKS, (8, 4 * RANKS, 6), 0, 1)
    back = boxes.all_to_all(RANKS, there.result, 1, 0)

    @partial(jax.jit, donate_argnums=0)
    def step(x: jax.Array) -> jax.Array:
        y = comm.exchange(back, comm.exchange(there, x)) + 1
        return y + (comm.all_reduce(y[:, :1, 0, 0])[:, :, None, None] * 0)

    start = cases.blocks(there, "float32")
    x = step(jnp.asarray(start)).block_until_ready()
    begun = time.perf_counter()
    for _ in range(times):
        x = step(x)
    x.block_until_ready()
    seconds = (time.perf_counter() - begun) / times
    np.testing.assert_array_equal(np.asarray(x), start + times + 1)
    return [passed("a program of three calls, run 1001 times", "seconds a run", seconds)]


def copied(dry: bool) -> float:
    """Bytes read and written by a copy in a second."""
    x = jnp.ones((4 if dry else 512) * MIB // 4, jnp.float32)
    copy = jax.jit(lambda x: x + np.float32(1))
    seconds = alternate({"copy": lambda: copy(x).block_until_ready()}, 10)["copy"]
    return 2 * x.nbytes / float(np.median(seconds))


def timed(
    name: str, ours: Callable[[], Any], peer: Callable[[], Any], size: float, bandwidth: float, target: float = 1.0
) -> Rows:
    """Ours against a peer, and the share of a copy's bandwidth at which ours moves `size` bytes."""
    seconds = alternate(
        {"ours": lambda: jax.block_until_ready(ours()), "peer": lambda: jax.block_until_ready(peer())}, 7
    )
    made = row(name, "seconds", seconds, 1.0, "XLA", target)
    made["share_of_copy_bandwidth"] = size / made["ours"] / bandwidth
    return [made]


def transposes(dry: bool) -> Rows:
    """The fused exchange against packing, moving and unpacking by XLA, all on one device; an all-reduce in a scan."""
    bandwidth, n, rows = copied(dry), RANKS, []
    for mib in (1, 2) if dry else (8, 64, 512):
        comm = VirtualRanks(n, mib * MIB, LIMIT)
        a, c = 16, 64
        b = mib * MIB // 4 // (a * n * c)
        for name, source, target in (("split 0 to 1", 0, 1), ("split 1 to 0", 1, 0)):
            shape = (a, n * b, c) if target == 1 else (n * b, a, c)
            program = boxes.all_to_all(n, shape, source, target)
            x = jnp.arange(n * mib * MIB // 4, dtype=jnp.float32).reshape(n, *shape)

            def peer(x: jax.Array, target: int = target) -> jax.Array:
                parts = jnp.stack(jnp.split(x, n, axis=1 + target), axis=1)  # [rank, to, …]: packed
                moved = jax.lax.optimization_barrier(jnp.swapaxes(jax.lax.optimization_barrier(parts), 0, 1))
                return jnp.concatenate([moved[:, r] for r in range(n)], axis=1 + (1 - target))

            run, other = jax.jit(partial(comm.exchange, program)), jax.jit(peer)
            if not bool((run(x) == other(x)).all()):
                raise AssertionError(f"a transpose of {mib} MiB a rank, {name}, differs from XLA's")
            through = 2 * x.nbytes + 2 * x.nbytes * (n - 1) / n  # the own part is not staged
            name = f"transpose of {mib} MiB a rank, {n} virtual ranks, {name}"
            rows += timed(name, lambda r=run, x=x: r(x), lambda o=other, x=x: o(x), through, bandwidth, 1 / 1.4)
    comm, steps = VirtualRanks(RANKS, 4096, LIMIT), 1000
    scan = jax.jit(lambda x: jax.lax.scan(lambda c, _: (comm.all_reduce(c) * 0.25, None), x, None, length=steps)[0])
    x = jnp.ones((RANKS, 1), jnp.float64)
    seconds = alternate({"ours": lambda: scan(x).block_until_ready()}, 5)["ours"]
    np.testing.assert_array_equal(np.asarray(scan(x)), np.ones((RANKS, 1)))
    return [*rows, passed("all-reduce of 8 B in a scan of 1000", "seconds a call", float(np.median(seconds)) / steps)]


def ranks(dry: bool, lax: bool = False) -> Rows:
    """All devices of all processes as one mesh: calls in a chain against NumPy, a hundred times."""
    count = jax.device_count()
    mesh = jax.make_mesh((count,), ROW, axis_types=(AxisType.Auto,))
    binding = None if lax else bind(mesh, slot_bytes=4 * MIB, seconds=LIMIT)
    if binding is None and not lax:
        raise AssertionError("bind gave nothing: MESHBAYES_COLLECTIVES is not native")
    comm = LaxCollectives() if binding is None else NativeCollectives(binding)

    def block(x: jax.Array) -> jax.Array:
        chain = comm.opened((x,))
        y = chain.all_to_all(chain.all_to_all(x, ROW, 0, 1), ROW, 1, 0)
        h = chain.halo(y, Edge(ROW, 0, 2, count, 8 * count))
        return chain.all_reduce(jnp.sum(h).reshape(1), ROW, "sum") + 0 * chain.all_reduce(y[0, 0, :1], ROW, "max")

    spec = PartitionSpec("row")
    run = jax.jit(jax.shard_map(block, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))
    whole = np.random.default_rng(0).integers(-9, 10, (8 * count, 6 * count, 5)).astype(np.float32)
    halos = sum(whole.take(range(8 * r - 2, 8 * r + 10), axis=0, mode="wrap").sum() for r in range(count))
    begun = time.perf_counter()
    for factor in range(100):
        x = jax.make_array_from_callback(whole.shape, NamedSharding(mesh, spec), lambda i, f=factor: whole[i] * f)
        found = np.asarray(jax.block_until_ready(run(x)).addressable_shards[0].data)
        np.testing.assert_array_equal(found, np.float32(halos * factor))
    which = "jax.lax" if lax else "native"
    case = f"{count} ranks in {jax.process_count()} processes, {which}"
    return [passed(case, "seconds a program of five collectives", (time.perf_counter() - begun) / 100)]


STEPS: dict[str, Callable[[bool], Rows]] = {
    f.__name__: f for f in (versions, virtual, painting, replay, transposes, ranks)
}
