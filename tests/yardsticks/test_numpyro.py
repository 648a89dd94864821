"""Hierarchical examples against NumPyro's NUTS on the same model, written in NumPyro's own words.

Every mean and standard deviation agrees within 4 combined Monte Carlo standard errors, at a bulk effective sample size
of at least 1,000 in both codes. 198 numbers: a false alarm in 80.
"""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ppl
from tests.yardsticks.agree import EXAMPLES, bulk_ess, mean, rms, sd

numpyro = pytest.importorskip("numpyro")
dist = pytest.importorskip("numpyro.distributions")


def example(name: str):
    """The Python file of an example, as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def eight_schools(y, sigma):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    raw = numpyro.sample("raw", dist.Normal(0, 1).expand([8]).to_event(1))
    theta = numpyro.deterministic("theta", mu + tau * raw)
    numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def radon(floor, cty, y, counties):
    mu_a = numpyro.sample("mu_a", dist.Normal(0, 10))
    sigma_a = numpyro.sample("sigma_a", dist.HalfNormal(2))
    beta = numpyro.sample("beta", dist.Normal(0, 2))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2))
    raw = numpyro.sample("raw", dist.Normal(0, 1).expand([counties]).to_event(1))
    alpha = numpyro.deterministic("alpha", mu_a + sigma_a * raw)
    numpyro.sample("y", dist.Normal(alpha[cty] + beta * floor, sigma), obs=y)


def peer(model, draws, target_accept, **data):
    """Draws[chain, draw, ...] by NumPyro."""
    with jax.enable_x64(True):
        kernel = numpyro.infer.NUTS(model, target_accept_prob=target_accept)
        options = {"num_chains": 4, "chain_method": "vectorized", "progress_bar": False}
        mcmc = numpyro.infer.MCMC(kernel, num_warmup=500, num_samples=draws, **options)
        mcmc.run(jax.random.PRNGKey(0), **jax.tree.map(jnp.asarray, data), extra_fields=("num_steps", "accept_prob"))
        extra = mcmc.get_extra_fields(group_by_chain=True)
        steps = f"{np.mean(extra['num_steps']):.0f} steps a draw, acceptance {np.mean(extra['accept_prob']):.2f}"
        return jax.tree.map(np.asarray, mcmc.get_samples(group_by_chain=True)), steps


def check_agree(ours, theirs, steps, names):
    x, y = (np.concatenate([r[n].reshape(*r[n].shape[:2], -1) for n in names], axis=-1) for r in (ours, theirs))
    ess = [bulk_ess(v).min() for v in (x, y)]
    z, z_sd = mean(x).z(mean(y)), sd(x).z(sd(y))
    stats = ours.draws["sample_stats"]
    print(
        f"\nsmallest ESS {ess[0]:.0f} and {ess[1]:.0f} of {x.shape[0] * x.shape[1]}; "
        f"z of {z.size} means: rms {rms(z):.2f}, largest {abs(z).max():.2f}; "
        f"of sds: rms {rms(z_sd):.2f}, largest {abs(z_sd).max():.2f}; "
        f"{stats['n_steps'].values.mean():.0f} steps a draw, acceptance {stats['acceptance_rate'].values.mean():.2f}; "
        f"NumPyro: {steps}"
    )
    assert min(ess) >= 1000
    assert abs(z).max() < 4 and abs(z_sd).max() < 4


@pytest.mark.slow
def test_eight_schools():
    module = example("04_eight_schools")
    posterior = ppl.compile(module.eight_schools, module.DATA, dtype="float64")
    options = ppl.nuts(chains=4, draws=1500, warmup=500, target_accept=0.9)
    ours = posterior.run(options, seed=1, predictive=False, progress=False)
    theirs, steps = peer(eight_schools, 1500, 0.9, y=module.DATA["y"], sigma=module.DATA["sigma"])
    check_agree(ours, theirs, steps, ["mu", "tau", "theta"])


@pytest.mark.slow
def test_radon():
    module = example("03_radon")
    data = module.simulate()
    posterior = ppl.compile(module.radon, data, dtype="float64")
    options = ppl.nuts(chains=4, draws=2000, warmup=500)
    names = ["mu_a", "sigma_a", "beta", "sigma", "alpha"]
    ours = posterior.run(options, seed=1, keep=names, predictive=False, progress=False)
    rest = {n: data[n] for n in ("floor", "cty", "y")}
    theirs, steps = peer(lambda **d: radon(counties=85, **d), 2000, 0.8, **rest)
    check_agree(ours, theirs, steps, names)
