"""Kernels for particles against XLA's scatters and gathers: the same source runs here on CPUs and there on GPUs."""

import functools
import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec

from backend_cuda.native.particles import NativePainter
from backend_cuda.spmd import device_mesh
from ir.assign import Axis
from ir.dims import Dim, TensorType
from ir.mesh import Mesh
from ir.op import Strategy
from ir.ops.particles import Paint, Read, ReadSlopes
from ir.painter import XLA, Swarm
from ir.place import Place
from tests.examples import examples
from tests.ops.cases import QUICK, Case, Planned

backend = importlib.import_module("backend_cuda.lower")
NATIVE = NativePainter("cpu")
jit = functools.partial(jax.jit, compiler_options=QUICK)
TOLERANCE = {"float32": 3e-6, "float64": 6e-15}
"""Of sums in another order, of some ten numbers near one: a few roundings of the largest."""


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("MESHBAYES_COLLECTIVES", "native")  # without a compiler a failure, not XLA against itself
    with jax.enable_x64(True):
        yield


def axis(cells: int, margin: int | None, points: int, size: int) -> Axis:
    """Of a mesh of `size` cells and a lattice of as many points a cell as the block has."""
    return Axis(cells, np.arange(points) * size, size * points // cells, margin, tail=1)


AXES = {
    "line": [axis(9, None, 9, 9)],
    "one cell": [axis(1, None, 3, 1), axis(5, None, 5, 5)],
    "fine plane": [axis(6, 2, 8, 12), axis(11, None, 11, 11)],
    "box": [axis(9, 2, 9, 18), axis(10, None, 5, 10), axis(11, None, 11, 11)],
    "split box": [axis(5, 3, 5, 9), axis(4, 2, 4, 8), axis(70, None, 70, 70)],
}


def case(axes: list[Axis], dtype: str, guests: int = 7, seed: int = 0):
    """A swarm, a value for each particle and guest, of two kinds, and two fields."""
    rng = np.random.default_rng(seed)
    shape, mesh = [len(a.points) for a in axes], [a.extent - (a.tail if a.margin is None else 0) for a in axes]
    draw = lambda *s: rng.normal(size=s).astype(dtype)  # noqa: E731
    moved = [draw(*shape) * (40 if a.margin is None else 0.5) for a in axes]
    cells = [rng.integers(-1, a.cells, guests).astype("int32") for a in axes]
    t = [rng.uniform(size=guests).astype(dtype) for _ in axes]
    own, others = [draw(*shape) for _ in range(2)], [draw(guests) for _ in range(2)]
    return (moved, cells, t), own, others, [draw(*mesh) for _ in range(2)]


def everything(axes: list[Axis], painter: Any, reproducible: bool = False):
    """All that a painter does, of a case."""

    def run(arrays, own, guests, fields):
        swarm = Swarm(axes, "cic", *arrays)
        plain = painter.paint(Swarm.of(axes, "cic", arrays[0]), [], [], reproducible)
        slopes = painter.read_slopes(swarm, fields, own, guests), painter.read_slopes(swarm, fields[:1], [], [])
        return plain, painter.paint(swarm, own, guests, reproducible), painter.read(swarm, fields), slopes

    return run


def close(ours: Any, theirs: Any, tolerance: float) -> None:
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        largest = np.nanmax(np.abs(y), initial=1)
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize(("name", "dtype"), [*((name, "float32") for name in AXES), ("box", "float64")])
def test_what_is_painted_and_read_is_xlas_within_rounding(name, dtype):
    axes, given = AXES[name], case(AXES[name], dtype)
    theirs = jit(everything(axes, XLA))(*given)
    for reproducible in (False, True):
        close(jit(everything(axes, NATIVE, reproducible))(*given), theirs, TOLERANCE[dtype])
    mass = np.prod([len(a.points) for a in axes])
    assert float(np.asarray(theirs[0][0], np.float64).sum()) == pytest.approx(mass, rel=1e-5)


@pytest.mark.parametrize("name", ["fine plane", "split box"])
def test_particles_that_are_nowhere_make_the_same_cells_nan(name):
    axes = AXES[name]
    arrays, *rest = case(axes, "float32")
    arrays[0][1].flat[4], arrays[0][0].flat[9], rest[0][0].flat[11] = np.nan, 1e30, np.inf
    ours, theirs = (jit(everything(axes, p))(arrays, *rest) for p in (NATIVE, XLA))
    assert np.isnan(theirs[0][0]).any() and not np.isnan(theirs[0][0]).all()
    close((ours[0], ours[2]), (theirs[0], theirs[2]), TOLERANCE["float32"])
    made = jit(everything(axes, NATIVE, True))(arrays, *rest)
    assert all(np.isnan(m).all() for m in made[0] + made[1][:1])


def test_many_particles_are_read_on_all_threads():
    axes = [axis(n, None, n, n) for n in (33, 40, 41)]
    given = case(axes, "float32", guests=17_000)
    close(*(jit(everything(axes, p))(*given) for p in (NATIVE, XLA)), TOLERANCE["float32"])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_reproducible_sums_have_the_same_bits_in_any_order_of_particles(dtype):
    axes = AXES["box"]
    (moved, cells, t), own, others, _ = case(axes, dtype, guests=3000)
    order = np.random.default_rng(1).permutation(3000)

    @functools.partial(jit, static_argnums=2)
    def run(arrays, others, reproducible):
        return NATIVE.paint(Swarm(axes, "cic", *arrays), own, others, reproducible)

    mixed = (moved, [c[order] for c in cells], [x[order] for x in t]), [v[order] for v in others]
    for x, y in zip(run((moved, cells, t), others, True), run(*mixed, True), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))
    loose = run((moved, cells, t), others, False), run(*mixed, False)
    assert (np.asarray(loose[0][0]) != np.asarray(loose[1][0])).any(), "sums of floats do depend on the order"


