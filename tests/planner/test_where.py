"""Where time, bytes and memory go: every sum is the prediction's."""

import json
from dataclasses import replace

import pytest

from ir.errors import Diagnostic
from ir.mesh import Mesh
from ir.passes.recompute import again, everything_again, places, recompute
from planner import Machine, make_plan, where
from tests.planner.programs import fourier, painted, regression, robust, two_products
from tests.planner.test_scan import recurrence

H100 = Machine.load("h100x8")
MESH = Mesh.parse("row=4,col=2")
CASES = {
    "regression": (regression(n=100_000_007, d=20), MESH, {}),
    "chains": (regression(n=10_007, d=20, chains=8), MESH, {"pins": ["chain:row"], "copies": 3.0}),
    "fourier": (fourier(512, 384, 256), MESH, {}),
    "products": (two_products(tokens=64, width=8192, hidden=32_768), Mesh.parse("row=4,col=16"), {"pins": ["A:h=row"]}),
    "scan": (recurrence(n=4096, steps=9), MESH, {"pins": ["h:n=row"]}),
    "painted": (painted(particles=1_000_003, cells=4096), MESH, {}),
    "one device": (regression(n=10_007, d=20), Mesh(), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_sums_are_those_of_the_prediction(case):
    program, mesh, arguments = CASES[case]
    plan = make_plan(program, mesh, machine=H100, **arguments)
    found, p = where(program, plan, H100), plan.prediction
    assert found.seconds == pytest.approx(p.seconds, rel=1e-9)
    by_axes = found.axes()
    assert by_axes.get("computing", (0.0, 0.0))[0] == pytest.approx(p.compute_seconds, rel=1e-9)
    assert sum(s for a, (s, _) in by_axes.items() if a != "computing") == pytest.approx(
        p.communication_seconds, rel=1e-9
    )
    sent = {a: b for a, (_, b) in by_axes.items() if a != "computing"}
    assert sent == pytest.approx({"+".join(a): b for a, b in p.bytes_by_axes.items()}, rel=1e-9)
    for table in (found.lines(), found.axes()):
        assert sum(s for s, _ in table.values()) == pytest.approx(p.seconds, rel=1e-9)
        assert [s for s, _ in table.values()] == sorted((s for s, _ in table.values()), reverse=True)
    assert found.peak.bytes == p.peak_bytes
    assert sum(h.bytes for h in found.peak.held) == pytest.approx(p.peak_bytes, rel=1e-12)


def test_second_computations_are_counted():
    program = robust(n=10_000_019, d=20)
    chosen = everything_again(program, list(places(program)))
    plan = make_plan(recompute(program, chosen), MESH, machine=H100)
    found = where(program, replace(plan, recompute=chosen), H100)
    assert found.seconds == pytest.approx(plan.prediction.seconds, rel=1e-9)
    assert sum(h.bytes for h in found.peak.held) == plan.prediction.peak_bytes
    assert {again(name) for name in chosen} <= {i.name for i in found.items}


def test_the_account_as_a_table(golden):
    program = fourier(512, 384, 256)
    plan = make_plan(program, MESH, machine=H100)
    names = {"modes": program.results["modes"].name}
    golden("planner/where.txt", str(where(program, plan, H100, names)))


def test_the_account_of_a_scan_counts_its_trips(golden):
    program = recurrence(n=4096, steps=9)
    golden("planner/where_scan.txt", str(where(program, make_plan(program, MESH, machine=H100, pins=["h:n=row"]))))


def test_the_account_as_json():
    program = fourier(512, 384, 256)
    plan = make_plan(program, MESH, machine=H100)
    found = where(program, plan)
    data = json.loads(json.dumps(found.as_json()))
    assert data["seconds"] == found.seconds and sum(i["seconds"] for i in data["items"]) == data["seconds"]
    assert sum(h["bytes"] for h in data["peak"]["held"]) == data["peak"]["bytes"] == plan.prediction.peak_bytes
    assert {row["axes"] for row in data["axes"]} == {"computing", "row+col"}


def test_a_line_of_the_model_has_what_its_gradient_costs():
    from ppl.pipeline import plan
    from ppl.text.elaborate import from_text

    text = "model line\ndim obs = 1000003\ndata x[obs]: real, y[obs]: real\nslope ~ Normal(0, 1)\n"
    model = from_text(f"{text}\ny[obs] ~ Normal(slope * x, 1)\n", "line.ppl")
    found = plan(model, mesh="row=4", machine="h100x8").where()
    lines = found.lines()
    gradient = [i for i in found.items if i.line == "line.ppl:6" and i.name not in ("0", "1")]
    assert next(iter(lines)) == "line.ppl:6" and lines["line.ppl:6"][0] >= sum(i.seconds for i in gradient) > 0


def test_a_machine_that_is_not_at_hand_is_asked_for():
    program = regression(n=10_007, d=20)
    plan = make_plan(program, Mesh.parse("row=4"), machine=Machine.from_table(MINE, "mine.toml"))
    with pytest.raises(Diagnostic, match="unknown machine 'mine'"):
        where(program, plan)


MINE = {
    "device": {"f32": 1e13, "f64": 1e12, "memory_bandwidth": 1e12, "memory_size": 8e9},
    "inside": {
        which: dict.fromkeys(("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "collective_permute"), number)
        for which, number in (("alpha", 1e-5), ("beta", 1e11))
    },
}
