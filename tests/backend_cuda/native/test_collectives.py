"""Our collectives on virtual devices of one process, held to `jax.lax`'s bit for bit."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backend_cuda import LAX
from backend_cuda.halo import Edge
from backend_cuda.lax_collectives import mesh_ranks
from backend_cuda.native import NativeCollectives
from ir.errors import InternalError
from ir.mesh import Mesh

from .virtual import binding, both, program, same, stack

MESHES = [("row=2", ("row",)), ("row=5", ("row",)), ("row=2,col=4", ("row",)), ("row=2,col=4", ("col", "row"))]
CASES = [pytest.param(m, a, id=f"{m} along {'+'.join(a)}") for m, a in MESHES]
DTYPES = ("float32", "float64", "int32", "complex64", "complex128")


def parts(mesh: str, axes: tuple[str, ...]) -> int:
    return Mesh.parse(mesh).size(axes)


@pytest.mark.parametrize(("mesh", "axes"), CASES)
def test_every_collective_is_that_of_lax_to_the_bit(mesh, axes):
    n = parts(mesh, axes)
    width, extent = 2, 5
    real = extent * n - 1  # the last block is one short

    def body(comm, *xs):
        made = {}
        for x in xs:
            name = x.dtype.name
            made[f"all_to_all {name}"] = comm.all_to_all(x, axes, 0, 1)
            made[f"all_gather {name}"] = comm.all_gather(x, axes, 2)
            made[f"halo {name}"] = comm.halo(x, Edge(axes, 0, width, n, extent * n))
            made[f"spill {name}"] = comm.spill(x, Edge(axes, 0, 1, n, (extent - 2) * n))
            made[f"pass_on {name}"] = comm.pass_on(x, x + x, axes, n)
            ranks = mesh_ranks(axes)
            pairs = [(ranks[i], ranks[(i + 1) % n]) for i in range(n) if i != 1]
            order = tuple(a for a in Mesh.parse(mesh).names if a in axes)
            made[f"permute {name}"] = comm.permute(x, order, pairs)
            made[f"uneven halo {name}"] = comm.halo(x, Edge(axes, 0, width, n, real))
            made[f"uneven spill {name}"] = comm.spill(x, Edge(axes, 0, 1, n, (extent - 2) * n - 1))
        return made

    shape, dtypes = (extent, 3 * n, 4), DTYPES if mesh == "row=5" else ("float32", "complex128")
    assert len(same(body, mesh, *(stack(mesh, shape, d) for d in dtypes))) == 8 * len(dtypes)


@pytest.mark.parametrize(("mesh", "axes"), CASES)
def test_sums_are_those_of_lax_to_the_bit(mesh, axes):
    n = parts(mesh, axes)

    def body(comm, *xs):
        made = {}
        for x in xs:
            made[f"scattered {x.dtype}"] = comm.reduce_scatter(x, axes, 1)
            if not jnp.iscomplexobj(x):
                for kind in ("sum", "max", "min"):
                    made[f"{kind} {x.dtype}"] = comm.all_reduce(x, axes, kind)
        return made

    stacks = [stack(mesh, (3, 2 * n), d) for d in DTYPES]
    same(body, mesh, *stacks)


def test_all_ranks_get_the_same_bits_of_a_sum():
    mesh = "row=2,col=4"
    ours, _ = both(lambda comm, x: comm.all_reduce(x, ("row", "col"), "sum"), mesh, stack(mesh, (17,)))
    assert (ours == ours[0]).all()


def test_a_maximum_with_a_nan_is_nan():
    """XLA:CPU's own collective drops a NaN that is not its first operand's (JAX 0.10)."""
    x = stack("row=5", (4,))
    x[2, 1] = np.nan
    made, _ = both(lambda comm, x: comm.all_reduce(x, ("row",), "max"), "row=5", x)
    assert np.isnan(made[:, 1]).all() and np.isfinite(np.delete(made, 1, axis=1)).all()


def test_several_scalars_go_in_one_call_for_each_data_type():
    mesh = "row=2,col=4"

    def body(comm, x, y, z):
        return comm.all_reduce_many([x[0], y, z[0]], ("col",), "sum")

    stacks = stack(mesh, (1,), "float64"), stack(mesh, (2, 3), "float32"), stack(mesh, (1,), "float64", 1)
    native = NativeCollectives(binding(mesh))
    with jax.enable_x64(True):
        text = program(body, native, mesh, 3).lower(*stacks).as_text()
        made = program(body, native, mesh, 3)(*stacks)
    assert text.count("@meshbayes_all_reduce") == 2
    for x, y in zip(stacks, made, strict=True):
        wanted = x.reshape(2, 4, *x.shape[1:]).astype("float64").sum(axis=1, keepdims=True)
        wanted = np.broadcast_to(wanted, (2, 4, *x.shape[1:])).reshape(y.shape)
        np.testing.assert_allclose(y, wanted, rtol=1e-6, err_msg="sum over four devices in float64")


PENCIL = (Edge(("row",), 0, 2, 2, 9), Edge(("col",), 1, 1, 4, 14))
"""Of blocks (5, 4, 3), the last ones one and two short."""
AROUND = [
    pytest.param("row=2,col=2", (Edge(("row",), 0, 1, 2, 10), Edge(("col",), 1, 2, 2, 8)), id="2x2"),
    pytest.param("row=4,col=2", (Edge(("row",), 1, 1, 4, 15), Edge(("col",), 0, 2, 2, 9)), id="4x2 uneven, swapped"),
    pytest.param("row=2,col=4", tuple(replace(e, periodic=False) for e in PENCIL), id="2x4 uneven, with ends"),
    pytest.param(
        "a=2,b=2,c=2",
        (Edge(("a",), 0, 1, 2, 9), Edge(("b",), 2, 1, 2, 5), Edge(("c",), 1, 2, 2, 8)),
        id="2x2x2 uneven",
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("mesh", "edges"), AROUND)
def test_halos_along_several_dims_go_in_one_call_and_are_laxs_one_after_the_other(mesh, edges):
    """Padding included, and sums in the same order."""

    def body(comm, x, y):
        return comm.halo(x, *edges), comm.spill(y, *reversed(edges))

    shape, wider = [5, 4, 3], [5, 4, 3]
    for e in edges:
        wider[e.axis] += 2 * e.width
    stacks = stack(mesh, shape), stack(mesh, wider, seed=1)
    same(body, mesh, *stacks)
    text = program(body, NativeCollectives(binding(mesh)), mesh, 2).lower(*stacks).as_text()
    assert text.count("@meshbayes_exchange") == 2 and "collective_permute" not in text


def test_halos_go_one_after_the_other_where_no_communicator_has_all_their_ranks():
    mesh = "row=2,col=4"
    native = NativeCollectives(binding.__wrapped__(mesh))
    native.binding.communicators["row", "col"] = None
    x = stack(mesh, (5, 4, 3))
    run = program(lambda comm, x: comm.halo(x, *PENCIL), native, mesh, 1)
    theirs = program(lambda comm, x: comm.halo(x, *PENCIL), LAX, mesh, 1)(x)
    np.testing.assert_array_equal(run(x), theirs)
    text = run.lower(x).as_text()
    assert text.count("@meshbayes_exchange") == 2 and "collective_permute" not in text


def test_halos_along_several_dims_are_differentiated_and_batched():
    def body(comm, xs):
        def f(x):
            own = _fresh(comm)
            return (jnp.sin(own.spill(own.halo(x, *PENCIL), *reversed(PENCIL))) ** 2).sum()

        return jax.vmap(jax.grad(f))(xs)

    ours, theirs = both(body, "row=2,col=4", stack("row=2,col=4", (2, 5, 4, 3), "float64"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_pencil_halo_is_the_padded_whole_around_every_block():
    """Of 4 x 2 blocks (3, 4), the last ones one short, with widths (2, 1): a ring, and a dim with ends."""
    mesh = "row=4,col=2"
    edges = (Edge(("row",), 0, 2, 4, 11), Edge(("col",), 1, 1, 2, 7, periodic=False))
    whole = np.random.default_rng(0).normal(size=(11, 7)).astype(np.float32)
    around = np.pad(np.pad(whole, ((2, 2), (0, 0)), mode="wrap"), ((0, 0), (1, 1)))
    places = [(3 * i, min(3 * i + 3, 11), 4 * j, min(4 * j + 4, 7)) for i in range(4) for j in range(2)]
    blocks = [np.zeros((3, 4), np.float32) for _ in places]
    for x, (a, b, c, d) in zip(blocks, places, strict=True):
        x[: b - a, : d - c] = whole[a:b, c:d]
    ours, theirs = both(lambda comm, x: comm.halo(x, *edges), mesh, np.stack(blocks))
    for x, y, (a, b, c, d) in zip(ours, theirs, places, strict=True):
        for found in (x, y):
            np.testing.assert_array_equal(found[: b - a + 4, : d - c + 2], around[a : b + 4, c : d + 2])


def test_a_spill_is_the_transpose_of_a_halo():
    """<H x, y> = <x, S y> over all blocks, in whole numbers: exact. Padding takes no part."""
    mesh, rng = "row=2,col=4", np.random.default_rng(0)
    real = np.zeros((8, 5, 4, 3))
    for i, j in np.ndindex(2, 4):
        real[4 * i + j, : (5, 4)[i], : (4, 4, 4, 2)[j]] = 1
    held = np.zeros((8, 9, 6, 3))
    for i, j in np.ndindex(2, 4):
        held[4 * i + j, : (9, 8)[i], : (6, 6, 6, 4)[j]] = 1
    x, y = rng.integers(-9, 9, real.shape) * real, rng.integers(-9, 9, held.shape) * held
    both_ways = lambda comm, x, y: (comm.halo(x, *PENCIL), comm.spill(y, *reversed(PENCIL)))  # noqa: E731
    for there, back in both(both_ways, mesh, x, y):
        assert (there * held * y).sum() == (x * back * real).sum() != 0


def test_a_halo_wider_than_a_block_is_an_error():
    with pytest.raises(InternalError, match="width 2 on blocks of 1"):
        Edge(("row",), 0, 2, 3, 7)


def transforms(comm, axes, n):
    """A function of a block (5, 3 n, 4) in which collectives stand side by side and behind each other."""

    def f(x):
        y = comm.all_to_all(jnp.sin(x), axes, 0, 1)
        z = comm.halo(x * x, Edge(axes, 0, 2, n, 5 * n))
        w = comm.spill(jnp.cos(z), Edge(axes, 0, 2, n, 5 * n))
        g = comm.all_gather(x[:1], axes, 2).sum(axis=2)
        s = comm.reduce_scatter(jnp.cos(y), axes, 0)
        e = comm.all_reduce((w * w).sum(keepdims=True), axes, "sum")
        return (s * s).sum() + (w * jnp.tanh(e)[0]).sum() + (g**3).sum()

    return f


@pytest.mark.parametrize(("mesh", "axes"), CASES)
def test_gradients_are_those_of_lax(mesh, axes):
    n = parts(mesh, axes)
    ours, theirs = both(
        lambda comm, x: jax.grad(transforms(_fresh(comm), axes, n))(x), mesh, stack(mesh, (5, 3 * n, 4), "float64")
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12, err_msg="the order of additions alone differs")
    assert np.abs(ours).max() > 1


def _fresh(comm):
    """A chain of its own, for a function that is differentiated."""
    return NativeCollectives(comm.binding).opened() if isinstance(comm, NativeCollectives) else comm


def test_a_batch_goes_in_one_call():
    mesh, axes, n = "row=2,col=4", ("row",), 2

    def body(comm, xs):
        def one(x):
            own = _fresh(comm)
            return own.halo(own.all_to_all(x, axes, 0, 1), Edge(axes, 1, 1, n, 6)), own.all_reduce(x[0, 0], axes, "sum")

        return jax.vmap(one)(xs)

    x = stack(mesh, (7, 4, 6, 3))
    same(body, mesh, x)
    text = program(body, NativeCollectives(binding(mesh)), mesh, 1).lower(x).as_text()
    assert text.count("@meshbayes_exchange") == 2 and text.count("@meshbayes_all_reduce") == 1


def test_the_gradient_of_a_batch_is_that_of_lax():
    mesh, axes, n = "row=2,col=4", ("col", "row"), 8
    batch = stack(mesh, (3, 5, 3 * n, 4), "float64")
    f = lambda comm: lambda x: transforms(_fresh(comm), axes, n)(x)  # noqa: E731
    for body in (
        lambda comm, x: jax.vmap(jax.grad(f(comm)))(x),
        lambda comm, x: jax.grad(lambda x: jax.vmap(f(comm))(x).sum())(x),
    ):
        ours, theirs = both(body, mesh, batch)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_scan_carries_the_chain():
    mesh, axes, n = "row=2,col=4", ("row", "col"), 8

    def body(comm, x):
        native = isinstance(comm, NativeCollectives)

        def step(carry, _):
            x, *token = carry
            if native:
                comm.resume(token)
            y = comm.all_to_all(x, axes, 0, 1)
            x = comm.all_to_all(jnp.sin(y), axes, 1, 0) + comm.halo(x, Edge(axes, 0, 1, n, 3 * n))[2:]
            e = comm.all_reduce(x[0, 0], axes, "sum")
            return (x, *(comm.carried() if native else ())), e

        start = (x, *(comm.carried() if native else ()))
        (x, *token), energies = jax.lax.scan(step, start, None, length=50)
        if native:
            comm.resume(token)
        return x, energies, comm.all_reduce(x, axes, "max")

    same(body, mesh, stack(mesh, (3, 2 * n, 2)))


def test_twenty_four_independent_calls_keep_one_order():
    """XLA may run what does not depend on each other in any order, on every device another: the token holds them."""
    mesh = "row=2,col=4"

    def body(comm, x):
        made = []
        for i in range(24):
            axes = (("row",), ("col",), ("row", "col"))[i % 3]
            y = x[..., : 1 + i % 4] * (i + 1)
            made.append(comm.all_gather(y, axes, 0) if i % 2 else comm.all_reduce(y, axes, "sum"))
        return made

    x = stack(mesh, (8, 16, 4))
    same(body, mesh, x)
    run = program(body, NativeCollectives(binding(mesh)), mesh, 1)
    first, *more = [run(x) for _ in range(20)]
    jax.tree.map(np.testing.assert_array_equal, first, more[-1])


def test_what_is_too_large_goes_through_lax_in_its_place():
    """Slots of 4 KiB: messages of 32 KiB do not fit, those of 2 KiB do; an all-reduce beyond 64 KiB is lax's."""
    mesh, axes = "row=2,col=4", ("row", "col")

    def body(comm, x, y, z):
        own = _fresh(comm)

        def f(x, y, z):
            a = own.all_to_all(x, axes, 0, 1)
            b = own.all_to_all(y, axes, 0, 1)
            c = own.all_reduce(z, axes, "sum")
            d = own.halo(y * b.mean(), Edge(axes, 0, 1, 8, 64))
            return (a * a).sum() + (b * b).sum() * c.mean() + (d * d).sum()

        return jax.value_and_grad(f, argnums=(0, 1, 2))(x, y, z)

    stacks = stack(mesh, (64, 128)), stack(mesh, (8, 64)), stack(mesh, (128, 130))
    ours, theirs = both(body, mesh, *stacks, slot_bytes=4096)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    text = program(body, NativeCollectives(binding(mesh, 4096)), mesh, 3).lower(*stacks).as_text()
    assert text.count('"stablehlo.all_to_all"') == 2 and text.count('"stablehlo.all_reduce"') == 2
    assert text.count("@meshbayes_exchange") == 4


