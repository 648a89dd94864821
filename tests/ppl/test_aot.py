"""`meshbayes plan --compile-only`: XLA's memory and collectives beside the plan's, for a program that is never run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ir.errors import Diagnostic
from ppl.aot import compile_only
from ppl.cli import main
from ppl.request import PlannedModel

ROOT = Path(__file__).parents[2]
MASS_MAP = str(ROOT / "examples" / "01_mass_map.ppl")
PENCILS = ["--chains", "2", "--pin", "white:x=row,y=col", "chain:whole"]


def answer(capsys, *words: str) -> dict:
    assert main(["plan", MASS_MAP, *words, "--json", "--compile-only"]) == 0
    return json.loads(capsys.readouterr().out)["compiled"]


def test_the_mass_map_compiles_to_the_collectives_of_its_plan(capsys):
    found = answer(capsys, "--set", "x=516", "y=510", "--mesh", "row=4,col=2", *PENCILS)
    assert found["devices"] == 8 and found["compile_seconds"] > 0
    rows = found["collectives"]
    assert rows and all(r["plan"] == r["xla"] > 0 for r in rows)
    assert {"all_to_all", "all_reduce"} <= {r["kind"] for r in rows}
    memory = found["memory"]
    assert memory["xla"] == memory["arguments"] + memory["outputs"] + memory["temporaries"] - memory["aliased"]
    assert 0.8 * memory["predicted"] < memory["xla"] < 1.25 * memory["predicted"]


def test_nothing_of_the_size_of_the_field_is_allocated(capsys):
    """Arguments of 4.3 TB: to store one of them would end the process."""
    words = ["--machine", "h100x8", "--memory", "9TB", "--chains", "1"]
    found = answer(capsys, "--set", "x=400000", "y=390000", "--mesh", "row=8", *words)["memory"]
    assert found["arguments"] * 8 > 4e12
    assert 0.8 * found["predicted"] < found["xla"] < 1.25 * found["predicted"]


def test_the_text_says_both_accounts(capsys):
    assert main(["plan", MASS_MAP, "--set", "x=36", "y=30", "--mesh", "row=2", "--compile-only", *PENCILS[:2]]) == 0
    text = capsys.readouterr().out
    assert "compiled for 2 virtual CPU devices, not run" in text
    assert "per device by XLA" in text and "predicted" in text


def test_devices_search_the_mesh_and_the_table_names_every_shape(capsys):
    words = ["plan", MASS_MAP, "--set", "x=36", "y=30", "--devices", "4", "--machine", "h100x8", "--chains", "1"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert text.startswith("shapes of 4 devices: 2 tried") and text.count("the best") == 1
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [s["mesh"] for s in found["shapes"]] == [{"gpu": 4}, {"gpu": 2, "gpu2": 2}]
    assert found["mesh"] in [s["mesh"] for s in found["shapes"] if "the best" in s["why"]]


def test_from_python_a_number_of_devices_gives_a_plan_that_compiles():
    import ppl

    model = ppl.load(str(ROOT / "examples" / "02_linear_regression.ppl"))
    planned = ppl.plan(model, sizes={"obs": 120}, devices=4, machine="h100x8")
    assert isinstance(planned, PlannedModel) and planned.request.mesh.devices == 4
    assert planned.plan is planned.search.plan
    assert compile_only(planned.program, planned.plan).xla_bytes > 0
    with pytest.raises(Diagnostic, match="both a mesh and a number of devices"):
        ppl.plan(model, mesh="4", devices=4)


@pytest.mark.slow
def test_the_mass_map_of_a_large_survey_compiles_for_256_devices():
    words = ["plan", MASS_MAP, "--set", "x=32768", "y=32760", "--mesh", "node=32,gpu=8", "--machine", "h100x8"]
    words += ["--pin", "white:x=node,y=gpu", "chain:whole", "--chains", "1", "--compile-only", "--json"]
    clean = {n: v for n, v in os.environ.items() if n != "XLA_FLAGS"} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "ppl.cli", *words], env=clean, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["compiled"]
    assert found["devices"] == 256
    assert all(r["plan"] == r["xla"] for r in found["collectives"])
    assert 0.3 < found["memory"]["xla"] / found["memory"]["predicted"] < 2
