"""Problems whose best plan is known beforehand."""

from collections import Counter

import pytest

from ir.errors import Diagnostic
from ir.layout import Layout
from ir.mesh import Mesh
from ir.verify import verify_plan
from planner import Costs, Machine, evaluate, make_plan, peak_bytes
from tests.planner.programs import field, fourier, regression, two_products

H100 = Machine.load("h100x8").law()


def plan_of(program, mesh: str, **arguments):
    """A plan that is legal and whose prediction is what an independent walk of its moves adds up to."""
    plan = make_plan(program, Mesh.parse(mesh), **{"machine": H100, **arguments})
    verify_plan(program, plan)
    compute, communication, sent = evaluate(program, plan, Costs(H100, plan.mesh))
    assert plan.prediction.seconds == pytest.approx(compute + communication, rel=1e-9)
    assert plan.prediction.bytes_by_axes == sent
    assert plan.prediction.peak_bytes == peak_bytes(program, plan)
    assert plan.prediction.gap < 1e-8
    return plan


def kinds(program, plan) -> Counter:
    found = Counter()
    for collective, count in plan.collectives(program).items():
        found[collective.kind] += count
    return found


def test_regression_on_much_data_sums_the_gradient_once():
    program = regression(n=100_000_007, d=20)
    plan = plan_of(program, "row=8")
    assert plan.layouts["x"] == Layout.of({"n": "row"}) and plan.layouts["w"] == Layout.of()
    performed = {(c.kind, c.bytes): count for c, count in plan.collectives(program).items()}
    assert performed == {("all_reduce", 4): 1, ("all_reduce", 80): 1}


def test_regression_on_two_axes_sums_over_both_at_once():
    program = regression(n=100_000_007, d=20)
    plan = plan_of(program, "row=4,col=2")
    assert {c.axes for c in plan.collectives(program)} == {("row", "col")}


def test_regression_with_many_features_splits_the_features():
    program = regression(n=2_001, d=40_000_003)
    plan = plan_of(program, "row=8")
    assert plan.layouts["w"] == Layout.of({"d": "row"})
    assert {(c.kind, c.bytes) for c in plan.collectives(program)} == {("all_reduce", 8004)}


def test_two_products_split_the_hidden_dim_and_sum_once():
    program = two_products(tokens=64, width=8192, hidden=32_768)
    plan = plan_of(program, "row=8")
    assert plan.layouts["A"] == Layout.of({"h": "row"}) and plan.layouts["B"] == Layout.of({"h": "row"})
    assert sum(kinds(program, plan).values()) == 1


def test_a_small_program_stays_whole_where_communication_would_dominate():
    program = regression(n=10_007, d=20)
    plan = plan_of(program, "row=4,col=2")
    assert not plan.collectives(program)
    assert plan.layouts["x"] == Layout.of()


def test_one_device_needs_no_search():
    program = regression(n=10_007, d=20)
    plan = plan_of(program, "1")
    assert plan.prediction.how == "single device" and not plan.reshards


def test_axes_of_size_one_are_idle():
    program = regression(n=100_000_007, d=20)
    plan = plan_of(program, "row=8,col=1")
    assert plan.prediction.seconds == plan_of(program, "row=8").prediction.seconds
    assert all("col" not in layout.used for layout in plan.layouts.values())


def test_a_slab_transform_needs_one_all_to_all():
    program = fourier(512, 384, 256)
    assert kinds(program, plan_of(program, "row=4,col=2")) == {"all_to_all": 1}


def test_a_pencil_transform_needs_two_all_to_alls():
    program = fourier(512, 384, 256)
    plan = plan_of(program, "row=4,col=2", pins=["delta:x=row,y=col"])
    assert kinds(program, plan) == {"all_to_all": 2}


def test_a_pencil_transform_is_found_where_a_slab_would_leave_devices_idle():
    program = fourier(4, 4, 4_000_037)
    plan = plan_of(program, "row=4,col=4", fixed={"delta": Layout.of({"x": "row", "y": "col"})})
    assert kinds(program, plan) == {"all_to_all": 2}


def test_fixed_and_tied_layouts_hold():
    program = regression(n=100_000_007, d=24)
    split = Layout.of({"d": "row"})
    plan = plan_of(program, "row=8", fixed={"w": split})
    assert plan.layouts["w"] == plan.outputs["gradient"] == split
    assert plan_of(program, "row=8", fixed={"gradient": split}).layouts["w"] == split


def test_memory_turns_a_whole_plan_into_a_split_one():
    program = regression(n=10_007, d=20)
    free = plan_of(program, "row=8", fixed={"x": Layout.of()}, memory=0)
    assert free.prediction.peak_bytes > 800_000
    tight = plan_of(program, "row=8", memory=200_000)
    assert tight.prediction.peak_bytes <= 200_000
    assert tight.layouts["x"] != Layout.of()
    assert tight.prediction.seconds > free.prediction.seconds


def test_a_budget_that_nothing_fits_names_the_least_that_would(golden):
    with pytest.raises(Diagnostic) as caught:
        make_plan(field(1_000_003), Mesh.parse("row=4"), machine=H100, memory=100_000)
    golden("planner/memory.txt", caught.value.render() + "\n")
    least = float(caught.value.hint.split("mesh is ")[1].split(" B")[0].replace(",", ""))
    assert plan_of(field(1_000_003), "row=4", memory=least).prediction.peak_bytes == least
    with pytest.raises(Diagnostic):
        make_plan(field(1_000_003), Mesh.parse("row=4"), machine=H100, memory=least - 1)


def test_one_device_too_small_is_refused(golden):
    with pytest.raises(Diagnostic) as caught:
        make_plan(field(1_000_003), Mesh(), machine=H100, memory=100_000)
    golden("planner/memory_one_device.txt", caught.value.render() + "\n")


def test_the_machine_gives_the_budget_by_default():
    with pytest.raises(Diagnostic, match="fits into 80,000,000,000 B"):
        make_plan(field(100_000_000_003), Mesh.parse("row=2"), machine=H100)


def test_chains_are_split_alike_everywhere_and_alone_on_their_axes():
    program = regression(n=10_000_019, d=20, chains=8)
    plan = plan_of(program, "row=4,col=2")
    lead = plan.layouts["w"].axes("chain")
    types = {v.name: v.type for n in program.nodes for v in n.results} | {i.name: i.type for i in program.inputs}
    for name, layout in plan.layouts.items():
        assert layout.axes("chain") == (lead if "chain" in types[name] else ())
        assert not any(set(axes) & set(lead) for d, axes in layout.splits if d != "chain")


@pytest.mark.parametrize(
    ("pin", "axes"), [("chain:row", ("row",)), ("chain:whole", ()), ("chain:row+col", ("row", "col"))]
)
def test_a_chain_pin_chooses_the_chains_axes(pin, axes):
    program = regression(n=10_000_019, d=20, chains=8)
    free, plan = plan_of(program, "row=4,col=2"), plan_of(program, "row=4,col=2", pins=[pin])
    assert plan.layouts["w"].axes("chain") == axes
    assert plan.prediction.seconds >= free.prediction.seconds


def test_five_chains_are_not_split_over_two_devices():
    program = regression(n=10_000_019, d=20, chains=5)
    assert plan_of(program, "row=2").layouts["w"].axes("chain") == ()


def test_the_same_question_gets_the_same_plan():
    program = regression(n=10_000_019, d=20, chains=8)
    assert plan_of(program, "row=2,mid=2,col=2") == plan_of(program, "row=2,mid=2,col=2")
