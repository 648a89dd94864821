"""The normal at the mode: exact on Gaussians, dense and by Lanczos, with its evidence; and where there is none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppl.infer.lanczos import LanczosLaplace
from ppl.infer.laplace import DenseLaplace
from ppl.infer.space import Space
from tests.infer.fitting import quadratic, rotated, runner

D = 12


def test_a_gaussian_comes_out_exactly_from_anywhere_and_a_saddle_is_reported():
    with jax.enable_x64(True):
        run = runner(DenseLaplace, Space.single({"x": (D,)}, 2), quadratic)
        start = {"x": jnp.asarray(np.random.default_rng(1).normal(size=(2, D)))}
        for condition in (1.0, 1e5):
            precision, mean = rotated(D, condition)
            state, info, draws, handover = run(start, 1, 200, precision, mean)
            covariance = np.linalg.inv(precision)
            scale = np.sqrt(np.diag(covariance))
            factor = state.fit.factor[0]
            np.testing.assert_allclose(factor @ factor.T / np.outer(scale, scale), covariance / np.outer(scale, scale),
                                       atol=1e-8)  # fmt: skip
            np.testing.assert_allclose((state.fit.mean["x"] - mean) / scale, 0.0, atol=1e-6)
            np.testing.assert_allclose(handover.metric.scale["x"], np.tile(scale, (2, 1)), rtol=1e-8)
            evidence = 0.5 * D * np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(precision)[1]
            np.testing.assert_allclose(info.objective[:, -1], evidence, atol=1e-6)
            # Every draw's weight is the evidence: the approximation is the posterior.
            np.testing.assert_allclose(info.log_weight[:, 1:], evidence, atol=1e-6)
            white = np.linalg.solve(factor, (draws["x"][0] - mean).T)
            # The sum of 2400 squares is chi^2: 5 sigma is false once in 2e6.
            assert abs((white**2).sum() / white.size - 1) < 5 * np.sqrt(2 / white.size)
            assert info.leapfrogs[:, 0].tolist() == [2 * D] * 2 and not info.divergent.any()
            assert not info.converged[:, -1].any()  # it started away from the mode, and says so
        saddle = np.diag(np.r_[-1.0, np.ones(D - 1)])
        state, info, draws, _ = run(start, 1, 200, saddle, np.zeros(D))
        assert info.divergent.all() and not info.converged.any() and np.isfinite(draws["x"]).all()


def test_lanczos_gives_the_inverse_square_root_and_the_log_determinant():
    """Twice d steps are exact, whatever rounding does to the vectors; on 40 dims of condition 25, 20 steps err by
    ((5 - 1) / (5 + 1))^20 = 3e-4 at most."""
    rng = np.random.default_rng(4)
    with jax.enable_x64(True):
        for d, condition, steps, accuracy in ((D, 1e4, 2 * D, 1e-6), (40, 25.0, 20, 3e-4), (D, 10.0, 30, 1e-9)):
            precision, mean = rotated(d, condition)
            values, vectors = np.linalg.eigh(precision)
            space = Space.single({"x": (d,)}, 2)
            fit = LanczosLaplace(space, quadratic(precision, mean), steps)
            noise = rng.normal(size=(2, d))
            norm = np.sqrt((noise**2).sum(axis=1))
            found, log_form, last, good = jax.jit(fit.root)({"x": jnp.zeros((2, d))}, {"x": noise}, norm)
            exact = noise @ (vectors * values**-0.5) @ vectors.T
            assert np.abs(found["x"] - exact).max() < accuracy * np.abs(exact).max() and good.all()
            quadratic_form = ((noise @ vectors) ** 2 * np.log(values)).sum(axis=1) / norm**2
            np.testing.assert_allclose(log_form, quadratic_form, rtol=1e-3)
            assert (np.asarray(last) < 0.05).all()


@pytest.mark.slow
def test_lanczos_says_when_the_curvature_is_no_maximums():
    with jax.enable_x64(True):
        space = Space.single({"x": (D,)}, 1)
        fit = LanczosLaplace(space, quadratic(np.diag(np.r_[-1.0, np.ones(D - 1)]), np.zeros(D)), 6)
        noise = np.random.default_rng(4).normal(size=(1, D))
        found, _, _, good = jax.jit(fit.root)({"x": jnp.zeros((1, D))}, {"x": noise}, np.linalg.norm(noise, axis=1))
    assert not good.any() and (np.asarray(found["x"]) == 0).all()
