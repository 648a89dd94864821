"""Known posteriors: means, variances and tails of the draws against closed forms, errors from the scatter of 16 chains.

|t| of 15 degrees of freedom exceeds 8 with probability 9e-7; each test compares fewer than 40 numbers.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ir import counter
from ppl.infer.hmc import Hmc
from ppl.infer.nuts import Nuts
from ppl.infer.schedule import make_schedule
from ppl.infer.space import Space
from tests.infer import drive
from tests.infer.targets import correlated, gaussian, largest_t, mild_funnel

CHAINS, WARMUP, DRAWS = 16, 400, 400


def sample(kernel, *parameters, target=None, dtype="float64", target_accept=0.8):
    """Draws after warm-up and info, from overdispersed starts. `target(*parameters)` makes the log density."""
    space = kernel.space
    schedule = make_schedule(WARMUP, DRAWS)

    def go(seed, *parameters):
        made = kernel if target is None else type(kernel)(space, target(*parameters))
        start = space.normal(counter.derive(seed, 99, space.chain_ids()), 1)
        return drive.run(made, seed, start, schedule, target_accept=target_accept)

    compiled = drive.jit(go)
    results = [compiled(counter.seed_key(5), *p) for p in parameters] if parameters else [compiled(counter.seed_key(5))]
    results = [jax.tree.map(np.asarray, r) for r in results]
    return [(*jax.tree.map(lambda v: v[:, WARMUP:], (r.draws, r.info)), r) for r in results]


@pytest.mark.parametrize("make", [Nuts, Hmc])
def test_gaussians_of_any_condition_number(make):
    conditions = (1.0, 1e2, 1e4)
    with jax.enable_x64(True):
        kernel = make(Space.single({"x": (6,)}, CHAINS), None)
        scales = [np.geomspace(c**-0.5, 1.0, 6) for c in conditions]
        runs = sample(kernel, *((s,) for s in scales), target=lambda s: gaussian({"x": s}))
    for scale, (draws, info, result) in zip(scales, runs, strict=True):
        x = draws["x"] / scale
        for power, moment in ((1, 0.0), (2, 1.0), (4, 3.0)):
            assert largest_t(x**power, moment) < 8
        assert largest_t(x[..., 1:] * x[..., :-1], 0.0) < 8
        assert info.divergent.sum() == 0
        # Draws and gradients of independent normals determine the scales exactly, and the sampler meets its acceptance.
        np.testing.assert_allclose(result.state.adapt.metric.scale["x"], np.tile(scale, (CHAINS, 1)), rtol=1e-6)
        if make is Nuts:  # it aims with the symmetric acceptance, which is lower
            assert 0.78 < info.accept_stat.mean() < 0.95


def test_a_correlated_pair():
    with jax.enable_x64(True):
        ((draws, _, _),) = sample(Nuts(Space.single({"u": (), "v": ()}, CHAINS), correlated(0.95)))
    u, v = draws["u"], draws["v"]
    for values, expected in ((u, 0), (v, 0), (u * u, 1), (v * v, 1), (u * v, 0.95), ((u - v) ** 2, 0.1)):
        assert largest_t(values, expected) < 8


@pytest.mark.usefixtures("hasty")
def test_a_mild_funnel_in_single_precision():
    with jax.enable_x64(True):
        space = Space.single({"v": (), "w": (3,)}, CHAINS, dtype="float32")

        def target(x):
            log_density, gradient = mild_funnel(jax.tree.map(lambda a: a.astype(jnp.float64), x))
            return log_density, jax.tree.map(lambda a: a.astype(jnp.float32), gradient)

        ((draws, info, _),) = sample(Nuts(space, target), target_accept=0.9)
    v, w = draws["v"].astype(float), draws["w"].astype(float)
    assert draws["w"].dtype == np.float32
    assert largest_t(v, 0) < 8 and largest_t(v * v, 1) < 8
    assert largest_t(w * np.exp(-v / 2)[..., None], 0) < 8
    assert largest_t(w**2 * np.exp(-v)[..., None], 1) < 8
    assert 0.85 < info.accept_stat.mean() < 0.97
