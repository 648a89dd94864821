"""Budgets: what one that nothing fits is told, and what memory is worth, all held to plans made anew."""

import json

import pytest

from ir.mesh import Mesh
from planner import Machine, TooSmall, make_plan, memory_price
from tests.planner.programs import fourier, regression, two_products

H100 = Machine.load("h100x8")
SMALL = regression(n=100_007, d=24)
CASES = {
    "mesh": (SMALL, "row=4", 1e5, []),
    "orders": (SMALL, "row=4", 6e6, ["w:whole", "x:whole"]),
    "two_orders": (two_products(64, 8192, 32_768), "row=4", 1.5e9, ["x:t=row", "A:whole", "B:whole"]),
    "orders_do_not_matter": (fourier(512, 384, 256), "row=4,col=2", 140e6, ["delta:x=row,y=col"]),
    "one_device": (SMALL, "1", 6e6, []),
}


def refusal(case) -> TooSmall:
    program, mesh, memory, pins = CASES[case]
    with pytest.raises(TooSmall) as caught:
        make_plan(program, Mesh.parse(mesh), machine=H100, memory=memory, pins=pins, recompute=False)
    return caught.value


@pytest.mark.parametrize("case", CASES)
def test_a_budget_that_nothing_fits_is_told_what_would_do(case, golden):
    golden(f"planner/budget_{case}.txt", refusal(case).render() + "\n")


@pytest.mark.parametrize("case", CASES)
def test_what_would_do_does(case):
    program, mesh, memory, pins = CASES[case]
    found = refusal(case)

    def plan(on, memory, pins):
        return make_plan(program, on, machine=H100, memory=memory, pins=pins, recompute=False)

    assert plan(Mesh.parse(mesh), found.needed, pins).prediction.peak_bytes <= found.needed
    if found.enough is not None:
        assert plan(found.enough.mesh, memory, pins).prediction.peak_bytes <= memory
    if found.tried[0].bytes > memory:
        with pytest.raises(TooSmall):
            plan(found.tried[0].mesh, memory, pins)
    core = [str(m.demand) for m in found.members]
    for member in found.members:
        assert plan(Mesh.parse(mesh), memory, [p for p in core if p != str(member.demand)])
        if member.seconds is not None:
            rest = plan(Mesh.parse(mesh), memory, [p for p in pins if p != str(member.demand)])
            assert rest.prediction.seconds == pytest.approx(member.seconds, rel=1e-9)
    assert json.loads(json.dumps(found.as_json()))["least_bytes"] == found.needed


def seconds_at(program, mesh, memory):
    return make_plan(program, mesh, machine=H100, memory=memory, recompute=False).prediction.seconds


@pytest.mark.parametrize(
    "memory", [80e9, pytest.param(10e6, marks=pytest.mark.slow), 4.5e6, pytest.param(3.5e6, marks=pytest.mark.slow)]
)
def test_each_answer_is_that_of_the_plan_made_anew(memory):
    mesh = Mesh.parse("row=4")
    found = memory_price(SMALL, mesh, machine=H100, memory=memory, recompute=False)
    here = seconds_at(SMALL, mesh, memory)
    assert found.seconds == here
    assert found.binds == (seconds_at(SMALL, mesh, 0) < here * (1 - 1e-9))
    assert [at.budget for at in found.more] == ([memory + 1e9, 1.1 * memory] if found.binds else [])
    for at in found.more:
        assert at.seconds == pytest.approx(seconds_at(SMALL, mesh, at.budget), rel=1e-9)
    assert (found.next_larger is not None) == found.binds and found.next_larger_proven and found.next_smaller_proven
    if found.next_larger is not None:
        edge = found.next_larger.budget
        assert seconds_at(SMALL, mesh, edge) < here and seconds_at(SMALL, mesh, edge * (1 - 1e-4)) == here
    edge = found.next_smaller.budget
    assert edge <= memory and seconds_at(SMALL, mesh, edge) == here
    if found.next_smaller.seconds is None:
        with pytest.raises(TooSmall):
            seconds_at(SMALL, mesh, edge * (1 - 1e-4))
    else:
        below = found.next_smaller.seconds
        assert below > here and seconds_at(SMALL, mesh, edge * (1 - 1e-4)) == pytest.approx(below, rel=1e-9)


@pytest.mark.parametrize(("name", "memory"), [("binds", 3.5e6), ("is_free", 80e9), ("is_none", 0.0)])
def test_the_worth_of_memory_in_words(name, memory, golden):
    found = memory_price(SMALL, Mesh.parse("row=4"), machine=H100, memory=memory, recompute=False)
    golden(f"planner/memory_{name}.txt", str(found))
    assert json.loads(json.dumps(found.as_json()))["binds"] == (name == "binds")


def test_no_price_where_nothing_fits():
    with pytest.raises(TooSmall):
        memory_price(SMALL, Mesh.parse("row=4"), machine=H100, memory=1e5)
