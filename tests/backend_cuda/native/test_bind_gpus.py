"""Binding a mesh of GPUs where there is none: who is asked for what, and what the missing driver is reported as."""

from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from backend_cuda.native import bind, build
from backend_cuda.native.build import Library
from backend_cuda.native.segments import DeviceSegments, Refused
from ir.errors import Diagnostic


def mesh(platforms: str) -> Any:
    """What `bind` looks at of a mesh, of "gpu" and "cpu" devices of this process."""
    found = [SimpleNamespace(platform=p, process_index=0, local_hardware_id=i) for i, p in enumerate(platforms.split())]
    devices = np.array(found, dtype=object)
    return SimpleNamespace(devices=devices, size=len(found), axis_names=("row",), shape={"row": len(found)})


def without_gpu() -> bool:
    try:
        return not jax.devices("cuda")
    except RuntimeError:
        return True


def test_gpus_take_lax_unless_asked_for_native(monkeypatch):
    monkeypatch.delenv(build.MODE, raising=False)
    assert bind(mesh("gpu gpu")) is None
    monkeypatch.setenv(build.MODE, "lax")
    assert bind(mesh("gpu gpu")) is None


def test_a_mesh_of_both_kinds_is_refused():
    with pytest.raises(Diagnostic, match="CPUs and GPUs together"):
        bind(mesh("cpu gpu"))


def test_native_without_nvcc_says_what_to_install(monkeypatch):
    monkeypatch.setenv(build.MODE, "native")
    monkeypatch.setattr(build, "loaded", lambda platform: "no nvcc here")
    with pytest.raises(Diagnostic, match="cannot be built: no nvcc here") as error:
        bind(mesh("gpu gpu"))
    assert "nvidia-cuda-nvcc" in str(error.value.hint)


@pytest.mark.slow
@pytest.mark.skipif(not without_gpu(), reason="there is a GPU")
def test_without_a_driver_the_first_communicator_is_a_diagnostic(monkeypatch):
    monkeypatch.setenv(build.MODE, "native")
    try:
        build.find_nvcc()
    except build.BuildError as error:
        pytest.skip(str(error))
    binding = bind(mesh("gpu gpu"))
    assert binding is not None
    with pytest.raises(Diagnostic, match=r"could not be connected: cudaSetDevice\(device\): (CUDA driver|no CUDA)"):
        binding.communicator(("row",))


class Recorder:
    """Stands in for the CUDA library: each call with its numbers; `failing` gives -1."""

    def __init__(self, failing: str = ""):
        self.calls, self.failing = [], failing

    def __getattr__(self, name):
        short = name.removeprefix("meshbayes_cuda_")
        if short == "error":
            return lambda: b"out of memory"
        if short == "create":
            return lambda *_: 7

        def call(handle, *arguments):
            assert handle.value == 7
            plain = [a for a in arguments if isinstance(a, int | bytes)]
            self.calls.append((short, *plain))
            if short == "add_segment" and arguments[2] is not None:
                arguments[2].raw = bytes([arguments[1]]) * 64  # the handle of place p is p, 64 times
            return -1 if short == self.failing else 0

        return call


def test_segments_of_other_processes_come_by_ipc_and_own_ones_from_device_to_device():
    """Places 0 and 1 on GPUs 0 and 1 of this process, place 2 in another one."""
    c: Any = Recorder()
    segments = DeviceSegments(Library(c, "x"), 4096, 1.0, {0: 0, 1: 1}, 3)
    assert segments.add(0, None) == "", "alone there is nothing to tell"
    told = [segments.add(p, "name") for p in (0, 1)]
    assert [bytes.fromhex(t) for t in told] == [bytes([p]) * 64 for p in (0, 1)]
    c.calls.clear()
    segments.open(2, (b"\x02" * 64).hex())
    segments.join(0, [0, 1, 2])
    segments.join(1, [0, 1, 2])
    segments.probe()
    assert c.calls == [
        ("open_segment", 0, 2, b"\x02" * 64),
        ("open_segment", 1, 2, b"\x02" * 64),
        ("share_segment", 0, 1, 1),
        ("add_endpoint", 0, 0, 3),
        ("share_segment", 1, 0, 0),
        ("add_endpoint", 1, 1, 3),
        ("probe",),
    ]


@pytest.mark.parametrize("step", ["add_segment", "open_segment", "add_endpoint", "reset"])
def test_what_cuda_refuses_is_told_in_its_words(step):
    segments = DeviceSegments(Library(Recorder(step), "x"), 4096, 1.0, {0: 0}, 2)  # type: ignore[arg-type]
    calls = {
        "add_segment": lambda: segments.add(0, None),
        "open_segment": lambda: segments.open(1, "00" * 64),
        "add_endpoint": lambda: segments.join(0, [0, 1]),
        "reset": segments.reset,
    }
    with pytest.raises(Refused, match="out of memory"):
        calls[step]()
