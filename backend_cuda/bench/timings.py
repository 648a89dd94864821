"""The devices at hand, timed: classes of computing, and every collective along the axes of a mesh.

All devices work at once, as they do in a program: virtual devices of one computer share its cores and its memory. A
timing is of a loop on the devices whose steps depend on one another, less what an empty loop takes, so that the call
itself does not count. Other programs on the computer only ever add to it: the faster half of the repeats counts.
Nothing here knows what the figures are for.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import jax
import numpy as np

from ir.errors import Diagnostic
from ir.mesh import Mesh

from ..lax_collectives import LAX, LaxCollectives
from ..native import NativeCollectives, bind
from ..spmd import device_mesh
from .loops import Watch, looped, performs_ours, stored
from .work import Case, work_cases

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "collective_permute")
MESSAGES = tuple(2**k for k in (16, 22, 10, 19, 24, 13, 26))
"""Bytes of the larger of a collective's operand and result on one device, in the order in which they are timed."""
QUICK_MESSAGES = tuple(2**k for k in (12, 21, 17))
FIRST = 2
"""So many of the sizes are timed whatever the time limit says."""
NATIVE = "native "
"""What a timing of our own collectives begins with: "native all_to_all"."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one step on every device: the median of the faster half of the repeats, and the spread of all of them
    as a fraction (half the distance between their quartiles, over the median).

    `what` is a kind of collective, behind NATIVE where it is ours, or a class of work with its precision
    ("matmul f32"). `size` is for a collective the bytes of the operand on one device; otherwise `unit` ("flop", "B" or
    "op") tells what it counts, on one device.
    """

    what: str
    unit: str
    size: float
    seconds: float
    spread: float
    axes: tuple[str, ...] = ()


def take_timings(
    mesh: Mesh, quick: bool, limit: float, watch: Callable[[Timing], None], native: bool = False
) -> tuple[list[Timing], int]:
    """Times every case on the devices of a mesh, and how many cases the time limit [s] left out.

    native: our own collectives too, where the mesh can have them (`bind`) and they do not leave a message to `jax.lax`.
    """
    devices = device_mesh(mesh)
    start, found, left_out = time.perf_counter(), [], 0
    for must, case in _in_order(mesh, quick, _implementations(devices, native)):
        if not must and time.perf_counter() - start > limit:
            left_out += 1
            continue
        timing = time_case(case, devices, repeats=5 if quick else 9, aim=0.008 if quick else 0.02)
        if timing is not None:
            found.append(timing)
            watch(timing)
    return found, left_out


def _implementations(devices: jax.sharding.Mesh, native: bool) -> list[LaxCollectives]:
    binding = bind(devices) if native and devices.size > 1 else None
    return [LAX] if binding is None else [LAX, NativeCollectives(binding)]


def _in_order(mesh: Mesh, quick: bool, comms: Sequence[LaxCollectives]) -> Iterator[tuple[bool, Case]]:
    yield from ((True, case) for case in work_cases(quick))
    for number, message in enumerate(QUICK_MESSAGES if quick else MESSAGES):
        for axes in groups(mesh):
            for kind in KINDS:
                for comm in comms:
                    if (case := collective_case(kind, mesh, axes, message, comm)) is not None:
                        yield number < FIRST, case


def groups(mesh: Mesh) -> list[tuple[str, ...]]:
    """The axes along which collectives may run: each one, and every product of several."""
    long = [a for a in mesh.names if mesh.size(a) > 1]
    return [axes for count in range(1, len(long) + 1) for axes in combinations(long, count)]


def collective_case(
    kind: str, mesh: Mesh, axes: tuple[str, ...], message: int, comm: LaxCollectives = LAX
) -> Case | None:
    """A collective whose larger side holds `message` bytes on one device; None where that is too few to deal out."""
    n, ours = mesh.size(axes), isinstance(comm, NativeCollectives)
    elements = message // 4 // (n if kind == "all_gather" else 1)
    if elements < n:
        return None
    elements -= elements % n

    def step(comm: LaxCollectives, x: jax.Array) -> jax.Array:
        if kind == "all_reduce":
            return comm.all_reduce(x, axes, "sum")
        if kind == "all_gather":
            return comm.all_gather(x, axes, 0)[:elements]
        if kind == "reduce_scatter":
            return jax.lax.dynamic_update_slice(x, comm.reduce_scatter(x, axes, 0), (0,))
        if kind == "all_to_all" and ours:  # one exchange, which has packing in it: two axes, as in programs
            return comm.all_to_all(x.reshape(n, -1), axes, 1, 0).reshape(-1)
        if kind == "all_to_all":  # packing is a class of work of its own
            return comm.all_to_all(x, axes, 0, 0)
        return comm.permute(x, axes, [(i, (i + 1) % n) for i in range(n)])

    what = f"{NATIVE}{kind}" if ours else kind
    return Case(what, "B", 4.0 * elements, (elements,), np.float32, step, axes, comm=comm)


def time_case(case: Case, devices: jax.sharding.Mesh, repeats: int, aim: float) -> Timing | None:
    """Runs a case in loops of about `aim` seconds; None where our collectives leave it to `jax.lax`."""
    with jax.enable_x64(True):
        loop, blocks = loop_of(case, devices)
        if case.comm is not LAX and not performs_ours(loop.lower(np.int32(1), blocks)):
            return None
        watch = Watch(lambda steps: loop(np.int32(steps), blocks), aim)
        taken = [watch.seconds() for _ in range(repeats)]
    low, middle, high = statistics.quantiles(taken, n=4)
    fast = statistics.median(sorted(taken)[: (len(taken) + 1) // 2])
    return Timing(case.what, case.unit, case.size, fast, (high - low) / 2 / middle, case.axes)


def loop_of(case: Case, devices: jax.sharding.Mesh) -> tuple[Any, jax.Array]:
    """The compiled loop of a case, and its blocks."""
    fill = case.fill or (lambda shape: np.zeros(shape, case.dtype))
    block = np.asarray(fill(case.shape), case.dtype)
    return looped(case.step, case.comm, devices), stored(lambda _: block, devices)


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
