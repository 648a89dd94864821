"""Binding a device mesh: every rank's memory made known to its peers, and native or lax decided by all ranks as one.

A rank that took `jax.lax` while another one took our kernels would wait for ever. So all processes tell each other what
they have, and the answer is the AND. For each set of mesh axes that a collective speaks of there is one communicator:
its groups are the lines of the mesh along these axes, its ranks are places of the mesh, never device ordinals.
"""

from __future__ import annotations

import json
import math
import socket
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ir.errors import Diagnostic, InternalError
from ir.native import MODE, SLOT_BYTES, mode

from ..spmd import on_cpu
from .build import Library, library
from .rounds import PIECE_BYTES
from .schedule import MAX_RANKS
from .segments import DeviceSegments, HostSegments, Refused, Segments

Axes = tuple[str, ...]
LIMIT = 300.0
"""Default seconds that a rank waits for its peers; longer than they may differ in compiling."""


@dataclass(frozen=True)
class Member:
    """What a process tells the others."""

    host: str
    digest: str | None
    """Of its library; None where it has none."""
    mode: str
    slot_bytes: int


class Store:
    """What the processes of one run share: small strings by key, and barriers. Alone, a dict.

    The only place that uses a private part of JAX: its distributed runtime's key-value store.
    """

    def __init__(self, seconds: float):
        from jax._src import distributed

        self.client = distributed.global_state.client if jax.process_count() > 1 else None
        self.milliseconds = int(1000 * seconds)

    def gather(self, key: str, value: str) -> list[str]:
        """The values that all processes give under a key, in their order."""
        if self.client is None:
            return [value]
        self.client.key_value_set(f"meshbayes/{key}/{jax.process_index()}", value)
        every = range(jax.process_count())
        try:
            return [self.client.blocking_key_value_get(f"meshbayes/{key}/{p}", self.milliseconds) for p in every]
        except jax.errors.JaxRuntimeError as error:
            raise self._missing(error) from error

    def barrier(self, key: str) -> None:
        if self.client is None:
            return
        try:
            self.client.wait_at_barrier(f"meshbayes/{key}", self.milliseconds)
        except jax.errors.JaxRuntimeError as error:
            raise self._missing(error) from error

    def _missing(self, error: Exception) -> Diagnostic:
        text = f"a process did not come to connect its ranks within {self.milliseconds / 1000:g} s: {error}"
        return Diagnostic("run", text, hint="did one of them die, or does it run another program?", where=MODE)


@dataclass(frozen=True, eq=False)
class Communicator:
    """The groups along a set of mesh axes, in the order of the mesh, of which a rank's number is its place there."""

    axes: Axes
    ranks: int
    handle: int
    slot_bytes: int
    piece_bytes: int = 0
    """Bytes of a round (see `schedule`); 0: one round."""


