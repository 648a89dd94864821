"""A battery on many numbers of the generator: laws, tails, spectra, and streams against each other.

Known answers of Threefry, extreme words and the inverse distribution are in `test_counter.py`. Seeds are fixed; were
they drawn anew, each comparison would fail by chance with probability 1e-6 (two-sided 4.9 sigma, or a p value). A
battery holds about 220 of them, so one in 4,500 batteries would. The quick one takes 10^5 numbers, the slow one 10^7.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from ir import counter
from ppl.infer.space import Space

SEED = counter.seed_key(0x5EED0001)
ALARM = 1e-6
SIGMAS = 4.9
SIZES = [10**5, pytest.param(10**7, marks=pytest.mark.slow)]
DTYPES = ["float32", "float64"]
PARITY = {1: 0, 2: 1, 3: 0, 4: 3, 5: 0, 6: 15}
"""E z^k of a standard normal."""


@functools.cache
def maker(size: int, dtype: str, draw):
    return jax.jit(lambda key: draw(key, counter.global_index((size,), (0,), (size,)), dtype))


def stream(size: int, dtype: str = "float32", *, draw=counter.normal, words: tuple[int, ...] = (0, 0, 0)) -> np.ndarray:
    """Numbers under the key of (purpose, chain, step), as float64."""
    with jax.enable_x64(True):
        key = tuple(np.uint32(w) for w in counter.derive(SEED, *words))
        return np.asarray(maker(size, dtype, draw)(key), np.float64)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_to_sixth_order(size, dtype):
    z = stream(size, dtype)
    normal = scipy.stats.norm
    for k, expected in PARITY.items():
        deviation = np.sqrt((normal.moment(2 * k) - normal.moment(k) ** 2) / size)
        assert abs((z**k).mean() - expected) < SIGMAS * deviation


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_tails_hold_the_counts_of_a_normal(size, dtype):
    """Counts beyond 2 … 6 sigma on both sides against Poisson; at 10^7 numbers, 5.7 are expected beyond 5."""
    z = stream(size, dtype)
    assert np.isfinite(z).all()
    for cut in (2.0, 3.0, 4.0, 4.5, 5.0, 5.5, 6.0):
        expected = scipy.stats.norm.sf(cut) * size
        for count in ((z > cut).sum(), (z < -cut).sum()):
            assert scipy.stats.poisson.cdf(count, expected) > ALARM / 2
            assert scipy.stats.poisson.sf(count - 1, expected) > ALARM / 2


@pytest.mark.slow
def test_tails_beyond_five_sigma_of_a_billion_numbers():
    """2^30 float32 numbers, counted as they are drawn: 307.8 are expected beyond 5 on a side, 20.4 beyond 5.5, 1.06
    beyond 6. A generator of 24-bit uniforms has none beyond 5.42."""
    cuts, block, blocks = np.array([5.0, 5.5, 6.0], np.float32), 1 << 24, 64

    @jax.jit
    def count(start):
        z = counter.normal(SEED, counter.global_index((block,), (start,), (block * blocks,)))
        return jnp.stack([jnp.stack([(z > c).sum(), (z < -c).sum(), (~jnp.isfinite(z)).sum()]) for c in cuts])

    counts = sum(np.asarray(count(np.uint32(i * block))) for i in range(blocks))
    assert (counts[:, 2] == 0).all()
    for cut, (above, below, _) in zip(cuts, counts, strict=True):
        expected = scipy.stats.norm.sf(float(cut)) * block * blocks
        for n in (above, below):
            assert scipy.stats.poisson.cdf(n, expected) > ALARM / 2
            assert scipy.stats.poisson.sf(n - 1, expected) > ALARM / 2


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_distance_from_the_normal_distribution(size, dtype):
    """Kolmogorov-Smirnov; and Anderson-Darling, which weighs the tails.

    The limit of A² is the sum of chi²_1 / (j (j + 1)) over j >= 1 (Anderson and Darling 1952), so its tail is
    P(A² > a) = sqrt(3 / (pi a)) exp(-a) (Zolotarev 1961: the product of 1 - 2 / (j (j + 1)) over j >= 2 is 1/3).
    """
    z = np.sort(stream(size, dtype))
    assert scipy.stats.kstest(z, "norm").pvalue > ALARM
    i = np.arange(1, size + 1)
    log_below, log_above = scipy.stats.norm.logcdf(z), scipy.stats.norm.logsf(z)
    squared = -size - np.mean((2 * i - 1) * (log_below + log_above[::-1]))
    assert np.sqrt(3 / (np.pi * max(squared, 1))) * np.exp(-squared) > ALARM


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_uniforms_fill_the_open_interval(size, dtype):
    u = stream(size, dtype, draw=counter.uniform)
    assert u.min() > 0 and u.max() < 1
    assert scipy.stats.kstest(u, "uniform").pvalue > ALARM
    # The smallest of n is exponential of mean 1/n: a generator of 24 bits at 10^7 numbers has it at 2^-25 or at zero.
    for edge in (u.min(), 1 - u.max()):
        assert edge * size < -np.log(ALARM)
    assert u.min() * size > ALARM


@pytest.mark.parametrize("side", [47, pytest.param(216, marks=pytest.mark.slow)])
def test_spectrum_of_a_field_is_white(side):
    """10^5 or 10^7 numbers of a cube: the mean power of 30 shells of wave numbers against chi-square."""
    space = Space.single({"delta": (side,) * 3}, dtype="float32")
    with jax.enable_x64(True):
        field = np.asarray(jax.jit(lambda: space.normal(SEED, 1))()["delta"][0], np.float64)
    power = np.abs(np.fft.rfftn(field)) ** 2 / field.size
    k = [np.fft.fftfreq(side, 1 / side), np.fft.fftfreq(side, 1 / side), np.fft.rfftfreq(side, 1 / side)]
    length = np.sqrt(sum(g**2 for g in np.meshgrid(*k, indexing="ij")))
    # Modes with 0 < k_z < side / 2 are complex and independent: each has power exponential of mean 1.
    inner = np.broadcast_to((k[2] > 0) & (k[2] < side / 2), power.shape)
    shell = np.minimum((length * 60 / side).astype(int), 29)[inner]
    modes, total = np.bincount(shell), np.bincount(shell, weights=power[inner])
    filled = modes > 0
    assert filled.sum() >= 29
    p = scipy.stats.gamma.cdf(total[filled], modes[filled])
    assert p.min() > ALARM / 2 and p.max() < 1 - ALARM / 2


@pytest.mark.parametrize("size", SIZES)
def test_streams_are_uncorrelated(size):
    """Purposes, chains, steps and sites against each other, values and squares; and neighbours within a stream.

    Two times 45 pairs and six lags, each with a false alarm of 1e-6.
    """
    words = [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 2, 0), (1, 0, 1), (1, 0, 2), (0, 1, 1)]
    streams = [stream(size, words=w) for w in words]
    space = Space.single({"x": (size,), "y": (size,), "x2": (size,)}, dtype="float32")
    with jax.enable_x64(True):
        sites = jax.jit(lambda: space.normal(SEED, 1))()
    streams += [np.asarray(v[0], np.float64) for v in sites.values()]
    upper = np.triu_indices(len(streams), 1)
    for values, deviation in ((streams, 1.0), ([z * z - 1 for z in streams], 2.0)):
        products = np.array([[a @ b for b in values] for a in values])
        assert np.abs(products[upper]).max() < SIGMAS * deviation * np.sqrt(size)
    z = streams[0]
    for lag in (1, 2, 31, 32, 216, 1024):
        assert abs(z[lag:] @ z[:-lag]) < SIGMAS * np.sqrt(size - lag)


@pytest.mark.parametrize("size", SIZES)
def test_every_bit_is_a_fair_coin_and_none_follows_another(size):
    """The 64 bits of a number: each half the time, and each pair equal half the time; 2080 counts, false alarm 1e-6."""
    with jax.enable_x64(True):
        make = jax.jit(lambda: counter.bits(SEED, counter.global_index((size,), (0,), (size,))))
        words = [np.asarray(w) for w in make()]
    # Each bit of all numbers is one string: a matrix product of 64 columns of signs takes a minute of CPU for 10^7.
    strings = [_string(w >> np.uint32(b)) for w in words for b in range(32)] + [_string(np.zeros(size, np.uint32))]
    differ = [np.bitwise_count(a ^ b).sum(dtype=np.int64) for a, b in itertools.combinations(strings, 2)]
    assert len(differ) == 2080
    bound = scipy.stats.norm.isf(ALARM / 2 / 2080)
    assert np.abs(size - 2 * np.array(differ)).max() < bound * np.sqrt(size)


def _string(words: np.ndarray) -> np.ndarray:
    """The lowest bits of all words, packed into uint64; zeros fill the last one."""
    packed = np.packbits(words.astype(np.uint8) & np.uint8(1))
    return np.pad(packed, (0, -len(packed) % 8)).view(np.uint64)
