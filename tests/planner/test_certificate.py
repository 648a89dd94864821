"""A certificate proves what it claims, and a corrupted one never more than is true."""

import copy
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import planner
from ir.errors import Diagnostic
from ir.mesh import Mesh
from planner.solve.certificate import as_json, certify, from_json
from planner.solve.check import Rejected, check
from planner.solve.network import with_ties
from planner.solve.search import Found, Striking, solve
from planner.solve.within import profile, solve_within
from tests.examples import examples
from tests.planner.networks import choices, networks
from tests.planner.programs import regression

SETTINGS = settings(derandomize=True, deadline=None, max_examples=examples(80), suppress_health_check=list(HealthCheck))


def messages_of(network, cost) -> list:
    """The rounds of a full ascent, also where elimination alone would do."""
    left = Striking.of(with_ties(network), cost * (1 + 1e-9), all_below=True)
    return left.proof or ([left.dual.messages()] if left.dual else [])


def with_messages(network, found: Found) -> dict:
    certificate = certify(network, found, found.cost)
    rounds = messages_of(network, found.cost)
    certificate["proof"] = {"rounds": [[m.as_data() for m in r] for r in rounds]}
    return certificate


@SETTINGS
@given(networks())
def test_a_certificate_proves_the_optimum(network):
    every = choices(network)
    if not every:
        return
    found = solve(network)
    for certificate in (certify(network, found, found.cost), with_messages(network, found)):
        proof = check(network, certificate)
        assert proof.cost == pytest.approx(every[0][0], rel=1e-8)
        assert proof.gap <= 1.1e-9
        assert check(network, from_json(json.loads(json.dumps(as_json(certificate))))) == proof


@SETTINGS
@given(networks(), st.integers(0, 2**32 - 1), st.sampled_from(["to_source", "to_use", "share", "rows", "threshold"]))
def test_a_corrupted_certificate_proves_no_more_than_the_optimum(network, seed, what):
    every = choices(network)
    if not every:
        return
    rng = np.random.default_rng(seed)
    certificate = with_messages(network, solve(network))
    if what == "threshold":
        certificate["threshold"] *= float(rng.choice([0.5, 2.0, np.inf]))
    for message in (m for r in certificate["proof"]["rounds"] for m in r):
        if what == "rows":
            message["rows"] = rng.permutation(message["rows"]).tolist()
        elif what != "threshold":
            array = message[what]
            message[what] = np.where(rng.random(array.shape) < 0.5, array * rng.normal(0, 3, array.shape) + 1, array)
    assert check(network, certificate).bound <= every[0][0] * (1 + 1e-12)


@SETTINGS
@given(networks(), st.integers(0, 4))
def test_a_split_proves_the_optimum_only_if_it_covers_every_state(network, variable):
    every = choices(network)
    if not every:
        return
    variable %= len(network.variables)
    certificate = with_messages(network, solve(network))
    leaf, states = certificate["proof"], list(range(len(network.variables[variable].states)))
    groups = [states[::2], states[1::2]]
    certificate["proof"] = {"variable": variable, "groups": groups, "proofs": [leaf, copy.deepcopy(leaf)]}
    assert check(network, certificate).gap <= 1.1e-9
    groups[0] = groups[0][1:]
    with pytest.raises(Rejected, match="cover"):
        check(network, certificate)


@settings(SETTINGS, max_examples=examples(25))
@given(networks(), st.floats(0.5, 1.0), st.integers(0, 2**32 - 1))
def test_under_a_budget_no_certificate_proves_more_than_the_best_that_fits(network, share, seed):
    every = choices(network)
    if not every:
        return
    budget = float(np.ceil(share * profile(network, np.array(every[0][1])).max()))
    fitting = [cost for cost, states in every if profile(network, np.array(states)).max() <= budget]
    found = solve_within(network, budget)
    if not fitting or found is None:
        return
    certificate = certify(network, found, found.cost, budget)
    proof = check(network, certificate, budget)
    assert proof.bound <= fitting[0] * (1 + 1e-9) and proof.cost == pytest.approx(fitting[0], rel=1e-6)
    assert proof.bound >= every[0][0] * (1 - 2e-9)
    assert proof.peak == profile(network, found.states).max()
    rng = np.random.default_rng(seed)
    certificate["multipliers"] = [[int(t), float(p)] for t, p in zip(rng.integers(0, 7, 3), rng.random(3), strict=True)]
    assert check(network, certificate, budget).bound <= fitting[0] * (1 + 1e-9)
    certificate["multipliers"][0][1] = -1.0
    with pytest.raises(Rejected, match="negative"):
        check(network, certificate, budget)


def test_a_choice_that_is_none_is_rejected():
    network = _small()
    found = solve(network)
    certificate = certify(network, found, found.cost)
    for states in ([0], [9] * len(network.variables), [-1] * len(network.variables)):
        with pytest.raises(Rejected, match="one state for each variable"):
            check(network, {**certificate, "states": states})
    with pytest.raises(Rejected, match="the budget is 1 B"):
        check(network, certificate, memory=1.0)


def _small():
    from ir.graph import Value
    from ir.layout import Layout
    from planner.solve.network import Network, Star, Use, Variable
    from tests.planner.networks import TYPE

    variables = [Variable(f"v{i}", [0, 1], np.array([1.0, 2.0]), np.zeros(2)) for i in range(2)]
    use = Use(1, np.array([0, 1]), [(0,), (1,)], (1, 1))
    price = np.array([[0.0, 3.0], [4.0, 0.0]])
    layouts = [Layout.of(), Layout.of({"i": "a"})]
    star = Star(Value("x", TYPE), 0, np.array([0, 1]), layouts, price, np.zeros((2, 2), int), [use])
    star.bytes, star.scratch = np.array([7.0, 5.0]), np.zeros((2, 2))
    return Network(variables, [star])


def test_a_plan_is_certified_and_checked():
    program, mesh = regression(n=100_003, d=20, chains=8), Mesh.parse("row=4,col=2")
    asked = {"machine": "h100x8", "pins": ["x:n=row"]}
    plan = planner.certify(program, planner.make_plan(program, mesh, **asked), **asked)
    proof = planner.check_plan(program, plan, **asked)
    assert proof.cost == pytest.approx(plan.prediction.seconds, rel=1e-12) and proof.gap <= 1.1e-9
    assert proof.peak == plan.prediction.peak_bytes
    free = planner.make_plan(program, mesh, machine="h100x8")
    with pytest.raises(Diagnostic, match="does not keep to the pins"):
        planner.check_plan(program, free, plan.certificate, **asked)
    with pytest.raises(Diagnostic, match="the budget is 10 B"):
        planner.check_plan(program, plan, **asked, memory=10.0)
    with pytest.raises(Diagnostic, match="no certificate for this question"):
        planner.check_plan(program, plan, certificate={}, **asked)


def test_a_plan_that_a_budget_forces_is_certified_with_prices_of_bytes():
    program, mesh = regression(n=10_007, d=20), Mesh.parse("row=8")
    asked = {"machine": "h100x8", "memory": 200_000.0, "recompute": False}
    free = planner.make_plan(program, mesh, machine="h100x8")
    plan = planner.certify(program, planner.make_plan(program, mesh, **asked), **asked)
    proof = planner.check_plan(program, plan, **asked)
    assert free.prediction.seconds * (1 - 2e-9) <= proof.bound <= plan.prediction.seconds
    assert any(part["multipliers"] for part in plan.certificate["options"])
