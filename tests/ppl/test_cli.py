"""The command: what it prints, what it writes, and how it ends. Mistakes are in test_errors.py."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ppl.cli.read
from ir.errors import Diagnostic
from ir.parse import parse_program
from ppl.cli import main, options
from ppl.cli.layers import arrange
from ppl.folder import check_free, make_folder, next_free
from ppl.io.store import open_run
from ppl.pipeline import STAGES

from .error_projects import FIELD, PYTHON, RADON, RADON_DATA

INFER = "infer nuts(chains = 3, draws = 40, warmup = 20)\n"
SHORT = ["--chains", "2", "--draws", "20", "--warmup", "20"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to stand in, with models and data."""
    texts = {"radon.ppl": RADON, "radon.json": RADON_DATA, "field.ppl": FIELD, "line.py": PYTHON}
    texts["line.json"] = '{"x": [1.0, 2.0, 3.0], "y": [2.0, 4.5, 5.5]}\n'
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capsys, *words: str) -> str:
    """What a command line prints that is to succeed."""
    code = main(list(words))
    told = capsys.readouterr()
    assert (code, told.err) == (0, ""), told.err
    return told.out


def in_a_process(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """The command as a person starts it, without the flags that the tests set."""
    clean = {n: v for n, v in os.environ.items() if n not in ("XLA_FLAGS", "MESHBAYES_DEBUG")}
    command = [sys.executable, "-m", "ppl.cli", *words]
    clean |= {"PYTHONPATH": str(Path(__file__).parents[2]), **environment}
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=240)


# --- help ---


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_overview_names_every_command(words, capsys):
    text = printed(capsys, *words)
    assert all(f"meshbayes {name} " in text for name in options.COMMANDS)


@pytest.mark.parametrize("command", options.COMMANDS.values(), ids=lambda c: c.name)
def test_help_lists_every_option_of_a_command(command, capsys):
    text = printed(capsys, command.name, "--help")
    assert text.startswith(f"usage: meshbayes {command.name}")
    assert all(f"--{option.name}" in text for group in command.groups.values() for option in group)
    assert max(map(len, text.splitlines())) <= 120


def test_version_names_jax_and_python(capsys):
    assert printed(capsys, "--version").startswith("meshbayes ") and "jax" in printed(capsys, "--version")


def test_help_does_not_import_jax(here):
    code = "import sys; from ppl.cli import main; main(['run', '--help']); sys.exit('jax' in sys.modules)"
    root = str(Path(__file__).parents[2])
    assert subprocess.run([sys.executable, "-c", code], cwd=here, env={"PYTHONPATH": root}).returncode == 0


def test_the_stages_offered_are_those_of_the_pipeline():
    assert options.STAGES == STAGES


# --- check, graph, plan ---


def test_check_without_data_says_what_it_assumed(here, capsys):
    text = printed(capsys, "check", "radon.ppl")
    assert text.splitlines() == [
        "ok: model radon; dims obs=8, county=8; latents mu, tau, beta, sigma, alpha[county]; observed y[obs]",
        "note: no data: obs, county checked with size 8",
    ]


def test_check_with_data_says_the_sizes(here, capsys):
    assert "dims obs=5, county=3;" in printed(capsys, "check", "radon.ppl", "--data", "radon.json")


def test_check_takes_a_python_model(here, capsys):
    assert printed(capsys, "check", "line.py:line", "--data", "line.json").startswith("ok: model line; dims obs=3;")
    assert printed(capsys, "check", "line.py", "--set", "obs=4").startswith("ok: model line; dims obs=4;")


@pytest.mark.parametrize("stage", STAGES)
def test_graph_prints_a_program_at_every_stage(stage, here, capsys):
    text = printed(capsys, "graph", "radon.ppl", "--stage", stage, "--set", "obs=9", "county=4")
    assert parse_program(text).name.startswith("radon")


def test_graph_writes_pictures_that_show_every_site(here, capsys):
    printed(capsys, "graph", "radon.ppl", "--svg", "radon.svg", "--dot", "radon.dot")
    svg, dot = Path("radon.svg").read_text(), Path("radon.dot").read_text()
    ElementTree.fromstring(svg)
    for label in ("mu ~ Normal(0, 10)", "alpha ~ Normal(·, ·)", "eta", "y ~ Normal(·, ·)"):
        assert f">{label}</text>" in svg and f'label="{label}\\n' in dot


