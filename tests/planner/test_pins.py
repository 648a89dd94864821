"""The user's word: pins hold, and a pin that cannot be is explained."""

import pytest

from ir.build import Builder, emit
from ir.errors import Diagnostic
from ir.layout import Layout
from ir.mesh import Mesh
from ir.verify import verify_plan
from planner import Machine, Pin, make_plan, parse_pin
from tests.planner.programs import call, fourier, regression, tensor, two_products

H100 = Machine.load("h100x8")
MESH = Mesh.parse("row=4,col=2")


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("delta:x=row", "delta:x=row"),
        ("delta:x=row+col,y=", "delta:x=row+col,y="),
        ("white: x = row", "white:x=row"),
        ("delta: x = row + col , y = ", "delta:x=row+col,y="),
        ("delta:whole", "delta:whole"),
        ("chain:row", "chain:row"),
        ("chain: whole", "chain:whole"),
    ],
)
def test_pins_are_read_and_printed(text, printed):
    assert str(parse_pin(text)) == printed
    assert parse_pin(printed) == parse_pin(text)


def test_pins_from_python():
    assert Pin.of("delta", {"x": "row+col", "y": []}) == parse_pin("delta:x=row+col,y=")
    assert Pin.of("beta", "whole") == parse_pin("beta:whole")


@pytest.mark.parametrize(
    ("pin", "layout"),
    [
        ("x:n=col", {"n": "col"}),
        ("x:n=col,d=row", {"n": "col", "d": "row"}),
        ("x:n=col+row", {"n": ("col", "row")}),
        ("x:whole", {}),
        ("w:d=row", {"d": "row"}),
    ],
)
def test_a_pinned_input_arrives_so(pin, layout):
    program = regression(n=100_000_007, d=24)
    plan = make_plan(program, MESH, machine=H100, pins=[pin])
    verify_plan(program, plan)
    found = plan.layouts[pin[0]].split
    assert all(found.get(d, ()) == Layout.of({d: a}).axes(d) for d, a in layout.items())
    assert pin != "x:whole" or not found
    assert plan.pins == (pin,)


def test_a_pin_costs_at_least_nothing_and_the_best_layout_costs_nothing():
    program = two_products(tokens=64, width=8192, hidden=32_768)
    free = make_plan(program, MESH, machine=H100)
    for layout in ("h=row", "h=col", "i=row", "h=row+col"):
        pinned = make_plan(program, MESH, machine=H100, pins=[f"A:{layout}"])
        assert pinned.prediction.seconds >= free.prediction.seconds * (1 - 1e-9)
    same = make_plan(program, MESH, machine=H100, pins=[Pin.exact("A", free.layouts["A"])])
    assert same.prediction.seconds == pytest.approx(free.prediction.seconds, rel=1e-9)


def test_a_derived_value_is_pinned_by_the_name_that_the_user_gave_it():
    program = fourier(512, 384, 256)
    name = program.nodes[1].results[0].name
    plan = make_plan(program, MESH, machine=H100, pins=["half:kz=row"], names={"half": name})
    assert plan.layouts[name].axes("kz") == ("row",)


def test_a_pin_may_name_an_axis_of_size_one():
    program = regression(n=10_007, d=20)
    plan = make_plan(program, Mesh.parse("row=1,col=2"), machine=H100, pins=["x:n=row"])
    verify_plan(program, plan)
    assert plan.layouts["x"].axes("n") == ("row",)


WRONG = {
    "syntax": ["delta"],
    "syntax_dims": ["x:n"],
    "dim_twice": ["x:n=row,n=col"],
    "unknown_value": ["xx:n=row"],
    "unknown_value_far": ["temperature:n=row"],
    "unknown_dim": ["x:m=row"],
    "unknown_axis": ["x:n=rwo"],
    "unknown_axis_far": ["x:n=gpu"],
    "axis_twice": ["x:n=row,d=row"],
    "axis_twice_on_one_dim": ["x:n=row+row"],
    "contradiction": ["x:n=row", "x:n=col"],
    "contradiction_whole": ["x:whole", "x:n=col"],
    "contradiction_axis": ["x:n=row", "x:d=row"],
    "no_chains": ["chain:row"],
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_pin_is_explained(case, golden):
    with pytest.raises(Diagnostic) as caught:
        make_plan(regression(n=10_007, d=20), MESH, machine=H100, pins=WRONG[case])
    golden(f"planner/pin_{case}.txt", caught.value.render() + "\n")


CHAINS = {
    "chains_uneven": ["chain:row"],
    "chains_contradiction": ["chain:col", "chain:whole"],
    "chains_axis_taken": ["chain:col", "x:n=col"],
    "chains_axis_unknown": ["chain:gpu"],
}


@pytest.mark.parametrize("case", CHAINS)
def test_a_wrong_chain_pin_is_explained(case, golden):
    with pytest.raises(Diagnostic) as caught:
        make_plan(regression(n=10_007, d=20, chains=6), MESH, machine=H100, pins=CHAINS[case])
    golden(f"planner/pin_{case}.txt", caught.value.render() + "\n")


def test_a_pin_that_its_producer_cannot_give_says_what_it_needs(golden):
    program = fourier(512, 384, 256)
    names = {"half": program.nodes[1].results[0].name}
    with pytest.raises(Diagnostic) as caught:
        make_plan(program, MESH, machine=H100, pins=["half:ky=row"], names=names)
    golden("planner/pin_whole_dim.txt", caught.value.render() + "\n")


def test_a_pin_against_what_is_fixed_is_refused(golden):
    program = regression(n=10_007, d=20)
    with pytest.raises(Diagnostic) as caught:
        make_plan(program, MESH, machine=H100, pins=["w:d=row"], fixed={"w": Layout.of()})
    golden("planner/pin_fixed.txt", caught.value.render() + "\n")


def test_a_pin_along_a_dim_of_one_element_is_refused(golden):
    with Builder("thin") as b:
        x = b.input("x", tensor(n=1, m=9), "data")
        program = b.finish({"y": call("exp", x)})
    with pytest.raises(Diagnostic) as caught:
        make_plan(program, MESH, machine=H100, pins=["y:n=row"], names={"y": program.nodes[0].key})
    golden("planner/pin_one_element.txt", caught.value.render() + "\n")


FIXED = {
    "unknown": {"zz": Layout.of()},
    "partial": {"w": Layout.of(partial=("row",))},
    "dim": {"w": Layout.of({"n": "row"})},
    "tie": {"w": Layout.of({"d": "row"}), "gradient": Layout.of()},
}


@pytest.mark.parametrize("case", FIXED)
def test_a_wrong_fixed_layout_is_explained(case, golden):
    with pytest.raises(Diagnostic) as caught:
        make_plan(regression(n=10_007, d=20), MESH, machine=H100, fixed=FIXED[case])
    golden(f"planner/fixed_{case}.txt", caught.value.render() + "\n")


def test_an_emitted_sum_may_stay_partial_under_a_pin():
    with Builder("sums") as b:
        x = b.input("x", tensor(n=100_000_007, k=16), "data")
        from ir.ops.reduce import Sum

        program = b.finish({"s": emit(Sum(("n",)), x)})
    plan = make_plan(program, MESH, machine=H100, pins=["s:k="], names={"s": program.nodes[0].key})
    assert plan.layouts[program.nodes[0].key].partial
