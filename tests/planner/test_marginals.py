"""What every other state would cost: held to enumeration."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.solve.marginals import cheapest_with, marginals
from planner.solve.search import solve
from planner.solve.simplify import Impossible
from tests.examples import examples
from tests.planner.networks import choices, networks

SETTINGS = settings(derandomize=True, deadline=None, max_examples=examples(80), suppress_health_check=list(HealthCheck))


def expected(network) -> list[np.ndarray]:
    found = [np.full(len(v.states), np.inf) for v in network.variables]
    for cost, states in reversed(choices(network)):
        for marginal, s in zip(found, states, strict=True):
            marginal[s] = cost
    return found


@SETTINGS
@given(networks(), st.sampled_from([1.0, 1.5, np.inf]))
def test_min_marginals_are_those_of_enumeration(network, share):
    every = choices(network)
    if not every:
        with pytest.raises(Impossible):
            marginals(network)
        return
    cutoff = share * every[0][0]
    for found, want in zip(marginals(network, cutoff), expected(network), strict=True):
        np.testing.assert_allclose(found, np.where(want <= cutoff * (1 + 1e-12), want, np.inf), rtol=1e-9)


@SETTINGS
@given(networks(), st.integers(0, 4), st.data())
def test_the_cheapest_choice_with_each_group_of_states_is_that_of_enumeration(network, variable, data):
    variable %= len(network.variables)
    count = len(network.variables[variable].states)
    group = np.array([data.draw(st.integers(0, 1)) for _ in range(count)])
    groups = [np.flatnonzero(group == g) for g in (0, 1) if (group == g).any()]
    best = solve(network)
    if best is None:
        return
    found = cheapest_with(network, variable, groups, best.states)
    for states, answer in zip(groups, found, strict=True):
        want = [cost for cost, choice in choices(network) if choice[variable] in states]
        if not want:
            assert answer is None or not np.isfinite(answer.cost)
            continue
        assert answer.cost == pytest.approx(want[0], rel=1e-8) and answer.bound == pytest.approx(answer.cost, rel=1e-8)
        assert answer.states[variable] in states and network.cost(answer.states) == answer.cost
