"""Orders against a program and a mesh: what cannot be meant is a `Diagnostic`, the rest become rules for the search."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ir.dims import CHAIN
from ir.errors import Diagnostic
from ir.graph import Program, Value
from ir.layout import Axes, Layout
from ir.mesh import Mesh

from .orders import Ban, Order, Pin, Preference, Unsatisfiable, parse_order, parse_pin

__all__ = ["Pin", "Rules", "chains_of", "check_pins", "find_value", "named_axes", "parse_pin"]


class Contradiction(Unsatisfiable):
    """Two pins that no layout can satisfy, whatever the program does."""


@dataclass(frozen=True)
class Rules:
    """Checked pins and bans, by the names of the program's values."""

    orders: Mapping[str, tuple[Pin | Ban, ...]]
    chain: tuple[Pin | Ban, ...] = ()
    """Those that speak of the chains, pins first."""

    def allow(self, value: Value, layout: Layout) -> bool:
        return all(order.allows(layout) for order in self.orders.get(value.name, ()))

    def pinned_chains(self) -> list[Axes]:
        """The axes that a pin gives to the chains, in the pin's order; none without one."""
        return [dict(order.split)[CHAIN] for order in self.chain[:1] if isinstance(order, Pin)]

    def allow_chains(self, axes: Axes) -> bool:
        """Whether the chains may be split over these axes and no others."""
        return all(order.allows(Layout.of({CHAIN: axes})) for order in self.chain)


def named_axes(orders: Iterable[Order]) -> set[str]:
    """The mesh axes that are to be used: those that pins name."""
    pins = [o for o in orders if isinstance(o, Pin)]
    return {a for pin in pins for axes in (*dict(pin.split).values(), pin.partial or ()) for a in axes}


def check_pins(orders: Iterable[Order | str], program: Program, names: Mapping[str, str], mesh: Mesh) -> Rules:
    """Pins and bans as rules, or a `Diagnostic` for the first order that cannot be meant.

    Preferences are checked too, but make no rule.
    """
    found: dict[str, list[Pin | Ban]] = {}
    chains: list[Pin | Ban] = []
    for order in map(parse_order, orders):
        _check_axes(order, mesh)
        if order.pin.is_chain:
            _check_chain(order, chains, program, mesh)
            chains += [] if isinstance(order, Preference) else [order]
            continue
        value = find_value(order.pin.value, program, names, _the(order), order.where)
        _check_dims(order, value)
        if order.pin.partial and any(value == i.value for i in program.inputs):
            raise Diagnostic(
                "plan",
                f"{_the(order)} leaves '{order.pin.value}' open to be summed, but it is an input",
                where=order.where,
                hint="an input arrives summed: name only the axes that split its dims",
            )
        if isinstance(order, Preference):
            continue
        for other in found.setdefault(value.name, []):
            if isinstance(order, Pin) and isinstance(other, Pin):
                _check_pair(order, other)
        found[value.name].append(order)
    _check_taken((o for group in found.values() for o in group), chains)
    return Rules(
        {name: tuple(group) for name, group in found.items()}, tuple(sorted(chains, key=lambda o: isinstance(o, Ban)))
    )


def _the(order: Order) -> str:
    return f"the {order.word} {order.pin}"


def _check_dims(order: Order, value: Value) -> None:
    for dim, axes in order.pin.split:
        if dim in value.type and value.type[dim] == 1 and axes:
            raise Diagnostic(
                "plan",
                f"{_the(order)} splits '{dim}', which has one element",
                where=order.where,
                hint="leave that dim whole",
            )
        if dim not in value.type:
            name = order.pin.value
            raise Diagnostic(
                "plan",
                f"{_the(order)} names dim '{dim}', which '{name}' does not have: it is {value.type}",
                where=order.where,
                hint=did_you_mean(dim, value.dims) or f"{order.verb} '{name}' along one of its own dims",
            )


