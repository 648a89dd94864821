"""The whole problem, built once and solved once or, to explain a choice, many times.

Where chains may be split there is one network for each way to split them; the best of their plans is the plan. Every
plan found is priced again by walking what it performs, which must give what the search claimed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from ir.dims import TensorType
from ir.errors import Diagnostic, InternalError
from ir.graph import Program
from ir.layout import Axes, Layout
from ir.mesh import Mesh
from ir.plan import Plan, Prediction

from .build import Builder, Impossible
from .candidates import Candidates, Chains
from .cost import Costs, evaluate, split_bytes, whole_bytes
from .memory import peak_bytes
from .solve.network import Network
from .pins import Pin, chains_of, check_pins
from .refuse import check_fixed, explain_impossible
from .reshard import Reshards
from .solve.search import Found, solve
from .solve.within import smallest_memory, solve_within


@dataclass(frozen=True)
class Option:
    """The problem under one way to split the chains."""

    builder: Builder
    network: Network


@dataclass(frozen=True)
class Problem:
    """Everything that the search needs, built once: `explain` solves it many times."""

    program: Program
    costs: Costs
    options: tuple[Option, ...]
    memory: float
    """Bytes per device, 0 for no limit."""
    pins: tuple[str, ...]
    seconds: float

    @classmethod
    def of(
        cls,
        program: Program,
        costs: Costs,
        pins: tuple[Pin, ...],
        fixed: Mapping[str, Layout],
        names: Mapping[str, str],
        memory: float | None,
        keep_small: int,
        seconds: float,
    ) -> Problem:
        mesh = costs.mesh
        rules = check_pins(pins, program, names, mesh)
        forced = check_fixed(fixed, program, mesh)
        named = {a for p in pins for _, axes in p.split for a in axes} | {a for x in fixed.values() for a in x.used}
        usable = mesh.without(a for a in mesh.names if mesh.size(a) == 1 and a not in named)
        candidates = Candidates(costs, usable)
        options, impossible, moves = [], [], {}
        for chains in _chain_choices(program, usable, rules.chain):
            builder = Builder(
                candidates,
                Reshards(costs, usable, chains, moves),
                chains,
                lambda v, x: rules.allow(v, x) and forced.get(v.name, x) == x,
                fixed,
                lambda v, x: _tie(v.type, x, mesh, keep_small),
            )
            try:
                options.append(Option(builder, builder.build(program)))
            except Impossible as found:
                impossible.append(explain_impossible(found, rules, candidates, names))
        if not options:
            raise impossible[0]
        budget = memory if memory is not None else costs.machine.memory_size
        return cls(program, costs, tuple(options), float(budget), tuple(map(str, pins)), seconds)

    def solve(self, value: str | None = None, layout: Layout | None = None, cutoff: float = math.inf) -> Plan | None:
        """The best plan, or the best with a value's layout forced; None where none fits the memory or the layout."""
        best: tuple[Found, Option, Network] | None = None
        bound = math.inf
        for option in reversed(self.options):  # the more axes the chains take, the smaller the rest of the problem
            network = option.network if value is None else _forced(option.network, value, layout)
            if network is None:
                continue
            limit = min(cutoff, best[0].cost * (1 - 1e-9)) if best else cutoff
            axes = option.builder.free_axes
            if self.memory:
                found = solve_within(network, self.memory, self.seconds, limit, axes)
            else:
                found = solve(network, self.seconds, limit, axes)
            bound = min(bound, limit if found is None else found.bound)
            if found is not None and (best is None or found.cost < best[0].cost):
                best = found, option, network
        if best is None or not math.isfinite(best[0].cost):
            return None
        found, option, network = best
        if network is not option.network:
            found = replace(found, states=_states_in(option.network, network, found.states))
        return self._plan(replace(found, bound=min(found.cost, bound)), option.builder)

    def _plan(self, found: Found, builder: Builder) -> Plan:
        plan = builder.plan(self.program, found.states, self.costs.machine.name, self.pins)
        compute, communication, sent = evaluate(self.program, plan, self.costs)
        seconds = compute + communication
        if not math.isclose(seconds, found.cost, rel_tol=1e-9, abs_tol=1e-15):
            raise InternalError(f"the plan costs {seconds} s, but the search took it for {found.cost} s")
        prediction = Prediction(
            seconds,
            compute,
            communication,
            peak_bytes(self.program, plan),
            sent,
            min(seconds, found.bound) if found.bound < found.cost else seconds,
            found.how,
        )
        return replace(plan, prediction=prediction)

    def too_small(self) -> Diagnostic:
        """The error for a memory budget that nothing fits, with the least that would do."""
        attained, proven = math.inf, math.inf
        for option in self.options:
            least, bound = smallest_memory(option.network, option.builder.free_axes)
            attained, proven = min(attained, least), min(proven, bound)
        hint = f"the smallest memory that would do on this mesh is {attained:,.0f} B per device"
        if attained > proven * (1 + 1e-6):
            hint = f"{attained:,.0f} B per device would do, and less than {proven:,.0f} B cannot"
        message = f"no plan on mesh {self.costs.mesh} fits into {self.memory:,.0f} B per device"
        if proven <= self.memory:  # not proved: the search was stopped
            message = (
                f"no plan on mesh {self.costs.mesh} that fits into {self.memory:,.0f} B per device was found in time"
            )
        return Diagnostic("plan", message, where="memory", hint=f"{hint}; more devices or fewer pins need less")


def _tie(t: TensorType, layout: Layout, mesh: Mesh, keep_small: int) -> float:
    """Smaller is preferred among equals: a small tensor whole, a large one in small blocks."""
    if whole_bytes(t) < keep_small:
        return float(sum(len(axes) for _, axes in layout.splits))
    return math.log2(max(1, split_bytes(t, layout, mesh)) * mesh.devices / max(1, whole_bytes(t)))


def _chain_choices(program: Program, mesh: Mesh, pinned: Axes | None) -> list[Chains]:
    """Every way to split the chains: over no axis, or over axes whose product divides their number."""
    count = chains_of(program)
    if count is None:
        return [Chains()]
    if pinned is not None:
        return [Chains(pinned)]
    subsets = (axes for n in range(len(mesh.axes) + 1) for axes in combinations(mesh.names, n))
    return [Chains(axes) for axes in subsets if count % mesh.size(axes) == 0]


def _forced(network: Network, value: str, layout: Layout | None) -> Network | None:
    """The network with a value held to a layout, or None where its producer cannot leave it so."""
    keep = [np.arange(len(v.states)) for v in network.variables]
    star = next(s for s in network.stars if s.value.name == value)
    if layout not in star.layouts:
        return None
    keep[star.source] = np.flatnonzero(star.labels == star.layouts.index(layout))
    return network.restrict(keep) if len(keep[star.source]) else None


def _states_in(whole: Network, part: Network, states):
    """A choice of states of a restricted network, as indices into the whole one."""
    return [
        next(i for i, s in enumerate(v.states) if s is p.states[k])
        for v, p, k in zip(whole.variables, part.variables, states, strict=True)
    ]
