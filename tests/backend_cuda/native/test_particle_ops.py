"""The ops on particles with native collectives, by halos and by migration: the bits that `jax.lax`'s give.

Painting and reading are each other's gradients, with the slopes that are read here too.
"""

import importlib

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from backend_cuda import LAX, device_mesh
from backend_cuda.native import NativeCollectives
from ir.dims import Dim, TensorType
from ir.mesh import Mesh
from ir.op import Strategy
from ir.ops.particles import Paint, Read, ReadSlopes
from tests.ops.cases import QUICK, Case, Planned

from .virtual import binding

backend = importlib.import_module("backend_cuda.lower")
BOX = TensorType((Dim("x", 24), Dim("y", 9), Dim("z", 3)), "f64")
SHARED = ("x", "y", "z"), BOX.dims, "cic", 2, 2
CASES = [
    Case(Paint(*SHARED, weights=1), (BOX,) * 4, 0),
    Case(Read(*SHARED), (BOX,) * 4, 0),
    Case(ReadSlopes(*SHARED, weighed=True), (BOX,) * 5, 0),
]
WHERE = [
    ("row=8", {"x": ("row",)}),  # blocks of 3, as wide as halos: the reach and the kernel
    ("row=4,col=2", {"x": ("row",), "y": ("col",)}),  # of 6 by 5 and 4
    ("row=4,col=2", {"x": ("col", "row")}),
]


@pytest.mark.parametrize("method", ["", pytest.param("migrate", marks=pytest.mark.slow)], ids=["halo", "migrate"])
@pytest.mark.parametrize(("mesh", "split"), WHERE[:1] + [pytest.param(*w, marks=pytest.mark.slow) for w in WHERE[1:]])
def test_particle_ops_make_what_they_make_with_lax(mesh, split, method):
    """Particles go up to 1.9 cells along each dim, nearly a layer of them through each face along x."""
    rng = np.random.default_rng(2)
    planned, arrays = Planned.on(Mesh.parse(mesh)), []
    for n, case in enumerate(CASES):
        inputs = [planned.input(f"{n}:{i}", t) for i, t in enumerate(case.types)]
        arrays += [rng.uniform(-1.9, 1.9, BOX.shape) for _ in range(3)] + [rng.normal(size=BOX.shape)] * len(inputs[3:])
        planned.add(case.op.name, case, inputs, Strategy.of(split, method=method))
    program, plan = planned.finish()
    devices, every = device_mesh(plan.mesh), PartitionSpec()

    def run(comm):
        f = backend.lower(program, plan, comm)
        with jax.enable_x64(True):
            f = jax.jit(jax.shard_map(f, mesh=devices, in_specs=every, out_specs=every, check_vma=False))
            lowered = f.lower(*arrays)
            made = lowered.compile(QUICK)(*arrays)
        return {name: np.asarray(x) for name, x in made.items()}, lowered.as_text()

    (ours, emitted), (theirs, plain) = run(NativeCollectives(binding(mesh))), run(LAX)
    assert "@meshbayes_exchange" in emitted and "stablehlo.collective_permute" not in emitted
    assert "stablehlo.collective_permute" in plain
    for name, x in theirs.items():
        assert np.isfinite(x).all(), name
        np.testing.assert_array_equal(ours[name], x, err_msg=name)
