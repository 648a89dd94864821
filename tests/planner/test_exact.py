"""The plan is the best one there is: held to enumeration on small random programs."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ir.ops  # noqa: F401
from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.errors import Diagnostic
from ir.graph import Program
from ir.mesh import Mesh
from ir.op import Op
from ir.ops.contract import Contract
from ir.ops.create import Broadcast
from ir.ops.gather import Gather
from ir.ops.reduce import MaxOver, Sum
from ir.verify import verify_plan
from planner import Machine, make_plan
from planner.cost import Costs, evaluate
from planner.memory import peak_bytes, profile
from planner.solve.fitting import NEAR
from tests.examples import examples
from tests.planner.brute import cheapest

SIZES = {"i": 90_000, "j": 11, "k": 701}


@st.composite
def programs(draw, most: int) -> Program:
    """A few real ops on tensors of unlike sizes, outputs tied and free."""
    with Builder("random") as b:
        pool = []
        for n in range(draw(st.integers(1, 2))):
            dims = draw(st.lists(st.sampled_from(["i", "j", "k"]), unique=True, min_size=1, max_size=2))
            pool.append(b.input(f"in{n}", TensorType(tuple(Dim(d, SIZES[d]) for d in dims)), "latent"))
        count = draw(st.integers(2, most))
        while len(b.nodes) < count:
            x, y = draw(st.sampled_from(pool[-3:])), draw(st.sampled_from(pool))
            kind = draw(st.sampled_from(["sum", "max", "exp", "add", "mul", "contract", "broadcast", "gather", "neg"]))
            shared = [d for d in x.dims if d in y.dims]
            if kind in ("sum", "max") and x.dims:
                pool.append(emit({"sum": Sum, "max": MaxOver}[kind]((draw(st.sampled_from(x.dims)),)), x))
            elif kind in ("exp", "neg"):
                pool.append(emit(Op.table[kind](), x))
            elif kind in ("add", "mul") and len({*x.dims, *y.dims}) < 3:
                pool.append(x + y if kind == "add" else x * y)
            elif kind == "contract" and shared:
                pool.append(emit(Contract((draw(st.sampled_from(shared)),)), x, y))
            elif kind == "broadcast" and (new := [d for d in SIZES if d not in x.dims]) and len(x.dims) < 2:
                pool.append(emit(Broadcast((Dim(new[0], SIZES[new[0]]),)), x))
            elif kind == "gather" and "k" in x.dims and all(i.name != "index" for i in b.inputs) and "n" not in x.dims:
                index = b.input("index", TensorType((Dim("n", 5003),), "i32"), "data")
                pool.append(emit(Gather("k"), x, index))
        outputs, ties = {"last": pool[-1]}, {}
        made = [v for v in pool[len(b.inputs) :] if v != pool[-1]]
        if made and draw(st.booleans()):
            outputs["other"] = draw(st.sampled_from(made))
        for name, value in outputs.items():
            same = [i.name for i in b.inputs if i.type == value.type and i.name.startswith("in")]
            if same and draw(st.booleans()):
                ties[name] = draw(st.sampled_from(same))
        return b.finish(outputs, ties)


def machine(scale: float) -> Machine:
    """A laptop whose communication is `scale` times as fast: small, and plans split; large, and they do not."""
    import dataclasses

    base = Machine.load("laptop")
    link = dataclasses.replace(
        base.inside, alpha=tuple(a / scale for a in base.inside.alpha), beta=tuple(b * scale for b in base.inside.beta)
    )
    return dataclasses.replace(base, inside=link, across=link)


def check(program: Program, mesh: Mesh, scale: float, memory: float | None = None) -> None:
    costs = Costs(machine(scale), mesh)
    plan = make_plan(program, mesh, machine=costs.machine, memory=memory or 0, recompute=False)
    verify_plan(program, plan)
    compute, communication, _ = evaluate(program, plan, costs)
    assert plan.prediction.seconds == pytest.approx(compute + communication, rel=1e-9)
    best = cheapest(program, costs, memory or math.inf)
    expected = sum(evaluate(program, best, costs)[:2])
    assert plan.prediction.seconds == pytest.approx(expected, rel=1e-6)
    assert plan.prediction.bound <= expected * (1 + 1e-9)
    assert plan.prediction.gap < 1e-5
    if memory:
        assert peak_bytes(program, plan) <= memory


SETTINGS = settings(derandomize=True, deadline=None, max_examples=examples(60), suppress_health_check=list(HealthCheck))


@SETTINGS
@given(programs(6), st.sampled_from([0.1, 1.0, 100.0]))
def test_the_plan_on_two_devices_is_the_best_of_all(program, scale):
    check(program, Mesh.parse("row=2"), scale)


@settings(SETTINGS, max_examples=examples(25))
@given(programs(3), st.sampled_from([1.0, 100.0]))
def test_the_plan_on_two_by_two_devices_is_the_best_of_all(program, scale):
    check(program, Mesh.parse("row=2,col=2"), scale)


def check_budget(program: Program, scale: float, share: float) -> None:
    mesh = Mesh.parse("row=2")
    free = make_plan(program, mesh, machine=machine(scale), memory=0)
    budget = float(int(share * free.prediction.peak_bytes))
    try:
        make_plan(program, mesh, machine=machine(scale), memory=budget, recompute=False)
    except Diagnostic as error:
        assert cheapest(program, Costs(machine(scale), mesh), budget) is None
        least = float(error.hint.split("mesh is ")[1].split(" B")[0].replace(",", ""))
        check(program, mesh, scale, least)
        assert cheapest(program, Costs(machine(scale), mesh), least * (1 - NEAR) - 1) is None
    else:
        check(program, mesh, scale, budget)
        assert profile(program, free).max() == free.prediction.peak_bytes


SCALES = st.sampled_from([0.1, 1.0, 100.0])


@settings(SETTINGS, max_examples=examples(20))
@given(programs(4), SCALES, st.floats(0.5, 1.0))
def test_the_plan_within_a_memory_budget_is_the_best_that_fits(program, scale, share):
    check_budget(program, scale, share)


@pytest.mark.slow
@settings(SETTINGS, max_examples=examples(40))
@given(programs(5), SCALES, st.floats(0.5, 1.0))
def test_the_plan_of_a_longer_program_within_a_memory_budget_is_the_best_that_fits(program, scale, share):
    check_budget(program, scale, share)
