"""Gibbs sampling over blocks: known posteriors, and what is refused. (Its calibration: `test_calibration.py`.)

|t| of 15 degrees of freedom exceeds 8 with probability 9e-7; each test compares fewer than 40 numbers.
"""

import jax
import numpy as np
import pytest

from ir.errors import Diagnostic
from ppl.infer.program import exact_gaussian, from_options, gibbs, hmc, mclmc, nuts, slice
from ppl.infer.space import Space
from tests.infer.driven import Driven
from tests.infer.targets import correlated, gaussian, largest_t

CHAINS = 16
SPACE = Space.single({"u": (), "v": ()}, CHAINS)


def test_slices_and_exact_draws_share_a_correlated_pair():
    rho = 0.6
    options = gibbs(u=slice(), v=exact_gaussian(), warmup=100, draws=1000, chains=CHAINS)
    with jax.enable_x64(True):
        draws, info, warm = Driven(options, SPACE, correlated(rho), spread=3.0).run(5)
    u, v = draws["u"], draws["v"]
    for values, expected in ((u, 0), (v, 0), (u * u, 1), (v * v, 1), (u**4, 3), (u * v, rho)):
        assert largest_t(values, expected) < 8
    assert not info.divergent.any() and not warm.divergent.any()
    np.testing.assert_allclose(info.log_density, correlated(rho)({"u": u, "v": v})[0], rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_two_samplers_share_a_correlated_pair():
    rho = 0.7
    options = gibbs({"u": nuts(max_depth=4)}, v=hmc(steps=4), warmup=200, draws=600, chains=CHAINS)
    with jax.enable_x64(True):
        draws, info, _ = Driven(options, SPACE, correlated(rho), spread=3.0).run(5)
    u, v = draws["u"], draws["v"]
    for values, expected in ((u, 0), (v, 0), (u * u, 1), (v * v, 1), (u * v, rho)):
        assert largest_t(values, expected) < 8
    # The density told is of the draw, and every block has adapted its own step to acceptances that it tells.
    np.testing.assert_allclose(info.log_density, correlated(rho)({"u": u, "v": v})[0], rtol=1e-10, atol=1e-10)
    assert 0.6 < info.accept_stat_0.mean() < 0.97 and 0.6 < info.accept_stat_1.mean() < 0.97
    assert np.unique(info.step_size_0[0]).size == 1 and (info.step_size_0 != info.step_size_1).all()
    told = options.statistics(info)
    assert {"acceptance_rate_u", "acceptance_rate_v", "step_size_v", "lp", "n_steps"} <= set(told)


@pytest.mark.slow
def test_a_block_that_is_not_adjusted_tells_its_energy_errors():
    """As its bias follows from them; blocks of exact samplers have none to tell."""
    space = Space.single({"u": (), "v": (5,)}, 4)
    options = gibbs(u=nuts(max_depth=3), v=mclmc(), warmup=200, draws=300, chains=4)
    with jax.enable_x64(True):
        _, info, _ = Driven(options, space, gaussian({"u": np.ones(()), "v": np.geomspace(0.5, 2.0, 5)})).run(2)
    told = options.statistics(info)
    assert "energy_variance_u" not in told and told["energy_variance_v"].shape == (4, 300)
    assert 1e-5 < told["energy_variance_v"].mean() < 1e-2


@pytest.mark.slow
def test_exact_draws_of_one_given_the_other_have_the_lag_of_gibbs():
    """Exact draws of both blocks: u_t+1 = rho^2 u_t + noise, so that the autocorrelation is known too."""
    rho = 0.8
    options = gibbs(u=exact_gaussian(), rest=exact_gaussian(), warmup=0, draws=3000, chains=CHAINS)
    with jax.enable_x64(True):
        driven = Driven(options, SPACE, correlated(rho))
        draws, info, _ = driven.run(6)
        twice = Driven(gibbs(u=exact_gaussian(), v=exact_gaussian(), warmup=0, draws=9, chains=CHAINS, thin=3,
                             repeats={"u": 2}), SPACE, correlated(rho))  # fmt: skip
        thinned, _, _ = twice.run(6)
    u, v = draws["u"][:, 50:], draws["v"][:, 50:]
    for values, expected in ((u, 0), (u * u, 1), (u * v, rho), (u[:, 1:] * u[:, :-1], rho**2)):
        assert largest_t(values, expected) < 8
    assert (info.leapfrogs == 2 * (1 + 4 + 1)).all()
    assert thinned["u"].shape[1] >= 3 and np.isfinite(thinned["u"][:, :3]).all()


@pytest.mark.parametrize(
    ("make", "what", "hint"),
    [
        (lambda: gibbs(), "no block", "nuts()"),
        (lambda: gibbs({("u", "v"): nuts(), "u": hmc()}), "'u' is in two blocks", "one block"),
        (lambda: gibbs(u=nuts(), v=gibbs(v=nuts())), "gibbs cannot move the block of v", "slice()"),
        (lambda: gibbs(u=nuts(draws=10), rest=nuts()), "'draws' of the block of u", "draws = ..."),
        (lambda: gibbs(u=nuts(), rest=3), "needs a sampler", "nuts()"),
        (lambda: gibbs({3: nuts()}), "named by its latents", "theta"),
        (lambda: gibbs(u=nuts(), rest=hmc(), repeats=0), "repeats", "1"),
        (lambda: gibbs(u=nuts(), rest=hmc(), repeats={"u": 1.5}), "repeats of 'u'", "{latent: number}"),
        (lambda: gibbs(u=nuts(), rest=hmc(), repeats="many"), "repeats must be", "{latent: number}"),
        (lambda: gibbs(u=3), "no option 'u'", "u=nuts()"),
    ],
)
def test_wrong_blocks_are_refused(make, what, hint):
    with pytest.raises(Diagnostic) as caught:
        make()
    assert what in caught.value.message and hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("options", "what", "hint"),
    [
        (gibbs(u=nuts(), w=hmc()), "no latent 'w'", "u, v"),
        (gibbs(u=nuts(), vv=hmc()), "no latent 'vv'", "did you mean 'v'"),
        (gibbs(u=nuts()), "no block has v", "rest = nuts()"),
        (gibbs(u=nuts(), v=hmc(), rest=nuts()), "nothing is left", "leave rest out"),
        (gibbs(u=nuts(), rest=hmc(), repeats={"x": 2}), "no latent 'x'", "u, v"),
    ],
)
def test_blocks_that_do_not_fit_the_latents_are_refused(options, what, hint):
    with pytest.raises(Diagnostic) as caught:
        options.method(SPACE, None)
    assert what in caught.value.message and hint in caught.value.hint


