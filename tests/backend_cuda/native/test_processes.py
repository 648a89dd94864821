"""Ranks in several processes, over POSIX shared memory: equal to lax over gloo; a lost rank is an error, no hang."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def run(processes: int, task: str, devices: int = 1) -> list[str]:
    """What each process printed, in the order of their ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(HERE / "worker.py")]
    flags = f"--xla_force_host_platform_device_count={devices}"
    env = {**os.environ, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    ranks = [
        subprocess.Popen([*command, str(r), str(processes), port, task], env=env, stdout=-1, stderr=-1, text=True)
        for r in range(processes)
    ]
    try:
        made = [rank.communicate(timeout=120) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    survivors = processes - (task == "die")
    for rank, (out, err) in list(zip(ranks, made, strict=True))[:survivors]:
        assert rank.returncode == 0, f"{out}\n{err[-3000:]}"
    assert not list(Path("/dev/shm").glob("meshbayes-*")), "nothing stays behind"
    return [out for out, _ in made]


@pytest.mark.parametrize(
    ("processes", "devices"), [(2, 1), *(pytest.param(*c, marks=pytest.mark.slow) for c in [(4, 1), (2, 2)])]
)
def test_processes_get_what_lax_gives_to_the_bit(processes, devices):
    for out in run(processes, "compare", devices):
        assert "equal to lax" in out and "equal in a hundred runs" in out


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_a_rank_that_died_is_an_error_on_all_others_within_the_limit(processes):
    for out in run(processes, "die")[:-1]:
        (seconds,) = re.findall(r"after ([\d.]+) s: DEADLINE_EXCEEDED: a peer did not arrive", out)
        assert 5 < float(seconds) < 12, "the limit is 6 s"
        assert "refused" in out


@pytest.mark.slow
def test_after_an_abort_ranks_go_on_when_bound_again():
    for out in run(2, "rebind"):
        assert "refused" in out and "equal after binding again" in out


@pytest.mark.slow
def test_ranks_that_call_different_collectives_are_told():
    first, second = run(2, "differ")
    assert "different collectives" in first + second
    assert "refused" in first and "refused" in second


@pytest.mark.slow
def test_slots_that_do_not_fit_are_told_on_all_ranks():
    for out in run(2, "crowded"):
        assert "ranks could not be connected: " in out


@pytest.mark.slow
def test_processes_that_ask_for_different_collectives_are_told():
    for out in run(2, "unequal"):
        assert "processes ask for different collectives: lax, native" in out
