"""Hand-written collectives in plans: which of them, by what figures, at what price, and how the plan tells."""

import dataclasses
import json
import math

import pytest

from ir.errors import Diagnostic
from ir.mesh import Mesh
from ir.native import SLOT_BYTES, SMALL_SUM, Native, mode
from planner import Machine, as_json, format_plan, make_plan, where, write_plan
from planner.cost import Costs
from planner.machine import KINDS, NativeLink
from planner.machine_file import machine_of, machine_text
from planner.native import native_rules

from .programs import fourier, robust

MESH = Mesh.parse("row=4,col=2")
H200 = Machine.load("h200x8")
ALPHA = 1e-6
LINK = NativeLink((ALPHA,) * 5, (1e10, 1e10, 1e10, 1e12, 1e10))
"""Early and slow, but for all-to-alls: it wins where messages are small."""
BOTH = dataclasses.replace(H200, native=LINK)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axes", [("row",), ("col",), ("row", "col")])
def test_a_rule_holds_the_sizes_at_which_the_kernels_are_faster(kind, axes):
    (rule,) = [r for r in native_rules(BOTH, MESH) or () if r.kind == kind and r.axes == axes]
    ours, theirs = LINK.curve(kind, 1, MESH.size(axes)), H200.lax_curve(kind, MESH, axes)
    assert rule.least == 0 and rule.most >= 1024
    if kind == "all_to_all":
        assert rule.most == math.inf
        return
    for size in (1, 100, int(rule.most)):
        assert rule.takes(kind, axes[::-1], size) and ours(size) < theirs(size)
    assert not rule.takes(kind, axes, int(rule.most) + 1) and not rule.takes("broadcast", axes, 1)
    if kind == "all_reduce":
        assert rule.most <= SMALL_SUM
    else:
        assert ours(2 * rule.most) >= theirs(2 * rule.most)


def test_what_is_slower_everywhere_has_no_rule_and_what_is_faster_for_large_messages_has_a_least_size():
    slow = dataclasses.replace(H200, native=NativeLink((1.0,) * 5, (1e9,) * 5))
    assert native_rules(slow, MESH) == ()
    late = dataclasses.replace(H200, native=NativeLink((1e-4,) * 5, (1e15,) * 5))
    found = [r for r in native_rules(late, MESH) or () if r.kind == "all_to_all"]
    assert found and all(r.least > 1024 and r.most == math.inf for r in found)
    assert not [r for r in native_rules(late, MESH) or () if r.kind == "all_reduce"]


def test_who_asks_decides_and_figures_that_nobody_measured_are_taken_on_request_only():
    guessed = dataclasses.replace(H200, native=dataclasses.replace(LINK, measured=False))
    assert native_rules(guessed, MESH) is None and native_rules(dataclasses.replace(H200, native=None), MESH) is None
    assert native_rules(dataclasses.replace(BOTH, collectives="lax"), MESH) == ()
    for machine in (guessed, dataclasses.replace(H200, native=None)):
        every = native_rules(dataclasses.replace(machine, collectives="native"), MESH) or ()
        assert len(every) == 3 * len(KINDS)
        assert all(r.least == 0 and r.most == (SMALL_SUM if r.kind == "all_reduce" else math.inf) for r in every)


def test_built_in_gpus_have_figures_that_count_as_guesses():
    for name in ("a100x8", "h100x8", "h200x8"):
        link = Machine.load(name).native
        assert link is not None and not link.measured
    assert Machine.load("laptop").native is None


def test_groups_that_leave_a_node_or_are_too_large_stay_with_lax():
    asked = dataclasses.replace(BOTH, collectives="native")
    wide = native_rules(asked, Mesh.parse("row=4,col=8")) or ()  # nodes of 8
    assert {r.axes for r in wide} == {("col",)}
    alone = dataclasses.replace(asked, node=0)
    assert {r.axes for r in native_rules(alone, Mesh.parse("row=16,col=8")) or ()} == {("row",), ("col",)}


