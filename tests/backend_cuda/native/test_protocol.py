"""Memory order: ThreadSanitizer finds no race in the protocol, and the one of a variant that is broken on purpose."""

import shutil
import subprocess
from pathlib import Path

import pytest

from backend_cuda.native import build

SOURCE = Path(__file__).parent / "protocol.cc"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="ThreadSanitizer comes with g++, which is not on the PATH"),
]


def run(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    program = folder / "protocol"
    command = ["g++", "-O1", "-g", "-std=c++17", "-Wall", "-Wextra", "-Werror", *flags, f"-I{build.HERE}", str(SOURCE)]
    subprocess.run([*command, "-o", str(program), "-pthread", "-lrt"], check=True)
    return subprocess.run([str(program)], capture_output=True, text=True, timeout=120)


def test_two_slots_and_one_barrier_are_free_of_races(tmp_path):
    done = run(tmp_path, "-fsanitize=thread")
    assert (done.returncode, done.stdout, done.stderr) == (0, "wrong: 0\n", "")


def test_with_one_slot_the_race_is_reported(tmp_path):
    done = run(tmp_path, "-fsanitize=thread", "-DMESHBAYES_SLOTS=1")
    assert "WARNING: ThreadSanitizer: data race" in done.stderr and done.returncode != 0
    assert "pull_box" in done.stderr or "pull_run" in done.stderr


def test_the_protocol_touches_no_memory_that_is_not_its_own(tmp_path):
    done = run(tmp_path, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    assert (done.returncode, done.stdout, done.stderr) == (0, "wrong: 0\n", "")
