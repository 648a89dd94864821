"""Conjugate conditionals found from gradients, against the moments of their laws; errors from the scatter of 16 chains.

|t| of 15 degrees of freedom exceeds 8 with probability 9e-7; each test compares fewer than 40 numbers.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from jax.sharding import PartitionSpec as P

import ppl
from ir import counter
from ir.errors import Diagnostic
from ppl.infer.conjugate import Conjugate
from ppl.infer.pack import Packing, packing
from ppl.infer.program import conjugate, exact_gaussian, gibbs
from ppl.infer.protocol import Handover, State
from ppl.infer.space import Site, Space
from tests.infer import drive
from tests.infer.driven import Driven
from tests.infer.targets import largest_t

CHAINS = 16
SHAPES = {"gamma": np.array([0.4, 3.0, 1e4]), "beta": (np.array([0.7, 4.0]), np.array([2.0, 9.0]))}
RATE = np.array([1e-9, 1.0, 1e7])
POWERS = {"g": 1.0, "i": -1.0, "s": 2.0, "r": -2.0}
"""exp(c y) is Gamma(shape, rate): gamma, inverse gamma, and those of squares."""


def laws(x):
    """Gammas of four powers and betas, and their gradients."""
    log_density, gradient = 0.0, {}
    for name, c in POWERS.items():
        u = RATE * jnp.exp(c * x[name])
        log_density += jnp.sum(SHAPES["gamma"] * c * x[name] - u, axis=1)
        gradient[name] = c * (SHAPES["gamma"] - u)
    a, b = SHAPES["beta"]
    log_density += jnp.sum(a * jax.nn.log_sigmoid(x["p"]) + b * jax.nn.log_sigmoid(-x["p"]), axis=1)
    return log_density, gradient | {"p": a - (a + b) * jax.nn.sigmoid(x["p"])}


@pytest.mark.parametrize("packed", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_draws_are_of_the_conjugate_laws_of_any_scale(packed):
    """From starts many decades off: means and variances of log exp(c y) are those of the log-gamma law."""
    with jax.enable_x64(True):
        space = Space.single({n: (3,) for n in POWERS} | {"p": (2,)}, CHAINS)
        options = conjugate(draws=400, chains=CHAINS)
        driven = Driven(options, space, laws, hasty=True)
        if not packed:
            driven.packing, driven.target = Packing(space), laws
            driven.method = options.method(space, laws)
        assert packing(space).space.packed
        draws, info, _ = driven.run(3)
    assert not info.divergent.any() and info.misfit.max() < 1e-9
    digamma, trigamma = scipy.special.digamma, lambda a: scipy.special.polygamma(1, a)
    for name, c in POWERS.items():
        log_u = c * draws[name] + np.log(RATE)
        mean = digamma(SHAPES["gamma"])
        assert largest_t(log_u, mean) < 8
        assert largest_t((log_u - mean) ** 2, trigamma(SHAPES["gamma"])) < 8
    a, b = SHAPES["beta"]
    logit = draws["p"]
    assert largest_t(logit, digamma(a) - digamma(b)) < 8
    assert largest_t((logit - digamma(a) + digamma(b)) ** 2, trigamma(a) + trigamma(b)) < 8
    # Draws are independent.
    centred = draws["g"] - draws["g"].mean(axis=1, keepdims=True)
    assert np.abs((centred[:, 1:] * centred[:, :-1]).mean((0, 1)) / centred.var((0, 1))).max() < 0.08


def normal(x):
    return -0.5 * jnp.sum(x["x"] ** 2, axis=1), {"x": -x["x"]}


def coupled(x):
    """A gamma whose elements depend on each other."""
    u = jnp.exp(x["x"])
    both = 0.3 * jnp.prod(u, axis=1)
    return jnp.sum(2 * x["x"] - u, axis=1) - both, {"x": 2 - u - both[:, None]}


def bent(x):
    """A log-normal tail beside a gamma."""
    u = jnp.exp(x["x"])
    return jnp.sum(2 * x["x"] - u - 0.01 * x["x"] ** 2, axis=1), {"x": 2 - u - 0.02 * x["x"]}


@pytest.mark.parametrize("target", [coupled, *(pytest.param(f, marks=pytest.mark.slow) for f in (normal, bent))])
def test_what_is_not_conjugate_does_not_move(target):
    with jax.enable_x64(True):
        space = Space.single({"x": (2,)}, 4)
        draws, info, _ = Driven(conjugate(draws=20, chains=4), space, target, hasty=True).run(1)
        assert info.divergent.all() and (draws["x"] == draws["x"][:, :1]).all()


MODEL = """
model sample
dim obs
data y[obs]: real
mu  ~ Normal(0, 10)
tau ~ Gamma(2, 0.5)
y[obs] ~ Normal(mu, tau ^ -0.5)
"""


@pytest.mark.slow
def test_gibbs_of_a_mean_and_a_precision():
    """Both marginals by quadrature on a grid."""
    y = np.random.default_rng(4).normal(1.5, 0.7, 30)
    posterior = ppl.compile(ppl.from_text(MODEL), {"y": y}, dtype="float64")
    program = gibbs(tau=conjugate(), mu=exact_gaussian(), draws=2000, warmup=50, chains=CHAINS)
    result = posterior.run(program, seed=2, predictive=False, progress=False)
    assert not result.draws["sample_stats"]["diverging"].values.any()
    mu, tau = np.linspace(0.5, 2.5, 801)[:, None], np.linspace(0.3, 6.0, 801)[None]
    sums = np.sum((y[:, None] - mu.T) ** 2, axis=0)[:, None]
    log_p = -0.5 * (mu / 10) ** 2 + (2 - 1 + 15) * np.log(tau) - 0.5 * tau - 0.5 * tau * sums
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    for name, grid in (("mu", mu), ("tau", tau)):
        x, mean = np.asarray(result[name]), (p * grid).sum()
        assert largest_t(x, mean) < 8
        assert largest_t((x - mean) ** 2, (p * (grid - mean) ** 2).sum()) < 8


def test_options_are_checked():
    with pytest.raises(Diagnostic):
        conjugate(tolerance=0.0)
    with jax.enable_x64(True):
        single = conjugate().method(Space.single({"x": (2,)}, 1, "float32"), laws)
    assert isinstance(single, Conjugate) and single.tolerance > 1e-4


def test_draws_on_four_devices_are_those_of_one():
    """Seven elements, the last device's padded."""
    if len(jax.devices()) < 4:
        pytest.skip("needs four (virtual) devices")
    shape, options = np.linspace(0.5, 9.0, 7), conjugate(draws=6, warmup=0, chains=2)

    def run(space, start, shapes):
        def target(x):
            u = jnp.exp(x["x"])
            log_density = jnp.sum(jnp.where(shapes > 0, shapes * x["x"] - u, 0.0), axis=1)
            log_density = jax.lax.psum(log_density, "a") if space.reduce_axes else log_density
            return log_density, {"x": jnp.where(shapes > 0, shapes - u, 0.0)}

        method, (log_density, gradient) = options.method(space, target), target({"x": start})
        state = State({"x": start}, gradient, log_density, jnp.zeros(2, jnp.uint32))
        seed = counter.seed_key(5)
        made = method.advance(seed, method.start(seed, Handover(state)), options.schedule(), 6, lambda x: x)
        return made.draws["x"], made.info.misfit

    with jax.enable_x64(True):
        one = Space((Site("x", (7,), dtype="float64"),), 2)
        four = Space((Site("x", (7,), (2,), (("a",),), "float64"),), 2, ("a",))
        mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("a",))
        split = jax.shard_map(
            partial(run, four), mesh=mesh, in_specs=(P(None, "a"), P("a")), out_specs=(P(None, None, "a"), P()),
            check_vma=False,
        )  # fmt: skip
        draws, misfit = map(np.asarray, drive.hasty(split)(jnp.zeros((2, 8)), jnp.append(shape, 0.0)))
        draws1 = np.asarray(drive.hasty(partial(run, one))(jnp.zeros((2, 7)), jnp.asarray(shape))[0])
    np.testing.assert_allclose(draws[..., :7], draws1, rtol=1e-12, atol=1e-12)
    assert (draws[..., 7:] == 0).all() and misfit.max() < 1e-9 and draws1.std() > 0.1