def test_reproducible_values_of_any_magnitude_keep_their_digits():
    axes = AXES["box"]
    arrays, own, others, _ = case(axes, "float64")
    run = jit(lambda *values: NATIVE.paint(Swarm(axes, "cic", *arrays), *values, True))
    one = np.asarray(run(own, others))
    for scale in (2.0**-900, 2.0**900, 0.0):
        np.testing.assert_array_equal(np.asarray(run(*([v * scale for v in vs] for vs in (own, others)))), one * scale)


@pytest.mark.slow
def test_derivatives_are_those_of_xla():
    axes = AXES["fine plane"]
    arrays, own, others, fields = case(axes, "float64")
    given = (arrays[0], arrays[2], own, others, fields)

    def of(painter):
        def f(moved, t, own, others, fields):
            made = everything(axes, painter)((moved, arrays[1], t), own, others, fields)
            return sum(jnp.sum(x * jnp.cos(jnp.arange(x.size).reshape(x.shape))) for x in jax.tree.leaves(made))

        forward = jax.jvp(f, given, jax.tree.map(jnp.sin, given))[1]
        return forward, jax.grad(f, argnums=(0, 1, 2, 3, 4))(*given)

    ours, theirs = (jit(functools.partial(of, p))() for p in (NATIVE, XLA))
    close(ours, theirs, 1e-13)


@pytest.mark.parametrize("batched", [(0, None, None), (None, 0, 0), (0, 0, None)])
def test_a_batch_goes_in_one_call(batched):
    """The displacements, the values, the fields of two batches, one in the other, or the same for all."""
    axes = AXES["split box"]
    arrays, own, others, fields = case(axes, "float32")

    def one(scale, values, field):
        moved = [d * scale for d in arrays[0]]
        swarm = Swarm(axes, "cic", moved, *arrays[1:])
        painted = NATIVE.paint(swarm, [v * values for v in own], others)
        return painted, NATIVE.read_slopes(swarm, [f + field for f in fields], own, others)

    scales = [
        np.asarray(x, "float32")
        for x in ([[1, 0.5, -1], [0.2, 0, -0.3]], [[2, 3, 4], [5, 6, 7]], [[1, 2, 3], [4, 5, 6]])
    ]
    given = [x if b == 0 else x[0, 0] for x, b in zip(scales, batched, strict=True)]
    mapped = jit(jax.vmap(jax.vmap(one, in_axes=batched), in_axes=batched))
    assert str(mapped.trace(*given).jaxpr).count("meshbayes_paint") == 1
    made, alone = mapped(*given), jit(one)
    for i in range(2):
        for j in range(3):
            single = alone(*(x[i, j] if b == 0 else x for x, b in zip(given, batched, strict=True)))
            close(jax.tree.map(lambda x, i=i, j=j: x[i, j], made), single, 0)


# --- in programs on a mesh, in uneven blocks ---

