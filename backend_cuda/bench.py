"""The devices at hand, timed: classes of computing, and every collective along the axes of a mesh.

All devices work at once, as they do in a program: virtual devices of one computer share its cores and its memory. A
timing is of a loop on the devices whose steps depend on one another, less what an empty loop takes, so that the call
itself does not count. Other programs on the computer only ever add to it: the faster half of the repeats counts.
Nothing here knows what the figures are for.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from ir.errors import Diagnostic
from ir.mesh import Mesh

from .lax_collectives import LaxCollectives
from .spmd import device_mesh

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "collective_permute")
MESSAGES = tuple(2**k for k in (16, 22, 10, 19, 24, 13, 26))
"""Bytes of the larger of a collective's operand and result on one device, in the order in which they are timed."""
QUICK_MESSAGES = tuple(2**k for k in (12, 21, 17))
FIRST = 2
"""So many of the sizes are timed whatever the time limit says."""

Step = Callable[[Any], Any]


@dataclass(frozen=True)
class Timing:
    """Seconds of one step on every device: the median of the faster half of the repeats, and the spread of all of them
    as a fraction (half the distance between their quartiles, over the median).

    `what` is a kind of collective or a class of work with its precision ("matmul f32"). `size` is for a collective the
    bytes of the operand on one device; otherwise `unit` ("flop", "B" or "op") tells what it counts, on one device.
    """

    what: str
    unit: str
    size: float
    seconds: float
    spread: float
    axes: tuple[str, ...] = ()


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


def take_timings(mesh: Mesh, quick: bool, limit: float, watch: Callable[[Timing], None]) -> tuple[list[Timing], int]:
    """Times every case on the devices of a mesh, and how many cases the time limit [s] left out."""
    devices = device_mesh(mesh)
    start, found, left_out = time.perf_counter(), [], 0
    for must, case in _in_order(mesh, quick):
        if not must and time.perf_counter() - start > limit:
            left_out += 1
            continue
        timing = time_case(case, mesh, devices, repeats=5 if quick else 9, aim=0.008 if quick else 0.02)
        found.append(timing)
        watch(timing)
    return found, left_out


def _in_order(mesh: Mesh, quick: bool) -> Iterator[tuple[bool, Case]]:
    yield from ((True, case) for case in work_cases(quick))
    for number, message in enumerate(QUICK_MESSAGES if quick else MESSAGES):
        for axes in groups(mesh):
            for kind in KINDS:
                if (case := collective_case(kind, mesh, axes, message)) is not None:
                    yield number < FIRST, case


def groups(mesh: Mesh) -> list[tuple[str, ...]]:
    """The axes along which collectives may run: each one, and every product of several."""
    long = [a for a in mesh.names if mesh.size(a) > 1]
    return [axes for count in range(1, len(long) + 1) for axes in combinations(long, count)]


def collective_case(kind: str, mesh: Mesh, axes: tuple[str, ...], message: int) -> Case | None:
    """A collective whose larger side holds `message` bytes on one device; None where that is too few to deal out."""
    comm, n = LaxCollectives(), mesh.size(axes)
    elements = message // 4 // (n if kind == "all_gather" else 1)
    if elements < n:
        return None
    elements -= elements % n

    def step(x: jax.Array) -> jax.Array:
        if kind == "all_reduce":
            return comm.all_reduce(x, axes, "sum")
        if kind == "all_gather":
            return comm.all_gather(x, axes, 0)[:elements]
        if kind == "reduce_scatter":
            return jax.lax.dynamic_update_slice(x, comm.reduce_scatter(x, axes, 0), (0,))
        if kind == "all_to_all":
            return comm.all_to_all(x, axes, 0, 0)
        return jax.lax.ppermute(x, axes, [(i, (i + 1) % n) for i in range(n)])

    return Case(kind, "B", 4.0 * elements, (elements,), np.float32, step, axes)


