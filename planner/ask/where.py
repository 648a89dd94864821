"""Where a plan's time, bytes and memory go: by node and move, by line of the model, by mesh axis, and at the peak.

Everything is added up from what the plan performs, so the sums are those of its prediction. A node of the gradient
carries the line of the forward node that it comes from; a reshard counts for the line that wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ir.graph import Node, Program
from ir.plan import Plan

from ..cost import Costs, leaf_nodes, made_anew
from ..machine import Machine
from ..memory import holdings, latent_bytes, profile, staging_slots
from ..orders import layout_text
from ..schedule import Schedule
from ..show.units import bytes_text, seconds_text

ROWS = 40
"""Nodes and moves that the table shows at most."""


@dataclass(frozen=True)
class Item:
    """One thing that a plan does, with its trips: a node's computing, or one collective of a reshard or a halo."""

    kind: str
    """`compute`, or the kind of the collective."""
    name: str
    """The node's key, or the value that moves."""
    what: str
    """The op, or the move and for whom."""
    line: str
    """`file:line` in the model; empty where the compiler made it."""
    seconds: float
    sent: float = 0.0
    """Bytes that each device sends."""
    axes: tuple[str, ...] = ()
    trips: int = 1


@dataclass(frozen=True)
class Holding:
    """What one device holds at a step: a value, a copy of it in another layout, or room that a reshard works in."""

    what: str
    name: str
    layout: str
    bytes: float


@dataclass(frozen=True)
class Peak:
    """The step at which one device holds the most."""

    step: int
    steps: int
    node: str
    """The consumer that runs at the step; empty before the first node and after the last."""
    line: str
    bytes: float
    held: tuple[Holding, ...]
    """Largest first; they sum to `bytes`."""


@dataclass(frozen=True)
class Where:
    """The account of a plan; `str` of it is a set of tables."""

    title: str
    items: tuple[Item, ...]
    """Dearest first."""
    peak: Peak

    @property
    def seconds(self) -> float:
        return sum(i.seconds for i in self.items)

    def by(self, key: Callable[[Item], str]) -> dict[str, tuple[float, float]]:
        """Seconds and bytes sent of the items with the same key, dearest first."""
        total: dict[str, tuple[float, float]] = {}
        for i in self.items:
            before = total.get(key(i), (0.0, 0.0))
            total[key(i)] = before[0] + i.seconds, before[1] + i.sent
        return dict(sorted(total.items(), key=lambda pair: -pair[1][0]))

    def lines(self) -> dict[str, tuple[float, float]]:
        return self.by(lambda i: i.line)

    def axes(self) -> dict[str, tuple[float, float]]:
        """By mesh axes, computing under `computing`."""
        return self.by(lambda i: "+".join(i.axes) if i.axes else "computing")

    def __str__(self) -> str:
        return format_where(self)

    def as_json(self) -> dict[str, Any]:
        def table(found: Mapping[str, tuple[float, float]], key: str) -> list[dict[str, Any]]:
            return [{key: name, "seconds": s, "bytes_sent": b} for name, (s, b) in found.items()]

        return {
            "seconds": self.seconds,
            "items": [vars(i) | {"axes": list(i.axes)} for i in self.items],
            "lines": table(self.lines(), "line"),
            "axes": table(self.axes(), "axes"),
            "peak": vars(self.peak) | {"held": [vars(h) for h in self.peak.held]},
        }


def where(
    program: Program,
    plan: Plan,
    machine: Machine | str | None = None,
    names: Mapping[str, str] | None = None,
) -> Where:
    """The account of a plan on a machine (default: the plan's own, by its name), values by the user's `names`.

    The items' seconds sum to `plan.prediction.seconds`, their bytes by axes to `bytes_by_axes`, and what is held at
    the peak to `peak_bytes`. Raises `Diagnostic` where the machine is not at hand.
    """
    if not isinstance(machine, Machine):
        machine = Machine.load(machine or plan.machine)
    users = {value: user for user, value in reversed(list((names or {}).items()))}
    program, costs = plan.applied(program), Costs(machine, plan.mesh, plan.native)
    found = (replace(i, name=users.get(i.name, i.name)) for i in _items(program, plan, costs))
    title = f"'{program.name}' on mesh {plan.mesh}, machine {machine.name}"
    return Where(title, tuple(sorted(found, key=lambda i: -i.seconds)), _peak(program, plan, users))


def _items(program: Program, plan: Plan, costs: Costs) -> Iterable[Item]:
    made = {v.name: n for n in program.walk() for v in n.results}
    nodes = {n.key: n for n in program.walk()}
    free = made_anew(program, plan.platform)
    for node, trips in leaf_nodes(program):
        seconds = trips * costs.compute(node.op, node.types, plan.strategies[node.key]) * (node.key not in free)
        yield Item("compute", node.key, node.op.name, line_of(node), seconds, trips=trips)
    for step in plan.steps(program):
        source = nodes.get(step.consumer) or made.get(step.value.name)
        for c, once in costs.priced(step.move, step.value.type, step.before):
            what = f"{step.move}, for {step.consumer}"
            seconds, sent = step.trips * once, step.trips * costs.sent(c)
            yield Item(c.kind, step.value.name, what, line_of(source), seconds, sent, c.axes, step.trips)


