"""Chains beside a mode without mass go on from another chain; those in modes that have any stay where they are."""

import jax.numpy as jnp
import numpy as np
import pytest

import ppl
from ppl.infer.metric import Dense, Diagonal, LowRank
from ppl.infer.rescue import MARGIN, log_volume, regroup
from ppl.infer.space import Space

pytestmark = pytest.mark.usefixtures("hasty")

TWO_MODES = """
model two
data away: real

x ~ Normal(0, 20)
y ~ Normal(0, 20)
one = -0.5 * ((x + 10)^2 + (y + 10)^2)
two = -0.5 * ((x - 10)^2 + (y - 10)^2) - away
factor both = logaddexp(one, two)
"""
START = {"x": np.array([-10.0, 10.0, -10.0]), "y": np.array([-10.0, 10.0, -10.0])}


def run(program, away):
    posterior = ppl.compile(ppl.from_text(TWO_MODES), {"away": away}, dtype="float64")
    return posterior.run(program, seed=2, init=START, predictive=False, progress=False)


@pytest.mark.parametrize("make", [ppl.nuts, pytest.param(ppl.mams, marks=pytest.mark.slow)])
def test_a_chain_at_a_mode_without_mass_goes_on_elsewhere(make):
    result = run(make(chains=3, warmup=300, draws=50), away=40.0)
    assert (result["x"] < 0).all()
    (note,) = (n for n in result.notes if "next to no mass" in n)
    assert "chain 1 (e^-4" in note and "chain 0's place" in note
    assert len({float(x) for x in result["x"][:, -1]}) == 3, "they part"


def test_an_interrupt_does_not_lose_what_there_is_to_tell():
    def stop(stage, done, info):
        if done > 300:
            raise KeyboardInterrupt

    posterior = ppl.compile(ppl.from_text(TWO_MODES), {"away": 40.0}, dtype="float64")
    options = {"seed": 2, "init": START, "predictive": False, "progress": False, "watch": stop}
    result = posterior.run(ppl.nuts(chains=3, warmup=300, draws=500, block=50), **options)
    assert result.interrupted and any("next to no mass" in note for note in result.notes)


@pytest.mark.slow
def test_modes_that_have_mass_are_kept_and_so_are_all_without_rescue():
    for program, away in (
        (ppl.nuts(chains=3, warmup=300, draws=50), 3.0),
        (ppl.nuts(chains=3, warmup=300, draws=50, rescue=False), 40.0),
    ):
        result = run(program, away)
        assert (np.sign(result["x"]).T == [-1, 1, -1]).all()
        assert not any("next to no mass" in n for n in result.notes)


def test_who_goes_on_from_whom():
    far = MARGIN + 0.25 * 4 + 1
    source, short = regroup(np.array([0.0, -far, -1.0, np.nan, -far + 2]), 4)
    assert source.tolist() == [0, 0, 2, 2, 4] and short[1] == far
    assert regroup(np.full(3, np.nan), 4)[0].tolist() == [0, 1, 2], "nothing is known of any"


def test_volumes_are_determinants():
    rng = np.random.default_rng(1)
    scale, (u, _) = rng.uniform(0.1, 3, (2, 5)), np.linalg.qr(rng.normal(size=(5, 2)))
    values = np.array([[9.0, 0.25], [4.0, 1.0]])
    factors = [np.diag(s) @ (np.eye(5) + u @ np.diag(np.sqrt(v) - 1) @ u.T) for s, v in zip(scale, values, strict=True)]
    exact = [np.log(np.abs(np.linalg.det(f))) for f in factors]
    directions = {"x": jnp.asarray(np.broadcast_to(u.T, (2, 2, 5)))}
    low = LowRank({"x": jnp.asarray(scale)}, directions, jnp.asarray(values), Space.single({"x": (5,)}, 2))
    np.testing.assert_allclose(log_volume(low), exact, rtol=1e-5)
    np.testing.assert_allclose(log_volume(Dense(jnp.asarray(np.stack(factors)))), exact, rtol=1e-5)
    np.testing.assert_allclose(log_volume(Diagonal({"x": jnp.asarray(scale)})), np.log(scale).sum(axis=1), rtol=1e-5)
