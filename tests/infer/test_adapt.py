"""Warm-up: the schedule, the step-size search, dual averaging that meets its target, metrics of draws and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ppl
from ir import counter
from ppl.infer.adapt import after_transition, start_adapt
from ppl.infer.fisher import FisherDense, FisherDiagonal, Windows, geometric_mean
from ppl.infer.leapfrog import start_progress
from ppl.infer.metric import Dense
from ppl.infer.nuts import Nuts
from ppl.infer.pack import packing
from ppl.infer.protocol import Handover, Point, State
from ppl.infer.schedule import Schedule, make_schedule
from ppl.infer.space import Site, Space
from ppl.infer.variance import Variance
from tests.infer import drive
from tests.infer.targets import gaussian


@pytest.mark.parametrize(
    ("warmup", "switched", "late"),
    [
        (1000, [*range(9, 300, 10), 379, 499], 581),  # 10 x 30 | 80 120 | 150; from 581 no window of 270 would fit
        (400, [*range(9, 120, 10), 199], 221),
        (150, [9, 19, 29, 39], 39 + 1),
        (20, [], 0),
        (0, [], 0),
    ],
)
def test_windows_are_those_of_nutpie(warmup, switched, late):
    schedule = make_schedule(warmup, 30)
    assert all(len(flags) == warmup + 30 for flags in schedule)
    assert schedule.adapt_step.sum() == warmup
    assert np.flatnonzero(schedule.freeze).tolist() == ([warmup - 1] if warmup else [])
    if warmup:
        assert np.flatnonzero(schedule.accumulate)[-1] == warmup - int(0.15 * warmup) - 1
        assert np.flatnonzero(schedule.search).tolist() == np.flatnonzero(schedule.update)[:1].tolist()
        assert (np.diff(np.flatnonzero(schedule.update)) <= 20).all()
    assert np.flatnonzero(schedule.switch).tolist() == switched
    assert (schedule.update | ~schedule.switch).all(), "a switch renews the metric"
    part = schedule.part(warmup + 20, 25)
    assert len(part.accumulate) == 25 and not any(flags.any() for flags in part)


def test_dual_averaging_meets_its_target_and_the_search_its_scale():
    """Ten unit normals: acceptance within 0.05 of each target, chain by chain; one long phase of dual averaging."""
    with jax.enable_x64(True):
        space = Space.single({"x": (10,)}, 3)
        kernel = Nuts(space, gaussian({"x": np.ones(10)}))
        index = np.arange(1500)
        never = index < 0
        schedule = Schedule(index < 1000, never, never, never, never, never, index == 999, never)

        def go(seed, target_accept):
            start = space.normal(counter.derive(seed, space.chain_ids()), 1)
            variance = {"x": jnp.ones((3, 10)) * jnp.array([1e-6, 1.0, 1e6])[:, None] ** 2}
            return drive.run(kernel, seed, start, schedule, target_accept=target_accept, variance=variance)

        compiled = drive.jit(go)
        for target_accept in (0.6, 0.8, 0.95):
            result = compiled(counter.seed_key(3), target_accept)
            first = np.asarray(result.info.step_size[:, 0]) * [1e-6, 1.0, 1e6]
            after = result.info.accept_stat[:, 1000:]
            # A metric that is 10^6 too large or small is made good by the step size, up to its bound of pi.
            assert ((first[1:] > 0.1) & (first[1:] < 4)).all()
            assert np.abs(np.asarray(after.mean(axis=1)) - target_accept)[1:].max() < 0.05
            assert (result.info.step_size[:, 1000:] == result.state.adapt.step.value[:, None]).all()
            assert result.info.step_size.max() <= np.pi * (1 + 1e-12)


def test_chains_with_many_large_energy_errors_aim_higher():
    """At a constant acceptance of 0.85 a step that aims at 0.8 grows, one that aims at 0.9 shrinks."""
    with jax.enable_x64(True):
        space = Space.single({"x": (2,)}, 3)
        estimator, zero = Windows(FisherDiagonal(space)), jnp.zeros(3)
        state = State(space.zeros(), space.zeros(), zero, zero.astype(jnp.uint32))
        begin = Handover(state, None, jnp.ones(3), jnp.array([False, False, True]))
        flags = Schedule(*(jnp.array([f in ("adapt_step", "count")] * 3) for f in Schedule._fields))
        draw, progress = Point(*state[:3], zero), start_progress(zero)
        for stricter in (True, False):
            adapt = start_adapt(estimator, begin)
            after = jax.jit(lambda a, p, s=stricter: after_transition(estimator, a, flags, p, draw, 0.8, s))
            for t in range(600):
                error = jnp.array([np.nan if t % 25 == 0 else 0.3, 150.0 if t % 60 == 59 else 0.3, 0.3])
                now = progress._replace(energy_error=error, accept_sum=zero + 0.85, leapfrogs=progress.leapfrogs + 1)
                adapt = after(adapt, now)
            assert adapt.errors.tolist() == [[600, 24], [600, 10], [600, 0]]
            assert adapt.strained.tolist() == [True, False, True], "too few in the second; handed over in the third"
            assert (adapt.step.value < 1).tolist() == ([True, False, True] if stricter else [False] * 3)


@pytest.mark.slow
def test_a_run_tells_which_chains_took_shorter_steps_and_the_next_stage_knows():
    model = ppl.from_text("model funnel\ndim i = 9\nv ~ Normal(0, 3)\nx[i] ~ Normal(0, exp(0.5 * v))\n")
    posterior = ppl.compile(model, {}, dtype="float64")
    options = {"seed": 1, "predictive": False, "progress": False}
    result = posterior.run(ppl.nuts(chains=2, warmup=400, draws=20), **options)
    assert any("aim at an acceptance of 0.9" in note for note in result.notes)
    then = posterior.run(ppl.mams(chains=2, warmup=20, draws=20), init=result, **options)
    assert any("aim at an acceptance of 0.95" in note for note in then.notes)
    given = posterior.run(ppl.nuts(chains=2, warmup=400, draws=20, target_accept=0.8), **options)
    assert not any("acceptance" in note for note in given.notes)
    steps = [r.draws["sample_stats"]["step_size"].values[:, -1] for r in (result, given)]
    assert (steps[0] < 0.95 * steps[1]).any(), steps


def test_a_given_step_size_without_warmup_stays():
    with jax.enable_x64(True):
        space = Space.single({"x": (4,)}, 2)
        kernel = Nuts(space, gaussian({"x": np.ones(4)}), max_depth=1)
        run = drive.hasty(lambda: drive.run(kernel, counter.seed_key(0), space.zeros(), drive.fixed(5), step_size=0.37))
        result = run()
        assert (result.info.step_size == 0.37).all()
        assert (result.info.leapfrogs == 1).all() and (result.info.depth == 1).all()


def learn(estimator, draws, gradients, old):
    """The metric of one chain's draws and gradients [N, ...], as vectors."""
    yes = jnp.ones(1, bool)
    estimate = estimator.start()
    for x, g in zip(draws, gradients, strict=True):
        estimate = estimator.add(estimate, yes, x, g)
    return estimator.metric(estimate, old, yes)


