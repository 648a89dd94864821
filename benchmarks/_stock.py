"""The same work done by our plans and by stock JAX, compiled for virtual devices, and what either moves and holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import NamedSharding

import backend_cuda as backend
from backend_cuda.inspect import received
from ir.build import Builder
from ir.dims import TensorType
from ir.graph import Program
from ir.layout import Layout
from ir.mesh import Mesh
from ir.plan import Plan
from planner.reshard import Reshards
from ppl.execute import Executable


@dataclass(frozen=True)
class Cost:
    """Of one run of a compiled program: bytes that the busiest device receives, and bytes of its temporary buffers."""

    received: float
    temp: float

    @classmethod
    def of(cls, compiled: Any, mesh: Mesh) -> Cost:
        return cls(float(received(compiled, mesh).max()), float(compiled.memory_analysis().temp_size_in_bytes))


def sharding(t: TensorType, layout: Layout, devices: jax.sharding.Mesh) -> NamedSharding:
    return NamedSharding(devices, backend.spec(t, layout))


def stock(
    f: Callable[..., Any],
    operands: Sequence[tuple[TensorType, Layout]],
    results: Sequence[tuple[TensorType, Layout]],
    mesh: Mesh,
) -> Cost:
    """What `jax.jit` makes of a function of whole arrays whose operands and results are laid out so."""
    devices = backend.device_mesh(mesh)
    shapes = [jax.ShapeDtypeStruct(t.shape, t.numpy, sharding=sharding(t, x, devices)) for t, x in operands]
    outs = tuple(sharding(t, x, devices) for t, x in results)
    return Cost.of(jax.jit(f, out_shardings=outs if len(outs) > 1 else outs[0]).lower(*shapes).compile(), mesh)


def planned(program: Program, plan: Plan) -> Cost:
    """What our lowering makes of a plan."""
    return Cost.of(Executable(program, plan, backend.device_mesh(plan.mesh)).lowered().compile(), plan.mesh)


def reshard_plan(t: TensorType, start: Layout, end: Layout, reshards: Reshards) -> tuple[Program, Plan]:
    """The program that only hands its input on, with the cheapest path between two layouts of it."""
    with Builder("reshard") as b:
        x = b.input("x", t, "data")
        program = b.finish({"y": x})
    moves: Mapping[Any, Any] = {("x", end): reshards.graph(t, [start, end]).path(start, end)} if start != end else {}
    return program, Plan(reshards.mesh, {"x": start}, {}, moves, {"y": end})
