"""Metropolis-adjusted microcanonical trajectories: reversible, of known length, and exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ir import counter
from ir.errors import Diagnostic
from ppl.infer.block import init
from ppl.infer.isokinetic import kick
from ppl.infer.mams import Mams, Path, steps
from ppl.infer.metric import identity
from ppl.infer.program import gibbs, mams, nuts
from ppl.infer.protocol import Handover, Point
from ppl.infer.space import Space
from tests.infer import drive
from tests.infer.driven import Driven
from tests.infer.targets import correlated, gaussian, largest_t, mild_funnel

CHAINS = 16


def sample(space, target, **options):
    """Draws after warm-up, and the info of all transitions, from overdispersed starts."""
    program = mams(warmup=400, draws=400, block=800, **options)
    with jax.enable_x64(True):
        method, seed = program.method(space, target), counter.seed_key(5)

        def go():
            start = space.normal(counter.derive(seed, 99, space.chain_ids()), 1)
            first = method.start(seed, Handover(init(method.kernel, start)))
            return method.advance(seed, first, program.schedule().part(0, 800), 800, lambda x: x)

        block = jax.tree.map(np.asarray, drive.jit(go)())
    return {n: x[:, 400:] for n, x in block.draws.items()}, block.info


def test_the_number_of_steps_has_the_mean_that_is_asked_for():
    u = (np.arange(100_000) + 0.5) / 100_000
    with jax.enable_x64(True):
        for mean in (1.0, 1.3, 2.0, 2.5, 7.9):
            found = np.asarray(steps(jnp.asarray(u), jnp.asarray(mean)))
            assert found.min() == 1 and found.mean() == pytest.approx(mean, rel=1e-4)


def test_a_trajectory_runs_back_and_gives_back_its_work():
    """With the direction turned round, the steps lead back to the start and W changes sign."""
    with jax.enable_x64(True):
        space = Space.single({"v": (), "w": (3,)}, 2)
        kernel = Mams(space, mild_funnel, length=100.0)
        rng, size = np.random.default_rng(2), jnp.full(2, 0.3)
        metric, key = identity(space), counter.derive(counter.seed_key(1), space.chain_ids())

        @drive.hasty
        def go(point, u):
            path = kernel.begin(jnp.ones(2, bool), kernel.empty(point), u, space.dots([(u, u)])[0], size, metric, key)
            grow = lambda _, p: kernel.grow(jnp.zeros(2, bool), p, size, metric, key)  # noqa: E731
            return jax.lax.fori_loop(0, 20, grow, path)

        @drive.hasty
        def turned_round(path, g):
            """The direction before the kick that opened the next step, turned round: one more kick takes that back."""
            u = {n: -v for n, v in path.u.items()}
            made = kick(*space.dots([(g, g), (u, g)]), 0.5 * size * np.sqrt(kernel.dims), kernel.dims)
            spread = space.spread
            return {n: spread(made.along, v) * v + spread(made.gradient, v) * g[n] for n, v in u.items()}

        x = {"v": jnp.asarray(rng.normal(size=2)), "w": jnp.asarray(rng.normal(size=(2, 3)))}
        target = drive.hasty(mild_funnel)
        log_density, gradient = target(x)
        there: Path = go(Point(x, gradient, log_density, log_density), space.normal(key, 1))
        log_density, gradient = target(there.x)
        back = go(Point(there.x, gradient, log_density, log_density), turned_round(there, gradient))
        np.testing.assert_allclose(back.x["w"], x["w"], rtol=1e-9)
        work = there.progress.energy_error
        np.testing.assert_allclose(back.progress.energy_error, -work, rtol=1e-8)
        assert float(jnp.abs(work).min()) > 0.005


@pytest.mark.parametrize("langevin", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_gaussians_of_any_condition_number(langevin):
    scales = {"x": np.logspace(0, 2, 9)}
    draws, info = sample(Space.single({"x": (9,)}, CHAINS), gaussian(scales), langevin=langevin, metric="diagonal")
    z = draws["x"] / scales["x"]
    assert largest_t(z, 0.0) < 8 and largest_t(z**2, 1.0) < 8
    assert 0.8 < info.accept_stat[:, 400:].mean() < 0.98 and not info.divergent[:, 400:].any()


@pytest.mark.slow
def test_two_correlated_latents_are_exact_with_large_energy_errors():
    """Acceptance 0.6: were the work of a trajectory wrong, moments would be."""
    draws, info = sample(Space.single({"u": (), "v": ()}, CHAINS), correlated(0.8), target_accept=0.6)
    u, v = draws["u"], draws["v"]
    assert info.accept_stat[:, 400:].mean() < 0.8
    assert largest_t(u, 0) < 8 and largest_t(u**2, 1) < 8 and largest_t(u * v, 0.8) < 8 and largest_t(u**4, 3) < 8


@pytest.mark.slow
def test_a_mild_funnel_has_its_known_moments():
    draws, _ = sample(Space.single({"v": (), "w": (3,)}, CHAINS), mild_funnel)
    v, w = draws["v"], draws["w"]
    assert largest_t(v, 0) < 8 and largest_t(v**2, 1) < 8
    assert largest_t(w**2 * np.exp(-v)[..., None], 1.0) < 8


def test_one_latent_is_refused_alone_and_as_a_block():
    """On a line its draws would be wrong without a sign of it: ranks of the truth were not uniform at all."""
    with jax.enable_x64(True), pytest.raises(Diagnostic, match="two latent dims or more"):
        Driven(gibbs(u=mams(), v=nuts(), chains=2), Space.single({"u": (), "v": ()}, 2), correlated(0.5)).run(1)
    with pytest.raises(Diagnostic, match="two latent dims or more"):
        mams().method(Space.single({"u": ()}, 2), gaussian({"u": 1.0}))
