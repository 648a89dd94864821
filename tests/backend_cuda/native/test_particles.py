"""Kernels for particles against the graph's own ops: the same source runs here on CPUs and there on GPUs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backend_cuda.native import particles
from ir.assign import Axis, Cells, weights
from ir.flat import added, taken

CELLS, MARGIN = (9, 10, 11), (2, None, None)
TOLERANCE = {"float32": 1e-6, "float64": 1e-14}
"""Of sums in another order, of some ten numbers near one: a few roundings of the largest."""


def axes() -> list[Axis]:
    """A block whose first dim is split, with a margin, the others whole, with a tail."""
    return [Axis(n, np.arange(n), 1, m, tail=0 if m is not None else 1) for n, m in zip(CELLS, MARGIN, strict=True)]


def case(dtype: str, seed: int = 0):
    rng = np.random.default_rng(seed)
    moved = [rng.normal(0, 0.6, CELLS).clip(-1.9, 0.9).astype(dtype) for _ in CELLS]
    values = rng.normal(size=CELLS).astype(dtype)
    field = rng.normal(size=int(np.prod([a.extent for a in axes()]))).astype(dtype)
    return moved, values, field


def by_xla(cells: Cells, values: jax.Array, field: jax.Array):
    """What `Paint` and `Read` of ir.ops.particles make of cells."""
    shares = [weights(t, "cic") for t in cells.t]

    def paint(mesh, at, picked):
        return added(mesh, at, functools.reduce(jnp.multiply, picked(shares)) * values)

    def read(found, at, picked):
        return found + functools.reduce(jnp.multiply, picked(shares)) * taken(field, at)

    return cells.over(paint, jnp.zeros_like(field)), cells.over(read, jnp.zeros_like(cells.t[0]))


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_reading_gives_xlas_bits_and_painting_its_sums(dtype, wide):
    @jax.jit
    def run(moved, values, field):
        cells = Cells.of(axes(), moved, "cic")
        theirs = by_xla(cells, values, field)
        if wide:
            cells.first = cells.first.astype(jnp.int64)
        painted = [particles.paint(cells, values, fixed) for fixed in (False, True)]
        return theirs, painted, particles.read(cells, field), particles.paint(cells)

    with jax.enable_x64(True):
        (mesh, found), painted, read, ones = run(*case(dtype))
    np.testing.assert_array_equal(np.asarray(read), np.asarray(found))
    for ours in painted:
        assert ours.dtype == mesh.dtype
        np.testing.assert_allclose(ours, mesh, rtol=0, atol=TOLERANCE[dtype] * np.abs(mesh).max())
    assert float(np.asarray(ones, np.float64).sum()) == pytest.approx(np.prod(CELLS), rel=TOLERANCE[dtype] * 10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_deterministic_painting_has_the_same_bits_in_any_order_of_particles(dtype):
    moved, values, _ = case(dtype)
    order = np.random.default_rng(1).permutation(values.size)

    @functools.partial(jax.jit, static_argnums=2)
    def run(moved, values, deterministic):
        cells = Cells.of(axes(), moved, "cic")
        at, t = cells.first.reshape(-1), [x.reshape(-1) for x in cells.t]
        made = []
        for o in (slice(None), order):
            cells.first, cells.t = at[o], [x[o] for x in t]
            made.append(particles.paint(cells, values.reshape(-1)[o], deterministic))
        return made

    with jax.enable_x64(True):
        first, second = run(moved, values, True)
        loose = run(moved, values, False)
    np.testing.assert_array_equal(np.asarray(first), np.asarray(second))
    assert (np.asarray(loose[0]) != np.asarray(loose[1])).any(), "sums of floats do depend on the order"


@pytest.mark.parametrize("spoiled", ["value", "place"])
def test_deterministic_painting_of_nan_is_nan_everywhere(spoiled):
    moved, values, _ = case("float32")
    (values if spoiled == "value" else moved[1])[3, 4, 5] = np.nan
    with jax.enable_x64(True):
        made = jax.jit(lambda m, v: particles.paint(Cells.of(axes(), m, "cic"), v, True))(moved, values)
    assert np.isnan(made).all()


def test_values_of_any_magnitude_keep_their_digits():
    moved, values, _ = case("float64")
    with jax.enable_x64(True):
        run = jax.jit(lambda m, v: particles.paint(Cells.of(axes(), m, "cic"), v, True))
        one = np.asarray(run(moved, values))
        for scale in (2.0**-900, 2.0**900):
            np.testing.assert_array_equal(np.asarray(run(moved, values * scale)), one * scale)
        np.testing.assert_array_equal(np.asarray(run(moved, 0 * values)), 0 * one)


def test_a_batch_is_painted_and_read_one_by_one():
    moved, values, field = case("float32")
    chains = [np.stack([m, m / 2, -m]) for m in moved]

    def one(moved, values):
        cells = Cells.of(axes(), moved, "cic")
        return particles.paint(cells, values, True), particles.read(cells, jnp.asarray(field))

    with jax.enable_x64(True):
        made = jax.jit(jax.vmap(one, in_axes=(0, None)))(chains, values)
        for i in range(3):
            for batch, alone in zip(made, jax.jit(one)([c[i] for c in chains], values), strict=True):
                np.testing.assert_array_equal(np.asarray(batch[i]), np.asarray(alone))
