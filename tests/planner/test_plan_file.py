"""Plan files: written, read back, edited, and wrong."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ir.errors import Diagnostic
from ir.layout import Layout
from ir.mesh import Mesh
from ir.passes.recompute import everything_again, places
from ir.verify import verify_plan
from planner import (
    Again,
    layout_text,
    make_plan,
    parse_layout,
    parse_order,
    parse_plan,
    read_plan_file,
    write_plan,
    write_whole,
)
from planner.show.units import read_bytes
from tests.examples import examples
from tests.planner.programs import fourier, regression, two_products
from tests.planner.test_recompute import chains, gradient

SUM = next(n.key for n in regression(n=10_000_019, d=20).nodes if n.op.name == "contract" and not n.results[0].dims)
PROGRAMS = {
    "regression": (regression(n=10_000_019, d=20), "row=4,col=2", []),
    "chains": (regression(n=10_000_019, d=20, chains=8), "row=4,col=2", ["chain:col"]),
    "products": (two_products(tokens=64, width=8192, hidden=32_768), "row=8", ["A:i=row", "y:whole"]),
    "fourier": (fourier(512, 384, 256), "row=4,col=2", ["delta:x=row,y=col"]),
    "open sum": (regression(n=10_000_019, d=20), "row=4,col=2", [f"{SUM}:whole; sum over row"]),
    "no open sum": (regression(n=10_000_019, d=20), "row=4,col=2", [f"{SUM}:whole; summed"]),
    "ban of an open sum": (regression(n=10_000_019, d=20), "row=4,col=2", [f"ban {SUM}:whole; sum over row, col"]),
    "wish of an open sum": (
        regression(n=10_000_019, d=20),
        "row=4,col=2",
        [f"prefer {SUM}:whole; sum over row,within=300%"],
    ),
    "orders": (
        regression(n=10_000_019, d=20, chains=8),
        "row=4,col=2",
        ["x:n/col", "ban chain:row", "ban x:d=row", "ban x:whole", "prefer w:d=row,within=0.1", "prefer chain:whole"],
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_written_plan_reads_back_as_the_same_plan(name, tmp_path):
    program, mesh, pins = PROGRAMS[name]
    names = {"user name": program.nodes[0].key, "y": program.nodes[-1].key}  # "y" may hide an input of that name
    plan = make_plan(program, Mesh.parse(mesh), machine="h100x8", pins=pins, names=names)
    path = tmp_path / "plan.toml"
    path.write_text(write_plan(plan, program, names))
    read = read_plan_file(path, keep=True)
    again = make_plan(program, read.mesh, machine=read.machine, pins=read.pins, fixed=read.fixed, names=names)
    assert again.layouts == plan.layouts and again.outputs == plan.outputs
    assert again.prediction.seconds == pytest.approx(plan.prediction.seconds, rel=1e-9)
    orders = read_plan_file(path)
    assert tuple(map(str, orders.pins)) == plan.pins == tuple(str(parse_order(p)) for p in pins)
    assert orders.fixed is None
    assert (
        make_plan(program, orders.mesh, machine=orders.machine, pins=orders.pins, names=names).layouts == plan.layouts
    )


def test_what_a_plan_file_looks_like(golden):
    program, mesh, pins = PROGRAMS["fourier"]
    plan = make_plan(program, Mesh.parse(mesh), machine="h100x8", pins=pins)
    golden("planner/fourier_plan.toml", write_plan(plan, program))


@pytest.mark.parametrize(
    "layout",
    [
        Layout.of(),
        Layout.of({"x": "row"}),
        Layout.of({"x": ("row", "col"), "y": "mid"}),
        Layout.of({}, ("row",)),
        Layout.of({"x": "row"}, ("col", "mid"), "max"),
    ],
)
def test_layouts_are_written_and_read(layout):
    assert parse_layout(layout_text(layout)) == layout


def test_a_line_moved_from_keep_to_pin_is_an_order():
    read = parse_plan('[pin]\nx = "n/row, d/col"\nw = "whole"\n')
    assert [p.allows(Layout.of({"n": "row", "d": "col"})) for p in read.pins] == [True, False]
    assert not read.pins[0].allows(Layout.of({"n": "row"}))


def test_axes_may_be_a_list():
    (pin,) = parse_plan('[pin]\nx = { n = ["row", "col"], d = "" }\n').pins
    assert str(pin) == "x:n=row+col,d="


def test_every_form_of_an_order():
    text = """
    [pin]
    a = { x = "row", y = "" }
    b = "x/row, y/col"
    [ban]
    a = [{ x = "col" }, "whole"]
    chain = ["row", "whole"]
    [prefer]
    a = [{ y = "col", within = "2%" }, { layout = "whole" }, "x/row"]
    chain = { layout = "row", within = 0.5 }
    """
    assert list(map(str, parse_plan(text).pins)) == [
        "a:x=row,y=",
        "b:x/row, y/col",
        "ban a:x=col",
        "ban a:whole",
        "ban chain:row",
        "ban chain:whole",
        "prefer a:y=col,within=0.02",
        "prefer a:whole,within=0.05",
        "prefer a:x/row,within=0.05",
        "prefer chain:row,within=0.5",
    ]


def test_mesh_and_machine_may_be_left_out():
    read = parse_plan('[pin]\nx = { n = "row" }\n')
    assert read.mesh is None and read.machine is None
    assert parse_plan('mesh = "row=4,col=2"').mesh == Mesh.parse("row=4,col=2")


WRONG = {
    "toml": "[mesh]\nrow = 4\ncol = \n",
    "toml_end": '[pin]\ndelta = { x = "row"',
    "section": "[mesh]\nrow = 4\n[pins]\n",
    "mesh_size": "[mesh]\nrow = 4\ncol = 0\n",
    "pin_number": "[pin]\ndelta = 3\n",
    "pin_axes": "[mesh]\nrow = 4\n\n[pin]\ndelta = { x = 1 }\n",
    "pin_text": '[pin]\ndelta = "x row"\n',
    "keep": '[keep]\ndelta = "x"\n',
    "table": "pin = 3\n",
    "ban_number": "[mesh]\nrow = 4\n[ban]\ndelta = 3\n",
    "ban_list": '[ban]\ndelta = [{ x = "row" }, 3]\n',
    "ban_axes": "[ban]\ndelta = { x = 2 }\n",
    "ban_layout": '[ban]\ndelta = ["x/row/col"]\n',
    "prefer_empty": "[prefer]\ndelta = {}\n",
    "prefer_only_margin": "[prefer]\ndelta = { within = 0.1 }\n",
    "prefer_margin": '[pin]\nbeta = "whole"\n[prefer]\ndelta = { x = "row", within = "much" }\n',
    "prefer_margin_above_one": '[prefer]\ndelta = { x = "row", within = 5 }\n',
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_plan_file_is_explained(case, golden):
    with pytest.raises(Diagnostic) as caught:
        parse_plan(WRONG[case], "plan.toml", keep=True)
    golden(f"planner/file_{case}.txt", caught.value.render() + "\n")


def test_a_pin_of_a_file_is_refused_with_its_line():
    program = regression(n=10_007, d=20)
    read = parse_plan('[mesh]\nrow = 4\n\n[pin]\nx = { m = "row" }\n', "plan.toml")
    with pytest.raises(Diagnostic) as caught:
        make_plan(program, read.mesh, pins=read.pins)
    assert caught.value.where == "plan.toml:5"


def test_a_ban_and_a_preference_of_a_file_are_refused_with_their_lines():
    program = regression(n=10_007, d=20)
    for section in ("ban", "prefer"):
        read = parse_plan(f'[mesh]\nrow = 4\n\n[{section}]\nx = {{ m = "row" }}\n', "plan.toml")
        with pytest.raises(Diagnostic) as caught:
            make_plan(program, read.mesh, pins=read.pins)
        assert caught.value.where == "plan.toml:5"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(Diagnostic, match="there is no such plan file"):
        read_plan_file(tmp_path / "none.toml")


@given(chains(1).map(gradient), st.data())
@settings(max_examples=examples(20), deadline=None, suppress_health_check=list(HealthCheck))
def test_a_plan_that_recomputes_reads_back_as_the_same_plan(program, data):
    full = everything_again(program, list(places(program)))
    chosen = data.draw(st.lists(st.sampled_from(sorted(full)), unique=True)) if full else []
    orders = [Again(name) for name in chosen if name in everything_again(program, chosen)]
    mesh, memory = Mesh.parse("row=4"), data.draw(st.sampled_from([1e9, 872950053.44, 2**40]))
    plan = make_plan(program, mesh, machine="h100x8", memory=memory, recompute=orders)
    verify_plan(program, plan)
    assert set(plan.recompute) == {o.value for o in orders}
    text = write_plan(plan, program, memory=memory)
    for keep in (True, False):
        read = parse_plan(text, keep=keep)
        assert read.memory == memory
        again = make_plan(
            program,
            read.mesh or mesh,
            machine=read.machine,
            memory=read.memory,
            pins=read.pins,
            fixed=read.fixed,
            recompute=True if read.recompute is None else read.recompute,
        )
        assert again.layouts == plan.layouts and again.outputs == plan.outputs
        assert again.recompute == plan.recompute and again.prediction == plan.prediction
        assert write_plan(again, program, memory=memory) == text or keep  # kept values are orders there


def waves(n: int = 4001):
    """Of a field: its gradient needs the sum, and the sum's second copy the product."""
    from ir.build import Builder, emit
    from ir.ops.reduce import Sum
    from ir.passes.differentiate import differentiate
    from ir.passes.simplify import simplify
    from tests.planner.programs import call, tensor

    with Builder("waves") as b:
        x = b.input("x", tensor(n=n), "latent")
        return simplify(differentiate(b.finish({"log_density": emit(Sum(("n",)), call("sin", x * x + x))}), ["x"]))


