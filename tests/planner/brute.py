"""The planner's judge: plain enumeration, sharing no search code with it."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

from ir.graph import Program, Value
from ir.layout import Layout, moves_from
from ir.mesh import Mesh
from ir.plan import Plan
from planner.cost import Costs, made_anew
from planner.memory import peak_bytes


def layouts(value: Value, mesh: Mesh) -> list[Layout]:
    """Every layout that is not partial."""
    found = set()
    dims = [d.name for d in value.type.dims if d.size > 1]
    for order in itertools.permutations(mesh.names):
        for choice in itertools.product([None, *dims], repeat=len(order)):
            split: dict[str, tuple[str, ...]] = {}
            for axis, dim in zip(order, choice, strict=True):
                if dim is not None:
                    split[dim] = (*split.get(dim, ()), axis)
            found.add(Layout.of(split))
    return sorted(found, key=str)


class Reshard:
    """Cheapest paths by Dijkstra's algorithm from each start, written out."""

    def __init__(self, costs: Costs):
        self.costs = costs
        self.known: dict[tuple[Value, Layout], dict[Layout, tuple[float, tuple]]] = {}

    def __call__(self, value: Value, start: Layout, end: Layout) -> tuple[float, tuple]:
        if (value, start) not in self.known:
            self.known[value, start] = self.search(value, start)
        return self.known[value, start].get(end, (math.inf, ()))

    def search(self, value: Value, start: Layout) -> dict[Layout, tuple[float, tuple]]:
        done: dict[Layout, tuple[float, tuple]] = {}
        queue = [(0.0, 0, start, ())]
        count = 0
        while queue:
            cost, _, layout, path = heapq.heappop(queue)
            if layout in done:
                continue
            done[layout] = cost, path
            for move, then in moves_from(layout, value.type, self.costs.mesh):
                count += 1
                price = cost + self.costs.move(move, value.type, layout)
                heapq.heappush(queue, (price, count, then, (*path, move)))
        return done


def actions(program: Program, trips: int = 1, prefix: str = "", fed: tuple = ()) -> list[tuple]:
    """The choices to make, in order: those of a region between its node's operands and its results."""
    found: list[tuple] = []
    for i, inner in enumerate(program.inputs):
        found.append(("input", inner.value, fed[i] if fed else None))
    for node in program.nodes:
        if node.op.regions():
            (region,) = node.op.regions()
            outer = [(value, trips) for value in node.operands]
            found += actions(region, trips * node.op.trips(node.types), f"{region.name}:", tuple(outer))
            names = [f"{region.name}:{node.op.result_from(i)}" for i in range(len(node.results))]
            found += [("result", value, name) for value, name in zip(node.results, names, strict=True)]
        else:
            found.append(("node", node, trips))
    return found + [("output", v, prefix + n, program.ties.get(n), trips) for n, v in program.outputs]


def ways(program: Program, mesh: Mesh) -> int:
    """How many choices `cheapest` goes through where it can leave out none."""
    count = 1
    for kind, subject, *rest in actions(program):
        if kind == "node":
            count *= len(list(subject.op.strategies(subject.types, mesh)))
        elif kind == "input" or (kind == "output" and not rest[1]):
            count *= len(layouts(subject, mesh))
    return count


Allow = Callable[[Value, Layout], bool]


def anywhere(value: Value, layout: Layout) -> bool:
    return True


