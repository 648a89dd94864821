"""An inference program as it is written beside a model or on a command line, as data with places: nothing is made yet.

`map() >> gibbs(field = mclmc(), theta = nuts())` is a tuple of two calls; the values of the second one's options are
such tuples again. `make` turns the whole into options, and puts what is wrong at its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ir.errors import Diagnostic, Span

if TYPE_CHECKING:
    from .options import Common


@dataclass(frozen=True)
class Option:
    """`name = value`: a number, a truth value, a string, a tuple of names, or a `Written` program.

    `where` names the option of the command line that it comes from, where it has no span.
    """

    name: str
    value: Any
    span: Span | None = None
    where: str | None = None


@dataclass(frozen=True)
class Call:
    """One algorithm with its options: `nuts(draws = 500)`; `name_span` is the place of its name."""

    name: str
    options: tuple[Option, ...] = ()
    span: Span | None = None
    name_span: Span | None = None


Written = tuple[Call, ...]
"""Stages in their order."""


def make(program: Written) -> Common:
    """The options of a program; every mistake in it is a `Diagnostic` at its place."""
    from .stages import check_goes_before

    made: Common | None = None
    for call in program:
        stage = _call(call)
        try:
            if call is not program[-1]:
                check_goes_before(stage)
            made = stage if made is None else made >> stage
        except Diagnostic as error:
            raise error.at(call.span) from None
    assert made is not None, "a program has a stage"
    return made


def _call(call: Call) -> Common:
    from .program import from_options

    options = {o.name: make(o.value) if is_program(o.value) else o.value for o in call.options}
    try:
        return from_options(call.name, options)
    except Diagnostic as error:
        # The options are asked first that stand on a command line: the model's were right before.
        asked = sorted(call.options, key=lambda o: o.where is None)
        for option in asked:
            if re.search(rf"\b{re.escape(option.name)}\b", error.message.removeprefix(f"{call.name}: ")):
                error.where = option.where
                raise error.at(option.span) from None
        raise error.at(call.name_span or call.span) from None


def is_program(value: Any) -> bool:
    """Whether an option's value is a program of its own."""
    return isinstance(value, tuple) and bool(value) and all(isinstance(x, Call) for x in value)


def override(program: Written, options: Mapping[str, Option]) -> Written:
    """The program with further options of its last stage on top; the number of chains counts for all stages."""
    chains = {n: o for n, o in options.items() if n == "chains"}
    *first, last = program
    return (*(_override(call, chains) for call in first), _override(last, options))


def _override(call: Call, options: Mapping[str, Option]) -> Call:
    kept = tuple(o for o in call.options if o.name not in options)
    return replace(call, options=(*kept, *options.values()))


def place_of(program: Written, option: str, value: str) -> Span | None:
    """Where an option holds a name, anywhere in a program."""
    for call in program:
        for o in call.options:
            if is_program(o.value):
                found = place_of(o.value, option, value)
                if found is not None:
                    return found
            elif o.name == option and (o.value == value or (isinstance(o.value, tuple) and value in o.value)):
                return o.span
    return None
