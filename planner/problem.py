"""The whole problem, built once and solved once or, to explain a choice, many times.

Where chains may be split there is one network for each way to split them; the best of their plans is the plan. Every
plan found is priced again by walking what it performs, which must give what the search claimed.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from ir.dims import TensorType
from ir.errors import Diagnostic, InternalError
from ir.graph import Program
from ir.layout import Layout
from ir.mesh import Mesh
from ir.passes.drop_inverses import drop_inverses
from ir.passes.recompute import recompute
from ir.plan import Plan, Prediction

from .ask.budget import explain_budget
from .ask.conflict import Demand, Fixed, demands_of, explain_conflict
from .build import Builder, Impossible
from .candidates import Candidates, Chains
from .cost import Costs, evaluate, split_bytes, whole_bytes
from .memory import peak_bytes
from .moves import Prices
from .orders import Ban, Pin, Unsatisfiable
from .pins import Rules, chains_of, check_pins, named_axes
from .recompute import Again, check_again, with_second_copies
from .refuse import check_fixed, explain_impossible, explain_no_chains, explain_unreachable
from .reshard import Reshards
from .solve.best import best_choices
from .solve.marginals import cheapest_with
from .solve.network import Network
from .solve.possible import is_possible
from .solve.search import Found, solve
from .solve.within import profile, smallest_memory, solve_within

LEAST = 0.1
"""Seconds that any search has."""
KEEP_SMALL = 64 * 1024
"""Below this size [bytes] a tensor is kept whole where that costs nothing."""


@dataclass(frozen=True)
class Question:
    """What is asked of the planner about a program on a mesh, but for preferences."""

    orders: tuple[Pin | Ban, ...] = ()
    fixed: Mapping[str, Layout] = field(default_factory=dict)
    """Layouts forced on inputs and outputs."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The program's values by the names that the user gives them."""
    memory: float | None = None
    """Bytes per device; 0 for no limit, None for what the machine has."""
    keep_small: int = KEEP_SMALL
    """Below this size [bytes] a tensor is kept whole where that costs nothing."""
    seconds: float = 60.0
    """For the search of one plan; questions asked after it have their own limits."""
    recompute: bool | tuple[Again, ...] = True
    """Whether values may be computed again where memory binds; or which are, in any case, and no others."""
    copies: float = 0.0
    """Vectors like the latents that a sampler holds beside the program."""

    def under(self, demands: Sequence[Demand]) -> Question:
        """The same under other orders and fixed layouts."""
        orders = tuple(d for d in demands if not isinstance(d, Fixed))
        return replace(self, orders=orders, fixed={d.name: d.layout for d in demands if isinstance(d, Fixed)})


