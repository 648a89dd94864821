"""A model with its data: sizes resolved, values checked, the program traced."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ir.errors import Diagnostic
from ir.graph import Program
from ir.ops.control import Scan
from ir.ops.sites import Observe
from ir.passes.condition import hold, latent_sites
from ir.passes.expand import improper_sites

from .fix import fixed_values
from .io.check import check_data
from .io.datum import Data
from .io.declare import Declaration
from .io.read import as_data
from .trace.model import Model

REAL = {"float32": "f32", "float64": "f64", "f32": "f32", "f64": "f64"}


@dataclass(frozen=True, eq=False)
class Bound:
    """What compilation starts from: `program` has sites, `data` are arrays in the declared order of dims.

    `fixed` names latents that are held: `program` has them as data, and `data` their values (see `ppl.fix`).
    """

    model: Model
    sizes: Mapping[str, int]
    coords: Mapping[str, np.ndarray]
    data: Mapping[str, np.ndarray] = field(repr=False)
    program: Program = field(repr=False)
    real: str = "f32"
    notes: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()

    @property
    def observed(self) -> dict[str, str]:
        """Observed sites and the data input that holds each one's values."""
        return dict(_observed(self.program, {i.name: i.name for i in self.program.inputs}))


def _observed(program: Program, inputs: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Observed sites and the data they come from; `inputs` says which data the inputs of a scan's body are parts of."""
    for node in program.nodes:
        if isinstance(node.op, Observe):
            name = node.operands[0].name
            yield node.op.site, inputs.get(name, name)
        if isinstance(node.op, Scan):
            inner = zip(node.op.region_operands(), node.operands, strict=True)
            yield from _observed(node.op.region, {v.name: inputs.get(o.name, o.name) for v, o in inner})


def bind(
    model: Model,
    data: Mapping[str, Any] | None = None,
    *,
    sizes: Mapping[str, int] | None = None,
    dtype: str = "float32",
    index_base: int = 0,
    fixed: Mapping[str, Any] | None = None,
    unobserved: bool = False,
) -> Bound:
    """Checks data against a model's declarations and traces the model. Every mistake is one `Diagnostic`.

    fixed: values of latents, in their own units, at which these are held. unobserved: what the model observes may be
    missing from the data, for predictions.
    """
    overrides = _check(model, sizes, dtype)
    base = {n: overrides.get(n, s.size) for n, s in model.dims.items() if s.rule is None}
    given = data if isinstance(data, Data) else as_data({} if data is None else data)
    declarations = _allow_missing(model, overrides, given)
    if unobserved:
        seen = _observed_names(model, overrides)
        declarations = tuple(d for d in declarations if d.name in given or d.name not in seen)
    checked = check_data(declarations, given, base, index_base)
    found = model.sizes(checked.dim_sizes, overrides)
    for name, size in checked.dim_sizes.items():
        if found.get(name, size) != size:
            raise Diagnostic(
                "data", f"dim '{name}' has size {size} in the data, but {found[name]} by the model's rules"
            )
    real = REAL[dtype]
    program = model.trace(found, real)
    types = {i.name: i.type for i in program.inputs}
    arrays = {n: np.asarray(d.value).astype(types[n].numpy) for n, d in checked.data.items()}
    held = fixed_values(program, fixed or {})
    program = hold(program, held) if held else program
    notes = (*checked.notes, *_improper_note(program))
    return Bound(model, found, checked.coords, arrays | held, program, real, notes, tuple(held))


def _improper_note(program: Program) -> tuple[str, ...]:
    sites = improper_sites(program)[0]
    if not sites:
        return ()
    names = ", ".join(f"'{s}'" for s in sites)
    have = "has an improper prior" if len(sites) == 1 else "have improper priors"
    start = "chains start there from unconstrained values between -2 and 2, unless init says otherwise"
    return (f"{names} {have}: nothing is drawn from the prior there; {start}",)


def _allow_missing(model: Model, sizes: Mapping[str, int], data: Data) -> tuple[Declaration, ...]:
    """The declarations, with those marked whose values stand under a `where` mask: there NaN is a missing value.

    Which ones these are, a trace tells; it is only made when there are missing values.
    """
    if not any(d.value.dtype.kind == "f" and np.isnan(d.value).any() for d in data.values()):
        return model.declarations
    program = _trial(model, sizes)
    if program is None:
        return model.declarations
    masked = {n.operands[0].name for n in program.walk() if isinstance(n.op, Observe) and n.op.masked}
    return tuple(
        dataclasses.replace(d, may_be_missing=d.may_be_missing or d.name in masked) for d in model.declarations
    )


def _observed_names(model: Model, sizes: Mapping[str, int]) -> set[str]:
    """The data that the model observes."""
    program = _trial(model, sizes)
    return (
        set() if program is None else set(dict(_observed(program, {i.name: i.name for i in program.inputs})).values())
    )


def _trial(model: Model, sizes: Mapping[str, int]) -> Program | None:
    """The model traced with some size for dims whose size is not known; None where it is wrong, which is told later."""
    open_dims = {n: 8 for n, s in model.dims.items() if s.rule is None and s.size is None and n not in sizes}
    try:
        return model.trace(model.sizes(open_dims, sizes))
    except Diagnostic:
        return None


def outline(
    model: Model,
    *,
    sizes: Mapping[str, int] | None = None,
    dtype: str = "float32",
    assumed: int | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> Bound:
    """A model without data, which is enough to check and to plan it; `assumed` is the size of dims that have none.

    Of the values in `fixed` only single numbers are checked: the sizes of others are not known.
    """
    overrides = _check(model, sizes, dtype)
    open_dims = [n for n, s in model.dims.items() if s.rule is None and s.size is None and n not in overrides]
    found = model.sizes({n: assumed for n in open_dims} if assumed is not None else {}, overrides)
    notes = (f"no data: {', '.join(open_dims)} checked with size {assumed}",) if open_dims else ()
    program = model.trace(found, REAL[dtype])
    if fixed:
        known = latent_sites(program)
        fixed_values(program, {n: v for n, v in fixed.items() if n not in known or not np.ndim(v)})
        program = hold(program, fixed)
    return Bound(model, found, {}, {}, program, REAL[dtype], notes, tuple(fixed or ()))


def _check(model: Model, sizes: Mapping[str, int] | None, dtype: str) -> dict[str, int]:
    """Guards what both ways of binding share; the sizes that the caller gives."""
    if not isinstance(model, Model):
        raise Diagnostic(
            "argument",
            f"expected a model, but got {type(model).__name__}",
            hint="decorate the function with @ppl.model, or load a text model: ppl.load('radon.ppl')",
        )
    if dtype not in REAL:
        raise Diagnostic("argument", f'unknown dtype "{dtype}"', hint="float32 or float64", where="dtype")
    overrides = dict(sizes or {})
    for name, size in overrides.items():
        spec = model.dims.get(name)
        if spec is None:
            known = ", ".join(model.dims) or "none"
            raise Diagnostic("argument", f"the model has no dim '{name}'", hint=f"its dims are {known}", where="--set")
        if spec.rule is not None:
            raise Diagnostic(
                "argument",
                f"the size of '{name}' follows from '{spec.of}'",
                hint=f"set {spec.of} instead",
                where="--set",
            )
        if size < 1:
            raise Diagnostic("argument", f"dim '{name}' cannot have size {size}", hint="at least 1", where="--set")
    return overrides