@given(st.integers(2, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*2 * [st.integers(0, n - 1)])))))
def test_boxes_of_a_picture_are_apart_and_edges_go_down(drawn):
    count, pairs = drawn
    graph = nx.DiGraph()
    graph.add_nodes_from(f"v{i}" for i in range(count))
    graph.add_edges_from((f"v{min(p)}", f"v{max(p)}") for p in pairs if p[0] != p[1])
    boxes = {n: (40.0 + 13 * (i % 5), 30.0) for i, n in enumerate(graph)}
    drawing = arrange(graph, boxes)
    corner = {n: (x - boxes[n][0] / 2, y - boxes[n][1] / 2) for n, (x, y) in drawing.centres.items()}
    for u in graph:
        assert min(corner[u]) > -1e-6
        assert all(corner[u][i] + boxes[u][i] < drawing.size[i] + 1e-6 for i in (0, 1))
        for v in graph:
            apart = (corner[u][i] + boxes[u][i] <= corner[v][i] + 1e-6 for i in (0, 1))
            assert u == v or any(apart) or any(corner[v][i] + boxes[v][i] <= corner[u][i] + 1e-6 for i in (0, 1))
    assert all(a[1] < b[1] for path in drawing.edges.values() for a, b in pairwise(path))


def test_plan_needs_no_data_and_its_file_gives_the_same_plan(here, capsys):
    words = ["plan", "field.ppl", "--mesh", "row=2,col=2", "--chains", "2"]
    assert main([*words, "--write", "plan.toml"]) == 0
    told = capsys.readouterr()
    assert "on mesh row=2,col=2 (4 devices)" in told.out and "--plan plan.toml" in told.err
    assert printed(capsys, "plan", "field.ppl", "--plan", "plan.toml", "--chains", "2") == told.out
    as_json = json.loads(printed(capsys, *words, "--json"))
    assert as_json["mesh"] == {"row": 2, "col": 2}


def test_plan_explains_a_value(here, capsys):
    words = ["plan", "line.py", "--mesh", "row=2", "--set", "obs=4", "--explain", "slope"]
    assert printed(capsys, *words).startswith("'slope' (f32[chain=4]) on mesh row=2: ")


def test_plan_explains_a_value_of_which_some_layouts_are_impossible(here, capsys):
    """A look-up's table, where forcing a layout can leave a whole split of the chains without any plan."""
    (here / "houses.ppl").write_text(RADON, encoding="utf-8")
    words = ["plan", "houses.ppl", "--mesh", "row=2", "--set", "obs=9", "--set", "county=4", "--explain", "alpha"]
    assert "county/row" in printed(capsys, *words)


# --- how it ends ---


def ends(monkeypatch, error: BaseException, *words: str) -> int:
    def fail(_: str):
        raise error

    monkeypatch.setattr(ppl.cli.read, "model", fail)
    return main(["check", "model.ppl", *words])


def test_a_mistake_of_ours_asks_for_a_report_and_shows_no_traceback(monkeypatch, capsys):
    assert ends(monkeypatch, KeyError("x")) == 1
    told = capsys.readouterr().err
    assert told.startswith("internal error: KeyError: 'x'\n") and "report it" in told and "Traceback" not in told
    assert ends(monkeypatch, KeyError("x"), "--debug") == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "code"), [("run", 1), ("data", 2), ("plan", 2), ("argument", 2)])
def test_the_exit_code_says_whose_fault_it_was(kind, code, monkeypatch, capsys):
    assert ends(monkeypatch, Diagnostic(kind, "it did not work", hint="try again")) == code
    assert capsys.readouterr().err == f"{kind} error: it did not work\nhint: try again\n"