def test_both_ways_of_writing_blocks_agree():
    assert gibbs(u=nuts(), rest=hmc(), repeats=2) == from_options("gibbs", {"u": nuts(), "rest": hmc(), "repeats": 2})
    assert gibbs({"u": nuts()}, v=hmc()).blocks == ((("u",), nuts()), (("v",), hmc()))
    assert hash(gibbs({("u", "v"): nuts()}, repeats={"u": 3})) == hash(gibbs({("u", "v"): nuts()}, repeats={"u": 3}))


@pytest.mark.slow
def test_a_run_of_a_model_over_blocks():
    """Eight schools, centred: exact draws of mean and effects given their scale, slices of the scale given them."""
    import ppl

    y, sigma = np.array([28.0, 8, -3, 7, -1, 1, 18, 12]), np.array([15.0, 10, 16, 11, 9, 11, 10, 18])

    @ppl.model
    def schools(y: ppl.Data["school"], sigma: ppl.Data["school"]):
        mu = ppl.sample("mu", ppl.Normal(0, 5))
        tau = ppl.sample("tau", ppl.LogNormal(1, 0.5))
        theta = ppl.sample("theta", ppl.Normal(mu, tau), dims=("school",))
        ppl.observe("y", ppl.Normal(theta, sigma), y)

    posterior = ppl.compile(schools, dict(y=y, sigma=sigma))
    options = ppl.gibbs({("mu", "theta"): ppl.exact_gaussian()}, tau=ppl.slice(), draws=4000, warmup=300, chains=8)
    result = posterior.run(options, seed=1)
    # By quadrature over log tau, mu integrated out.
    s = np.linspace(-4, 6, 4001)
    tau = np.exp(s)[:, None]
    variance = sigma**2 + tau**2
    precision = 1 / 25 + (1 / variance).sum(axis=1)
    mean = (y / variance).sum(axis=1) / precision
    log_p = -0.5 * np.log(variance).sum(axis=1) - 0.5 * np.log(precision) + 0.5 * precision * mean**2
    log_p += -0.5 * (y**2 / variance).sum(axis=1) - 0.5 * ((s - 1) / 0.5) ** 2
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    assert not result.draws.statistic("diverging").any()
    assert largest_t(result["tau"], p @ tau[:, 0]) < 10 and largest_t(result["mu"], p @ mean) < 10
    assert largest_t(result["mu"] ** 2, p @ (mean**2 + 1 / precision)) < 10
    assert {"acceptance_rate", "step_size"}.isdisjoint(result.draws["sample_stats"])
