"""Programs within programs: every pass, the printer and the verifier go into regions."""

from dataclasses import replace

import numpy as np
import pytest

from ir.build import Builder
from ir.dims import Dim
from ir.errors import InternalError
from ir.graph import Program
from ir.layout import WHOLE, Layout, Move
from ir.mesh import Mesh
from ir.op import Strategy
from ir.passes.batch_over import batch_over
from ir.passes.differentiate import differentiate
from ir.passes.eliminate_dead import eliminate_dead
from ir.passes.hoist import hoist
from ir.passes.rewrite import rewrite, with_fresh_regions
from ir.passes.simplify import simplify
from ir.plan import Plan
from ir.serial import from_json, to_json
from ir.text import parse_program, print_program
from ir.verify import verify, verify_plan
from tests.ir.interpret import run

TEXT = """\
program walk {
  latent %x: f64[obs=9]
  data %w: f64[obs=9]
  latent %s: f64[]
  data %push: f64[obs=9, time=3]
  %0: f64[obs=9] = sin %x
  %last: f64[obs=9], %path: f64[time=3, obs=9] = scan{dim="time", region=program step {
    argument %h: f64[obs=9]
    argument %p: f64[obs=9]
    argument %w.2: f64[obs=9]
    argument %s.2: f64[]
    %1: f64[] = constant{value=1.0, dtype="f64"}
    %2: f64[obs=9] = mul %h, %1
    %3: f64[obs=9] = exp %w.2
    %4: f64[obs=9] = mul %w.2, %s.2
    %drift: f64[obs=9] = mul %w.2, %s.2
    %5: f64[obs=9] = add %2, %drift
    %6: f64[obs=9] = sin %5
    %7: f64[obs=9] = add %6, %p
    output next = %7
    output kept = %6
    tie next = h
  }, carries=1, scanned=1} %0, %push, %w, %s
  %8: f64[obs=9, time=3] = mul %push, %path
  %9: f64[obs=9] = sum{over=["time"]} %8
  %10: f64[obs=9] = add %last, %9
  %11: f64[] = sum{over=["obs"]} %10
  output y = %11
}
"""


def walk() -> Program:
    return verify(parse_program(TEXT))


def arguments(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=9), "w": rng.normal(size=9), "s": rng.normal(size=()), "push": rng.normal(size=(9, 3))}


def test_a_region_prints_and_parses():
    assert print_program(walk()) == TEXT
    assert from_json(to_json(walk())) == walk()


def test_passes_go_into_regions():
    simple = verify(simplify(walk()))
    (body,) = (r for n in simple.nodes for r in n.op.regions())
    assert [n.op.name for n in body.nodes] == ["mul", "add", "sin", "add"]
    assert body.nodes[0].key == "drift"
    assert body.ties == {"next": "h"}
    np.testing.assert_allclose(run(simple, arguments())["y"], run(walk(), arguments())["y"], rtol=1e-12)


def test_a_rewrite_keeps_regions_and_names_unique():
    again = verify(rewrite(rewrite(walk(), lambda node, scope: None), lambda node, scope: None))
    assert [n.key for n in again.walk() if not n.key.isdigit()] == ["last", "drift"]
    assert len(list(eliminate_dead(again).walk())) == len(list(again.walk())) - 2


@pytest.mark.parametrize("inputs", [("x",), ("s",), ("x", "s")])
def test_a_loop_carries_the_batch_dim_from_the_start_if_any_trip_gives_it(inputs: tuple[str, ...]):
    batched = verify(batch_over(walk(), Dim("chain", 4), inputs))
    chains = [arguments() | {name: arguments(seed)[name] for name in inputs} for seed in range(4)]
    together = arguments() | {name: np.stack([c[name] for c in chains]) for name in inputs}
    found = run(batched, together)["y"]
    np.testing.assert_allclose(found, [run(walk(), c)["y"] for c in chains], rtol=1e-12)


def test_the_gradient_of_a_loop_is_a_program_like_any_other():
    program = simplify(walk())
    gradient = verify(differentiate(program, ["x", "s"], output="y"))
    wanted = run(gradient, arguments())
    for after in (simplify(gradient), parse_program(print_program(gradient)), hoist(gradient)[1]):
        hoisted = run(hoist(gradient)[0], arguments())
        found = run(verify(after), arguments() | hoisted)
        assert found.keys() == wanted.keys()
        for name, x in wanted.items():
            np.testing.assert_allclose(found[name], x, rtol=1e-12)
    step = 1e-6
    above, below = (run(program, arguments() | {"s": arguments()["s"] + h})["y"] for h in (step, -step))
    np.testing.assert_allclose(wanted["grad:s"], (above - below) / (2 * step), rtol=1e-7)


