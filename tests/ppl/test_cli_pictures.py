"""`meshbayes plan` with --html, --dot, --mermaid and --all: files are written, and pipes get what they always got."""

import json
import re
import sys
from pathlib import Path

import pytest

from ppl.cli import main

from .error_projects import FIELD

WORDS = ["plan", "field.ppl", "--mesh", "row=2,col=2", "--chains", "2"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to stand in, with a model."""
    (tmp_path / "field.ppl").write_text(FIELD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_pictures_are_written_beside_the_table(here, capsys):
    assert main(WORDS) == 0
    plain = capsys.readouterr().out
    assert main([*WORDS, "--html", "p.html", "--dot", "p.dot", "--mermaid", "p.mmd"]) == 0
    told = capsys.readouterr()
    assert told.out == plain
    assert told.err.splitlines() == ["wrote p.html", "wrote p.dot", "wrote p.mmd"]
    page = Path("p.html").read_text()
    data = json.loads(re.search(r'id="plan-data">(.*?)</script>', page)[1])
    assert data["mesh"] == {"row": 2, "col": 2} and {v["name"] for v in data["values"]} >= {"delta", "white"}
    assert Path("p.dot").read_text().startswith("digraph ") and Path("p.mmd").read_text().startswith("flowchart ")


def test_json_has_the_fields_of_the_page(here, capsys):
    assert main([*WORDS, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == 2 and {"nodes", "edges", "memory", "values", "prediction"} <= set(told)
    sources = {n["source"] for n in told["nodes"]}
    assert any(line in sources for line in (line.strip() for line in FIELD.splitlines()))


def test_a_terminal_gets_the_short_table(here, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(WORDS) == 0
    short = capsys.readouterr().out
    assert main([*WORDS, "--all"]) == 0
    everything = capsys.readouterr().out
    assert "--all shows them" in short and "--all shows them" not in everything
    assert len(short.splitlines()) < len(everything.splitlines())


@pytest.mark.parametrize("option", ["--html", "--dot", "--mermaid"])
def test_a_folder_that_is_not_there_is_said_at_once(option, here, capsys):
    assert main([*WORDS, option, "nowhere/p"]) == 2
    assert f"{option} nowhere/p: there is no folder 'nowhere'" in capsys.readouterr().err
