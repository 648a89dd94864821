"""The laws that every op keeps. A new op is held to them by giving `examples`."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

import backend_cuda
from backend_cuda.spmd import device_mesh
from ir.build import Builder
from ir.dims import CHAIN, Dim, TensorType
from ir.errors import Diagnostic
from ir.mesh import Mesh
from ir.op import Op, Strategy
from ir.ops.elementwise import Elementwise

from .cases import QUICK, Case, Planned, cases_of, draw, families, performed, pick_strategies, poison, share, values

backend = importlib.import_module("backend_cuda.lower")  # the package exports a function of the same name
WITHOUT_EXAMPLES = {
    "sample": "a pass replaces it before anything runs",
    "observe": "a pass replaces it before anything runs",
    "factor": "a pass replaces it before anything runs",
    "deterministic": "a pass replaces it before anything runs",
    "limit": "a pass replaces it before anything runs",
    "stop_gradient": "it is the identity, and its gradient is not",
    "truncated_normal_quantile": "a draw's, without a gradient: tests/ppl/test_dist_draws.py",
    "scan": "its region runs in the backend: tests/ops/test_scan.py",
}
LONG = {"particles", "interpolate", "random", "pullback"}  # these take long to compile: one mesh does for every day
NO_GRADIENT = {"read_slopes"}  # it is one itself
MESHES = ("row=8", "row=4,col=2", "row=2,col=2")
EVERY_DAY = MESHES[:2]
FAMILIES = families()
NAMES = [name for names in FAMILIES.values() for name in names]
SECOND = "second"
BRIEF = {"particles", "random"}  # and for these every day some cases do
FAMILY_CASES = [pytest.param(f, f not in BRIEF, id=f) for f in FAMILIES] + [
    pytest.param(f, True, id=f"{f} all", marks=pytest.mark.slow) for f in sorted(BRIEF)
]


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def test_every_op_has_examples_or_a_reason():
    ours = {name for name, cls in Op.table.items() if cls.__module__.startswith("ir.")}
    assert ours - set(NAMES) <= set(WITHOUT_EXAMPLES)


def permutes_by_mesh(collectives, mesh):
    """The collectives with a permute's axes in the mesh's order, as JAX wants them: their ring is in its pairs."""
    found = Counter()
    for c, count in collectives.items():
        ordered = tuple(a for a in mesh.names if a in c.axes) if c.kind == "collective_permute" else c.axes
        found[dataclasses.replace(c, axes=ordered)] += count
    return found


def cases_in(family: str, every: bool = True) -> list[Case]:
    """The family's cases. Unless `every`: on particles those in a plane, of noise what takes no attempts.

    tests/ops/test_migration.py has boxes of particles, tests/infer/test_counter_rejection.py finds attempts local.
    """
    cases = [case for name in FAMILIES[family] for case in cases_of(name)]
    return cases if every else [c for c in cases if getattr(c.op, "rank", 2) == 2 and not is_rejection(c)]


# --- types and roles ---


@pytest.mark.parametrize("name", NAMES)
def test_rules_speak_of_known_dims_and_ops_are_values(name):
    for case in cases_of(name):
        op, types = case.op, case.types
        results = op.results(*types)
        operand_dims = {d for t in types for d in t.names}
        known = operand_dims | {d for t in results for d in t.names}
        assert set(op.roles(*types)) <= known
        assert set(op.renames()) <= operand_dims and set(op.renames().values()) <= known
        assert all(i < len(types) for group in op.linear(*types) for i in group)
        assert math.isfinite(op.flops(*types)) and op.flops(*types) >= 0
        assert op.describe(*types).startswith(op.name)
        assert hash(op) == hash(op.examples()[case.index][0]) and op == op.examples()[case.index][0]


@pytest.mark.parametrize("name", NAMES)
def test_wrong_operands_are_diagnosed_or_typed(name):
    """No operand types, however wrong, lead to anything but a type or a `Diagnostic`."""
    for case in cases_of(name):
        for i, t in enumerate(case.types):
            wrong = [TensorType((), t.dtype), t.with_dtype("bool"), t.with_dtype("c64"), t.with_dtype("i32")]
            wrong += [t.replace(d.name, Dim(d.name, d.size + 1)) for d in t.dims]
            wrong += [t.replace(d.name, Dim("other", d.size)) for d in t.dims]
            for bad in wrong:
                try:
                    case.op.results(*case.types[:i], bad, *case.types[i + 1 :])
                except Diagnostic as error:
                    assert error.kind == "type" and error.message


# --- sharded equals whole ---


@functools.cache
def whole(family: str, every: bool = True):
    """The compiled function of a family's examples on one device: `{case: values} -> {case: result}`."""
    cases = cases_in(family, every)

    def run(operands):
        return {str(case): run_whole(case, *operands[str(case)]) for case in cases}

    start = {str(case): values(case) for case in cases}
    return jax.jit(run).lower(start).compile(quick(family)), cases


