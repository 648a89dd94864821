"""Systems that go by leapfrog steps: gradients are the same whether states are kept, made again or undone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from backend_cuda import device_mesh, lower, spec, spmd
from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.graph import Program, Value
from ir.mesh import Mesh
from ir.op import Op
from ir.ops.contract import Contract
from ir.ops.control import scan
from ir.ops.fft import IRFFT, RFFT
from ir.ops.reduce import Sum
from ir.passes.differentiate import differentiate
from ir.passes.simplify import simplify
from ir.verify import verify, verify_plan
from planner import make_plan

from .cases import QUICK, performed

BODY, AXIS, ROW, COL = Dim("body", 5), Dim("axis", 3), Dim("x", 8), Dim("y", 12)


def call(name: str, *operands: Value) -> Value:
    return emit(Op.table[name](), *operands)


def total(x: Value) -> Value:
    return emit(Sum(x.dims), x) if x.dims else x


@dataclass(frozen=True)
class System:
    """A force F(x, p; shared) with the dims of a state; `factors` that a kick and a drift have step by step."""

    force: Callable[[Value, Sequence[Value]], Value]
    dims: tuple[Dim, ...]
    shared: tuple[TensorType, ...] = ()
    factors: bool = False
    marks: Mapping[str, int] = field(default_factory=dict)
    """Ops of which a force has one each, with how many a force and its pullback have together."""

    def program(
        self, steps: int, inverse: bool = False, *, reverse: bool = False, stack: bool = True, every: int = 0
    ) -> Program:
        """p ← p + K F(x), x ← x + D p; the log density is a function of the last state and of what is stacked."""
        t, time = TensorType(self.dims, "f64"), TensorType((Dim("time", steps),), "f64")
        with Builder("leapfrog", "f64") as b:
            x, p = b.input("x", t, "latent"), b.input("p", t, "latent")
            shared = [b.input(f"s{i}", s, "latent") for i, s in enumerate(self.shared)]
            through = [b.input(name, time, "latent") for name in ("kick", "drift")] if self.factors else []

            def sizes(slices: Sequence[Value]) -> Sequence[Value | float]:
                return slices or (0.07, 0.06)

            def step(carries, slices, shared):
                (x, p), (kick, drift) = carries, sizes(slices)
                p = p + kick * self.force(x, shared)
                x = x + drift * p
                return (x, p), ((call("tanh", x) * p,) if stack else ())

            def undo(carries, slices, shared):
                (x, p), (kick, drift) = carries, sizes(slices)
                x = x - drift * p
                return x, p - kick * self.force(x, shared)

            told = {"reverse": reverse, "inverse": undo if inverse else None, "every": every}
            (x, p), made = scan("time", step, [x, p], through, shared, length=steps, **told)
            density = total(p * p) + total(call("sin", x))
            for y in made:
                density = density + total(y * y * y)
            return b.finish({"log_density": density, **{f"made{i}": y for i, y in enumerate(made)}})

    def arguments(self, steps: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(5)
        shape = tuple(d.size for d in self.dims)
        found = {"x": rng.normal(size=shape), "p": 0.3 * rng.normal(size=shape)}
        found |= {f"s{i}": rng.uniform(0.5, 1.5, size=s.shape) for i, s in enumerate(self.shared)}
        if self.factors:
            found |= {name: rng.uniform(0.02, 0.1, size=steps) for name in ("kick", "drift")}
        return found


def _harmonic(x: Value, shared: Sequence[Value]) -> Value:
    return -x


def _kepler(x: Value, shared: Sequence[Value]) -> Value:
    """-mu x / (|x|^2 + 0.1)^(3/2)"""
    square = emit(Contract(("axis",)), x, x) + 0.1
    return -shared[0] * x / (square * call("sqrt", square))


def _pendulums(x: Value, shared: Sequence[Value]) -> Value:
    return -shared[0] * call("sin", x)


def _field(x: Value, shared: Sequence[Value]) -> Value:
    """A force by a transform: F = -irfft(g rfft(sinh x)), g given by mode."""
    modes = emit(RFFT("y", "ky"), call("sin", x))
    return -emit(IRFFT("ky", "y", COL.size), shared[0] * modes)


MODES = TensorType((ROW, Dim("ky", COL.size // 2 + 1)), "f64")
SYSTEMS = {
    "harmonic": System(_harmonic, (BODY,)),
    "kepler": System(_kepler, (BODY, AXIS), (TensorType((), "f64"),), marks={"sqrt": 1, "contract": 3}),
    "factors": System(_pendulums, (BODY,), (TensorType((BODY,), "f64"),), factors=True, marks={"sin": 1}),
    "field": System(_field, (ROW, COL), (MODES,), marks={"rfft": 2, "irfft": 2}),
}


def gradient(program: Program) -> Program:
    return verify(simplify(differentiate(verify(program), [i.name for i in program.inputs_of("latent")])))


def compiled(program: Program):
    """XLA's program on one device, for arguments by name."""
    plan = make_plan(program, Mesh(), memory=0)
    body = jax.jit(lower(program, plan))
    return body.lower(*(jax.ShapeDtypeStruct(i.type.shape, i.type.numpy) for i in program.inputs)).compile(QUICK)


def on_mesh(program: Program, axes: str, arguments: Sequence[np.ndarray]) -> dict[str, Any]:
    """What a field's program gives where its two latents lie along unlike dims, performing what is planned."""
    mesh = Mesh.parse(axes)
    plan = make_plan(program, mesh, memory=0, keep_small=0, pins=["p:x=row", "x:y=row"])
    verify_plan(program, plan)
    devices = device_mesh(mesh, jax.devices()[: mesh.devices])
    inputs = tuple(spec(i.type, plan.layouts[i.name]) for i in program.inputs)
    outputs = {n: spec(v.type, plan.output_layout(program, n)) for n, v in program.outputs}
    traced = jax.jit(spmd(lower(program, plan), mesh, devices, inputs, outputs)).trace(*arguments)
    assert plan.collectives(program) and performed(traced.jaxpr.jaxpr) == plan.collectives(program)
    return traced.lower().compile(QUICK)(*arguments)


def assert_same(found, wanted, rtol=1e-10):
    assert set(found) == set(wanted)
    for name, x in wanted.items():
        np.testing.assert_allclose(found[name], x, rtol=rtol, atol=rtol * np.max(np.abs(x)), err_msg=name)