def cheapest(
    program: Program,
    costs: Costs,
    memory: float = math.inf,
    allow: Allow = anywhere,
    bound: float = math.inf,
) -> Plan | None:
    """The best of all strategies, input layouts and output layouts; a branch is left when it already costs too much.

    `allow` says where a value may lie as it is made; only plans below `bound` [seconds] are looked for.
    """
    mesh, reshard, free = costs.mesh, Reshard(costs), made_anew(program, costs.machine.platform)
    best: list = [bound, None]
    options = {
        n.key: sorted(
            ((s, costs.compute(n.op, n.types, s) * (n.key not in free)) for s in n.op.strategies(n.types, mesh)),
            key=lambda o: o[1],
        )
        for n in program.walk()
        if not n.op.regions()
    }
    steps = actions(program)
    least_left = [0.0]
    """By step, from the end: what the nodes that are left take at least."""
    for kind, subject, *more in reversed(steps):
        least = min(seconds for _, seconds in options[subject.key]) * more[0] if kind == "node" else 0.0
        least_left.append(least_left[-1] + least)
    least_left.reverse()

    def pay(value: Value, wanted: Layout, trips: int, at: dict, paid: dict) -> tuple[float, dict]:
        if wanted == at[value.name] or (value.name, wanted) in paid:
            return 0.0, paid
        price, path = reshard(value, at[value.name], wanted)
        return trips * price, {**paid, (value.name, wanted): path}

    def visit(i: int, cost: float, at: dict, ran: dict, paid: dict, left: dict) -> None:
        if cost + least_left[i] * (1 - 1e-9) >= best[0]:
            return
        if i == len(steps):
            plan = Plan(mesh, at, ran, paid, left, platform=costs.machine.platform)
            if memory == math.inf or peak_bytes(program, plan) <= memory:
                best[:] = cost, plan
            return
        kind, subject, *rest = steps[i]
        if kind == "input":
            for layout in layouts(subject, mesh):
                if not allow(subject, layout):
                    continue
                price, now = pay(rest[0][0], layout, rest[0][1], at, paid) if rest[0] else (0.0, paid)
                visit(i + 1, cost + price, {**at, subject.name: layout}, ran, now, left)
        elif kind == "node":
            op, types, trips = subject.op, subject.types, rest[0]
            for strategy, seconds in options[subject.key]:
                total, now = cost + trips * (seconds + costs.halos(op, types, strategy)), paid
                for index, value in enumerate(subject.operands):
                    price, now = pay(value, op.operand_layout(index, types, strategy), trips, at, now)
                    total += price
                leaves = list(zip(subject.results, op.result_layouts(types, strategy), strict=True))
                if not all(allow(v, x) for v, x in leaves):
                    continue
                visit(i + 1, total, {**at, **{v.name: x for v, x in leaves}}, {**ran, subject.key: strategy}, now, left)
        elif kind == "result":
            visit(i + 1, cost, {**at, subject.name: left[rest[0]]}, ran, paid, left)
        else:
            name, tied, trips = rest
            for layout in [at[tied]] if tied else layouts(subject, mesh):
                price, now = pay(subject, layout, trips, at, paid)
                visit(i + 1, cost + price, at, ran, now, {**left, name: layout})

    visit(0, 0.0, {}, {}, {}, {})
    return best[1]


def least_seconds(program: Program, costs: Costs, allow: Allow = anywhere, bound: float = math.inf) -> float:
    """What the best plan costs, for programs too long to enumerate: a walk that forgets what no longer matters.

    It goes through the program once and keeps, for every way in which the values still needed may lie and have been
    copied, the least seconds so far. Ways that already cost more than `bound` are dropped. No memory, no regions.
    """
    reshard, steps = Reshard(costs), actions(program)
    last: dict[str, int] = {}
    for i, (kind, subject, *rest) in enumerate(steps):
        used = subject.operands if kind == "node" else (subject,)
        names = [v.name for v in used] + ([rest[1]] if kind == "output" and rest[1] else [])
        last |= dict.fromkeys(names, i)
    found: dict[frozenset, float] = {frozenset(): 0.0}
    for i, (kind, subject, *rest) in enumerate(steps):
        then: dict[frozenset, float] = {}
        for state, cost in found.items():
            held = {name: (layout, copies) for name, layout, copies in state}
            for total, made in _choices(kind, subject, rest, held, costs, reshard, allow):
                if cost + total > bound:
                    continue
                key = frozenset((n, x, c) for n, (x, c) in made.items() if last.get(n, -1) > i)
                then[key] = min(then.get(key, math.inf), cost + total)
        found = then
    return min(found.values(), default=math.inf)


def _choices(kind: str, subject, rest: list, held: dict, costs: Costs, reshard: Reshard, allow: Allow):
    """Every way to take a step: its seconds, and what is then held, by name: where it was made, and its copies."""

    def fetch(wants: list[tuple[Value, Layout]]) -> tuple[float, dict]:
        seconds, now = 0.0, dict(held)
        for value, wanted in wants:
            start, copies = now[value.name]
            if wanted != start and wanted not in copies:
                seconds += reshard(value, start, wanted)[0]
                now[value.name] = start, copies | {wanted}
        return seconds, now

    if kind == "input":
        for layout in layouts(subject, costs.mesh):
            if allow(subject, layout):
                yield 0.0, {**held, subject.name: (layout, frozenset())}
    elif kind == "node":
        op, types = subject.op, subject.types
        for strategy in op.strategies(types, costs.mesh):
            leaves = list(zip(subject.results, op.result_layouts(types, strategy), strict=True))
            if all(allow(v, x) for v, x in leaves):
                wants = [(v, op.operand_layout(k, types, strategy)) for k, v in enumerate(subject.operands)]
                seconds, now = fetch(wants)
                own = costs.compute(op, types, strategy) + costs.halos(op, types, strategy)
                yield seconds + own, {**now, **{v.name: (x, frozenset()) for v, x in leaves}}
    else:
        _, tied, _ = rest
        for layout in [held[tied][0]] if tied else layouts(subject, costs.mesh):
            yield fetch([(subject, layout)])
