"""Latents held at values: the density of the others is the full one at those values, and results have constants."""

import json

import numpy as np
import pytest

import ppl
from ir.errors import Diagnostic
from ppl.bind import bind
from ppl.folder import write_folder
from ppl.io.store import open_run
from tests.ppl.error_projects import RADON, RADON_DATA
from tests.ppl.test_scan_models import CASES as SCANS

DATA = {name: np.asarray(x) for name, x in json.loads(RADON_DATA).items()}
MODEL = ppl.from_text(RADON)
QUICK = {"progress": False, "seed": 1}


def density(fixed=None, **position):
    made = ppl.compile(MODEL, DATA, dtype="float64", fixed=fixed)
    assert set(made.latents) == set(position)
    return made.value_and_gradient(position)


def test_the_density_is_the_full_one_at_the_held_values():
    """Less the log-Jacobian of the held latents: log sigma, and for the non-centred alpha, log tau for each county."""
    position = {"mu": 0.3, "tau": np.log(0.8), "beta": -0.5, "sigma": np.log(1.7)}
    raw = np.array([0.4, -1.0, 0.2])
    full, gradient = density(**position, alpha_raw=raw)
    rest = {n: x for n, x in position.items() if n != "sigma"}
    held, held_gradient = density({"sigma": 1.7}, **rest, alpha_raw=raw)
    assert held == pytest.approx(full - np.log(1.7), rel=1e-12)
    np.testing.assert_allclose([held_gradient[n] for n in rest], [gradient[n] for n in rest], rtol=1e-12)
    # The prior of alpha stays, as its parameters mu and tau are latent: alpha says where they are.
    alpha = 0.3 + 0.8 * raw
    held, held_gradient = density({"alpha": alpha}, **position)
    assert held == pytest.approx(full - 3 * np.log(0.8), rel=1e-12)
    assert held_gradient["mu"] == pytest.approx(((alpha - 0.3) / 0.8**2).sum() - 0.3 / 10**2, rel=1e-9)


@pytest.mark.slow
def test_results_have_the_held_values_as_constants_and_predictions_use_them(tmp_path):
    posterior = ppl.compile(MODEL, DATA, fixed={"sigma": 1e-3, "alpha": 2, "beta": 0.0})
    result = posterior.run(ppl.hmc(chains=2, draws=6, warmup=6, steps=2), **QUICK)
    groups = result.draws.groups
    assert set(groups["posterior"]) == {"mu", "tau"}
    constant = {n: v.values.tolist() for n, v in groups["constant_data"].items()}
    assert constant == {"sigma": pytest.approx(1e-3), "alpha": [2, 2, 2], "beta": 0}
    assert set(groups["observed_data"]) == set(groups["log_likelihood"]) == set(groups["posterior_predictive"]) == {"y"}
    np.testing.assert_allclose(groups["posterior_predictive"]["y"].values, 2.0, atol=0.01)
    np.testing.assert_allclose(groups["prior_predictive"]["y"].values, 2.0, atol=0.01)
    folder = write_folder(result, tmp_path / "run")
    assert open_run(folder)["constant_data"]["alpha"].values.tolist() == [2, 2, 2]
    config = json.loads((folder / "config.json").read_text())
    assert config["fixed"] == {"alpha": {"shape": [3], "dtype": "float32"}, "beta": 0.0, "sigma": pytest.approx(1e-3)}
    assert set(config["data"]) == {"floor", "cty", "y"}


def test_latents_in_a_scan_can_be_held():
    case = SCANS["stochvol"]
    rng = np.random.default_rng(2)
    full = ppl.compile(case.model, case.data, dtype="float64")
    at = {n: 0.3 * rng.normal(size=t.shape) for n, t in full.latents.items()}
    held = ppl.compile(case.model, case.data, dtype="float64", fixed={"h": at["h"]})
    rest = {n: x for n, x in at.items() if n != "h"}
    value, gradient = held.value_and_gradient(rest)
    expected, whole = full.value_and_gradient(at)
    assert value == pytest.approx(expected, rel=1e-12)
    for name in rest:
        np.testing.assert_allclose(gradient[name], whole[name], rtol=1e-9)


@pytest.mark.parametrize(
    ("fixed", "told", "hint"),
    [
        ({"sgima": 1.0}, "no latent 'sgima'", "did you mean 'sigma'"),
        ({"y": 1.0}, "no latent 'y'", "is data"),
        ({"alpha_raw": 0.0}, "no latent 'alpha_raw'", "fix 'alpha' itself"),
        ({"sigma": -1.0}, "cannot be fixed at -1", "above 0"),
        ({"sigma": np.nan}, "fixed at nan", "finite number"),
        ({"sigma": "one"}, "fixed at one", "finite number"),
        ({"sigma": [1.0, 2.0]}, "shape (2,)", "one number"),
        ({"alpha": [1.0, 2.0]}, "shape (2,)", "(3,), or one number"),
    ],
)
def test_values_that_cannot_be_are_refused(fixed, told, hint):
    with pytest.raises(Diagnostic) as caught:
        bind(MODEL, DATA, fixed=fixed)
    assert told in caught.value.message and hint in caught.value.hint


@pytest.mark.parametrize(("value", "good"), [([0.2, 0.3, 0.5], True), ([0.2, 0.3, 0.6], False), ([0.5, 0.5, 0], False)])
def test_a_fixed_simplex_sums_to_one(value, good):
    text = "model m\ndim k = 3\ndata n: int\nw[k] ~ Dirichlet[k](2.0)\nn ~ Poisson(sum(w^2, over = k))\n"
    if good:
        assert bind(ppl.from_text(text), {"n": 2}, fixed={"w": value}).fixed == ("w",)
        return
    with pytest.raises(Diagnostic, match="'w' cannot be fixed"):
        bind(ppl.from_text(text), {"n": 2}, fixed={"w": value})


def test_a_discrete_latent_is_whole_and_in_its_support():
    text = "model m\ndata y: real\nn ~ Poisson(3)\nmu ~ Normal(n, 1)\ny ~ Normal(mu, 1)\n"
    made = ppl.compile(ppl.from_text(text), {"y": 1.0}, fixed={"n": 4}, dtype="float64")
    _, gradient = made.value_and_gradient({"mu": 2.0})
    assert gradient["mu"] == pytest.approx((4 - 2) + (1 - 2))
    for wrong in (1.5, -1):
        with pytest.raises(Diagnostic, match="'n'"):
            bind(ppl.from_text(text), {"y": 1.0}, fixed={"n": wrong})
