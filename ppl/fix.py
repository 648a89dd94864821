"""Latents that are held at values for a whole run: the values are checked against their sites here.

The others then have their posterior given these: the prior of a held latent stays in the density, where it matters if
its parameters are latent (as with PyMC's `observe` and NumPyro's `condition`). The pass is `ir.passes.condition.hold`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ir.dims import TensorType
from ir.dist import Support
from ir.errors import Diagnostic
from ir.graph import Program, Value
from ir.ops.control import Scan
from ir.ops.create import Constant
from ir.ops.sites import Sample
from ir.passes.condition import latent_sites

ROUNDING = 1e-4
"""How far the parts of a simplex may be from a sum of one."""


def fixed_values(program: Program, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The values as arrays of the sites' types; one number counts for a whole site. Mistakes are `Diagnostic`s."""
    types = latent_sites(program)
    found = {}
    for name, value in given.items():
        if name not in types:
            raise _unknown(name, program, types)
        found[name] = _value(name, value, types[name])
    bounds = dict(_supports(program))
    for name, value in found.items():
        _check_support(name, value, *bounds[name])
    return found


def _unknown(name: str, program: Program, types: Mapping[str, TensorType]) -> Diagnostic:
    site = name.removesuffix("_raw")
    hint = f"the model's latents are {', '.join(types) or 'none'}"
    if name.endswith("_raw") and site in types:
        hint = f"fix '{site}' itself: its non-centred form is then not needed"
    elif any(i.name == name for i in program.inputs):
        hint = f"'{name}' is data: give its value with the data"
    elif near := difflib.get_close_matches(name, types, n=1, cutoff=0.6):
        hint = f"did you mean '{near[0]}'? {hint}"
    return Diagnostic("argument", f"there is no latent '{name}' to fix", hint=hint, where="fixed")


def _value(name: str, value: Any, kind: TensorType) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "iufb" or not np.isfinite(array).all():
        told = value if isinstance(value, str | float | int) else "values that are not all finite numbers"
        hint = "give a finite number, for example 1.0"
        raise Diagnostic("argument", f"'{name}' is to be fixed at {told}", hint=hint, where="fixed")
    if array.shape and array.shape != kind.shape:
        dims = f"[{', '.join(kind.names)}]" if kind.names else ""
        hint = f"give an array of shape {kind.shape}, or one number for all" if kind.shape else "give one number"
        message = f"the value for '{name}{dims}' has shape {array.shape}"
        raise Diagnostic("argument", message, hint=hint, where="fixed")
    if kind.dtype[0] in "iu" and (array != np.round(array)).any():
        message = f"'{name}' counts, and is to be fixed at {value!r}"
        raise Diagnostic("argument", message, hint="give whole numbers", where="fixed")
    return np.broadcast_to(array, kind.shape).astype(kind.numpy)


def _supports(program: Program) -> Iterator[tuple[str, tuple[Support, int | None]]]:
    """Each latent's support, and for a simplex the axis, counted from the end, that it lies along."""
    for node in program.nodes:
        op = node.op
        if isinstance(op, Sample) and not op.generated:
            support = op.dist.support(*node.operands)
            numbers = {v.name: n.op.value for n in program.nodes if isinstance(n.op, Constant) for v in n.results}
            names = node.results[0].type.names
            along = names.index(op.dist.event[-1]) - len(names) if support.kind == "simplex" else None
            bounds = (_number(b, numbers) for b in (support.lower, support.upper))
            yield op.site, (Support(support.kind, *bounds), along)
        if isinstance(op, Scan):
            yield from _supports(op.region)


def _number(bound: Value | float | None, numbers: Mapping[str, Any]) -> float | None:
    """A bound that is known before the run."""
    return numbers.get(bound.name) if isinstance(bound, Value) else bound


def _check_support(name: str, value: np.ndarray, support: Support, along: int | None) -> None:
    low, high = support.lower, support.upper
    closed = support.kind == "integer"
    outside = ""
    if along is not None and ((value <= 0).any() or (np.abs(value.sum(axis=along) - 1) > ROUNDING).any()):
        outside = "must be positive and sum to one"
    elif low is not None and not (value >= low if closed else value > low).all():
        outside = f"must be {'at least' if closed else 'above'} {low:g}"
    elif high is not None and not (value <= high if closed else value < high).all():
        outside = f"must be {'at most' if closed else 'below'} {high:g}"
    if outside:
        told = f"{value:g}" if not value.shape else "the values given"
        raise Diagnostic("argument", f"'{name}' cannot be fixed at {told}", hint=f"it {outside}", where="fixed")