WRONG_AGAIN = {
    "unknown_value": 'wav = "all"',
    "input": 'x = "all"',
    "number": "0 = 3",
    "nobody": "0 = []",
    "unknown_consumer": '1 = ["99"]',
    "early_consumer": '1 = ["2"]',
    "nobody_would_take": '0 = "all"',
}


@pytest.mark.parametrize("case", WRONG_AGAIN)
def test_wrong_orders_to_recompute_are_explained(case, golden):
    program = waves()
    text = f'machine = "h100x8"\n[mesh]\nrow = 4\n\n[recompute]\n{WRONG_AGAIN[case]}\n'
    with pytest.raises(Diagnostic) as error:
        read = parse_plan(text, "plan.toml")
        make_plan(program, read.mesh or Mesh(), machine=read.machine, recompute=read.recompute or ())
    golden(f"planner/recompute_{case}.txt", error.value.render() + "\n")


@pytest.mark.parametrize("memory", ['"lots"', "true", "-3", '"0.0.1GB"', "[1]"])
def test_wrong_memory_is_explained(memory):
    with pytest.raises(Diagnostic, match="the memory of a plan file is") as error:
        parse_plan(f"# a plan\nmemory = {memory}\n", "plan.toml")
    assert error.value.where == "plan.toml:2" and error.value.hint and "80GB" in error.value.hint


