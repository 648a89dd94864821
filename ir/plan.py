"""A plan: where every value of a program lives, where every node runs, and the moves between.

Plans are made in `planner` (or written by hand in a test), and run in `backend_cuda`. Everything that is performed is
stored here; the backend chooses nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import InternalError
from .graph import Node, Program, Value
from .layout import Collective, Layout, Move, collectives_of, replay
from .mesh import Mesh
from .native import Native
from .op import Strategy


@dataclass(frozen=True)
class Prediction:
    """What the planner expects of a plan: seconds, bytes sent per device and mesh axes, peak bytes per device.

    `bound` is a proven lower bound of `seconds` over all plans that respect the pins, `how` the method that proved it.
    """

    seconds: float
    compute_seconds: float
    communication_seconds: float
    peak_bytes: float
    bytes_by_axes: Mapping[tuple[str, ...], float] = field(default_factory=dict)
    bound: float = 0.0
    how: str = ""

    @property
    def gap(self) -> float:
        """How far the plan may be from the best one, as a fraction of its own cost."""
        return 0.0 if self.seconds <= 0 else max(0.0, (self.seconds - self.bound) / self.seconds)


@dataclass(frozen=True)
class Plan:
    """Layouts by value name, strategies by node key, and reshard paths.

    `layouts` holds every value as its producer leaves it (inputs: as they arrive), regions included. `reshards` maps
    (value name, wanted layout) to the path of moves from that layout; a reshard is performed once, however many nodes
    want it. `outputs` holds the layout in which each output leaves.
    """

    mesh: Mesh
    layouts: Mapping[str, Layout]
    strategies: Mapping[str, Strategy]
    reshards: Mapping[tuple[str, Layout], tuple[Move, ...]]
    outputs: Mapping[str, Layout]
    prediction: Prediction | None = None
    machine: str = ""
    platform: str = "gpu"
    """Whose compiler the plan's memory is told for, "cpu" or "gpu" (`Machine.platform`)."""
    pins: tuple[str, ...] = ()
    """The user's orders as text: pins, `ban …` and `prefer …`, for the printed plan."""
    preferred: tuple[Preferred, ...] = ()
    """What came of each preference among them."""
    recompute: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Values that are computed a second time, with the consumers that take the second copy (`ir.passes.recompute`)."""

    copies: float = 0.0
    """How many vectors like the latents a sampler holds beside the program: they count as memory throughout."""
    native: tuple[Native, ...] | None = None
    """Which collectives hand-written kernels perform, by size of message; None where whoever runs it decides."""
    certificate: Any = field(default=None, compare=False, repr=False)
    """What proves that no plan is faster (`planner.certify`), as plain data; the planner's own."""

    def applied(self, program: Program) -> Program:
        """The program that the plan is for: the given one (or a region of it) with what is recomputed written out.

        The inverses of its scans, which never run as they stand, are gone.
        """
        from .passes.drop_inverses import drop_inverses
        from .passes.recompute import recompute

        program = drop_inverses(program)
        here = {n.key for n in program.nodes} if self.recompute else ()
        return recompute(program, {name: keys for name, keys in self.recompute.items() if name in here})

    def path(self, value: Value, wanted: Layout) -> tuple[Move, ...]:
        """The moves that bring a value to a layout; empty when it is there already."""
        if self.layouts[value.name] == wanted:
            return ()
        try:
            return self.reshards[value.name, wanted]
        except KeyError:
            raise InternalError(
                f"the plan has no path for {value} from {self.layouts[value.name]} to {wanted}"
            ) from None

    def wanted(self, node: Node) -> Iterator[tuple[Value, Layout]]:
        """Each operand of a node with the layout in which it must arrive."""
        regions = node.op.regions()
        if regions:
            for value, inner in zip(node.operands, node.op.region_operands(), strict=True):  # type: ignore[attr-defined]
                yield value, self.layouts[inner.name]
            return
        strategy = self.strategies[node.key]
        for index, value in enumerate(node.operands):
            yield value, node.op.operand_layout(index, node.types, strategy)

    def steps(self, program: Program, trips: int = 1) -> Iterator[Step]:
        """Every move of the plan in the order of execution, those of a region with its trip count."""
        done: set[tuple[str, Layout]] = set()

        def reshard(value: Value, wanted: Layout, consumer: str) -> Iterator[Step]:
            if (value.name, wanted) not in done:
                done.add((value.name, wanted))
                start = self.layouts[value.name]
                for move, before, after in replay(self.path(value, wanted), start, value.type, self.mesh):
                    yield Step(value, move, before, after, consumer, trips)

        program = self.applied(program)
        for node in program.nodes:
            for value, wanted in self.wanted(node):
                yield from reshard(value, wanted, node.key)
            if node.op.regions():
                for region in node.op.regions():
                    yield from self.steps(region, trips * node.op.trips(node.types))  # type: ignore[attr-defined]
                continue
            strategy = self.strategies[node.key]
            for index, move in node.op.halos(node.types, strategy):
                layout = node.op.operand_layout(index, node.types, strategy)
                yield Step(node.operands[index], move, layout, layout, node.key, trips)
            for t, layout, move in node.op.passes(node.types, strategy, self.mesh):
                yield Step(Value(node.key, t), move, layout, layout, node.key, trips)
            for index, move in node.op.spills(node.types, strategy):
                layout = self.layouts[node.results[index].name]
                yield Step(node.results[index], move, layout, layout, node.key, trips)
        for name, value in program.outputs:
            yield from reshard(value, self.output_layout(program, name), f"output {name}")

    def output_layout(self, program: Program, name: str) -> Layout:
        """The layout in which an output leaves. A region's outputs are named by the region (`region:output`)."""
        return self.outputs.get(f"{program.name}:{name}") or self.outputs[name]

    def collectives(self, program: Program) -> Counter[Collective]:
        """The collectives that one execution performs, with how often."""
        found: Counter[Collective] = Counter()
        for step in self.steps(program):
            for collective in collectives_of(step.move, step.value.type, step.before, self.mesh):
                found[collective] += step.trips
        return found


@dataclass(frozen=True)
class Preferred:
    """What came of one preference: whether the plan has it, and the seconds that this costs or would cost.

    `extra` is None where no plan has it beside the others that were met; `note` says what else a reader should know.
    """

    text: str
    met: bool
    extra: float | None
    note: str = ""


@dataclass(frozen=True)
class Step:
    """One move of a plan: of which value, from and to which layout, for whom, how often.

    The value of a pass is a buffer, which has the name of the node's result.
    """

    value: Value
    move: Move
    before: Layout
    after: Layout
    consumer: str
    trips: int