def test_the_diagonal_metric_and_its_padding():
    """A site of 3 elements in a block of 5, as on the last device of an uneven split."""
    with jax.enable_x64(True):
        space = Space((Site("x", (3,), (5,), ((),)),), 1)
        estimator = FisherDiagonal(space)
        rows = np.array([[1.0, 2.0, 3.0], [-2.0, 0.0, 5.0], [3.0, 1.0, 1.0], [0.5, -4.0, 2.0]])
        slopes = np.array([[-4.0, 1.0, 2.0], [9.0, 0.5, 3.0], [-1.0, 2.0, 1.0], [0.0, 7.0, 2.5]])
        pad = lambda a: [{"x": jnp.asarray([[*row, 0, 0]], jnp.float32)} for row in a]  # noqa: E731
        metric = learn(estimator, pad(rows), pad(slopes), estimator.first({"x": jnp.ones((1, 5), jnp.float32)}))
        expected = (rows.var(axis=0) / slopes.var(axis=0)) ** 0.25
        np.testing.assert_allclose(metric.scale["x"][0], [*expected, 1, 1], rtol=1e-5)
        first = estimator.first({"x": jnp.array([[4.0, -0.25, 0, 0, 0]], jnp.float32)})
        np.testing.assert_allclose(first.scale["x"][0], [0.5, 2, 1, 1, 1])


