"""Records: what a model hands on that is no tensor, as a cosmology or the particles of a simulation.

A record bundles values and numbers. It has a name in a model but is no site: it is neither kept nor observed, and only
functions that ask for it take it. They say so by their annotations, and `checked` holds their arguments to that.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, ParamSpec, TypeVar

from ir.build import diagnostic
from ir.errors import Diagnostic
from ir.graph import Value

P = ParamSpec("P")
R = TypeVar("R")


class Record:
    """A bundle of values. `kind` is what it is called in errors, `made_by` a call that makes one."""

    kind: ClassVar[str] = "a record"
    made_by: ClassVar[str] = ""
    table: ClassVar[dict[str, type[Record]]] = {}
    """Every record by the name of its class, as annotations have it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Record.table[cls.__name__] = cls


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Holds arguments to the records that a function's annotations ask for, `cosmo: Cosmology`, and no others to any.

    A mistake of its caller is placed where the model calls it.
    """
    if hasattr(function, "records"):
        return function
    signature = inspect.signature(function)
    wanted = {n: _record(str(p.annotation)) for n, p in signature.parameters.items()}

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        for name, x in signature.bind(*args, **kwargs).arguments.items():
            _check(function.__name__, name, x, wanted[name])
        try:
            return function(*args, **kwargs)
        except Diagnostic as error:
            raise error.at(diagnostic("argument", "").span) from None

    setattr(wrapped, "records", tuple(r for r, _ in wanted.values() if r is not None))  # noqa: B010
    return wrapped


def takes(function: Callable[..., Any]) -> tuple[type[Record], ...]:
    """The records that a function asks for."""
    return getattr(function, "records", ())


def makes_record(function: Callable[..., Any]) -> bool:
    """Whether a function says that what it returns is a record."""
    return str(inspect.signature(function).return_annotation) in Record.table


def _record(annotation: str) -> tuple[type[Record] | None, bool]:
    """The record that an annotation asks for, and whether something else will do as well."""
    words = [w.strip() for w in annotation.split("|")]
    found = next((Record.table[w] for w in words if w in Record.table), None)
    return found, found is None or len(words) > 1


def _check(function: str, name: str, x: Any, wanted: tuple[type[Record] | None, bool]) -> None:
    record, other = wanted
    if record is not None and isinstance(x, record):
        return
    if isinstance(x, Record):
        message = f"{function} takes {record.kind if record else 'a quantity'} as {name}, but got {x.kind}"
        raise diagnostic("type", message, hint=_hint(function, name, record))
    if other and (record is None or x is None or callable(x)):
        return
    assert record is not None
    what = f"a quantity with dims [{', '.join(x.dims)}]" if isinstance(x, Value) and x.dims else "a number"
    what = what if isinstance(x, Value | int | float) else f"'{x}'"
    message = f"{function} takes {record.kind} as {name}, but got {what}"
    raise diagnostic("type", message, hint=_hint(function, name, record))


def _hint(function: str, name: str, record: type[Record] | None) -> str:
    return f"make one: {record.made_by}" if record else f"give {function} a tensor or a number as {name}"


__all__ = ["Record", "checked", "makes_record", "takes"]
