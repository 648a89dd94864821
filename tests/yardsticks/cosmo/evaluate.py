"""Functions of values, compiled for one device: `evaluate(f, {"a": array})` gives what f returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from backend_cuda import lower
from ir.build import Builder
from ir.dims import Dim, TensorType
from ir.graph import Program, Value
from ir.layout import WHOLE
from ir.mesh import Mesh
from ir.op import Strategy
from ir.passes.differentiate import differentiate
from ir.passes.simplify import simplify
from ir.plan import Plan

DIMS = {"knots": "knot", "weights": "weight"}
"""The dim of an input with one dim, by its name; of others it is `point`."""


class Compiled:
    """f(**values) compiled for inputs of the shapes of `like`; called with inputs, it gives the outputs by name.

    With `gradient_of` also `grad:NAME`, the gradient of that output in every input.
    """

    def __init__(
        self,
        f: Callable[..., Mapping[str, Value]],
        like: Mapping[str, Any],
        real: str = "f64",
        gradient_of: str = "",
    ):
        self.dtype = {"f32": np.float32, "f64": np.float64}[real]
        with Builder("cosmology", real) as b:
            types = {n: TensorType(_dims(n, np.asarray(x)), real) for n, x in like.items()}
            program = b.finish(f(**{n: b.input(n, t, "latent") for n, t in types.items()}))
        if gradient_of:
            program = differentiate(program, list(like), gradient_of)
        self.program = simplify(program)
        with jax.enable_x64(True):
            arrays = [jax.ShapeDtypeStruct(t.shape, t.numpy) for t in types.values()]
            self.function = jax.jit(lower(self.program, whole(self.program))).lower(*arrays).compile()

    def __call__(self, **inputs: Any) -> dict[str, np.ndarray]:
        arrays = [np.asarray(inputs[i.name], self.dtype) for i in self.program.inputs]
        with jax.enable_x64(True):
            return {name: np.asarray(x) for name, x in self.function(*arrays).items()}


def evaluate(f: Callable[..., Mapping[str, Value]], inputs: Mapping[str, Any], real: str = "f64") -> dict[str, Any]:
    """The outputs of f(**values) by name."""
    return Compiled(f, inputs, real)(**inputs)


def whole(program: Program) -> Plan:
    """The plan in which one device holds everything."""
    layouts, strategies, outputs = {}, {}, {name: WHOLE for name, _ in program.outputs}

    def plan(part: Program) -> None:
        layouts.update({i.name: WHOLE for i in part.inputs})
        for node in part.nodes:
            strategies[node.key] = Strategy()
            layouts.update({v.name: WHOLE for v in node.results})
            for region in node.op.regions():
                plan(region)
                outputs.update({f"{region.name}:{name}": WHOLE for name, _ in region.outputs})

    plan(program)
    return Plan(Mesh(), layouts, strategies, {}, outputs)


def _dims(name: str, x: np.ndarray) -> tuple[Dim, ...]:
    return (Dim(DIMS.get(name, "point"), x.shape[0]),) if x.ndim else ()
