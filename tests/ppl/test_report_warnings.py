"""Every trouble of a run is told with what to do; a good run is told nothing."""

import numpy as np
import pytest

from ppl.io import Draws
from ppl.report import find_warnings, summarize
from ppl.report.diagnose import HighRhats
from ppl.report.sections import warnings_section
from ppl.report.summary import FieldRow, Summary

CHAINS, DRAWS = 4, 300


def run(seed=2, attrs=None, **stats):
    rng = np.random.default_rng(seed)
    posterior = {"mu": ((), rng.normal(size=(CHAINS, DRAWS))), "beta": (("k",), rng.normal(size=(CHAINS, DRAWS, 2)))}
    good = {
        "energy": rng.normal(size=(CHAINS, DRAWS)),
        "acceptance_rate": np.clip(rng.normal(0.8, 0.1, (CHAINS, DRAWS)), 0, 1),
        "diverging": np.zeros((CHAINS, DRAWS), bool),
        "tree_depth": np.full((CHAINS, DRAWS), 4),
        "lp": rng.normal(size=(CHAINS, DRAWS)),
    }
    attrs = {"target_acceptance": 0.8, "max_tree_depth": 10} | (attrs or {})
    return Draws.of(
        {"posterior": posterior, "sample_stats": {n: ((), v) for n, v in (good | stats).items()}}, attrs=attrs
    )


def told(draws):
    return [str(f) for f in find_warnings(draws)]


def test_a_good_run_has_no_warning():
    assert told(run()) == []


def test_a_model_constant_is_no_stuck_chain():
    draws = run()
    posterior = dict(draws["posterior"]) | {
        "one": draws["posterior"]["mu"].__class__(("chain", "draw"), np.ones((4, 300)))
    }
    assert told(Draws({"posterior": posterior, "sample_stats": draws["sample_stats"]}, attrs=draws.attrs)) == []


def test_chains_apart():
    draws = run()
    draws["posterior"]["mu"].data[0] += 2
    found = find_warnings(draws)
    assert found[0].severity == "problem" and "R-hat is above 1.01 for mu" in found[0].what
    assert "Run longer" in found[0].advice and found[0].where == ("mu",)


def test_few_effective_draws():
    draws = run()
    walk = np.cumsum(np.random.default_rng(1).normal(size=(CHAINS, DRAWS)), axis=1)
    draws["posterior"]["mu"].data[...] = walk
    text = "\n".join(told(draws))
    assert "Few effective draws: fewer than 400 (100 per chain) for mu" in text and "times as many draws" in text


def test_divergences_are_counted_by_chain():
    diverging = np.zeros((CHAINS, DRAWS), bool)
    diverging[1, :7] = diverging[3, 5:8] = True
    found = find_warnings(run(diverging=diverging))
    assert "10 of 1200 trajectories diverged (0.8%; by chain 0, 7, 0, 3)" in found[0].what
    assert "non-centred" in found[0].advice and found[0].where == ("chain 1", "chain 3")


@pytest.mark.parametrize("turned", [False, True])
def test_divergences_are_told_with_their_place(turned):
    rng = np.random.default_rng(5)
    draws = run()
    tau = np.exp(1.5 * rng.normal(size=(CHAINS, DRAWS)))  # of median 1, with a tail that spoils means
    quantile = np.quantile(tau, 0.9 if turned else 0.1)
    diverging = ((tau > quantile) if turned else (tau < quantile)) & (rng.uniform(size=tau.shape) < 0.4)
    posterior = dict(draws["posterior"]) | {"tau": draws["posterior"]["mu"].__class__(("chain", "draw"), tau)}
    stats = dict(draws["sample_stats"]) | {
        "diverging": draws["posterior"]["mu"].__class__(("chain", "draw"), diverging)
    }
    found = find_warnings(Draws({"posterior": posterior, "sample_stats": stats}, attrs=draws.attrs))
    a, b = np.median(tau[diverging]), np.median(tau)
    words = f"), mostly where tau is {'large' if turned else 'small'} (median {a:#.4g} against {b:#.4g})"
    assert words in next(f.what for f in found if "diverged" in f.what)


