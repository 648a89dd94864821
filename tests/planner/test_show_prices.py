"""The prices of all values' other layouts are those that a search for each of them finds."""

import pytest

from ir.mesh import Mesh
from planner import Machine, Pin, alternatives, make_plan, prices
from tests.planner.programs import fourier, regression, robust
from tests.planner.test_scan import recurrence

H100 = Machine.load("h100x8")
MESH = Mesh.parse("row=4,col=2")


@pytest.mark.parametrize(
    ("program", "value"),
    [
        (regression(n=100_000_007, d=24), "x"),
        (regression(n=100_007, d=24, chains=4), "w"),
        (robust(n=100_000_007, d=24), "y"),
        (fourier(64, 48, 32), "delta"),
        (recurrence(n=401, steps=7), "A"),
    ],
    ids=["regression", "chains", "robust", "fourier", "recurrence"],
)
def test_prices_are_those_of_alternatives(program, value):
    plan = make_plan(program, MESH, machine=H100, memory=0)
    found = prices(program, plan, machine=H100)
    assert found is not None and set(found.extra) == set(plan.layouts)
    known = {a.layout: a.extra for a in alternatives(program, MESH, value, machine=H100, memory=0)}
    told = dict(found.extra[value])
    assert found.extra[value][0] == (plan.layouts[value], 0.0) and set(known) <= set(told)
    for layout, extra in known.items():
        if told[layout] is None:
            assert extra > found.limit * (1 - 1e-9)
        else:
            assert told[layout] == pytest.approx(extra, rel=1e-6, abs=1e-9 * plan.prediction.seconds)
    assert all(extra is None for layout, extra in told.items() if layout not in known)
    assert sum(extra is not None for extra in told.values()) > 1


def test_prices_are_under_the_pins():
    program = regression(n=100_000_007, d=24)
    pins = [Pin("y", (("n", ("row",)),))]
    plan = make_plan(program, MESH, machine=H100, memory=0, pins=pins)
    found = prices(program, plan, machine=H100, pins=pins)
    assert all(layout.axes("n")[:1] == ("row",) for layout, extra in found.extra["y"] if extra is not None)
    assert found.extra["y"][0] == (plan.layouts["y"], 0.0)


def test_there_are_no_prices_where_the_budget_shapes_the_plan_nor_on_one_device():
    program = regression(n=100_000_007, d=24)
    plan = make_plan(program, MESH, machine=H100, memory=0)
    dearer = make_plan(program, MESH, machine=H100, memory=0, pins=["x:d=row"])
    assert dearer.prediction.seconds > plan.prediction.seconds
    assert prices(program, dearer, machine=H100) is None
    alone = regression(n=10_007, d=20)
    assert prices(alone, make_plan(alone, Mesh()), machine=H100) is None
