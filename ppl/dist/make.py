"""Calling a distribution: the same argument checks for text models and for Python, one lesson per mistake.

    make("Normal", (), (0, 10), {})        what the text language calls
    Normal(0, 10), Normal(loc=0, scale=10), Dirichlet(2.0, event="k")        what Python users call

Both give a `DistCall`: the static distribution and its parameters in operand order.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from ir.build import diagnostic
from ir.errors import Diagnostic

from . import bounded, discrete, normal, positive, spellings, symmetric, vector
from .call import DistCall, bind, check_choice, check_event, check_order, check_parameter
from .family import DOMAINS, Family, Parameter, signature

FAMILIES: dict[str, type[Family]] = {
    cls.name: cls
    for module in (normal, symmetric, positive, bounded, discrete, vector)
    for cls in vars(module).values()
    if isinstance(cls, type) and issubclass(cls, Family) and "name" in vars(cls)
}
"""Every distribution of the language by name: a leaf in one of these files joins by being defined."""


def make(
    name: str, event: tuple[str, ...] = (), args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None
) -> DistCall:
    """A checked call of the distribution `name`; every mistake is a `Diagnostic` of kind "type"."""
    family = FAMILIES.get(name)
    if family is None:
        meant = spellings.distribution(name, FAMILIES)
        if meant:
            example = spellings.EXAMPLES.get(spellings.plain(name), FAMILIES[meant].example)
            hint = f"did you mean {meant}? For example {example}"
        else:
            hint = f"there are {', '.join(sorted(FAMILIES))}"
        raise diagnostic("type", f'unknown distribution "{name}"', hint=hint)
    check_event(family, event)
    given = bind(family, tuple(args), dict(kwargs or {}))
    check_choice(family, given)
    for p in family.parameters:
        if p.name in given:
            given[p.name] = check_parameter(family, p, given[p.name], event)
    check_order(family, given)
    try:
        dist = family.of(event, given)
    except Diagnostic as error:
        raise diagnostic(error.kind, error.message, hint=error.hint) from None
    return DistCall(dist, tuple(given[p.name] for p in family.parameters if p.name in given))


class Constructor:
    """What Python users call: `ppl.Normal(0, 10)`. Event dims are given as `event="k"`."""

    def __init__(self, family: type[Family]):
        self.family = family
        self.__name__ = self.__qualname__ = family.name
        self.__doc__ = "\n".join(reference(family))
        kinds = inspect.Parameter
        shown = [
            kinds(
                p.name,
                kinds.KEYWORD_ONLY if p.keyword else kinds.POSITIONAL_OR_KEYWORD,
                default=None if p.optional else kinds.empty,
            )
            for p in sorted(family.parameters, key=lambda p: (p.keyword, p.optional))
        ]
        if family.event_dims:
            shown.append(kinds("event", kinds.KEYWORD_ONLY))
        self.__signature__ = inspect.Signature(shown, return_annotation=DistCall)

    def __call__(self, *args: Any, event: str | tuple[str, ...] = (), **kwargs: Any) -> DistCall:
        return make(self.family.name, (event,) if isinstance(event, str) else tuple(event), args, kwargs)

    def __repr__(self) -> str:
        return f"<distribution {signature(self.family)}>"


def reference(family: type[Family]) -> list[str]:
    """The lines of a distribution's reference: what it is, its support, its parameters."""
    doc = inspect.cleandoc(family.__doc__ or "")
    lines = [signature(family), "", doc, "", f"Support: {family.lives_on}."]
    for p in family.parameters:
        how = " (by name)" if p.keyword else ""
        lines.append(f"{p.name}{how}: {p.doc}; {DOMAINS[p.domain][0]}.")
    return lines


def describe_all() -> list[dict[str, Any]]:
    """A row for each distribution, for the reference: name, call, sentence, support, example and parameters."""
    return [
        {
            "name": family.name,
            "call": signature(family),
            "doc": " ".join(inspect.cleandoc(family.__doc__ or "").split()),
            "support": family.lives_on,
            "discrete": family.discrete,
            "example": family.example,
            "parameters": [describe_parameter(p) for p in family.parameters],
        }
        for _, family in sorted(FAMILIES.items())
    ]


def describe_parameter(p: Parameter) -> dict[str, Any]:
    words = DOMAINS[p.domain][0]
    return {"name": p.name, "domain": words, "doc": p.doc, "by_name": p.keyword, "optional": p.optional}
