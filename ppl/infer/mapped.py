"""Programs applied draw by draw: predictions and log likelihoods of stored draws, prior draws."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import backend_cuda as backend

from ..execute import Executable


@dataclass(frozen=True, eq=False)
class Mapped:
    """An executable run over a further leading dim of some inputs, one entry after the other.

    An input named in `over` has `axis` extra: entries lie at array axis `axis` (0, or 1 after the chains).
    """

    executable: Executable
    over: tuple[str, ...]
    axis: int

    def run(self, arrays: dict[str, Any]) -> dict[str, np.ndarray]:
        """The outputs, with the entries at `axis` of each."""
        program = self.executable.program
        with jax.enable_x64(True):
            args = [self._store(i.name, arrays[i.name]) for i in program.inputs]
            made = self._jitted(*args)
        found = {}
        for name, value in program.outputs:
            whole = np.moveaxis(backend.to_host(made[name]), self.axis, 0)
            found[name] = np.moveaxis(backend.gather(whole, value.type), 0, self.axis)
        return found

    def _store(self, name: str, array: Any) -> Any:
        if isinstance(array, jax.Array):
            return array
        if name not in self.over:
            return self.executable.store(name, array)
        i = self.executable.program.input(name)
        array = np.asarray(array, i.type.numpy)
        layout, mesh = self.executable.plan.layouts[name], self.executable.plan.mesh
        shape = backend.stored_shape(i.type, layout, mesh)
        pads = [(0, s - n) for s, n in zip(shape, i.type.shape, strict=True)]
        pads.insert(self.axis, (0, 0))
        array = np.pad(array, pads)
        if mesh.devices == 1:
            return jnp.asarray(array)
        return jax.device_put(array, NamedSharding(self.executable.devices, self._spec(backend.spec(i.type, layout))))

    def _spec(self, spec: P) -> P:
        entries = list(spec)
        entries.insert(self.axis, None)
        return P(*entries)

    @cached_property
    def _jitted(self) -> Any:
        inputs = self.executable.program.inputs
        mapped = [i.name in self.over for i in inputs]
        block = self.executable.collectives.chained(self.executable.block)

        def body(*blocks: jax.Array) -> dict[str, jax.Array]:
            moved = tuple(jnp.moveaxis(b, self.axis, 0) for b, m in zip(blocks, mapped, strict=True) if m)

            def one(entries: tuple[jax.Array, ...]) -> dict[str, jax.Array]:
                left = iter(entries)
                return block(*(next(left) if m else b for b, m in zip(blocks, mapped, strict=True)))

            return {n: jnp.moveaxis(x, 0, self.axis) for n, x in jax.lax.map(one, moved).items()}

        ins = tuple(self._spec(s) if m else s for s, m in zip(self.executable.in_specs, mapped, strict=True))
        outs = {n: self._spec(s) for n, s in self.executable.out_specs.items()}
        whole = backend.spmd(body, self.executable.plan.mesh, self.executable.devices, ins, outs)
        return jax.jit(whole, compiler_options=self.executable.options)
