"""Two plans side by side: what differs, the cause first."""

import json

import pytest

from ir.mesh import Mesh
from planner import Machine, diff, format_diff, make_plan
from tests.planner.programs import fourier, regression, two_products

H100 = Machine.load("h100x8")
MESH = Mesh.parse("row=4,col=2")
FOURIER = fourier(512, 384, 256)
PRODUCTS = two_products(tokens=64, width=8192, hidden=32_768)
SMALL = regression(n=100_007, d=24)


def plan(program, mesh="row=4,col=2", machine="h100x8", **arguments):
    return make_plan(program, Mesh.parse(mesh), machine=machine, **arguments)


CASES = {
    "pin": (FOURIER, {}, {"pins": ["delta:x=row,y=col"]}),
    "orders": (PRODUCTS, {"pins": ["A:h=row", "ban B:whole"]}, {"pins": ["A:h=col", "prefer x:t=row,within=0.1"]}),
    "mesh": (FOURIER, {}, {"mesh": "row=8"}),
    "machine": (FOURIER, {}, {"machine": "a100x8"}),
    "memory": (SMALL, {"mesh": "row=4"}, {"mesh": "row=4", "memory": 6e6}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_difference_in_words(case, golden):
    program, first, second = CASES[case]
    found = diff(program, plan(program, **first), plan(program, **second))
    golden(f"planner/diff_{case}.txt", format_diff(found, ("a.toml", "b.toml")))


@pytest.mark.parametrize("case", CASES)
def test_what_it_says_is_what_the_plans_say(case):
    program, one, other = CASES[case]
    first, second = plan(program, **one), plan(program, **other)
    found = diff(program, first, second)
    changed = {c.name for c in (*found.named, *found.others)}
    layouts = {n for n in {*first.layouts, *second.layouts} if first.layouts.get(n) != second.layouts.get(n)}
    assert changed == layouts | {f"output {n}" for n in first.outputs if first.outputs[n] != second.outputs[n]}
    gain = second.prediction.communication_seconds - first.prediction.communication_seconds
    assert sum(m.seconds[1] - m.seconds[0] for m in found.moves) == pytest.approx(gain, abs=1e-15)
    more = second.prediction.seconds - first.prediction.seconds
    assert sum(b - a for _, a, b in found.lines) == pytest.approx(more, rel=1e-6)
    sent = sum(second.prediction.bytes_by_axes.values()) - sum(first.prediction.bytes_by_axes.values())
    assert sum(m.sent[1] - m.sent[0] for m in found.moves) == pytest.approx(sent)
    data = json.loads(json.dumps(found.as_json()))
    assert [p["seconds"] for p in data["predictions"]] == [first.prediction.seconds, second.prediction.seconds]
    assert {c["name"] for part in ("named", "others") for c in data[part]} == changed


def test_the_other_way_round_is_the_opposite():
    a, b = plan(FOURIER), plan(FOURIER, pins=["delta:x=row,y=col"])
    there, back = diff(FOURIER, a, b), diff(FOURIER, b, a)
    assert {(c.name, c.first, c.second) for c in there.named} == {(c.name, c.second, c.first) for c in back.named}
    assert {(m.value, m.move, m.seconds) for m in there.moves} == {
        (m.value, m.move, m.seconds[::-1]) for m in back.moves
    }


def test_a_plan_does_not_differ_from_itself():
    program = regression(n=10_007, d=20)
    found = diff(program, plan(program), plan(program))
    assert found.same and str(found).endswith("they are the same plan\n")


def test_values_go_by_the_names_of_the_user():
    named = {"half": FOURIER.nodes[1].key}
    found = diff(FOURIER, plan(FOURIER), plan(FOURIER, pins=["delta:x=row,y=col"]), named)
    assert "half" in {c.name for c in found.named} and FOURIER.nodes[1].key not in {c.name for c in found.others}
