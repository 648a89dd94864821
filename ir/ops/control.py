"""Recurrences: an op whose body is a program of its own, run once for each step along a dim.

The body is planned with the program around it: its collectives stand in every trip. Its gradient is another scan, which
runs backwards over the states that the forward one kept and computes each step again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..build import current
from ..dims import CHAIN, Dim, TensorType
from ..errors import Diagnostic, InternalError
from ..graph import Program, Value
from ..op import Op, Whole
from .order import reorder

Body = Callable[[tuple[Value, ...], tuple[Value, ...], tuple[Value, ...]], tuple[Sequence[Value], Sequence[Value]]]
_DIFFERENTIABLE = ("f32", "f64", "c64", "c128")


@dataclass(frozen=True)
class Scan(Op):
    """Runs `region` along `dim`, handing `carries` values from each step to the next.

    Operands: the first carries, then `scanned` tensors with `dim`, of which a step gets its own slice, then what all
    steps share. Results: the last carries, then the other outputs of the region, stacked along `dim`. The region's
    `ties` bind each carry that leaves to the one that comes in. `length` is the size of `dim` where nothing is scanned.
    In the form for a gradient (`active` says which operands have one) the carries that come into each step are results
    too, last.
    """

    dim: str
    region: Program
    carries: int
    scanned: int
    reverse: bool = False
    length: int = 0
    active: tuple[bool, ...] = ()
    name: ClassVar[str] = "scan"

    # --- types ---

    def result(self, *operands):
        return self.results(*operands)[0]

    def results(self, *operands):
        inputs = [i.type for i in self.region.inputs]
        if len(operands) != len(inputs):
            raise Diagnostic("type", f"a scan whose body takes {len(inputs)} values got {len(operands)}")
        for i, (outer, inner) in enumerate(zip(operands, inputs, strict=True)):
            what = "carry" if i < self.carries else "scanned" if self._is_scanned(i) else "shared"
            if self._is_scanned(i) and self.dim not in outer:
                raise Diagnostic("type", f"a scan along '{self.dim}' is given {outer} to go through, which lacks it")
            if (outer.without([self.dim]) if self._is_scanned(i) else outer) != inner:
                raise Diagnostic("type", f"a scan's body takes {inner} as {what} value {i}, but got {outer}")
        outputs = [v.type for _, v in self.region.outputs]
        for i, (comes, leaves) in enumerate(zip(inputs[: self.carries], outputs, strict=False)):
            if comes != leaves:
                hint = "the first value of a recurrence needs the dims and the dtype of the later ones"
                raise Diagnostic("type", f"carry {i} of a scan comes in as {comes} and leaves as {leaves}", hint=hint)
        step = Dim(self.dim, self.trips(operands))
        return (*outputs[: self.carries], *(stacked(t, step) for t in outputs[self.carries :]))

    def trips(self, operands: Sequence[TensorType]) -> int:
        """How often the body runs."""
        sizes = {t[self.dim] for t in operands[self.carries : self.carries + self.scanned]} | {self.length} - {0}
        if len(sizes) != 1:
            raise Diagnostic(
                "type", f"a scan along '{self.dim}' goes over sizes {sorted(sizes) or 'that nothing gives'}"
            )
        return sizes.pop()

    def _is_scanned(self, i: int) -> bool:
        return self.carries <= i < self.carries + self.scanned

    # --- region protocol ---

    def regions(self):
        return (self.region,)

    def with_regions(self, *regions):
        (region,) = regions
        return dataclasses.replace(self, region=region)

    def region_operands(self) -> tuple[Value, ...]:
        """The region's inputs, in the order of the operands."""
        return tuple(i.value for i in self.region.inputs)

    def result_from(self, index: int) -> str:
        """The output of the region that gives a result."""
        return self.region.outputs[index][0]

    def roles(self, *operands):
        return {self.dim: Whole()}

    def flops(self, *operands):
        return self.trips(operands) * sum(n.op.flops(*n.types) for n in self.region.nodes)

    def local(self, place, *blocks):
        raise InternalError("a scan's body may hold collectives: the backend runs it, not the op")

    # --- gradient ---

    def for_gradient(self, active):
        if self.active:
            return self
        outputs = self.region.outputs
        kept = tuple((f"kept{i}", v) for i, v in enumerate(self.region_operands()[: self.carries]))
        return dataclasses.replace(
            self, region=dataclasses.replace(self.region, outputs=(*outputs, *kept)), active=tuple(active)
        )

    def vjp_all(self, cotangents, results, operands):
        if not self.active:
            raise InternalError("a scan is differentiated in the form that for_gradient gives")
        return _Reverse(self, cotangents, results, operands).emit()


def stacked(t: TensorType, step: Dim) -> TensorType:
    """The type of one value per step: the dim comes first, or right after the chains."""
    if step.name in t:
        raise Diagnostic("type", f"what a scan along '{step.name}' computes at each step has that dim already")
    lead = 1 if t.names[:1] == (CHAIN,) else 0
    return TensorType((*t.dims[:lead], step, *t.dims[lead:]), t.dtype)


