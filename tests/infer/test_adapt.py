"""Warm-up: the windows, the step-size search, and dual averaging that meets its target."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ir import counter
from ppl.infer import adapt, block
from ppl.infer.nuts import Nuts
from ppl.infer.space import Site, Space
from tests.infer.targets import gaussian


@pytest.mark.parametrize(
    ("warmup", "closed"),
    [
        (1000, [99, 149, 249, 449, 949]),  # Stan's: 75 | 25 50 100 200 500 | 50
        (400, [99, 149, 349]),
        (150, [99]),
        (100, [89]),  # 15 | 75 | 10
        (20, [17]),
        (19, []),
        (0, []),
    ],
)
def test_windows_are_those_of_stan(warmup, closed):
    schedule = adapt.make_schedule(warmup, 30)
    assert np.flatnonzero(schedule.close_window).tolist() == closed
    assert schedule.adapt_step.sum() == warmup and len(schedule.adapt_step) == warmup + 30
    assert np.flatnonzero(schedule.freeze).tolist() == ([warmup - 1] if warmup else [])
    assert schedule.accumulate[warmup:].all()
    assert not adapt.make_schedule(warmup, 30, moments=False).accumulate[warmup:].any()
    part = schedule.part(warmup + 20, 25)
    assert len(part.accumulate) == 25 and part.accumulate.sum() == 10


def test_dual_averaging_meets_its_target_and_the_search_its_scale():
    """Ten unit normals: acceptance within 0.05 of each target, chain by chain; searches from 1e-6 and 1e6.

    One long phase of dual averaging: the average of log eps over only the last 50 noisy steps of Stan's schedule ends
    at an acceptance up to 0.1 above its target, in NumPyro as here.
    """
    with jax.enable_x64(True):
        space = Space.single({"x": (10,)}, 3)
        kernel = Nuts(space, gaussian({"x": np.ones(10)}))
        index = np.arange(1500)
        schedule = adapt.Schedule(index < 1000, index < 0, index < 0, index == 999)

        def go(seed, eps, target_accept):
            start = adapt.start_adapt(space)._replace(step_size=eps)
            state = block.init(kernel, space.normal(counter.derive(seed, space.chain_ids()), 1))
            return block.run(kernel, seed, state, start, schedule, target_accept=target_accept)

        compiled = jax.jit(go)
        for target_accept in (0.6, 0.8, 0.95):
            result = compiled(counter.seed_key(3), jnp.array([1e-6, 1.0, 1e6]), target_accept)
            after = result.info.accept_stat[:, 1000:]
            assert np.abs(np.asarray(after.mean(axis=1)) - target_accept).max() < 0.05
            first = np.asarray(result.info.step_size[:, 0])
            assert ((first > 0.1) & (first < 4)).all()
            assert (result.info.step_size[:, 1000:] == result.adapt.step_size[:, None]).all()


def test_a_given_step_size_without_warmup_stays():
    with jax.enable_x64(True):
        space = Space.single({"x": (4,)}, 2)
        kernel = Nuts(space, gaussian({"x": np.ones(4)}), max_depth=1)
        start, schedule = adapt.start_adapt(space, 0.37), adapt.make_schedule(0, 5)
        run = jax.jit(lambda s, a: block.run(kernel, counter.seed_key(0), s, a, schedule))
        result = run(block.init(kernel, space.zeros()), start)
        assert (result.info.step_size == 0.37).all()
        assert (result.info.leapfrogs == 1).all() and (result.info.depth == 1).all()


def test_padding_of_a_metric_is_one():
    """A site of 3 elements in a block of 5, as on the last device of an uneven split."""
    with jax.enable_x64(True):
        space = Space((Site("x", (3,), (5,), ((),)),), 2)
        state = adapt.start_adapt(space)
        yes, no = jnp.ones(2, bool), jnp.zeros(2, bool)
        for scale in (1.0, -2.0, 3.0):
            x = {"x": scale * jnp.array([[1, 2, 3, 0, 0]] * 2, jnp.float32)}
            flags = adapt.Schedule(no, yes, yes if scale == 3 else no, no)
            state = adapt.after_transition(space, state, flags, jnp.ones(2), x, 0.8)
        variance = np.var([1.0, -2.0, 3.0], ddof=1) * np.array([1, 4, 9]) * 3 / 8 + 1e-3 * 5 / 8
        np.testing.assert_allclose(state.inverse_mass["x"][0], [*variance, 1, 1], rtol=1e-6)
        assert (state.trial == 1).all() and (state.count == 0).all()
