"""Sums on a common grid: the same bits in any order and on any mesh, and as good as correctly rounded ones."""

import math

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from ir.grid_sum import grid_sum

N = 5041


def terms(seed=0):
    """Three sums over 40 decades, so that every order of a plain sum differs."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, N)) * np.exp(7 * rng.normal(size=(3, N)))


def total(x):
    with jax.enable_x64(True):
        return np.asarray(jax.jit(lambda x: grid_sum(x, (1,), (), x.shape[1]))(x))


def test_any_order_gives_the_same_bits_and_the_right_sum():
    x = terms()
    got, shuffled = total(x), total(x[:, np.random.default_rng(1).permutation(N)])
    np.testing.assert_array_equal(got, shuffled)
    # What is cut off is below N 2^-79 of the largest term; the last addition rounds.
    exact = np.array([math.fsum(row) for row in x])
    assert (np.abs(got - exact) <= np.spacing(np.abs(exact)) + N * 2.0**-79 * np.abs(x).max(axis=1)).all()
    plain = [x.sum(axis=1), x[:, ::-1].sum(axis=1), np.cumsum(x, axis=1)[:, -1]]
    assert any((p != plain[0]).any() for p in plain), "the terms are too tame to test anything"


def test_what_is_not_finite_is_as_in_any_sum():
    x = np.array(
        [[1.0, np.inf, 2], [np.nan, 1, 2], [np.inf, -np.inf, 0], [0, 0, 0], [-np.inf, 1, 1], [1e300, 1e300, 0]]
    )
    np.testing.assert_array_equal(total(x), [np.inf, np.nan, np.nan, 0, -np.inf, 2e300])


@pytest.mark.parametrize("shape", [(4, 2), pytest.param((8, 1), marks=pytest.mark.slow)])
def test_a_mesh_gives_the_bits_of_one_device(shape):
    if len(jax.devices()) < 8:
        pytest.skip("needs eight (virtual) devices")
    mesh, x = Mesh(np.array(jax.devices()[:8]).reshape(shape), ("a", "b")), terms(2)
    padded = np.pad(x, [(0, 0), (0, -N % 8)])

    def body(x):
        return grid_sum(x, (1,), ("a", "b"), N)

    with jax.enable_x64(True):
        f = jax.shard_map(body, mesh=mesh, in_specs=P(None, ("a", "b")), out_specs=P(), check_vma=False)
        np.testing.assert_array_equal(jax.jit(f)(padded), total(x))
