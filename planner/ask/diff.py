"""Two plans of one program, side by side: where they differ, the likely cause first.

The order is that of cause and effect: what was asked (mesh, machine, orders), the layouts of values that a person
named, those of the values that follow them, grouped by the same change, the strategies of nodes, and the moves that
come of all that. What two plans have alike is not told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ir.graph import Program, Value
from ir.layout import Layout
from ir.plan import Plan, Prediction

from ..cost import Costs
from ..machine import Machine
from ..orders import layout_text
from ..show.json import is_chosen
from ..show.units import bytes_text, seconds_text
from .where import where

NONE = "—"


@dataclass(frozen=True)
class Change:
    """What is one thing in the first plan and another in the second; None where it is not there."""

    name: str
    first: str | None
    second: str | None


@dataclass(frozen=True)
class Moved:
    """One kind of move of one value: its seconds and bytes sent in each plan, zero where it does not happen."""

    value: str
    move: str
    seconds: tuple[float, float]
    sent: tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """How the second plan differs from the first; `str` of it tells it in words."""

    program: str
    plans: tuple[Plan, Plan]
    asked: tuple[Change, ...]
    """Mesh, machine and orders."""
    named: tuple[Change, ...]
    """Layouts of values that a person named, of inputs and of outputs."""
    others: tuple[Change, ...]
    """Layouts of the values that the compiler named."""
    strategies: tuple[Change, ...]
    """Of nodes whose results lie alike in both plans: elsewhere the layouts tell it."""
    recomputed: tuple[Change, ...]
    moves: tuple[Moved, ...]
    lines: tuple[tuple[str, float, float], ...]
    """By line of the model: seconds in each plan, where they differ; the largest difference first."""

    @property
    def same(self) -> bool:
        return not (self.asked or self.named or self.others or self.strategies or self.recomputed or self.moves)

    def __str__(self) -> str:
        return format_diff(self)

    def as_json(self) -> dict[str, Any]:
        parts = ("asked", "named", "others", "strategies", "recomputed")
        return {
            "same": self.same,
            "predictions": [_numbers(p.prediction) for p in self.plans],
            **{part: [vars(c) for c in getattr(self, part)] for part in parts},
            "moves": [
                {"value": m.value, "move": m.move, "seconds": list(m.seconds), "bytes_sent": list(m.sent)}
                for m in self.moves
            ],
            "lines": [{"line": line, "seconds": [a, b]} for line, a, b in self.lines],
        }


def diff(
    program: Program,
    first: Plan,
    second: Plan,
    names: Mapping[str, str] | None = None,
    machines: tuple[Machine | str | None, Machine | str | None] = (None, None),
) -> Difference:
    """What differs between two plans of a program. `machines` price them (default: each plan's own, by its name)."""
    plans = first, second
    users = {value: user for user, value in reversed(list((names or {}).items()))}
    chosen = {*users, *(i.name for i in program.inputs), *(v.name for v in _named(program))}
    layouts = list(_changes(*({n: layout_text(x) for n, x in p.layouts.items()} for p in plans)))
    same = {c.name for c in layouts}
    strategies = _changes(*({k: _split(s) for k, s in p.strategies.items()} for p in plans))
    outputs = _changes(*({f"output {n}": layout_text(x) for n, x in p.outputs.items()} for p in plans))
    again = _changes(*({n: ", ".join(keys) for n, keys in p.recompute.items()} for p in plans))
    return Difference(
        program.name,
        plans,
        tuple(_asked(first, second)),
        tuple([*(_renamed(c, users) for c in layouts if c.name in chosen), *outputs]),
        tuple(c for c in layouts if c.name not in chosen),
        tuple(_renamed(c, users) for c in strategies if c.name not in same and c.first and c.second),
        tuple(_renamed(c, users) for c in again),
        tuple(_moves(program, plans, machines, users)),
        tuple(_lines(program, plans, machines)),
    )


def _named(program: Program) -> Iterable[Value]:
    return (v for node in program.nodes for v in node.results if is_chosen(v.name))


def _split(strategy: Any) -> str:
    split = layout_text(Layout.of(strategy.split))
    return f"{split}; {strategy.method}" if strategy.method else split


def _renamed(change: Change, users: Mapping[str, str]) -> Change:
    return Change(users.get(change.name, change.name), change.first, change.second)


def _changes(first: Mapping[str, str], second: Mapping[str, str]) -> Iterable[Change]:
    for name in dict.fromkeys([*first, *second]):
        if first.get(name) != second.get(name):
            yield Change(name, first.get(name), second.get(name))


def _asked(first: Plan, second: Plan) -> Iterable[Change]:
    for name, a, b in (("mesh", str(first.mesh), str(second.mesh)), ("machine", first.machine, second.machine)):
        if a != b:
            yield Change(name, a, b)
    for text in dict.fromkeys([*first.pins, *second.pins]):
        if (text in first.pins) != (text in second.pins):
            word, _, rest = text.partition(" ") if text.startswith(("ban ", "prefer ")) else ("pin", "", text)
            yield Change(word, *(rest if text in p.pins else None for p in (first, second)))


def _moves(program: Program, plans: tuple[Plan, Plan], machines, users: Mapping[str, str]) -> Iterable[Moved]:
    """The moves whose price or bytes differ, the largest difference first."""
    found: list[Counter[tuple[str, str]]] = []
    seconds: list[dict[tuple[str, str], float]] = []
    sent: list[dict[tuple[str, str], float]] = []
    for plan, machine in zip(plans, machines, strict=True):
        costs = Costs(
            machine if isinstance(machine, Machine) else Machine.load(machine or plan.machine), plan.mesh, plan.native
        )
        count, price, size = Counter(), {}, {}
        for step in plan.steps(program):
            key = step.value.name, str(step.move)
            count[key] += step.trips
            for c, seconds_of_it in costs.priced(step.move, step.value.type, step.before):
                price[key] = price.get(key, 0.0) + step.trips * seconds_of_it
                size[key] = size.get(key, 0.0) + step.trips * costs.sent(c)
        found.append(count)
        seconds.append(price)
        sent.append(size)
    moved = [
        Moved(
            users.get(key[0], key[0]),
            key[1],
            (seconds[0].get(key, 0.0), seconds[1].get(key, 0.0)),
            (sent[0].get(key, 0.0), sent[1].get(key, 0.0)),
        )
        for key in dict.fromkeys([*found[0], *found[1]])
        if key in seconds[0] or key in seconds[1]
    ]
    moved = [m for m in moved if m.seconds[0] != m.seconds[1] or m.sent[0] != m.sent[1]]
    return sorted(moved, key=lambda m: -abs(m.seconds[1] - m.seconds[0]))


def _lines(program: Program, plans: tuple[Plan, Plan], machines) -> Iterable[tuple[str, float, float]]:
    tables = [where(program, p, m).lines() for p, m in zip(plans, machines, strict=True)]
    rows = [
        (line, *(table.get(line, (0.0, 0.0))[0] for table in tables))
        for line in dict.fromkeys([*tables[0], *tables[1]])
    ]
    total = max((p.prediction.seconds for p in plans if p.prediction), default=0.0)
    rows = [(line, a, b) for line, a, b in rows if abs(a - b) > 1e-9 * total]
    return sorted(rows, key=lambda row: -abs(row[2] - row[1]))


def format_diff(found: Difference, labels: tuple[str, str] = ("first", "second")) -> str:
    """The difference in words: predictions, what was asked, named values, what follows, moves, lines of the model."""
    lines = [f"two plans of '{found.program}': {labels[0]} → {labels[1]}"]
    if found.same:
        return lines[0] + "\nthey are the same plan\n"
    lines += _predictions(*(p.prediction for p in found.plans))
    lines += _section("asked", [(c.name, _arrow(c)) for c in found.asked])
    lines += _section("layouts of named values", _grouped(found.named, most=len(found.named)))
    lines += _section("layouts of other values", _grouped(found.others))
    lines += _section("where nodes run, their results lying alike", [(c.name, _arrow(c)) for c in found.strategies])
    lines += _section("computed again for", [(c.name, _arrow(c)) for c in found.recomputed])
    lines += _section("moves", [(f"{m.value}: {m.move}", _moved(m)) for m in found.moves])
    lines += _section("lines of the model", _line_rows(found.lines))
    return "\n".join(lines) + "\n"


def _line_rows(lines: Sequence[tuple[str, float, float]]) -> list[tuple[str, str]]:
    """The lines whose difference is at least a hundredth of the largest one."""
    least = 0.01 * max((abs(b - a) for _, a, b in lines), default=0.0)
    return [(line or "(no line)", _seconds(a, b)) for line, a, b in lines if abs(b - a) >= least]


def _section(title: str, rows: list[tuple[str, str]]) -> list[str]:
    width = max((len(name) for name, _ in rows), default=0)
    return ["", title, *(f"  {name:<{width}}  {text}" for name, text in rows)] if rows else []


def _arrow(change: Change) -> str:
    return f"{NONE if change.first is None else change.first} → {NONE if change.second is None else change.second}"


def _grouped(changes: Iterable[Change], most: int = 6) -> list[tuple[str, str]]:
    """Values that change alike, in one row: how many and the first few."""
    groups: dict[str, list[str]] = {}
    for c in changes:
        groups.setdefault(_arrow(c), []).append(c.name)
    rows = []
    for arrow, members in sorted(groups.items(), key=lambda pair: -len(pair[1])):
        more = f" and {len(members) - most} more" if len(members) > most else ""
        rows.append((arrow, f"{', '.join(members[:most])}{more}"))
    return rows


def _predictions(first: Prediction | None, second: Prediction | None) -> list[str]:
    if first is None or second is None:
        return []
    rows = [("seconds", _seconds(first.seconds, second.seconds))]
    rows.append(("computing", _seconds(first.compute_seconds, second.compute_seconds)))
    rows.append(("communicating", _seconds(first.communication_seconds, second.communication_seconds)))
    rows.append(("memory", _both(bytes_text, first.peak_bytes, second.peak_bytes)))
    for axes in sorted({*first.bytes_by_axes, *second.bytes_by_axes}):
        sent = first.bytes_by_axes.get(axes, 0.0), second.bytes_by_axes.get(axes, 0.0)
        rows.append((f"sent {'+'.join(axes)}", _both(bytes_text, *sent)))
    return [f"  {name:<14} {text}" for name, text in rows]


def _seconds(a: float, b: float) -> str:
    return _both(seconds_text, a, b)


def _both(text: Any, a: float, b: float) -> str:
    if a == b:
        return f"{text(a)} in both"
    ratio = f", {b / a:.3g} times" if a and b and 0.01 < b / a < 100 and abs(b / a - 1) > 0.005 else ""
    sign = "+" if b > a else "-"
    return f"{text(a)} → {text(b)} ({sign}{text(abs(b - a))}{ratio})"


def _moved(m: Moved) -> str:
    sent = _both(bytes_text, *m.sent)
    return f"{_seconds(*m.seconds)}, sent {sent}"


def _numbers(p: Prediction | None) -> dict[str, Any] | None:
    return p and {
        "seconds": p.seconds,
        "compute_seconds": p.compute_seconds,
        "communication_seconds": p.communication_seconds,
        "peak_bytes": p.peak_bytes,
        "bytes_by_axes": {"+".join(axes): sent for axes, sent in sorted(p.bytes_by_axes.items())},
    }
