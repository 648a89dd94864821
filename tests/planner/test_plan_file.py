"""Plan files: written, read back, edited, and wrong."""

import pytest

from ir.errors import Diagnostic
from ir.layout import Layout
from ir.mesh import Mesh
from planner import layout_text, make_plan, parse_layout, parse_order, parse_plan, read_plan_file, write_plan
from tests.planner.programs import fourier, regression, two_products

PROGRAMS = {
    "regression": (regression(n=10_000_019, d=20), "row=4,col=2", []),
    "chains": (regression(n=10_000_019, d=20, chains=8), "row=4,col=2", ["chain:col"]),
    "products": (two_products(tokens=64, width=8192, hidden=32_768), "row=8", ["A:i=row", "y:whole"]),
    "fourier": (fourier(512, 384, 256), "row=4,col=2", ["delta:x=row,y=col"]),
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
