"""The mode: Gaussians of any condition number, a regression against SciPy, and what has no mode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from ppl.infer.adam import AdamAscent
from ppl.infer.climb import Climb, ConjugateGradient, Lbfgs
from ppl.infer.space import Space
from tests.infer.fitting import quadratic, rotated, runner

D, CHAINS = 12, 3
WAYS = {
    "lbfgs": lambda space, target: Climb(space, target, Lbfgs(10)),
    "cg": lambda space, target: Climb(space, target, ConjugateGradient()),
    "adam": AdamAscent,
}
# Gradients that a chain may need at condition 1, 1e2 and 1e5. SciPy's L-BFGS-B and CG, each to 1e-3 sd on a diagonal
# Gaussian of 51 dims: 6, 48, 1390 and 5, 96, 4302.
MOST = {"lbfgs": (15, 60, 600), "cg": (40, 120, 1500), "adam": (2500, 2500, 5000)}


@pytest.mark.parametrize("way", ["lbfgs", *(pytest.param(w, marks=pytest.mark.slow) for w in ("cg", "adam"))])
def test_the_mode_of_gaussians_of_any_condition_number(way):
    start = np.random.default_rng(0).normal(size=(CHAINS, D))
    with jax.enable_x64(True):
        run = runner(WAYS[way], Space.single({"x": (D,)}, CHAINS), quadratic)
        for condition, most in zip((1.0, 1e2, 1e5), MOST[way], strict=True):
            precision, mean = rotated(D, condition)
            state, info, draws, handover = run({"x": jnp.asarray(start)}, 5000, 1, precision, mean)
            error = state.here.position["x"] - mean
            distance = np.sqrt(np.einsum("ci,ij,cj->c", error, precision, error))
            claimed = info.converged[:, -1]
            assert (distance[claimed] < 0.02).all()
            # Adam scales coordinates, and cannot follow a long valley across them; it must say so.
            assert claimed.all() or (way == "adam" and condition == 1e5)
            assert (info.leapfrogs.sum(axis=1) <= most).all()
            assert (draws["x"][:, 0] == state.here.position["x"]).all() and handover.metric is None


def test_logistic_regression_has_the_mode_that_scipy_finds():
    rng = np.random.default_rng(5)
    x = np.c_[np.ones(200), rng.normal(size=(200, 4)) * [1.0, 10.0, 0.1, 3.0]]
    y = (rng.uniform(size=200) < 1 / (1 + np.exp(-x @ [0.3, 0.2, 4.0, -0.5, 0.1]))).astype(float)

    def density(b, np=np):
        eta = b @ x.T
        value = (y * eta - np.logaddexp(0.0, eta)).sum(axis=-1) - 0.5 * (b**2).sum(axis=-1) / 25
        return value, (y - 1 / (1 + np.exp(-eta))) @ x - b / 25

    def target():
        def evaluate(position):
            value, gradient = density(position["x"], jnp)
            return value, {"x": gradient}

        return evaluate

    found = optimize.minimize(
        lambda b: tuple(-v for v in density(b)), np.zeros(5), jac=True, method="BFGS", options={"gtol": 1e-9}
    )
    with jax.enable_x64(True):
        start = {"x": jnp.asarray(rng.normal(size=(2, 5)))}
        state, info, _, _ = runner(WAYS["cg"], Space.single({"x": (5,)}, 2), target)(start, 500, 1)
    assert info.converged[:, -1].all()
    np.testing.assert_allclose(state.here.log_density, -found.fun, rtol=1e-7)
    np.testing.assert_allclose(state.here.position["x"], np.tile(found.x, (2, 1)), atol=3e-3)


def test_what_has_no_mode_is_reported_and_leaves_the_other_chains_alone():
    """Chain 0 has a mode at 2; chain 1 rises without end along a line; chain 2 starts at NaN; chain 3 stands on the
    mode."""

    def target(curvature):
        def evaluate(position):
            x = position["x"]
            return -0.5 * curvature * x**2 + 2.0 * curvature * x + (1 - curvature) * x, {
                "x": -curvature * x + 2.0 * curvature + (1 - curvature)
            }

        return evaluate

    with jax.enable_x64(True):
        start = {"x": jnp.asarray([0.5, 0.5, np.nan, 2.0])}
        run = runner(WAYS["cg"], Space.single({"x": ()}, 4), target)
        state, info, _, _ = run(start, 60, 1, jnp.asarray([1.0, 0.0, 1.0, 1.0]))
    assert info.converged[:, -1].tolist() == [True, False, False, True]
    assert info.divergent[:, -1].tolist() == [False, False, True, False]
    np.testing.assert_allclose(state.here.position["x"][[0, 3]], 2.0, atol=1e-6)
    assert info.leapfrogs[3].sum() <= 1 and 1 < info.leapfrogs[1].sum() <= 60
