"""Adding particles into a mesh: no more memory than stock JAX takes, and what lies outside the mesh is left out."""

import jax.numpy as jnp
import numpy as np
import pytest

from backend_cuda import device_mesh
from benchmarks._stock import planned, stock
from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.layout import Layout
from ir.mesh import Mesh
from ir.ops.gather import ScatterAdd
from planner import make_plan
from ppl.execute import Executable
from tests.backend.test_reshard_suite import BYTES

N, K = Dim("n", 80_000), Dim("k", 640_000)
MASS, CELL, GRID = TensorType((N,)), TensorType((N,), "i32"), TensorType((K,))
MESH = Mesh.parse("row=4,col=2")
SPLIT = {"mass": Layout.of({"n": MESH.names}), "cell": Layout.of({"n": MESH.names})}


def painting():
    with Builder("painting") as b:
        operands = b.input("mass", MASS, "data"), b.input("cell", CELL, "data")
        return b.finish({"density": emit(ScatterAdd(K, ("n",)), *operands)})


def paint(mass, cell):
    return jnp.zeros(K.size, mass.dtype).at[cell].add(mass)


@pytest.mark.slow  # XLA's older emitter, which compiles the fast suite, keeps a third array
def test_painting_few_particles_takes_no_more_memory_than_stock_jax():
    """Masses and indices are gathered, and each device adds those in its own part: the indices are shifted in place."""
    end = Layout.of({"k": MESH.names})
    plan = make_plan(painting(), MESH, machine=BYTES, memory=0, fixed={**SPLIT, "density": end})
    assert {(c.kind, len(c.axes)) for c in plan.collectives(painting())} == {("all_gather", 2)}
    ours = planned(painting(), plan)
    theirs = stock(paint, [(t, SPLIT[n]) for n, t in (("mass", MASS), ("cell", CELL))], [(GRID, end)], MESH)
    assert ours.received == theirs.received
    assert ours.temp <= theirs.temp
    assert ours.temp < 2.5 * MASS.size * 4, "two gathered arrays, and no third"


@pytest.mark.parametrize("axes", [(), MESH.names])
def test_what_lies_outside_the_mesh_is_left_out(axes):
    plan = make_plan(painting(), MESH, memory=0, fixed={**SPLIT, "density": Layout.of({"k": axes})})
    rng = np.random.default_rng(8)
    mass, cell = rng.integers(1, 9, N.size).astype("f4"), rng.integers(-9 * K.size, 9 * K.size, N.size, dtype="i4")
    cell[:6] = -1, -K.size, -K.size // 8, K.size, 0, K.size - 1
    inside = (cell >= 0) & (cell < K.size)
    found = Executable(painting(), plan, device_mesh(MESH)).run({"mass": mass, "cell": cell})["density"]
    np.testing.assert_array_equal(found, np.bincount(cell[inside], mass[inside], K.size))
    assert found[0] and found[-1] and found.sum() < mass.sum()
