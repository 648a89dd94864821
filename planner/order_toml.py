"""Orders as the entries of a plan file's tables, read and written.

[pin]                            [ban]                             [prefer]
delta = { x = "row", y = "" }    delta = { x = "col" }             delta = { x = "row", within = 0.05 }
beta = "whole"                   beta = ["x/row", "x/row, y/col"]  beta = { layout = "whole", within = "2%" }
gamma = "x/row, y/col"           chain = "whole"                   chain = "row"
chain = "row"
total = "whole; sum over row"
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ir.dims import CHAIN
from ir.errors import Diagnostic

from .orders import WITHIN, Ban, Pin, Preference, is_layout, margin_text, parse_pin, read_margin
from .recompute import Again


def read_pin(name: str, found: Any, where: str, word: str = "pin") -> Pin:
    """The pin (or what a ban or a preference speaks of) that an entry gives; a `Diagnostic` at `where`."""
    if isinstance(found, dict) and found:
        split = {d: _read_axes(name, d, axes, where, word) for d, axes in found.items()}
        return Pin(name, tuple(split.items()), where=where)
    if isinstance(found, str) and is_layout(found) and name != CHAIN:
        return Pin.laid_out(name, found, where)
    if isinstance(found, str):
        return parse_pin(f"{name}:{found}", where, word)
    more = {"pin": "", "ban": ", or a list of such", "preference": ', or { x = "row", within = 0.05 }'}[word]
    raise Diagnostic(
        "plan",
        f"the {word} of '{name}' is {found!r}",
        where=where,
        hint=f'write {name} = {{ x = "row" }} or "whole"{more}',
    )


def read_bans(name: str, found: Any, where: str) -> list[Ban]:
    """The bans of one entry: one, or a list of them."""
    return [Ban(read_pin(name, each, where, "ban")) for each in _several(found)]


def read_preferences(name: str, found: Any, where: str) -> list[Preference]:
    """The preferences of one entry: one, or a list of them, the most wanted first."""
    return [_read_preference(name, each, where) for each in _several(found)]


def _several(found: Any) -> list[Any]:
    return found if isinstance(found, list) and found else [found]


def _read_preference(name: str, found: Any, where: str) -> Preference:
    if not isinstance(found, dict):
        return Preference(read_pin(name, found, where, "preference"))
    rest = {key: entry for key, entry in found.items() if key != "within"}
    within = read_margin(found["within"], where) if "within" in found else WITHIN
    layout = rest.get("layout") if len(rest) == 1 else None
    if isinstance(layout, str) and (name == CHAIN or is_layout(layout)):
        rest = layout
    return Preference(read_pin(name, rest, where, "preference"), within)


def _read_axes(name: str, dim: str, found: Any, where: str, word: str) -> tuple[str, ...]:
    if isinstance(found, str):
        return tuple(a.strip() for a in found.split("+")) if found.strip() else ()
    if isinstance(found, list) and all(isinstance(a, str) for a in found):
        return tuple(found)
    raise Diagnostic(
        "plan",
        f"the {word} of '{name}' gives dim '{dim}' the axes {found!r}",
        where=where,
        hint=f'write {dim} = "row" or "row+col"',
    )


def read_again(name: str, found: Any, where: str) -> Again:
    """The entry of [recompute] for a value: the nodes that take its second copy, or "all"."""
    if found == "all":
        return Again(name, None, where)
    several = [found] if isinstance(found, str) else found
    if isinstance(several, list) and several and all(isinstance(each, str) for each in several):
        return Again(name, tuple(several), where)
    hint = f'write {toml_key(name)} = "all" or the nodes that take it: ["12", "15"]; leave the line out to keep it'
    raise Diagnostic("plan", f"'{name}' is computed again for {found!r}", where=where, hint=hint)


def recompute_lines(chosen: Mapping[str, Sequence[str]], shown: Mapping[str, str], own: Mapping[str, str]) -> list[str]:
    """What is computed again as lines, in the names of [keep]."""

    def name(value: str) -> str:
        return shown.get(value, own.get(value, value))

    return [
        f"{toml_key(name(value))} = [{', '.join(_text(shown.get(c, c)) for c in consumers)}]"
        for value, consumers in chosen.items()
    ]


def toml_key(name: str) -> str:
    """A name as a key: bare where TOML lets it be."""
    if re.fullmatch(r"[\w-]+", name, re.ASCII):
        return name
    return _text(name)


def _text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def pin_lines(pins: Iterable[Pin]) -> list[str]:
    """Pins as lines; of several for one value all of them, joined."""
    return [f"{toml_key(name)} = {_entry(_joined(found))}" for name, found in _by_value(pins).items()]


def ban_lines(bans: Iterable[Ban]) -> list[str]:
    return [f"{toml_key(n)} = {_listed([_entry(b.pin) for b in found])}" for n, found in _by_value(bans).items()]


def preference_lines(preferences: Iterable[Preference]) -> list[str]:
    return [f"{toml_key(n)} = {_listed([_wished(p) for p in found])}" for n, found in _by_value(preferences).items()]


def _by_value(orders: Iterable[Any]) -> Mapping[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for order in orders:
        found.setdefault(order.pin.value, []).append(order)
    return found


def _joined(pins: list[Pin]) -> Pin:
    """One pin that says what several for a value say, which do not contradict each other."""
    split = {d: axes for pin in pins for d, axes in pin.split}
    open_ = next((p for p in pins if p.partial is not None), pins[0])
    whole = any(p.whole for p in pins)
    return Pin(pins[0].value, tuple(split.items()), whole, open_.partial, pins[0].where, open_.reduce)


def _listed(entries: list[str]) -> str:
    return entries[0] if len(entries) == 1 else f"[{', '.join(entries)}]"


def _entry(pin: Pin) -> str:
    """What stands right of the equals sign."""
    if pin.is_chain or pin.whole:
        return f'"{pin.text}"'
    return f"{{ {_pairs(pin)} }}"


def _wished(preference: Preference) -> str:
    pin = preference.pin
    margin = margin_text(preference.within) if preference.within <= 1 else f'"{margin_text(preference.within)}"'
    what = f"layout = {_entry(pin)}" if pin.is_chain or pin.whole else _pairs(pin)
    return f"{{ {what}, within = {margin} }}"


def _pairs(pin: Pin) -> str:
    return ", ".join(f'{toml_key(d)} = "{"+".join(axes)}"' for d, axes in pin.split)
