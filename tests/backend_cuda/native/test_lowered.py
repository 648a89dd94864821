"""Whole programs lowered with our collectives: the same bits as with lax's, scans included."""

import jax
import numpy as np
import pytest

import backend_cuda as backend
import ppl
from backend_cuda.native import NativeCollectives
from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.graph import Program
from ir.layout import Layout
from ir.mesh import Mesh
from ir.ops.elementwise import Sin
from ir.ops.particles import Paint, Read
from planner import make_plan
from ppl.bind import outline
from ppl.pipeline import program_at
from tests.yardsticks.memory_cases import FIELD

from .virtual import binding

STEPS = """
model steps
dim time = 7, x = 30
data y[time]: real
scale ~ Normal(0, 1)
start[x] ~ Normal(0, 1)
scan t in time {
  s[t, x] = sin(scale * s[t - 1] + start)  init start
  y[t] ~ Normal(mean(s[t], over = x), 1)
}
"""


def run(program, plan, comm):
    """Every output's blocks, of inputs drawn from one seed; and the program's text."""
    devices = backend.device_mesh(plan.mesh)
    rng = np.random.default_rng(1)
    ins = [plan.layouts[i.name] for i in program.inputs]
    arrays = [
        backend.store(rng.normal(size=i.type.shape), i.type, layout, plan.mesh, devices)
        for i, layout in zip(program.inputs, ins, strict=True)
    ]
    specs = tuple(backend.spec(i.type, layout) for i, layout in zip(program.inputs, ins, strict=True))
    outs = {n: backend.spec(v.type, plan.output_layout(program, n)) for n, v in program.outputs}
    with jax.enable_x64(True):
        lowered = jax.jit(backend.spmd(backend.lower(program, plan, comm), plan.mesh, devices, specs, outs)).lower(
            *arrays
        )
        made = lowered.compile()(*arrays)
    return {n: backend.gather(x, dict(program.outputs)[n].type) for n, x in made.items()}, lowered.as_text()


@pytest.mark.parametrize(
    ("text", "sizes", "mesh", "pin"),
    [
        (FIELD, {"x": 12, "y": 10, "z": 9}, "row=2,col=2", "white:x=row,y=col"),
        (STEPS, {}, "row=4", "s:x=row"),
    ],
    ids=["field", "steps"],
)
def test_a_gradient_has_the_bits_of_laxs(text, sizes, mesh, pin):
    program = program_at(outline(ppl.from_text(text), sizes=sizes), "batched", 2)
    plan = make_plan(program, Mesh.parse(mesh), machine="h200x8", memory=0, pins=[pin])
    ours, emitted = run(program, plan, NativeCollectives(binding(mesh)))
    theirs, _ = run(program, plan, None)
    assert "@meshbayes_" in emitted and "stablehlo.all_" not in emitted
    if text is STEPS:
        assert max(plan.collectives(program).values()) >= 7, "the body of the scan sums over devices"
    for name, x in theirs.items():
        np.testing.assert_array_equal(ours[name], x, err_msg=name)


def cloud() -> Program:
    """Particles painted on a plane of 15 x 13 cells, what they weigh there, and what is read of its square root."""
    x, y = Dim("x", 15), Dim("y", 13)
    plane = TensorType((x, y), "f64")
    with Builder("cloud") as b:
        moved = [emit(Sin(), b.input(f"by_{n}", plane)) for n in plane.names]
        weight = b.input("weight", plane)
        painted, _ = b.emit_all(Paint(("x", "y"), (x, y), "cic", 1, 2, "halo", weights=1), *moved, weight)
        read, _ = b.emit_all(Read(("x", "y"), (x, y), "cic", 1, 2, "halo"), *moved, painted * painted)
        return b.finish({"painted": painted, "read": read})


@pytest.mark.parametrize("mesh", ["row=2,col=2", "row=4,col=2"])
def test_halos_and_spills_along_two_dims_of_an_op_go_in_one_exchange_each(mesh):
    program, split = cloud(), Layout.of({"x": "row", "y": "col"})
    fixed = dict.fromkeys((*(i.name for i in program.inputs), "painted", "read"), split)
    pins = [f"{v.name}:x=row,y=col" for n in program.nodes for v in n.results if "x" in v.type]
    plan = make_plan(program, Mesh.parse(mesh), machine="h200x8", memory=0, fixed=fixed, pins=pins)
    ours, text = run(program, plan, NativeCollectives(binding(mesh)))
    theirs, sweeps = run(program, plan, None)
    assert text.count("@meshbayes_exchange") == 2 and "collective_permute" not in text
    assert sweeps.count("stablehlo.collective_permute") == 8, "two permutes for each of four halos and spills"
    for name, x in theirs.items():
        assert np.isfinite(x).all()
        np.testing.assert_array_equal(ours[name], x, err_msg=name)
