"""The HTML page of a plan: it loads nothing, its scripts run, and its numbers are the plan's."""

import re

import pytest

from ir.build import Builder, emit
from ir.errors import Diagnostic
from ir.graph import Program
from ir.layout import WHOLE, Layout
from ir.mesh import Mesh
from ir.ops.fft import FFT
from ir.ops.reduce import Sum
from planner import Prices, html_page, make_plan, write_html
from planner.show import bytes_text, seconds_text
from tests.planner.browser import ask, needs_browser
from tests.planner.programs import call, fourier, regression, robust, tensor
from tests.planner.test_scan import recurrence

MESH = Mesh.parse("row=4,col=2")


def page_of(program: Program, **arguments) -> tuple[str, object]:
    plan = make_plan(program, MESH, machine="h100x8")
    return html_page(program, plan, **arguments), plan


def large_program(branches: int) -> Program:
    """Branches of 15 nodes each, with a transform there and back and a sum in each."""
    with Builder("large") as b:
        x = b.input("x", tensor("c64", x=256, y=128), "latent")
        totals = []
        for i in range(branches):
            there, back = (("x", "kx"), ("kx", "x")) if i % 2 else (("y", "ky"), ("ky", "y"))
            modes = emit(FFT(*there), x * float(i))
            for k in range(4):
                modes = call("conj", modes) * float(i + k + 0.5)
            field = emit(FFT(*back), modes)
            totals.append((f"total{i}", emit(Sum(("x", "y")), call("real_product", field, field))))
        return b.finish(dict(totals))


