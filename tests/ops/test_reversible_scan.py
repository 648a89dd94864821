"""Scans with an inverse: gradients without memory per step, equal to those of the kept states."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import cast

import jax
import numpy as np
import pytest

from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.errors import Diagnostic
from ir.graph import Program
from ir.mesh import Mesh
from ir.op import Op
from ir.ops.control import Scan, scan
from ir.ops.elementwise import Cast
from ir.ops.reduce import Sum
from ir.ops.sites import Factor
from ir.passes.batch_over import batch_over
from ir.passes.drop_inverses import drop_inverses
from ir.passes.eliminate_dead import eliminate_dead
from ir.passes.round_trip import round_trip
from ir.serial import from_json, to_json
from ir.text import parse_program, print_program
from ir.verify import verify, verify_plan
from planner import make_plan
from tests.ir.interpret import run

from .leapfrog import SYSTEMS, assert_same, compiled, gradient, on_mesh

SCALAR = TensorType((), "f64")


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_equal_those_of_kept_states(name, reverse):
    system, steps = SYSTEMS[name], 23
    kept, back = (gradient(system.program(steps, inverse, reverse=reverse)) for inverse in (False, True))
    arguments = system.arguments(steps)
    wanted = compiled(kept)(*(arguments[i.name] for i in kept.inputs))
    assert_same(compiled(back)(*(arguments[i.name] for i in back.inputs)), wanted)


def test_the_gradient_of_a_harmonic_oscillator_is_that_of_its_matrix():
    """n steps are the n-th power of [[1 - D K, D], [-K, 1]]: their gradient in closed form."""
    system, steps = SYSTEMS["harmonic"], 50
    program = gradient(system.program(steps, True, stack=False))
    arguments = system.arguments(steps)
    power = np.linalg.matrix_power(np.array([[1 - 0.06 * 0.07, 0.06], [-0.07, 1.0]]), steps)
    x, p = power @ np.stack([arguments["x"], arguments["p"]])
    wanted = power.T @ np.stack([np.cos(x), 2 * p])
    found = compiled(program)(*(arguments[i.name] for i in program.inputs))
    np.testing.assert_allclose(np.stack([found["grad:x"], found["grad:p"]]), wanted, rtol=1e-11)


@pytest.mark.parametrize("name", [n for n, s in SYSTEMS.items() if s.marks])
def test_a_step_backwards_computes_one_force_and_one_pullback_of_it(name):
    """The inverse and the recomputation share the force: of each op there are as many as in these two."""
    program = gradient(SYSTEMS[name].program(7, True, stack=False))
    regions = {r.name: Counter(n.op.name for n in r.nodes) for n in program.nodes for r in n.op.regions()}
    assert {mark: regions["scan"][mark] for mark in SYSTEMS[name].marks} == dict.fromkeys(SYSTEMS[name].marks, 1)
    assert {mark: regions["scan:reverse"][mark] for mark in SYSTEMS[name].marks} == SYSTEMS[name].marks


@pytest.mark.parametrize("inverse", [False, True])
def test_memory_does_not_grow_with_the_number_of_steps(inverse):
    system = SYSTEMS["field"]

    def scratch(steps: int) -> int:
        found = compiled(gradient(system.program(steps, inverse, stack=False))).memory_analysis()
        assert found is not None
        return found.temp_size_in_bytes

    short, long = scratch(10), scratch(70)
    if inverse:
        assert long == short
    else:
        assert long >= short + 60 * 8 * 8 * 12  # at least the positions of 60 more steps


@pytest.mark.parametrize("mesh", ["row=2,col=2", "row=4"])
def test_a_field_on_a_mesh_has_the_gradient_of_the_whole(mesh):
    program = gradient(SYSTEMS["field"].program(9, True))
    arguments = [SYSTEMS["field"].arguments(9)[i.name] for i in program.inputs]
    assert_same(on_mesh(program, mesh, arguments), compiled(program)(*arguments))


@pytest.mark.parametrize("name", SYSTEMS)
def test_inverses_bring_the_first_state_back(name):
    program = SYSTEMS[name].program(11, True, reverse=True)
    found = run(verify(round_trip(program)), SYSTEMS[name].arguments(11))
    for i in range(2):
        np.testing.assert_allclose(found[f"undone:scan:{i}"], found[f"first:scan:{i}"], rtol=1e-12, atol=1e-13)


def test_a_wrong_inverse_does_not():
    with Builder("wrong", "f64") as b:
        x = b.input("x", SCALAR, "latent")
        (last,), _ = scan("t", lambda c, *_: ((c[0] + 0.1,), ()), [x], length=3, inverse=lambda c, *_: (c[0] - 0.2,))
        program = b.finish({"log_density": last})
    found = run(verify(round_trip(program)), {"x": np.array(1.0)})
    assert found["undone:scan:0"] == pytest.approx(found["first:scan:0"] - 0.3)


# --- programs ---


def test_it_prints_parses_and_travels_as_json():
    for program in (SYSTEMS["kepler"].program(5, True), gradient(SYSTEMS["kepler"].program(5, True))):
        assert parse_program(print_program(program)) == program
        assert from_json(to_json(program)) == program


def test_it_costs_nothing_where_no_gradient_is_taken():
    program, plain = (SYSTEMS["field"].program(5, inverse) for inverse in (True, False))
    assert len(list(program.walk())) > len(list(plain.walk()))
    assert len(list(drop_inverses(program).walk())) == len(list(plain.walk()))
    assert drop_inverses(plain) is plain
    for mesh in ("1", "row=2"):
        plan, other = (make_plan(p, Mesh.parse(mesh), memory=0) for p in (program, plain))
        verify_plan(program, plan)
        assert plan.prediction == other.prediction
        assert not [name for name in plan.layouts if "inverse" in name]
    assert "inverse" in print_program(program)
    assert "inverse" not in print_program(gradient(program))


def test_a_batch_has_the_gradients_of_its_members():
    system, draw = SYSTEMS["kepler"], Dim("draw", 3)
    members = [{name: (1 + 0.1 * i) * x for name, x in system.arguments(6).items()} for i in range(3)]
    together = {name: np.stack([m[name] for m in members]) for name in members[0]}
    first = system.program(6, True)
    for program in (batch_over(gradient(first), draw, list(together)), batch_over(first, draw, list(together))):
        found = run(verify(program), together)
        for i, member in enumerate(members):
            wanted = run(gradient(first), member)
            assert_same({name: x[i] for name, x in found.items()}, {name: wanted[name] for name in found})


def test_a_batched_value_that_only_the_inverse_reads_reaches_what_it_gives():
    """The inverse of x ← x reads s, whatever for: with a batch of s, what it gives has the batch's dim."""
    with Builder("odd", "f64") as b:
        x, s = b.input("x", SCALAR, "latent"), b.input("s", SCALAR, "latent")
        (last,), _ = scan("t", lambda c, *_: (c, ()), [x], shared=[s], length=3, inverse=lambda c, _, s: [c[0] * s[0]])
        program = b.finish({"log_density": last + 0.0 * s})
    batched = verify(batch_over(program, Dim("draw", 3), ["s"]))
    np.testing.assert_allclose(run(batched, {"x": np.array(2.0), "s": np.ones(3)})["log_density"], [2.0, 2.0, 2.0])


