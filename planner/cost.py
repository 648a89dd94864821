"""Seconds: what a node, a move and a halo cost on a machine, and what a whole plan costs.

The model is roofline for computing and alpha-beta for communication:

    node        max(flops / F, bytes / B) + launch        per device, padding included
    all_reduce      alpha log2 n + 2 (n-1)/n · S / beta   S: bytes of the operand on one device
    reduce_scatter  alpha log2 n +   (n-1)/n · S / beta
    all_gather      alpha log2 n +   (n-1)   · S / beta
    all_to_all      alpha log2 n +   (n-1)/n · S / beta + 2 S / R      (repacked before it is sent)
    halo            2 (alpha + S / beta)                  S: bytes of one edge
    permute         alpha        +             S / beta   a round; S: bytes of the piece that is passed on
    slice           0

    pass            2 (alpha + S / beta)                  S: bytes of one buffer

F, B and R are those of the op's class of work where the machine has them, and a machine with measured curves replaces
alpha and beta by those (see `machine`). An all_gather or reduce_scatter along a dim that is not the first in memory is
repacked too, on a machine that gives R.

Hand-written collectives (`planner.native`) follow the machine's figures of them, without repacking; without
figures they are priced as those of `jax.lax`.

What a strategy's method goes over beside operands and results (`Op.further_bytes`) is added to its node, at B.

An op that is `Map` along all its dims (elementwise functions, broadcasts, coordinates) is fused by XLA into what uses
it: it is charged no launch and a quarter of its memory traffic.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import numpy as np

from ir.dims import TensorType
from ir.graph import Node, Program
from ir.layout import Axes, Collective, Layout, Move, block, collectives_of
from ir.mesh import Mesh
from ir.native import Native, takes
from ir.op import Lookup, Map, Op, Strategy, facts
from ir.ops.contract import Contract
from ir.ops.fft import Fourier
from ir.ops.gather import Gather, ScatterAdd
from ir.ops.interpolate import Interp
from ir.ops.linalg import Cholesky, TriangularSolve
from ir.ops.pullback import Pullback
from ir.ops.reduce import Reduction
from ir.passes.recompute import SUFFIX
from ir.plan import Plan
from ir.strategy import Placements

from .curves import share
from .fusion import Fusion
from .machine import Machine
from .native import native_rules

FUSED_TRAFFIC = 0.25
"""The share of its memory traffic that a fused op is charged: most of its operands and results stay in registers."""


@dataclass(frozen=True)
class Work:
    """What a node's block computation costs: all of it that is the same in every strategy."""

    mesh: Mesh
    types: tuple[TensorType, ...]
    """Of the operands, then of the results."""
    sizes: Mapping[str, int]
    """The dims of which a block does its share only."""
    flop_seconds: float
    """Of the whole op on one device."""
    byte_seconds: float
    """Per byte of operand or result."""
    launch: float
    renames: Mapping[str, str]
    """What dims of the operands are called in the results."""
    results: int
    """How many of the types are results."""
    follows: Mapping[str, str]
    """What dims of operands are split as others are, by these."""
    further: Callable[[Strategy], float] | None = None
    """Seconds that a strategy adds; None where the op adds none."""

    def seconds(self, strategy: Strategy, wants: Sequence[Layout], leaves: Sequence[Layout]) -> float:
        """Seconds of one block, with the layouts of operands and results that the strategy implies."""
        part, mesh = 1.0, self.mesh
        for dim, axes in strategy.splits:
            if dim in self.sizes:
                part *= block(self.sizes[dim], mesh.size(axes)) / self.sizes[dim]
        touched = 0
        for t, layout in zip(self.types, (*wants, *leaves), strict=True):
            touched += split_bytes(t, layout, mesh)
        more = self.further(strategy) if self.further else 0.0
        return max(self.flop_seconds * part, self.byte_seconds * touched) + self.launch + more

    def all_seconds(self, placements: Placements) -> np.ndarray:
        """The same for many strategies at once."""
        parts, count = _parts(placements, self.mesh), len(placements.strategies)
        renamed = {self.renames.get(d, d): p for d, p in parts.items()}
        arriving = parts | {d: parts[other] for d, other in self.follows.items() if other in parts}
        part, touched = np.ones(count), np.zeros(count, int)
        for dim, p in parts.items():
            if dim in self.sizes:
                part *= -(-self.sizes[dim] // p) / self.sizes[dim]
        for i, t in enumerate(self.types):
            held = arriving if i < len(self.types) - self.results else renamed
            total = np.full(count, t.itemsize)
            for d in t.dims:
                total *= -(-d.size // held[d.name]) if d.name in held else d.size
            touched += total
        found = np.maximum(self.flop_seconds * part, self.byte_seconds * touched) + self.launch
        return found + np.array([self.further(s) for s in placements.strategies]) if self.further else found


@dataclass(frozen=True)
class Costs:
    """The prices of one machine on one mesh."""

    machine: Machine
    mesh: Mesh
    rules: tuple[Native, ...] | None = None
    """Which collectives hand-written kernels perform, where a plan has said so."""

    @cached_property
    def native(self) -> tuple[Native, ...] | None:
        """Which collectives hand-written kernels perform: by the rules, or as the machine's figures say."""
        return native_rules(self.machine, self.mesh) if self.rules is None else self.rules

    def compute(self, op: Op, types: tuple[TensorType, ...], strategy: Strategy) -> float:
        """Seconds of a node's block computation on one device."""
        wants = tuple(op.operand_layout(i, types, strategy) for i in range(len(types)))
        return self.work(op, types).seconds(strategy, wants, op.result_layouts(types, strategy))

    def work(self, op: Op, types: tuple[TensorType, ...]) -> Work:
        """What a node's block computation costs in any strategy."""
        known, kind = facts(op, types), work_of(op, types)
        flops, passes = _work(op, types)
        fused = all(isinstance(r, Map) for r in known.roles.values())
        bandwidth = self.machine.bandwidth(kind)

        def further(strategy: Strategy) -> float:
            return op.further_bytes(types, strategy, self.mesh) / bandwidth

        return Work(
            self.mesh,
            (*types, *known.results),
            {d: n for d, n in known.sizes.items() if not isinstance(known.roles.get(d), Lookup)},
            flops / self.machine.flops(known.results[0].dtype, kind),
            passes * (FUSED_TRAFFIC if fused else 1.0) / bandwidth,
            0.0 if fused else self.machine.launch,
            known.renames,
            len(known.results),
            op.follows(),
            None if type(op).further_bytes is Op.further_bytes else further,
        )

    def collective(self, kind: str, axes: Axes, size: int, inside: bool = False) -> float:
        """Seconds of one collective with `size` bytes of operand on each device.

        Collectives gather and scatter along the first dim in memory: where the dim is another one (`inside`), the
        larger side is transposed, which counts where the machine says how fast that is.
        """
        return self.curve(kind, axes, inside)(size)

    def curve(self, kind: str, axes: Axes, inside: bool = False) -> Callable[[int], float]:
        """The same by size."""
        theirs = self._lax_curve(kind, axes, inside)
        rules = [r for r in self.native or () if r.kind == kind and set(r.axes) == set(axes)]
        if not rules or self.machine.native is None:
            return theirs
        ours = self.machine.native.curve(kind, 1, self.mesh.size(axes))
        return lambda size: ours(size) if takes(rules, kind, axes, size) else theirs(size)

    def _lax_curve(self, kind: str, axes: Axes, inside: bool) -> Callable[[int], float]:
        alone = self.machine.lax_curve(kind, self.mesh, axes)
        if inside and (rate := self.machine.rates("repack").bandwidth):
            larger = self.mesh.size(axes) if kind == "all_gather" else 1
            return lambda size: alone(size) + 2 * (size * larger) / rate
        return alone

    def priced(self, move: Move, t: TensorType, layout: Layout) -> Iterator[tuple[Collective, float]]:
        """The collectives of one move of a value from `layout`, each with its seconds."""
        inside = False
        if (along := gathered(move)) is not None:
            before = t.dims[: t.index(along)]
            inside = any(d.size > self.mesh.size(layout.axes(d.name)) for d in before)
        for c in collectives_of(move, t, layout, self.mesh):
            yield c, self.collective(c.kind, c.axes, c.bytes, inside)

    def sent(self, c: Collective) -> float:
        """Bytes that each device sends in one collective."""
        return share(c.kind, self.mesh.size(c.axes)) * c.bytes

    def move(self, move: Move, t: TensorType, layout: Layout) -> float:
        """Seconds of one move of a value from `layout`."""
        if move.kind == "slice":
            return 0.0
        return sum(seconds for _, seconds in self.priced(move, t, layout))

    def halos(self, op: Op, types: tuple[TensorType, ...], strategy: Strategy) -> float:
        """Seconds of what a strategy exchanges with neighbours: halos of operands, passes, spills of results."""
        seconds = sum(
            self.move(m, types[i], op.operand_layout(i, types, strategy)) for i, m in op.halos(types, strategy)
        )
        seconds += sum(self.move(m, t, layout) for t, layout, m in op.passes(types, strategy, self.mesh))
        for i, m in op.spills(types, strategy):
            known = facts(op, types).results
            seconds += self.move(m, known[i], op.result_layouts(types, strategy)[i])
        return seconds


def gathered(move: Move) -> str | None:
    """The dim along which a move gathers or scatters blocks, if it does."""
    return move.source if move.kind == "all_gather" else move.target if move.kind == "reduce_scatter" else None


@lru_cache(maxsize=4096)
def _work(op: Op, types: tuple[TensorType, ...]) -> tuple[float, float]:
    """Flops of the whole op, and how often it goes over its operands and results."""
    whole = sum(whole_bytes(t) for t in (*types, *facts(op, types).results))
    return op.flops(*types), op.bytes_touched(types) / whole if whole else 1.0


@lru_cache(maxsize=4096)
def work_of(op: Op, types: tuple[TensorType, ...]) -> str:
    """The class of work (`machine.WORK`) that an op is, by which machines tell rates apart."""
    if isinstance(op, Pullback):
        into_table = isinstance(op.of, Interp) and op.index > 0
        return "scatter" if into_table else work_of(op.of, types[1:])
    if isinstance(op, Contract) and set(types[0].names) == set(types[1].names):
        return "reduce"  # a sum of products, and computed as one
    for kind, ops in _CLASSES.items():
        if isinstance(op, ops):
            return kind
    return "elementwise"


_CLASSES: dict[str, tuple[type[Op], ...]] = {
    "matmul": (Contract,),
    "fft": (Fourier,),
    "reduce": (Reduction,),
    "gather": (Gather, Interp),
    "scatter": (ScatterAdd,),
    "linalg": (Cholesky, TriangularSolve),
}


def whole_bytes(t: TensorType) -> int:
    return t.size * t.itemsize


@lru_cache(maxsize=1024)
def _parts(placements: Placements, mesh: Mesh) -> dict[str, np.ndarray]:
    """By dim, in the order of names, into how many parts each strategy splits it."""
    found: dict[str, np.ndarray] = {}
    for i, strategy in enumerate(placements.strategies):
        for dim, axes in strategy.splits:
            if dim not in found:
                found[dim] = np.ones(len(placements.strategies), int)
            found[dim][i] = mesh.size(axes)
    return dict(sorted(found.items()))


def split_bytes(t: TensorType, layout: Layout, mesh: Mesh) -> int:
    """`ir.layout.block_bytes`, looking only at the dims that are split."""
    sizes, total = t.sizes, t.size * t.itemsize
    for dim, axes in layout.splits:
        total = total // sizes[dim] * block(sizes[dim], mesh.size(axes))
    return total


def evaluate(program: Program, plan: Plan, costs: Costs) -> tuple[float, float, Mapping[tuple[str, ...], float]]:
    """A plan's price, summed from what it performs: compute and communication seconds, bytes sent by mesh axes.

    It walks the plan and knows nothing of how the plan was found, so that it can hold the search to account.
    """
    program = plan.applied(program)
    free = made_anew(program, plan.platform)
    nodes = ((n, trips) for n, trips in leaf_nodes(program) if n.key not in free)
    alone = cache(costs.compute)
    compute = sum(trips * alone(n.op, n.types, plan.strategies[n.key]) for n, trips in nodes)
    communication, sent = 0.0, defaultdict[tuple[str, ...], float](float)
    for step in plan.steps(program):
        for c, seconds in costs.priced(step.move, step.value.type, step.before):
            communication += step.trips * seconds
            sent[c.axes] += step.trips * costs.sent(c)
    return compute, communication, dict(sent)


def made_anew(program: Program, platform: str) -> set[str]:
    """The keys of second copies that take no time of their own: the compiler makes them inside the kernels of others.

    The price of what is so made stands for all its kernels, whether or not the program has a second copy.
    """
    second = [n.key for n in program.nodes if n.key.endswith(SUFFIX)]
    if not second:
        return set()
    unstored = Fusion.of(program, platform).unstored()
    return {key for key in second if key.removesuffix(SUFFIX) in unstored}


def leaf_nodes(program: Program, trips: int = 1):
    """Every node that computes itself, with the number of times that it runs."""
    for node in program.nodes:
        if node.op.regions():
            for region in node.op.regions():
                yield from leaf_nodes(region, trips * trips_of(node))
        else:
            yield node, trips


def trips_of(node: Node) -> int:
    """How often the regions of a node run."""
    return node.op.trips(node.types)  # type: ignore[attr-defined]