def test_the_metric_of_variances_and_its_padding():
    """The former metric counts for ten draws; the first one is of one scale for a site."""
    with jax.enable_x64(True):
        space = Space((Site("x", (3,), (5,), ((),)), Site("s", ())), 1)
        estimator = Variance(space)
        rows = np.array([[1.0, 2.0, 3.0], [-2.0, 0.0, 5.0], [3.0, 1.0, 1.0], [0.5, -4.0, 2.0]])
        vector = lambda row, s: {"x": jnp.asarray([[*row, 0, 0]], jnp.float32), "s": jnp.full(1, s, jnp.float32)}  # noqa: E731
        draws = [vector(row, 7.0) for row in rows]
        first = estimator.first(vector([2.0, 0.0, -2.0], 0.0))
        np.testing.assert_allclose(first.scale["x"][0], [*[(3 / 8) ** 0.25] * 3, 1, 1], rtol=1e-6)
        np.testing.assert_allclose(first.scale["s"], [1])
        metric = learn(estimator, draws, draws, first)
        expected = np.sqrt((4 * rows.var(axis=0) + 10 * (3 / 8) ** 0.5) / 14)
        np.testing.assert_allclose(metric.scale["x"][0], [*expected, 1, 1], rtol=1e-6)
        np.testing.assert_allclose(metric.scale["s"], [np.sqrt(10 / 14)], rtol=1e-6)


def test_few_draws_of_a_gaussian_determine_its_covariance():
    """d + 2 draws and their gradients, condition 10^5: F F^T is the covariance, where a sample covariance is far off.

    Exact up to eigenvalues of the scaled covariance between 1/2 and 2, which are taken for 1: hence the factor of 2.
    """
    d = 6
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    covariance = basis * np.geomspace(1e-3, 1e2, d) @ basis.T
    precision = np.linalg.inv(covariance)
    x = rng.multivariate_normal(np.ones(d), covariance, size=d + 2)
    g = -(x - 1) @ precision
    with jax.enable_x64(True):
        space = packing(Space.single({"a": (2,), "b": (d - 2,)}, 1)).space
        estimator = FisherDense(space)
        vector = lambda a: [{"*": jnp.asarray(row[None])} for row in a]  # noqa: E731
        metric = learn(estimator, vector(x), vector(g), Dense(jnp.eye(d)[None]))
        factor = np.asarray(metric.factor[0])
        whitened = np.linalg.eigvalsh(factor.T @ precision @ factor)
        assert whitened.min() > 0.49 and whitened.max() < 2.05
        sample = np.linalg.eigvals(np.cov(x.T) @ precision).real
        assert sample.max() / sample.min() > 20


def test_the_geometric_mean_solves_its_equation():
    rng = np.random.default_rng(0)
    a, b = (m @ m.swapaxes(1, 2) + 0.1 * np.eye(5) for m in rng.normal(size=(2, 3, 5, 5)))
    with jax.enable_x64(True):
        x = np.asarray(geometric_mean(jnp.asarray(a), jnp.asarray(b)))
    np.testing.assert_allclose(x @ b @ x, a, rtol=1e-10, atol=1e-10)
    assert (np.linalg.eigvalsh(x) > 0).all()


def test_a_switch_forgets_the_window_before_the_last():
    with jax.enable_x64(True):
        space = Space.single({"x": ()}, 2)
        windows, both = Windows(FisherDiagonal(space)), jnp.array([True, True])
        estimate = windows.start()
        for k in range(9):
            value = {"x": jnp.array([float(k), 2.0 * k])}
            estimate = windows.add(estimate, both, value, value)
            if k % 3 == 2:
                estimate = windows.switch(estimate, jnp.array([True, False]))
        # The first chain holds draws 6, 7, 8; the other one, which never switched, all of them.
        np.testing.assert_allclose(estimate.foreground.count, [3, 9])
        np.testing.assert_allclose(estimate.foreground.x_mean["x"], [7, 8])
        np.testing.assert_allclose(estimate.background.count, [0, 9])
