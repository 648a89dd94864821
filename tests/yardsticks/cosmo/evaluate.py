"""Functions of values, compiled for one device: `evaluate(f, {"a": array})` gives what f returns, and gradients."""

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

POINTS = "point"
"""The dim of every array of one dim."""


def evaluate(
    f: Callable[..., Mapping[str, Value]], inputs: Mapping[str, Any], real: str = "f64", gradient_of: str = ""
) -> dict[str, np.ndarray]:
    """The outputs of f(**values) by name; with `gradient_of` also `grad:NAME` of that output in every input."""
    dtype = {"f32": np.float32, "f64": np.float64}[real]
    arrays = {n: np.asarray(x, dtype) for n, x in inputs.items()}
    with Builder("cosmology", real) as b:
        values = {n: b.input(n, TensorType(_dims(x), real), "latent") for n, x in arrays.items()}
        program = b.finish(f(**values))
    if gradient_of:
        program = differentiate(program, list(arrays), gradient_of)
    return run(simplify(program), arrays)


def run(program: Program, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a program on one device."""
    layouts, strategies = {}, {}

    def plan(part: Program) -> None:
        layouts.update({i.name: WHOLE for i in part.inputs})
        for node in part.nodes:
            strategies[node.key] = Strategy()
            layouts.update({v.name: WHOLE for v in node.results})
            for region in node.op.regions():
                plan(region)
                outputs.update({f"{region.name}:{name}": WHOLE for name, _ in region.outputs})

    outputs = {name: WHOLE for name, _ in program.outputs}
    plan(program)
    with jax.enable_x64(True):
        lowered = jax.jit(lower(program, Plan(Mesh(), layouts, strategies, {}, outputs)))
        found = lowered(*(arrays[i.name] for i in program.inputs))
        return {name: np.asarray(x) for name, x in found.items()}


def _dims(x: np.ndarray) -> tuple[Dim, ...]:
    return (Dim(POINTS, x.shape[0]),) if x.ndim else ()
