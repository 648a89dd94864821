"""Improper priors: chains start, runs keep their draws, nothing that depends on them passes for a prior draw."""

import numpy as np
import pytest

import ppl
from ir.passes.expand import improper_sites

MODEL = """\
model improper
dim obs
data y[obs]: real

level   ~ Flat()
spread  ~ HalfFlat()
slope   ~ Normal(0, 1)
twice   = 2 * slope
centre  = level + slope
x[obs]  ~ Normal(centre, 1)
y[obs]  ~ Normal(x, spread)
"""
SCAN = """\
model improper_scan
dim obs
data y[obs]: real

a ~ Normal(0, 1)
scan t in obs {
  h[t] ~ Flat()
  y[t] ~ Normal(a + h[t], 1)
}
"""
DATA = {"y": np.linspace(-1, 2, 9)}


def compiled(text):
    return ppl.compile(ppl.from_text(text), DATA, dtype="float64")


@pytest.mark.parametrize(
    ("text", "own", "outputs"),
    [
        (MODEL, ["level", "spread"], {"slope", "twice"} | {f"free:{s}" for s in ("level", "spread", "slope", "x")}),
        (SCAN, ["h"], {"a", "free:a", "free:h"}),
    ],
)
def test_the_prior_program_puts_out_proper_draws_and_starting_points(text, own, outputs):
    posterior = compiled(text)
    assert improper_sites(posterior.bound.program)[0] == own
    assert {n for n, _ in posterior.program("prior").outputs} == outputs


def test_chains_start_between_two_numbers_and_differ():
    posterior = compiled(MODEL)
    seen = []
    program = posterior.executable(posterior.program("prior"))
    for k in range(50):
        made = program.run({**posterior.bound.data, "key": np.array([7, k], np.uint32)})
        seen.append([made["free:level"], made["free:spread"], made["slope"]])
        assert np.isfinite(made["free:x"]).all()
    level, spread, slope = np.array(seen).T
    for u in (level, spread):
        assert (abs(u) < 2).all() and u.std() > 0.8  # of uniform numbers 1.15
    assert abs(np.corrcoef(level, spread)[0, 1]) < 0.5
    assert abs(slope).max() < 5


@pytest.mark.usefixtures("hasty")
def test_a_run_keeps_its_draws_and_says_where_chains_start():
    result = compiled(MODEL).run(ppl.nuts(chains=2, draws=20, warmup=20), progress=False)
    assert result["level"].shape == (2, 20)
    assert set(result.draws["prior"]) == {"slope", "twice"}
    assert "prior_predictive" not in result.draws.groups
    (note,) = result.notes
    assert note.startswith("'level', 'spread' have improper priors") and "between -2 and 2" in note


def test_a_proper_model_says_nothing_of_it():
    assert not compiled(MODEL.replace("HalfFlat()", "HalfNormal(1)").replace("Flat()", "Normal(0, 1)")).bound.notes
