"""A planned program, ready to run on a device mesh: whole arrays in, stored arrays out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

import backend_cuda as backend
from ir.errors import Diagnostic
from ir.graph import Program
from ir.op import Reduce
from ir.plan import Plan


@dataclass(frozen=True, eq=False)
class Executable:
    """A program with its plan and the devices of its mesh; `reproducible`: see `backend_cuda.lower`.

    given_collectives: how the devices communicate; None: as the plan and MESHBAYES_COLLECTIVES say.
    """

    program: Program
    plan: Plan
    devices: jax.sharding.Mesh
    reproducible: bool = False
    given_collectives: backend.LaxCollectives | None = None

    @cached_property
    def collectives(self) -> backend.LaxCollectives:
        return self.given_collectives or backend.collectives_of(self.devices, self.plan.native)

    @cached_property
    def block(self) -> Any:
        """The function of one device's blocks (see `backend_cuda.lower`)."""
        painter = backend.painter_of(self.devices)
        return backend.lower(self.program, self.plan, self.collectives, self.reproducible, painter)

    @cached_property
    def mesh_bound(self) -> list[str]:
        """The names of ops whose sums follow the mesh where others are reproducible."""
        sums = [n for n in self.program.walk() if Reduce("sum") in n.op.roles(*n.types).values()]
        return sorted({n.op.name for n in sums if not n.op.sums_by_place()})

    @cached_property
    def in_specs(self) -> tuple[Any, ...]:
        return tuple(backend.spec(i.type, self.plan.layouts[i.name]) for i in self.program.inputs)

    @cached_property
    def out_specs(self) -> dict[str, Any]:
        layouts = {n: self.plan.output_layout(self.program, n) for n, _ in self.program.outputs}
        return {n: backend.spec(v.type, layouts[n]) for n, v in self.program.outputs}

    @cached_property
    def whole(self) -> Any:
        """The function of stored arrays, in the order of the inputs; trace it inside `jax.enable_x64(True)`."""
        f = self.collectives.chained(self.block)
        return backend.spmd(f, self.plan.mesh, self.devices, self.in_specs, self.out_specs)

    @cached_property
    def options(self) -> dict[str, str]:
        """What XLA is told when it compiles the program, or a larger one around it."""
        return backend.compiler_options(self.plan, self.devices)

    @cached_property
    def jitted(self) -> Any:
        return jax.jit(self.whole, compiler_options=self.options)

    @cached_property
    def hasty(self) -> Any:
        """`jitted`, for what is run a few times only."""
        return jax.jit(self.whole, compiler_options=backend.hasty_options(self.program, self.plan, self.devices))

    def store(self, name: str, array: Any) -> jax.Array:
        """An input's whole array placed on the mesh."""
        i = self.program.input(name)
        array = np.asarray(array)
        if array.shape != i.type.shape:
            raise Diagnostic(
                "argument",
                f"'{name}' has shape {array.shape}, but {i.type.shape} is needed ({', '.join(i.type.names)})",
            )
        return backend.store(array, i.type, self.plan.layouts[name], self.plan.mesh, self.devices)

    def run(self, arrays: Mapping[str, Any], *, stored: bool = False, hasty: bool = False) -> dict[str, Any]:
        """Runs once. `arrays` are whole arrays, or stored ones; with `stored` the outputs stay on the devices.

        `hasty`: compiled in less time, where a program is small and will run a few times only.
        """
        with jax.enable_x64(True):
            args = [
                a if isinstance(a := arrays[i.name], jax.Array) else self.store(i.name, a) for i in self.program.inputs
            ]
            made = (self.hasty if hasty else self.jitted)(*args)
        if self.devices.size > 1 and backend.on_cpu(self.devices):
            # Where executions of several devices queue, XLA:CPU comes to a stand, whoever's collectives they have: a
            # device whose queue is full (32) does not start what the others are in and wait for it.
            jax.block_until_ready(made)
        if stored:
            return made
        return {n: backend.gather(made[n], v.type) for n, v in self.program.outputs}

    def lowered(self) -> Any:
        """The program lowered by JAX for abstract stored arrays: `.as_text()` is StableHLO, `.compile()` XLA's."""
        with jax.enable_x64(True):
            return self.jitted.lower(*(self.abstract(i.name) for i in self.program.inputs))

    def abstract(self, name: str) -> jax.ShapeDtypeStruct:
        """An input as it is stored, without its values: for programs that are compiled and not run."""
        t, layout, mesh = self.program.input(name).type, self.plan.layouts[name], self.plan.mesh
        split = jax.sharding.NamedSharding(self.devices, backend.spec(t, layout)) if mesh.devices > 1 else None
        return jax.ShapeDtypeStruct(backend.stored_shape(t, layout, mesh), t.numpy, sharding=split)