def work_cases(quick: bool) -> Iterator[Case]:
    """The classes of computing, at sizes of which the smallest fits a processor's own cache."""
    for precision, real, cplx in (("f32", np.float32, np.complex64), ("f64", np.float64, np.complex128)):
        for n in (384,) if quick else (128, 384, 640):
            yield Case(f"matmul {precision}", "flop", 2.0 * n**3, (n, n), real, lambda x: x @ x)
        for lines, n in ((512, 96),) if quick else ((512, 96), (256, 256), (1024, 320)):
            flops = 5.0 * lines * n * math.log2(n)
            yield Case(f"fft {precision}", "flop", flops, (lines, n), cplx, lambda x: jnp.fft.fft(x))
        for n in (2**18,) if quick else (2**16, 2**20):
            yield Case(f"reduce {precision}", "flop", float(n), (n,), real, lambda x: x.at[0].set(jnp.sum(x * x[1])))
            yield Case(f"elementwise {precision}", "flop", 11.0 * n, (n,), real, lambda x: jnp.exp(-x))
        for n in (64,) if quick else (48, 96):
            factor = lambda x: jnp.linalg.cholesky(x + jnp.eye(x.shape[0], dtype=x.dtype)) * 0  # noqa: E731
            yield Case(f"linalg {precision}", "flop", n**3 / 3.0, (n, n), real, factor)
    for n in (2**20,) if quick else (2**17, 2**20, 2**22):
        yield Case("elementwise", "B", 8.0 * n, (n,), np.float32, lambda x: x * 1.5 + 1.0)
    for n in (2**16,) if quick else (2**14, 2**18):
        yield Case("gather", "B", 12.0 * n, (2, n), np.int32, _look_up, fill=_shuffled)
        yield Case("scatter", "B", 12.0 * n, (2, n), np.int32, _add_up, fill=_shuffled)
    for shape in ((8, 96, 160),) if quick else ((8, 96, 160), (320, 384, 1), (64, 80, 64), (192, 192, 6)):
        yield Case("repack", "B", 8.0 * math.prod(shape), shape, np.float32, _transpose)
    yield Case("launch", "op", float(LAUNCHES), (8, 8), np.float32, _many_products)


MOST_STEPS = 100_000
LAUNCHES = 16
"""Operations too small to count for their work, of which none can be fused with the next."""


def _look_up(x: jax.Array) -> jax.Array:
    return x.at[0].set(x[1][x[0]])


def _add_up(x: jax.Array) -> jax.Array:
    return x.at[1].set(jnp.zeros_like(x[1]).at[x[0]].add(x[1]))


def _shuffled(shape: tuple[int, ...]) -> np.ndarray:
    order = np.random.default_rng(0).permutation(shape[1])
    return np.stack([order, order])


def _transpose(x: jax.Array) -> jax.Array:
    a, b, c = x.shape
    return jnp.swapaxes(x.reshape(a, b, c), 0, 1).reshape(a, b, c) + 1.0


def _many_products(x: jax.Array) -> jax.Array:
    for _ in range(LAUNCHES):
        x = x @ x
    return x


def time_case(case: Case, mesh: Mesh, devices: jax.sharding.Mesh, repeats: int, aim: float) -> Timing:
    """Runs a case in loops of about `aim` seconds."""
    with jax.enable_x64(True):
        loop, block = _loop(case, mesh, devices)

        def seconds(steps: int) -> float:
            start = time.perf_counter()
            jax.block_until_ready(loop(np.int32(steps), block))
            return time.perf_counter() - start

        seconds(1)
        empty, steps = min(seconds(0) for _ in range(5)), 1
        while (once := seconds(steps)) < empty + aim and steps < MOST_STEPS:
            steps = min(MOST_STEPS, math.ceil(steps * min(8.0, max(2.0, aim / max(once - empty, 1e-9)))))
        taken = [max(t - empty, t / 4) / steps for t in (seconds(steps) for _ in range(repeats))]
    low, middle, high = statistics.quantiles(taken, n=4)
    fast = statistics.median(sorted(taken)[: (len(taken) + 1) // 2])
    return Timing(case.what, case.unit, case.size, fast, (high - low) / 2 / middle, case.axes)


def _loop(case: Case, mesh: Mesh, devices: jax.sharding.Mesh) -> tuple[Any, jax.Array]:
    """The compiled loop, a function of the number of steps and the stored block, and that block."""

    def run(steps: jax.Array, x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(jnp.int32(0), steps, lambda _, y: case.step(y), x[0])[None]

    names = devices.axis_names
    spec = PartitionSpec(names)
    many = jax.shard_map(run, mesh=devices, in_specs=(PartitionSpec(), spec), out_specs=spec, check_vma=False)
    fill = case.fill or (lambda shape: np.zeros(shape, case.dtype))
    block = np.asarray(fill(case.shape), case.dtype)
    stored = jax.make_array_from_callback(
        (mesh.devices, *case.shape), NamedSharding(devices, spec), lambda _: block[None]
    )
    return jax.jit(many), stored


def check_devices(mesh: Mesh) -> str:
    """What kind of device a mesh can be had of; a `Diagnostic` where there are too few."""
    devices = device_mesh(mesh).devices.reshape(-1).tolist()
    kinds = {d.device_kind for d in devices}
    if len(kinds) > 1:
        hint = "give a mesh of as many devices as are of one kind"
        raise Diagnostic(
            "plan", f"the devices are of several kinds: {', '.join(sorted(kinds))}", where="mesh", hint=hint
        )
    return kinds.pop()


def memory_of_device(devices: Sequence[Any] | None = None) -> float:
    """Bytes of a device's own memory; 0 where it does not say, as virtual devices do not."""
    first = (devices or jax.devices())[0]
    stats = first.memory_stats() or {}
    return float(stats.get("bytes_limit", 0))
