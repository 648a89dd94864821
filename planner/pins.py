"""Pins: the user's word on where a value lives.

A pin says which mesh axes split the dims of a value *as it leaves the node that makes it* (an input: as it arrives).
Dims that it does not mention are the planner's to choose; what consumers want is reached from there by reshards, which
are priced as ever. `chain:row` and `chain:whole` pin the chain dim of the whole program.

    delta:x=row          delta:x=row+col,y=          delta:whole          chain:row          %12:n=row
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ir.dims import CHAIN
from ir.errors import Diagnostic
from ir.graph import Program, Value
from ir.layout import Axes, Layout
from ir.mesh import Mesh


@dataclass(frozen=True)
class Pin:
    """One value's dims and the axes that split them; `whole`: every other dim is whole.

    `partial` is None where the value may also be a partial sum, as a reduction over a split dim leaves it.
    """

    value: str
    split: tuple[tuple[str, Axes], ...] = ()
    whole: bool = False
    partial: frozenset[str] | None = None
    where: str = "pin"

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
        return cls(value, layout.splits, True, layout.partial, where)

    @property
    def is_chain(self) -> bool:
        return self.value == CHAIN

    def allows(self, layout: Layout) -> bool:
        if any(layout.axes(d) != axes for d, axes in self.split):
            return False
        if self.whole and len(layout.splits) != sum(bool(axes) for _, axes in self.split):
            return False
        return self.partial is None or layout.partial == self.partial

    def __str__(self) -> str:
        if self.is_chain:
            return f"{CHAIN}:{'+'.join(dict(self.split)[CHAIN]) or 'whole'}"
        shown = ",".join(f"{d}={'+'.join(axes)}" for d, axes in self.split)
        return f"{self.value}:{shown or 'whole'}"


def _axes(text: str) -> Axes:
    return tuple(a.strip() for a in text.split("+")) if text.strip() else ()


def parse_pin(text: str, where: str = "pin") -> Pin:
    """A pin from its text form; a `Diagnostic` shows the form."""
    name, colon, rest = (part.strip() for part in text.partition(":"))
    if name == CHAIN and re.fullmatch(r"\w+(\s*\+\s*\w+)*", rest):
        return Pin(CHAIN, ((CHAIN, () if rest == "whole" else _axes(rest)),), where=where)
    if colon and name and rest == "whole":
        return Pin(name, whole=True, where=where)
    parts = [re.fullmatch(r"\s*(\w+)\s*=\s*((?:\w+(?:\s*\+\s*\w+)*)?)\s*", part) for part in rest.split(",")]
    if not colon or not name or not all(parts) or name == CHAIN:
        raise Diagnostic(
            "plan",
            f'cannot read the pin "{text}"',
            where=where,
            hint="write delta:x=row, delta:x=row+col,y=, delta:whole or chain:row",
        )
    split = [(m[1], _axes(m[2])) for m in parts if m]
    if len(dict(split)) < len(split):
        twice = next(d for d, _ in split if [e for e, _ in split].count(d) > 1)
        raise Diagnostic(
            "plan", f"the pin \"{text}\" names dim '{twice}' twice", where=where, hint="give each dim its axes once"
        )
    return Pin(name, tuple(split), where=where)


@dataclass(frozen=True)
class Rules:
    """Checked pins, by the names of the program's values."""

    pins: Mapping[str, tuple[Pin, ...]]
    chain: Axes | None = None
    """The axes that a chain pin gives; None without one."""

    def allow(self, value: Value, layout: Layout) -> bool:
        return all(pin.allows(layout) for pin in self.pins.get(value.name, ()))


def check_pins(pins: Iterable[Pin | str], program: Program, names: Mapping[str, str], mesh: Mesh) -> Rules:
    """The pins as rules, or a `Diagnostic` for the first that cannot be meant."""
    found: dict[str, list[Pin]] = {}
    chain: Pin | None = None
    for pin in (parse_pin(p) if isinstance(p, str) else p for p in pins):
        _check_axes(pin, mesh)
        if pin.is_chain:
            chain = _check_chain(pin, chain, program, mesh)
            continue
        value = find_value(pin.value, program, names, f"the pin {pin}", pin.where)
        for dim, axes in pin.split:
            if dim in value.type and value.type[dim] == 1 and axes:
                raise Diagnostic(
                    "plan",
                    f"the pin {pin} splits '{dim}', which has one element",
                    where=pin.where,
                    hint="leave that dim whole",
                )
            if dim not in value.type:
                raise Diagnostic(
                    "plan",
                    f"the pin {pin} names dim '{dim}', which '{pin.value}' does not have: it is {value.type}",
                    where=pin.where,
                    hint=_did_you_mean(dim, value.dims) or f"pin '{pin.value}' along one of its own dims",
                )
        for other in found.setdefault(value.name, []):
            _check_pair(pin, other)
        found[value.name].append(pin)
    taken = dict(chain.split)[CHAIN] if chain else ()
    for pin in (p for group in found.values() for p in group):
        for dim, axes in pin.split:
            if dim != CHAIN and (both := set(axes) & set(taken)):
                raise Diagnostic(
                    "plan",
                    f"the pin {pin} splits '{dim}' over mesh axis '{min(both)}', which {chain} gives to the chains",
                    where=pin.where,
                    hint="an axis that splits the chains splits nothing else; use another axis for one of the two",
                )
    return Rules({name: tuple(group) for name, group in found.items()}, taken if chain else None)


