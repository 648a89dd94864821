"""In one process of a run: every case checked against NumPy, then timed, for each implementation in turn."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import PartitionSpec

from ..lax_collectives import LaxCollectives
from ..native import NativeCollectives
from .loops import Watch, looped, performs_ours, stored
from .operations import Operation

DTYPES = {
    "f32": np.float32,
    "f64": np.float64,
    "s32": np.int32,
    "s64": np.int64,
    "c64": np.complex64,
    "c128": np.complex128,
}


@dataclass(frozen=True)
class Reading:
    """Of one implementation in one case: seconds of a call, elements that are wrong on any rank."""

    seconds: float
    wrong: int


@dataclass(frozen=True)
class Row:
    """A case. Bandwidths are in bytes per second; what was left to `jax.lax` has no reading."""

    collective: str
    size: int
    count: int
    dtype: str
    factor: float
    readings: dict[str, Reading | None]

    def algorithm_bandwidth(self, reading: Reading) -> float:
        return self.size / reading.seconds

    def bus_bandwidth(self, reading: Reading) -> float:
        return self.factor * self.size / reading.seconds


class Processes:
    """What the processes of a run tell each other, besides the collectives that are measured."""

    def largest(self, value: float) -> float:
        return max(self._all(value))

    def total(self, value: int) -> int:
        return int(sum(self._all(value)))

    def _all(self, value: float) -> list[float]:
        if jax.process_count() == 1:
            return [value]
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(np.float64(value)).tolist()


def rows(
    operations: dict[str, Operation],
    sizes: list[int],
    dtype: str,
    comms: dict[str, LaxCollectives],
    devices: jax.sharding.Mesh,
    repeats: int,
    aim: float = 0.02,
) -> Iterator[Row]:
    """A row for each collective and size [bytes] that is not too small for it. The medians of `repeats` loops of about
    `aim` seconds each, in which the implementations take turns; of several processes the slowest counts."""
    item = np.dtype(DTYPES[dtype]).itemsize
    with jax.enable_x64(True):
        for name, op in operations.items():
            done: set[tuple[int, ...]] = set()
            for size in sizes:
                shape = op.shape(size // item)
                if shape is None or shape in done:
                    continue
                done.add(shape)
                readings = _readings(op, shape, dtype, comms, devices, repeats, aim)
                yield Row(name, op.message(shape) * item, op.count(shape), dtype, op.factor(shape), readings)


def _readings(
    op: Operation,
    shape: tuple[int, ...],
    dtype: str,
    comms: dict[str, LaxCollectives],
    devices: jax.sharding.Mesh,
    repeats: int,
    aim: float,
) -> dict[str, Reading | None]:
    blocks = random_blocks(op.ranks, shape, dtype)
    x = stored(blocks.__getitem__, devices)
    every, wrong, watches = Processes(), {}, {}
    for name, comm in comms.items():
        loop = looped(op.step, comm, devices)
        if isinstance(comm, NativeCollectives) and not performs_ours(loop.lower(np.int32(1), x)):
            continue
        wrong[name] = every.total(check(op, comm, blocks, devices))
        watches[name] = Watch(lambda steps, loop=loop: loop(np.int32(steps), x), aim, every.largest)
    taken: dict[str, list[float]] = {name: [] for name in watches}
    for _ in range(repeats):
        for name, watch in watches.items():
            taken[name].append(watch.seconds() / op.calls)
    made = {name: Reading(statistics.median(t), wrong[name]) for name, t in taken.items()}
    return {name: made.get(name) for name in comms}


def random_blocks(ranks: int, shape: tuple[int, ...], dtype: str) -> list[np.ndarray]:
    """Normal numbers, or whole ones from -99 to 99; the same in every process."""
    rng = np.random.default_rng(0)
    kind = np.dtype(DTYPES[dtype])
    if kind.kind == "i":
        return [rng.integers(-99, 100, shape).astype(kind) for _ in range(ranks)]
    made = [rng.normal(size=(*shape, 2)) for _ in range(ranks)]
    return [(m[..., 0] + 1j * m[..., 1] if kind.kind == "c" else m[..., 0]).astype(kind) for m in made]


def tolerance(op: Operation, blocks: list[np.ndarray]) -> list[np.ndarray] | None:
    """What results may differ from NumPy's by, in the real and in the imaginary part; None where nothing.

    A sum of n floats in any order is within (n - 1) u sum |x| of the true one, u = eps / 2 (Higham, Accuracy and
    Stability of Numerical Algorithms, 2nd ed., eq. 4.4), so two orders are within n eps sum |x| of each other.
    """
    if not op.sums or blocks[0].dtype.kind == "i":
        return None
    eps = float(np.finfo(blocks[0].dtype).eps)
    return [len(blocks) * eps * m for m in op.truth([np.abs(b).astype(np.float64) for b in blocks])]


def called(op: Operation, comm: LaxCollectives, devices: jax.sharding.Mesh, donated: bool = False) -> Any:
    """One call, compiled: a function of the stored blocks; `donated`: which may give their memory to the result."""

    def block(x: jax.Array) -> jax.Array:
        chain = comm.opened((x,))
        return chain.closed({"y": op.call(chain, x[0])})["y"][None]

    spec = PartitionSpec(devices.axis_names)
    many = jax.shard_map(block, mesh=devices, in_specs=spec, out_specs=spec, check_vma=False)
    return jax.jit(many, donate_argnums=(0,) if donated else ())


def check(op: Operation, comm: LaxCollectives, blocks: list[np.ndarray], devices: jax.sharding.Mesh) -> int:
    """How many elements are wrong on this process's ranks: of the result of a call, of its operand afterwards, and of a
    result in the operand's place where it has its shape."""
    truth, allowed = op.truth(blocks), tolerance(op, blocks)
    x = stored(blocks.__getitem__, devices)
    wrong = count_wrong(called(op, comm, devices)(x), truth, allowed) + count_wrong(x, blocks, None)
    if op.in_place:
        wrong += count_wrong(called(op, comm, devices, donated=True)(x), truth, allowed)
    return wrong


def count_wrong(found: jax.Array, truth: list[np.ndarray], allowed: list[np.ndarray] | None) -> int:
    wrong = 0
    for shard in found.addressable_shards:
        place = shard.index[0].start or 0
        made, want = np.asarray(shard.data)[0], truth[place]
        if made.shape != want.shape:
            wrong += want.size
        elif allowed is None:
            wrong += int(np.sum(made != want))
        else:
            error = made - want
            off = np.maximum(np.abs(error.real), np.abs(error.imag)) if made.dtype.kind == "c" else np.abs(error)
            wrong += int(np.sum(~(off <= allowed[place])))
    return wrong
