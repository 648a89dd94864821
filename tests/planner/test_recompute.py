"""Keeping or recomputing, chosen jointly with the layouts: held to enumeration of all choices.

What XLA makes inside other kernels is never kept, so chains of elementwise functions have nothing to recompute. These
have products, transforms and sums between their functions, and end in a square: the gradient of a mere sum is at hand
before anything else. Memory is told as for GPUs: on CPUs XLA computes nothing twice.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import ir.ops  # noqa: F401
from ir.build import Builder, emit
from ir.errors import Diagnostic
from ir.graph import Program, Value
from ir.mesh import Mesh
from ir.ops.complex_parts import Real
from ir.ops.contract import Contract
from ir.ops.elementwise import Cast
from ir.ops.fft import FFT
from ir.ops.reduce import Sum
from ir.passes.differentiate import differentiate
from ir.passes.recompute import again, everything_again, places, recompute
from ir.passes.simplify import simplify
from ir.plan import Plan
from ir.verify import verify, verify_plan
from planner import make_plan, peak_bytes
from planner.cost import Costs, evaluate
from planner.fusion import Fusion
from tests.examples import examples

from .brute import cheapest
from .programs import call, tensor
from .test_exact import machine

SIZES = {"i": 901, "j": 70, "fj": 70, "m": 150}
OTHER = {"j": "fj", "fj": "j"}
FUNCTIONS, FIRST, THEN = ("exp", "tanh", "square"), ("product", "wide", "fft"), ("product", "wide", "fft", "centre")
Kinds = tuple[str, ...]


def gradient(kinds: Kinds, sizes: Mapping[str, int] = SIZES) -> Program:
    """A chain of functions, matrix products, transforms and sums of a field, summed up, with its gradient."""
    with Builder("chain") as b:
        value = b.input("x", tensor(i=sizes["i"], j=sizes["j"]), "latent")
        for kind in kinds:
            value = step(b, kind, value, sizes)
        program = b.finish({"log_density": emit(Sum(value.dims), value)})
    return simplify(differentiate(program, ["x"]))


def step(b: Builder, kind: str, value: Value, sizes: Mapping[str, int]) -> Value:
    dim = value.dims[1]
    if kind in ("product", "wide"):  # by one matrix, or by two with a wider field between
        for old, new in [(dim, OTHER[dim])] if kind == "product" else [(dim, "m"), ("m", OTHER[dim])]:
            name = f"{old}_to_{new}"
            found = [i.value for i in b.inputs if i.name == name]
            matrix = found[0] if found else b.input(name, tensor(**{d: sizes[d] for d in (old, new)}), "data")
            value = emit(Contract((old,)), value, matrix)
        return value
    if kind == "fft":
        return emit(Real(), emit(FFT(dim, OTHER[dim]), emit(Cast("c64"), value)))
    if kind == "centre":
        return value - emit(Sum((dim,)), value)
    return value * value if kind == "square" else call(kind, value)


@st.composite
def chains(draw, most: int) -> Kinds:
    first, function = draw(st.sampled_from(FIRST)), draw(st.sampled_from(FUNCTIONS))
    return (first, function, *draw(st.lists(st.sampled_from(THEN), min_size=1, max_size=most)), "square")


def choices(program: Program):
    """Every choice of what is recomputed, for which consumers."""
    full = everything_again(program, list(places(program)), Fusion.of(program, "gpu").unstored())
    pairs = [(value, consumer) for value, consumers in full.items() for consumer in consumers]
    for count in range(len(pairs) + 1):
        for picked in itertools.combinations(pairs, count):
            chosen: dict[str, tuple[str, ...]] = {}
            for value, consumer in picked:
                chosen[value] = (*chosen.get(value, ()), consumer)
            if all(c in {n.key for n in program.nodes} or c in {again(v) for v in chosen} for _, c in picked):
                yield chosen


def best_of_all(program: Program, costs: Costs, memory: float, bound: float = math.inf) -> float:
    """The least seconds of all choices and layouts that fit, if that is below `bound`."""
    found = bound
    for chosen in choices(program):
        written = verify(recompute(program, chosen))
        plan = cheapest(written, costs, memory, bound=found)
        if plan is not None:
            found = min(found, sum(evaluate(written, plan, costs)[:2]))
    return found


def check(kinds: Kinds, mesh: str, share: float) -> Plan | None:
    """The plan for a share of the memory that the best plan takes without a budget; None where there is none."""
    program, costs = gradient(kinds), Costs(replace(machine(1.0), platform="gpu"), Mesh.parse(mesh))
    free = make_plan(program, costs.mesh, machine=costs.machine, memory=0)
    budget = float(int(share * free.prediction.peak_bytes))
    try:
        plan = make_plan(program, costs.mesh, machine=costs.machine, memory=budget)
    except Diagnostic:
        assert best_of_all(program, costs, budget) == math.inf
        return None
    verify_plan(program, plan)
    assert peak_bytes(program, plan) <= budget
    seconds = plan.prediction.seconds
    assert np.isclose(sum(evaluate(program, plan, costs)[:2]), seconds)
    assert best_of_all(program, costs, budget, seconds * (1 + 1e-6)) == pytest.approx(seconds, rel=1e-6)
    return plan


SETTINGS = settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


def check_drawn(kinds: Kinds, share: float) -> None:
    plan = check(kinds, "1", share)
    event("nothing fits" if plan is None else "recomputes" if plan.recompute else "keeps everything")


@settings(SETTINGS, max_examples=examples(8))
@given(chains(1), st.floats(0.8, 1.0))
def test_the_plan_is_the_best_of_all_choices(kinds, share):
    check_drawn(kinds, share)


@pytest.mark.slow
@settings(SETTINGS, max_examples=examples(60))
@given(chains(2), st.floats(0.8, 1.0))
def test_the_plan_of_a_longer_chain_is_the_best_of_all_choices(kinds, share):
    check_drawn(kinds, share)


PAYS = tuple(("product", *kinds, "square") for kinds in (("square", "product"), ("exp", "product"), ("exp", "wide")))


@pytest.mark.parametrize(
    ("kinds", "mesh"),
    [
        *((k, "1") for k in PAYS),
        *(pytest.param(k, "row=2", marks=pytest.mark.slow) for k in PAYS),
    ],
)
def test_recomputing_pays_where_nothing_else_fits(kinds, mesh):
    """Of all layouts and choices, the best that fits computes something again."""
    plan = check(kinds, mesh, 0.93)
    assert plan is not None and plan.recompute


@pytest.mark.slow
def test_the_best_plans_of_many_chains_recompute():
    """The tests above are worth something: with a little less memory many of the plans compute something again."""
    every = [(a, f, b, "square") for a in FIRST for f in FUNCTIONS for b in THEN]
    plans = [check(kinds, "1", 0.93) for kinds in every]
    fit = [plan for plan in plans if plan is not None]
    count = sum(bool(plan.recompute) for plan in fit)
    print(f"\nof {len(every)} chains {len(fit)} fit into 93 % of the memory, {count} by recomputing")
    assert count >= 6