def test_calls_outside_a_chain_are_an_error():
    with pytest.raises(InternalError, match="outside a chain"):
        NativeCollectives(binding("row=2")).carried()


def test_bytes_of_other_types_are_copied_too():
    x = np.arange(5 * 4 * 10).reshape(5, 4, 10) % 3 == 0
    made = same(lambda comm, x: comm.all_to_all(x, ("row",), 0, 1), "row=5", x)
    assert made.dtype == bool and math.prod(made.shape) == x.size


def test_a_copy_larger_than_the_slots_goes_in_rounds():
    """6 MiB a rank, of which 4.5 MiB are staged, in slots of 2 MiB."""
    x = stack("row=4", (8, 192, 1024))
    body = lambda comm, x: comm.all_to_all(x, ("row",), 0, 1)  # noqa: E731
    same(body, "row=4", x, slot_bytes=2 << 20)
    text = program(body, NativeCollectives(binding("row=4", 2 << 20)), "row=4", 1).lower(x).as_text()
    assert "@meshbayes_exchange" in text and "stablehlo.all_to_all" not in text


@pytest.mark.parametrize("rest", [(2400, 61), (1200, 127), (1, 146411)])
def test_results_that_leave_the_caches_are_whole_where_lines_are_shared(rest):
    """Beyond 4 MiB a rank: rows of 61, 127 and 146,411 numbers, which begin and end within a line."""
    x = stack("row=2", (4, 2 * rest[0], rest[1]))
    body = lambda comm, x: comm.all_to_all(comm.all_to_all(x, ("row",), 0, 1) + 1, ("row",), 1, 0)  # noqa: E731
    assert same(body, "row=2", x).nbytes // 2 > 4 << 20


def test_calls_inside_a_batched_function_are_one_in_the_chain():
    """As ops on particles hand on buffers, over several chains."""

    def body(comm, x):
        def one(row, scale):
            left, right = comm.pass_on(row, row * scale, ("row",), 2)
            return left + 2 * right

        y = comm.batched(one, (0, None))(x, x[0, 0])
        return y, comm.all_reduce(jnp.sum(y).reshape(1), ("row",), "sum")

    x = stack("row=2", (5, 3, 4))
    same(body, "row=2", x)
    text = program(body, NativeCollectives(binding("row=2")), "row=2", 1).lower(x).as_text()
    assert text.count("@meshbayes_exchange(") == 1
