"""Every mistake of the table is one diagnostic that teaches, and following its hint mends it.

What the user sees is tests/golden/errors/NAME.txt (`pytest --accept` rewrites it): read it as a user would.
"""

import re
from pathlib import Path

import pytest

import ppl.cli.run
from ppl.cli import main
from tests.ppl.error_cases import CASES, DIMS, DISTRIBUTIONS, FUNCTIONS, LIBRARY, NAMES

IN_THE_TEXT = {case.name for case in (*LIBRARY, *DIMS, *NAMES, *DISTRIBUTIONS, *FUNCTIONS)}
FIRST = re.compile(r"^(syntax|type|data|plan|argument) error: ", re.MULTILINE)


class Sampling(BaseException):
    """The run got past everything that can be wrong with its input."""


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """An empty folder to stand in, and a run that stops where sampling begins."""

    def sample(*_):
        raise Sampling

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ppl.cli.run, "_sample", sample)
    return tmp_path


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_mistake_is_told_once_with_its_place_and_a_hint(case, project, capsys, golden):
    write(project, case.files())
    code = main(case.words())
    told = capsys.readouterr().err
    assert (code, len(FIRST.findall(told))) == (2, 1), told
    assert FIRST.match(told) and "hint: " in told and "Traceback" not in told
    if case.name in IN_THE_TEXT:
        assert re.match(r"\w+ error: model\.ppl:\d+:\d+: ", told) and "^" in told
    golden(f"errors/{case.name}.txt", f"$ meshbayes {' '.join(case.words())}\n{told}")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_following_the_hint_mends_the_mistake(case, project, capsys):
    write(project, case.files(mended=True))
    try:
        code = main(case.words(mended=True))
    except Sampling:
        code = 0
    assert code == 0, capsys.readouterr().err


def test_there_are_no_golden_files_without_a_case():
    known = {case.name for case in CASES}
    assert {p.stem for p in (Path(__file__).parents[1] / "golden" / "errors").glob("*.txt")} <= known
