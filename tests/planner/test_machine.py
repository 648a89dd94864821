"""Machine files and curves: what they say of every group and size, and what is wrong with a wrong one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ir.errors import Diagnostic
from ir.mesh import Mesh
from ir.ops.interpolate import Interp
from ir.ops.pullback import Pullback
from planner import Machine
from planner.cost import work_of
from planner.curves import Curve, curve_of, share
from planner.machine import KINDS, Link, Rates
from planner.machine_file import machine_of, machine_text

BUILT_IN = ["laptop", "a100x8", "h100x8", "h200x8"]
SIZES = [1, 4_096, 300_000, 2**20, 7_000_000, 2**30]
CURVE = Curve(1, 4, ((1_000.0, 1e-5), (16_000.0, 4e-5), (64_000.0, 1.6e-4)))

PLAIN = """\
[device]
f32 = 1e12
f64 = 5e11
memory_bandwidth = 1e11

[inside]
devices = 4
alpha = { all_reduce = 2e-5, all_gather = 1e-5, reduce_scatter = 1e-5, all_to_all = 1e-5, collective_permute = 1e-5 }
beta = { all_reduce = 1e10, all_gather = 1e10, reduce_scatter = 1e10, all_to_all = 1e10, collective_permute = 1e10 }
"""
ACROSS = """
[across]
staged = true
alpha = { all_reduce = 3e-5, all_gather = 3e-5, reduce_scatter = 3e-5, all_to_all = 3e-5, collective_permute = 3e-5 }
beta = { all_reduce = 1e9, all_gather = 1e9, reduce_scatter = 1e9, all_to_all = 1e9, collective_permute = 1e9 }
"""


def read(text: str, tmp_path, name: str = "mine") -> Machine:
    path = tmp_path / f"{name}.toml"
    path.write_text(text)
    return Machine.load(path)


# --- curves ---


def test_a_curve_is_straight_in_the_logarithms_flat_below_and_of_constant_bandwidth_above():
    assert CURVE.seconds(4_000) == pytest.approx(2e-5)  # halfway in log from 1,000 to 16,000
    assert CURVE.seconds(16_000) == pytest.approx(4e-5)
    assert CURVE.seconds(1) == CURVE.seconds(1_000) == 1e-5
    assert CURVE.seconds(640_000) == pytest.approx(1.6e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_groups_between_measured_ones_lie_between_them(kind):
    law = Link((1e-5,) * 5, (1e9,) * 5)
    curves = [
        Curve(1, n, tuple((s, law.seconds(kind, 1, n, s)) for s in (4.0**k for k in range(3, 15)))) for n in (2, 4, 16)
    ]
    for size in (1e2, 1e6, 1e8):
        for n in (2, 4, 8, 16, 32):
            assert curve_of(curves, kind, 1, n)(size) == pytest.approx(law.seconds(kind, 1, n, size), rel=0.12)
        at = [curve_of(curves, kind, 1, n)(size) for n in (2, 3, 4, 5, 8, 13, 16, 17, 64)]
        assert at == sorted(at) or kind == "collective_permute"


@given(st.sampled_from(KINDS), st.integers(2, 70), st.floats(1, 1e9), st.floats(1, 50))
def test_a_larger_message_never_takes_less_time(kind, n, size, factor):
    assert 0 < curve_of([CURVE], kind, 1, n)(size) <= curve_of([CURVE], kind, 1, n)(size * factor) * (1 + 1e-12)


def test_across_nodes_the_curve_with_the_nearest_number_of_devices_per_node_counts():
    alone, full = Curve(2, 1, ((1.0, 1e-5), (1e6, 1e-3))), Curve(2, 8, ((1.0, 3e-5), (1e6, 1e-4)))
    assert curve_of([alone, full], "all_reduce", 2, 1)(1e6) == 1e-3
    assert curve_of([alone, full], "all_reduce", 2, 8)(1e6) == 1e-4
    assert curve_of([alone, full], "all_reduce", 2, 4)(1e6) < 2e-4


# --- groups ---


@pytest.mark.parametrize(
    ("mesh", "axes", "group"),
    [
        ("row=4,col=8", ("col",), (1, 8)),
        ("row=4,col=8", ("row",), (4, 1)),
        ("row=4,col=8", ("row", "col"), (4, 8)),
        ("row=4,col=2", ("row", "col"), (1, 8)),
        ("row=4,col=4", ("row",), (2, 2)),
        ("row=4,col=4", ("col",), (1, 4)),
        ("row=4,col=6", ("col",), (2, 3)),
        ("node=2,row=2,col=4", ("node", "col"), (2, 4)),
    ],
)
def test_a_group_knows_its_nodes_and_how_many_of_each_it_takes(mesh, axes, group):
    assert Machine.load("h100x8").group(Mesh.parse(mesh), axes) == group


# --- built-in machines ---


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("mesh", ["node=4,gpu=8", "8", "row=3,col=5"])
def test_built_in_machines_price_every_collective_monotonically(name, mesh):
    machine, mesh = Machine.load(name), Mesh.parse(mesh)
    for kind in KINDS:
        for axes in [(a,) for a in mesh.names] + [mesh.names]:
            seconds = [machine.collective(kind, mesh, axes, size) for size in SIZES]
            assert seconds[0] > 0 and seconds == sorted(seconds) and seconds[-1] < 600


@pytest.mark.parametrize(
    ("kind", "axes", "gigabytes_per_second"),
    [
        ("all_reduce", ("gpu",), 476),  # NVIDIA/nccl-tests#290, one H100 node
        ("all_gather", ("gpu",), 345),
        ("all_to_all", ("gpu",), 335),  # NVIDIA/nccl#2169
        ("all_gather", ("node",), 48),  # one NDR adapter: NVIDIA/nccl-tests#290
    ],
)
def test_h100_large_messages_attain_the_published_bus_bandwidth(kind, axes, gigabytes_per_second):
    machine, mesh, size = Machine.load("h100x8"), Mesh.parse("node=2,gpu=8"), 2**30
    n = mesh.size(axes)
    attained = share(kind, n) * size / machine.collective(kind, mesh, axes, size) / 1e9
    assert attained == pytest.approx(gigabytes_per_second, rel=0.05)


def test_a_sum_over_whole_nodes_uses_all_their_adapters():
    """Eight adapters per node carry it: it may not take the time that one would need."""
    for name in ("a100x8", "h100x8"):
        machine, mesh = Machine.load(name), Mesh.parse("node=4,gpu=8")
        whole = machine.collective("all_reduce", mesh, ("node", "gpu"), 2**28)
        assert whole < 0.5 * machine.collective("all_reduce", mesh, ("node",), 2**28)


# --- files ---


def test_a_file_of_two_rates_and_the_law_is_enough(tmp_path):
    machine, mesh = read(PLAIN, tmp_path), Mesh.parse("4")
    expected = 2e-5 * 2 + 2 * 3 / 4 * 1e6 / 1e10
    assert machine.name == "mine" and machine.across == machine.inside and machine == machine.law()
    assert machine.collective("all_reduce", mesh, ("row",), 1e6) == pytest.approx(expected)
    assert machine.flops("f32", "fft") == 1e12 and machine.bandwidth("gather") == 1e11


def test_bandwidth_curves_are_what_is_sent_over_the_time(tmp_path):
    text = PLAIN + "\n[inside.bandwidth]\nall_reduce.4 = [[1024, 1e8], [1048576, 5e9]]\n"
    machine = read(text, tmp_path)
    assert machine.inside.seconds("all_reduce", 1, 4, 1048576) == pytest.approx(1.5 * 1048576 / 5e9)
    assert machine.law().inside.seconds("all_reduce", 1, 4, 1048576) != pytest.approx(1.5 * 1048576 / 5e9)


def test_stages_are_taken_where_they_are_faster(tmp_path):
    machine, mesh, size = read(PLAIN + ACROSS, tmp_path), Mesh.parse("node=2,gpu=4"), 1e8
    inside, across = machine.inside.seconds, machine.across.seconds
    stages = inside("reduce_scatter", 1, 4, size) + inside("all_gather", 1, 4, size / 4)
    stages += across("all_reduce", 2, 1, size / 4)
    assert machine.collective("all_reduce", mesh, ("node", "gpu"), size) == pytest.approx(stages)
    assert stages < across("all_reduce", 2, 4, size)
    assert machine.collective("all_to_all", mesh, ("node", "gpu"), size) == across("all_to_all", 2, 4, size)


def test_work_classes_have_rates_of_their_own(tmp_path):
    machine = read(PLAIN + "\n[work.fft]\nf32 = 1e9\n\n[work.gather]\nbandwidth = 2e8\n", tmp_path)
    assert machine.flops("c64", "fft") == 1e9 and machine.flops("c128", "fft") == 5e11
    assert machine.bandwidth("gather") == 2e8 and machine.bandwidth("fft") == machine.bandwidth() == 1e11
    assert machine.rates("matmul") == Rates()


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_machine_is_its_file(name, tmp_path):
    machine = Machine.load(name)
    again = read(machine_text(machine, "A comment\nof two lines."), tmp_path)
    assert (again.name, again.title, again.node, again.staged) == (name, machine.title, machine.node, machine.staged)
    assert machine_text(again) == machine_text(machine)
    mesh = Mesh.parse("node=4,gpu=8")
    for kind in KINDS:
        for axes in (("node",), ("gpu",), ("node", "gpu")):
            for size in SIZES:
                old, new = (m.collective(kind, mesh, axes, size) for m in (machine, again))
                assert math.isclose(old, new, rel_tol=2e-3)


WRONG = {
    "rate_missing": ("f64 = 5e11\n", ""),
    "rate_negative": ("f32 = 1e12", "f32 = -1e12"),
    "rate_zero": ("f32 = 1e12", "f32 = 0"),
    "rate_of_work_tiny": ("[inside]", "[work.fft]\nbandwidth = 5e-324\n[inside]"),
    "efficiency_of_two": ("f32 = 1e12", "f32 = 1e12\nefficiency = 2"),
    "devices_half": ("devices = 4", "devices = 1.5"),
    "rate_is_text": ("f32 = 1e12", 'f32 = "fast"'),
    "key_misspelt": ("memory_bandwidth", "memory_bandwith"),
    "kind_misspelt": ("all_reduce = 2e-5", "allreduce = 2e-5"),
    "section_unknown": ("[inside]", "[network]\nspeed = 1\n[inside]"),
    "section_is_a_number": ("[device]", "inside = 3\n[device]", "\n[inside]", "\n[across]"),
    "work_unknown": ("[inside]", "[work.ffts]\nf32 = 1e9\n[inside]"),
    "group_unreadable": ("[inside]", "[inside.seconds.all_reduce]\nall = [[1, 1e-5]]\n[inside]"),
    "curve_falls": ("[inside]", "[inside.seconds.all_reduce]\n4 = [[1024, 2e-5], [2048, 1e-5]]\n[inside]"),
    "curve_goes_back": ("[inside]", "[inside.seconds.all_reduce]\n4 = [[2048, 1e-5], [1024, 2e-5]]\n[inside]"),
    "curve_is_a_number": ("[inside]", "[inside.seconds.all_reduce]\n4 = 1e-5\n[inside]"),
    "curve_point_of_three": ("[inside]", "[inside.bandwidth.all_reduce]\n4 = [[1024, 1e9, 3]]\n[inside]"),
    "curve_given_twice": (
        "[inside]",
        "[inside.seconds]\nall_reduce.4 = [[1, 1]]\n[inside.bandwidth]\nall_reduce.4 = [[1, 1]]\n[inside]",
    ),
    "across_incomplete": ("[device]", "[across]\nstaged = true\n[device]"),
    "staged_is_a_number": (PLAIN, PLAIN + ACROSS.replace("true", "3")),
    "platform_unknown": ("[device]", 'platform = "tpu"\n[device]'),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_machine_file_is_explained(case, golden, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = PLAIN
    for old, new in zip(WRONG[case][::2], WRONG[case][1::2], strict=True):
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(Diagnostic) as caught:
        read(text, tmp_path.relative_to(tmp_path))
    assert caught.value.where == "mine.toml" and caught.value.hint
    golden(f"planner/machine_file_{case}.txt", caught.value.render() + "\n")


def test_a_file_that_is_not_text_is_told(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Diagnostic, match="not TOML"):
        Machine.load(tmp_path / "mine.toml")


def test_parsed_tables_may_come_from_anywhere():
    table = {"device": {"f32": 1, "f64": 1, "memory_bandwidth": 1}}
    table["inside"] = {"alpha": dict.fromkeys(KINDS, 1e-9), "beta": dict.fromkeys(KINDS, 1e12)}
    assert machine_of(table, "made up").name == "made up"


def test_a_table_is_priced_as_look_ups_and_its_gradient_as_sums_into_it():
    op, types = Interp.examples()[0]
    result = op.result(*types)
    work = [work_of(Pullback(op, i), (result, *types)) for i in range(3)]
    assert [work_of(op, types), *work] == ["gather", "gather", "scatter", "scatter"]
