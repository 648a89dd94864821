"""What XLA:GPU makes of halos, transposes, sums and transforms: with our collectives, and beside them with `jax.lax`'s.

Bounds are what was counted (JAX 0.10.2, H200), temporaries a little above, so that a change for the worse fails.
"""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backend_cuda import LAX
from backend_cuda.halo import Edge
from ir.mesh import Mesh
from tests.backend_cuda.native.virtual import program, stack

from .blocks import Counts, compiled, counts
from .on_gpus import needs_compiler

pytestmark = [needs_compiler, pytest.mark.slow]
ROW = ("row",)
PENCIL = (("row", 2), ("col", 1))
"""Mesh axes of the first two dims, and the halo's widths."""


def at_once(comm, x):
    """A halo with corners."""
    parts = [jax.lax.axis_size(name) for name, _ in PENCIL]
    edges = [Edge((a,), i, w, p, p * x.shape[i]) for i, ((a, w), p) in enumerate(zip(PENCIL, parts, strict=True))]
    return {"field": comm.halo(x, *edges)}


def by_twelve_permutes(comm, x):
    """The same as jaxDecomp has it: a face comes by one permute, a corner by two; each is written into its place."""
    made = jnp.pad(x, [*((w, w) for _, w in PENCIL), (0, 0)])
    for way in product((-1, 0, 1), repeat=2):
        piece, to = x, [0, 0, 0]
        for axis, ((name, w), s, n) in enumerate(zip(PENCIL, way, x.shape, strict=False)):
            to[axis] = {-1: 0, 0: w, 1: w + n}[s]
            if s:  # from the neighbour on this way: what it has at its other end
                piece = jax.lax.slice_in_dim(piece, *{-1: (n - w, n), 1: (0, w)}[s], axis=axis)
                ring = jax.lax.axis_size(name)
                piece = jax.lax.ppermute(piece, name, [((i + s) % ring, i) for i in range(ring)])
        made = jax.lax.dynamic_update_slice(made, piece, to) if any(way) else made
    n, m = x.shape[:2]
    return {"field": made.at[2 : 2 + n, 1 : 1 + m].set(x)}


def smooth(halo):
    """The mean of 5 x 3 neighbours."""

    def body(comm, x):
        y, (n, m, _) = halo(comm, x)["field"], x.shape
        total = sum(y[i : i + n, j : j + m] for i, j in product(range(5), range(3)))
        return {"field": total / jnp.float32(15)}

    return body


def test_twelve_permutes_make_the_same_halo():
    x = stack("row=2,col=4", (5, 4, 3))
    ours, theirs = (program(f, LAX, "row=2,col=4", 1)(x)["field"] for f in (at_once, by_twelve_permutes))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("read", "bounds"),
    [
        (False, {"ours": Counts(3, 1, 1, 0, 403_000), "sweeps": Counts(4, 0, 0, 4, 403_000)}),
        (True, {"ours": Counts(4, 1, 1, 0, 5_000_000), "sweeps": Counts(5, 0, 0, 4, 5_000_000)}),
    ],
    ids=["made", "smoothed"],
)
def test_a_pencil_halo_on_sixteen_gpus(read, bounds):
    """Of blocks of 4.2 MB: in one call, by four permutes one dim after the other, by twelve."""
    found = {}
    forms = {"ours": (at_once, True), "sweeps": (at_once, False), "twelve permutes": (by_twelve_permutes, False)}
    for name, (halo, native) in forms.items():
        body = smooth(halo) if read else halo
        found[name] = counts(compiled(body, Mesh.parse("row=4,col=4"), (64, 64, 256), native))
        print(f"\n{name}: {found[name]}", end="")
    for name, bound in bounds.items():
        assert all(n <= most for n, most in zip(found[name], bound, strict=True)), name
    started = {name: sum(c[:4]) for name, c in found.items()}
    assert started["ours"] <= started["sweeps"] - 3 and started["ours"] <= started["twelve permutes"] / 2


def transpose(comm, x):
    return {"field": comm.all_to_all(x, ROW, 0, 1)}


def there_and_back(comm, x):
    return {"field": comm.all_to_all(jnp.sin(comm.all_to_all(x, ROW, 0, 1)), ROW, 1, 0)}


def stencil(comm, x):
    h = comm.halo(x, Edge(ROW, 0, 1, 4, 4 * x.shape[0]))
    return {"field": h[2:] - 2 * h[1:-1] + h[:-2]}


def spill(comm, x):
    return {"field": comm.spill(jnp.sin(x), Edge(ROW, 0, 1, 4, 4 * (x.shape[0] - 2)))}


def energy(comm, x):
    return {"energy": comm.all_reduce(jnp.sum(x * x).reshape(1), ROW, "sum")}


def slab_fft(comm, x):
    y = comm.all_to_all(jnp.fft.fftn(x, axes=(1, 2)), ROW, 0, 1)
    return {"field": jnp.fft.fft(y, axis=0)}


@pytest.mark.parametrize(
    ("body", "dtype", "ours", "lax"),
    [
        (transpose, "float32", Counts(1, 1, 1, 0, 1_000), Counts(2, 0, 0, 1, 4_200_000)),
        (there_and_back, "float32", Counts(2, 1, 2, 0, 4_200_000), Counts(3, 0, 0, 2, 4_200_000)),
        (stencil, "float32", Counts(3, 1, 1, 0, 132_000), Counts(3, 0, 0, 2, 132_000)),
        (spill, "float32", Counts(5, 1, 1, 0, 132_000), Counts(4, 0, 0, 2, 198_000)),
        (energy, "float32", Counts(3, 1, 1, 0, 5_000), Counts(2, 0, 0, 1, 5_000)),
        (slab_fft, "complex64", Counts(3, 1, 1, 0, 4_200_000), Counts(3, 0, 0, 1, 8_400_000)),
    ],
)
def test_ours_beside_lax_on_four_gpus(body, dtype, ours, lax):
    """Of blocks of 4.2 MB. A fusion of ours finds the rank's place, the copy is of the token's four bytes."""
    shape = (64, 128, 128) if dtype == "float32" else (64, 128, 64)
    found = [counts(compiled(body, Mesh.parse("row=4"), shape, native, dtype)) for native in (True, False)]
    print(f"\n{body.__name__}: ours {found[0]}\n{' ' * len(body.__name__)}  lax  {found[1]}", end="")
    for made, bound in zip(found, (ours, lax), strict=True):
        assert all(n <= most for n, most in zip(made, bound, strict=True)), made
