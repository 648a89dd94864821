"""Regions that take from outside what they use, and building on trial."""

from ir.build import Builder
from ir.build_scan import ScanBuilder
from ir.dims import Dim, TensorType
from ir.passes.batch_over import batch_over
from ir.passes.parallelise import parallelise
from ir.passes.simplify import simplify
from ir.passes.trim_scans import trim_scans
from ir.verify import verify

TIME, X = Dim("time", 5), Dim("x", 3)
ROW, SERIES = TensorType((X,), "f64"), TensorType((X, TIME), "f64")


def walk(recurrent: bool):
    """h ← (h or y_t) × a, with an output that nobody reads and a carry that only feeds itself."""
    with Builder("walk", "f64") as b:
        a, y = b.input("a", ROW, "latent"), b.input("y", SERIES, "data")
        scale = 2.0 * a
        with ScanBuilder(b, TIME) as scan:
            h, idle = scan.carry("h", a), scan.carry("idle", a)
            now = scan.slice(y)
            made = (h + now if recurrent else now) * scale
            scan.close([made, idle * scale], {"seen": h, "unread": made * idle})
        _, stacked = scan.emit()
        return b.finish({"seen": stacked["seen"]})


def test_values_from_outside_become_inputs_of_the_region():
    (node,) = [n for n in verify(walk(True)).nodes if n.op.name == "scan"]
    assert [i.name for i in node.op.region.inputs] == ["scan:h", "scan:idle", "scan:y", "scan:1"]
    assert [v.name for v in node.operands] == ["a", "a", "y", "1"]


def test_a_value_from_further_outside_passes_through_every_region():
    with Builder("nested", "f64") as b:
        a = b.input("a", ROW)
        with ScanBuilder(b, TIME, "outer") as outer:
            with ScanBuilder(outer.region, Dim("k", 2), "inner") as inner:
                inner.close([], {"twice": a + a})
            made = inner.emit()[1]["twice"]
            outer.close([], {"made": made})
        program = verify(b.finish(outer.emit()[1]))
    assert str(program.results["made"].type) == "f64[time=5, k=2, x=3]"
    assert [i.name for node in program.walk() for r in node.op.regions() for i in r.inputs] == [
        "outer:a",
        "inner:outer:a",
    ]


def test_building_on_trial_leaves_nothing_behind():
    with Builder("trial", "f64") as b:
        x = b.input("x", ROW)
        with ScanBuilder(b, TIME) as scan, b.rehearse():
            scan.close([], {"twice": x + x})
            scan.emit()
        assert (b.nodes, [i.name for i in b.inputs], b.fresh()) == ([], ["x"], "0")


def test_what_nobody_reads_is_trimmed():
    (node,) = [n for n in verify(trim_scans(walk(True))).nodes if n.op.name == "scan"]
    assert (node.op.carries, len(node.results), [v.name for v in node.operands]) == (1, 2, ["a", "y", "1"])


def test_a_scan_without_recurrence_becomes_ops_along_its_dim():
    program = verify(simplify(parallelise(simplify(walk(False)))))
    assert "scan" not in [n.op.name for n in program.walk()]
    assert str(program.results["seen"].type) == str(walk(False).results["seen"].type) == "f64[time=5, x=3]"
    recurrence = verify(simplify(parallelise(walk(True))))
    assert "scan" in [n.op.name for n in recurrence.walk()]


def test_a_trimmed_scan_batches():
    program = simplify(walk(True))
    assert str(verify(batch_over(program, Dim("chain", 2), ["a"])).results["seen"].type) == "f64[chain=2, time=5, x=3]"