def test_the_page_loads_nothing_from_outside():
    page, _ = page_of(regression(n=100_007, d=20))
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)=|url\((?!#)|@import|fetch\(|XMLHttpRequest|import\(""", page)
    assert [u for u in re.findall(r"https?://[^\s\"')]+", page) if u != "http://www.w3.org/2000/svg"] == []


def test_the_page_of_a_large_program_stays_below_a_megabyte():
    program = large_program(32)
    assert len(program.nodes) > 500
    page, _ = page_of(program)
    assert len(page.encode()) < 1_000_000


def test_a_page_that_cannot_be_written_is_a_lesson(tmp_path):
    program = regression(n=10_007, d=20)
    with pytest.raises(Diagnostic, match="cannot be written"):
        write_html(program, make_plan(program, Mesh()), tmp_path / "nowhere" / "plan.html")


@needs_browser
def test_the_numbers_of_the_page_are_those_of_the_plan(tmp_path):
    program = fourier(512, 384, 256)
    page, plan = page_of(program)
    told = ask(
        page,
        """return {
          ready: document.documentElement.dataset.ready,
          computing: plan.nodes.reduce((sum, n) => sum + nodeSeconds(n), 0),
          moving: plan.edges.flatMap((e) => e.moves.filter((m) => isPaid(e, m)))
            .reduce((sum, m) => sum + moveSeconds(m), 0),
          facts: document.querySelector("dl.facts").textContent,
          peak: document.getElementById("peak-label").textContent,
          layouts: Object.fromEntries([...rowOf].map(([name, row]) => [name, row.cells[2].textContent])),
          bytes: Object.fromEntries([...rowOf].map(([name, row]) => [name, row.cells[3].textContent])),
          costs: document.getElementById("costs-lists").textContent,
          labels: [...document.querySelectorAll(".box.move")].map((box) => box.textContent),
          texts: [0, 3e-10, 1.234e-7, 9.99e-4, 0.25, 12.5].map(seconds),
          sizes: [0, 12, 999, 1234, 5.5e6, 7.25e9, 3e12].map(bytes),
        }""",
        tmp_path,
    )
    assert told["ready"] == "true"
    assert told["computing"] == pytest.approx(plan.prediction.compute_seconds, rel=1e-12)
    assert told["moving"] == pytest.approx(plan.prediction.communication_seconds, rel=1e-12)
    assert (
        seconds_text(plan.prediction.seconds) in told["facts"]
        and bytes_text(plan.prediction.peak_bytes) in told["facts"]
    )
    assert told["peak"].startswith(f"peak {bytes_text(plan.prediction.peak_bytes)} at step ")
    assert told["layouts"] == {name: str(layout)[1:-1] for name, layout in plan.layouts.items()}
    moves = list(plan.steps(program))
    collectives = [s for s in moves if s.move.kind != "slice"]
    assert collectives and len(told["labels"]) == len({(s.value, s.consumer) for s in moves})
    assert all(str(s.move).replace("->", "→") in told["costs"] for s in collectives)
    assert told["texts"] == [seconds_text(x) for x in (0, 3e-10, 1.234e-7, 9.99e-4, 0.25, 12.5)]
    assert told["sizes"] == [bytes_text(x) for x in (0, 12, 999, 1234, 5.5e6, 7.25e9, 3e12)]


@needs_browser
def test_folds_open_values_are_explained_and_tables_filter(tmp_path):
    program = robust(n=100_000_007, d=24)
    other = Layout.of({"n": "row"})
    further, chosen = Layout.of({"d": "row"}), make_plan(program, MESH, machine="h100x8").layouts["x"]
    prices = Prices({"x": [(chosen, 0.0), (WHOLE, 0.25), (other, None), (further, 0.0)]}, 0.5)
    page, plan = page_of(program, prices=prices, names={"residual": program.nodes[1].key})
    told = ask(
        page,
        """
        const count = () => document.querySelectorAll(".box").length;
        const folded = count(), out = { folded };
        document.getElementById("open-all").click();
        out.unfolded = count();
        document.getElementById("constants").click();
        out.withConstants = count();
        document.getElementById("constants").click();
        document.getElementById("close-all").click();
        out.again = count();
        select({ kind: "value", id: "x" }, "test");
        out.panel = document.getElementById("panel").textContent;
        out.selected = document.querySelectorAll(".box.selected").length;
        out.rows = document.querySelectorAll("#value-table tr.selected").length;
        const search = document.getElementById("filter");
        search.value = "residual";
        search.dispatchEvent(new Event("input"));
        const rows = [...document.querySelectorAll("#value-table tbody tr")];
        out.filtered = rows.filter((r) => !r.hidden).map((r) => r.cells[0].textContent);
        [...document.querySelectorAll("#value-table th button")].find((b) => b.textContent === "bytes").click();
        out.largest = document.querySelector("#value-table tbody tr").cells[0].textContent;
        out.tabStops = [...document.querySelectorAll(".box")].filter((b) => b.tabIndex === 0).length;
        focusBox("input x");
        const event = (key) => new KeyboardEvent("keydown", { key, bubbles: true });
        const press = (key) => document.activeElement.dispatchEvent(event(key));
        press("ArrowDown");
        out.below = boxes.get(focused).before.includes("input x");
        press("Enter");
        out.chosen = sameSubject(state.select, boxes.get(focused).item.subject);
        return out;""",
        tmp_path,
    )
    inputs, constants = len(program.inputs), sum(n.op.name == "constant" for n in program.nodes)
    moves = len({(s.value, s.after) for s in plan.steps(program)})
    assert told["unfolded"] >= inputs + len(program.nodes) - constants + len(program.outputs)
    assert told["unfolded"] <= inputs + len(program.nodes) - constants + len(program.outputs) + moves
    assert told["withConstants"] == told["unfolded"] + constants
    assert told["folded"] == told["again"] < told["unfolded"]
    assert str(program.input("x").type) in told["panel"] and "+250 ms" in told["panel"] and "the same" in told["panel"]
    assert "More than +500 ms, or in no plan: n/row" in told["panel"]
    assert told["selected"] == told["rows"] == 1
    assert told["filtered"] == ["residual"]
    assert told["largest"] == "x" and told["tabStops"] == 1
    assert told["below"] and told["chosen"]


@needs_browser
def test_boxes_are_apart_edges_go_down_and_scans_hold_their_bodies(tmp_path):
    program = recurrence(n=4001, steps=7)
    page, _ = page_of(program)
    told = ask(
        page,
        """
        const faults = [];
        function check(drawing) {
          for (const [i, a] of drawing.boxes.entries()) {
            if (a.x - a.w / 2 < -0.01 || a.x + a.w / 2 > drawing.width + 0.01) faults.push(`${a.id} leaves the paper`);
            for (const b of drawing.boxes.slice(i + 1)) {
              const beside = Math.abs(a.x - b.x) > (a.w + b.w) / 2 - 0.01;
              const below = Math.abs(a.y - b.y) > (a.h + b.h) / 2 - 0.01;
              if (!beside && !below) faults.push(`${a.id} on ${b.id}`);
            }
            if (a.inner) check(a.inner);
          }
          for (const { from, to, points } of drawing.edges)
            if (points?.some((p, i) => i && p.y < points[i - 1].y - 0.01)) faults.push(`${from} to ${to} goes up`);
        }
        check(drawingOf(sceneOf(null)));
        for (const id of boxOf.values()) unfolded.add(id);
        check(drawingOf(sceneOf(null)));
        const scan = document.querySelector(".box.scan");
        const title = scan.querySelector(".title").textContent;
        return { faults, title, inside: scan.querySelectorAll(".box").length };""",
        tmp_path,
    )
    (node,) = program.nodes
    (region,) = node.op.regions()
    assert told["faults"] == []
    assert told["title"] == "scan, 7 trips"
    assert told["inside"] >= len(region.inputs) + len(region.outputs) + 2


@needs_browser
def test_names_cannot_break_the_page(tmp_path):
    name = '</script><b>"x" & \\ y'
    with Builder("<i>odd</i>") as b:
        x = b.input(name, tensor(n=64), "latent")
        program = b.finish({"<total>": emit(Sum(("n",)), x)})
    page, _ = page_of(program)
    told = ask(
        page,
        """select({ kind: "value", id: plan.values[0].value }, "test");
        return {
          names: [...document.querySelectorAll(".box .title")].map((t) => t.textContent),
          head: document.querySelector("#panel h3").textContent,
          title: document.querySelector("h1").textContent,
          bold: document.querySelectorAll("b:not(#panel b, #tip b, dl b)").length,
        };""",
        tmp_path,
    )
    assert told["head"] == name and told["title"] == "<i>odd</i>" and told["bold"] == 0
    assert "<total>" in told["names"]
