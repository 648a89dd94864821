"""Building on first use: kept in the cache, once for all processes; without a compiler a note and jax.lax."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from backend_cuda import device_mesh
from backend_cuda.native import bind, build
from ir.errors import Diagnostic
from ir.mesh import Mesh


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """An empty cache and an empty PATH; nothing built in this process counts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CXX", "CUDA_HOME", "CUDA_PATH", build.MODE):
        monkeypatch.delenv(name, raising=False)
    for cached in (build.loaded, build._say_once):
        cached.cache_clear()
    yield tmp_path
    for cached in (build.loaded, build._say_once):
        cached.cache_clear()


def compiler(folder: Path, body: str) -> Path:
    """A program that stands for a compiler: it notes every call in `calls`."""
    path = folder / "fake"
    path.write_text(f'#!{sys.executable}\nimport sys\nopen("{folder}/calls", "a").write("x")\n{body}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


WRITES = 'open(sys.argv[sys.argv.index("-o") + 1], "w").write("made")'


def test_without_a_compiler_one_note_is_given_and_lax_is_taken(elsewhere, capsys):
    mesh = device_mesh(Mesh.parse("row=2"))
    assert bind(mesh) is None and bind(mesh) is None
    note = capsys.readouterr().err
    assert note == "note: collectives and particles are left to JAX: no C++ compiler (g++ is not on the PATH)\n"


def test_who_asks_for_native_is_told_why_there_is_none(elsewhere, monkeypatch):
    monkeypatch.setenv(build.MODE, "native")
    with pytest.raises(Diagnostic, match="no C\\+\\+ compiler") as caught:
        bind(device_mesh(Mesh.parse("row=2")))
    assert "install g++" in str(caught.value.hint)


def test_a_compiler_that_fails_is_quoted(elsewhere, monkeypatch, capsys):
    fails = compiler(elsewhere, 'sys.exit("cpu.cc:3: error: no such thing")')
    monkeypatch.setenv("CXX", str(fails))
    assert build.library() is None
    assert "fake failed: cpu.cc:3: error: no such thing" in capsys.readouterr().err
    assert not list((elsewhere / "cache").rglob("*.so"))


def test_lax_is_taken_where_it_is_asked_for(monkeypatch, capsys):
    monkeypatch.setenv(build.MODE, "lax")
    assert bind(device_mesh(Mesh.parse("row=2"))) is None
    assert capsys.readouterr().err == ""


def test_a_word_that_means_nothing_is_an_error(monkeypatch):
    monkeypatch.setenv(build.MODE, "nccl")
    with pytest.raises(Diagnostic, match='"nccl" is no kind of collectives') as caught:
        bind(device_mesh(Mesh.parse("row=2")))
    assert caught.value.hint == "auto, lax or native"


def test_a_library_is_compiled_once_and_again_when_its_command_changes(elsewhere):
    fake = str(compiler(elsewhere, WRITES))
    first = build.built("x", ("core.h",), [[fake, "-o", "OUT"]])
    assert first == build.built("x", ("core.h",), [[fake, "-o", "OUT"]])
    assert first.read_text() == "made" and (elsewhere / "calls").read_text() == "x"
    assert first != build.built("x", ("core.h",), [[fake, "-g", "-o", "OUT"]])
    assert (elsewhere / "calls").read_text() == "xx"


@pytest.mark.slow
def test_processes_that_start_at_once_compile_once(elsewhere):
    fake = str(compiler(elsewhere, f"import time; time.sleep(0.5)\n{WRITES}"))
    code = f"from backend_cuda.native import build; build.built('x', ('core.h',), [[{fake!r}, '-o', 'OUT']])"
    env = {**os.environ, "PYTHONPATH": str(build.HERE.parents[1])}
    started = [subprocess.Popen([sys.executable, "-c", code], env=env) for _ in range(3)]
    assert [p.wait(60) for p in started] == [0, 0, 0]
    assert (elsewhere / "calls").read_text() == "x"


def test_a_cache_that_cannot_be_written_is_a_reason(elsewhere, monkeypatch):
    (elsewhere / "cache").write_text("a file")
    fake = str(compiler(elsewhere, WRITES))
    with pytest.raises(build.BuildError, match="cache"):
        build.built("x", ("core.h",), [[fake, "-o", "OUT"]])


def test_headers_are_those_of_the_running_jaxlib():
    assert build.ffi_version().split(".")[0] == "0"
    assert jax.ffi.include_dir() in build.host_command()