def test_what_nobody_reads_is_trimmed_but_not_what_undoing_needs():
    """u ← 2u, v ← v + u, w ← w + 1: v's inverse reads u; w and the second shared value serve nobody."""
    with Builder("trim", "f64") as b:
        u, v, w, s = (b.input(name, SCALAR, "latent") for name in "uvws")

        def step(carries, _, shared):
            u, v, w = carries
            return (2.0 * u, v + u, w + 1.0), (v * shared[1],)

        def undo(carries, _, shared):
            u, v, w = carries
            return 0.5 * u, v - 0.5 * u, w - shared[0]

        (_, last, _), _ = scan("t", step, [u, v, w], shared=[s, s], length=4, inverse=undo)
        program = b.finish({"log_density": last * last})
    trimmed = verify(eliminate_dead(program))
    (node,) = (n for n in trimmed.nodes if n.op.name == "scan")
    assert (cast(Scan, node.op).carries, len(node.operands), len(node.results)) == (2, 2, 2)
    found = run(gradient(trimmed), {name: np.array(x) for name, x in (("u", 0.3), ("v", 1.1), ("w", 0.0), ("s", 0.0))})
    assert found["log_density"] == pytest.approx((1.1 + 15 * 0.3) ** 2)
    assert found["grad:u"] == pytest.approx(2 * (1.1 + 15 * 0.3) * 15)


