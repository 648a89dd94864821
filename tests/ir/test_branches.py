"""Gradients of `where`: what a branch that was not taken would have been does no harm; what was taken is not hidden."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.ops.reduce import Sum
from ir.passes.differentiate import differentiate
from ir.passes.simplify import simplify
from ir.verify import verify
from ppl import exp, log, sqrt, where

from .interpret import run

X = np.array([-2.0, 0.0, 3.0, 1000.0, 0.5])


def program(make, *latents):
    """The sum of what `make` returns, with gradients in all latents: `x`, `z` along n, others numbers."""
    with Builder("branches", "f64") as b:
        dims = {"x": (Dim("n", X.size),), "z": (Dim("n", X.size),)}
        given = [b.input(name, TensorType(dims.get(name, ()), "f64"), "latent") for name in latents]
        total = b.finish({"log_density": emit(Sum(("n",)), make(*given))})
    return verify(simplify(differentiate(total, list(latents))))


def safe(condition, x, other=1.0):
    """What JAX users write: an argument that does no harm where the branch is not taken."""
    return jnp.where(condition, x, other)


CASES = {
    "exp overflows": (
        lambda x: where(x > 50.0, x, exp(x)),
        lambda x: jnp.where(x > 50, x, jnp.exp(safe(x <= 50, x))),
        (X,),
    ),
    "root, logarithm and quotient": (
        lambda x: where(x > 0.0, sqrt(x) * log(x) / x, x * 2.0),
        lambda x: jnp.where(x > 0, jnp.sqrt(y := safe(x > 0, x)) * jnp.log(y) / y, 2 * x),
        (X,),
    ),
    "one within another": (
        lambda x: where(x > 0.0, where(x > 10.0, x * x, 1.0 / log(x)), -x),
        lambda x: jnp.where(x > 10, x * x, jnp.where(x > 0, 1 / jnp.log(safe(x > 0, x, 2.0)), -x)),
        (X,),
    ),
    "a power and a factor that are numbers": (
        lambda x, p, s: where(x > 0.0, s * x**p, x),
        lambda x, p, s: jnp.where(x > 0, s * safe(x > 0, x) ** p, x),
        (X, np.array(0.3), np.array(-1.5)),
    ),
    "the other factor is infinite there": (
        lambda x, s: where(x > 0.0, s * log(x), 0.0 * x),
        lambda x, s: jnp.where(x > 0, s * jnp.log(safe(x > 0, x)), 0.0),
        (X, np.array(2.0)),
    ),
    "used by two branches and outside": (
        lambda x, z: where(x > 0.0, log(x) * z, x) + where(x > 0.0, 1.0 / x, z) + x * z,
        lambda x, z: jnp.where(x > 0, jnp.log(y := safe(x > 0, x)) * z, x) + jnp.where(x > 0, 1 / y, z) + x * z,
        (X, X[::-1].copy()),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_branch_not_taken_has_no_gradient(case):
    ours, theirs, values = CASES[case]
    names = ours.__code__.co_varnames[: len(values)]
    found = run(program(ours, *names), dict(zip(names, values, strict=True)))
    with jax.enable_x64(True):
        wanted = jax.grad(lambda xs: theirs(*xs).sum())(values)
    for name, exact in zip(names, wanted, strict=True):
        np.testing.assert_allclose(found[f"grad:{name}"], exact, rtol=1e-13, err_msg=name)


def test_what_was_taken_is_not_hidden():
    """sqrt at 0 has no slope, whether a `where` stands around it or not."""
    found = run(program(lambda x: where(x < 1.0, sqrt(x), x), "x"), {"x": X})["grad:x"]
    assert np.isnan(found[0])
    assert np.isinf(found[1])
    np.testing.assert_allclose(found[2:], [1.0, 1.0, 0.5 / np.sqrt(0.5)])


def test_products_of_a_branch_without_singular_ops_are_selected_once():
    text = str(program(lambda x, z: where(x > 0.0, x + z, x - z), "x", "z"))
    assert text.count("where") == 1 + 2, "the function, and the cotangents of its two branches"
