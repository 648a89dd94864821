"""Mistakes of files, certificates and calibration that no other table of golden cases has, told in full."""

from pathlib import Path

import pytest

import planner
from ir.errors import Diagnostic
from ir.mesh import Mesh
from planner.calibrate import calibrate
from planner.machine import Machine
from tests.planner.programs import regression, robust
from tests.planner.test_calibrate import timings

MESH = Mesh.parse("row=4")


def write(name: str, content: bytes) -> str:
    Path(name).write_bytes(content)
    return name


def question():
    program = regression(n=10_007, d=6)
    asked = {"machine": "h100x8", "memory": 0.0}
    return program, planner.certify(program, planner.make_plan(program, MESH, **asked), **asked), asked


def checked(certificate=None, plan=None, **more):
    program, own, asked = question()
    planner.check_plan(program, plan or own, certificate, **{**asked, **more})


def broken():
    _, plan, _ = question()
    certificate = dict(plan.certificate)
    certificate["options"] = [{k: v for k, v in part.items() if k != "proof"} for part in certificate["options"]]
    return certificate


def page():
    program, plan, _ = question()
    planner.write_html(program, plan, "nowhere/page.html")


def machine_that_is_a_folder():
    Path("mine.toml").mkdir()
    return Machine.load("mine.toml")


def planned(*pins, program=None, mesh="row=4,col=2"):
    return planner.make_plan(program or regression(n=10_007, d=6), Mesh.parse(mesh), machine="h100x8", pins=pins)


OPEN = "4:whole; sum over row"
CASES = {
    "chains_in_no_way": lambda: planned(
        "ban chain:whole", program=regression(n=10_007, d=6, chains=8), mesh="row=3,col=5"
    ),
    "no_strategy_does_that": lambda: planned("5:whole; sum over row", program=robust(n=10_007, d=6)),
    "open_sum_that_nothing_leads_to": lambda: planned("x:n=row", "1:n/row; sum over col"),
    "open_sum_of_closed_ones": lambda: planned("ban 2:whole; sum over row", "ban 2:whole; sum over col, row", OPEN),
    "machine_is_a_folder": machine_that_is_a_folder,
    "machine_not_toml": lambda: Machine.load(write("mine.toml", b"[device\n")),
    "machine_not_text": lambda: Machine.load(write("mine.toml", b"\xff\xfe\x00")),
    "plan_not_text": lambda: planner.read_plan_file(write("plan.toml", b"\xff\xfe\x00")),
    "plan_is_a_folder": lambda: planner.read_plan_file("."),
    "plan_machine_is_a_number": lambda: planner.parse_plan("machine = 3\n", "plan.toml"),
    "plan_memory": lambda: planner.parse_plan('# a plan\nmemory = "lots"\n', "plan.toml"),
    "plan_mesh_text": lambda: planner.parse_plan('mesh = "row=four"\n', "plan.toml"),
    "plan_mesh_axis": lambda: planner.parse_plan('[mesh]\n"a b" = 4\n', "plan.toml"),
    "page_cannot_be_written": page,
    "calibrate_without_timings": lambda: calibrate([t for t in timings(0.0) if t.what != "launch"], "here", "made up"),
    "certificate_missing": lambda: checked(certificate={}),
    "certificate_of_another": lambda: checked(certificate=broken()),
    "certificate_budget": lambda: checked(memory=10.0),
    "certificate_pins": lambda: checked(pins=["x:n=row"]),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_told_with_place_and_hint(case, golden, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Diagnostic) as caught:
        CASES[case]()
    assert caught.value.hint and (caught.value.where or caught.value.span)
    golden(f"planner/told_{case}.txt", caught.value.render() + "\n")
