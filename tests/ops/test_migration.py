"""Particles that migrate: none is lost or counted twice wherever it goes, and devices that cannot hold them say so."""

from __future__ import annotations

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec

from backend_cuda.spmd import device_mesh
from ir.dims import Dim, TensorType
from ir.errors import Diagnostic
from ir.mesh import Mesh
from ir.migration import first_of, hops_of
from ir.op import Strategy
from ir.ops.particles import Paint, Read, ReadSlopes
from tests.examples import examples

from .cases import QUICK, Case, Planned, performed
from .test_every_op import permutes_by_mesh

backend = importlib.import_module("backend_cuda.lower")
DIMS = Dim("x", 12), Dim("y", 9), Dim("z", 3)
BOX = TensorType(DIMS, "f64")
SHARED = ("x", "y", "z"), DIMS, "cic", 2, 1
MESH = Mesh.parse("row=4,col=2")  # blocks of 3 along x, of 5 and 4 along y
SPLIT = {"x": ("row",), "y": ("col",)}
METHODS = ("", "migrate")


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def run(mesh, cases, strategy):
    """`f(arrays of all cases)` on a mesh, compiled, after declared is found equal to performed."""
    planned, types = Planned.on(mesh), []
    for n, case in enumerate(cases):
        inputs = [planned.input(f"{n}:{i}", t) for i, t in enumerate(case.types)]
        types += [jax.ShapeDtypeStruct(t.shape, t.numpy) for t in case.types]
        planned.add(case.op.name, case, inputs, strategy)
    program, plan = planned.finish()
    f, every = backend.lower(program, plan), PartitionSpec()
    if mesh.devices > 1:
        devices = device_mesh(mesh, jax.devices()[: mesh.devices])
        f = jax.shard_map(f, mesh=devices, in_specs=every, out_specs=every, check_vma=False)
    traced = jax.jit(lambda *xs: f(*xs)).trace(*types)
    assert performed(traced.jaxpr.jaxpr) == permutes_by_mesh(plan.collectives(program), mesh)
    return traced.lower().compile(QUICK)


@functools.cache
def compiled(method):
    """Painting and reading, on one device where the method is None."""
    cases = [Case(Paint(*SHARED, weights=1), (BOX,) * 4, 0), Case(Read(*SHARED), (BOX,) * 4, 0)]
    if method is None:
        return run(Mesh(), cases, Strategy())
    return run(MESH, cases, Strategy.of(SPLIT, method=method))


WEIGHT = 1 + np.random.default_rng(5).uniform(size=BOX.shape)
FIELD = np.random.default_rng(6).normal(size=BOX.shape)


def both(method, moved):
    arrays = (*moved, WEIGHT, *moved, FIELD)
    return [{k: np.asarray(v) for k, v in compiled(m)(*arrays).items()} for m in (method, None)]


def held(method, moved):
    """The loads of painting and reading, after what was made is found right, or told to be wrong."""
    found, want = both(method, moved)
    loads = float(found["paint.1"][0]), float(found["read.1"][0])
    assert loads[0] == loads[1]
    if loads[0] <= 1:
        np.testing.assert_allclose(found["paint.0"], want["paint.0"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(found["read.0"], want["read.0"], rtol=0, atol=1e-12)
        assert abs(found["paint.0"].sum() - WEIGHT.sum()) < 1e-11
    else:
        assert np.isnan(found["paint.0"]).any()
        known = np.isfinite(found["read.0"])
        assert not known.all()
        np.testing.assert_allclose(found["read.0"][known], want["read.0"][known], rtol=0, atol=1e-12)
    return loads[0]


def at_rest():
    """Particles that stay in their cells."""
    return [np.random.default_rng(i).uniform(0.1, 0.4, BOX.shape) for i in range(3)]


motions = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31),
        "spread": st.lists(st.sampled_from([0.1, 0.6, 1.2, 2.5]), min_size=3, max_size=3),
        "bulk": st.lists(st.sampled_from([-5.0, -2.0, -1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 4.0]), min_size=3, max_size=3),
        "share": st.sampled_from([0.02, 0.2, 1.0]),
    }
)


@pytest.mark.parametrize("method", METHODS)
@given(motion=motions)
@settings(max_examples=examples(60), derandomize=True)
def test_no_particle_is_lost_in_silence(method, motion):
    """Right to rounding and of the same mass, or NaN and told, whatever goes where: 1e-12 of values of about 1."""
    rng = np.random.default_rng(motion["seed"])
    goes = rng.random(BOX.shape) < motion["share"]
    moved = [
        spread * rng.uniform(-1, 1, BOX.shape) + bulk * goes
        for spread, bulk in zip(motion["spread"], motion["bulk"], strict=True)
    ]
    held(method, moved)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("dim", [0, 1])
def test_a_full_buffer_holds_and_one_particle_more_is_told(dim, sign):
    """Through each face go as many as its layer of the lattice has: 15 along x, 9 along y."""
    moved = at_rest()
    face = [slice(None), slice(0, 5), slice(None)] if dim == 0 else [slice(0, 3), slice(None), slice(None)]
    edge = {(0, -1): 0, (0, 1): 2, (1, -1): 5, (1, 1): 4}[dim, sign]  # y's second block begins at 5
    face[dim] = slice(edge, edge + 1)
    moved[dim][tuple(face)] = sign * 0.9
    if sign > 0:
        moved[dim][tuple(face)] = 1.2
    assert held("migrate", moved) == 1.0
    one = list(face)
    one[dim] = slice(edge - sign, edge - sign + 1)
    one = tuple(slice(s.start, s.start + 1) if i != dim and s.start is not None else s for i, s in enumerate(one))
    one = tuple(slice(0, 1) if s == slice(None) else s for s in one)
    moved[dim][one] = sign * 2.1
    assert held("migrate", moved) > 1.0


