"""Functions of fields in a box: `box_values(f, dims, white=array)` gives what f makes of them, planned on a mesh."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import backend_cuda as backend
from ir.build import Builder
from ir.dims import Dim, TensorType
from ir.graph import Program, Value
from ir.ops.sites import Limit
from ir.passes.differentiate import differentiate
from ir.passes.simplify import simplify
from ppl.execute import Executable
from ppl.request import PlanRequest
from ppl.trace.context import Context, DimSpec

AXES = ("x", "y", "z")


def box_program(
    f: Callable[..., Mapping[str, Value]], dims: Mapping[str, int], inputs: Mapping[str, Any], real: str = "f64"
) -> Program:
    """f of fields [x, y, z] and of single numbers, in a model with those dims."""
    builder = Builder("box", real)
    with Context(builder, {n: DimSpec(n, size) for n, size in dims.items()}, dims):
        given = {}
        for name, x in inputs.items():
            sizes = AXES if np.ndim(x) else ()
            given[name] = builder.input(name, TensorType(tuple(Dim(d, dims[d]) for d in sizes), real), "latent")
        program = builder.finish(f(**given))
    # What a run tells of a model's limits is no part of its quantities.
    return dataclasses.replace(program, nodes=tuple(n for n in program.nodes if not isinstance(n.op, Limit)))


def box_values(
    f: Callable[..., Mapping[str, Value]],
    dims: Mapping[str, int],
    real: str = "f64",
    mesh: str = "1",
    gradient_of: str = "",
    pins: tuple[str, ...] = (),
    **inputs: Any,
) -> dict[str, np.ndarray]:
    """What f makes of the inputs by name; with `gradient_of` also `grad:NAME`, that output's gradient in each input."""
    program = box_program(f, dims, inputs, real)
    if gradient_of:
        program = differentiate(simplify(program), list(inputs), gradient_of)
    program = simplify(program)
    request = PlanRequest.make(mesh, pins=pins)
    planned = Executable(program, request.solve(program), backend.device_mesh(request.mesh))
    arrays = {i.name: np.asarray(inputs[i.name], i.type.numpy) for i in program.inputs}
    return {n: np.asarray(x) for n, x in planned.run(arrays, hasty=True).items()}