def line_of(node: Node | None) -> str:
    return f"{node.span.source.file}:{node.span.line}" if node and node.span else ""


def _peak(program: Program, plan: Plan, users: Mapping[str, str]) -> Peak:
    held = profile(program, plan)
    step = int(held.argmax())
    schedule = Schedule.of(program, plan.platform)
    nodes = {n.key: n for n in program.walk()}
    node = schedule.what[step][1]
    found = [replace(h, name=users.get(h.name, h.name)) for h in _held(program, plan, schedule, step)]
    found.sort(key=lambda h: -h.bytes)
    line = line_of(nodes.get(node))
    return Peak(step, len(held), users.get(node, node), line, float(held[step]), tuple(found))


def _held(program: Program, plan: Plan, schedule: Schedule, step: int) -> Iterable[Holding]:
    """What is held at a step: `planner.memory.profile` there, taken apart."""
    for h in holdings(program, plan, schedule):
        if h.first <= step <= h.last and h.bytes:
            yield Holding(h.kind, h.name, layout_text(h.layout), float(h.bytes))
    if plan.copies:
        more = plan.copies * latent_bytes(program, plan)
        yield Holding("vectors of the sampler", f"{plan.copies:g} x the latents", "", float(more))
    if slots := staging_slots(plan.native, plan.platform):
        yield Holding("staging slots", "of hand-written collectives", "", float(slots))


def format_where(found: Where) -> str:
    """The account as tables: lines, nodes and moves, mesh axes, and what stands at the peak of memory."""
    total = found.seconds or 1.0
    lines = [f"{found.title}: {seconds_text(found.seconds)}", ""]
    lines += _table(
        "line", [(_price(s, total), _sent(b), name or "(no line)") for name, (s, b) in found.lines().items()]
    )
    lines += ["", *_table("mesh axes", [(_price(s, total), _sent(b), n) for n, (s, b) in found.axes().items()])]
    dear, rest = _dearest(found.items, total)
    shown = [(_price(i.seconds, total), _sent(i.sent), f"{_item(i)}{f'  {i.line}' if i.line else ''}") for i in dear]
    if rest:
        s, b = sum(i.seconds for i in rest), sum(i.sent for i in rest)
        shown.append((_price(s, total), _sent(b), f"{len(rest)} more, each at most {seconds_text(rest[0].seconds)}"))
    lines += ["", *_table("node or move", shown), "", *_peak_lines(found.peak)]
    return "\n".join(lines) + "\n"


def _dearest(items: tuple[Item, ...], total: float) -> tuple[list[Item], list[Item]]:
    """The items that make 99 % of the time together, `ROWS` at most, and the rest."""
    told, count = 0.0, 0
    while count < min(ROWS, len(items)) and told < 0.99 * total:
        told += items[count].seconds
        count += 1
    return list(items[:count]), list(items[count:])


def _item(item: Item) -> str:
    name = item.name
    times = f", {item.trips} times" if item.trips > 1 else ""
    return f"{name} = {item.what}{times}" if item.kind == "compute" else f"{name}: {item.what}{times}"


def _price(seconds: float, total: float) -> str:
    return f"{seconds_text(seconds):>8} {100 * seconds / total:5.1f} %"


def _sent(count: float) -> str:
    return bytes_text(count) if count else ""


def _table(title: str, rows: list[tuple[str, str, str]]) -> Iterable[str]:
    yield f"{'seconds':>8} {'share':>7}  {'sent':>8}  {title}"
    for price, sent, name in rows:
        yield f"{price}  {sent:>8}  {name}"


def _peak_lines(peak: Peak) -> Iterable[str]:
    at = f" (node {peak.node}{f', {peak.line}' if peak.line else ''})" if peak.node else ""
    yield f"memory: {bytes_text(peak.bytes)} per device at the peak, step {peak.step} of {peak.steps}{at}"
    large = [h for h in peak.held if h.bytes >= 0.01 * peak.bytes]
    rest = [h for h in peak.held if h.bytes < 0.01 * peak.bytes and h.bytes]
    width = max((len(h.name) for h in large), default=0)
    for h in large:
        kind = "" if h.what == "value" else f"  ({h.what})"
        shown = f"{h.name:<{width}}  {h.layout}{kind}".rstrip()
        yield f"{bytes_text(h.bytes):>8} {100 * h.bytes / peak.bytes:5.1f} %  {shown}"
    if rest:
        size = sum(h.bytes for h in rest)
        yield f"{bytes_text(size):>8} {100 * size / peak.bytes:5.1f} %  {len(rest)} more, each below 1 %"
