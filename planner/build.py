"""From a program to its cost network, and from a choice of states back to a plan.

A region (the body of a scan) joins the same network, its costs multiplied by its trips: its inputs are variables, its
tied outputs are wanted in the layout of the carry that they feed, and each result of the node lies as the region
output that it comes from.

Where values may be recomputed, the program holds all second copies (`ir.passes.recompute`) and `second` names them:
such a node may also be absent, and each of its consumers chooses between the kept value and the second copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from ir.column import Column
from ir.dims import TensorType
from ir.graph import Node, Program, Value
from ir.layout import Axes, Layout
from ir.op import Op
from ir.plan import Plan

from .build_stars import Collected, Made, Wanted, region_operands
from .candidates import ABSENT, Candidate, Candidates, Chains, Ways
from .cost import made_anew, trips_of
from .fusion import Fusion
from .reshard import Reshards
from .schedule import Schedule
from .solve.network import Network, Variable
from .stars import Stars

Filter = Callable[[Value, Layout], bool]
Tie = Callable[[Value, Layout], float]


class Impossible(Exception):
    """No state is left for a variable: the value, and the node that makes it (None: an input or output)."""

    def __init__(self, value: Value, node: Node | None):
        super().__init__(value.name)
        self.value, self.node = value, node


@dataclass(frozen=True)
class _Choices:
    """What the states of a node imply: alike for all nodes of one op on operands of the same types."""

    states: list[Candidate]
    seconds: np.ndarray
    tie: np.ndarray
    wants: tuple[Column, ...]
    """By distinct operand, the tuples of layouts wanted."""
    leaves: tuple[Column, ...]
    """By result, the layout; None where the node is absent."""


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
    restricted: Set[str]
    """The names of the values that pins speak of: all others may leave their producers in any layout."""
    tie: Tie
    """What decides between layouts of equal price, smaller first; it sees no more of a value than its type."""
    copies: float = 0.0
    """How many vectors like the latents a sampler holds beside the program."""
    variables: list[Variable] = field(default_factory=list)
    nodes: dict[int, Node] = field(default_factory=dict)
    inputs: dict[int, list[Value]] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    """The variable that holds each output's layout, by the name that `Plan.outputs` uses."""
    made: dict[str, Made] = field(default_factory=dict)
    second: Mapping[str, Value] = field(default_factory=dict)
    """The second copies, with what they are copies of."""
    inlined: set[str] = field(default_factory=set)
    """Of those originals, the ones that the compiler makes inside the kernels that use them."""
    free: set[str] = field(default_factory=set)
    """The second copies that take no time of their own."""
    choices: dict[tuple[Op, tuple[TensorType, ...], tuple[int, ...]], _Choices] = field(default_factory=dict)
    """By op, types and which operands are one value: what nobody restricts."""
    columns: dict[tuple[Any, ...], Column] = field(default_factory=dict)
    """One column for all equal ones, so that they are told apart by identity."""
    same: dict[int, tuple[Column, Column]] = field(default_factory=dict)
    """By identity of a column, that one and the column itself."""
    ties: dict[TensorType, dict[Layout | None, float]] = field(default_factory=dict)
    """Tie-breaks by type and layout."""
    tied: dict[tuple[TensorType, int], np.ndarray] = field(default_factory=dict)
    """Tie-breaks by type and identity of a column."""
    stars: Stars = field(init=False)

    def fresh(self, second: Mapping[str, Value]) -> Builder:
        """An empty builder under the same rules, for the program with second copies."""
        return Builder(
            self.candidates,
            self.reshards,
            self.chains,
            self.allow,
            self.fixed,
            self.restricted,
            self.tie,
            copies=self.copies,
            second=second,
        )

    def __post_init__(self) -> None:
        self.stars = Stars(self.reshards, self.platform)

    @property
    def platform(self) -> str:
        """Whose compiler the memory is told for."""
        return self.candidates.costs.machine.platform

    @property
    def free_axes(self) -> Axes:
        """The mesh axes that the chains leave to other dims."""
        return tuple(a for a in self.candidates.mesh.names if a not in (self.chains.axes or ()))

    def build(self, program: Program) -> Network:
        if self.second:
            fusion = Fusion.of(program, self.platform)
            self.inlined = {v.name for v in self.second.values() if fusion.inlined[v.name]}
        self.free = made_anew(program, self.platform)
        for i in program.inputs:
            self._input(i.value, 1)
        self._body(program, 1)
        self._outputs(program, "")
        return Network(self.variables, Collected(self, Schedule.of(program, self.platform)).stars(program))

    def _variable(self, name: str, states: list, cost: Sequence[float] | np.ndarray, tie: Sequence[float] | np.ndarray):
        self.variables.append(Variable(name, states, np.array(cost, float), np.array(tie, float)))
        return len(self.variables) - 1

    def _layouts(self, value: Value) -> list[Layout]:
        return [x for x in self.candidates.layouts(value.type) if self.chains.allow(x, value.type)]

    def _input(self, value: Value, trips: int) -> int:
        states = [x for x in self._layouts(value) if self.allow(value, x)]
        if not states:
            raise Impossible(value, None)
        column = self.one(Column.of(states))
        variable = self._variable(value.name, states, [0.0] * len(states), self._ties(value, column))
        self.made[value.name] = Made(value, variable, column, trips)
        self.inputs[variable] = [value]
        return variable

    def _want(self, value: Value, variable: int, layouts: Column, consumer: str) -> None:
        self.made[value.name].wanted.append(Wanted(variable, self.one(layouts), consumer))

    def one(self, column: Column) -> Column:
        """The one column that equals this one."""
        if id(column) not in self.same:
            one = self.columns.setdefault((column.distinct, column.at.tobytes()), column)
            self.same[id(column)] = one, column
        return self.same[id(column)][0]

    def _body(self, program: Program, trips: int) -> None:
        for node in program.nodes:
            if node.op.regions():
                self._region(node, trips)
            else:
                self._node(node, trips)

    def _node(self, node: Node, trips: int) -> None:
        found = self._choices(node)
        seconds = np.array([c.halos for c in found.states]) if node.key in self.free else found.seconds
        variable = self._variable(node.key, found.states, trips * seconds, found.tie)
        self.nodes[variable] = node
        for value, wants in zip(dict.fromkeys(node.operands), found.wants, strict=True):
            if (kept := self.second.get(value.name)) is not None:
                again = [kept.name in c.again for c in found.states]
                first = Column.of(() if a else w for a, w in zip(again, wants, strict=True))
                self._want(kept, variable, first, node.key)
                wants = Column.of(w if a else () for a, w in zip(again, wants, strict=True))
            self._want(value, variable, wants, node.key)
        for value, leaves in zip(node.results, found.leaves, strict=True):
            self.made[value.name] = Made(value, variable, leaves, trips)

    def _choices(self, node: Node) -> _Choices:
        """The states of a node with what they imply; those that the pins leave."""
        which = tuple(node.operands.index(v) for v in node.operands)
        key = node.op, node.types, which
        if key not in self.choices:
            ways, sizes = self.candidates.of_node(node), node.op.dims(*node.types)
            if self.chains.axes is not None:
                legal = [i for i, c in enumerate(ways.candidates) if self.chains.allow_strategy(c.strategy, sizes)]
                ways = ways.take(legal)
            self.choices[key] = self._implied(node, which, ways)
        found = self.choices[key]
        originals = [self.second.get(v.name, v) for v in node.results]
        if found.states and self.restricted.isdisjoint(v.name for v in originals) and not self.second:
            return found
        allowed = [c for c in found.states if all(self.allow(v, x) for v, x in zip(originals, c.leaves, strict=True))]
        if not allowed:
            raise Impossible(node.results[0], node)
        return self._implied(node, which, _ways(node, self._with_second(node, allowed) if self.second else allowed))

    def _implied(self, node: Node, which: tuple[int, ...], ways: Ways) -> _Choices:
        wants = []
        for operand in dict.fromkeys(which):
            at = [column for column, first in zip(ways.wants, which, strict=True) if first == operand]
            wants.append(self.one(at[0].each(_set) if len(at) == 1 else Column.of(map(_set, zip(*at, strict=True)))))
        leaves = tuple(map(self.one, ways.leaves))
        tie = np.zeros(len(ways.candidates))
        for value, column in zip(node.results, leaves, strict=True):
            tie += self._ties(value, column)
        return _Choices(ways.candidates, ways.seconds, tie, tuple(wants), leaves)

    def _ties(self, value: Value, column: Column) -> np.ndarray:
        """What breaks ties between the layouts of a column."""
        key = value.type, id(column)
        if key not in self.tied:
            known = self.ties.setdefault(value.type, {None: 0.0})
            for x in column.distinct:
                if x not in known:
                    known[x] = self.tie(value, x)
            each = [known[x] for x in column.distinct]
            self.tied[key] = np.array(each, float)[column.at]
        return self.tied[key]

    def _with_second(self, node: Node, states: list[Candidate]) -> list[Candidate]:
        """The states with every choice of the operands that are taken recomputed, and absence for a second copy.

        What the compiler makes anew inside the kernels that use it is not kept for them: its second copy is taken, so
        that what it is made of lives no longer than the choices say.
        """
        names = [self.second[v.name].name for v in dict.fromkeys(node.operands) if v.name in self.second]
        anew = frozenset(self.inlined.intersection(names))
        names = [n for n in names if n not in anew]
        choices = [anew.union(c) for n in range(len(names) + 1) for c in combinations(names, n)]
        found = [c._replace(again=again) if again else c for again in choices for c in states]
        return [ABSENT, *found] if node.key in self.second else found

    def _region(self, node: Node, trips: int) -> None:
        (region,) = node.op.regions()
        inner = trips * trips_of(node)
        fed = [
            (outer, self._input(value, inner))
            for outer, value in zip(node.operands, region_operands(node), strict=True)
        ]
        self._body(region, inner)
        self._outputs(region, f"{region.name}:")
        for outer, variable in fed:
            self._want(outer, variable, self._each(variable), node.key)
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
            self.made[value.name] = Made(value, variable, self.one(Column.of(states)), trips)
            self.inputs.setdefault(variable, []).append(value)

    def _narrow(self, variable: int, keep: list[int]) -> None:
        """Drops states of a variable that is in use already."""
        v = self.variables[variable]
        self.variables[variable] = Variable(v.name, [v.states[s] for s in keep], v.cost[keep], v.tie[keep])
        for made in self.made.values():
            if made.source == variable:
                made.layouts = self.one(made.layouts.take(keep))
            for wanted in made.wanted:
                if wanted.variable == variable:
                    wanted.layouts = self.one(wanted.layouts.take(keep))

    def _outputs(self, program: Program, prefix: str) -> None:
        for name, value in program.outputs:
            if name in program.ties:
                variable = self.made[program.input(program.ties[name]).name].source
            else:
                states = [x for x in self._layouts(value) if self.fixed.get(prefix + name, x) == x]
                if not states:
                    raise Impossible(value, None)
                tie = self._ties(value, self.one(Column.of(states)))
                variable = self._variable(f"output {prefix}{name}", states, [0.0] * len(states), tie)
            self.outputs[prefix + name] = variable
            self._want(value, variable, self._each(variable), f"output {prefix}{name}")

    def _each(self, variable: int) -> Column:
        """What an input or output wants: the layout that its state is."""
        return Column.of((x,) for x in self.variables[variable].states)

    def without_idle(self, states: Sequence[int] | np.ndarray) -> np.ndarray:
        """The states without second copies that nothing takes."""
        states = np.array(states)
        for variable, node in reversed(self.nodes.items()):  # what takes a copy comes after it
            original = self.second.get(node.key)
            if original is not None and not any(original.name in self._chosen(v, states).again for v in self.nodes):
                states[variable] = self.variables[variable].states.index(ABSENT)
        return states

    def _chosen(self, variable: int, states: np.ndarray) -> Candidate:
        return self.variables[variable].states[states[variable]]

    def plan(self, program: Program, states: Sequence[int] | np.ndarray, machine: str, pins: tuple[str, ...]) -> Plan:
        """The plan that a choice of states stands for, without its prediction."""
        layouts: dict[str, Layout] = {}
        strategies, reshards = {}, {}
        recompute: dict[str, tuple[str, ...]] = {}
        for variable, node in self.nodes.items():
            chosen: Candidate = self.variables[variable].states[states[variable]]
            if chosen is ABSENT:
                continue
            for name in sorted(chosen.again):
                recompute[name] = (*recompute.get(name, ()), node.key)
            strategies[node.key] = chosen.strategy
            layouts |= {v.name: layout for v, layout in zip(node.results, chosen.leaves, strict=True)}
        for variable, values in self.inputs.items():
            layouts |= {v.name: self.variables[variable].states[states[variable]] for v in values}
        for made in self.made.values():
            if made.value.name not in layouts:
                continue
            start, graph = layouts[made.value.name], self.reshards.graph(made.value.type, ())
            for w in made.wanted:
                for end in w.layouts[states[w.variable]]:
                    if end != start:
                        reshards[made.value.name, end] = graph.path(start, end)
        outputs = {name: self.variables[v].states[states[v]] for name, v in self.outputs.items()}
        mesh = self.candidates.costs.mesh
        return Plan(
            mesh,
            layouts,
            strategies,
            reshards,
            outputs,
            machine=machine,
            platform=self.platform,
            pins=pins,
            recompute=recompute,
            copies=self.copies,
            native=self.candidates.costs.native,
        )


def _ways(node: Node, states: list[Candidate]) -> Ways:
    """What some states want and leave, of which one may be that the node is absent."""
    wants = [Column.of(None if c is ABSENT else c.wants[i] for c in states) for i in range(len(node.operands))]
    leaves = [Column.of(None if c is ABSENT else c.leaves[i] for c in states) for i in range(len(node.results))]
    seconds = np.array([c.compute + c.halos for c in states], float)
    return Ways(states, seconds, tuple(wants), tuple(leaves))


def _set(layouts: Layout | tuple[Layout, ...] | None) -> tuple[Layout, ...]:
    """The layouts wanted of a value, each once; none where the node is absent."""
    if layouts is None:
        return ()
    return (layouts,) if isinstance(layouts, Layout) else tuple(dict.fromkeys(x for x in layouts if x is not None))