class _Reverse:
    """The scan that pulls cotangents back through a forward scan.

    It carries the cotangents of the carries and, added up, those of what all steps share; it goes through the kept
    carries, the scanned operands and the cotangents of the stacked results.
    """

    def __init__(
        self, op: Scan, cotangents: Sequence[Value | None], results: Sequence[Value], operands: Sequence[Value]
    ):
        self.op, self.results, self.operands = op, results, operands
        self.inputs = op.region_operands()
        count = op.carries
        self.last = cotangents[:count]
        self.steps = [
            (k, ct) for k, ct in enumerate(cotangents[: len(results) - count]) if k >= count and ct is not None
        ]
        self.active = self._active()
        wanted = [i for i, v in enumerate(self.inputs) if v.name in self.active]
        self.carried = [i for i in wanted if i < count]
        self.through = [i for i in wanted if op._is_scanned(i)]
        self.shared = [i for i in wanted if i >= count + op.scanned]

    def _active(self) -> set[str]:
        """The inputs of the region that have a gradient; a carry has one as soon as any trip gives it one."""
        region, found = self.op.region, set[str]()
        for value, active in zip(self.inputs, self.op.active, strict=True):
            found |= {value.name} if active and value.type.dtype in _DIFFERENTIABLE else set()
        before = -1
        while before < len(found):
            before, reached = len(found), set(found)
            for node in region.nodes:
                if any(v.name in reached for v in node.operands):
                    reached |= {v.name for v in node.results if v.type.dtype in _DIFFERENTIABLE}
            leaves = (v for _, v in region.outputs[: self.op.carries])
            found |= {i.name for i, v in zip(self.inputs, leaves, strict=False) if v.name in reached}
        return found

    def emit(self) -> tuple[Value | None, ...]:
        from ..passes.differentiate import zeros

        op, b, count = self.op, current(), self.op.carries
        first = []
        for i in self.carried:
            ct, t = self.last[i], self.inputs[i].type
            first.append(reorder(ct, t.names) if ct is not None else zeros(t))
        first += [zeros(self.inputs[i].type) for i in self.shared]
        kept = self.results[len(self.results) - count :]
        slices = [reorder(ct, self.results[k].dims) for k, ct in self.steps]
        through = [*kept, *self.operands[count : count + op.scanned], *slices]
        region = self._region()
        length = op.trips([v.type for v in self.operands])
        scan = Scan(op.dim, region, len(first), len(through), not op.reverse, length)
        made = b.emit_all(scan, *first, *through, *self.operands[count + op.scanned :])
        return self._by_operand(made)

    def _by_operand(self, made: Sequence[Value]) -> tuple[Value | None, ...]:
        found: list[Value | None] = [None] * len(self.operands)
        for i, value in zip([*self.carried, *self.shared, *self.through], made, strict=True):
            found[i] = value
        return tuple(found)

    def _region(self) -> Program:
        from ..passes.differentiate import copy_for_gradient, pull_back, zeros

        op, region, count = self.op, self.op.region, self.op.carries
        with current().region(f"{region.name}:reverse") as b:
            come = {i: b.input(f"grad:{self.inputs[i].name}", self.inputs[i].type) for i in self.carried}
            sums = {i: b.input(f"grad:{self.inputs[i].name}", self.inputs[i].type) for i in self.shared}
            env = {v.name: b.input(v.name, v.type) for v in self.inputs[: count + op.scanned]}
            slices = [(k, b.input(f"grad:{region.outputs[k][0]}", region.outputs[k][1].type)) for k, _ in self.steps]
            env |= {v.name: b.input(v.name, v.type) for v in self.inputs[count + op.scanned :]}
            active = {env[name].name for name in self.active}
            nodes = [copy_for_gradient(b, node, env, active) for node in region.nodes]
            seed: dict[str, Value] = {}
            for k, ct in (*come.items(), *slices):
                name = env[region.outputs[k][1].name].name
                seed[name] = seed[name] + ct if name in seed else ct
            found = pull_back(b, nodes, seed, active)

            def cotangent(i: int) -> Value:
                mine = found.get(env[self.inputs[i].name].name)
                return zeros(self.inputs[i].type) if mine is None else reorder(mine, self.inputs[i].dims)

            outputs = {f"carry{i}": cotangent(i) for i in self.carried}
            outputs |= {f"sum{i}": sums[i] + cotangent(i) for i in self.shared}
            ties = {f"carry{i}": v.name for i, v in come.items()} | {f"sum{i}": v.name for i, v in sums.items()}
            outputs |= {f"slice{i}": cotangent(i) for i in self.through}
            return b.finish(outputs, ties)


def scan(
    dim: str,
    body: Body,
    first: Sequence[Value] = (),
    through: Sequence[Value] = (),
    shared: Sequence[Value] = (),
    *,
    length: int = 0,
    reverse: bool = False,
    name: str = "scan",
) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """Emits a scan: `body(carries, slices, shared) -> (carries, outputs)`; gives the last carries, stacked outputs.

    The body may use only what it is given: every value from outside is passed through `shared`.
    """
    outer = current()
    with outer.region(name) as b:
        comes = tuple(b.input(f"{name}:carry{i}", v.type) for i, v in enumerate(first))
        slices = tuple(b.input(f"{name}:slice{i}", v.type.without([dim])) for i, v in enumerate(through))
        common = tuple(b.input(f"{name}:shared{i}", v.type) for i, v in enumerate(shared))
        leaves, outputs = body(comes, slices, common)
        leaves = [reorder(v, c.dims) for v, c in zip(leaves, comes, strict=True)]
        made = {f"carry{i}": v for i, v in enumerate(leaves)} | {f"step{i}": v for i, v in enumerate(outputs)}
        region = b.finish(made, {f"carry{i}": v.name for i, v in enumerate(comes)})
    op = Scan(dim, region, len(first), len(through), reverse, length)
    results = outer.emit_all(op, *first, *through, *shared)
    return results[: len(first)], results[len(first) :]
