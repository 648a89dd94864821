"""`Space(..., reproducible=True)`: the same bits of the inner products on every mesh; and spaces too large to hold."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from ir import counter
from ppl.infer.space import Site, Space

SHAPES = {"field": (9, 10, 11), "row": (13,), "scale": ()}
AXES = {"field": (("a",), ("b",), ()), "row": (("b",),), "scale": ()}
SWAPPED = {"field": ((), ("b",), ("a",)), "row": (("a", "b"),), "scale": ()}
MESHES = [(1, 1), (2, 1), (1, 2), (4, 1), (8, 1), (1, 8), (4, 2), (2, 4)]


def cut(shape, axes, dtype, mesh):
    """The layout of a split, its partition specs and the padded shapes."""
    parts = {n: [int(np.prod([mesh.shape[a] for a in held])) for held in axes[n]] for n in shape}
    blocks = {n: tuple(-(-s // p) for s, p in zip(shape[n], parts[n], strict=True)) for n in shape}
    sites = tuple(Site(n, shape[n], blocks[n], axes[n], dtype) for n in shape)
    specs = {n: P(None, *(held or None for held in axes[n])) for n in shape}
    padded = {n: tuple(b * p for b, p in zip(blocks[n], parts[n], strict=True)) for n in shape}
    return sites, specs, padded


def grid(shape):
    if len(jax.devices()) < 8:
        pytest.skip("needs eight (virtual) devices")
    return Mesh(np.array(jax.devices()[: np.prod(shape)]).reshape(shape), ("a", "b"))


def vectors(dtype):
    """Three vectors of two chains whose products reach over 40 decades, so that every order of a plain sum differs."""
    rng = np.random.default_rng(5)

    def draw(shape):
        return (rng.normal(size=(2, *shape)) * np.exp(7 * rng.normal(size=(2, *shape)))).astype(dtype)

    return [{n: draw(s) for n, s in SHAPES.items()} for _ in range(3)]


def products(mesh, axes, dtype, reproducible, held):
    sites, specs, padded = cut(SHAPES, axes, dtype, mesh)
    space = Space(sites, 2, ("a", "b"), reproducible=reproducible)
    pads = {n: [(0, 0)] + [(0, p - s) for p, s in zip(padded[n], SHAPES[n], strict=True)] for n in SHAPES}
    stored = [{n: np.pad(v[n], pads[n]) for n in SHAPES} for v in held]

    def body(x, y, z):
        return space.dots([(x, y), (y, z)])

    f = jax.jit(jax.shard_map(body, mesh=mesh, in_specs=(specs,) * 3, out_specs=P(), check_vma=False))
    return np.asarray(f(*stored)), f.lower(*stored).as_text()


def check_dots(meshes, layouts, dtype):
    held = vectors(dtype)
    x, y, z = ({n: v[n].astype(float).reshape(2, -1) for n in SHAPES} for v in held)
    want = [sum((a[n] * b[n]).sum(axis=1) for n in SHAPES) for a, b in ((x, y), (y, z))]
    with jax.enable_x64(True):
        alone = dataclasses.replace(Space.single(SHAPES, 2, dtype), reproducible=True)
        first = np.asarray(jax.jit(lambda x, y, z: alone.dots([(x, y), (y, z)]))(*held))
        np.testing.assert_allclose(first, want, rtol=1e-12)
        plain = [products(grid((1, 1)), layouts[0], dtype, False, held)[0]]
        for shape in meshes:
            for axes in layouts:
                got, text = products(grid(shape), axes, dtype, True, held)
                np.testing.assert_array_equal(got, first)
                assert text.count("all_reduce") == 1
            plain.append(products(grid(shape), layouts[0], dtype, False, held)[0])
    assert any((p != plain[0]).any() for p in plain), "plain sums agree here: the vectors are too tame to test anything"


def test_dots_are_equal_to_the_last_bit_on_two_axes():
    check_dots([(4, 2)], [AXES], "float32")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dots_are_equal_to_the_last_bit_on_every_mesh(dtype):
    check_dots(MESHES, [AXES, SWAPPED], dtype)


LARGE = {
    "a line of 2^33": {"x": (1 << 33,)},
    "a cube of 2^33": {"x": (2048, 2048, 2048)},
    "a line of 2^33 - 5, a field and a number": {"x": ((1 << 33) - 5,), "y": (3 << 20, 1001), "s": ()},
}


@pytest.mark.parametrize(
    ("case", "reproducible"),
    [
        ("a line of 2^33", False),
        pytest.param("a line of 2^33", True, marks=pytest.mark.slow),
        pytest.param("a cube of 2^33", False, marks=pytest.mark.slow),
        pytest.param("a line of 2^33 - 5, a field and a number", False, marks=pytest.mark.slow),
        pytest.param("a line of 2^33 - 5, a field and a number", True, marks=pytest.mark.slow),
    ],
)
def test_a_space_of_2_to_the_33_elements_compiles_on_eight_devices(case, reproducible):
    shapes = LARGE[case]
    mesh = grid((4, 2))
    axes = {n: ((("a", "b"),) + ((),) * (len(s) - 1) if s else ()) for n, s in shapes.items()}
    sites, specs, padded = cut(shapes, axes, "float32", mesh)
    with jax.enable_x64(True):
        space = Space(sites, 1, ("a", "b"), reproducible=reproducible)
        assert space.degrees == sum(int(np.prod([float(n) for n in s])) for s in shapes.values()) >= 2**33 - 5

        def body(x):
            n = space.normal(counter.seed_key(1), 1)
            moved = space.keep_real(space.axpy(jnp.ones(1), x, n), 0.0)
            return moved, space.dots([(n, n), (x, n)]), space.all_finite(moved)

        shapes = {n: jax.ShapeDtypeStruct((1, *padded[n]), jnp.float32) for n in padded}
        f = jax.jit(jax.shard_map(body, mesh=mesh, in_specs=(specs,), out_specs=(specs, P(), P()), check_vma=False))
        compiled = f.lower(shapes).compile()
    local = sum(np.prod([float(n) for n in s.local]) for s in sites)
    # The noise, its mask of finite elements, and what is moved; no product of two vectors.
    assert compiled.memory_analysis().temp_size_in_bytes < 9.1 * local


def test_offsets_and_masks_of_a_long_line_are_right_on_every_device():
    """Device i of 8 starts at i 2^30 of 2^33 - 5 positions: int32 ends at the second device, uint32 at the fourth."""
    n, mesh = (1 << 33) - 5, grid((8, 1))
    block = 1 << 30
    site = Site("x", (n,), (block,), (("a",),))
    with jax.enable_x64(True):

        def body():
            (offset,) = site.offset()
            low, high = counter.global_index((4,), (offset + (block - 4),), (n,))
            ends = jnp.stack([low.astype(jnp.int64) + (high.astype(jnp.int64) << 32)])
            return offset[None], ends

        f = jax.jit(jax.shard_map(body, mesh=mesh, in_specs=(), out_specs=(P("a"), P("a")), check_vma=False))
        offsets, ends = f()
    assert np.asarray(offsets).tolist() == [i * block for i in range(8)]
    np.testing.assert_array_equal(ends, [[(i + 1) * block - 4 + j for j in range(4)] for i in range(8)])


def test_all_finite_counts_no_elements():
    """2^32 bad elements must not wrap to none: what is reduced is one flag a chain and device."""
    space = Space.single({"x": (1 << 32,)}, 1, "float32")
    with jax.enable_x64(True):
        text = str(jax.make_jaxpr(space.all_finite)({"x": jax.ShapeDtypeStruct((1, 1 << 32), jnp.float32)}))
    assert "reduce_or" in text and "reduce_sum" not in text
