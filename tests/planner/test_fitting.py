"""What cannot fit a budget is struck off, and nothing else: bytes propagated against enumeration."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks._graphs import gaussian_field
from ir.graph import Value
from ir.layout import Layout
from ir.mesh import Mesh
from planner import Costs, Machine, TooSmall, make_plan
from planner.problem import Problem, Question
from planner.solve.bound import Dual
from planner.solve.fitting import Fitting, least_possible
from planner.solve.network import Network, Star, Use, Variable
from planner.solve.priced import lean
from planner.solve.within import profile
from tests.examples import examples
from tests.planner.networks import TYPE, choices, networks


@st.composite
def timed(draw):
    """A network some of whose originals outlive their life, and whose uses take their time; its choices and peaks."""
    network = draw(networks(most=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    for star in network.stars:
        star.life = 0, int(rng.integers(0, 5))
        star.stored = bool(rng.random() < 0.8)
        for use in star.uses:
            first = int(rng.integers(0, 6))
            use.time = first, int(rng.integers(first, 7))
    peaks = [(np.array(states), float(profile(network, np.array(states)).max())) for _, states in choices(network)]
    return network, peaks


@given(timed(), st.floats(0.3, 1.2))
@settings(max_examples=examples(60), deadline=None)
def test_no_choice_that_fits_loses_a_state(found, share):
    network, peaks = found
    memory = share * float(np.median([peak for _, peak in peaks])) if peaks else 1.0
    fitting = Fitting(network, memory)
    possible = fitting.propagate()
    fits = [states for states, peak in peaks if peak <= memory]
    assert possible or not fits
    for states in fits:
        assert all(fitting.alive[i][s] for i, s in enumerate(states))


@given(timed())
@settings(max_examples=examples(25), deadline=None)
def test_bounds_on_the_least_peak_hold(found):
    network, peaks = found
    least = min((peak for _, peak in peaks), default=np.inf)
    deadline = time.monotonic() + 60
    leanest = lean(network, 0.0, (), profile, deadline)
    assert leanest.bound <= least * (1 + 1e-9) and leanest.peak >= least
    if np.isfinite(least):
        assert least_possible(network, 0.0, 2 * least + 1.0, deadline) <= least * (1 + 1e-9)


@pytest.mark.parametrize("share", [pytest.param(0.6, marks=pytest.mark.slow), 0.999])
def test_a_budget_just_under_the_least_peak_is_refused_soon_and_for_good(share):
    program, mesh = gaussian_field((512, 510, 508)), Mesh.parse("row=4,col=2")
    free = make_plan(program, mesh, machine="h200x8", memory=0)
    assert free.prediction is not None
    begin = time.process_time()
    with pytest.raises(TooSmall, match="fits into") as error:
        make_plan(program, mesh, machine="h200x8", memory=share * free.prediction.peak_bytes)
    assert time.process_time() - begin < 15
    # Nothing is leaner than the fastest, but for a scalar.
    assert error.value.needed == pytest.approx(free.prediction.peak_bytes, rel=1e-6)
    assert error.value.proven > 0.9999 * error.value.needed
    assert error.value.enough is not None or share < 0.97


def test_a_search_is_told_apart_from_a_proof():
    costs = Costs(Machine.load("h200x8"), Mesh.parse("row=4,col=2"))
    problem = Problem.of(gaussian_field((128, 126, 124)), costs, Question(memory=1e6))
    assert problem.search() == (None, True)


def test_a_star_of_which_nobody_wants_anything_any_more_is_bounded():
    """What is left of a value when every second copy that could take it has been struck off."""
    either = np.array([0, 1])
    uses = [Use(n, either, [(), (1,)]) for n in (1, 2)]
    price = np.array([[0.0, 2.0], [3.0, 0.0]])
    star = Star(Value("x", TYPE), 0, either, [Layout.of(), Layout.of({"i": "a"})], price, np.zeros((2, 2)), uses)
    variables = [Variable(f"v{n}", [0, 1], np.array([1.0, 1.5]), np.zeros(2)) for n in range(3)]
    dual = Dual(Network(variables, [star]), 1e6)
    dual.ascend(2)
    dual.restrict([either, either[:1], either[:1]])
    dual.ascend(2)
    assert dual.state_bounds()[1] == pytest.approx(3.0)
