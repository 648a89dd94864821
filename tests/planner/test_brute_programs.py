"""Random programs of a few ops on four devices, with random pins and budgets: the plan is held to all others."""

import math

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import ir.ops  # noqa: F401
from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.errors import Diagnostic
from ir.graph import Program, Value
from ir.layout import Layout
from ir.mesh import Mesh
from ir.op import Op
from ir.ops.contract import Contract
from ir.ops.fft import FFT
from ir.ops.gather import Gather
from ir.ops.reduce import Sum
from ir.ops.stencil import Stencil
from ir.verify import verify_plan
from planner import Pin, make_plan
from planner.cost import Costs, evaluate
from planner.memory import peak_bytes
from tests.examples import examples
from tests.planner.brute import cheapest, layouts, least_seconds, ways
from tests.planner.test_exact import machine

MESH = Mesh.parse("row=2,col=2")
SIZES = {"i": 9_001, "j": 10, "k": 702}
NEW = {"i": "fi", "j": "fj", "k": "fk", "fi": "i", "fj": "j", "fk": "k"}
"""A transform takes a dim to this one."""


@st.composite
def programs(draw, most: int, rank: int = 3) -> Program:
    """One or two complex tensors of two dims or `rank`, and ops that map, sum, contract, transform, shift, look up."""
    with Builder("random") as b:
        pool: list[Value] = []
        for n in range(draw(st.integers(1, 2))):
            dims = draw(st.lists(st.sampled_from(list(SIZES)), unique=True, min_size=2, max_size=rank if n == 0 else 2))
            dims = dims if math.prod(SIZES[d] for d in dims) < 10**8 else dims[:2]
            pool.append(b.input(f"in{n}", TensorType(tuple(Dim(d, SIZES[d]) for d in dims), "c64"), "latent"))
        count = draw(st.integers(2, most))
        for _ in range(5 * count):
            if len(b.nodes) >= count:
                break
            x, y = draw(st.sampled_from(pool[-2:])), draw(st.sampled_from(pool))
            made = step(draw, b, x, y)
            pool += [made] if made is not None else []
        outputs = {"last": pool[-1]}
        others = [v for v in pool if v != pool[-1] and any(v in n.results for n in b.nodes)]
        if others and draw(st.booleans()):
            outputs["other"] = draw(st.sampled_from(others))
        same = [i.name for i in b.inputs if i.type == pool[-1].type]
        return b.finish(outputs, {"last": draw(st.sampled_from(same))} if same and draw(st.booleans()) else {})


def step(draw, b: Builder, x: Value, y: Value) -> Value | None:
    """One more value, or None where the kind that was drawn does not fit."""
    kind = draw(st.sampled_from(["fft", "fft", "neg", "add", "mul", "sum", "contract", "stencil", "gather"]))
    if not x.dims:
        return None
    dim = draw(st.sampled_from(x.dims))
    if kind == "fft" and NEW.get(dim, dim) not in x.dims and dim in NEW:
        return emit(FFT(dim, NEW[dim], dim.startswith("f")), x)
    if kind == "neg":
        return emit(Op.table["neg"](), x)
    if kind in ("add", "mul") and len({*x.dims, *y.dims}) <= 3:
        return x + y if kind == "add" else x * y
    if kind == "sum":
        return emit(Sum((dim,)), x)
    if kind == "contract" and dim in y.dims:
        return emit(Contract((dim,)), x, y)
    if kind == "stencil":
        return emit(Stencil(dim, (-1, 1), (0.5, -0.5)), x)
    if kind == "gather" and dim == "k" and "n" not in x.dims and all(i.name != "index" for i in b.inputs):
        return emit(Gather("k"), x, b.input("index", TensorType((Dim("n", 503),), "i32"), "data"))
    return None


