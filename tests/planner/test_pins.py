"""The user's word: pins hold, bans forbid, preferences are met where affordable, and mistakes are explained."""

from itertools import combinations

import pytest

from ir.build import Builder, emit
from ir.errors import Diagnostic
from ir.layout import Layout
from ir.mesh import Mesh
from ir.ops.reduce import Sum
from ir.verify import verify_plan
from planner import Machine, Pin, alternatives, format_plan, make_plan, parse_order, parse_pin, without_chains
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
        ("delta:y/col, x/row", "delta:x/row, y/col"),
        ("delta:x/row+col; sum over mid", "delta:x/row+col; sum over mid"),
        ("delta: whole ; sum over mid", "delta:whole; sum over mid"),
        ("delta:x/row; max over mid", "delta:x/row; max over mid"),
        ("delta: x/row ;summed", "delta:x/row; summed"),
        ("ban  delta:x = col", "ban delta:x=col"),
        ("ban delta:whole; sum over row", "ban delta:whole; sum over row"),
        ("prefer delta:whole; sum over row, within=0.1", "prefer delta:whole; sum over row,within=0.1"),
        ("ban chain:whole", "ban chain:whole"),
        ("prefer delta:x=row", "prefer delta:x=row,within=0.05"),
        ("prefer delta:x=row,y=col, within = 2 %", "prefer delta:x=row,y=col,within=0.02"),
        ("prefer delta:whole,within=300%", "prefer delta:whole,within=300%"),
        ("prefer delta:within=row", "prefer delta:within=row,within=0.05"),
    ],
)
def test_orders_are_read_and_printed(text, printed):
    assert str(parse_order(text)) == printed
    assert parse_order(printed) == parse_order(text)


def test_orders_for_a_program_without_chains():
    said = ["chain:row", "ban chain:whole", "f:chain=row", "f:chain=row,x=col", "ban f:chain=row", "ban f:x=row",
            "prefer f:chain=row,y=col", "f:chain/row, x/col", "f:x=col"]  # fmt: skip
    left = ["f:x=col", "ban f:x=row", "prefer f:y=col,within=0.05", "f:x/col", "f:x=col"]
    assert [str(order) for order in without_chains(said)] == left


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


def test_a_sum_may_be_left_open_over_an_axis_of_size_one():
    program = regression(n=10_007, d=20)
    (name,) = (n.key for n in program.nodes if n.op.name == "contract" and n.results[0].type.dims == ())
    plan = make_plan(program, Mesh.parse("row=1,col=2"), machine=H100, pins=[f"{name}:whole; sum over row"])
    assert plan.layouts[name] == Layout.of({}, ["row"])


def test_a_permute_to_a_whole_value_is_priced():
    """Dims of one element reach layouts that nothing else does; the search prices each plan again and compares."""
    with Builder("short") as b:
        u = b.input("u", tensor("f32", t=3, n=1), "latent")
        program = b.finish({"density": emit(Sum(("t", "n")), u * u)})
    plan = make_plan(program, Mesh.parse("r=1,c=4"), machine=H100, pins=["u:t=r"])
    assert plan.layouts["u"].axes("t") == ("r",)


@pytest.mark.parametrize(
    ("ban", "forbidden"),
    [
        ("A:h=row", lambda x: x.axes("h") == ("row",)),
        ("A:h=row,i=col", lambda x: x == Layout.of({"h": "row", "i": "col"})),
        ("A:h/row", lambda x: x == Layout.of({"h": "row"})),
        ("A:whole", lambda x: x == Layout.of()),
    ],
)
def test_a_ban_gives_the_best_plan_of_those_that_it_leaves(ban, forbidden):
    program = two_products(tokens=64, width=8192, hidden=32_768)
    every = alternatives(program, MESH, "A", machine=H100)
    plan = make_plan(program, MESH, machine=H100, pins=[f"ban {ban}"])
    verify_plan(program, plan)
    assert any(forbidden(a.layout) for a in every) and not forbidden(plan.layouts["A"])
    left = min(a.plan.prediction.seconds for a in every if not forbidden(a.layout))
    assert plan.prediction.seconds == pytest.approx(left, rel=1e-9)


def test_what_the_best_plan_has_may_be_banned_until_nothing_is_left():
    program = fourier(512, 384, 256)
    seconds, orders = 0.0, []
    for _ in range(4):
        plan = make_plan(program, MESH, machine=H100, pins=orders)
        assert plan.prediction.seconds >= seconds and plan.pins == tuple(orders)
        seconds = plan.prediction.seconds
        orders.append(f"ban {Pin.exact('delta', plan.layouts['delta'])}")
    assert len(set(orders)) == 4