@dataclass(eq=False)
class Binding:
    """A mesh whose ranks reach each other's memory, until the process ends. Make it with `bind`, once for a mesh."""

    mesh: jax.sharding.Mesh
    library: Library
    slot_bytes: int
    seconds: float
    members: tuple[Member, ...]
    store: Store
    run: str
    """Names this run's segments and keys; the same in all processes."""
    communicators: dict[Axes, Communicator | None] = field(default_factory=dict)
    segments: list[Segments] = field(default_factory=list)
    """Of all communicators."""
    resets: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def processes(self) -> np.ndarray:
        """By place of the mesh, the process that runs it."""
        return np.array([d.process_index for d in self.mesh.devices.flat])

    def groups(self, axes: Axes) -> np.ndarray:
        """int32[group, rank]: the places along `axes`, which stand in the order of the mesh."""
        names = self.mesh.axis_names
        places = np.arange(self.mesh.size, dtype=np.int32).reshape(self.mesh.devices.shape)
        rest = [i for i, a in enumerate(names) if a not in axes]
        order = [*rest, *(i for i, a in enumerate(names) if a in axes)]
        return places.transpose(order).reshape(-1, math.prod(self.mesh.shape[a] for a in axes))

    def communicator(self, axes: Sequence[str]) -> Communicator | None:
        """That of a set of axes, made by all processes together on first use; None where only lax can serve it.

        That is where a group has more than 64 ranks or spans machines.
        """
        key = tuple(a for a in self.mesh.axis_names if a in axes)
        with self.lock:
            if key not in self.communicators:
                self.communicators[key] = self._connect(key)
            return self.communicators[key]

    def _connect(self, axes: Axes) -> Communicator | None:
        groups = self.groups(axes)
        hosts = np.array([m.host for m in self.members])[self.processes[groups]]
        if groups.shape[1] > MAX_RANKS or (hosts != hosts[:, :1]).any():
            return None
        key, me = f"{self.run}/{'+'.join(axes)}", jax.process_index()
        own = [int(p) for p in np.flatnonzero(self.processes == me)]
        mine = [g for g in groups if (self.processes[g] == me).any()]
        names = {} if len(self.members) == 1 else {p: f"/meshbayes-{self.run}-{'+'.join(axes)}-{p}" for p in own}
        segments: list[Segments] = []  # empty where they could not be made

        def make() -> list[tuple[int, str]]:
            segments.append(self._segments())
            return [(p, segments[0].add(p, names.get(p))) for p in own]

        def join() -> None:
            for place in {int(p) for g in mine for p in g} - set(own):
                segments[0].open(place, told[place])
            for group in mine:
                for place in group[self.processes[group] == me]:
                    segments[0].join(int(place), group.tolist())

        try:
            told = {p: text for made in self._together(f"{key}/made", make) for p, text in made}
            self._together(f"{key}/open", join)
        finally:
            for made, name in product(segments, names.values()):
                made.unlink(name)  # all have it mapped, or nobody will: nothing stays, even if a process dies now
        self._together(f"{key}/probe", segments[0].probe)
        self.segments.append(segments[0])
        platform = "cpu" if on_cpu(self.mesh) else "gpu"
        return Communicator(axes, groups.shape[1], segments[0].handle, self.slot_bytes, PIECE_BYTES[platform])

    def _segments(self) -> Segments:
        if on_cpu(self.mesh):
            return HostSegments(self.library, self.slot_bytes, self.seconds)
        devices = enumerate(self.mesh.devices.flat)
        mine = {i: d.local_hardware_id for i, d in devices if d.process_index == jax.process_index()}
        return DeviceSegments(self.library, self.slot_bytes, self.seconds, mine, self.mesh.size)

    def _together(self, key: str, step: Callable[[], Any]) -> list[Any]:
        """What a step gives in each process; where it fails in one, it fails in all, with what the first one says."""
        made, why = None, ""
        try:
            made = step()
        except Refused as error:
            why = str(error)
        found = [json.loads(text) for text in self.store.gather(key, json.dumps([made, why]))]
        if refused := next((text for _, text in found if text), ""):
            hint = f"fewer bytes per staging slot than {self.slot_bytes:,}, {self._remedy()}, or {MODE}=lax"
            raise Diagnostic("run", f"ranks could not be connected: {refused}", hint=hint, where=MODE)
        return [made for made, _ in found]

    def _remedy(self) -> str:
        return (
            "a larger /dev/shm" if on_cpu(self.mesh) else "GPUs that reach each other's memory (nvidia-smi topo -p2p r)"
        )

    def rebind(self) -> None:
        """Makes communicators usable again after a collective failed. All processes call it; none runs a program."""
        self.resets += 1
        self.store.barrier(f"{self.run}/reset/{self.resets}/begin")
        for memory in self.segments:
            memory.reset()
        self.store.barrier(f"{self.run}/reset/{self.resets}/end")


_rounds = iter(range(1 << 62))


def bind(
    mesh: jax.sharding.Mesh, slot_bytes: int | None = None, seconds: float = LIMIT, planned: bool = False
) -> Binding | None:
    """Connects the ranks of a mesh, or None where `jax.lax` is to be used; every process of the run calls it.

    slot_bytes: each of a rank's two staging slots [bytes] (default: `ir.native.SLOT_BYTES`); shared memory is reserved
    in full, a process's own when used. Copies of any size go through them in rounds; sums beyond them through lax.
    seconds: how long a rank waits for its peers before all of them fail. Native where all processes have one library
    and nobody asks for lax; on GPUs where all have CUDA's compiler and ask for native, or a plan does (`planned`).
    """
    platforms = sorted({"cpu" if d.platform == "cpu" else "gpu" for d in mesh.devices.flat})
    if len(platforms) > 1:
        raise Diagnostic("argument", "a mesh of CPUs and GPUs together", hint="take devices of one kind")
    slot_bytes = SLOT_BYTES[platforms[0]] if slot_bytes is None else slot_bytes
    if slot_bytes < 1 or seconds <= 0:
        raise InternalError(f"slots of {slot_bytes} bytes, a limit of {seconds} seconds")
    store, number = Store(seconds), next(_rounds)
    found = library(platforms[0], planned)
    boot = Path("/proc/sys/kernel/random/boot_id")
    host = f"{socket.gethostname()} {boot.read_text().strip() if boot.exists() else ''}"
    own = [host, found and found.digest, mode(), slot_bytes]
    run = store.gather(f"run/{number}", uuid.uuid4().hex[:12])[0]
    members = tuple(Member(*json.loads(text)) for text in store.gather(f"{run}/members", json.dumps(own)))
    if len({m.mode for m in members}) > 1:
        words = ", ".join(sorted({m.mode for m in members}))
        raise Diagnostic("argument", f"processes ask for different collectives: {words}", hint="one value", where=MODE)
    if len({m.slot_bytes for m in members}) > 1:
        raise InternalError(f"processes bind with different slots: {sorted({m.slot_bytes for m in members})}")
    if found is None or any(m.digest != found.digest for m in members):
        if mode() == "native":
            hint = f"one version of the sources, of jaxlib and of the compilers everywhere; {MODE}=auto takes lax"
            raise Diagnostic("run", "processes have different libraries of collectives", hint=hint, where=MODE)
        return None
    return Binding(mesh, found, slot_bytes, seconds, members, store, run)