def _check_axes(order: Order, mesh: Mesh) -> None:
    seen: dict[str, str] = {}
    for dim, axes in (*order.pin.split, ("", sorted(order.pin.partial or ()))):
        for axis in axes:
            if axis not in mesh.names:
                have = ", ".join(f"'{n}'" for n in mesh.names)
                raise Diagnostic(
                    "plan",
                    f"{_the(order)} uses mesh axis '{axis}', but the mesh {mesh} "
                    + (f"has {have}" if have else "is one device"),
                    where=order.where,
                    hint=did_you_mean(axis, mesh.names) or "use one of the mesh's axes, or give the mesh that axis",
                )
            if axis in seen:
                what = f"'{dim}' twice" if seen[axis] == dim else f"both '{seen[axis]}' and '{dim}'"
                raise Diagnostic(
                    "plan",
                    f"{_the(order)} splits {what} over mesh axis '{axis}'"
                    if dim
                    else f"{_the(order)} leaves a sum open over mesh axis '{axis}', which splits '{seen[axis]}'",
                    where=order.where,
                    hint="an axis splits one dim of a value once" + ("" if dim else ", or is still to be summed over"),
                )
            seen[axis] = dim


def _check_chain(order: Order, before: Iterable[Pin | Ban], program: Program, mesh: Mesh) -> None:
    for other in before:
        if isinstance(order, Pin) and isinstance(other, Pin) and other.split != order.split:
            raise _contradiction(other, order, "")
    count = chains_of(program)
    if count is None:
        raise Diagnostic(
            "plan",
            f"{_the(order)} has nothing to split: the program has no chain dim",
            where=order.where,
            hint="run several chains",
        )
    parts = mesh.size(dict(order.pin.split)[CHAIN])
    if count % parts:
        raise Diagnostic(
            "plan",
            f"{_the(order)} deals {count} chains out to {parts} parts, which does not come out even",
            where=order.where,
            hint=f"run a multiple of {parts} chains, or split them over an axis whose size divides {count}",
        )


def _check_pair(pin: Pin, other: Pin) -> None:
    mine, theirs = dict(pin.split), dict(other.split)
    clash = next((d for d in mine if d in theirs and mine[d] != theirs[d]), None)
    for one, two in ((pin, theirs), (other, mine)):
        if one.whole and clash is None:
            clash = next((d for d, axes in two.items() if axes and d not in dict(one.split)), None)
    if clash is not None:
        raise _contradiction(other, pin, f" along '{clash}'")
    if pin.partial is not None and other.partial is not None and pin.partial != other.partial:
        raise _contradiction(other, pin, "")
    for dim, axes in mine.items():
        for two, held in theirs.items():
            if two != dim and (both := set(axes) & set(held)):
                raise Contradiction(
                    f"the pins {other} and {pin} split both '{two}' and '{dim}' over mesh axis '{min(both)}'",
                    where=pin.where,
                    hint="an axis splits one dim of a value once",
                )


def _contradiction(first: Pin, second: Pin, along: str) -> Contradiction:
    message = f"the pins {first} and {second} contradict each other{along}"
    return Contradiction(message, where=second.where, hint="keep one of them")


def _check_taken(orders: Iterable[Pin | Ban], chains: Iterable[Pin | Ban]) -> None:
    """No pin splits another dim over an axis that a pin gives to the chains."""
    chain = next((c for c in chains if isinstance(c, Pin)), None)
    taken = dict(chain.split)[CHAIN] if chain else ()
    for pin in (o for o in orders if isinstance(o, Pin)):
        for dim, axes in pin.split:
            if dim != CHAIN and (both := set(axes) & set(taken)):
                raise Contradiction(
                    f"the pin {pin} splits '{dim}' over mesh axis '{min(both)}', which {chain} gives to the chains",
                    where=pin.where,
                    hint="an axis that splits the chains splits nothing else; use another axis for one of the two",
                )


def find_value(
    name: str, program: Program, names: Mapping[str, str], who: str = "the question", where: str = "explain"
) -> Value:
    """The value that a user names, or a `Diagnostic` with the name that was probably meant.

    `%name` is the program's own name for a value, whatever else the user calls by that name.
    """
    values = {v.name: v for v in _values(program)}
    wanted = name[1:] if name.startswith("%") else names.get(name, name)
    if (found := values.get(wanted)) is not None:
        return found
    known = list(dict.fromkeys([*names, *(n for n in values if not n.isdigit())]))
    hint = did_you_mean(name, known) or f"it has {', '.join(known)}; what no density or gradient needs is left out"
    raise Diagnostic("plan", f"{who} names '{name}', which the program does not have", where=where, hint=hint)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint with the known word that is most like one, if one is."""
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
