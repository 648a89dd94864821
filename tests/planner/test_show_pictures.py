"""Pictures of a plan as text (Graphviz, Mermaid, the terminal's table), and the data that they are made of."""

import io
import json
import re
import shutil
import subprocess

import networkx as nx
import pytest
from rich.console import Console

from ir.build import Builder, emit
from ir.graph import Program
from ir.mesh import Mesh
from ir.ops.contract import Contract
from ir.ops.reduce import Sum
from planner import as_json, dot_text, make_plan, mermaid_text, print_plan
from planner.memory import profile
from planner.show.boxes import fold
from planner.show.colours import legend
from tests.planner.programs import call, field, fourier, regression, robust, tensor, two_products
from tests.planner.test_scan import recurrence, walk

MESH = Mesh.parse("row=4,col=2")
PROGRAMS = {
    "regression": regression(n=100_000_007, d=20),
    "robust": robust(n=100_000_007, d=24),
    "products": two_products(4096, 512, 2048),
    "fourier": fourier(512, 384, 256),
    "field": field(1001),
    "recurrence": recurrence(n=4001, steps=7),
    "walk": walk(n=4001, steps=5),
}
ODD = 'a "quoted" \\ <b>name</b> #1; `x` über'


def planned(program: Program):
    return make_plan(program, MESH, machine="h100x8")


@pytest.fixture(scope="module", params=PROGRAMS)
def case(request):
    program = PROGRAMS[request.param]
    return program, planned(program)


def odd() -> Program:
    """A name full of signs that mean something to some tool."""
    with Builder(f"of {ODD}") as b:
        x = b.input(ODD, tensor(n=4001), "latent")
        return b.finish({f"total of {ODD}": emit(Sum(("n",)), x * x)})


# --- data ---


def test_seconds_of_nodes_and_paid_moves_add_up_to_the_prediction(case):
    program, plan = case
    data = json.loads(json.dumps(as_json(program, plan)))
    computing = sum(n["seconds"] * n["trips"] for n in data["nodes"] if "body" not in n)
    moves = [m for e in data["edges"] for m in e["moves"] if e["paid"] or m["kind"] in ("halo", "pass", "spill")]
    moving = sum(m["seconds"] * m["trips"] for m in moves)
    assert data["schema"] == 2
    assert computing == pytest.approx(plan.prediction.compute_seconds, rel=1e-12)
    assert moving == pytest.approx(plan.prediction.communication_seconds, rel=1e-12, abs=1e-18)
    assert {v["node"] for v in data["values"]} - {None} == {n["node"] for n in data["nodes"]}


def test_what_is_held_adds_up_to_the_memory_profile(case):
    program, plan = case
    memory = as_json(program, plan)["memory"]
    assert memory["bytes"] == list(profile(program, plan))
    assert memory["bytes"][memory["peak_step"]] == plan.prediction.peak_bytes
    for step, held in enumerate(memory["bytes"]):
        known = sum(h["bytes"] for h in memory["held"] if h["life"][0] <= step <= h["life"][1])
        assert memory["sampler_bytes"] + known == held


def test_every_step_names_its_node_and_every_stored_value_has_one(case):
    program, plan = case
    data = as_json(program, plan)
    steps, keys = data["memory"]["steps"], {n["node"] for n in data["nodes"]}
    assert len(steps) == len(data["memory"]["bytes"])
    assert steps[0] == ["inputs", ""] and steps[-1] == ["outputs", ""]
    assert {name for _, name in steps[1:-1]} <= keys
    bodies = {n["node"] for n in data["nodes"] if "body" in n}
    assert {name for what, name in steps if what == "run"} == {
        v["node"] for v in data["values"] if v["stored"] and v["node"] and v["node"] not in bodies
    }


# --- folds and colours ---


def test_folds_are_elementwise_of_one_layout_and_leave_the_graph_acyclic(case):
    program, plan = case
    owner = {key: members[0] for members in fold(program, plan) for key in members}
    for members in fold(program, plan):
        assert len({plan.layouts[key] for key in members}) == 1
    for body in (program, *(r for n in program.walk() for r in n.op.regions())):
        graph = nx.DiGraph()
        made = {v.name: owner.get(n.key, n.key) for n in body.nodes for v in n.results}
        for n in body.nodes:
            graph.add_edges_from((made[v.name], made[n.key]) for v in n.operands if v.name in made)
        graph.remove_edges_from(nx.selfloop_edges(graph))
        assert nx.is_directed_acyclic_graph(graph)