def quick(family: str) -> dict[str, bool | int]:
    """Compiler options: noise, held to the last bit, is compiled by the emitter that fields are drawn with.

    By the older one without optimisation, normals of float64 differ in it between a block and the whole.
    """
    older = backend_cuda.quick_options(device_mesh(Mesh(), jax.devices()[:1])) if family == "random" else {}
    return QUICK | dict.fromkeys(older, True)


def run_whole(case: Case, *operands):
    """The op on one device, through the backend."""
    planned = Planned.on(Mesh())
    inputs = [planned.input(f"x{i}", t) for i, t in enumerate(case.types)]
    planned.add("y", case, inputs, Strategy())
    return backend.lower(*planned.finish())(*operands)["y.0"]


@functools.cache
def whole_results(family: str, every: bool):
    run, cases = whole(family, every)
    return {k: np.asarray(v) for k, v in run({str(case): values(case) for case in cases}).items()}


def sharded_runs():
    for family in FAMILIES:
        for mesh in MESHES:
            daily = mesh in (MESHES[1:2] if family in LONG else EVERY_DAY)
            brief = daily and family in BRIEF
            yield pytest.param(family, mesh, not brief, id=f"{family}-{mesh}", marks=[] if daily else pytest.mark.slow)
            if brief:
                yield pytest.param(family, mesh, True, id=f"{family} all-{mesh}", marks=pytest.mark.slow)


@pytest.mark.parametrize(("family", "mesh", "every"), list(sharded_runs()))
def test_sharded_equals_whole_and_declared_equals_performed(family, mesh, every, monkeypatch):
    mesh = Mesh.parse(mesh)
    planned, expected, fed, carried = Planned.on(mesh), {}, [], []
    for case in cases_in(family, every):
        arrays = values(case)
        inputs = [planned.input(f"{case}:{i}", t) for i, t in enumerate(case.types)]
        fed += arrays
        carried += [()] * len(arrays)
        for strategy in pick_strategies(case, mesh, how_many(case, mesh)):
            operands = list(inputs)
            for i in case.op.linear(*case.types)[strategy.group] if strategy.carry else ():
                layout = case.op.operand_layout(i, case.types, strategy)
                start = planned.input(f"{case}:{strategy}:{i}", case.types[i], start_of(layout))
                operands[i] = start
                fed.append(arrays[i])
                carried.append(tuple(a for a in mesh.names if a in strategy.carry))
            planned.add(f"{case}:{strategy}", case, operands, strategy)
            expected[f"{case}:{strategy}.0"] = case
    if not expected:
        return
    program, plan = planned.finish()
    with_poison(monkeypatch, plan)

    order = {value.name: i for i, value in enumerate(i.value for i in program.inputs)}
    assert len(order) == len(fed)

    def body(*arrays):
        blocks = [share(x, axes, mesh) if axes else x for x, axes in zip(arrays, carried, strict=True)]
        return backend.lower(program, plan)(*blocks)

    spec = PartitionSpec()
    devices = device_mesh(mesh, jax.devices()[: mesh.devices])
    f = jax.shard_map(body, mesh=devices, in_specs=spec, out_specs=spec, check_vma=False)
    traced = jax.jit(f).trace(*fed)
    assert performed(traced.jaxpr.jaxpr) == permutes_by_mesh(plan.collectives(program), mesh)
    got = traced.lower().compile(quick(family))(*fed)
    want = whole_results(family, every)
    for name, case in expected.items():
        close(got[name], want[str(case)], f"{name} on {mesh}", tolerance_of(case), exact=case.noise)


def how_many(case: Case, mesh: Mesh) -> int:
    """How many strategies to draw: few where there are many ops, or where a program is slow to compile."""
    if is_rejection(case):
        return 1 if str(mesh) == MESHES[1] else 0
    if len(case.op.methods()) > 1:  # and one by each other method
        return 1
    if isinstance(case.op, Elementwise):
        return 1 if len(case.types) == 1 else 2
    return 1 if case.noise else 4


def is_rejection(case: Case) -> bool:
    return case.noise and len(case.types) > 1


def start_of(layout):
    return type(layout).of({}, layout.partial)


