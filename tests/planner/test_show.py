"""What people see of a plan: the table, the JSON, the explanation; and machines by name."""

import json
from dataclasses import replace

import pytest

from ir.errors import Diagnostic
from ir.mesh import Mesh
from planner import Machine, alternatives, as_json, explain, format_plan, make_plan
from tests.planner.programs import fourier, regression

MESH = Mesh.parse("row=4,col=2")


def test_the_plan_as_a_table(golden):
    program = regression(n=100_000_007, d=20)
    plan = make_plan(program, MESH, machine="h100x8", pins=["x:n=row+col"])
    golden("planner/regression.txt", format_plan(program, plan, {"residual": program.nodes[1].key}))


def test_a_plan_that_moves_a_field(golden):
    program = fourier(512, 384, 256)
    golden("planner/fourier.txt", format_plan(program, make_plan(program, MESH, machine="h100x8")))


def test_the_plan_of_one_device(golden):
    program = regression(n=10_007, d=20)
    golden("planner/one_device.txt", format_plan(program, make_plan(program, Mesh())))


def test_a_search_that_was_stopped_says_so_in_a_sentence():
    program = regression(n=10_007, d=20)
    plan = make_plan(program, MESH, machine="h100x8")
    for how, said in (("stopped after 60 s", ", stopped"), ("HiGHS, stopped after 60 s", ", by HiGHS, stopped")):
        stopped = replace(plan, prediction=replace(plan.prediction, how=how))
        assert f"(no gap){said} after 60 s; the plan may not be the best one\n" in format_plan(program, stopped)


def test_json_holds_what_the_table_holds():
    program = fourier(512, 384, 256)
    plan = make_plan(program, MESH, machine="h100x8")
    data = json.loads(json.dumps(as_json(program, plan)))
    assert data["mesh"] == {"row": 4, "col": 2} and data["machine"] == "h100x8"
    assert data["prediction"]["seconds"] == plan.prediction.seconds
    assert {v["name"] for v in data["values"]} == set(plan.layouts)
    moved = [m for v in data["values"] for m in v["moves"]]
    assert sum(m["seconds"] for m in moved) == pytest.approx(plan.prediction.communication_seconds)
    assert data["collectives"] == [
        {"kind": c.kind, "axes": list(c.axes), "dtype": c.dtype, "bytes": c.bytes, "count": n, "by": None}
        for c, n in plan.collectives(program).items()
    ]


def test_explaining_a_layout(golden):
    program = regression(n=100_000_007, d=24)
    golden("planner/explain.txt", explain(program, MESH, "w", machine="h100x8"))


def test_each_alternative_is_the_best_plan_under_a_pin_to_it():
    from planner import Pin

    program = regression(n=100_000_007, d=24)
    for found in alternatives(program, MESH, "x", machine="h100x8"):
        pinned = make_plan(program, MESH, machine="h100x8", pins=[Pin.exact("x", found.layout)])
        assert pinned.prediction.seconds == pytest.approx(found.plan.prediction.seconds, rel=1e-9)


def test_explaining_an_unknown_value(golden):
    with pytest.raises(Diagnostic) as caught:
        explain(regression(n=10_007, d=20), MESH, "ww")
    golden("planner/explain_unknown.txt", caught.value.render() + "\n")


@pytest.mark.parametrize("name", ["laptop", "a100x8", "h100x8", "h200x8"])
def test_built_in_machines_load(name):
    machine = Machine.load(name)
    assert machine.name == name and machine.title


WRONG = {
    "name": "h100x9",
    "name_far": "cray",
    "file": "missing.toml",
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_machine_is_explained(case, golden):
    with pytest.raises(Diagnostic) as caught:
        Machine.load(WRONG[case])
    golden(f"planner/machine_{case}.txt", caught.value.render() + "\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[device]\nf32 = 1e9\n", "inside.alpha.all_reduce is missing"),
        ("[device]\nf32 = -1\n", "is missing"),
        ("device = ", "this is not TOML"),
    ],
)
def test_a_machine_file_names_what_it_lacks(text, message, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(Diagnostic, match=message):
        Machine.load(path)


def test_an_axis_leaves_the_node_when_it_and_the_later_ones_do_not_fit():
    machine = Machine.load("h100x8")
    mesh = Mesh.parse("row=4,col=8")
    assert machine.link(mesh, ("col",)) == machine.inside
    assert machine.link(mesh, ("row",)) == machine.link(mesh, ("row", "col")) == machine.across
    assert machine.link(Mesh.parse("row=4,col=2"), ("row", "col")) == machine.inside
