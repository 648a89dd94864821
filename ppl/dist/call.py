"""The arguments of a call of a distribution, checked: one lesson per mistake, each a `Diagnostic` of kind "type"."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ir.build import diagnostic
from ir.dist import Distribution
from ir.errors import Diagnostic
from ir.graph import Value

from . import spellings
from .family import DOMAINS, Family, Parameter, signature


@dataclass(frozen=True, eq=False)
class DistCall:
    """A distribution with its parameters: values of the program or numbers, in the order of the operands."""

    dist: Distribution
    params: tuple[Value | float, ...]

    def __str__(self) -> str:
        names = ", ".join(map(str, self.params))
        event = f"[{', '.join(self.dist.event)}]" if self.dist.event else ""
        return f"{self.dist.name}{event}({names})"


def check_event(family: type[Family], event: tuple[str, ...]) -> None:
    """Refuses event dims where there are none, and a missing one."""
    name, wanted, shown = family.name, family.event_dims, ", ".join(event)
    if len(event) == wanted:
        return
    if not wanted:
        hint = f"dims of independent draws stand on the left: x[{shown}] ~ {family.example}"
        raise diagnostic("type", f"{name} has no dim of its own, but got [{shown}]", hint=hint)
    if len(event) > 1:
        raise diagnostic(
            "type", f"{name} runs along one dim, but got [{', '.join(event)}]", hint=f"as in {family.example}"
        )
    inside = family.example.partition("(")[2]
    raise diagnostic(
        "type",
        f"{name} needs the dim that it runs along",
        hint=f'write {family.example} with your dim for k; in Python ppl.{name}({inside[:-1]}, event="k")',
    )


def bind(family: type[Family], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by parameter name."""
    name, parameters = family.name, family.parameters
    positional = [p for p in parameters if not p.keyword]
    if len(args) > len(positional):
        raise too_many(family, args, kwargs, positional)
    given: dict[str, Any] = {p.name: value for p, value in zip(positional, args, strict=False)}
    known = [p.name for p in parameters]
    for key, value in kwargs.items():
        if key not in known:
            raise unknown_parameter(family, key, known)
        if key in given:
            where = f"as argument {list(given).index(key) + 1} and by name"
            raise diagnostic("type", f"{key} of {name} is given twice: {where}", hint=f"as in {family.example}")
        given[key] = value
    missing = [p.name for p in parameters if not p.optional and p.name not in given]
    if missing:
        listed = " and ".join(missing)
        raise diagnostic("type", f"{name} lacks {listed}", hint=f"{signature(family)}, for example {family.example}")
    return given


def too_many(
    family: type[Family], args: tuple[Any, ...], kwargs: Mapping[str, Any], positional: list[Parameter]
) -> Diagnostic:
    """The lesson about an argument that must be named, or that is one too many."""
    name = family.name
    free = [p for p in family.parameters if p.keyword and p.name not in kwargs]
    if not free:
        takes = f"{len(positional)} argument{'s' * (len(positional) != 1)}" if positional else "no arguments"
        message = f"{name} takes {takes} by position, but got {len(args)}"
        return diagnostic("type", message, hint=signature(family))
    must = " or ".join(p.name for p in free) if family.one_of or family.some_of else " and ".join(p.name for p in free)
    return diagnostic("type", f"{must} of {name} must be named: {family.why_named}", hint=f"write {family.example}")


def unknown_parameter(family: type[Family], key: str, known: list[str]) -> Diagnostic:
    meant, how = spellings.parameter(key, known, family.name)
    if how:
        hint = f"write {how}"
    elif meant:
        hint = f"did you mean {meant}? {signature(family)}"
    else:
        hint = f"it is called as {signature(family)}"
    return diagnostic("type", f'{family.name} has no parameter "{key}"', hint=hint)


def check_choice(family: type[Family], given: Mapping[str, Any]) -> None:
    """Holds a call to `one_of` and `some_of`."""
    name = family.name
    chosen = [n for n in family.one_of if n in given]
    if len(chosen) > 1:
        raise diagnostic(
            "type",
            f"{name} got both {' and '.join(chosen)}, which say the same",
            hint=f"give one, as in {family.example}",
        )
    if family.one_of and not chosen:
        raise diagnostic("type", f"{name} lacks {' or '.join(family.one_of)}", hint=f"for example {family.example}")
    if family.some_of and not any(n in given for n in family.some_of):
        raise diagnostic("type", f"{name} lacks {' or '.join(family.some_of)}", hint=f"for example {family.example}")


def check_parameter(family: type[Family], p: Parameter, value: Any, event: tuple[str, ...]) -> Value | float:
    """A parameter as a value or a float; a number that is written as it is must lie in the parameter's domain."""
    name = family.name
    if isinstance(value, Value):
        if value.type.is_complex:
            raise diagnostic(
                "type", f"{p.name} of {name} must be real, but it is complex", hint="take real(x) or abs(x)"
            )
        if p.domain == "count" and value.type.is_real:
            raise diagnostic(
                "type",
                f"{p.name} of {name} must hold whole numbers, but it is real",
                hint="declare it as int: a number of trials is data, and has no gradient",
            )
        if p.domain == "vector" and event[0] not in value.type:
            have = ", ".join(value.dims) or "no dims"
            raise diagnostic(
                "type",
                f"{p.name} of {name}[{event[0]}] must have dim '{event[0]}': one number per category; it has [{have}]",
                hint=f"as in {family.example}",
            )
        return value
    if isinstance(value, DistCall):
        raise diagnostic(
            "type",
            f"{p.name} of {name} is a distribution, not a number",
            hint=f"name the quantity first: {p.name} ~ {value.dist.name}(…), then use {p.name} here",
        )
    if not is_number(value):
        raise diagnostic(
            "type",
            f"{p.name} of {name} is {describe(value)}, not a number",
            hint="arrays enter a model as data, numbers can be written as they are",
        )
    number = float(value if not hasattr(value, "item") else value.item())
    words, holds = DOMAINS[p.domain]
    if not holds(number):
        raise diagnostic("type", f"{p.name} of {name} must be {words}, but it is {number:g}", hint=domain_hint(p))
    return number


def is_number(x: Any) -> bool:
    if isinstance(x, bool):
        return False
    return isinstance(x, numbers.Real) or (getattr(x, "ndim", 1) == 0 and x.dtype.kind in "fiu")


def describe(x: Any) -> str:
    shape = getattr(x, "shape", None)
    return f"an array of shape {shape}" if shape is not None else f"{type(x).__name__} {x!r}"[:60]


def domain_hint(p: Parameter) -> str | None:
    if p.domain == "real":
        return "leave a bound out to have none" if p.optional else "write a finite number"
    if p.name == "scale":
        return "the scale is a width, such as a standard deviation"
    if p.domain == "unit":
        return "give logits for a number on the whole line"
    if p.domain in ("vector", "matrix"):
        return f"declare it with its dims, as data or as a latent quantity: {p.doc}"
    return f"{p.name} is {p.doc}"


def check_order(family: type[Family], given: Mapping[str, Any]) -> None:
    """Two numbers in the wrong order."""
    if family.increasing is None:
        return
    low, high = (given.get(n) for n in family.increasing)
    if isinstance(low, float) and isinstance(high, float) and not low < high:
        names = " must be less than ".join(family.increasing)
        raise diagnostic(
            "type", f"{names} of {family.name}, but they are {low:g} and {high:g}", hint="exchange them, or correct one"
        )
