"""The log density as other libraries take it: their samplers drive ours, many chains at once under `vmap`.

y = s + noise of sd 0.5 in nine places with s ~ Normal(0, 1): a Gaussian posterior in closed form.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ppl
from tests.infer.targets import largest_t

Y = np.linspace(-1.0, 2.0, 9)
PRECISION = 1 + 9 / 0.25
MEAN, VARIANCE = Y.sum() / 0.25 / PRECISION, 1 / PRECISION
CHAINS, DRAWS = 12, 300


@ppl.model
def level(y: ppl.Data["x"]):
    s = ppl.sample("s", ppl.Normal(0.0, 1.0))
    ppl.observe("y", ppl.Normal(s, 0.5), y)


@pytest.fixture(scope="module")
def log_density():
    return ppl.compile(level, {"y": Y}).log_density


def agrees(draws: np.ndarray) -> bool:
    """Means and variances of [chain, draw] within 8 errors from the scatter of the chains (false alarm 1e-5)."""
    return largest_t(draws, MEAN) < 8 and largest_t((draws - MEAN) ** 2, VARIANCE) < 8


def test_it_is_a_function_under_vmap_jit_and_grad(log_density):
    s = jnp.linspace(-2.0, 2.0, 5)
    exact = -0.5 * PRECISION * (np.asarray(s) - MEAN) ** 2
    found = jax.jit(jax.vmap(lambda s: log_density({"s": s})))(s)
    np.testing.assert_allclose(found - found[2], exact - exact[2], rtol=1e-4, atol=1e-4)
    slope = jax.vmap(jax.grad(lambda s: log_density({"s": s})))(s)
    np.testing.assert_allclose(slope, -PRECISION * (np.asarray(s) - MEAN), rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_numpyro_samples_it(log_density):
    numpyro = pytest.importorskip("numpyro")
    kernel = numpyro.infer.NUTS(potential_fn=lambda position: -log_density(position))
    options = {"chain_method": "vectorized", "progress_bar": False}
    mcmc = numpyro.infer.MCMC(kernel, num_warmup=150, num_samples=DRAWS, num_chains=CHAINS, **options)
    mcmc.run(jax.random.key(3), init_params={"s": jnp.linspace(-1.0, 1.0, CHAINS)})
    assert agrees(np.asarray(mcmc.get_samples(group_by_chain=True)["s"]))


@pytest.mark.slow
def test_blackjax_samples_it(log_density):
    blackjax = pytest.importorskip("blackjax")
    kernel = blackjax.hmc(log_density, step_size=0.12, inverse_mass_matrix=jnp.ones(1), num_integration_steps=9)

    def chain(key, s):
        def step(state, key):
            state, _ = kernel.step(key, state)
            return state, state.position["s"]

        return jax.lax.scan(step, kernel.init({"s": s}), jax.random.split(key, DRAWS))[1]

    keys = jax.random.split(jax.random.key(5), CHAINS)
    draws = jax.jit(jax.vmap(chain))(keys, jnp.linspace(-1.0, 1.0, CHAINS))
    assert agrees(np.asarray(draws)[:, 50:])