DIMS = Dim("x", 15), Dim("y", 9), Dim("z", 5)
MESH = Mesh.parse("row=4,col=2")  # blocks of 4, 4, 4, 3 along x, of 5 and 4 along y
SPLIT = {"x": ("row",), "y": ("col",)}


@functools.cache
def compiled(rank: int, method: str, painter: Any):
    dims = DIMS[:rank]
    box, shared = TensorType(dims, "f64"), (tuple(d.name for d in dims), dims, "cic", 2, 3)
    ops = {"paint": Paint(*shared), "weighed": Paint(*shared, weights=2), "read": Read(*shared, count=2)}
    ops["slopes"] = ReadSlopes(*shared, count=2, weighed=True)
    planned = Planned.on(MESH)
    moved = [planned.input(f"d{i}", box) for i in range(rank)]
    others = [planned.input(f"f{i}", box) for i in range(4)]
    split = {n: a for n, a in SPLIT.items() if n in box}
    for (name, op), count in zip(ops.items(), (0, 2, 2, 4), strict=True):
        inputs = [*moved, *others[:count]]
        planned.add(name, Case(op, (box,) * len(inputs), 0), inputs, Strategy.of(split, method=method))
    program, plan = planned.finish()
    f, every = backend.lower(program, plan, painter=painter), PartitionSpec()
    devices = device_mesh(MESH, jax.devices()[: MESH.devices])
    f = jax.shard_map(f, mesh=devices, in_specs=every, out_specs=every, check_vma=False)
    shapes = [jax.ShapeDtypeStruct(box.shape, "float64")] * (rank + 4)
    return jax.jit(lambda *xs: f(*xs)).lower(*shapes).compile(QUICK)


@pytest.mark.parametrize("method", ["", "migrate"])
@pytest.mark.parametrize("rank", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
@settings(max_examples=examples(15))
@given(seed=st.integers(0, 2**31), spread=st.sampled_from([0.1, 0.5, 0.9]), spoiled=st.booleans())
def test_programs_on_a_mesh_say_the_same_with_either(rank, method, seed, spread, spoiled):
    rng = np.random.default_rng(seed)
    shape = tuple(d.size for d in DIMS[:rank])
    arrays = [*(rng.normal(size=shape) * spread for _ in range(rank)), *(rng.normal(size=shape) for _ in range(4))]
    if spoiled:
        arrays[0].flat[3] = np.nan
    with jax.enable_x64(True):
        ours, theirs = (
            {k: np.asarray(v) for k, v in compiled(rank, method, p)(*arrays).items()} for p in (NATIVE, XLA)
        )
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-12, err_msg=name)
    assert any(np.isnan(x).any() for x in theirs.values()) == (float(theirs["paint.1"][0]) > 1)
    assert not spoiled or float(theirs["paint.1"][0]) > 1, "NaN is told by need"


def test_kernels_take_no_memory_beside_their_results():
    n = 32
    dims = tuple(Dim(d, n) for d in "xyz")
    t, shared = TensorType(dims, "f32"), (("x", "y", "z"), dims, "cic", 2, 2)
    for op, count in (
        (Paint(*shared), 3),
        (Read(*shared, count=3), 6),
        (ReadSlopes(*shared, count=3, weighed=True), 9),
    ):
        found = {}
        for painter in (NATIVE, XLA):
            place = Place((t,) * count, op.results(*(t,) * count), painter=painter)
            program = jax.jit(lambda *xs, op=op, place=place: op.local(place, *xs))
            made = program.lower(*[jax.ShapeDtypeStruct(t.shape, "float32")] * count).compile()
            found[painter] = made.memory_analysis().temp_size_in_bytes / n**3
        assert found[NATIVE] < 0.1 and found[XLA] > 30, f"bytes a particle: {found}"


def test_gpus_and_other_kernels_are_left_to_xla(monkeypatch):
    axes = AXES["box"]
    (moved, *_), *_ = case(axes, "float64")

    def calls(painter, kernel="cic"):
        traced = jax.jit(lambda m: painter.paint(Swarm.of(axes, kernel, m), [], [])).trace(moved)
        return str(traced.jaxpr).count("meshbayes_paint")

    assert calls(NATIVE) == 1 and calls(NATIVE, "ngp") == 0
    monkeypatch.setenv("MESHBAYES_COLLECTIVES", "auto")
    assert calls(NATIVE) == 1 and calls(NativePainter("gpu")) == 0
    monkeypatch.setenv("MESHBAYES_COLLECTIVES", "lax")
    assert calls(NATIVE) == 0
