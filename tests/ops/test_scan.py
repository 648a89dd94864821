"""Recurrences: values and gradients against `jax.lax.scan`, batches of chains, and collectives inside the body."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from backend_cuda import device_mesh, lower
from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.errors import Diagnostic
from ir.layout import WHOLE, Layout
from ir.mesh import Mesh
from ir.op import Op, Strategy
from ir.ops.control import scan
from ir.ops.create import Broadcast
from ir.ops.reduce import Sum
from ir.passes.batch_over import batch_over
from ir.passes.differentiate import differentiate
from ir.plan import Plan
from ir.serial import from_json, to_json
from ir.text import parse_program, print_program

from .cases import find_path, performed

X, TIME, DRAW = Dim("x", 9), Dim("time", 5), Dim("draw", 3)
ROW, SERIES, SCALAR = TensorType((X,), "f64"), TensorType((X, TIME), "f64"), TensorType((), "f64")
MODES = [False, True]


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def recurrence(reverse=False):
    """h ← tanh(a h + y_t) + 0.1 Σ_x h, along time; the log density is quadratic in the states and in the last one."""
    with Builder("recurrence", "f64") as b:
        a, h0, y = b.input("a", ROW, "latent"), b.input("h0", ROW, "latent"), b.input("y", SERIES, "latent")

        def body(carries, slices, shared):
            (h,), (y,), (a,) = carries, slices, shared
            h = emit(Op.table["tanh"](), a * h + y) + 0.1 * emit(Sum(("x",)), h)
            return [h], [h * h, emit(Sum(("x",)), h)]

        (last,), (squares, sums) = scan("time", body, [h0], [y], [a], reverse=reverse)
        total = emit(Sum(("x",)), last * last) + emit(Sum(("time", "x")), squares * y) + emit(Sum(("time",)), sums)
        return b.finish({"log_density": total, "squares": squares})


def in_jax(a, h0, y, reverse=False):
    def step(h, y):
        h = jnp.tanh(a * h + y) + 0.1 * jnp.sum(h)
        return h, (h * h, jnp.sum(h))

    last, (squares, sums) = jax.lax.scan(step, h0, y.T, reverse=reverse)
    return jnp.sum(last * last) + jnp.sum(squares * y.T) + jnp.sum(sums), squares


def arrays(*lead):
    rng = np.random.default_rng(3)
    return rng.normal(size=(*lead, 9)), rng.normal(size=(*lead, 9)), rng.normal(size=(*lead, 9, 5))


def run(program, *operands):
    return jax.jit(lower(program, plan_of(program, Mesh(), {})))(*operands)


def plan_of(program, mesh, split):
    """Every dim of `split` is split wherever an op allows it; partial sums are reduced at once."""
    layouts, strategies, reshards, outputs = {}, {}, {}, {}

    def layout(t):
        return Layout.of({d: a for d, a in split.items() if d in t})

    def bring(value, wanted):
        start = layouts[value.name]
        if start != wanted:
            reshards[value.name, wanted] = find_path(start, wanted, value.type, mesh)

    def plan(program, prefix):
        for i in program.inputs:
            layouts[i.name] = layout(i.type)
        for node in program.nodes:
            strategy = Strategy.of({d: a for d, a in split.items() if d in node.op.dims(*node.types)})
            for region in node.op.regions():
                plan(region, f"{region.name}:")
                for value, inner in zip(node.operands, node.op.region_operands(), strict=True):
                    bring(value, layouts[inner.name])
                for k, value in enumerate(node.results):
                    layouts[value.name] = outputs[f"{region.name}:{node.op.result_from(k)}"]
            if node.op.regions():
                continue
            strategies[node.key] = strategy
            for i, value in enumerate(node.operands):
                bring(value, node.op.operand_layout(i, node.types, strategy))
            for value, made in zip(node.results, node.op.result_layouts(node.types, strategy), strict=True):
                layouts[value.name] = made
        for name, value in program.outputs:
            outputs[prefix + name] = layout(value.type) if prefix else WHOLE
            bring(value, outputs[prefix + name])

    plan(program, "")
    return Plan(mesh, layouts, strategies, reshards, outputs)


@pytest.mark.parametrize("reverse", MODES)
def test_a_scan_equals_jax(reverse):
    found = run(recurrence(reverse), *arrays())
    value, squares = in_jax(*arrays(), reverse)
    np.testing.assert_allclose(found["log_density"], value, rtol=1e-12)
    np.testing.assert_allclose(found["squares"], squares, rtol=1e-12)


@pytest.mark.parametrize("reverse", MODES)
@pytest.mark.parametrize("wrt", [("a", "h0", "y"), ("a",), ("h0",), ("y",)])
def test_its_gradient_equals_jax_whatever_it_is_taken_in(wrt, reverse):
    found = run(differentiate(recurrence(reverse), wrt), *arrays())
    grads = jax.grad(lambda *xs: in_jax(*xs, reverse)[0], argnums=(0, 1, 2))(*arrays())
    for name, want in zip(("a", "h0", "y"), grads, strict=True):
        if name in wrt:
            np.testing.assert_allclose(found[f"grad:{name}"], want, rtol=1e-10, atol=1e-12)


def test_a_batch_of_scans_equals_one_after_another():
    program = differentiate(recurrence(), ("a", "y"))
    a, h0, y = arrays(3)
    found = run(batch_over(program, DRAW, ("a", "y")), a, h0[0], y)
    for i in range(3):
        want = run(program, a[i], h0[0], y[i])
        for name in want:
            np.testing.assert_allclose(found[name][i], want[name], rtol=1e-10, atol=1e-12, err_msg=name)


def test_a_batch_of_one_carry_reaches_all_that_it_feeds():
    program = recurrence()
    a, h0, y = arrays(3)
    found = run(batch_over(program, DRAW, ("y",)), a[0], h0[0], y)
    for i in range(3):
        np.testing.assert_allclose(found["squares"][i], run(program, a[0], h0[0], y[i])["squares"], rtol=1e-12)


def test_a_split_scan_performs_the_collectives_of_its_body_in_every_trip():
    program = differentiate(recurrence(), ("a", "h0", "y"))
    mesh = Mesh.parse("row=4")
    plan = plan_of(program, mesh, {"x": ("row",)})
    padded = [np.pad(v, [(0, 3)] + [(0, 0)] * (v.ndim - 1)) for v in arrays()]
    devices = device_mesh(mesh, jax.devices()[:4])
    specs = (PartitionSpec("row"), PartitionSpec("row"), PartitionSpec("row", None))
    body = jax.shard_map(lower(program, plan), mesh=devices, in_specs=specs, out_specs=PartitionSpec(), check_vma=False)
    traced = jax.jit(body).trace(*padded)
    assert performed(traced.jaxpr.jaxpr) == plan.collectives(program)
    assert any(count >= 5 for count in plan.collectives(program).values())
    found, want = traced.lower().compile()(*padded), run(program, *arrays())
    for name in want:
        np.testing.assert_allclose(found[name], want[name], rtol=1e-10, atol=1e-12, err_msg=name)


def test_a_scan_over_nothing_counts_its_length():
    with Builder("powers", "f64") as b:
        x = b.input("x", SCALAR, "latent")
        (last,), (kept,) = scan("time", lambda c, _, s: ([c[0] * s[0]], [c[0]]), [x], [], [x], length=4)
        program = b.finish({"log_density": last, "kept": kept})
    found = run(differentiate(program, ("x",)), np.float64(1.5))
    np.testing.assert_allclose(found["log_density"], 1.5**5)
    np.testing.assert_allclose(found["kept"], 1.5 ** np.arange(1, 5))
    np.testing.assert_allclose(found["grad:x"], 5 * 1.5**4)


def test_a_scan_without_carries_is_a_map():
    with Builder("map", "f64") as b:
        y = b.input("y", SERIES, "latent")
        _, (sines,) = scan("time", lambda _, s, __: ([], [emit(Op.table["sin"](), s[0])]), [], [y])
        program = b.finish({"log_density": emit(Sum(("x", "time")), sines)})
    found = run(differentiate(program, ("y",)), arrays()[2])
    np.testing.assert_allclose(found["grad:y"], np.cos(arrays()[2]), rtol=1e-12)


def test_a_scan_inside_a_scan_has_a_gradient():
    """s ← s + Σ_k w^k y_t, with the power sums by an inner recurrence."""
    with Builder("nested", "f64") as b:
        w, y = b.input("w", SCALAR, "latent"), b.input("y", TensorType((TIME,), "f64"), "latent")

        def outer(carries, slices, shared):
            def inner(carries, _, shared):
                total, power = carries
                return [total + power * shared[1], power * shared[0]], []

            zero = 0.0 * slices[0]
            (total, _), _ = scan("k", inner, [zero, shared[0]], [], [shared[0], slices[0]], length=3)
            return [carries[0] + total], []

        (last,), _ = scan("time", outer, [0.0 * w], [y], [w])
        program = b.finish({"log_density": last})
    y = np.random.default_rng(1).normal(size=5)
    found = run(differentiate(program, ("w", "y")), np.float64(0.7), y)
    np.testing.assert_allclose(found["log_density"], (0.7 + 0.49 + 0.343) * y.sum(), rtol=1e-12)
    np.testing.assert_allclose(found["grad:w"], (1 + 2 * 0.7 + 3 * 0.49) * y.sum(), rtol=1e-12)
    np.testing.assert_allclose(found["grad:y"], np.full(5, 0.7 + 0.49 + 0.343), rtol=1e-12)


def test_a_scan_prints_and_parses():
    program = differentiate(recurrence(), ("a", "h0", "y"))
    names = [v.name for node in program.walk() for v in node.results]
    assert len(set(names)) == len(names)
    assert parse_program(print_program(program)) == program
    assert from_json(to_json(program)) == program


@pytest.mark.parametrize(
    ("operands", "message"),
    [
        ((ROW,), "whose body takes 3 values got 1"),
        ((SCALAR, SERIES, ROW), r"takes f64\[x=9\] as carry value 0, but got f64\[\]"),
        ((ROW, ROW, ROW), "along 'time' is given .* which lacks it"),
    ],
)
def test_wrong_operands_are_diagnosed(operands, message):
    (node,) = [n for n in recurrence().nodes if n.op.name == "scan"]
    with pytest.raises(Diagnostic, match=message):
        node.op.results(*operands)


def test_a_carry_that_changes_its_type_is_diagnosed():
    with Builder("grows", "f64") as b:
        h = b.input("h", SCALAR)
        with pytest.raises(Diagnostic, match=r"carry 0 of a scan comes in as f64\[\] and leaves as f64\[x=9\]"):
            scan("time", lambda c, *_: ([emit(Broadcast((X,)), c[0])], []), [h], length=3)


def test_a_length_must_agree_with_what_is_scanned():
    (node,) = [n for n in recurrence().nodes if n.op.name == "scan"]
    with pytest.raises(Diagnostic, match=r"goes over sizes \[5, 6\]"):
        dataclasses.replace(node.op, length=6).results(*node.types)
