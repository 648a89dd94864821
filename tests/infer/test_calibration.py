"""Simulation-based calibration of the exact samplers: ranks of the truth among draws are uniform (Talts et al. 2018).

Each p-value is below 1e-5 with that probability, and there are about 45. Seeds are fixed.
"""

from functools import partial

import pytest

from ppl.infer.program import exact_gaussian, gibbs, hmc, mams, nuts, slice
from tests.infer import calibration
from tests.infer.calibration import MODELS, rank_p_values

BLOCKS = {
    "hierarchy": {"mu": exact_gaussian(), "s": slice(), "t": nuts(max_depth=4)},
    "counts": {("a", "b"): mams()},
    "regression": {"b": exact_gaussian(), "s": slice()},
    "autoregression": {"h": exact_gaussian(), ("z", "s"): nuts(max_depth=4)},
    "dose": {"a": hmc(steps=4), "s": slice()},
}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("sampler", "thin"), [("nuts", 4), ("mams", 8), ("gibbs", 15)], ids=lambda x: x if isinstance(x, str) else ""
)
def test_ranks_of_the_truth_are_uniform(sampler, thin, model):
    programs = {"nuts": nuts, "mams": mams, "gibbs": partial(gibbs, BLOCKS[model.__name__])}
    found = rank_p_values(programs[sampler], model, thin)
    print(f"\n{sampler} {model.__name__}: " + ", ".join(f"{n} {p:.2g}" for n, p in found.items()))
    assert min(found.values()) > 1e-5


@pytest.mark.slow
def test_a_wrong_model_is_found_out(monkeypatch):
    """Data of twice the noise that the model knows of: the ranks are not uniform."""
    monkeypatch.setattr(calibration, "REPLICATES", 320)

    def wrong(rng):
        truth, target, shapes = calibration.counts(rng)
        return {**truth, "a": 1.5 * truth["a"]}, target, shapes

    assert rank_p_values(nuts, wrong, 2, hasty=True)["a"] < 1e-5
