"""Tempered sequential Monte Carlo: moments, weights of modes and evidence in closed form, over independent populations.

Errors are from the scatter of the populations: |t| of 11 degrees of freedom exceeds 10 with probability 8e-7.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ir.errors import Diagnostic
from ppl.infer.population import SmcOptions
from ppl.infer.program import from_options, smc
from ppl.infer.smc import SmcInfo
from ppl.infer.space import Space
from tests.infer.driven import Driven

SEEDS = range(12)


def t_value(values, expected):
    values = np.asarray(values)
    return abs(values.mean() - expected) / (values.std(ddof=1) / np.sqrt(len(values)))


def linear(dims=5, points=12, prior=2.0, noise=0.5):
    """y = X b + noise with b ~ N(0, prior^2): the normalised joint, the posterior, and the marginal likelihood."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(points, dims))
    y = x @ rng.normal(size=dims) + noise * rng.normal(size=points)
    covariance = noise**2 * np.eye(points) + prior**2 * x @ x.T
    evidence = -0.5 * (y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(2 * np.pi * covariance)[1])
    precision = x.T @ x / noise**2 + np.eye(dims) / prior**2
    mean = np.linalg.solve(precision, x.T @ y / noise**2)
    constant = -0.5 * (points * np.log(2 * np.pi * noise**2) + dims * np.log(2 * np.pi * prior**2))

    def target(position):
        b = position["b"]
        r = y - b @ x.T
        log_density = constant - 0.5 * jnp.sum(r * r, axis=1) / noise**2 - 0.5 * jnp.sum(b * b, axis=1) / prior**2
        return log_density, {"b": r @ x / noise**2 - b / prior**2}

    return target, mean, np.linalg.cholesky(precision), evidence


def test_moments_and_evidence_of_a_linear_model():
    target, mean, root, evidence = linear()
    options = smc(particles=400)
    with jax.enable_x64(True):
        driven = Driven(options, Space.single({"b": (5,)}, 400), target, spread=2.0)
        runs = [driven.run(seed) for seed in SEEDS]
    z = [(draws["b"][:, 0] - mean) @ root for draws, _, _ in runs]
    for i in range(5):
        assert t_value([v[:, i].mean() for v in z], 0) < 10
        assert t_value([(v[:, i] ** 2).mean() for v in z], 1) < 10
    told = np.array([info.log_evidence[0, 0] for _, info, _ in runs])
    error = np.array([info.log_evidence_error[0, 0] for _, info, _ in runs])
    assert t_value(told, evidence) < 10 and abs(told.mean() - evidence) < 0.2
    # chi^2 of 11 degrees of freedom is within these limits, for a true error, with probability 1 - 1e-5.
    assert 0.3 < told.std(ddof=1) / error.mean() < 2.2
    _, info, warm = runs[0]
    done = warm.temperature[0] > 0
    assert info.temperature[0, 0] == 1 and (np.diff(warm.temperature[0, done]) > 0).all()
    assert np.abs(warm.effective[0, done][:-1] - 0.7).max() < 1e-3
    assert 0.6 < warm.accept_stat[:, done].mean() < 0.95
    facts, (note,) = options.report([warm, info])
    assert facts["log_evidence"] == told[0] and f"{told[0]:.2f}" in note
    assert len(facts["stage_temperature"]) == done.sum() + 1


@pytest.mark.slow
def test_weights_of_two_modes():
    """0.7 N((3, 3), 0.5^2) + 0.3 N((-3, -3), 0.3^2), thirteen standard deviations apart."""
    weight, centre, sd = np.array([0.7, 0.3]), np.array([3.0, -3.0]), np.array([0.5, 0.3])

    def target(position):
        d = position["x"][:, None, :] - centre[:, None]
        each = np.log(weight / (2 * np.pi * sd**2)) - 0.5 * jnp.sum(d * d, axis=2) / sd**2
        # Written out for two: a sum over an axis of two, within another, is slow for XLA to compile.
        total = jnp.logaddexp(each[:, 0], each[:, 1])
        share = jnp.exp(each - total[:, None]) / sd**2
        return total, {"x": -share[:, :1] * d[:, 0] - share[:, 1:] * d[:, 1]}

    with jax.enable_x64(True):
        driven = Driven(smc(particles=500), Space.single({"x": (2,)}, 500), target, spread=4.0)
        runs = [driven.run(seed) for seed in SEEDS]
    first = [(draws["x"][:, 0, 0] > 0).mean() for draws, _, _ in runs]
    assert t_value(first, 0.7) < 10 and np.std(first, ddof=1) < 0.08
    assert t_value([info.log_evidence[0, 0] for _, info, _ in runs], 0.0) < 10
    far = np.concatenate(
        [np.where(d["x"][:, 0] > 0, (d["x"][:, 0] - 3) / 0.5, (d["x"][:, 0] + 3) / 0.3) for d, _, _ in runs]
    )
    assert abs((far**2).mean() - 1) < 0.15


def test_options():
    assert from_options("smc", {"particles": 50}) == smc(particles=50)
    assert smc(particles=50).chains == 50 and smc().pooled
    for wrong in ({"particles": 1}, {"effective": 1.0}, {"moves": 0}, {"steps": 0}, {"warmup": 0}, {"draws": 0}):
        with pytest.raises(Diagnostic):
            smc(**wrong)
    with pytest.raises(Diagnostic) as caught:
        smc(chains=4)
    assert caught.value.hint == "did you mean 'particles'?"


def test_a_posterior_that_was_not_reached_is_an_error():
    rows = {f: np.zeros((1, 3)) for f in SmcInfo._fields}
    rows |= {"leapfrogs": np.ones((1, 3)), "temperature": np.array([[0.1, 0.2, 0.3]])}
    with pytest.raises(Diagnostic) as caught:
        SmcOptions(warmup=2).report([SmcInfo(**rows)])
    assert "0.3 of 1 in 2 stages" in caught.value.message and "warmup = 8" in caught.value.hint


@pytest.mark.slow
def test_a_run_shows_particles_as_one_chain_with_the_evidence(tmp_path):
    """slope ~ N(0, 2), y ~ N(slope x, 0.5): evidence in closed form, in memory and in a run folder."""
    import ppl

    @ppl.model
    def line(x: ppl.Data["obs"], y: ppl.Data["obs"]):
        slope = ppl.sample("slope", ppl.Normal(0, 2))
        ppl.observe("y", ppl.Normal(slope * x, 0.5), y)

    x = np.linspace(-1, 1, 7)
    y = 1.3 * x + 0.4 * np.sin(9 * x)
    covariance = 0.25 * np.eye(7) + 4 * np.outer(x, x)
    evidence = -0.5 * (y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(2 * np.pi * covariance)[1])
    posterior = ppl.compile(line, dict(x=x, y=y))
    options = ppl.smc(particles=300, draws=2)
    for folder in (None, tmp_path / "run"):
        result = posterior.run(options, seed=3, out=folder)
        assert result["slope"].shape == (1, 600)
        assert abs(result.draws.attrs["log_evidence"] - evidence) < 6 * result.draws.attrs["log_evidence_error"] < 1.5
        assert result.draws.attrs["stage_temperature"][-1] == 1 and any("evidence" in n for n in result.notes)
        sd = (0.25 / (x @ x + 0.25 / 4)) ** 0.5
        z = (result["slope"] - (x @ y) / (x @ x + 0.25 / 4)) / sd
        assert abs(z.mean()) < 0.35 and abs(z.std() - 1) < 0.25
    # Another stage goes on from where the particles ended, with their metric and step size.
    assert result.handover is not None and result.handover.metric is not None
