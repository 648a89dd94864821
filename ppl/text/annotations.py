"""What may be said of a statement after it: `@noncentered`, `@where(mask)`, `@nosave`, and of a scan `@checkpoint`."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ir.build import as_value

from . import ast

if TYPE_CHECKING:
    from .elaborate import _Elaboration


@dataclass(frozen=True)
class _Kind:
    """One annotation: how it is written, how many arguments it has, and where it stands."""

    written: str
    arguments: tuple[int, ...]
    home: str


_KINDS = {
    "noncentered": _Kind("@noncentered", (0,), "on a quantity with ~"),
    "where": _Kind("@where(mask), with the condition that holds where there are data", (1,), "on a quantity with ~"),
    "nosave": _Kind("@nosave", (0,), "on a quantity with ="),
    "checkpoint": _Kind("@checkpoint, or @checkpoint(every = 8)", (0, 1), "after the } of a scan"),
}
_KNOWN = "the annotations are @noncentered, @where(mask) and @nosave, and @checkpoint after a scan"
_NUMBER = "write for example @checkpoint(every = 8), or @checkpoint to have the number chosen"


def read_annotations(model: _Elaboration, s: Any, allowed: tuple[str, ...]) -> dict[str, Any]:
    """The annotations of a statement by name: True, or the value that one is given.

    Of `@checkpoint` that is the number of steps between two kept states; True leaves it open.
    """
    found: dict[str, Any] = {}
    for a in s.annotations:
        name = a.name.text
        if name not in allowed:
            near = difflib.get_close_matches(name, _KINDS, 1)
            hint = f"did you mean @{near[0]}?" if near else _KNOWN
            hint = f"it stands {_KINDS[name].home}" if name in _KINDS else hint
            raise model.at(a.span, f"@{name} is not an annotation that can stand here", hint)
        if name in found:
            raise model.at(a.span, f"@{name} stands twice", "take one of them away")
        if len(a.arguments) not in _KINDS[name].arguments:
            message = f"@{name} cannot stand with {len(a.arguments)} arguments"
            raise model.at(a.span, message, f"write {_KINDS[name].written}")
        if not a.arguments:
            found[name] = True
        else:
            (argument,) = a.arguments
            found[name] = _every(model, argument) if name == "checkpoint" else as_value(model.expr(argument))
    return found


def _every(model: _Elaboration, argument: ast.Argument) -> int:
    """The number in `@checkpoint(every = 8)`: whole, and at least 1."""
    is_every = isinstance(argument, ast.Keyword) and argument.name.text == "every"
    if not is_every or isinstance(argument.value, ast.NameList):
        raise model.at(argument.span, "@checkpoint is told every how many steps a state is kept", _NUMBER)
    number = model.expr(argument.value)
    if isinstance(number, bool) or not isinstance(number, int | float) or number < 1 or number != int(number):
        shown = f"{number:g}" if isinstance(number, int | float) else "this"
        raise model.at(argument.value.span, f"{shown} is no number of steps: it is whole and at least 1", _NUMBER)
    return int(number)


__all__ = ["read_annotations"]