@pytest.mark.parametrize("x", [-3.0, -2.9, 2.9, 3.0])
@pytest.mark.parametrize("y", [-4.0, 3.9])
def test_a_particle_goes_around_corners(x, y):
    """Over the edge of the box too, by as much as the smallest blocks have."""
    for point in ((0, 0, 1), (11, 8, 0), (2, 4, 2), (3, 5, 1)):
        moved = at_rest()
        moved[0][point], moved[1][point] = x, y
        assert held("migrate", moved) <= 1.0


@pytest.mark.parametrize(("dim", "far"), [(0, 3.01), (0, -3.01), (0, -7.0), (1, 4.01), (1, -40.0), (0, np.nan)])
def test_a_particle_that_goes_too_far_is_told(dim, far):
    moved = at_rest()
    moved[dim][5, 5, 1] = far
    found, _ = both("migrate", moved)
    assert not found["paint.1"][0] <= 1 and not np.isfinite(found["paint.0"].sum())
    assert np.isnan(found["read.0"][5, 5, 1])


def test_the_devices_that_miss_particles_are_nan_too():
    """More than a buffer's go to the left of x's second block: the first and the second cannot be trusted."""
    moved = at_rest()
    moved[0][3:5, :5] = -2.5
    found, _ = both("migrate", moved)
    assert np.isnan(found["paint.0"][0:3, :5]).all() and np.isnan(found["paint.0"][3:6, :5]).all()


CHAIN = Dim("chain", 2)


@pytest.mark.parametrize("split", [{"x": ("row", "col")}, {"y": ("col",), "chain": ("row",)}], ids=str)
def test_batches_pass_on_what_is_declared(split):
    """Chains in all operands, in the fields only, and in one of the displacements only, whole and split."""
    plane, chained = TensorType(DIMS[:2], "f64"), TensorType((CHAIN, *DIMS[:2]), "f64")
    shared = SHARED[0][:2], DIMS[:2], "cic", 2, 1
    mesh = Mesh.parse("row=2,col=2")
    cases = [
        Case(Paint(*shared), (plane, chained), 0),
        Case(Read(*shared), (plane, plane, chained), 0),
        Case(ReadSlopes(*shared, weighed=True), (chained, chained, plane, chained), 0),
    ]
    rng, arrays = np.random.default_rng(3), []
    for case in cases:
        for i, t in enumerate(case.types):
            arrays.append(rng.uniform(-0.6, 0.6, t.shape) if i < 2 else rng.normal(size=t.shape))
    want = run(Mesh(), cases, Strategy())(*arrays)
    got = run(mesh, cases, Strategy.of(split, method="migrate"))(*arrays)
    for name in want:
        if name not in ("paint.1", "read.1"):
            np.testing.assert_allclose(got[name], want[name], rtol=0, atol=1e-12, err_msg=name)
    assert float(jnp.max(got["paint.1"])) <= 1 and float(jnp.max(got["read.1"])) <= 1


def test_those_that_leave_are_found_in_order():
    leaving = np.random.default_rng(1).random((2, 97)) < 0.2
    found, count = first_of(jnp.asarray(leaving), 30, jnp.int32)
    for side in (0, 1):
        want = np.flatnonzero(leaving[side])
        assert count[side] == len(want)
        np.testing.assert_array_equal(found[side], np.append(want, [97] * 30)[:30])


def test_cells_share_words_where_they_fit():
    """Blocks of 650^3 cells split along three dims: 32 bits do not hold where a particle stands in 9 such blocks."""
    op = Paint(("x", "y", "z"), tuple(Dim(d, 1300) for d in "xyz"), "cic", 2, 1)
    box = (TensorType(op.mesh, "f32"),) * 3
    mesh, split = Mesh.parse("a=2,b=2,c=2"), {"x": ("a",), "y": ("b",), "z": ("c",)}
    hops = op.hops(box, split, mesh)
    assert [h.words for h in hops] == [((0, 1), (2,)), ((0, 1, 2),), ((0, 1, 2),)]
    assert [h.slots for h in hops] == [650**2] * 3
    assert hops_of([], [], 32) == ()


@pytest.mark.parametrize(
    ("ownership", "methods"), [("auto", {"", "migrate"}), ("halo", {""}), ("migrate", {"migrate"})]
)
def test_ownership_restricts_the_strategies(ownership, methods):
    op = Paint(*SHARED, ownership=ownership)
    found = op.strategies((BOX,) * 3, Mesh.parse("row=2,col=2"))
    assert {s.method for s in found if s.splits} == methods
    assert [s.method for s in found if not s.splits] == [""]
    assert all(str(s).endswith("; migrate}") == (s.method == "migrate") for s in found)


def test_wrong_owners_and_capacities_are_told():
    with pytest.raises(Diagnostic, match="unknown ownership of particles 'both'"):
        Paint(*SHARED, ownership="both").results(*(BOX,) * 3)
    with pytest.raises(Diagnostic, match="capacity must be 1 layer"):
        Paint(*SHARED[:-1], 0).results(*(BOX,) * 3)
