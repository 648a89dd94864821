"""A model while it is being traced: its dims, what it has named so far, and the statements that name things.

The text language and Python models both end here, statement by statement; that is why they give the same program.
"""

from __future__ import annotations

import difflib
import linecache
import sys
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ir.build import Builder, as_value, cast, constant
from ir.dims import CHAIN, Dim, TensorType
from ir.errors import Diagnostic, Source, Span
from ir.graph import Value
from ir.ops.create import Broadcast
from ir.ops.sites import Deterministic, Factor, Limit, Observe, Sample

from ..dist.make import DistCall


@dataclass(frozen=True)
class DimSpec:
    """How a dim gets its size: a number, None (from the data), or a rule on another dim.

    Rules: "freq" (frequencies of a full transform of `of`: its size), "rfreq" (of a real transform: size // 2 + 1),
    "alias" (the same size under another name).
    """

    name: str
    size: int | None = None
    rule: str | None = None
    of: str | None = None
    span: Span | None = None

    def derived_size(self, of: int) -> int:
        return of // 2 + 1 if self.rule == "rfreq" else of


_contexts: ContextVar[tuple[Context, ...]] = ContextVar("contexts", default=())


class Context:
    """The state of one trace. Use as a context manager; `current_context()` finds it."""

    def __init__(self, builder: Builder, dims: Mapping[str, DimSpec], sizes: Mapping[str, int]):
        self.builder, self.specs, self.sizes = builder, dict(dims), dict(sizes)
        self.sites: dict[str, Span | None] = {}

    def __enter__(self) -> Context:
        _contexts.set((*_contexts.get(), self))
        self.builder.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.builder.__exit__(*error)
        _contexts.set(_contexts.get()[:-1])

    def error(self, message: str, hint: str | None = None, kind: str = "type") -> Diagnostic:
        return Diagnostic(kind, message, hint=hint).at(self.builder.where())

    def dim(self, name: str) -> Dim:
        """The declared dim of a name."""
        if name not in self.specs:
            near = difflib.get_close_matches(name, self.specs, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"declare it: dim {name}"
            raise self.error(f"unknown dim '{name}'", hint)
        return Dim(name, self.sizes[name])

    def dims(self, names: str | Iterable[str] | None) -> tuple[Dim, ...]:
        names = (names,) if isinstance(names, str) else tuple(names or ())
        for i, name in enumerate(names):
            if name in names[:i]:
                raise self.error(f"dim '{name}' is named twice")
        return tuple(self.dim(n) for n in names)

    def claim(self, site: str) -> None:
        """Takes a name for a site; a second use is an error that says where the first was."""
        if not site.isidentifier():
            raise self.error(
                f'"{site}" cannot name a site', "a name is letters, digits and _, and starts with a letter"
            )
        if site in self.sites:
            first = self.sites[site]
            raise self.error(
                f'"{site}" is defined twice' + (f"; first at {first}" if first else ""), "use another name"
            )
        self.sites[site] = self.builder.where()


def in_model() -> bool:
    """Whether a model is being traced."""
    return bool(_contexts.get())


def current_context() -> Context:
    """The model being traced; a `Diagnostic` outside one."""
    contexts = _contexts.get()
    if not contexts:
        raise Diagnostic(
            "type",
            "a model statement was used outside a model",
            hint="use it inside a function decorated with @ppl.model; it runs when the model is compiled",
        )
    return contexts[-1]


def sample(
    name: str,
    dist: DistCall,
    dims: str | Iterable[str] | None = None,
    *,
    noncentered: bool = False,
    generated: bool = False,
) -> Value:
    """A latent quantity; `dims` are its dims (default: those of the parameters, then the event dims).

    With `noncentered` it is sampled through a parameter-free draw (see `ir.passes.recentre`); with `generated` it is
    drawn after inference and does not enter the density.
    """
    context = current_context()
    call = _check_dist(context, name, dist)
    params = _params(context, call)
    if dims is None:
        found = dict.fromkeys(d.name for p in params for d in p.type.dims if d.name not in call.dist.inner())
        dims = (*(d for d in found if d not in call.dist.event), *call.dist.event)
    declared = context.dims(dims)
    for event in call.dist.event:
        if event not in [d.name for d in declared]:
            raise context.error(
                f"\"{name}\" lacks the event dim '{event}' of its distribution", f"write {name}[…, {event}]"
            )
    context.claim(name)
    op = Sample(name, call.dist, declared, context.builder.real, noncentered, generated)
    return context.builder.emit(op, *params)


def observe(name: str, dist: DistCall, value: Value, *, where: Value | None = None) -> None:
    """An observed quantity: `value` is data. Where the condition `where` does not hold, the observation is missing."""
    context = current_context()
    call = _check_dist(context, name, dist)
    if not isinstance(value, Value):
        raise context.error(f'the observed value of "{name}" is {type(value).__name__}, not data of the model')
    if value.type.dtype[0] in "iu" and not call.dist.discrete:
        value = cast(value, context.builder.real)
    elif value.type.dtype == "bool" and call.dist.discrete:
        value = cast(value, "i32")
    elif value.type.is_real and call.dist.discrete:
        raise context.error(
            f'"{name}" is real, but {call.dist.name} is a distribution of whole numbers', "declare the data as int"
        )
    operands = [value, *_params(context, call)]
    if where is not None:
        operands.append(_condition(context, name, where))
    context.claim(name)
    context.builder.emit(Observe(name, call.dist, context.builder.real, where is not None), *operands)


def _condition(context: Context, name: str, where: Value) -> Value:
    if where.type.dtype == "bool":
        return where
    if where.type.is_complex:
        raise context.error(f'the mask of "{name}" must be a condition or a number, not complex')
    zero = constant(0, where.type.dtype) if where.type.dtype[0] in "iu" else constant(0.0, where.type.dtype)
    return zero < where


def factor(name: str, value: Value | float) -> Value:
    """A term added to the log density, summed over all its dims."""
    context = current_context()
    context.claim(name)
    return context.builder.emit(Factor(name), as_value(value))


def deterministic(
    name: str, value: Any, dims: str | Iterable[str] | None = None, *, generated: bool = False, saved: bool = True
) -> Value:
    """A named quantity, kept with the draws if `saved`. `dims`, where given, must hold all dims of the value."""
    context = current_context()
    value = as_value(value)
    if dims is not None:
        value = conform(context, name, value, context.dims(dims))
    context.claim(name)
    return context.builder.emit(Deterministic(name, generated, saved), value)


def limit(name: str, need: Value, mesh: tuple[str, ...], reach: int, capacity: int, ownership: str) -> None:
    """What devices need to hold of particles, and may (`ir.ops.sites.Limit`): a run that needs more says so.

    The site's name gets a number where it is taken.
    """
    context, count, site = current_context(), 1, name
    while site in context.sites:
        count += 1
        site = f"{name}_{count}"
    context.claim(site)
    context.builder.emit(Limit(site, mesh, reach, capacity, ownership), need)


def conform(context: Context, name: str, value: Value, dims: tuple[Dim, ...]) -> Value:
    """A value with exactly the given dims: broadcast along those it lacks; one too many is an error that teaches."""
    names = [d.name for d in dims]
    for d in value.type.dims:
        if d.name not in names and d.name != CHAIN:
            left = f"{name}[{', '.join(names)}]" if names else name
            raise context.error(
                f'the right side has dim [{d.name}], which "{left}" does not have',
                f"add it on the left, index it (x[{d.name} = index]), or sum it: sum(…, over = {d.name})",
            )
    missing = tuple(d for d in dims if d.name not in value.type)
    return context.builder.emit(Broadcast(missing), value) if missing else value


def _check_dist(context: Context, name: str, dist: Any) -> DistCall:
    if not isinstance(dist, DistCall):
        raise context.error(
            f'"{name}" needs a distribution, but got {type(dist).__name__}', "for example ppl.Normal(0, 1)"
        )
    return dist


def _params(context: Context, call: DistCall) -> list[Value]:
    params = []
    for p in call.params:
        value = as_value(float(p) if isinstance(p, int) and not isinstance(p, bool) else p)
        if (
            value.type.dtype == "bool"
            or (value.type.dtype[0] in "iu" and not isinstance(p, Value))
            or value.type.dtype[0] in "iu"
        ):
            value = cast(value, context.builder.real)
        params.append(value)
    return params


def python_span() -> Span | None:
    """The user's line: the innermost frame outside this project."""
    frame = sys._getframe(1)
    while frame is not None:
        package = frame.f_globals.get("__name__", "").split(".")[0]
        if package not in ("ppl", "ir", "contextlib", "functools"):
            break
        frame = frame.f_back
    if frame is None:
        return None
    file, line = frame.f_code.co_filename, frame.f_lineno
    linecache.checkcache(file)  # a file that was edited since, as in a notebook, is read again
    source = Source(file, "".join(linecache.getlines(file)))
    positions = list(frame.f_code.co_positions())
    at = frame.f_lasti // 2
    if at < len(positions):
        l0, l1, c0, c1 = positions[at]
        if None not in (l0, l1, c0, c1):
            return Span(source, l0, _column(source, l0, c0), l1, _column(source, l1, c1))  # type: ignore[arg-type]
    text = source.line(line)
    indent = len(text) - len(text.lstrip())
    return Span(source, line, indent + 1, line, len(text) + 1)


def _column(source: Source, line: int, offset: int) -> int:
    """The column, from 1, of an offset that Python counts in bytes of UTF-8."""
    return len(source.line(line).encode()[:offset].decode(errors="ignore")) + 1


__all__ = [
    "Context",
    "DimSpec",
    "TensorType",
    "conform",
    "current_context",
    "deterministic",
    "factor",
    "observe",
    "python_span",
    "sample",
]
