"""Splittings of Hamiltonian motion: order, reversal, what they cost, and the draws that HMC makes of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ir import counter
from ir.errors import Diagnostic
from ppl.infer.block import Trajectories, init
from ppl.infer.fisher import Fixed
from ppl.infer.integrators import INTEGRATORS, travel
from ppl.infer.metric import Diagonal
from ppl.infer.program import hmc
from ppl.infer.protocol import Handover
from ppl.infer.schedule import make_schedule
from ppl.infer.space import Space
from tests.infer import drive
from tests.infer.targets import gaussian, largest_t


def quartic(x):
    """log density -(sum x^4) / 4 - (sum of neighbours' products)^2 / 8."""
    v = x["x"]
    pairs = jnp.sum(v[:, 1:] * v[:, :-1], axis=1)
    pull = jnp.pad(v[:, 1:], ((0, 0), (0, 1))) + jnp.pad(v[:, :-1], ((0, 0), (1, 0)))
    return -0.25 * jnp.sum(v**4, axis=1) - 0.125 * pairs**2, {"x": -(v**3) - 0.25 * pairs[:, None] * pull}


CHAINS, SPAN = 9, 1.6


def start():
    rng = np.random.default_rng(3)
    return [{"x": rng.normal(size=(CHAINS, 3))} for _ in range(2)]


def path_of(name):
    """(x, p, steps of SPAN) -> (x, p, energy error[C]) at the end of the span; to be called with 64 bits enabled."""
    space = Space.single({"x": (3,)}, CHAINS)
    metric = Diagonal({"x": jnp.asarray(np.tile([0.8, 1.0, 1.3], (CHAINS, 1)))})

    @jax.jit
    def path(x, p, steps):
        log_density, gradient = quartic(x)
        begin = 0.5 * space.dots([(p, p)])[0] - log_density
        how = (space, quartic, metric, INTEGRATORS[name], jnp.full(CHAINS, SPAN / steps))
        y, q, log_density, _ = travel(*how, x, p, metric.pull(gradient), steps)
        return y, q, 0.5 * space.dots([(q, q)])[0] - log_density - begin

    return path


def size(error):
    return float(np.sqrt(np.mean(np.square(error))))


@pytest.mark.parametrize("name", INTEGRATORS)
def test_energy_errors_are_of_second_order_and_paths_run_back(name):
    x, p = start()
    with jax.enable_x64(True):
        path = path_of(name)
        sizes = [size(path(x, p, np.int32(n))[2]) for n in (32, 64, 128)]
        y, q, error = path(x, p, np.int32(16))
        back, _, undone = path(y, {"x": -q["x"]}, np.int32(16))
    np.testing.assert_allclose(-np.diff(np.log2(sizes)), 2.0, atol=0.05)
    np.testing.assert_allclose(back["x"], x["x"], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(undone, -error, atol=1e-12)


def test_more_gradients_a_step_make_smaller_errors_of_as_many_in_all():
    x, p = start()
    with jax.enable_x64(True):
        errors = {n: size(path_of(n)(x, p, np.int32(48 // i.gradients))[2]) for n, i in INTEGRATORS.items()}
    assert errors["minimal_norm"] < 0.5 * errors["leapfrog"] and errors["three_stage"] < 0.5 * errors["leapfrog"]


def run(kernel, start, step_size, count):
    """(draws, info) of `count` transitions without adaptation; to be called with 64 bits enabled."""
    method = Trajectories(kernel, Fixed(kernel.space))

    def go(start, step_size):
        begin = Handover(init(kernel, {"x": start}), None, jnp.full(kernel.space.chains, step_size))
        made = method.start(counter.seed_key(5), begin)
        return method.advance(counter.seed_key(5), made, make_schedule(0, count), count, lambda x: x)

    block = drive.hasty(go)(start, step_size)
    return np.asarray(block.draws["x"]), jax.tree.map(np.asarray, block.info)


def test_a_chain_alone_draws_what_it_draws_among_others_and_counts_its_gradients():
    """The one goes its path in a round, with kicks joined; the others a step a round."""
    start = np.random.default_rng(4).normal(size=(2, 3))
    target = gaussian({"x": np.array([0.5, 1.0, 2.0])})
    with jax.enable_x64(True):
        one, both = (
            run(hmc(steps=5, jitter=0, integrator="three_stage").kernel(space, target), start[: space.chains], 0.3, 2)
            for space in (Space.single({"x": (3,)}, 1), Space.single({"x": (3,)}, 2))
        )
    assert one[1].leapfrogs.tolist() == [[15, 15]] and both[1].leapfrogs.tolist() == 2 * [[15, 15]]
    np.testing.assert_allclose(one[0][0], both[0][0], rtol=1e-12)
    assert np.abs(np.diff(one[0], axis=1)).min() > 1e-3 and np.abs(one[0][:, 0] - start[0]).min() > 1e-3


@pytest.mark.parametrize("name", [pytest.param("minimal_norm", marks=pytest.mark.slow), "three_stage"])
def test_hmc_has_the_moments_of_a_gaussian(name):
    """Errors are large enough that paths are refused: |t| of 15 degrees of freedom exceeds 8 with probability 9e-7."""
    scale, start = np.array([0.7, 1.0, 1.5]), np.random.default_rng(5).normal(size=(16, 3))
    step_size = {"minimal_norm": 1.5, "three_stage": 2.8}[name]
    with jax.enable_x64(True):
        kernel = hmc(steps=4, integrator=name).kernel(Space.single({"x": (3,)}, 16), gaussian({"x": scale}))
        draws, info = run(kernel, start, step_size, 420)
    z = draws[:, 20:] / scale
    assert largest_t(z, 0) < 8 and largest_t(z**2, 1) < 8 and largest_t(z**4, 3) < 8
    assert 0.5 < info.accept_stat.mean() < 0.95 and not info.divergent.any()


def test_an_unknown_integrator_is_refused_with_those_there_are():
    with pytest.raises(Diagnostic) as caught:
        hmc(integrator="euler")
    assert caught.value.hint == "there are: leapfrog, minimal_norm, three_stage"