@pytest.mark.parametrize(("ban", "kept"), [("chain:whole", True), ("chain:row+col", False)])
def test_a_ban_of_the_chains(ban, kept):
    program = regression(n=10_000_019, d=20, chains=8)
    plan = make_plan(program, MESH, machine=H100, pins=[f"ban {ban}"])
    assert plan.layouts["w"].axes("chain") != (() if kept else ("row", "col"))


WISHES = [
    "prefer A:h=row,within=0.05",
    "prefer A:h=col,within=200%",
    "prefer x:i=row+col,within=0.6",
    "prefer B:o=row,within=1",
    "prefer y:whole,within=0.5",
]


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(WISHES, marks=pytest.mark.slow),
        pytest.param(WISHES[::-1], marks=pytest.mark.slow),
        WISHES[1:4],
        WISHES[:1],
        WISHES[1:2],
    ],
)
def test_the_largest_affordable_set_of_preferences_is_met_the_first_of_equals(order):
    """Against plain enumeration of all subsets, each solved as pins."""
    program = two_products(tokens=64, width=8192, hidden=32_768)
    names = {"y": program.nodes[-1].key}
    wishes = [parse_order(w) for w in order]

    def best(chosen):
        pins = [w.pin for w in chosen]
        try:
            return make_plan(program, MESH, machine=H100, pins=pins, names=names).prediction.seconds
        except Diagnostic:
            return float("inf")

    free = best([])
    subsets = (s for n in range(len(wishes), -1, -1) for s in combinations(wishes, n))
    met = next(s for s in subsets if best(s) <= (1 + min([w.within for w in s], default=0)) * free * (1 + 1e-9))
    plan = make_plan(program, MESH, machine=H100, pins=order, names=names)
    verify_plan(program, plan)
    assert [p.met for p in plan.preferred] == [w in met for w in wishes]
    assert plan.prediction.seconds == pytest.approx(best(met), rel=1e-9)
    assert plan.pins == tuple(order)
    for wish, told in zip(wishes, plan.preferred, strict=True):
        rest = [w for w in met if w is not wish]
        other = best(rest if told.met else [w for w in wishes if w in met or w is wish])
        assert told.extra == (None if other == float("inf") else pytest.approx(abs(other - best(met)), abs=1e-12))


def test_the_table_says_what_came_of_each_preference(golden):
    program = fourier(512, 384, 256)
    orders = ["ban delta:whole", "prefer delta:x=row+col,within=1%", "prefer delta:z=row", "prefer 2:kx=col,within=1%"]
    plan = make_plan(program, MESH, machine=H100, pins=orders)
    golden("planner/preferences.txt", format_plan(program, plan))


def test_a_preference_that_is_met_for_nothing_costs_nothing():
    program = regression(n=100_000_007, d=20)
    free = make_plan(program, MESH, machine=H100)
    wish = f"prefer {Pin.exact('x', free.layouts['x'])},within=0"
    (told,) = make_plan(program, MESH, machine=H100, pins=[wish]).preferred
    assert told.met and told.extra == 0.0


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
    "contradiction_open_sum": ["4:whole; sum over row", "4:whole; summed"],
    "open_sum_of_an_input": ["x:whole; sum over row"],
    "open_sum_axis_unknown": ["4:whole; sum over rwo"],
    "open_sum_axis_twice": ["x:n/row; sum over row"],
    "open_maximum_of_a_sum": ["4:whole; max over row"],
    "no_chains": ["chain:row"],
    "ban_syntax": ["ban delta"],
    "ban_unknown_value": ["ban xx:n=row"],
    "ban_unknown_dim": ["ban x:m=row"],
    "ban_unknown_axis": ["ban x:n=rwo"],
    "ban_axis_twice": ["ban x:n=row,d=row"],
    "prefer_syntax": ["prefer delta"],
    "prefer_unknown_value": ["prefer xx:n=row"],
    "prefer_unknown_dim": ["prefer x:m=row"],
    "prefer_unknown_axis": ["prefer x:n=rwo,within=0.1"],
    "prefer_margin_text": ["prefer x:n=row,within=.5.5"],
    "prefer_margin_negative": ["prefer x:n=row,within=-0.1"],
    "prefer_margin_above_one": ["prefer x:n=row,within=5"],
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
    "chains_ban_uneven": ["ban chain:row"],
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
