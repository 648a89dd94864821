"""The contest benchmark reads problems as the contest does, and solves its example."""

import importlib.util
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NODES = {
    "intervals": [[3, 7], [4, 7], [5, 12], [11, 14], [0, 0]],
    "costs": [[5], [55, 65], [25, 45, 35], [85, 75], [9]],
    "usages": [[10], [25, 25], [15, 20, 16], [11, 9], [99]],
}
EDGES = {
    "nodes": [[0, 1], [0, 2], [3, 1], [2, 4], [3, 4], [1, 3]],
    "costs": [[30, 40], [50, 10, 40], [90, 1000000000000000000, 20, 80], [60, 20, 30], [70, 60], [1, 2, 3, 4]],
}


@pytest.fixture
def iopddl(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("iopddl_benchmark", BENCHMARKS / "iopddl.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path):
    problem = {"name": "small", "nodes": NODES, "edges": EDGES, "usage_limit": 51}
    (tmp_path / "asplos-2025-iopddl-G.json").write_text(json.dumps({"problem": problem}))
    subprocess.run(["gzip", tmp_path / "asplos-2025-iopddl-G.json"], check=True)
    (tmp_path / "final_results.csv").write_text("TEAM #,F,G\nteam01,1,300\nteam02,2,\n")
    return tmp_path


def test_both_readings_of_a_problem_agree(iopddl, folder):
    instance = iopddl.Instance.read(folder / "asplos-2025-iopddl-G.json.gz")
    form = instance.pairwise()
    for choice in itertools.product(*(range(len(c)) for c in instance.costs)):
        cost, most = instance.evaluate(list(choice))
        assert form.bytes_held(choice).max() == most
        assert form.price(choice) == (cost if cost < iopddl.BARRED else float("inf"))
        assert form.fits(choice) == (most <= 51)


def test_the_row_of_a_problem_is_its_proven_optimum(iopddl, folder):
    instance = iopddl.Instance.read(folder / "asplos-2025-iopddl-G.json.gz")
    every = itertools.product(*(range(len(c)) for c in instance.costs))
    best = min(cost for cost, most in map(instance.evaluate, every) if most <= 51)
    row = iopddl.measure(folder, "G", 60.0, {"team01": {"G": 2 * best}})
    assert (row["ours"], row["proven"], row["bound"]) == (best, True, best)
    assert row["peer"] == min(2 * best, iopddl.OPTIMA["G"])
    assert row["cost / winner"] == 0.5


def test_what_cannot_be_measured_says_why(iopddl, folder):
    row = iopddl.measure(folder, "F", 60.0, iopddl.published(folder))
    assert row["ratio"] is None and "asplos-2025-iopddl-F" in row["why"]
    assert row["winner"] == 1 and row["xla"] == iopddl.XLA["F"]
