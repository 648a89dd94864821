"""`meshbayes calibrate`: the file that it writes is a machine; what is asked for wrongly is told before any timing."""

import re
from pathlib import Path

import pytest

from ir.mesh import Mesh
from planner import Machine
from planner.machine import KINDS
from ppl.cli import main
from ppl.cli.calibrate import near_square
from tests.ppl.error_projects import FIELD
from tests.ppl.test_cli import in_a_process

WRONG = {
    "both": ["--mesh", "row=2", "--devices", "2"],
    "mesh": ["--mesh", "row:2"],
    "devices": ["--devices", "many"],
    "one_device": ["--devices", "1"],
    "seconds": ["--seconds", "soon"],
    "ending": ["--out", "here.txt"],
    "folder": ["--out", "nowhere/here.toml"],
    "out_is_a_folder": ["--out", "taken.toml"],
    "option": ["--fast"],
    "word": ["model.ppl"],
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_asked_for_wrongly_is_told_before_any_timing(case, tmp_path, monkeypatch, capsys, golden):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.toml").mkdir()
    assert main(["calibrate", *WRONG[case]]) == 2
    told = capsys.readouterr().err
    assert "hint: " in told
    golden(f"calibrate/{case}.txt", f"$ meshbayes calibrate {' '.join(WRONG[case])}\n{told}")


@pytest.mark.parametrize(
    ("devices", "mesh"), [(1, "1"), (2, "row=2"), (8, "row=4,col=2"), (7, "row=7"), (12, "row=4,col=3")]
)
def test_devices_alone_are_laid_out_as_near_to_a_square_as_can_be(devices, mesh):
    assert str(near_square(devices)) == mesh


@pytest.mark.slow
def test_a_quick_calibration_writes_a_machine_that_plans_can_be_made_for(tmp_path):
    done = in_a_process(
        "calibrate", "--devices", "4", "--quick", "--seconds", "4", "--out", "here.toml", folder=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "wrote here.toml: use it with meshbayes plan MODEL --mesh row=2,col=2 --machine here.toml" in done.stdout
    assert all(kind in done.stdout for kind in (*KINDS, "matmul f32", "launch"))
    text = (tmp_path / "here.toml").read_text()
    assert re.match(r"# Measured by meshbayes calibrate on \d{4}-\d\d-\d\d", text)
    machine = Machine.load(tmp_path / "here.toml")
    assert machine.name == "here" and machine.title == "4 virtual CPU devices, measured as mesh row=2,col=2"
    for kind in KINDS:
        seconds = [machine.collective(kind, Mesh.parse("row=2,col=2"), ("row",), s) for s in (1e3, 1e5, 1e7)]
        assert 0 < seconds[0] <= seconds[1] <= seconds[2]
    (tmp_path / "field.ppl").write_text(FIELD)
    plan = in_a_process("plan", "field.ppl", "--mesh", "row=2,col=2", "--machine", "here.toml", folder=Path(tmp_path))
    assert plan.returncode == 0 and "on mesh row=2,col=2" in plan.stdout, plan.stderr
