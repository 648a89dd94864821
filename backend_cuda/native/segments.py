"""The memory of ranks, as a communicator of the compiled library knows it: on CPUs, and on GPUs.

Segments are made for the places of the mesh that this process runs, told to other processes as a text, opened there,
and joined to endpoints: a place with the segments of its group. What fails says why, in words.
"""

from __future__ import annotations

import ctypes
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from .build import Library

STATUS = {1: "a rank did not arrive in time", 2: "it was aborted", 3: "wrong numbers, or another call", 4: "too large"}
"""`Status` of core.h, where it is not 0."""


class Refused(Exception):
    """The machine does not give what was asked for: why, in words for the user."""


class Segments(ABC):
    """One communicator's memory; `handle` names it in programs."""

    handle: int

    @abstractmethod
    def add(self, place: int, name: str | None) -> str:
        """Makes the segment of a place. With a name, which no other segment of the machine has, other processes can
        open it; the answer is what they need for that."""

    @abstractmethod
    def open(self, place: int, told: str) -> None:
        """Maps the segment of another process's place, of which it told this."""

    @abstractmethod
    def join(self, place: int, group: Sequence[int]) -> None:
        """Makes a place of this process a rank of a group, of all of whose places segments are made or open."""

    @abstractmethod
    def unlink(self, name: str) -> None:
        """Takes a segment's name away: whoever has it mapped keeps it."""

    @abstractmethod
    def probe(self) -> None:
        """A first call of all ranks of all processes at once: a sum that is known."""

    @abstractmethod
    def reset(self) -> None:
        """Starts anew after an abort; see Communicator::reset of host.h."""


def _int32s(numbers: Sequence[int]) -> tuple[np.ndarray, ctypes.c_void_p]:
    """An array and its address, which is good as long as the array lives."""
    row = np.ascontiguousarray(numbers, np.int32)
    return row, ctypes.c_void_p(row.ctypes.data)


class HostSegments(Segments):
    """Of CPU devices: anonymous memory, or POSIX shared memory between processes."""

    def __init__(self, library: Library, slot_bytes: int, seconds: float):
        self.c = library.handle
        self.handle = self.c.meshbayes_create(ctypes.c_int64(slot_bytes), ctypes.c_int64(int(1000 * seconds)))

    def add(self, place: int, name: str | None) -> str:
        self._check(self._segment(place, name.encode() if name else None, 1))
        return name or ""

    def open(self, place: int, told: str) -> None:
        self._check(self._segment(place, told.encode(), 0))

    def _segment(self, place: int, name: bytes | None, create: int) -> int:
        return self.c.meshbayes_add_segment(ctypes.c_int64(self.handle), place, name, create)

    def join(self, place: int, group: Sequence[int]) -> None:
        row, pointer = _int32s(group)
        self._check(self.c.meshbayes_add_endpoint(ctypes.c_int64(self.handle), place, pointer, len(row)))

    def unlink(self, name: str) -> None:
        self.c.meshbayes_unlink(name.encode())

    def probe(self) -> None:
        if status := self.c.meshbayes_probe(ctypes.c_int64(self.handle)):
            raise Refused(STATUS[status])

    def reset(self) -> None:
        self.c.meshbayes_reset(ctypes.c_int64(self.handle))

    def _check(self, errno: int) -> None:
        if errno:
            raise Refused(os.strerror(errno))


IPC_BYTES = 64
"""sizeof(cudaIpcMemHandle_t)."""


class DeviceSegments(Segments):
    """Of GPUs: memory of the device, seen by others of this process directly and by other processes through CUDA IPC.

    devices: by place of this process, CUDA's number of the device that runs it; several places may run on one. places:
    of the whole mesh. A process cannot open its own segments by IPC, so these are shared as `join` asks for them.
    """

    def __init__(self, library: Library, slot_bytes: int, seconds: float, devices: Mapping[int, int], places: int):
        self.c, self.devices = library.handle, dict(devices)
        limit = ctypes.c_int64(int(1000 * seconds))
        self.c.meshbayes_cuda_error.restype = ctypes.c_char_p
        self.handle = self.c.meshbayes_cuda_create(ctypes.c_int64(slot_bytes), limit, places)
        self._check(min(self.handle, 0))

    def add(self, place: int, name: str | None) -> str:
        told = ctypes.create_string_buffer(IPC_BYTES) if name else None
        self._check(self._call("add_segment", self.devices[place], place, told))
        return told.raw.hex() if told else ""

    def open(self, place: int, told: str) -> None:
        for device in sorted(set(self.devices.values())):
            self._check(self._call("open_segment", device, place, bytes.fromhex(told)))

    def join(self, place: int, group: Sequence[int]) -> None:
        mine = self.devices[place]
        for other in (int(p) for p in group):
            owner = self.devices.get(other, mine)
            if owner != mine:
                self._check(self._call("share_segment", mine, owner, other))
        row, pointer = _int32s(group)
        self._check(self._call("add_endpoint", mine, place, pointer, len(row)))

    def unlink(self, name: str) -> None:
        """Memory of a device has no name."""

    def probe(self) -> None:
        status = self._call("probe")
        self._check(min(status, 0))
        if status:
            raise Refused(STATUS[status])

    def reset(self) -> None:
        self._check(self._call("reset"))

    def _call(self, name: str, *arguments: object) -> int:
        return getattr(self.c, f"meshbayes_cuda_{name}")(ctypes.c_int64(self.handle), *arguments)

    def _check(self, failed: int) -> None:
        if failed:
            raise Refused(self.c.meshbayes_cuda_error().decode())
