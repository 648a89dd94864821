"""Bytes moved and held: our plans against stock JAX on the same functions, compiled for eight virtual devices.

Nothing is timed or run: both programs are compiled, and what a device receives in one run is counted from the optimised
HLO of each, its temporary buffers are what XLA says. Stock JAX is `jax.jit` with the shardings of the arguments and
results; where a user could reasonably help it, also with sharding constraints between the steps.
"""

from __future__ import annotations

import dataclasses
import math
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # stock JAX warns about every reshard that it replicates

import jax
import jax.numpy as jnp
from _harness import arguments, report
from _stock import Cost, planned, reshard_plan, sharding, stock

import backend_cuda as backend
import ir.ops  # noqa: F401
from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.graph import Program, Value
from ir.layout import Layout
from ir.mesh import Mesh
from ir.ops.fft import FFT
from ir.ops.gather import ScatterAdd
from planner import Costs, Machine, make_plan
from planner.candidates import all_layouts
from planner.reshard import Reshards

MESH = Mesh.parse("row=4,col=2")
SIZES = {"x": 512, "y": 384, "z": 256}
SPLIT = Layout.of({"x": "row", "y": "col"})
TURNED = Layout.of({"ky": "row", "kz": "col"})
HALF = Layout.of({"kz": "col", "x": "row"})
H100 = Machine.load("h100x8")
_LAW = H100.law()
_LINK = dataclasses.replace(_LAW.inside, alpha=(0.0,) * 5, beta=(1e11,) * 5)
BYTES = dataclasses.replace(_LAW, inside=_LINK, across=_LINK, memory_bandwidth=math.inf)
"""A machine on which only bytes that are sent take time."""

IN, HAND = "jax.jit with in and out shardings", "jax.jit with constraints between the steps"


def cube(*names: str, dtype: str = "c64") -> TensorType:
    return TensorType(tuple(Dim(n, SIZES[n.removeprefix("k")]) for n in names), dtype)


def rows(case: str, ours: Cost, peers: dict[str, Cost]) -> Iterator[dict[str, Any]]:
    for peer, theirs in peers.items():
        for metric, mine, other in (
            ("bytes received per device", ours.received, theirs.received),
            ("temporary bytes per device", ours.temp, theirs.temp),
        ):
            row = {
                "case": case,
                "metric": metric,
                "ours": mine,
                "peer": other,
                "peer_name": f"{peer} {jax.__version__}",
            }
            row |= {"ratio": mine / other if other else 1.0, "target": 1.0}
            if mine and not other:
                row |= {"ratio": None, "why": "the peer needs none"}
            yield row


def plan_for(program: Program, fixed: dict[str, Layout], machine: Machine = H100) -> Cost:
    return planned(program, make_plan(program, MESH, machine=machine, memory=0, fixed=fixed))


def transforms(field: Value, *steps: tuple[str, str], inverse: bool = False) -> Value:
    for old, new in steps:
        field = emit(FFT(old, new, inverse), field)
    return field


def one_dim() -> Iterator[dict[str, Any]]:
    """A transform along z of a field split along x and y: nothing has to move."""
    field = cube("x", "y", "z")
    with Builder("one_dim") as b:
        program = b.finish({"modes": transforms(b.input("delta", field, "data"), ("z", "kz"))})
    ours = plan_for(program, {"delta": SPLIT, "modes": SPLIT})
    peer = stock(lambda x: jnp.fft.fft(x, axis=2), [(field, SPLIT)], [(field, SPLIT)], MESH)
    yield from rows("FFT along a dim that is not split", ours, {IN: peer})


def pencils() -> Iterator[dict[str, Any]]:
    """A 3-D transform of a field split along x and y, which leaves split along ky and kz."""
    field, modes = cube("x", "y", "z"), cube("kx", "ky", "kz")
    with Builder("pencils") as b:
        program = b.finish(
            {"modes": transforms(b.input("delta", field, "data"), ("z", "kz"), ("y", "ky"), ("x", "kx"))}
        )
    ours = plan_for(program, {"delta": SPLIT, "modes": TURNED})

    def by_hand(x: jax.Array) -> jax.Array:
        x = placed(jnp.fft.fft(x, axis=2), ("x", "y", "kz"), SPLIT)
        x = placed(jnp.fft.fft(placed(x, ("x", "y", "kz"), HALF), axis=1), ("x", "ky", "kz"), HALF)
        return jnp.fft.fft(placed(x, ("x", "ky", "kz"), TURNED), axis=0)

    peers = {IN: stock(jnp.fft.fftn, [(field, SPLIT)], [(modes, TURNED)], MESH)}
    peers[HAND] = stock(by_hand, [(field, SPLIT)], [(modes, TURNED)], MESH)
    yield from rows("3-D FFT in pencils", ours, peers)


def placed(x: jax.Array, names: tuple[str, ...], layout: Layout) -> jax.Array:
    return jax.lax.with_sharding_constraint(x, sharding(cube(*names), layout, backend.device_mesh(MESH)))


