"""How many transitions a run asks for at once, and that it changes no draw."""

import numpy as np
import pytest

import ppl
from ppl.infer.pace import LONGEST, SECONDS, Pace, compiled_for
from ppl.infer.run import _few
from ppl.infer.space import Space

pytestmark = pytest.mark.usefixtures("hasty")


def test_quick_calls_double_and_slow_ones_do_not():
    pace, asked = Pace.of(ppl.nuts(block=50), 500), []
    for seconds in (0.0, SECONDS / 2, 2 * SECONDS, 0.0, 0.0, 0.0):
        asked.append(pace.now)
        pace.took(seconds)
    assert asked == [50, 100, 200, 200, 400, 500]


@pytest.mark.parametrize("thin", [1, 3, 7, 200])
def test_what_is_asked_for_is_a_multiple_of_thin(thin):
    pace = Pace.of(ppl.nuts(thin=thin, draws=600 * thin), 10 * 50 // thin * thin or thin)
    for _ in range(6):
        assert pace.now % thin == 0 and 0 < pace.now <= pace.length
        pace.took(0.0)


def test_only_few_latents_and_no_given_length_have_longer_blocks():
    assert compiled_for(ppl.nuts(), packed=True) == LONGEST * ppl.nuts().block
    assert compiled_for(ppl.nuts(), packed=False) == ppl.nuts().block
    assert compiled_for(ppl.nuts(block=20), packed=True) == 20


@pytest.mark.parametrize(("shape", "few"), [((500,), True), ((1500,), False), ((3000,), False)])
def test_sites_that_are_measured_between_blocks_keep_short_ones(shape, few):
    """From 1,000 elements on a site is held to equipartition, from 2,048 on it is not packed."""
    assert _few(Space.single({"x": shape, "y": ()}, 2)) == few


@pytest.fixture(scope="module")
def posterior():
    @ppl.model
    def line(x: ppl.Data["i"], y: ppl.Data["i"]):
        slope = ppl.sample("slope", ppl.Normal(0.0, 2.0))
        noise = ppl.sample("noise", ppl.HalfNormal(1.0))
        ppl.observe("y", ppl.Normal(slope * x, noise), y)

    x = np.linspace(-1, 1, 12)
    return ppl.compile(line, {"x": x, "y": 0.7 * x + 0.3 * np.sin(9 * x)}, dtype="float64")


@pytest.mark.parametrize(
    "make", [ppl.hmc, *(pytest.param(m, marks=pytest.mark.slow) for m in (ppl.nuts, ppl.mams, ppl.mclmc))]
)
def test_a_longer_block_changes_no_draw(posterior, make):
    runs, seen = [], []
    for more in ({}, {"block": 15}):
        done = []
        options = make(warmup=120, draws=360, thin=3, chains=2, **more)
        runs.append(
            posterior.run(
                options, seed=3, predictive=False, progress=False, watch=lambda stage, n, info, d=done: d.append(n)
            )
        )
        seen.append(len(done))
    assert seen[0] < seen[1]
    assert runs[0]["slope"].shape == (2, 120)
    np.testing.assert_array_equal(runs[0]["slope"], runs[1]["slope"])
