"""The k best choices: held to enumeration."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ir.errors import Diagnostic
from ir.mesh import Mesh
from ir.verify import verify_plan
from planner import best_plans, make_plan
from planner.solve.best import best_choices
from planner.solve.within import profile
from tests.examples import examples
from tests.planner.networks import choices, networks
from tests.planner.programs import regression

SETTINGS = settings(derandomize=True, deadline=None, max_examples=examples(60), suppress_health_check=list(HealthCheck))


@SETTINGS
@given(networks(), st.integers(1, 9))
def test_the_k_best_choices_are_those_of_enumeration(network, k):
    want = choices(network)[:k]
    found = best_choices(network, k)
    assert [f.cost for f in found] == pytest.approx([cost for cost, _ in want], rel=1e-8)
    assert len({tuple(f.states.tolist()) for f in found}) == len(found)
    assert all(network.cost(f.states) == f.cost for f in found)


@settings(SETTINGS, max_examples=examples(15))
@given(networks(most=4, states=3), st.integers(1, 4), st.floats(0.6, 1.2))
def test_the_k_best_choices_within_a_budget_are_those_of_enumeration(network, k, share):
    every = choices(network)
    if not every:
        return
    budget = np.ceil(share * profile(network, np.array(every[0][1])).max())
    want = [cost for cost, states in every if profile(network, np.array(states)).max() <= budget][:k]
    found = best_choices(network, k, budget)
    assert [f.cost for f in found] == pytest.approx(want, rel=1e-6)
    assert all(profile(network, f.states).max() <= budget for f in found)
    assert len({tuple(f.states.tolist()) for f in found}) == len(found)


def test_the_best_plans_of_a_program_differ_and_come_in_order():
    program, mesh = regression(n=100_003, d=20, chains=8), Mesh.parse("row=4,col=2")
    plans = best_plans(program, mesh, 6, machine="h100x8")
    seconds = [p.prediction.seconds for p in plans]
    assert len(plans) == 6 and seconds == sorted(seconds)
    assert seconds[0] == make_plan(program, mesh, machine="h100x8").prediction.seconds
    assert not any(a == b for i, a in enumerate(plans) for b in plans[:i])
    for plan in plans:
        verify_plan(program, plan)
    with pytest.raises(Diagnostic, match="0 plans cannot be listed"):
        best_plans(program, mesh, 0)