@st.composite
def pins(draw, program: Program) -> dict[str, Layout]:
    """Layouts for one or two values, each of which some strategy of its maker leaves (an input: any)."""
    makers = {v.name: n for n in program.nodes for v in n.results}
    values = [*(i.value for i in program.inputs), *(v for n in program.nodes for v in n.results)]
    found = {}
    for value in draw(st.lists(st.sampled_from(values), unique_by=lambda v: v.name, min_size=1, max_size=2)):
        if value.name in makers:
            node = makers[value.name]
            legal = sorted(
                {node.op.result_layouts(node.types, s)[0] for s in node.op.strategies(node.types, MESH)}, key=str
            )
        else:
            legal = layouts(value, MESH)
        found[value.name] = draw(st.sampled_from(legal))
    return found


MANY = 150_000
"""So many choices are gone through one by one in some ten seconds."""
SCALES = st.sampled_from([0.1, 1.0, 100.0])
SETTINGS = settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


def check(program: Program, scale: float, pinned: dict[str, Layout]) -> None:
    """The plan costs what the best of all costs; where there is none, the pins contradict each other."""
    costs = Costs(machine(scale), MESH)
    orders = [Pin.exact(name, layout) for name, layout in pinned.items()]
    allow = lambda value, layout: pinned.get(value.name, layout) == layout  # noqa: E731
    try:
        plan = make_plan(program, MESH, machine=costs.machine, memory=0, pins=orders)
    except Diagnostic:
        assert pinned and least_seconds(program, costs, allow) == math.inf
        return
    verify_plan(program, plan)
    assert plan.prediction.seconds == pytest.approx(sum(evaluate(program, plan, costs)[:2]), rel=1e-9)
    assert all(plan.layouts[name] == layout for name, layout in pinned.items())
    best = least_seconds(program, costs, allow, bound=plan.prediction.seconds * (1 + 1e-9))
    assert plan.prediction.seconds == pytest.approx(best, rel=1e-9)


@settings(SETTINGS, max_examples=examples(12))
@given(programs(3, rank=2), SCALES, st.data())
def test_a_random_program_gets_the_best_plan(program, scale, data):
    check(program, scale, data.draw(pins(program)) if data.draw(st.booleans()) else {})


@pytest.mark.slow
@settings(SETTINGS, max_examples=examples(80))
@given(programs(6), SCALES, st.data())
def test_a_longer_random_program_gets_the_best_plan(program, scale, data):
    check(program, scale, data.draw(pins(program)) if data.draw(st.booleans()) else {})


def check_budget(program: Program, mesh: Mesh, scale: float, share: float, most: float = math.inf) -> None:
    """Between the least that any plan needs and what the best plan takes: the best of those that fit.

    Where nothing fits, all choices are gone through, since there is no price to beat; programs of `most` or more of
    them are passed over then.
    """
    costs = Costs(machine(scale), mesh)
    free = make_plan(program, mesh, machine=costs.machine, memory=0)
    budget = float(int(share * free.prediction.peak_bytes))
    try:
        plan = make_plan(program, mesh, machine=costs.machine, memory=budget, recompute=False)
    except Diagnostic:
        assume(ways(program, mesh) < most)
        assert cheapest(program, costs, budget) is None
        return
    assert peak_bytes(program, plan) == plan.prediction.peak_bytes <= budget
    seconds = plan.prediction.seconds
    best = cheapest(program, costs, budget, bound=seconds * (1 + 1e-6))
    assert best is not None and seconds == pytest.approx(sum(evaluate(program, best, costs)[:2]), rel=1e-6)


@settings(SETTINGS, max_examples=examples(12))
@given(programs(3, rank=2), SCALES, st.floats(0.3, 1.0))
def test_a_budget_gets_the_best_plan_that_fits(program, scale, share):
    check_budget(program, Mesh.parse("row=4"), scale, share)


@pytest.mark.slow
@settings(SETTINGS, max_examples=examples(60))
@given(programs(4), SCALES, st.floats(0.3, 1.0))
def test_a_budget_on_a_longer_program_gets_the_best_plan_that_fits(program, scale, share):
    check_budget(program, Mesh.parse("row=4"), scale, share)


@pytest.mark.slow
@settings(SETTINGS, max_examples=examples(30))
@given(programs(2, rank=2), SCALES, st.floats(0.2, 1.0))
def test_a_budget_on_two_axes_gets_the_best_plan_that_fits(program, scale, share):
    check_budget(program, MESH, scale, share, MANY)
