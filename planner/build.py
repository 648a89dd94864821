"""From a program to its cost network, and from a choice of states back to a plan.

A region (the body of a scan) joins the same network, its costs multiplied by its trips: its inputs are variables, its
tied outputs are wanted in the layout of the carry that they feed, and each result of the node lies as the region
output that it comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ir.errors import InternalError
from ir.graph import Node, Program, Value
from ir.layout import Axes, Layout
from ir.plan import Plan

from .candidates import Candidate, Candidates, Chains
from .cost import split_bytes, trips_of
from .memory import Schedule
from .solve.network import Network, Star, Use, Variable
from .reshard import Reshards

Filter = Callable[[Value, Layout], bool]
Tie = Callable[[Value, Layout], float]


class Impossible(Exception):
    """No state is left for a variable: the value, and the node that makes it (None: an input or output)."""

    def __init__(self, value: Value, node: Node | None):
        super().__init__(value.name)
        self.value, self.node = value, node


@dataclass
class _Wanted:
    variable: int
    layouts: list[tuple[Layout, ...]]
    """By state."""
    consumer: str


@dataclass
class _Made:
    """A value whose star is being collected."""

    value: Value
    source: int
    layouts: list[Layout]
    """By state of the source."""
    trips: int
    wanted: list[_Wanted] = field(default_factory=list)


@dataclass
class Builder:
    """Collects the network of one program under one set of rules."""

    candidates: Candidates
    reshards: Reshards
    chains: Chains
    allow: Filter
    """Whether a value may leave its producer in a layout: the pins."""
    fixed: Mapping[str, Layout]
    """Outputs that are forced to a layout, by the name that `Plan.outputs` uses."""
    tie: Tie
    """What decides between layouts of equal price, smaller first."""
    variables: list[Variable] = field(default_factory=list)
    nodes: dict[int, Node] = field(default_factory=dict)
    inputs: dict[int, list[Value]] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    """The variable that holds each output's layout, by the name that `Plan.outputs` uses."""
    made: dict[str, _Made] = field(default_factory=dict)

    @property
    def free_axes(self) -> Axes:
        """The mesh axes that the chains leave to other dims."""
        return tuple(a for a in self.candidates.mesh.names if a not in (self.chains.axes or ()))

    def build(self, program: Program) -> Network:
        for i in program.inputs:
            self._input(i.value, 1)
        self._body(program, 1)
        self._outputs(program, "")
        schedule = Schedule.of(program)
        return Network(self.variables, [self._star(m, schedule) for m in self.made.values()])

    def _variable(self, name: str, states: list, cost: list[float], tie: list[float]) -> int:
        self.variables.append(Variable(name, states, np.array(cost, float), np.array(tie, float)))
        return len(self.variables) - 1

    def _layouts(self, value: Value) -> list[Layout]:
        return [x for x in self.candidates.layouts(value.type) if self.chains.allow(x, value.type)]

    def _input(self, value: Value, trips: int) -> int:
        states = [x for x in self._layouts(value) if self.allow(value, x)]
        if not states:
            raise Impossible(value, None)
        variable = self._variable(value.name, states, [0.0] * len(states), [self.tie(value, x) for x in states])
        self.made[value.name] = _Made(value, variable, states, trips)
        self.inputs[variable] = [value]
        return variable

    def _want(self, value: Value, variable: int, layouts: list[tuple[Layout, ...]], consumer: str) -> None:
        self.made[value.name].wanted.append(_Wanted(variable, layouts, consumer))

    def _body(self, program: Program, trips: int) -> None:
        for node in program.nodes:
            if node.op.regions():
                self._region(node, trips)
            else:
                self._node(node, trips)

    def _node(self, node: Node, trips: int) -> None:
        sizes = node.op.dims(*node.types)
        states = [
            c
            for c in self.candidates.of_node(node)
            if self.chains.allow_strategy(c.strategy, sizes)
            and all(self.allow(v, layout) for v, layout in zip(node.results, c.leaves, strict=True))
        ]
        if not states:
            raise Impossible(node.results[0], node)
        cost = [trips * (c.compute + c.halos) for c in states]
        tie = [sum(self.tie(v, x) for v, x in zip(node.results, c.leaves, strict=True)) for c in states]
        variable = self._variable(node.key, states, cost, tie)
        self.nodes[variable] = node
        for value in dict.fromkeys(node.operands):
            at = [i for i, v in enumerate(node.operands) if v == value]
            self._want(value, variable, [tuple(dict.fromkeys(c.wants[i] for i in at)) for c in states], node.key)
        for i, value in enumerate(node.results):
            self.made[value.name] = _Made(value, variable, [c.leaves[i] for c in states], trips)

    def _region(self, node: Node, trips: int) -> None:
        (region,) = node.op.regions()
        inner = trips * trips_of(node)
        fed = [
            (outer, self._input(value, inner))
            for outer, value in zip(node.operands, _region_operands(node), strict=True)
        ]
        self._body(region, inner)
        self._outputs(region, f"{region.name}:")
        for outer, variable in fed:
            self._want(outer, variable, [(x,) for x in self.variables[variable].states], node.key)
        for i, value in enumerate(node.results):
            name = node.op.result_from(i)  # type: ignore[attr-defined]
            variable = self.outputs[f"{region.name}:{name}"]
            states = self.variables[variable].states
            if not all(self.allow(value, x) for x in states):
                keep = [s for s, x in enumerate(states) if self.allow(value, x)]
                if not keep:
                    raise Impossible(value, node)
                self._narrow(variable, keep)
                states = self.variables[variable].states
            self.made[value.name] = _Made(value, variable, list(states), trips)
            self.inputs.setdefault(variable, []).append(value)

    def _narrow(self, variable: int, keep: list[int]) -> None:
        """Drops states of a variable that is in use already."""
        v = self.variables[variable]
        self.variables[variable] = Variable(v.name, [v.states[s] for s in keep], v.cost[keep], v.tie[keep])
        for made in self.made.values():
            if made.source == variable:
                made.layouts = [made.layouts[s] for s in keep]
            for wanted in made.wanted:
                if wanted.variable == variable:
                    wanted.layouts = [wanted.layouts[s] for s in keep]

    def _outputs(self, program: Program, prefix: str) -> None:
        for name, value in program.outputs:
            if name in program.ties:
                variable = self.made[program.input(program.ties[name]).name].source
            else:
                states = [x for x in self._layouts(value) if self.fixed.get(prefix + name, x) == x]
                if not states:
                    raise Impossible(value, None)
                tie = [self.tie(value, x) for x in states]
                variable = self._variable(f"output {prefix}{name}", states, [0.0] * len(states), tie)
            self.outputs[prefix + name] = variable
            self._want(value, variable, [(x,) for x in self.variables[variable].states], f"output {prefix}{name}")

    def _star(self, made: _Made, schedule: Schedule) -> Star:
        layouts = list(dict.fromkeys([*made.layouts, *(x for w in made.wanted for state in w.layouts for x in state)]))
        graph = self.reshards.graph(made.value.type, layouts)
        index = {x: i for i, x in enumerate(layouts)}
        at = np.array([graph.index[x] for x in layouts], int)
        grid = np.ix_(at, at)
        labels = np.array([index[x] for x in made.layouts], int)
        star = Star(
            made.value,
            made.source,
            labels,
            layouts,
            made.trips * graph.seconds[grid],
            graph.collectives[grid],
            life=schedule.life[made.value.name],
            stored=schedule.stored[made.value.name],
            bytes=np.array([split_bytes(made.value.type, x, self.reshards.mesh) for x in layouts], float),
            scratch=graph.scratch[grid],
        )
        for w in made.wanted:
            sets = [tuple(index[x] for x in state) for state in w.layouts]
            if w.variable == made.source:
                if any(s != (label,) for s, label in zip(sets, labels, strict=True)):
                    raise InternalError(f"{made.value} is tied to itself in another layout")
                continue
            distinct = sorted(set(sets))
            number = {s: i for i, s in enumerate(distinct)}
            star.uses.append(
                Use(w.variable, np.array([number[s] for s in sets], int), distinct, schedule.at[w.consumer])
            )
        return star

    def plan(self, program: Program, states: Sequence[int] | np.ndarray, machine: str, pins: tuple[str, ...]) -> Plan:
        """The plan that a choice of states stands for, without its prediction."""
        layouts: dict[str, Layout] = {}
        strategies, reshards = {}, {}
        for variable, node in self.nodes.items():
            chosen: Candidate = self.variables[variable].states[states[variable]]
            strategies[node.key] = chosen.strategy
            layouts |= {v.name: layout for v, layout in zip(node.results, chosen.leaves, strict=True)}
        for variable, values in self.inputs.items():
            layouts |= {v.name: self.variables[variable].states[states[variable]] for v in values}
        for made in self.made.values():
            start, graph = layouts[made.value.name], self.reshards.graph(made.value.type, ())
            for w in made.wanted:
                for end in w.layouts[states[w.variable]]:
                    if end != start:
                        reshards[made.value.name, end] = graph.path(start, end)
        outputs = {name: self.variables[v].states[states[v]] for name, v in self.outputs.items()}
        return Plan(self.candidates.costs.mesh, layouts, strategies, reshards, outputs, machine=machine, pins=pins)


def _region_operands(node: Node) -> tuple[Value, ...]:
    return node.op.region_operands()  # type: ignore[attr-defined]