def with_poison(monkeypatch, plan):
    """From here on every block that the backend moves or computes on has NaN in its padding."""
    fetch, compute = backend._Run._fetch, backend.compute

    def poisoned_fetch(self, value, wanted):
        return poison(fetch(self, value, wanted), value.type, wanted, plan.mesh)

    def poisoned_compute(node, strategy, plan, blocks, *further):
        results = compute(node, strategy, plan, blocks, *further)
        spilling = {i for i, _ in node.op.spills(node.types, strategy)}
        return tuple(
            x if i in spilling else poison(x, v.type, plan.layouts[v.name], plan.mesh)
            for i, (v, x) in enumerate(zip(node.results, results, strict=True))
        )

    monkeypatch.setattr(backend._Run, "_fetch", poisoned_fetch)
    monkeypatch.setattr(backend, "compute", poisoned_compute)


def close(got, want, what, tolerance=1e-10, exact=False):
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype and got.shape == want.shape, what
    if exact:
        np.testing.assert_array_equal(got, want, err_msg=what)
        return
    scale = np.max(np.abs(want), initial=1.0)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * scale, err_msg=what)


def tolerance_of(case: Case) -> float:
    types = (*case.types, *case.op.results(*case.types))
    return 1e-5 if any(t.dtype in ("f32", "c64") for t in types) else 1e-10


# --- gradients ---


@functools.cache
def gradients(family: str, every: bool = True):
    """`{case: (operands, cotangent)} -> {case: ours}` and the same by `jax.vjp`, for cases that have a gradient."""
    cases = [c for c in cases_in(family, every) if not c.noise and has_gradient(c)]

    def ours(case, operands, cotangent):
        planned = Planned.on(Mesh())
        inputs = [planned.input(f"x{i}", t) for i, t in enumerate(case.types)]
        ct = planned.input("ct", case.op.result(*case.types))
        with planned.builder:
            result, *_ = planned.add("y", case, inputs, Strategy())
            found = case.op.vjp(ct, result, *inputs)
        assert len(found) == len(inputs)
        for i, (value, t) in enumerate(zip(found, case.types, strict=True)):
            if value is not None:
                assert set(value.type.dims) == set(t.dims) and value.type.dtype == t.dtype, f"{case}: {value.type}, {t}"
                planned.made[f"g{i}"] = value
        outputs = backend.lower(*planned.finish())(*operands, cotangent)
        for i, t in enumerate(case.types):
            if f"g{i}" in outputs:
                value = found[i]
                outputs[f"g{i}"] = jnp.transpose(outputs[f"g{i}"], [value.type.index(d) for d in t.names])
        return [outputs.get(f"g{i}") for i in range(len(inputs))]

    def theirs(case, operands, cotangent):
        floating = [i for i, t in enumerate(case.types) if t.dtype[0] in "fc"]

        def f(*xs):
            full = list(operands)
            for i, x in zip(floating, xs, strict=True):
                full[i] = x
            return run_whole(case, *full)

        _, pull = jax.vjp(f, *(operands[i] for i in floating))
        return dict(zip(floating, pull(cotangent), strict=True))

    def run(arguments):
        return {str(c): (ours(c, *arguments[str(c)]), theirs(c, *arguments[str(c)])) for c in cases}

    start = {str(c): arguments_of(c, "first") for c in cases}
    return jax.jit(run).lower(start).compile(QUICK), cases


def has_gradient(case: Case) -> bool:
    if case.op.name in NO_GRADIENT:
        return False
    return case.op.result(*case.types).dtype[0] in "fc" and any(t.dtype[0] in "fc" for t in case.types)


def arguments_of(case: Case, salt: str):
    rng = np.random.default_rng(case.seed(f"{salt} cotangent"))
    return values(case, salt), draw(case.op.result(*case.types), rng)


@pytest.mark.parametrize("salt", ["first", SECOND])
@pytest.mark.parametrize(("family", "every"), FAMILY_CASES)
def test_vjp_equals_jax(family, every, salt):
    run, cases = gradients(family, every)
    if not cases:
        return
    found = run({str(c): arguments_of(c, salt) for c in cases})
    for case in cases:
        ours, theirs = found[str(case)]
        for i, want in theirs.items():
            if ours[i] is None:
                assert not np.any(np.asarray(want)), f"{case} gives no gradient of operand {i}, jax.vjp does"
            else:
                close(ours[i], want, f"{case}, gradient of operand {i}", tolerance_of(case))