def test_the_gradient_of_a_loop_is_batched():
    gradient = simplify(differentiate(walk(), ["x", "s"], output="y"))
    batched = verify(batch_over(gradient, Dim("chain", 4), ["x", "s"]))
    chains = [arguments() | {name: arguments(seed)[name] for name in ("x", "s")} for seed in range(4)]
    found = run(batched, arguments() | {name: np.stack([c[name] for c in chains]) for name in ("x", "s")})
    for c, alone in enumerate(chains):
        for name, x in run(gradient, alone).items():
            np.testing.assert_allclose(found[name][c], x, rtol=1e-12)


def test_a_loop_over_data_is_hoisted_whole():
    text = TEXT.replace("latent", "data")
    prologue, main = map(verify, hoist(parse_program(text)))
    assert [n.op.name for n in prologue.nodes] == ["sin", "scan", "mul", "sum", "add", "sum"]
    assert not main.nodes
    _, main = map(verify, hoist(walk()))
    assert [n.op.name for n in main.nodes] == ["sin", "scan", "mul", "sum", "add", "sum"]


def test_a_region_sees_its_own_inputs_only():
    with pytest.raises(
        InternalError, match="%0 is used here, but defined later, elsewhere or never, in program 'step'"
    ):
        (loop,) = (n for n in walk().nodes if n.op.regions())
        (body,) = loop.op.regions()
        first = replace(body.nodes[1], operands=(walk().nodes[0].results[0], body.nodes[1].operands[1]))
        broken = replace(body, nodes=(body.nodes[0], first, *body.nodes[2:]))
        node = replace(loop, op=loop.op.with_regions(broken))
        verify(replace(walk(), nodes=(walk().nodes[0], node, *walk().nodes[2:])))


def loop(result: str, name: str, carry: str) -> str:
    body = f"program {name} {{ argument %{carry}: f64[] output next = %{carry} tie next = {carry} }}"
    return f'%{result}: f64[] = scan{{dim="time", region={body}, carries=1, scanned=0, length=3}} %s'


def test_regions_have_names_of_their_own():
    def program(second: str) -> Program:
        return parse_program(f"program twice {{ latent %s: f64[] {loop('a', 'step', 'h')} {loop('b', second, 'k')} }}")

    verify(program("other"))
    with pytest.raises(InternalError, match="two regions are called 'step'"):
        verify(program("step"))


def test_an_op_emitted_twice_gets_fresh_regions():
    node = next(n for n in walk().nodes if n.op.regions())
    with Builder("twice") as b:
        operands = [b.input(v.name, v.type) for v in node.operands]
        first, _ = b.emit_all(with_fresh_regions(node.op, b), *operands)
        second, _ = b.emit_all(with_fresh_regions(node.op, b), first, *operands[1:])
        program = verify(b.finish({"y": second}))
    assert [r.name for n in program.nodes for r in n.op.regions()] == ["step", "step.2"]


# --- plans ---

ROW, PARTIAL = Layout.of({"obs": "row"}), Layout.of({}, ("row",))


def plan(**changes) -> Plan:
    made = ("0", "2", "3", "4", "drift", "5", "6", "7", "8", "9", "10", "11")
    split = ("x", "w", "push", "last", "path", "h", "p", "w.2", *made[:-1])
    good = Plan(
        Mesh.parse("row=2"),
        layouts={**dict.fromkeys(split, ROW), "s": WHOLE, "s.2": WHOLE, "1": WHOLE, "11": PARTIAL},
        strategies={**dict.fromkeys(made, Strategy.of({"obs": ("row",)})), "1": Strategy()},
        reshards={("11", WHOLE): (Move("all_reduce", ("row",)),)},
        outputs={"y": WHOLE, "step:next": ROW, "step:kept": ROW},
    )
    return replace(good, **{field: {**getattr(good, field), **change} for field, change in changes.items()})


def test_a_good_plan_of_a_loop_passes():
    verify_plan(walk(), plan())


GATHER = (Move("all_gather", ("row",), source="obs"),)


@pytest.mark.parametrize(
    ("why", "changes"),
    [
        ("tie next = h", {"outputs": {"step:next": WHOLE}, "reshards": {("7", WHOLE): GATHER}}),
        ("the plan has no path for %0", {"layouts": {"h": WHOLE}}),
        ("the plan has %last in {whole}, but the region leaves", {"layouts": {"last": WHOLE}}),
        ("the plan has %5 in {whole}, but", {"layouts": {"5": WHOLE}}),
    ],
)
def test_a_broken_plan_of_a_loop_is_refused(why: str, changes: dict):
    with pytest.raises(InternalError, match=why):
        verify_plan(walk(), plan(**changes))