@dataclass(frozen=True)
class Option:
    """The problem under one way to split the chains."""

    builder: Builder
    network: Network

    @classmethod
    def of(cls, builder: Builder, program: Program) -> Option:
        return cls(builder, builder.build(program))


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
    recompute: bool = True
    """Whether values of the forward pass may be computed a second time where that makes a plan fit."""
    again: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What is computed again by order; `program` has it written out."""
    wide: dict[int, Option | None] = field(default_factory=dict)
    """The options in which values may be recomputed, by the identity of the plain option."""
    demands: tuple[Demand, ...] = ()
    pose: Callable[..., Problem] | None = None
    """The same question under other demands, and on another mesh: `pose(demands, mesh)`."""

    @classmethod
    def of(cls, program: Program, costs: Costs, question: Question) -> Problem:
        """The problem under pins and bans; a `Diagnostic` with the smallest set that no plan satisfies, if any."""

        def pose(demands: Sequence[Demand], mesh: Mesh = costs.mesh) -> Problem:
            return cls._of(program, Costs(costs.machine, mesh), question.under(demands))

        program = drop_inverses(program)
        demands = tuple(demands_of(question.orders, question.fixed))
        try:
            posed = cls._of(program, costs, question)
        except Unsatisfiable as found:
            raise explain_conflict(found, demands, pose, program, question.names) from None
        return replace(posed, pose=pose, demands=demands)

    @classmethod
    def _of(cls, program: Program, costs: Costs, question: Question) -> Problem:
        pins, fixed, names = question.orders, question.fixed, question.names
        again = {} if isinstance(question.recompute, bool) else check_again(question.recompute, program, names)
        program = recompute(program, again)
        mesh = costs.mesh
        rules = check_pins(pins, program, names, mesh)
        forced = check_fixed(fixed, program, mesh)
        named = named_axes(pins) | {a for x in fixed.values() for a in x.used}
        usable = mesh.without(a for a in mesh.names if mesh.size(a) == 1 and a not in named)
        candidates = Candidates(costs, usable)
        options, impossible, prices = [], [], Prices(costs, usable)
        for chains in _chain_choices(program, usable, rules):
            builder = Builder(
                candidates,
                Reshards(costs, usable, chains, prices),
                chains,
                lambda v, x: rules.allow(v, x) and forced.get(v.name, x) == x,
                fixed,
                rules.orders.keys() | forced.keys(),
                lambda v, x: _tie(v.type, x, mesh, question.keep_small),
                question.copies,
            )
            try:
                options.append(Option.of(builder, program))
            except Impossible as found:
                impossible.append(explain_impossible(found, rules, candidates, names))
        if not options:
            raise impossible[0] if impossible else explain_no_chains(program, usable)
        if pins or fixed:
            options = [o for o in options if is_possible(o.network)]
            if not options:
                raise explain_unreachable(pins, fixed)
        budget = question.memory if question.memory is not None else costs.machine.memory_size
        texts = tuple(map(str, pins))
        free = question.recompute is True
        return cls(program, costs, tuple(options), float(budget), texts, question.seconds, free, again)

    def solve(self, value: str | None = None, layout: Layout | None = None, cutoff: float = math.inf) -> Plan | None:
        """The best plan, or the best with a value's layout forced; None where none fits the memory or the layout."""
        return self.search(value, layout, cutoff)[0]

    def search(
        self, value: str | None = None, layout: Layout | None = None, cutoff: float = math.inf
    ) -> tuple[Plan | None, bool]:
        """`solve`, and whether its answer is proved: where none was found, that there is none."""
        begin = time.monotonic()
        best: tuple[Found, Option, Network] | None = None
        bound, kept, proven = math.inf, {}, True
        # the more axes the chains take, the smaller the rest of the problem
        for number, option in reversed(list(enumerate(self.options))):
            limit = min(cutoff, best[0].cost * (1 - 1e-9)) if best else cutoff
            answers = list(self._search(option, value, layout, limit, begin + self.seconds))
            bound = min([bound, *(limit if found is None else found.bound for found, _, _ in answers[-1:])])
            proven &= all(found is None or "stopped" not in found.how for found, _, _ in answers)
            for found, used, network in answers:
                if found is not None and found.proof and network is self.options[number].network:
                    kept[number] = found.proof
                if found is not None and (best is None or found.cost < best[0].cost):
                    best = found, used, network
        if best is None or not math.isfinite(best[0].cost):
            return None, proven
        found, option, network = best
        if network is not option.network:
            found = replace(found, states=_states_in(option.network, network, found.states))
        how = found.how
        if not proven:
            how = f"{re.sub(', stopped.*|stopped.*', '', how)}, stopped after {_told(time.monotonic() - begin)}"
        plan = self._plan(replace(found, bound=min(found.cost, bound), how=how.removeprefix(", ")), option)
        return replace(plan, certificate={"kept": kept} if kept else None), proven

    def solve_each(self, value: str, layouts: Sequence[Layout]) -> list[Plan | None]:
        """The best plan with a value in each of some layouts; what the layouts have in common is worked out once.

        Where memory binds, or recomputing may help, a layout is solved for by itself.
        """
        found: list[tuple[Found, Option] | None] = [None] * len(layouts)
        for option in reversed(self.options):
            star = next(s for s in option.network.stars if s.value.name == value)
            place = {x: i for i, x in enumerate(star.layouts)}
            groups = [np.flatnonzero(star.labels == place.get(x, -1)) for x in layouts]
            best = solve(option.network, self.seconds, axes=option.builder.free_axes)
            if best is None:
                continue
            each = cheapest_with(option.network, star.source, groups, best.states, self.seconds)
            for i, answer in enumerate(each):
                before = found[i]
                if answer is not None and (before is None or answer.cost < before[0].cost * (1 - 1e-9)):
                    found[i] = answer, option
        return [
            each and (self._plan(*each) if self._fits(*each) else self.solve(value, layout))
            for layout, each in zip(layouts, found, strict=True)
        ]

    def best(self, count: int) -> list[Plan]:
        """The cheapest plans that differ, cheapest first; with recomputing if the best without it does not fit."""
        plans: list[Plan] = []
        for option in reversed(self.options):  # of equals the one that `solve` meets first
            free = solve(option.network, self.seconds, axes=option.builder.free_axes)
            if free is None:
                continue
            wide = option if self._fits(free, option) else self.with_second(option) or option
            found = best_choices(wide.network, count, self.memory, self.seconds, wide.builder.free_axes)
            plans += [self._plan(f, wide) for f in found]
        plans.sort(key=lambda p: p.prediction.seconds if p.prediction else math.inf)
        distinct: list[Plan] = []
        for plan in plans:
            if not any(_same(plan, other) for other in distinct):
                distinct.append(plan)
        return distinct[:count]

    def _fits(self, found: Found, option: Option) -> bool:
        return not self.memory or float(profile(option.network, found.states).max()) <= self.memory

    def solve_under(self, pins: Sequence[Pin]) -> Plan | None:
        """The best plan under further pins; None where there is none."""
        assert self.pose is not None
        try:
            return self.pose((*self.demands, *pins)).solve()
        except Unsatisfiable:
            return None

    def _search(
        self, option: Option, value: str | None, layout: Layout | None, limit: float, deadline: float
    ) -> Iterator[tuple[Found | None, Option, Network]]:
        """What is found under one option: without recomputing, and then with it if memory binds."""
        network = option.network if value is None else _forced(option.network, value, layout)
        if network is None:
            return

        def left(share: float = 1.0) -> float:
            return max(share * (deadline - time.monotonic()), LEAST)

        axes = option.builder.free_axes
        found = solve(network, left(), limit, axes)
        if not self.memory or found is None or profile(network, found.states).max() <= self.memory:
            yield found, option, network
            return
        kept = solve_within(network, self.memory, left(0.5), limit, axes, found)
        yield kept, option, network
        wide = self.with_second(option)
        network = wide and (wide.network if value is None else _forced(wide.network, value, layout))
        if wide is not None and network is not None:
            limit = limit if kept is None else min(limit, kept.cost * (1 - 1e-9))
            yield solve_within(network, self.memory, left(), limit, axes), wide, network

    def with_second(self, option: Option) -> Option | None:
        """The option in which values may be recomputed; None where there are none."""
        if not self.recompute:
            return None
        if id(option) not in self.wide:
            program, second = with_second_copies(
                self.program, self.memory, self.costs.mesh, self.costs.machine.platform
            )
            self.wide[id(option)] = Option.of(option.builder.fresh(second), program) if second else None
        return self.wide[id(option)]

    def _plan(self, found: Found, option: Option) -> Plan:
        states = option.builder.without_idle(found.states)
        found = replace(found, states=states, cost=option.network.cost(states))
        plan = option.builder.plan(self.program, states, self.costs.machine.name, self.pins)
        plan = replace(plan, recompute=self.again) if self.again else plan
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

    def least_memory(self, seconds: float = 20.0, enough: float = 0.0) -> tuple[float, float]:
        """The least peak of any plan [bytes]: (the least that was found, a proven lower bound).

        Where some plan needs no more than `enough`, nothing is proved.
        """
        deadline = time.monotonic() + seconds
        fastest = replace(self, memory=0.0, seconds=seconds / 3).solve()
        attained = fastest.prediction.peak_bytes if fastest is not None and fastest.prediction else math.inf
        if attained <= enough:
            return attained, 0.0
        proven = math.inf
        for n, option in enumerate(self.with_second(option) or option for option in self.options):
            left = max(0.0, deadline - time.monotonic()) / (len(self.options) - n)
            least, bound = smallest_memory(option.network, option.builder.free_axes, left, attained)
            attained, proven = min(attained, least), min(proven, bound)
        return attained, min(attained, proven)

    def too_small(self, proven: bool = False) -> Diagnostic:
        """The error for a memory budget that nothing fits, or (unless `proven`) that nothing was found to fit."""
        return explain_budget(self, proven)


def _told(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1g} s"


def _same(plan: Plan, other: Plan) -> bool:
    return replace(plan, prediction=None) == replace(other, prediction=None)


def _tie(t: TensorType, layout: Layout, mesh: Mesh, keep_small: int) -> float:
    """Smaller is preferred among equals: a small tensor whole, a large one in small blocks."""
    if whole_bytes(t) < keep_small:
        return float(sum(len(axes) for _, axes in layout.splits))
    return math.log2(max(1, split_bytes(t, layout, mesh)) * mesh.devices / max(1, whole_bytes(t)))


def _chain_choices(program: Program, mesh: Mesh, rules: Rules) -> list[Chains]:
    """Every way to split the chains: over no axis, or over axes whose product divides their number."""
    count = chains_of(program)
    if count is None:
        return [Chains()]
    subsets = (axes for n in range(len(mesh.axes) + 1) for axes in combinations(mesh.names, n))
    subsets = rules.pinned_chains() or subsets
    return [Chains(axes) for axes in subsets if count % mesh.size(axes) == 0 and rules.allow_chains(axes)]


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
