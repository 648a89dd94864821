"""Virtual ranks: all ranks of a communicator on one device, in one call, on stacks of their blocks [rank, ...].

For tests of the core where there are fewer GPUs than ranks; on CPUs a thread for each rank. On a GPU one kernel holds
all ranks, so that none waits for a launch.
"""

from __future__ import annotations

import zlib
from typing import Any

import jax
import numpy as np

from ir.errors import Diagnostic, InternalError
from ir.native import MODE

from .boxes import BoxProgram
from .build import Library, kernels
from .calls import ADDED, KINDS, REDUCED, scheduled
from .schedule import MAX_RANKS
from .segments import DeviceSegments, HostSegments, Refused, Segments


class VirtualRanks:
    """`ranks` ranks on the default backend's first device, with staging slots of `slot_bytes` each.

    A device without memory for them is a `Diagnostic`. seconds: the limit of a wait.
    """

    def __init__(self, ranks: int, slot_bytes: int, seconds: float = 60.0):
        if not 1 <= ranks <= MAX_RANKS:
            raise InternalError(f"{ranks} virtual ranks: there can be 1 to {MAX_RANKS}")
        self.ranks, self.slot_bytes = ranks, slot_bytes
        device = jax.local_devices()[0]
        library = kernels("cpu" if device.platform == "cpu" else "gpu")
        try:
            self.segments = self._made(library, device, seconds)
        except Refused as error:
            hint = f"fewer ranks, or fewer bytes per staging slot than {slot_bytes:,}"
            raise Diagnostic("run", f"no memory for virtual ranks: {error}", hint=hint, where=MODE) from error

    def _made(self, library: Library, device: Any, seconds: float) -> Segments:
        every = list(range(self.ranks))
        if device.platform == "cpu":
            made: Segments = HostSegments(library, self.slot_bytes, seconds)
        else:
            on: dict[int, int] = {place: device.local_hardware_id for place in every}
            made = DeviceSegments(library, self.slot_bytes, seconds, on, self.ranks)
        for place in every:
            made.add(place, None)
        for place in every:
            made.join(place, every)
        return made

    def exchange(self, program: BoxProgram, x: jax.Array) -> jax.Array:
        """The results of a box program of all ranks' blocks."""
        found = scheduled(program, x.dtype.itemsize)
        if program.ranks != self.ranks or x.shape != (self.ranks, *program.shape):
            raise InternalError(f"{x.shape} is no stack of {program.shape} for {self.ranks} of {program.ranks} ranks")
        if found is None or found.slot_bytes > self.slot_bytes or (found.unit == 0 and x.dtype.name not in ADDED):
            raise InternalError(f"the kernels do not serve {program.shape} -> {program.result} of {x.dtype}")
        digest = zlib.crc32(found.words.tobytes() + x.dtype.name.encode())
        made = jax.ShapeDtypeStruct((self.ranks, *program.result), x.dtype)
        numbers = {"handle": self.segments.handle, "call": digest, "unit": found.unit}
        attributes = {k: np.int64(v) for k, v in numbers.items()}
        return jax.ffi.ffi_call("meshbayes_virtual_exchange", made)(found.words.view(np.int32), x, **attributes)

    def all_reduce(self, x: jax.Array, kind: str = "sum") -> jax.Array:
        """The sum, max or min over the first dim, in the order of the ranks, for each of them."""
        if x.shape[0] != self.ranks or x.nbytes // self.ranks > self.slot_bytes or x.dtype.name not in REDUCED:
            raise InternalError(f"no all-reduce of {x.dtype}{x.shape} over {self.ranks} ranks")
        digest = zlib.crc32(f"{kind} {x.dtype.name} {x.shape}".encode())
        numbers = {"handle": self.segments.handle, "call": digest, "kind": KINDS[kind]}
        attributes = {k: np.int64(v) for k, v in numbers.items()}
        call = jax.ffi.ffi_call("meshbayes_virtual_all_reduce", jax.ShapeDtypeStruct(x.shape, x.dtype))
        return call(x, **attributes, order=np.arange(self.ranks))
