"""Orders: the user's word on where values live, and how it is written.

A *pin* says which mesh axes split the dims of a value *as it leaves the node that makes it* (an input: as it arrives).
Dims that it does not mention are the planner's to choose; what consumers want is reached from there by reshards, which
are priced as ever. A *ban* forbids what the same words would pin. A *preference* is a pin that holds only where the
plan with it takes at most `within` (a fraction) longer than the best plan without preferences. `chain:row` and
`chain:whole` speak of the chain dim of the whole program.

    delta:x=row        delta:x=row+col,y=                  delta:whole          chain:row          %12:n=row
    ban delta:x=col    prefer delta:x=row,within=0.05      delta:x/row, y/col   (a whole layout: no other dim is split)
    total:whole; sum over row                              total:whole; summed  (left open over these axes, over none)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ir.dims import CHAIN
from ir.errors import Diagnostic
from ir.layout import Axes, Layout

WITHIN = 0.05
"""The margin of a preference that states none."""
SUMMED = "summed"
"""Said of a value that is not to be a partial sum."""


@dataclass(frozen=True)
class Pin:
    """One value's dims and the axes that split them; `whole`: every other dim is whole.

    `partial` is None where the value may also be a partial sum (`reduce`: or maximum, minimum), as a reduction over a
    split dim leaves it.
    """

    value: str
    split: tuple[tuple[str, Axes], ...] = ()
    whole: bool = False
    partial: frozenset[str] | None = None
    where: str = "pin"
    reduce: str = "sum"
    word = verb = "pin"

    @classmethod
    def of(cls, value: str, split: Mapping[str, str | Sequence[str]] | str, where: str = "pin") -> Pin:
        """From Python: `Pin.of("delta", {"x": "row", "y": ["col"]})` or `Pin.of("beta", "whole")`."""
        if isinstance(split, str):
            return parse_pin(f"{value}:{split}", where)
        pairs = ((d, _axes(a) if isinstance(a, str) else tuple(a)) for d, a in split.items())
        return cls(value, tuple(pairs), where=where)

    @classmethod
    def exact(cls, value: str, layout: Layout, where: str = "keep") -> Pin:
        """The pin that only this layout satisfies."""
        return cls(value, layout.splits, True, layout.partial, where, layout.reduce)

    @classmethod
    def laid_out(cls, value: str, text: str, where: str = "pin") -> Pin:
        """The pin of a whole layout as text: `x/row, y/col`, `whole; sum over row`, `whole; summed`."""
        head, _, tail = text.partition(";")
        if tail.strip() == SUMMED:
            return cls(value, parse_layout(head, where).splits, True, frozenset(), where)
        layout = parse_layout(text, where)
        return cls(value, layout.splits, True, layout.partial or None, where, layout.reduce)

    @property
    def pin(self) -> Pin:
        return self

    @property
    def is_chain(self) -> bool:
        return self.value == CHAIN

    def allows(self, layout: Layout) -> bool:
        if any(layout.axes(d) != axes for d, axes in self.split):
            return False
        if self.whole and len(layout.splits) != sum(bool(axes) for _, axes in self.split):
            return False
        return self.partial is None or (layout.partial, layout.reduce) == (self.partial, self.reduce)

    def __str__(self) -> str:
        return f"{self.value}:{self.text}"

    @property
    def text(self) -> str:
        """What it says of the value."""
        if self.is_chain:
            return "+".join(dict(self.split)[CHAIN]) or "whole"
        if not self.whole:
            return ",".join(f"{d}={'+'.join(axes)}" for d, axes in self.split)
        layout = layout_text(Layout.of(dict(self.split), self.partial or (), self.reduce))
        return f"{layout}; {SUMMED}" if self.partial == frozenset() else layout


@dataclass(frozen=True)
class Ban:
    """What must not be: the layouts that the pin would allow."""

    pin: Pin
    word = verb = "ban"

    @property
    def where(self) -> str:
        return self.pin.where

    def allows(self, layout: Layout) -> bool:
        return not self.pin.allows(layout)

    def __str__(self) -> str:
        return f"ban {self.pin}"


@dataclass(frozen=True)
class Preference:
    """A pin that holds where the whole plan then costs at most `1 + within` times the best plan."""

    pin: Pin
    within: float = WITHIN
    word, verb = "preference", "prefer"

    @property
    def where(self) -> str:
        return self.pin.where

    def __str__(self) -> str:
        return f"prefer {self.pin},within={margin_text(self.within)}"


Order = Pin | Ban | Preference


class Unsatisfiable(Diagnostic):
    """No plan satisfies the orders; `planner.ask.conflict` finds the smallest set of them that is to blame."""

    def __init__(self, message: str, **rest: Any):
        super().__init__("plan", message, **rest)


def without_chains(orders: Iterable[Order | str]) -> tuple[Order, ...]:
    """What orders say of a program without a chain dim: pins and preferences of other dims, and bans of these alone."""
    found: list[Order] = []
    for order in map(parse_order, orders):
        pin = order.pin
        rest = replace(pin, split=tuple(part for part in pin.split if part[0] != CHAIN))
        if pin.is_chain or (rest != pin and (isinstance(order, Ban) or not (rest.split or rest.whole))):
            continue
        found.append(rest if isinstance(order, Pin) else replace(order, pin=rest))
    return tuple(found)


def _axes(text: str) -> Axes:
    return tuple(a.strip() for a in text.split("+")) if text.strip() else ()


def layout_text(layout: Layout) -> str:
    """A layout as plan files write it: `x/row+col, y/col`, `whole`, `whole; sum over row`."""
    return str(layout)[1:-1]


def parse_layout(text: str, where: str = "layout") -> Layout:
    """The inverse of `layout_text`."""
    head, _, tail = text.partition(";")
    splits = (
        [] if head.strip() == "whole" else [re.fullmatch(r"\s*(\w+)/(\w+(?:\+\w+)*)\s*", p) for p in head.split(",")]
    )
    partial = re.fullmatch(r"\s*(sum|max|min) over (\w+(?:,\s*\w+)*)\s*", tail) if tail.strip() else None
    if not all(splits) or (tail.strip() and partial is None):
        raise Diagnostic(
            "plan", f'cannot read the layout "{text}"', where=where, hint="write x/row+col, y/col or whole"
        )
    split = {m[1]: tuple(m[2].split("+")) for m in splits if m}
    if partial is None:
        return Layout.of(split)
    return Layout.of(split, tuple(a.strip() for a in partial[2].split(",")), partial[1])


def is_layout(text: str) -> bool:
    """Whether a text is meant as a whole layout, not as the axes of some dims."""
    return "/" in text or text.split(";")[0].strip() == "whole"


def parse_pin(text: str, where: str = "pin", word: str = "pin") -> Pin:
    """A pin from its text form; a `Diagnostic` shows the form."""
    name, colon, rest = (part.strip() for part in text.partition(":"))
    if name == CHAIN and re.fullmatch(r"\w+(\s*\+\s*\w+)*", rest):
        return Pin(CHAIN, ((CHAIN, () if rest == "whole" else _axes(rest)),), where=where)
    if colon and name and name != CHAIN and is_layout(rest):
        return Pin.laid_out(name, rest, where)
    parts = [re.fullmatch(r"\s*(\w+)\s*=\s*((?:\w+(?:\s*\+\s*\w+)*)?)\s*", part) for part in rest.split(",")]
    if not colon or not name or not all(parts) or name == CHAIN:
        raise Diagnostic(
            "plan",
            f'cannot read the {word} "{text}"',
            where=where,
            hint="write delta:x=row, delta:x=row+col,y=, delta:x/row, delta:whole, delta:whole; sum over row "
            "or chain:row",
        )
    split = [(m[1], _axes(m[2])) for m in parts if m]
    if len(dict(split)) < len(split):
        twice = next(d for d, _ in split if [e for e, _ in split].count(d) > 1)
        raise Diagnostic(
            "plan", f"the {word} \"{text}\" names dim '{twice}' twice", where=where, hint="give each dim its axes once"
        )
    return Pin(name, tuple(split), where=where)


def parse_ban(text: str, where: str = "ban") -> Ban:
    """A ban from the text of what it forbids: `delta:x=col`."""
    return Ban(parse_pin(text, where, "ban"))


def parse_preference(text: str, where: str = "prefer") -> Preference:
    """A preference from its text form: `delta:x=row`, `delta:whole,within=0.05`, `delta:x=row,within=5%`."""
    found = re.fullmatch(r"(.*?)\s*,\s*within\s*=\s*([\d.][^,]*|-[^,]*)", text)
    if found is None:
        return Preference(parse_pin(text, where, "preference"))
    return Preference(parse_pin(found[1], where, "preference"), read_margin(found[2].strip(), where))


def margin_text(within: float) -> str:
    """A margin as `read_margin` takes it."""
    return f"{within:g}" if within <= 1 else f"{100 * within:g}%"


def read_margin(found: object, where: str) -> float:
    """A preference's margin: a fraction up to 1, or a text that may also be a percentage (`"5%"`)."""
    number, percent = found, False
    if isinstance(found, str):
        text, percent = found.removesuffix("%").strip(), found.endswith("%")
        try:
            number = float(text) / (100 if percent else 1)
        except ValueError:
            number = None
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < math.inf:
        shown = f'"{found}"' if isinstance(found, str) else repr(found)
        hint = 'write within = 0.05 or within = "5%": the share of the best plan\'s time that it may cost'
        raise Diagnostic("plan", f"the margin of a preference is {shown}", where=where, hint=hint)
    if number > 1 and not percent:
        meant = f'write "{number:g}%", or "{100 * number:g}%" if you mean that'
        hint = f"within is a fraction of the best plan's time: {meant}"
        raise Diagnostic("plan", f"the margin of a preference is {number:g}", where=where, hint=hint)
    return float(number)


def parse_order(text: str | Order, where: str = "pin") -> Order:
    """Any order from its text form, as `str` of it gives it and `Plan.pins` keeps it."""
    if not isinstance(text, str):
        return text
    found = re.fullmatch(r"\s*(ban|prefer)\s+(\S.*)", text)
    if found is None:
        return parse_pin(text, where)
    return parse_ban(found[2]) if found[1] == "ban" else parse_preference(found[2])


def firm(orders: Iterable[Order]) -> tuple[Pin | Ban, ...]:
    """The orders that hold in any case: all but the preferences."""
    return tuple(o for o in orders if not isinstance(o, Preference))
