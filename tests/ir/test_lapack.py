"""Batches of matrices on meshes of CPU devices: one matrix a call, and the same numbers."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from ir import lapack

BATCH, N = (3, 2), 5
ROOT = Path(__file__).parents[2]
FUNCTIONS = {
    "cholesky": (lapack.cholesky, jnp.linalg.cholesky),
    "eigh": (lapack.eigh, jnp.linalg.eigh),
    "svd": (lapack.svd, jnp.linalg.svd),
    "slogdet": (lapack.slogdet, jnp.linalg.slogdet),
    "solve": (lapack.solve, jnp.linalg.solve),
    "triangular_solve": tuple(
        lambda a, b, f=f: f(a, b, left_side=True, lower=True)
        for f in (lapack.triangular_solve, lax.linalg.triangular_solve)
    ),
}


def operands(name):
    z = np.random.default_rng(5).normal(size=(*BATCH, N, N + 2))
    a = z @ np.swapaxes(z, -1, -2)
    return (a, z) if name in ("solve", "triangular_solve") else (a,)


def on(devices, f):
    """`f` of copies on every device, which also sum: devices cannot pass each other."""
    if len(jax.devices()) < devices:
        pytest.skip("needs eight (virtual) devices")

    def body(*x):
        return f(*(lax.psum(y, "a") / devices for y in x))

    mesh = Mesh(np.array(jax.devices()[:devices]), ("a",))
    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False))


def batches(text):
    """How many matrices each call of LAPACK in a program is given."""
    calls = [line for line in text.splitlines() if "@lapack_" in line]
    shapes = [re.search(r": \(tensor<([0-9x]*)xf64>", line).group(1).split("x") for line in calls]
    return {int(np.prod([int(n) for n in shape[:-2]])) for shape in shapes}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_mesh_of_cpus_is_given_one_matrix_at_a_time_and_finds_the_same(name):
    of_mesh, plain = FUNCTIONS[name]
    with jax.enable_x64(True):
        x = operands(name)
        many = on(8, of_mesh).lower(*x)
        found, want = many.compile()(*x), jax.jit(plain)(*x)
        assert jax.tree.structure(found) == jax.tree.structure(want)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
        assert batches(many.as_text()) == {1}
        assert batches(on(1, of_mesh).lower(*x).as_text()) == {6}


def test_programs_have_no_other_decompositions():
    """All of them go through `ir.lapack`: those that do not can stop a mesh."""
    called = re.compile(r"(jnp|lax|scipy)\.linalg|jax\.lax\.linalg|from jax\S* import .*linalg")
    files = [p for top in ("ir", "ppl", "backend_cuda") for p in (ROOT / top).rglob("*.py")]
    found = {p.relative_to(ROOT).as_posix() for p in files if called.search(p.read_text())}
    assert found == {"ir/lapack.py", "backend_cuda/bench/work.py"}  # benchmarks: one matrix
