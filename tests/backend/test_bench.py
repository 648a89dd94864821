"""What is timed: each case performs the collective that it names, once a step; the classes of work are all there."""

import jax
import numpy as np
import pytest

import backend_cuda
from backend_cuda.bench import (
    KINDS,
    MESSAGES,
    NATIVE,
    QUICK_MESSAGES,
    Timing,
    collective_case,
    groups,
    take_timings,
    time_case,
    work_cases,
)
from backend_cuda.bench.timings import loop_of
from backend_cuda.inspect import emitted
from backend_cuda.native import NativeCollectives, bind
from ir.layout import Collective
from ir.mesh import Mesh
from planner.machine import KINDS as PLANNED
from planner.machine import WORK

MESH = Mesh.parse("row=2,col=2")


@pytest.fixture(scope="module")
def devices():
    return backend_cuda.device_mesh(MESH)


def test_the_kinds_timed_are_those_that_are_priced():
    assert set(KINDS) == set(PLANNED)


@pytest.mark.parametrize("quick", [False, True])
def test_every_class_of_work_is_timed(quick):
    timed = {case.what.partition(" ")[0] for case in work_cases(quick)}
    assert timed == {*WORK, "launch"}


def test_groups_are_the_axes_and_their_products():
    assert groups(Mesh.parse("a=2,b=1,c=3")) == [("a",), ("c",), ("a", "c")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axes", [("row",), ("col",), ("row", "col")])
def test_a_case_performs_the_collective_that_it_names(kind, axes, devices):
    case = collective_case(kind, MESH, axes, 4096)
    assert case is not None
    operand = 4096 // MESH.size(axes) if kind == "all_gather" else 4096
    loop, block = loop_of(case, devices)
    found = [p.collective for p in emitted(loop.lower(np.int32(3), block), MESH)]
    assert case.size == operand and found == [Collective(kind, axes, "f32", operand)]


@pytest.mark.parametrize("message", [*MESSAGES, *QUICK_MESSAGES])
def test_no_message_is_larger_than_it_says(message):
    for kind in KINDS:
        case = collective_case(kind, MESH, ("row", "col"), message)
        assert case is not None and case.size * (4 if kind == "all_gather" else 1) <= message


def test_a_message_too_small_to_deal_out_is_left_out():
    assert collective_case("all_to_all", MESH, ("row", "col"), 8) is None


def test_timing_runs_a_case_on_all_devices(devices):
    case = collective_case("all_reduce", MESH, ("row",), 1024)
    assert case is not None
    found = time_case(case, devices, repeats=3, aim=0.002)
    assert isinstance(found, Timing) and found.seconds > 0 <= found.spread
    assert (found.what, found.size, found.axes) == ("all_reduce", 1024.0, ("row",))


def test_every_class_of_work_runs(devices):
    for case in work_cases(quick=True):
        if case.what in ("gather", "scatter", "repack", "reduce f32", "linalg f64", "fft f32"):
            with jax.enable_x64(True):
                loop, block = loop_of(case, devices)
                made = np.asarray(loop(np.int32(2), block))
            assert made.shape == (MESH.devices, *case.shape) and made.dtype == np.dtype(case.dtype)
            assert np.isfinite(made).all()


@pytest.mark.slow
def test_our_collectives_are_timed_beside_those_of_lax_where_it_is_asked(devices, monkeypatch):
    """Messages of 4 and 128 KiB: of all-reduces of more than 64 KiB ours are `jax.lax`'s."""
    monkeypatch.setattr("backend_cuda.bench.timings.QUICK_MESSAGES", (1 << 12, 1 << 17))
    monkeypatch.setattr("backend_cuda.bench.timings.work_cases", lambda quick: iter(()))
    seen: list[Timing] = []
    found, left_out = take_timings(MESH, True, 60.0, seen.append, native=True)
    assert left_out == 0 and seen == found
    ours = [(t.what.removeprefix(NATIVE), t.axes, t.size) for t in found if t.what.startswith(NATIVE)]
    lax = [(t.what, t.axes, t.size) for t in found if not t.what.startswith(NATIVE)]
    assert set(lax) - set(ours) == {("all_reduce", axes, float(1 << 17)) for axes in groups(MESH)}
    assert set(ours) < set(lax)
    assert all(t.seconds > 0 for t in found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_case_of_ours_has_no_collective_of_xla(kind, devices):
    binding = bind(devices)
    assert binding is not None
    case = collective_case(kind, MESH, ("row", "col"), 4096, NativeCollectives(binding))
    assert case is not None and case.what == NATIVE + kind
    loop, blocks = loop_of(case, devices)
    lowered = loop.lower(np.int32(3), blocks)
    assert not emitted(lowered, MESH) and "@meshbayes_" in lowered.as_text()


def test_without_native_collectives_there_are_timings_of_lax_alone(devices, monkeypatch):
    monkeypatch.setenv("MESHBAYES_COLLECTIVES", "lax")
    monkeypatch.setattr("backend_cuda.bench.timings.QUICK_MESSAGES", (1 << 12,))
    monkeypatch.setattr("backend_cuda.bench.timings.work_cases", lambda quick: iter(()))
    found, _ = take_timings(Mesh.parse("row=2"), True, 60.0, lambda _: None, native=True)
    assert {t.what for t in found} == set(KINDS)