def test_divergences_anywhere_have_no_place():
    rng = np.random.default_rng(6)
    for part in (0.01, 0.3, 0.995):
        (text,) = [t for t in told(run(diverging=rng.uniform(size=(CHAINS, DRAWS)) < part)) if "diverged" in t]
        assert "mostly where" not in text


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ({"mean": 0.72, "error": 0.03, "values": 80}, "0.72 ± 0.03 per dim instead of 1"),
        ({"mean": 1.3, "error": 0.02, "values": 80}, "spread more widely"),
        ({"mean": 0.93, "error": 0.001, "values": 80}, None),  # significant and small
        ({"mean": 0.5, "error": 0.11, "values": 80}, None),  # large and not significant
        ({"mean": 0.5, "error": None, "values": 2}, None),
    ],
)
def test_equipartition_that_fails_is_a_problem(site, words):
    found = find_warnings(run(attrs={"virial": {"white": site, "good": {"mean": 1.0, "error": 0.01, "values": 80}}}))
    if words is None:
        assert found == []
        return
    (finding,) = found
    assert finding.severity == "problem" and finding.where == ("white",) and words in str(finding)


def test_equipartition_that_fails_on_some_scales_names_them():
    bands = [
        {"low": 0.01, "high": 0.03, "mean": 0.4, "error": 0.02},
        {"low": 0.03, "high": 0.1, "mean": 0.7, "error": 0.2},  # not significant
        {"low": 0.1, "high": 0.5, "mean": 1.01, "error": 0.001},
        {"low": 0.5, "high": 0.7, "mean": None, "error": None},
    ]
    site = {"mean": 1.0, "error": 0.01, "values": 80, "bands": bands}
    (finding,) = find_warnings(run(attrs={"virial": {"white": site}}))
    assert finding.severity == "problem" and finding.where == ("white",)
    assert "0.01 to 0.03: 0.40 ± 0.02)" in finding.what


@pytest.mark.parametrize("stat", ["tree_depth", "reached_max_treedepth"])
def test_depth_limit(stat):
    values = np.full((CHAINS, DRAWS), 4) if stat == "tree_depth" else np.zeros((CHAINS, DRAWS), bool)
    values[2, :30] = 10 if stat == "tree_depth" else True
    assert "30 of 1200 trajectories ended at the depth limit of 10" in told(run(**{stat: values}))[0]


def test_low_bfmi():
    energy = np.random.default_rng(0).normal(size=(CHAINS, DRAWS))
    energy[1] = np.cumsum(energy[1])
    assert "E-BFMI is below 0.3 in chain 1 (least 0.0" in told(run(energy=energy))[0]


@pytest.mark.parametrize(("value", "words"), [(0.5, "far below its target 0.8"), (0.99, "far above its target 0.8")])
def test_acceptance_far_from_target(value, words):
    acceptance = np.full((CHAINS, DRAWS), 0.8)
    acceptance[2] = value
    (text,) = told(run(acceptance_rate=acceptance))
    assert words in text and "in chain 2" in text


def test_non_finite_draws():
    draws = run()
    draws["posterior"]["beta"].data[0, 3, 1] = np.inf
    found = find_warnings(draws)
    assert "not finite" in found[0].what and "beta[k=1]" in found[0].what and "float64" in found[0].advice


def test_a_stuck_chain():
    draws = run()
    draws["posterior"]["mu"].data[2] = 0.3
    assert any("Every draw is the same in chain 2" in t for t in told(draws))


def test_one_chain():
    rng = np.random.default_rng(0)
    (text,) = told(Draws.of({"posterior": {"mu": ((), rng.normal(size=(1, 900)))}}))
    assert "Only one chain" in text


def test_a_field_with_few_bad_elements_is_a_caution():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(CHAINS, DRAWS, 12, 13))
    values[0, :, 0, 0] += 0.6
    found = find_warnings(Draws.of({"posterior": {"field": (("x", "y"), values)}}))
    mixing = next(f for f in found if "R-hat" in f.what)
    assert mixing.severity == "caution" and mixing.where == ("field",)
    assert "for field: 2 of 156 elements, of which chance makes about 0.2)" in mixing.what


