"""The logarithm behind float32 noise: right, and of the same bits whatever the size of a block."""

import jax
import numpy as np
import pytest

from ir.logarithm import log, log1m

RNG = np.random.default_rng(1)
NUMBERS = {
    log: np.concatenate([np.exp(RNG.uniform(-60, 3, 20_000)), 1 - np.exp(RNG.uniform(-16, -1, 20_000))]),
    log1m: 0.5 * RNG.uniform(0, 1, 20_000) ** 4,
}
EXACT = {log: np.log, log1m: lambda x: np.log1p(-x)}


@pytest.mark.parametrize("function", [log, log1m])
def test_it_is_the_logarithm_to_rounding(function):
    x = NUMBERS[function].astype(np.float32)
    exact = EXACT[function](x.astype(np.float64))
    assert np.max(np.abs(jax.jit(function)(x) - exact) / np.abs(exact)) < 4e-7
    assert function(np.float32(1 if function is log else 0)) == 0


def test_it_is_minus_infinity_at_zero():
    assert log(np.float32(0)) == -np.inf


@pytest.mark.parametrize("function", [log, log1m])
def test_it_has_the_same_bits_in_blocks_of_every_size(function):
    """`jax.numpy.log` of blocks of 3, 5 to 7, 11 and 13 to 15 numbers has not (JAX 0.10, XLA:CPU)."""
    x = NUMBERS[function][:240].astype(np.float32)
    whole, blockwise = np.asarray(jax.jit(function)(x)), jax.jit(function)
    for size in (1, 3, 5, 7, 11, 13, 15, 24):
        blocks = [blockwise(x[i : i + size]) for i in range(0, 240 - size, size)]
        np.testing.assert_array_equal(np.concatenate(blocks), whole[: sum(map(len, blocks))])
