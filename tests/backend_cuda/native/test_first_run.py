"""The script of the first run on a device, here on CPUs: the same steps with the CPU build, so that none fails there
for a reason that has nothing to do with a GPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "gpu_collectives.py"


def run(tmp_path: Path, *options: str) -> tuple[int, list[dict]]:
    out = tmp_path / "rows.json"
    command = [sys.executable, str(SCRIPT), *options, "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert out.exists(), done.stderr[-3000:]
    return done.returncode, json.loads(out.read_text())["rows"]


@pytest.mark.slow
def test_every_step_passes_on_cpus(tmp_path):
    code, rows = run(tmp_path, "--dry-run")
    assert [r for r in rows if r.get("failed")] == [] and code == 0
    steps = {r["case"].partition(":")[0] for r in rows}
    always = {"versions", "virtual", "graphs", "no graphs", "painting", "transposes", "processes", "devices"}
    assert always | {"jax.lax in processes"} <= steps
    checked = [r["ours"] for r in rows if "equal NumPy's" in r["case"]]
    assert len(checked) == 2 and min(checked) > 10, "programs of two and of four ranks"


@pytest.mark.slow
def test_a_step_that_fails_is_a_row_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    code, rows = run(tmp_path, "--dry-run", "--only", "versions", "jax.lax in processes")
    assert code == 1
    assert rows[0]["failed"] and "no-such-compiler is not on the PATH" in rows[0]["why"]
    assert rows[1]["case"].startswith("jax.lax in processes: 2 ranks")


def test_without_a_gpu_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    code, rows = run(tmp_path)
    assert code == 0 and rows == [
        {"case": "a GPU", "ratio": None, "why": "none is here; --dry-run does the same on CPUs"}
    ]