def poisson() -> Iterator[dict[str, Any]]:
    """There, times a kernel, and back."""
    field, modes = cube("x", "y", "z"), cube("kx", "ky", "kz")
    with Builder("poisson") as b:
        there = transforms(b.input("delta", field, "data"), ("z", "kz"), ("y", "ky"), ("x", "kx"))
        scaled = there * b.input("kernel", modes, "data")
        back = transforms(scaled, ("kx", "x"), ("ky", "y"), ("kz", "z"), inverse=True)
        program = b.finish({"phi": back})
    ours = plan_for(program, {"delta": SPLIT, "kernel": TURNED, "phi": SPLIT})

    def by_hand(x: jax.Array, kernel: jax.Array) -> jax.Array:
        x = placed(jnp.fft.fft(x, axis=2), ("x", "y", "kz"), SPLIT)
        x = placed(jnp.fft.fft(placed(x, ("x", "y", "kz"), HALF), axis=1), ("x", "ky", "kz"), HALF)
        x = jnp.fft.fft(placed(x, ("x", "ky", "kz"), TURNED), axis=0)
        x = placed(jnp.fft.ifft(placed(x * kernel, ("kx", "ky", "kz"), TURNED), axis=0), ("x", "ky", "kz"), TURNED)
        x = placed(jnp.fft.ifft(placed(x, ("x", "ky", "kz"), HALF), axis=1), ("x", "y", "kz"), HALF)
        return jnp.fft.ifft(placed(x, ("x", "y", "kz"), SPLIT), axis=2)

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jnp.fft.ifftn(jnp.fft.fftn(x) * kernel)

    operands, results = [(field, SPLIT), (modes, TURNED)], [(field, SPLIT)]
    peers = {peer: stock(f, operands, results, MESH) for peer, f in ((IN, plain), (HAND, by_hand))}
    yield from rows("Poisson solve in pencils", ours, peers)


def one_reshard() -> Iterator[dict[str, Any]]:
    """P(b, -, a) → P(-, (a, b), -), as in jax-ml/jax#21562."""
    mesh, t = Mesh.parse("a=2,b=4"), cube("x", "y", "z", dtype="f32")
    start, end = Layout.of({"x": "b", "z": "a"}), Layout.of({"y": ("a", "b")})
    ours = planned(*reshard_plan(t, start, end, Reshards(Costs(H100, mesh), mesh)))
    yield from rows("the reshard of jax-ml/jax#21562", ours, {IN: stock(lambda x: x, [(t, start)], [(t, end)], mesh)})


def all_reshards(most: int) -> Iterator[dict[str, Any]]:
    """Every ordered pair of layouts of a tensor of rank three, added up; paths for least time and for fewest bytes."""
    mesh, t = Mesh.parse("row=2,col=4"), cube("x", "y", "z", dtype="f32")
    every = list(all_layouts(t, mesh))
    chosen = [(a, b) for a in every for b in every if a != b]
    if most < len(chosen):
        chosen = random.Random(1).sample(chosen, most)
    peer = total([stock(lambda x: x, [(t, a)], [(t, b)], mesh) for a, b in chosen])
    for machine, what in ((H100, "least time on h100x8"), (BYTES, "fewest bytes")):
        reshards = Reshards(Costs(machine, mesh), mesh)
        ours = total([planned(*reshard_plan(t, a, b, reshards)) for a, b in chosen])
        yield from rows(f"{len(chosen)} reshards added up, paths of {what}", ours, {IN: peer})


def total(costs: list[Cost]) -> Cost:
    return Cost(sum(c.received for c in costs), sum(c.temp for c in costs))


def painting(particles: int, cells: int, case: str) -> Iterator[dict[str, Any]]:
    """Particles that arrive split are added into a mesh that leaves split.

    Planned where only bytes count, as the reshards are: on h100x8 two gathers in turn are 3 us faster than one along
    both axes, and the plan would hold 6 % more than stock JAX for that.
    """
    axes = MESH.names
    n, k = Layout.of({"n": axes}), Layout.of({"k": axes})
    mass, cell = TensorType((Dim("n", particles),)), TensorType((Dim("n", particles),), "i32")
    grid = TensorType((Dim("k", cells),))
    with Builder("painting") as b:
        operands = b.input("mass", mass, "data"), b.input("cell", cell, "data")
        program = b.finish({"density": emit(ScatterAdd(grid.dims[0], ("n",)), *operands)})
    ours = plan_for(program, {"mass": n, "cell": n, "density": k}, BYTES)

    def plain(mass: jax.Array, cell: jax.Array) -> jax.Array:
        return jnp.zeros(cells, mass.dtype).at[cell].add(mass)

    def by_hand(mass: jax.Array, cell: jax.Array) -> jax.Array:
        start = jax.lax.with_sharding_constraint(
            jnp.zeros(cells, mass.dtype), sharding(grid, k, backend.device_mesh(MESH))
        )
        return start.at[cell].add(mass)

    peers: dict[str, Cost] = {}
    functions: tuple[tuple[str, Callable[..., jax.Array]], ...] = ((IN, plain), (HAND, by_hand))
    for peer, f in functions:
        peers[peer] = stock(f, [(mass, n), (cell, n)], [(grid, k)], MESH)
    yield from rows(case, ours, peers)


if __name__ == "__main__":
    options = arguments(__doc__ or "")
    found = [*one_dim(), *pencils(), *poisson(), *one_reshard(), *all_reshards(40 if options.quick else 10_000)]
    found += painting(2_000_000, 64_000_000, "painting few particles into a large mesh")
    found += painting(64_000_000, 2_000_000, "painting many particles into a small mesh")
    report("against_jit", found, ("jax", "jaxlib"), options.json)