def test_an_inverse_may_hand_on_what_it_is_given():
    """(a, b, c) ← (b, a + sin b, y_t): the new a is the old b; what c was is the step's slice z_t."""
    y, z = np.array([0.3, -0.4, 0.9, 0.2]), np.array([0.7, 0.3, -0.4, 0.9])

    def program(inverse) -> Program:
        with Builder("swap", "f64") as build:
            a, b = build.input("a", SCALAR, "latent"), build.input("b", SCALAR, "latent")
            time = TensorType((Dim("t", 4),), "f64")
            now, before = build.input("y", time, "latent"), build.input("z", time, "latent")

            def step(carries, slices, _):
                (a, b, c), (y, z) = carries, slices
                return (b, a + emit(Op.table["sin"](), b), y), (a * c * z + c * c,)

            def undo(carries, slices, _):
                a, b, _ = carries
                return b - emit(Op.table["sin"](), a), a, slices[1]

            first = emit(Sum(("t",)), before) * 0.0 + 0.7
            (a, b, c), (made,) = scan("t", step, [a, b, first], [now, before], inverse=undo if inverse else None)
            return build.finish({"log_density": a * b + c * c + emit(Sum(("t",)), made)})

    arguments = {"a": np.array(0.4), "b": np.array(-0.2), "y": y, "z": z}
    assert_same(run(gradient(program(True)), arguments), run(gradient(program(False)), arguments))


def test_the_first_form_of_leapfrog_and_the_last_share_their_force_too():
    """x ← x + D p, p ← p + K F(x): the state that leaves a step is known, so that F is not taken at a new sum."""
    with Builder("last", "f64") as b:
        x, p = b.input("x", SCALAR, "latent"), b.input("p", SCALAR, "latent")

        def step(carries, *_):
            x = carries[0] + 0.1 * carries[1]
            return (x, carries[1] - 0.1 * emit(Op.table["exp"](), x)), ()

        def undo(carries, *_):
            x, p = carries
            p = p + 0.1 * emit(Op.table["exp"](), x)
            return x - 0.1 * p, p

        (x, p), _ = scan("t", step, [x, p], length=5, inverse=undo)
        program = gradient(b.finish({"log_density": x * p}))
    (region,) = (r for n in program.nodes for r in n.op.regions() if r.name == "scan:reverse")
    assert [n.op.name for n in region.nodes].count("exp") == 1


@pytest.mark.parametrize("outer", [False, True])
@pytest.mark.parametrize("inner", [False, True])
def test_scans_within_scans(outer, inner):
    """Each step of x ← x + D p, p ← p - K x is made of three small ones, or of one that only adds."""

    def program(outer: bool, inner: bool) -> Program:
        with Builder("nested", "f64") as b:
            x, p, k = (b.input(name, SCALAR, "latent") for name in "xpk")

            def small(carries, _, shared):
                p = carries[1] - 0.1 * shared[0] * carries[0]
                return (carries[0] + 0.2 * p, p), ()

            def back(carries, _, shared):
                x = carries[0] - 0.2 * carries[1]
                return x, carries[1] + 0.1 * shared[0] * x

            def step(carries, _, shared):
                made, _ = scan("s", small, carries, shared=shared, length=3, inverse=back if inner else None)
                return made, (made[0] * made[1],)

            def undo(carries, _, shared):
                return scan("s", lambda *a: (back(*a), ()), carries, shared=shared, length=3)[0]

            (x, p), (made,) = scan("t", step, [x, p], shared=[k], length=4, inverse=undo if outer else None)
            return b.finish({"log_density": x * p + emit(Sum(("t",)), made)})

    arguments = {"x": np.array(0.3), "p": np.array(0.8), "k": np.array(1.3)}
    assert_same(run(gradient(program(outer, inner)), arguments), run(gradient(program(False, False)), arguments))


def test_wrong_inverses_are_diagnosed():
    def make(inverse):
        with Builder("wrong", "f64") as b:
            x = b.input("x", SCALAR, "latent")
            scan("t", lambda c, *_: (c, ()), [x], length=3, inverse=inverse)

    with pytest.raises(Diagnostic, match="gives nothing, but f64\\[\\] came into the step"):
        make(lambda *_: ())
    with pytest.raises(Diagnostic, match="gives f64\\[\\], f64\\[\\], but"):
        make(lambda c, *_: (c[0], c[0]))
    with pytest.raises(Diagnostic, match="gives f32\\[\\], but"):
        make(lambda c, *_: (emit(Cast("f32"), c[0]),))
    with pytest.raises(Diagnostic, match="with an inverse holds the site 'here'"):
        make(lambda c, *_: (emit(Factor("here"), c[0]),))
    (node,) = (n for n in SYSTEMS["harmonic"].program(3, True).nodes if n.op.name == "scan")
    op = cast(Scan, node.op)
    assert op.inverse is not None
    wrong = dataclasses.replace(op, inverse=dataclasses.replace(op.inverse, inputs=op.inverse.inputs[:1]))
    with pytest.raises(Diagnostic, match=r"step takes f64\[body=5\], f64\[body=5\], but its inverse f64\[body=5\]"):
        wrong.results(*node.types)