@pytest.mark.parametrize(
    ("text", "size"), [("80GB", 80e9), ("500 MiB", 500 * 2**20), ("8e10", 8e10), ("1.5k", 1500.0), ("2TB", 2e12)]
)
def test_sizes_are_read(text, size):
    assert read_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "1..2", "-3", "0", "nan", "1e999", "3XB"])
def test_what_is_no_size_is_not_read(text):
    assert read_bytes(text) is None


def test_what_cannot_be_written_leaves_nothing_half(tmp_path, monkeypatch):
    path = tmp_path / "plan.toml"
    write_whole(path, "first")
    real = Path.write_text

    def full(self, text, encoding=None):
        real(self, text[:3], encoding=encoding)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "second")
    assert [p.name for p in tmp_path.iterdir()] == ["plan.toml"] and path.read_text() == "first"


@pytest.mark.parametrize(
    ("text", "message"),
    [('mesh = "row=four"', 'cannot read the mesh "row=four"'), ('[mesh]\n"a b" = 4', "a mesh axis cannot be called")],
)
def test_wrong_meshes_have_their_place(text, message):
    with pytest.raises(Diagnostic, match=message) as error:
        parse_plan(f"# a plan\n{text}\n", "plan.toml")
    assert error.value.where in ("plan.toml:2", "plan.toml:3") and error.value.hint