def test_an_interrupt_ends_with_130(monkeypatch, capsys):
    assert ends(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_memory_running_out_is_said_as_such(monkeypatch, capsys):
    assert ends(monkeypatch, RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 GB")) == 1
    assert "ran out of memory" in capsys.readouterr().err


# --- samplers and folders ---


class Words:
    """Arguments as argparse leaves them: None where an option is not given."""

    def __init__(self, **given: str):
        vars(self).update(dict.fromkeys(("infer", *ppl.cli.read.SAMPLER_OPTIONS)), **given)


def test_options_go_before_infer_and_infer_before_the_model_file():
    model = ppl.from_text(RADON + INFER)
    read = ppl.cli.read.sampler
    assert (read(Words(), model).chains, read(Words(), model).draws) == (3, 40)
    assert (read(Words(draws="80"), model).chains, read(Words(draws="80"), model).draws) == (3, 80)
    found = read(Words(infer="hmc(steps = 7)", chains="2"), model)
    assert (found.name, found.chains, found.draws) == ("hmc", 2, 1000)
    assert read(Words(infer="nuts"), model).draws == 1000


@pytest.mark.parametrize(("text", "value"), [("80GB", 8e10), ("1.5 MiB", 1.5 * 2**20), ("4e9", 4e9), ("512", 512.0)])
def test_memory_is_read_in_the_units_people_write(text, value):
    assert ppl.cli.read.memory(text) == value


def test_run_folders_are_numbered_and_never_shared(here):
    assert [str(make_folder(None, "radon")) for _ in range(3)] == [f"runs/radon-{i}" for i in (1, 2, 3)]
    assert str(next_free(Path("runs/radon-2"))) == "runs/radon-4"
    assert check_free("runs/radon-1") == Path("runs/radon-1")
    Path("runs/radon-1/note.txt").write_text("mine")
    with pytest.raises(Diagnostic, match="not empty"):
        check_free("runs/radon-1")


# --- run ---


@pytest.mark.usefixtures("hasty")
def test_run_writes_a_folder_that_tells_everything(here, capsys):
    words = ["run", "radon.ppl", "--data", "radon.json", "--seed", "5", "--keep", "mu,alpha", "--no-predictive", *SHORT]
    words += ["--fix", "beta=0.5", "--infer", "hmc(steps = 2) >> nuts(max_depth = 5)"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "posterior, 2 chains × 20 draws" in told and "report: runs/radon-1/report.html" in told
    folder = here / "runs" / "radon-1"
    assert {p.name for p in folder.iterdir()} >= {"plan.toml", "plan.txt", "draws.zarr", "report.html"}
    assert (folder / "model.ppl").read_text() == RADON
    config = json.loads((folder / "config.json").read_text())
    assert (config["seed"], config["sizes"], config["mesh"]) == (5, {"obs": 5, "county": 3}, "1")
    assert config["command"] == ["meshbayes", *words] and config["sampler"]["draws"] == 20
    stages = [(s["name"], s["chains"], s["warmup"], s["draws"], s.get("max_depth")) for s in config["stages"]]
    assert stages == [("hmc", 2, 1000, 1000, None), ("nuts", 2, 20, 20, 5)]
    assert config["sampler"]["program"] == "hmc(steps = 2) >> nuts(chains = 2, draws = 20, warmup = 20, max_depth = 5)"
    assert config["fixed"] == {"beta": 0.5} and set(config["data"]) == {"floor", "cty", "y"}
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    # The first stage's blocks are as long as their time allows, of 50 to 500 transitions.
    assert 4 <= len(log) - 2 <= 22 and [line["event"] for line in log] == ["start", *["block"] * (len(log) - 2), "end"]
    assert [(line["stage"], line["phase"], line["of"]) for line in log[-4:-1]] == [
        ("hmc", "warm-up", 1000), ("nuts", "warm-up", 40), ("nuts", "sampling", 40)
    ]  # fmt: skip
    assert log[-2]["done"] == 40 and len(log[-2]["step_size"]) == 2
    draws = open_run(folder)
    assert {n: v.shape for n, v in draws["posterior"].items()} == {"mu": (2, 20), "alpha": (2, 20, 3)}
    assert set(draws.groups) == {"posterior", "sample_stats", "observed_data", "constant_data"}
    (folder / "report.html").unlink()
    assert "report.html" in printed(capsys, "report", str(folder))
    assert (folder / "report.html").stat().st_size > 10_000


def test_a_run_that_fails_before_its_first_draw_leaves_nothing(here, monkeypatch, capsys):
    def fail(*_):
        raise Diagnostic("run", "no starting point")

    monkeypatch.setattr(ppl.cli.run, "_sample", fail)
    assert main(["run", "radon.ppl", "--data", "radon.json", *SHORT]) == 1
    assert list((here / "runs").iterdir()) == []
    (here / "mine").mkdir()
    assert main(["run", "radon.ppl", "--data", "radon.json", "--out", "mine", *SHORT]) == 1
    assert list((here / "mine").iterdir()) == []


@pytest.mark.slow
def test_a_mesh_gets_virtual_devices_and_the_terminal_stays_clean(here):
    words = ("run", "line.py:line", "--data", "line.json", "--mesh", "row=2", "--out", "out", *SHORT)
    done = in_a_process(*words, folder=here)
    assert done.returncode == 0, done.stderr
    note, chosen = done.stderr.splitlines()
    assert note == "note: 2 virtual devices where JAX runs on the CPU"
    assert chosen.startswith("note: nuts(chains = 2, draws = 20, warmup = 20) is run: 1 unconstrained dim, ")
    assert "report: out/report.html" in done.stdout
    assert json.loads((here / "out" / "config.json").read_text())["mesh"] == "row=2"
    draws = open_run(here / "out")
    assert draws["log_likelihood"]["y"].shape == draws["posterior_predictive"]["y"].shape == (2, 20, 3)
    assert draws["prior"]["slope"].shape == (1, 500)


def test_a_mistake_shows_no_traceback_in_a_process(here):
    done = in_a_process("check", "radon.ppl", "--data", "rdaon.json", folder=here)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "data error: rdaon.json: there is no such file\nhint: did you mean 'radon.json'?\n"


@pytest.mark.slow
def test_a_result_in_memory_is_saved_as_a_run_folder(here):
    data = {name: np.asarray(values) for name, values in json.loads(RADON_DATA).items()}
    result = ppl.compile(ppl.load("radon.ppl"), data).run(ppl.nuts(chains=2, draws=20, warmup=20), seed=3)
    folder = result.save(here / "saved")
    stored = open_run(folder)
    for group, variables in result.draws.groups.items():
        for name, variable in variables.items():
            np.testing.assert_array_equal(stored[group][name].values, variable.values, err_msg=f"{group}/{name}")
    assert json.loads((folder / "config.json").read_text())["seed"] == 3
    with pytest.raises(Diagnostic, match="run in this folder already"):
        result.save(folder)