@pytest.mark.parametrize("program", [fourier(240, 200, 180), robust(20_000, 3_000)], ids=["fourier", "robust"])
def test_a_plan_is_priced_by_what_performs_it_and_says_what_does(program):
    theirs = make_plan(program, MESH, machine=H200, memory=0)
    plan = make_plan(program, MESH, machine=BOTH, memory=0)
    assert theirs.native is None and plan.native == native_rules(BOTH, MESH)
    assert theirs.prediction and plan.prediction
    assert plan.prediction.seconds < theirs.prediction.seconds
    for step in plan.steps(program):
        what = step.move, step.value.type, step.before
        for (c, seconds), (_, lax) in zip(
            Costs(BOTH, MESH).priced(*what), Costs(H200, MESH).priced(*what), strict=True
        ):
            native = any(r.takes(c.kind, c.axes, c.bytes) for r in plan.native)
            assert seconds == (LINK.curve(c.kind, 1, MESH.size(c.axes))(c.bytes) if native else lax)
    data = as_json(program, plan, machine=BOTH)
    told = {c["by"] for c in data["collectives"]} | {m["by"] for v in data["values"] for m in v["moves"] if m["bytes"]}
    assert told <= {"native", "jax.lax"} and "native" in told
    assert json.dumps(data) and ", native" in format_plan(program, plan, machine=BOTH)
    assert "native" not in format_plan(program, theirs, machine=H200)
    assert "# hand-written collectives: all_reduce(row) up to" in write_plan(plan, program)


def test_one_plan_may_have_both():
    program, machine = robust(200, 40_000), dataclasses.replace(H200, native=NativeLink((ALPHA,) * 5, (1e10,) * 5))
    plan = make_plan(program, MESH, machine=machine, memory=0, pins=["x:n=row+col"])
    text = format_plan(program, plan, machine=machine)
    assert ", native" in text and ", jax.lax" in text


def test_staging_slots_count_as_memory_of_gpus():
    program = fourier(48, 40, 36)
    plan, without = (make_plan(program, MESH, machine=m, memory=0) for m in (BOTH, H200))
    assert plan.prediction and without.prediction
    slots = 3 * 2 * SLOT_BYTES["gpu"]
    assert plan.prediction.peak_bytes == pytest.approx(without.prediction.peak_bytes + slots, rel=0.05)
    assert any(h.what == "staging slots" and h.bytes == slots for h in where(program, plan, BOTH).peak.held)
    with pytest.raises(Diagnostic, match="fit"):
        make_plan(program, MESH, machine=BOTH, memory=slots)
    on_cpu = dataclasses.replace(BOTH, platform="cpu")
    held = make_plan(program, MESH, machine=on_cpu, memory=0).prediction
    assert held and held.peak_bytes < slots


@pytest.mark.parametrize("measured", [True, False])
def test_a_machine_file_keeps_them(measured):
    import tomllib

    machine = dataclasses.replace(BOTH, native=dataclasses.replace(H200.native or LINK, measured=measured))
    text = machine_text(machine)
    assert ("measured = false" in text) is not measured
    read = machine_of(tomllib.loads(text), "mine.toml").native
    assert read and read.measured is measured and read.alpha == machine.native.alpha  # files keep four digits
    assert machine_text(machine_of(tomllib.loads(text), "mine.toml")) == text


def test_a_group_of_several_nodes_in_a_file_is_wrong():
    import tomllib

    text = machine_text(BOTH) + '\n[native.seconds.all_reduce]\n"2x8" = [[1024, 1e-5]]\n'
    with pytest.raises(Diagnostic, match=r"native.seconds.all_reduce has a group of 2 nodes"):
        machine_of(tomllib.loads(text), "mine.toml")


def test_a_word_that_is_no_kind_of_collectives_is_told(monkeypatch):
    monkeypatch.setenv("MESHBAYES_COLLECTIVES", "nccl")
    with pytest.raises(Diagnostic, match='"nccl" is no kind of collectives'):
        mode()


def test_rules_read_as_words():
    assert str(Native("all_to_all", ("row", "col"), 0, 65536)) == "all_to_all(row+col) up to 65,536 B"
    assert str(Native("all_gather", ("row",), 1024, 65536)) == "all_gather(row) 1,024 to 65,536 B"
    assert str(Native("all_gather", ("row",), 1024)) == "all_gather(row) from 1,024 B"
    assert str(Native("all_gather", ("row",))) == "all_gather(row) all"
