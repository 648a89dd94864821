"""Order-independent sums against exactly rounded ones (`math.fsum`), on hand-made extremes and cut at random."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ir import exact

ACCUMULATE, TOTAL = jax.jit(exact.accumulate), jax.jit(exact.total)


def slots(x):
    """What stands for the sums of the rows of x, filled up with zeros to one shape, which is compiled once."""
    with jax.enable_x64(True):
        return np.asarray(ACCUMULATE([[jnp.asarray(np.pad(x, [(0, 3 - x.shape[0]), (0, 10002 - x.shape[1])]))]]))


def total(held):
    with jax.enable_x64(True):
        return np.asarray(TOTAL(jnp.asarray(held)))[:, 0]


@pytest.mark.parametrize("scale", [1e-280, 1e-40, 1.0, 3e40, 1e290])
def test_totals_are_rounded_sums(scale):
    """Bits below 2^-56 of the largest term are cut: 1000 terms lose at most 1000 2^-56 of it, and one rounding."""
    x = np.random.default_rng(1).normal(size=(3, 1000)) * scale
    want = np.array([math.fsum(row) for row in x])
    error = np.abs(total(slots(x)) - want)
    assert (error <= 1000 * 2.0**-56 * np.abs(x).max(axis=1) + 2.0**-52 * np.abs(want)).all()


def test_products_of_single_precision_cancel_exactly():
    """Terms from 2^-14 to 64 keep all their bits: those within 2^-56 of the largest are never cut."""
    rng = np.random.default_rng(2)
    a, b = (rng.integers(-(2**10), 2**10, 5000).astype(np.float32) * np.float32(2.0**-7) for _ in range(2))
    terms = a.astype(float) * b
    both = np.concatenate([terms, -rng.permutation(terms), [2.0**-14]])[None]
    assert total(slots(both))[0] == 2.0**-14


def test_any_cut_and_order_gives_the_same_bits():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(3, 3000)) * np.exp(rng.normal(size=(3, 3000)) * 20)
    whole = total(slots(x))
    for pieces in (2, 3, 7, 40):
        cuts = np.split(x[:, rng.permutation(3000)], np.sort(rng.choice(3000, pieces - 1, replace=False)), axis=1)
        assert (total(sum(slots(c) for c in cuts)) == whole).all()
    # The largest terms stand in few of the blocks, and plain sums do depend on the order.
    assert len({float(np.sum(x[0, rng.permutation(3000)])) for _ in range(5)}) > 1


def test_several_sums_over_parts_of_unlike_shapes():
    x, y = np.arange(24.0).reshape(2, 3, 4), np.array([0.5, 0.25])
    with jax.enable_x64(True):
        held = ACCUMULATE([[jnp.asarray(x), jnp.asarray(-3 * x)], [jnp.asarray(y), jnp.asarray(y)]])
        two = np.asarray(TOTAL(held))
    whole = x.reshape(2, -1).sum(axis=1)
    np.testing.assert_array_equal(two, np.stack([whole + y, y - 3 * whole], axis=1))


@pytest.mark.parametrize(
    ("terms", "want"),
    [
        ([0.0, -0.0], 0.0),
        ([1.0, np.inf], np.inf),
        ([-np.inf, 1e300], -np.inf),
        ([np.inf, -np.inf], np.nan),
        ([np.nan, np.inf], np.nan),
        ([1.7e308, -1.7e308, 2.0], 0.0),  # 2 lies far below 2^-56 of the largest
        ([1.7e308, 1.7e308], np.inf),
        ([1e-310, 1e-310], 0.0),  # subnormals count as zero
    ],
)
def test_extremes(terms, want):
    np.testing.assert_array_equal(total(slots(np.array([terms])))[0], want)
