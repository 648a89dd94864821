"""Keeping or recomputing, chosen jointly with the layouts: held to enumeration of all choices."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ir.ops  # noqa: F401
from ir.build import Builder, emit
from ir.graph import Program
from ir.mesh import Mesh
from ir.ops.reduce import Sum
from ir.passes.differentiate import differentiate
from ir.passes.recompute import again, everything_again, places, recompute
from ir.passes.simplify import simplify
from ir.verify import verify, verify_plan
from planner import make_plan, peak_bytes
from planner.cost import Costs, evaluate

from .brute import cheapest
from .programs import call, tensor
from .test_exact import machine

UNARY = ("exp", "sin", "tanh")


@st.composite
def gradients(draw) -> Program:
    """A chain of one to three functions of a field and a sum, with its gradient."""
    with Builder("chain") as b:
        x = value = b.input("x", tensor(n=draw(st.sampled_from([4001, 90_000]))), "latent")
        for name in draw(st.lists(st.sampled_from(UNARY), min_size=1, max_size=2)):
            value = call(name, value)
        if draw(st.booleans()):
            value = value * x
        program = b.finish({"log_density": emit(Sum(("n",)), value)})
    return simplify(differentiate(program, ["x"]))


def choices(program: Program):
    """Every choice of what is recomputed, for which consumers."""
    full = everything_again(program, [n for n in places(program)])
    pairs = [(value, consumer) for value, consumers in full.items() for consumer in consumers]
    for count in range(len(pairs) + 1):
        for picked in itertools.combinations(pairs, count):
            chosen: dict[str, tuple[str, ...]] = {}
            for value, consumer in picked:
                chosen[value] = (*chosen.get(value, ()), consumer)
            if all(c in {n.key for n in program.nodes} or c in {again(v) for v in chosen} for _, c in picked):
                yield chosen


def best_of_all(program: Program, costs: Costs, memory: float) -> float:
    found = math.inf
    for chosen in choices(program):
        written = verify(recompute(program, chosen))
        plan = cheapest(written, costs, memory)
        if plan is not None:
            found = min(found, sum(evaluate(written, plan, costs)[:2]))
    return found


@settings(derandomize=True, deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))
@given(gradients(), st.sampled_from(["1", "row=2"]), st.floats(0.4, 1.0))
def test_the_plan_is_the_best_of_all_choices(program, mesh, share):
    costs = Costs(machine(1.0), Mesh.parse(mesh))
    free = make_plan(program, costs.mesh, machine=costs.machine, memory=0)
    budget = float(int(share * free.prediction.peak_bytes))
    expected = best_of_all(program, costs, budget)
    if expected == math.inf:
        with pytest.raises(Exception, match="fit"):
            make_plan(program, costs.mesh, machine=costs.machine, memory=budget)
        return
    plan = make_plan(program, costs.mesh, machine=costs.machine, memory=budget)
    verify_plan(program, plan)
    assert peak_bytes(program, plan) <= budget
    assert plan.prediction.seconds == pytest.approx(expected, rel=1e-6)
    assert np.isclose(sum(evaluate(program, plan, costs)[:2]), expected)