def test_as_many_elements_of_a_field_as_chance_makes_are_no_finding():
    """400 elements of some 700 effective draws each."""
    noise = np.random.default_rng(3).normal(size=(CHAINS, 500, 20, 20))
    values = noise.copy()
    for t in range(1, 500):
        values[:, t] = 0.47 * values[:, t - 1] + np.sqrt(1 - 0.47**2) * noise[:, t]
    draws = Draws.of({"posterior": {"field": (("x", "y"), values)}})
    row = summarize(draws)["field"]
    assert row.high.count > 5 and row.rhat[2] > 1.01 and row.ess_bulk[0] > 400
    assert told(draws) == []
    values[0, :, :6] += 0.25
    text = told(Draws.of({"posterior": {"field": (("x", "y"), values)}}))[0]
    assert "R-hat is above" in text and "of 400 elements, of which chance makes about" in text


def test_the_report_tells_how_many_elements_chance_has_made():
    row = FieldRow("f", ("x",), (900,), 900, 900, *((1.0, 1.0, 1.011) for _ in range(5)), HighRhats(3, 0, 2.4))
    text = warnings_section([], Summary((), (row,), 4, 500))
    assert "at most 1.01 but for 3 elements of fields, about as many as chance makes, and there" in text
    assert "at most 1.01 and there are" in warnings_section([], Summary((), (), 4, 500))


def test_energy_errors_of_an_unadjusted_sampler_state_its_bias():
    attrs = {"target_acceptance": None, "energy_variance": 5e-4}
    shape = (CHAINS, DRAWS)
    quiet = {"energy_variance": np.full(shape, 6e-4), "rejected": np.zeros(shape)}
    assert told(run(attrs=attrs, **quiet)) == []
    loud = np.full(shape, 6e-4)
    loud[2] = 4e-3
    (text,) = told(run(attrs=attrs, **quiet | {"energy_variance": loud}))
    # 4 q^3 / (1 + q)^2 is 4e-3 at q = 0.107 and 5e-4 at q = 0.052.
    assert "chain 2" in text and "4.0e-03 per dim instead of 5.0e-04" in text
    assert "biased by about 11% of their spread, not 5%" in text and "energy_variance" in text


def test_what_stands_beside_a_field_may_be_off_by_more():
    attrs = {"target_acceptance": None, "energy_variance": 5e-4, "field_size": 10_000, "beside_field": ["amp"]}
    stats = {"energy_variance": np.full((CHAINS, DRAWS), 5e-4), "rejected": np.zeros((CHAINS, DRAWS))}
    (text,) = told(run(attrs=attrs, **stats))
    # 0.0517 sqrt(10^4) deviations; 4 (0.1 / 100)^3 is small enough for a tenth of one.
    assert text.startswith("caution: amp may be off by more than the 5%") and "to 5.2 posterior" in text
    assert "energy_variance = 4e-09" in text and "mams" in text
    small = {"energy_variance": np.full((CHAINS, DRAWS), 3.9e-9)}
    assert told(run(attrs=attrs | {"energy_variance": 3.9e-9}, **stats | small)) == []
    assert told(run(attrs=attrs | {"beside_field": []}, **stats)) == []
    block = {"energy_variance_white": np.full((CHAINS, DRAWS), 5e-4)}
    assert "amp may be off" in told(run(attrs=attrs | {"energy_variance": None}, **block))[0]


def test_undone_steps_are_told_and_are_not_called_divergences():
    rejected = np.zeros((CHAINS, DRAWS))
    rejected[1, ::100] = 0.5
    stats = {"energy_variance": np.full((CHAINS, DRAWS), 5e-4), "rejected": rejected, "diverging": rejected > 0}
    (text,) = told(run(attrs={"target_acceptance": None, "energy_variance": 5e-4}, **stats))
    assert text.startswith("caution") and "up to 0.5% of all, in chain 1" in text