def test_a_fold_does_not_close_around_a_node_between():
    """exp(x) → sum → · exp(x): folding exp and the product would put the sum both after and before the box."""
    with Builder("around") as b:
        x = b.input("x", tensor(n=64, m=32), "latent")
        e = call("exp", x)
        program = b.finish({"y": call("neg", e * emit(Sum(("n",)), e))})
    plan = make_plan(program, Mesh())
    exp, _, product, negative = (n.key for n in program.nodes)
    assert fold(program, plan) == [[product, negative]] and exp not in (product, negative)


def test_one_line_of_elementwise_nodes_is_one_box():
    program = PROGRAMS["field"]
    assert fold(program, planned(program)) == [[n.key for n in program.nodes if n.op.name != "sum"]]


def test_every_split_has_a_colour_of_its_own_and_whole_is_grey(case):
    program, plan = case
    found = {x["layout"]: x for x in legend(as_json(program, plan))}
    assert set(found) >= {str(layout)[1:-1] for layout in plan.layouts.values()}
    fills = {layout.partition(";")[0]: x["fill"] for layout, x in found.items()}
    assert len(set(fills.values())) == len(fills)
    assert all(x["partial"] == (";" in layout) for layout, x in found.items())
    if "whole" in fills:
        assert fills["whole"] == "#eceff1"


# --- Graphviz and Mermaid ---


@pytest.mark.parametrize(("make", "suffix"), [(dot_text, "dot"), (mermaid_text, "mmd")])
def test_a_picture_of_a_scan_and_of_odd_names(make, suffix, golden):
    for name, program in (("recurrence", PROGRAMS["recurrence"]), ("robust", PROGRAMS["robust"]), ("odd", odd())):
        golden(f"planner/{name}.{suffix}", make(program, planned(program)))


def test_pictures_show_every_collective_with_its_price(case):
    program, plan = case
    dot, mermaid = dot_text(program, plan), mermaid_text(program, plan)
    assert all(str(step.move) in dot for step in plan.steps(program))
    priced = [s for s in plan.steps(program) if s.move.kind != "slice"]
    assert len(re.findall(r" [mu]s", dot)) >= len({(str(s.move), s.value) for s in priced})
    arrows = re.findall(r"^  n\d+ -> n\d+", dot, re.MULTILINE)
    assert arrows and len(arrows) == len(re.findall(r"^  n\d+ -->", mermaid, re.MULTILINE))


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
@pytest.mark.parametrize("program", [PROGRAMS["recurrence"], odd()], ids=["recurrence", "odd"])
def test_graphviz_reads_what_is_written(program):
    drawn = subprocess.run(
        ["dot", "-Tjson"], input=dot_text(program, planned(program)), capture_output=True, text=True, timeout=60
    )
    assert (drawn.returncode, drawn.stderr) == (0, "")
    labels = [o.get("label", "") for o in json.loads(drawn.stdout)["objects"]]
    names = [i.name for i in program.inputs]
    assert all(any(name.replace("\\", "\\\\") in label for label in labels) for name in names)


# --- the terminal ---


def printed(program: Program, width: int, **arguments) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None, highlight=False)
    print_plan(program, planned(program), console=console, **arguments)
    return out.getvalue()


def long_chain() -> Program:
    with Builder("chain") as b:
        x = y = b.input("x", tensor(n=4001, m=64), "latent")
        for _ in range(20):
            y = call("exp", y)
        return b.finish({"total": emit(Contract(("n", "m")), y, x)})


def test_the_table_on_a_terminal(golden):
    golden("planner/terminal.txt", printed(PROGRAMS["fourier"], 120) + printed(PROGRAMS["recurrence"], 60))


@pytest.mark.parametrize("width", [200, 120, 80, 60, 40])
def test_the_table_keeps_to_the_width(width):
    lines = printed(PROGRAMS["fourier"], width).splitlines()
    assert max(map(len, lines)) <= width
    assert any("delta" in line and "x/row+col" in line for line in lines)


def test_unnamed_values_are_folded_unless_all_are_asked_for():
    program = long_chain()
    told = printed(program, 120)
    assert "and 21 values without a name and without moves; --all shows them" in told
    everything = printed(program, 120, everything=True)
    assert "--all" not in everything and len(everything.splitlines()) == len(told.splitlines()) + 20


def test_a_terminal_gets_colours_and_types_are_not_taken_for_markup():
    out = io.StringIO()
    program = PROGRAMS["fourier"]
    plan = planned(program)
    print_plan(program, plan, console=Console(file=out, width=160, force_terminal=True, color_system="truecolor"))
    told = out.getvalue()
    line = next(x["line"] for x in legend(as_json(program, plan)) if x["layout"] == "x/row+col")
    red, green, blue = (int(line[i : i + 2], 16) for i in (1, 3, 5))
    assert f"\x1b[38;2;{red};{green};{blue}m■" in told and "c64[x=512, y=384, z=256]" in told