@pytest.mark.parametrize(("family", "every"), FAMILY_CASES)
def test_vjp_equals_finite_differences(family, every):
    forward, held = whole(family, every)
    run, cases = gradients(family, every)
    arguments = {str(c): arguments_of(c, "first") for c in cases}
    found = run(arguments)
    rng = np.random.default_rng(7)
    step = {c: 0.5 if any(t.dtype == "f32" for t in (*c.types, c.op.result(*c.types))) else 1e-5 for c in cases}
    along = {c: [draw(t, rng) if t.dtype[0] in "fc" else None for t in c.types] for c in cases}

    def moved(sign):
        operands = {str(c): values(c) for c in held}
        for c in cases:
            operands[str(c)] = [
                x if v is None else x + sign * step[c] * v for x, v in zip(operands[str(c)], along[c], strict=True)
            ]
        return forward(operands)

    up, down = moved(1.0), moved(-1.0)
    for case in cases:
        _, cotangent = arguments[str(case)]
        change = (np.asarray(up[str(case)], np.complex128) - np.asarray(down[str(case)])) / (2 * step[case])
        want = np.sum(cotangent * change).real
        ours, _ = found[str(case)]
        got = sum(np.sum(np.asarray(g) * v).real for g, v in zip(ours, along[case], strict=True) if g is not None)
        tolerance = 1e-4 if step[case] == 0.5 else 1e-6
        assert abs(got - want) <= tolerance * max(1.0, abs(want)), f"{case}: {got} instead of {want}"


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("random_")])
def test_noise_has_no_gradient(name):
    for case in cases_of(name):
        with Builder("noise") as b:
            operands = [b.input(f"x{i}", t) for i, t in enumerate(case.types)]
            result = b.emit(case.op, *operands)
            assert case.op.vjp(result, result, *operands) == (None,) * len(operands)


# --- batching ---

CHAINS = Dim(CHAIN, 3)


def batched_types(case: Case, which: str) -> list[bool]:
    """Which operands get a chain dim: all that may depend on a latent quantity, or the first or last of them."""
    at = [i for i, t in enumerate(case.types) if t.dtype[0] in "fc" or (case.noise and i == 0)]
    chosen = {"all": at, "first": at[:1], "last": at[-1:]}[which]
    if case.op.name == "pullback":  # whatever has a gradient has a chain
        chosen = [*chosen, 1 + case.op.index]
    return [i in chosen for i in range(len(case.types))]


@pytest.mark.parametrize(("family", "every"), FAMILY_CASES)
def test_batching_equals_one_chain_after_another(family, every):
    forward, held = whole(family, every)
    cases = [c for c in held if not any(CHAIN in t for t in c.types) and any(batched_types(c, "all"))]
    salts = ["first", "chain 1", "chain 2"]

    def run(arguments):
        found = {}
        for (case, which), operands in arguments.items():
            types = tuple(
                TensorType((CHAINS, *t.dims), t.dtype) if chained else t
                for t, chained in zip(case.types, batched_types(case, which), strict=True)
            )
            result = case.op.result(*types)
            base = case.op.result(*case.types)
            assert result.names[0] == CHAIN and result.dtype == base.dtype, f"{case}: {result}"
            order = [result.index(d) for d in (CHAIN, *base.names)]
            found[case, which] = jnp.transpose(run_whole(Case(case.op, types, 0), *operands), order)
        return list(found.values())

    pairs, arguments = [], {}
    for case in cases:
        for which in ("all",) if case.noise else ("all", "first", "last"):
            chosen = batched_types(case, which)
            if which == "all" or chosen != batched_types(case, "all"):
                pairs.append((case, which))
                sets = [values(case, salt) for salt in salts]
                arguments[case, which] = [
                    np.stack([s[i] for s in sets]) if chained else sets[0][i] for i, chained in enumerate(chosen)
                ]
    if not pairs:
        return
    got = (
        jax.jit(lambda *flat: run(dict(zip(pairs, flat, strict=True))))
        .lower(*arguments.values())
        .compile(quick(family))(*arguments.values())
    )
    for which in ("all", "first", "last"):
        alone = []
        for salt in salts:
            operands = {str(c): values(c) for c in held}
            for case in cases:
                chosen, mine = batched_types(case, which), values(case, salt)
                operands[str(case)] = [
                    mine[i] if chained else operands[str(case)][i] for i, chained in enumerate(chosen)
                ]
            alone.append(forward(operands))
        for (case, kind), array in zip(pairs, got, strict=True):
            if kind == which:
                stacked = np.stack([np.asarray(a[str(case)]) for a in alone])
                close(array, stacked, f"{case} with chains in {which}", tolerance_of(case), exact=case.noise)


# --- text ---


@pytest.mark.parametrize("name", NAMES)
def test_print_then_parse_gives_the_same_program(name):
    from ir.serial import from_json, to_json
    from ir.text import parse_program, print_program

    b = Builder("printed", "f64")
    outputs, functions = {}, {}
    for case in cases_of(name):
        operands = [b.input(f"x{case.index}.{i}", t) for i, t in enumerate(case.types)]
        outputs[str(case)] = b.emit_all(case.op, *operands)[0]
        f = getattr(getattr(case.op, "of", case.op), "f", None)
        functions |= {f.__name__: f} if f else {}
    program = b.finish(outputs)
    assert parse_program(print_program(program), functions=functions) == program
    assert from_json(to_json(program), functions=functions) == program