def _check_axes(pin: Pin, mesh: Mesh) -> None:
    seen: dict[str, str] = {}
    for dim, axes in pin.split:
        for axis in axes:
            if axis not in mesh.names:
                have = ", ".join(f"'{n}'" for n in mesh.names)
                raise Diagnostic(
                    "plan",
                    f"the pin {pin} uses mesh axis '{axis}', but the mesh {mesh} "
                    + (f"has {have}" if have else "is one device"),
                    where=pin.where,
                    hint=_did_you_mean(axis, mesh.names) or "use one of the mesh's axes, or give the mesh that axis",
                )
            if axis in seen:
                what = f"'{dim}' twice" if seen[axis] == dim else f"both '{seen[axis]}' and '{dim}'"
                raise Diagnostic(
                    "plan",
                    f"the pin {pin} splits {what} over mesh axis '{axis}'",
                    where=pin.where,
                    hint="an axis splits one dim of a value once",
                )
            seen[axis] = dim


def _check_chain(pin: Pin, before: Pin | None, program: Program, mesh: Mesh) -> Pin:
    if before is not None and before.split != pin.split:
        raise Diagnostic(
            "plan", f"the pins {before} and {pin} contradict each other", where=pin.where, hint="keep one of them"
        )
    count = chains_of(program)
    if count is None:
        raise Diagnostic(
            "plan",
            f"the pin {pin} has nothing to split: the program has no chain dim",
            where=pin.where,
            hint="run several chains",
        )
    parts = mesh.size(dict(pin.split)[CHAIN])
    if count % parts:
        raise Diagnostic(
            "plan",
            f"the pin {pin} deals {count} chains out to {parts} parts, which does not come out even",
            where=pin.where,
            hint=f"run a multiple of {parts} chains, or split them over an axis whose size divides {count}",
        )
    return pin


def _check_pair(pin: Pin, other: Pin) -> None:
    mine, theirs = dict(pin.split), dict(other.split)
    clash = next((d for d in mine if d in theirs and mine[d] != theirs[d]), None)
    for one, two in ((pin, theirs), (other, mine)):
        if one.whole and clash is None:
            clash = next((d for d, axes in two.items() if axes and d not in dict(one.split)), None)
    if clash is not None:
        raise Diagnostic(
            "plan",
            f"the pins {other} and {pin} contradict each other along '{clash}'",
            where=pin.where,
            hint="keep one of them",
        )
    for dim, axes in mine.items():
        for two, held in theirs.items():
            if two != dim and (both := set(axes) & set(held)):
                raise Diagnostic(
                    "plan",
                    f"the pins {other} and {pin} split both '{two}' and '{dim}' over mesh axis '{min(both)}'",
                    where=pin.where,
                    hint="an axis splits one dim of a value once",
                )


def find_value(
    name: str, program: Program, names: Mapping[str, str], who: str = "the question", where: str = "value"
) -> Value:
    """The value that a user names, or a `Diagnostic` with the name that was probably meant.

    `%name` is the program's own name for a value, whatever else the user calls by that name.
    """
    values = {v.name: v for v in _values(program)}
    wanted = name[1:] if name.startswith("%") else names.get(name, name)
    if (found := values.get(wanted)) is not None:
        return found
    known = list(dict.fromkeys([*names, *(n for n in values if not n.isdigit())]))
    hint = _did_you_mean(name, known) or f"it has {', '.join(known)}"
    raise Diagnostic("plan", f"{who} names '{name}', which the program does not have", where=where, hint=hint)


def _did_you_mean(word: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean '{close[0]}'?" if close else None


def chains_of(program: Program) -> int | None:
    """The number of chains, where some latent input has the chain dim."""
    return next((i.type[CHAIN] for i in program.inputs_of("latent") if CHAIN in i.type), None)


def _values(program: Program):
    yield from (i.value for i in program.inputs)
    for node in program.walk():
        yield from node.results
        for region in node.op.regions():
            yield from (i.value for i in region.inputs)
