"""Gamma, Poisson and binomial draws: laws for every regime of the parameter, and locality of their attempts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from ir import counter
from ir.counter_rejection import _deviance, _log_half, binomial, gamma, poisson
from tests.infer import drive

KEY = counter.seed_key(17)
N = 1 << 15
DRAWS = {f: drive.hasty(lambda start, *p, f=f: f(KEY, counter.global_index((N,), (start,), (1 << 31,)), *p))
         for f in (gamma, poisson, binomial)}  # fmt: skip


def draw(f, *parameters, start: int = 0, dtype="float32") -> np.ndarray:
    """The first draws, one a parameter, or N where the parameters are numbers; always one shape, compiled once."""
    size = max(np.size(p) for p in parameters)
    columns = [np.resize(np.asarray(p, dtype), N) for p in parameters]
    x = np.asarray(DRAWS[f](np.uint32(start), *columns))
    assert x.dtype == dtype
    return x if size == 1 else x[:size]


def check_counts(x: np.ndarray, law) -> None:
    """Chi-square over bins of at least 20 expected counts; false alarm 1e-6."""
    edges = np.unique(law.ppf(np.linspace(0, 1, 42)[1:-1]))
    expected = np.diff(np.concatenate([[0.0], law.cdf(edges), [1.0]])) * x.size
    observed = np.bincount(np.searchsorted(edges, x, side="left"), minlength=edges.size + 1)
    keep = expected >= 20
    pooled = [(observed[keep], expected[keep]), ([observed[~keep].sum()], [expected[~keep].sum()])]
    o, e = (np.concatenate([np.asarray(p[i], float) for p in pooled]) for i in (0, 1))
    o, e = o[e > 5], e[e > 5]
    assert scipy.stats.chi2.sf(((o - e) ** 2 / e).sum(), max(1, e.size - 1)) > 1e-6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gamma_law(dtype):
    """Kolmogorov-Smirnov of 2^15 draws for each concentration; false alarm 1e-6 each."""
    with jax.enable_x64(True):
        for a in (0.05, 0.7, 1.0, 3.5, 1e4):
            x = draw(gamma, a, dtype=dtype).astype(float)
            assert scipy.stats.kstest(x, scipy.stats.gamma(a).cdf).pvalue > 1e-6


def test_log_gamma_of_a_tiny_concentration_does_not_underflow():
    """a log gamma(a) tends to -exponential as a tends to 0; false alarm 1e-6."""
    a, index = 1e-4, counter.global_index((N,), (0,), (N,))
    x = np.asarray(drive.hasty(lambda a: gamma(KEY, index, a, log=True))(jnp.full(N, a, jnp.float32)), float)
    assert np.isfinite(x).all()
    assert scipy.stats.kstest(-a * x, scipy.stats.expon.cdf).pvalue > 1e-6


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_poisson_law(dtype):
    with jax.enable_x64(True):
        for rate in (0.03, 2.5, 9.9, 10.1, 60.0, 3e4):
            x = draw(poisson, rate, dtype=dtype)
            assert (x == np.floor(x)).all()
            check_counts(x, scipy.stats.poisson(rate))
            assert abs(x.mean(dtype=float) - rate) < 4.9 * np.sqrt(rate / N)


def test_binomial_law():
    for n, p in ((3, 0.4), (40, 0.1), (50, 0.97), (100, 0.5), (5000, 0.3), (100000, 0.0002)):
        x = draw(binomial, n, p)
        assert ((x >= 0) & (x <= n)).all()
        check_counts(x, scipy.stats.binom(n, np.float32(p).astype(float)))


def test_log_mass_holds_at_large_rates_in_single_precision():
    with jax.enable_x64(True):
        k = jnp.array([0.0, 1.0, 15.0, 17.0, 1.0e6, 1.003e6], jnp.float32)
        rate = jnp.array([12.0, 12.0, 12.0, 12.0, 1.001e6, 1.0e6], jnp.float32)
        mass = np.asarray(-_deviance(k, rate) - _log_half(k), float)
        exact = scipy.stats.poisson.logpmf(np.asarray(k, float), np.asarray(rate, float))
        np.testing.assert_allclose(mass, exact, rtol=3e-6)


def test_impossible_parameters_give_nan_and_edges_are_exact():
    assert np.isnan(draw(gamma, [-1.0, 0.0, np.nan])).all()
    assert np.isnan(draw(poisson, [-1.0, np.inf, np.nan])).all()
    assert np.isnan(draw(binomial, [5.0, -1.0], [1.5, 0.5])).all()
    assert (draw(poisson, 0.0) == 0).all()
    assert draw(binomial, [0.0, 7.0, 1000.0, 9.0], [0.5, 0.0, 1.0, 1.0]).tolist() == [0, 0, 1000, 9]


@pytest.mark.parametrize("f", [gamma, poisson])
def test_attempts_are_local_to_an_element(f):
    """Neighbours that need many attempts, or none, change nothing: a block is the whole cut."""
    rate = np.geomspace(0.01, 1e3, 999)
    assert (draw(f, rate)[300:400] == draw(f, rate[300:400], start=300)).all()
