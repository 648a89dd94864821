"""The counter-based generator against published answers, SciPy, and itself cut in pieces.

Statistical tests use fixed seeds; were these drawn anew, each would fail with the probability that its row states.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from ir import counter
from ir.errors import InternalError

KEY = counter.seed_key(0x0123456789ABCDEF)


def line(n: int, start: int = 0) -> counter.Index:
    return counter.global_index((n,), (start,), (start + n,))


def words64(key, index) -> np.ndarray:
    high, low = (np.asarray(w).astype(np.uint64) for w in counter.bits(key, index))
    return (high << np.uint64(32)) | low


@pytest.mark.parametrize(
    ("count", "key", "answer"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_known_answers_of_random123(count, key, answer):
    words = counter.threefry2x32(tuple(map(np.uint32, key)), tuple(map(np.uint32, count)))
    assert tuple(int(w) for w in words) == answer


def test_derive_composes_and_separates():
    a = counter.derive(KEY, 1, 2)
    b = counter.derive(counter.derive(KEY, 1), 2)
    assert [int(x) for x in a] == [int(x) for x in b]
    assert [int(x) for x in a] != [int(x) for x in counter.derive(KEY, 2, 1)]
    hosted = counter.derive_on_host(KEY, np.array([1, 2**32 - 1], np.uint32), 2)
    traced = counter.derive(KEY, np.array([1, 2**32 - 1], np.uint32), 2)
    assert all(isinstance(x, np.ndarray) for x in hosted)
    np.testing.assert_array_equal(hosted, [np.asarray(x) for x in traced])
    assert counter.site_hash("123456789") == 0xCBF43926  # the published check value of CRC-32


@pytest.mark.parametrize("shape", [(5, 3, 4), (70000, 70000, 3), (1 << 31, 1 << 20, 7)])
def test_global_index_is_row_major_in_64_bits(shape):
    block, offset = (2, 3, 2), tuple(n - 3 for n in shape)
    low, high = counter.global_index(block, offset, shape)
    i, j, k = np.indices(block).astype(object) + np.array(offset, object).reshape(3, 1, 1, 1)
    expected = (i * shape[1] + j) * shape[2] + k
    got = np.asarray(high).astype(object) * 2**32 + np.asarray(low).astype(object)
    assert (got == expected).all()


def test_normal_is_the_inverse_distribution():
    with jax.enable_x64(True):
        index = line(1 << 18)
        bits = words64(KEY, index)
        negative = (bits & np.uint64(1)) == 0
        tail = ((bits >> np.uint64(1)).astype(np.float64) + 0.25) * 2.0**-64  # half of P(|z| > .)
        expected = -scipy.special.ndtri(tail)
        expected = np.where(negative, -expected, expected)
        single = np.asarray(counter.normal(KEY, index, "float32"))
        assert single.dtype == np.float32
        # Where the tail is near 1/2, its complement carries the digits: relative terms only for |z| > 1e-3.
        body = np.abs(expected) > 1e-3
        assert np.abs(single[body] / expected[body] - 1).max() < 1e-6
        assert np.abs(single[~body] - expected[~body]).max() < 1e-9
        double = np.asarray(counter.normal(KEY, index, "float64"))
        assert np.abs(double[body] / expected[body] - 1).max() < 1e-13


def test_normal_holds_in_the_far_tail(monkeypatch):
    """Bits chosen by hand: |z| from 3 to 9.1."""
    z = np.linspace(3, 8.9, 500)
    high = np.floor(scipy.special.ndtr(-z) * 2.0**33)
    low = np.floor((scipy.special.ndtr(-z) * 2.0**33 - high) * 2.0**32)
    words = jnp.asarray(high.astype(np.uint32)), jnp.asarray(low.astype(np.uint32) | np.uint32(1))
    monkeypatch.setattr(counter, "bits", lambda key, index: words)
    single = np.asarray(counter.normal(KEY, (0, 0), "float32"))
    even = np.asarray(words[1] & np.uint32(0xFFFFFFFE), float)  # the lowest bit is the sign's
    exact = -scipy.special.ndtri((high * 2.0**32 + even + 0.5) * 2.0**-65)
    assert np.abs(single / exact - 1).max() < 1e-6
    with jax.enable_x64(True):
        double = np.asarray(counter.normal(KEY, (0, 0), "float64"))
    assert np.abs(double / exact - 1).max() < 1e-13


@pytest.mark.parametrize("extreme", [0, 0xFFFFFFFF])
def test_noise_is_finite_and_open_at_the_extreme_bits(monkeypatch, extreme):
    words = jnp.full(2, extreme, jnp.uint32), jnp.array([extreme, extreme ^ 1], jnp.uint32)
    monkeypatch.setattr(counter, "bits", lambda key, index: words)
    with jax.enable_x64(True):
        for dtype in ("float32", "float64"):
            u = np.asarray(counter.uniform(KEY, (0, 0), dtype))
            assert ((u > 0) & (u < 1)).all() and u.dtype == dtype
            assert np.isfinite(np.asarray(counter.normal(KEY, (0, 0), dtype))).all()
            e = np.asarray(counter.exponential(KEY, (0, 0), dtype))
            assert ((e > 0) & (e < 46)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("draw", "law"),
    [
        (counter.uniform, scipy.stats.uniform),
        (counter.normal, scipy.stats.norm),
        (counter.exponential, scipy.stats.expon),
    ],
)
def test_law(draw, law, dtype):
    """Kolmogorov-Smirnov and five moments of 2^18 draws; false alarm 1e-6 each."""
    with jax.enable_x64(True):
        x = np.asarray(draw(KEY, line(1 << 18), dtype), np.float64)
    assert scipy.stats.kstest(x, law.cdf).pvalue > 1e-6
    for power in (1, 2, 3, 4):
        error = np.sqrt((law.moment(2 * power) - law.moment(power) ** 2) / x.size)
        assert abs((x**power).mean() - law.moment(power)) < 4.9 * error
    neighbours = np.corrcoef(x[1:], x[:-1])[0, 1] * np.sqrt(x.size)
    assert abs(neighbours) < 4.9


def test_streams_of_chains_sites_and_steps_are_uncorrelated():
    """False alarm 1e-6 for each of 6 pairs."""
    keys = [counter.derive(KEY, *w) for w in ((0, 1), (1, 1), (0, 2), (1, 2))]
    x = np.stack([np.asarray(counter.normal(k, line(1 << 16))) for k in keys])
    r = np.corrcoef(x) * np.sqrt(x.shape[1])
    assert np.abs(r[np.triu_indices(4, 1)]).max() < 4.9


def test_tails_reach_beyond_five_sigma():
    """P(|z| > 4.5) in 2^22 single-precision draws: 28.5 expected, Poisson; false alarm 1e-6."""
    z = np.asarray(counter.normal(KEY, line(1 << 22)))
    expected = 2 * scipy.stats.norm.sf(4.5) * z.size
    assert scipy.stats.poisson.cdf((np.abs(z) > 4.5).sum(), expected) > 1e-6
    assert scipy.stats.poisson.sf((np.abs(z) > 4.5).sum(), expected) > 1e-6


def test_a_block_is_the_whole_cut_and_x64_changes_no_float32_bit():
    shape, block = (9, 10, 11), (4, 5, 11)
    whole = np.asarray(counter.normal(KEY, counter.global_index(shape, (0, 0, 0), shape)))
    for i, j in ((0, 0), (4, 5), (4, 0)):
        part = counter.normal(KEY, counter.global_index(block, (i, j, 0), shape))
        assert (np.asarray(part) == whole[i : i + 4, j : j + 5]).all()
    with jax.enable_x64(True):
        again = counter.normal(KEY, counter.global_index(shape, (0, 0, 0), shape))
    assert again.dtype == np.float32 and (np.asarray(again) == whole).all()


def test_keys_broadcast_as_a_leading_chain_axis():
    keys = counter.derive(KEY, np.arange(3, dtype=np.uint32))
    index = counter.global_index((4, 5), (0, 0), (4, 5))
    together = np.asarray(counter.normal(counter.expand(keys, 2), index))
    for c in range(3):
        assert (together[c] == np.asarray(counter.normal(counter.derive(KEY, c), index))).all()


def test_double_noise_outside_x64_is_refused():
    with pytest.raises(InternalError, match="enable_x64"):
        counter.normal(KEY, line(3), "float64")
