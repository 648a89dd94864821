"""The numbers of the summary are ArviZ's and NumPy's, for scalars, arrays and fields."""

import csv
import io
import json
import warnings

import numpy as np
import pytest

from ppl.io import Draws, DrawsWriter, Spec, open_run
from ppl.io.arviz import arviz_major, import_arviz
from ppl.report import diagnose, summarize
from ppl.report.diagnose import HighRhats, energy_bfmi, high_rhats

CHAINS, DRAWS = 4, 150
RNG = np.random.default_rng(11)


def autoregressive(*shape, phi=0.6):
    noise = RNG.normal(size=(CHAINS, DRAWS, *shape))
    x = noise.copy()
    for t in range(1, DRAWS):
        x[:, t] = phi * x[:, t - 1] + noise[:, t]
    return x


@pytest.fixture(scope="module")
def draws():
    posterior = {
        "mu": ((), autoregressive()),
        "alpha": (("county",), autoregressive(3)),
        "field": (("x", "y"), autoregressive(13, 17).astype(np.float32)),
        "wave": ((), autoregressive() + 1j * autoregressive()),
    }
    return Draws.of({"posterior": posterior}, {"county": np.array(["A", "B", "C"])})


def reference(values):
    """R-hat, bulk and tail ESS and MCSE of `values[chain, draw]`, by ArviZ's public functions on one quantity."""
    import xarray as xr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        az = import_arviz()
        data = xr.Dataset({"v": (("chain", "draw"), values)})
        tail = az.ess(data, method="tail", prob=(0.05, 0.95))
        found = (az.rhat(data, method="rank"), az.ess(data, method="bulk"), tail, az.mcse(data, method="mean"))
    return [float(f["v"]) for f in found]


def test_diagnostics_are_those_of_arviz(draws):
    alpha = draws["posterior"]["alpha"].values
    found = diagnose(alpha)
    for i in range(3):
        np.testing.assert_allclose([column[i] for column in found], reference(alpha[..., i]), rtol=1e-10)


def test_rows_hold_moments_quantiles_and_labels(draws):
    summary = summarize(draws)
    mu = draws["posterior"]["mu"].values
    row = summary["mu"]
    np.testing.assert_allclose([row.mean, row.sd], [mu.mean(), mu.std(ddof=1)])
    np.testing.assert_allclose([row.q5, row.q50, row.q95], np.quantile(mu, (0.05, 0.5, 0.95)))
    np.testing.assert_allclose([row.rhat, row.ess_bulk, row.ess_tail, row.mcse], reference(mu), rtol=1e-10)
    assert [r.name for r in summary.rows] == [
        "mu", "alpha[county=A]", "alpha[county=B]", "alpha[county=C]", "wave.real", "wave.imag",
    ]  # fmt: skip


def test_a_field_gets_the_spread_over_a_subset(draws):
    field = draws["posterior"]["field"].values
    row = summarize(draws, names=["field"], elements=100, subset=9)["field"]
    assert row.elements == 13 * 17 and row.checked == 9 and row.dims == ("x", "y")
    chosen = np.linspace(0, 13 * 17 - 1, 9).astype(int)
    values = field.reshape(CHAINS, DRAWS, -1)[..., chosen].astype(float)
    assert row.rhat[2] == pytest.approx(diagnose(values).rhat.max())
    assert row.ess_bulk[0] == pytest.approx(diagnose(values).ess_bulk.min())
    assert row.mean[1] == pytest.approx(np.median(values.mean(axis=(0, 1))))


def test_stored_draws_have_the_same_summary(draws, tmp_path):
    specs = {n: Spec(v.event_dims, v.event_shape, str(v.data.dtype)) for n, v in draws["posterior"].items()}
    with DrawsWriter(tmp_path / "draws.zarr", {"posterior": specs}, CHAINS, coords=draws.coords) as writer:
        writer.append(posterior={n: v.values for n, v in draws["posterior"].items()})
    options = {"elements": 100, "subset": 5}
    assert summarize(open_run(tmp_path), **options) == summarize(draws, **options)


@pytest.mark.parametrize(("chains", "draws", "phi"), [(4, 500, 0.5), (2, 800, 0.45)])
def test_high_r_hats_are_as_many_as_chance_makes(chains, draws, phi):
    """1,000 elements of autoregressive chains, independent: the error of a count is its root."""
    noise = np.random.default_rng(1).normal(size=(chains, draws, 1000))
    values = noise.copy()
    for t in range(1, draws):
        values[:, t] = phi * values[:, t - 1] + np.sqrt(1 - phi**2) * noise[:, t]
    high = high_rhats(diagnose(values), chains, draws)
    assert high.count > 10 and abs(high.count - high.unexplained - high.by_chance) < 3 * np.sqrt(high.count)


def test_chains_that_disagree_are_not_of_chance():
    values = np.random.default_rng(1).normal(size=(4, 500, 20))
    values[0] += 1
    assert high_rhats(diagnose(values), 4, 500) == HighRhats(20, 20, 0)
    assert high_rhats(diagnose(values[:1]), 1, 500) == HighRhats(0, 0, 0)


def test_one_chain_few_draws_and_nan_give_nan_without_noise():
    one = diagnose(autoregressive(2)[:1])
    assert np.isnan(one.rhat).all() and (one.ess_bulk > 10).all()
    assert np.isnan(diagnose(autoregressive(2)[:, :3]).ess_bulk).all()
    spoilt = autoregressive(2)
    spoilt[1, 5, 0] = np.nan
    found = diagnose(spoilt)
    assert np.isnan(found.rhat[0]) and np.isfinite(found.rhat[1])


def test_csv_json_and_terminal_show_every_quantity(draws, tmp_path):
    summary = summarize(draws, elements=100, subset=5)
    rows = list(csv.DictReader(io.StringIO(summary.to_csv(tmp_path / "s.csv"))))
    assert (tmp_path / "s.csv").exists() and [r["name"] for r in rows][-1] == "field"
    assert float(rows[0]["mean"]) == summary["mu"].mean
    content = json.loads(summary.to_json(tmp_path / "s.json"))
    assert content["rows"][1]["name"] == "alpha[county=A]" and content["num_draws"] == DRAWS
    text = str(summary)
    assert "alpha[county=A]" in text and "field[x=13, y=17]" in text and "R-hat" in text


def test_nan_is_null_in_json():
    draws = Draws.of({"posterior": {"mu": ((), np.full((2, 5), np.nan))}})
    assert json.loads(summarize(draws).to_json())["rows"][0]["mean"] is None


@pytest.mark.skipif(arviz_major() >= 1, reason="ArviZ 1.x takes a tree, not an array")
def test_bfmi_is_that_of_arviz():
    energy = autoregressive()
    np.testing.assert_allclose(energy_bfmi(energy), import_arviz().bfmi(energy), rtol=1e-10)


def test_bfmi_of_independent_energies_is_two():
    """E[(E_n - E_{n-1})^2] = 2 var(E) for independent energies; 4 x 20000 draws put it within 0.05."""
    energy = RNG.normal(size=(4, 20000))
    np.testing.assert_allclose(energy_bfmi(energy), 2, atol=0.05)
    assert np.isnan(energy_bfmi(np.ones((1, 9)))).all()
