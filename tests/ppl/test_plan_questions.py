"""`meshbayes plan` asked: orders, --explain, --where and --diff, in words and as JSON; the same from Python."""

import json

import pytest

import ppl
from ppl.cli import main
from tests.ppl.error_projects import FIELD

LINE = """\
model line
dim obs = 1000003
data x[obs]: real, y[obs]: real
slope ~ Normal(0, 1)
y[obs] ~ Normal(slope * x, 1)
"""
LINE_MESH = ["--mesh", "row=4", "--machine", "h100x8", "--chains", "1"]
MESH = ["--mesh", "row=2,col=2", "--set", "x=512,y=384", "--machine", "h100x8", "--chains", "1"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.ppl").write_text(FIELD, encoding="utf-8")
    (tmp_path / "line.ppl").write_text(LINE, encoding="utf-8")
    return tmp_path


def told(capsys, *words: str, code: int = 0) -> str:
    assert main(["plan", "model.ppl", *MESH, *words]) == code
    return capsys.readouterr().out


def plan(**arguments):
    sizes = {"x": 512, "y": 384}
    return ppl.plan(ppl.load("model.ppl"), mesh="row=2,col=2", machine="h100x8", chains=1, sizes=sizes, **arguments)


def test_orders_of_the_command_line_shape_the_plan_and_its_file(capsys, here):
    out = told(
        capsys,
        "--pin",
        "white:x=row",
        "--ban",
        "delta:whole",
        "--prefer",
        "delta:x=row,within=90%",
        "--write",
        "a.toml",
    )
    assert "  pins       white:x=row\n" in out and "  bans       delta:whole\n" in out
    assert "  prefer     delta:x=row,within=0.9: " in out
    text = (here / "a.toml").read_text()
    assert '[ban]\ndelta = "whole"\n' in text and '[prefer]\ndelta = { x = "row", within = 0.9 }\n' in text
    assert told(capsys, "--plan", "a.toml") == out


def test_orders_from_python():
    chosen = plan().pin("white", x="row").ban("delta", "whole").prefer("delta", x="row", within=0.9)
    assert chosen.plan.pins == ("white:x=row", "ban delta:whole", "prefer delta:x=row,within=0.9")
    assert [p.text for p in chosen.plan.preferred] == ["prefer delta:x=row,within=0.9"]
    assert chosen.plan.layouts["white"].axes("x") == ("row",)


def test_where_and_memory_and_explanations_as_json(capsys):
    account = json.loads(told(capsys, "--where", "--json"))
    plain = json.loads(told(capsys, "--json"))
    assert account["seconds"] == pytest.approx(plain["prediction"]["seconds"], rel=1e-9)
    assert account["peak"]["bytes"] == plain["prediction"]["peak_bytes"]
    assert {row["line"].rpartition(":")[0] for row in account["lines"]} <= {"model.ppl", ""}
    rows = json.loads(told(capsys, "--explain", "delta", "--json"))
    assert rows[0]["extra_seconds"] == 0 and rows[0]["seconds"] == plain["prediction"]["seconds"]
    assert main(["plan", "line.ppl", *LINE_MESH, "--explain", "memory", "--json"]) == 0
    price = json.loads(capsys.readouterr().out)
    assert price["binds"] is False and price["next_smaller"]["budget"] == price["peak_bytes"]


def test_the_same_questions_in_words_and_from_python(capsys):
    asked = plan()
    assert told(capsys, "--where") == f"{asked.where()}\n"
    line = ppl.plan(ppl.load("line.ppl"), mesh="row=4", machine="h100x8", chains=1)
    assert main(["plan", "line.ppl", *LINE_MESH, "--explain", "memory"]) == 0
    assert capsys.readouterr().out == f"{line.memory_price()}\n"
    other = asked.pin("white", x="row")
    assert "white" in {c.name for c in asked.diff(other).named} and asked.diff(asked).same


def test_the_difference_of_two_files(capsys, here):
    told(capsys, "--write", "a.toml")
    (here / "b.toml").write_text('[mesh]\nrow = 4\n[pin]\nwhite = "whole"\n')
    words = [
        "plan",
        "model.ppl",
        "--set",
        "x=512,y=384",
        "--machine",
        "h100x8",
        "--chains",
        "1",
        "--diff",
        "a.toml",
        "b.toml",
    ]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.startswith("two plans of 'field': a.toml → b.toml\n") and "mesh  row=2,col=2 → row=4" in out
    assert "  pin   — → white:whole" in out and "  whole" not in out.split("asked")[0]
    assert main([*words, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {c["name"] for c in data["asked"]} == {"mesh", "pin"}
    assert main([*words[:-2], "a.toml", "a.toml"]) == 0
    assert "they are the same plan" in capsys.readouterr().out


def test_a_conflict_and_a_budget_as_json(capsys):
    data = json.loads(told(capsys, "--pin", "delta:x=row", "--ban", "delta:x=row", "--json", code=2))
    assert [row["order"] for row in data["conflict"]] == ["delta:x=row", "ban delta:x=row"]
    assert main(["plan", "line.ppl", *LINE_MESH, "--memory", "1MB", "--json"]) == 2
    data = json.loads(capsys.readouterr().out)
    assert data["least_bytes"] > 1e6 >= data["enough"]["bytes"] and data["enough"]["devices"] > 4
