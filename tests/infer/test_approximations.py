"""Options of optimisers and approximations: refusals, stages and statistics; what a run's warnings say of them."""

import numpy as np
import pytest

import ppl
from ir.errors import Diagnostic
from ppl.infer.fit import FitInfo
from ppl.infer.program import from_options
from ppl.io import Draws
from ppl.report import find_warnings
from ppl.report.psis import khats, pool


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("map", "optimiser", "newton"),
        ("map", "tolerance", 0),
        ("map", "history", 0),
        ("map", "learning_rate", -1.0),
        ("laplace", "curvature", "sparse"),
        ("laplace", "steps", 0),
        ("advi", "rank", -1),
        ("advi", "samples", 0),
        ("pathfinder", "history", 1.5),
    ],
)
def test_values_out_of_range_are_refused(name, option, value):
    with pytest.raises(Diagnostic) as caught:
        from_options(name, {option: value})
    assert caught.value.message.startswith(f"{name}: {option}") and caught.value.hint


def test_foreign_spellings_are_understood():
    for name, foreign, ours in (
        ("map", "optimizer", "optimiser"),
        ("map", "max_iter", "warmup"),
        ("advi", "lr", "learning_rate"),
        ("pathfinder", "history_size", "history"),
    ):
        with pytest.raises(Diagnostic) as caught:
            from_options(name, {foreign: 3})
        assert caught.value.hint == f"did you mean '{ours}'?"


def test_laplace_is_map_and_then_the_curvature():
    options = ppl.laplace(chains=3, draws=20, warmup=70, optimiser="cg", steps=9, curvature="lanczos")
    mode, last = options.stages()
    assert mode == ppl.map(chains=3, warmup=70, optimiser="cg") and options.stages() == (mode, last)
    assert (last.draws, last.warmup, last.steps, last.curvature) == (20, 1, 9, "lanczos")
    # L-BFGS remembers more than the curvature's draws need.
    assert ppl.laplace().copies() == ppl.map().copies() > options.copies()


def run(chains=2, draws=200, **changes):
    rng = np.random.default_rng(7)
    shape = (chains, draws)
    info = {
        **{n: rng.normal(size=shape) for n in FitInfo._fields},
        "leapfrogs": np.ones(shape),
        "divergent": np.zeros(shape, bool),
        "converged": np.ones(shape, bool),
        **changes,
    }
    stats = ppl.pathfinder().statistics(FitInfo(**info))
    groups = {"posterior": {"mu": ((), rng.normal(size=shape))}, "sample_stats": {n: ((), x) for n, x in stats.items()}}
    return Draws.of(groups)


def test_warnings_tell_of_what_has_not_converged_failed_or_fits_badly():
    assert find_warnings(run()) == []
    late = np.ones((2, 200), bool)
    late[1] = False
    (told,) = find_warnings(run(converged=late))
    assert told.severity == "problem" and "not converged in chain 1" in told.what and "prior" in told.advice
    (told,) = find_warnings(run(divergent=~late))
    assert told.severity == "problem" and "fails in chain 1 (200 of 400 draws)" in told.what
    heavy = np.random.default_rng(1).pareto(0.8, (2, 200))
    (told,) = find_warnings(run(log_weight=np.log(heavy)))
    assert "k-hat" in told.what and told.where == ("chain 0", "chain 1")


def test_weights_of_a_known_tail_have_its_shape_and_pool_the_better_chain():
    """The tail of (1 / U)^k is a generalised Pareto distribution of shape k; 4000 draws give it to 0.15 (5 sd)."""
    rng = np.random.default_rng(2)
    for k in (0.3, 1.0):
        assert abs(khats(-k * np.log(rng.uniform(size=(1, 4000))))[0] - k) < 0.2
    assert khats(np.zeros((1, 100)))[0] == -np.inf and np.isnan(khats(np.full((1, 100), np.nan))[0])
    weights = rng.normal(size=(2, 200)) * 0.1
    weights[1] -= 10.0
    draws = run(log_weight=weights)
    pooled = pool(draws, seed=1)
    assert pooled["posterior"]["mu"].shape == (1, 200) and pooled.attrs["pareto_k"] < 0.7
    assert np.isin(pooled["posterior"]["mu"].values, draws["posterior"]["mu"].values[0]).all()
    with pytest.raises(Diagnostic):
        pool(Draws.of({"posterior": {"mu": ((), np.zeros((1, 30)))}}))
