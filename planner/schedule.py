"""The steps of a program: in which order its kernels run, and from which of them to which each value exists.

Every node has a step at which its operands are brought to their layouts and one at which it runs; a region's steps lie
between the step that enters it and the one that leaves it. The order is that in which the compiler runs the kernels
(`planner.order`), in a region the program's. What that takes in bytes under a plan is told by `planner.memory`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from ir.dims import TensorType
from ir.graph import Node, Program, Value
from ir.ops.control import Scan
from ir.ops.gather import Gather
from ir.passes.join_transforms import neighbours
from ir.passes.recompute import SUFFIX, again, places

from .fusion import Fusion, first_name, originals
from .order import Kernels, in_order, packing, size

Span = tuple[int, int]

SMALL = 1e-3
"""An output of less than this share of the largest one lends its memory to nobody."""


@dataclass
class Schedule:
    """The steps of a program: what lives when, and when each consumer takes its operands."""

    life: dict[str, Span] = field(default_factory=dict)
    """By value: its first and last step."""
    sure: dict[str, int] = field(default_factory=dict)
    """By value: its last step if nothing is computed again."""
    stored: dict[str, bool] = field(default_factory=dict)
    """By value: whether it takes memory of its own."""
    at: dict[str, Span] = field(default_factory=dict)
    """By consumer (a node's key, or `output NAME`): the first and last step at which it holds its operands."""
    anew: set[tuple[str, str]] = field(default_factory=set)
    """(consumer, value) where the consumer's kernels do not read the value, but make it anew or read another one."""
    over: dict[str, str] = field(default_factory=dict)
    """Values that are written over an operand of theirs, with its name."""
    going: dict[str, str] = field(default_factory=dict)
    """Values that one node alone reads, with its key: where they have to be moved for it, they are gone after that."""
    joined: set[str] = field(default_factory=set)
    """Of these, the ones between two transforms: where no move is needed either, one call does both."""
    idle: dict[str, list[Span]] = field(default_factory=dict)
    """By output: the steps before it is made at which its memory serves no other value."""
    packed: dict[str, tuple[Node, int, Span]] = field(default_factory=dict)
    """Operands that are copied in the order in which a node goes through them, by the name of the value: the node that
    does so first, the index of its operand, and the first and last step of the copy."""
    what: list[tuple[str, str]] = field(default_factory=lambda: [("inputs", "")])
    """By step: "inputs", "fetch", "pack", "run", "enter", "leave" or "outputs", and the key of the node."""

    @property
    def steps(self) -> int:
        return len(self.what)

    def reading(self, consumer: str, value: str) -> Span:
        """The first and last step at which a consumer holds an operand."""
        first, last = self.at[consumer]
        end = self.life[value][1] if (consumer, value) in self.anew else last
        return min(first, end), min(last, end)

    @classmethod
    @lru_cache(maxsize=16)
    def of(cls, program: Program, platform: str) -> Schedule:
        """The schedule of a program; the same object for the same program, so it is not to be changed."""
        schedule = cls()
        for i in program.inputs:
            schedule._make(i.value, 0)
        schedule._body(program, "", platform)
        for i in program.inputs:
            schedule._extend(i.name, schedule.steps - 1)
        for _, value in program.outputs:
            schedule._extend(value.name, schedule.steps - 1)
        base = originals(program)
        schedule._lend(base, schedule if base is program else cls.of(base, platform))
        return schedule

    def _make(self, value: Value, step: int, stored: bool = True) -> None:
        self.life[value.name], self.sure[value.name], self.stored[value.name] = (step, step), step, stored

    def _extend(self, name: str, step: int, sure: bool = True) -> None:
        first, last = self.life[name]
        self.life[name] = first, max(last, step)
        self.sure[name] = max(self.sure[name], step) if sure else self.sure[name]

    def _body(self, program: Program, prefix: str, platform: str) -> None:
        fusion = Fusion.of(program, platform)
        made, since = {v.name: n for n in program.nodes for v in n.results}, self.steps
        for node, packed in [(n, None) for n in program.nodes] if prefix else in_order(program, platform, fusion):
            if packed is not None:
                self.at[packing(node, packed)] = self.steps, self.steps
                self.what.append(("pack", node.key))
                continue
            if node.op.regions():
                self._region(node, platform, since)
                self._pack(node, packed_by_scan(node, made), self.at[node.key])
                continue
            if fusion.is_stored(node):
                self.at[node.key] = self.steps, self.steps + 1
                self.what += [("fetch", node.key), ("run", node.key)]
                for index in range(len(node.operands)) if fusion.is_packer(node) else ():
                    start = self.at.setdefault(packing(node, index), (self.steps - 1, self.steps - 1))[0]
                    self._pack(node, (index,), (start, self.steps - 1))
                    self.at[node.key] = min(start, self.at[node.key][0]), self.steps - 1
            for value in node.results:
                self._make(value, self.steps - 1, fusion.is_stored(node))
        for name, value in program.outputs:
            self.at[f"output {prefix}{name}"] = self.steps, self.steps
            self._extend(value.name, self.steps)
        self.what.append(("outputs", ""))
        kernels = Kernels.of(program, fusion)
        self._read(program, fusion, kernels)
        self._write_over(program, fusion)
        self._let_go(program, fusion, kernels, set() if prefix else set(places(originals(program))))

    def _region(self, node: Node, platform: str, since: int) -> None:
        (region,), start = node.op.regions(), self.steps
        carried = set(region.ties.values())
        for outer, inner in zip(node.operands, node.op.region_operands(), strict=True):  # type: ignore[attr-defined]
            self._make(inner, start, inner.name in carried or inner.type != outer.type)
        self.what.append(("enter", node.key))
        self._body(region, f"{region.name}:", platform)
        self.what[-1] = "leave", node.key
        self.at[node.key] = start, self.steps - 1
        for i, value in enumerate(node.results):
            stacked = value.type != region.results[node.op.result_from(i)].type  # type: ignore[attr-defined]
            self._make(value, self.zeros(since, start) if stacked else self.steps - 1)

    def zeros(self, since: int, start: int) -> int:
        """When the memory of what a scan stacks begins: XLA makes zeros for all scans at once, before the first.

        All scans of the program, or of one region, which begins with the step `since`: a trip makes its own.
        """
        return next((step for step in range(since, self.steps) if self.what[step][0] == "enter"), start)

    def _pack(self, node: Node, operands: Iterable[int], span: Span) -> None:
        for index in operands:
            first = self.packed.get(node.operands[index].name)
            self.packed[node.operands[index].name] = (
                (*first[:2], (first[2][0], span[1])) if first else (node, index, span)
            )

    def _read(self, program: Program, fusion: Fusion, kernels: Kernels) -> None:
        """Prolongs every value to its last reader; an inlined node reads wherever a kernel that it is part of runs."""
        for kernel, nodes in kernels.within.items():
            first, last = self.at[kernel]
            for key in nodes:
                before = self.at.get(key, (first, last))
                self.at[key] = min(first, before[0]), max(last, before[1])
        readers: dict[str, set[str]] = {}
        for kernel, names in kernels.reads.items():
            for name in names:
                readers.setdefault(name, set()).add(kernel)
                if name in self.life:  # not what the kernel has packed for itself
                    self._extend(name, self.at[kernel][1], not kernel.partition("#")[0].endswith(SUFFIX))
        inside: dict[str, set[str]] = {key: {key} for key in kernels.reads}
        for kernel, nodes in kernels.within.items():
            for key in nodes:
                inside.setdefault(key, set()).add(kernel)
        for node in program.nodes:
            for value in node.operands:
                if not self.stored[value.name]:
                    self._extend(value.name, self.at[node.key][1], not node.key.endswith(SUFFIX))
                elif node.key not in fusion.packers and not inside.get(node.key, set()) & readers.get(
                    value.name, set()
                ):
                    self.anew.add((node.key, value.name))

    def _write_over(self, program: Program, fusion: Fusion) -> None:
        """Lets the result of a loop begin where an operand of its size ends: one buffer serves both."""
        made = {v.name: n for n in program.nodes for v in n.results}
        taken = {i.name for i in program.inputs} | {n.key for n in program.nodes if isinstance(n.op, Gather)}
        taken |= {name for name in made if again(name) in made}
        outputs = {v.name for _, v in program.outputs}
        for node in program.nodes:
            if not fusion.is_loop(node) or not fusion.is_stored(node):
                continue
            (result,) = node.results
            step = self.life[result.name][0]
            for value in _leaves(node, made, fusion):
                same = set(value.dims) == set(result.dims) and value.type.itemsize == result.type.itemsize
                maker = made.get(value.name)
                own = result.name in outputs and (maker is None or not fusion.is_loop(maker))
                if (
                    same
                    and not own
                    and value.name not in taken
                    and self.life[value.name][1] == step < self.life[result.name][1]
                ):
                    taken.add(value.name)
                    self.over[result.name] = value.name
                    self.life[result.name] = step + 1, self.life[result.name][1]
                    break

    def _let_go(self, program: Program, fusion: Fusion, kernels: Kernels, kept: set[str]) -> None:
        """Finds the values that one kernel alone reads, through one node; `kept` may be computed again or not."""
        readers: dict[str, list[str]] = {}
        for kernel, names in kernels.reads.items():
            for name in names:
                readers.setdefault(name, []).append(kernel)
        made = {v.name: n for n in program.nodes for v in n.results}
        between, outputs = neighbours(program), {v.name for _, v in program.outputs}
        for name, uses in program.uses().items():
            node, fixed = uses[0][0], name in outputs or name in self.packed or first_name(name) in kept
            if name not in made or made[name].op.regions() or node.op.regions() or fixed or not self.stored[name]:
                continue
            first, last = self.at[node.key]
            alone = len(uses) == len(readers.get(name, ())) == 1 and (node.key, name) not in self.anew
            if alone and last == first + 1 == self.life[name][1] and node.key not in fusion.packers:
                self.going[name] = node.key
                self.joined |= {name} & between.keys()

    def _lend(self, base: Program, schedule: Schedule) -> None:
        """Lets the memory of outputs serve values of their size before: one after another, as they come.

        Told of the program without second copies and its schedule, so that it does not depend on what is recomputed.
        """
        made = [v for n in base.nodes if not n.op.regions() for v in n.results if schedule.stored[v.name]]
        made = [v for v in made if v.name not in schedule.over]
        made.sort(key=lambda v: schedule.life[v.name])
        outputs = {v.name: v for _, v in base.outputs if v.name not in {i.name for i in base.inputs}}
        taken = set(outputs) | {schedule.over[name] for name in outputs if name in schedule.over}
        most = max(map(size, outputs.values()), default=0.0)
        steps, here = enumerate(self.what), list[int]()
        for step in schedule.what:  # those of second copies stand between
            here.append(next(n for n, other in steps if other == step))
        for name, output in outputs.items():
            own = schedule.life[schedule.over.get(name, name)][0]
            free, spans = 0, list[Span]()
            for value in made if size(output) >= SMALL * most else ():
                first, last = schedule.life[value.name]
                if size(value) == size(output) and value.name not in taken and free <= here[first] and last < own:
                    taken.add(value.name)
                    spans.append((free, here[first] - 1))
                    free = here[last] + 1
            spans.append((free, here[own] - 1))
            spans, (first, last) = [(a, b) for a, b in spans if a <= b], self.life[name]
            if spans == [(0, first - 1)]:
                self.life[name] = 0, last
            elif spans:
                self.idle[name] = spans


def _leaves(node: Node, made: dict[str, Node], fusion: Fusion) -> list[Value]:
    """The stored values that a node's kernel reads, each once."""
    found: dict[str, Value | None] = {}
    todo = list(reversed(fusion.readings[node.key]))
    while todo:  # no recursion: a kernel may take in thousands of nodes
        value = todo.pop()
        if value.name in found:
            continue
        maker = made.get(value.name)
        inlined = maker is not None and not maker.op.regions() and fusion.is_inlined(maker)
        found[value.name] = None if inlined else value
        if maker is not None and inlined:
            todo += reversed(fusion.readings[maker.key])
    return [value for value in found.values() if value is not None]


def packed_by_scan(node: Node, made: Mapping[str, Node]) -> list[int]:
    """The operands that a scan copies with its dim first in memory, as it goes through them: their indices.

    Those of the program are copied in any case; what another scan has stacked is in that order already.
    """
    if not isinstance(node.op, Scan):
        return []
    scanned = range(node.op.carries, node.op.carries + node.op.scanned)
    makers = {i: made.get(node.operands[i].name) for i in scanned}
    return [
        i
        for i, maker in makers.items()
        if maker is None or not (leads(node.types[i], node.op.dim) or maker.op.regions())
    ]


@lru_cache(maxsize=4096)
def leads(t: TensorType, dim: str) -> bool:
    """Whether a dim is the first in memory, dims of one element apart."""
    return all(d.size == 1 for d in t.dims[: t.index(dim)])
