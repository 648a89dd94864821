"""Recurrences: an op whose body is a program of its own, run once for each step along a dim.

The body is planned with the program around it: its collectives stand in every trip. Its gradient is another scan, which
runs backwards and computes each step again (`scan_gradient`), at a state that was kept or that an inverse step gives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..build import Builder, current
from ..dims import CHAIN, Dim, TensorType
from ..errors import Diagnostic, InternalError
from ..graph import Program, Value
from ..op import Op, Whole
from .order import reorder
from .sites import Site

Body = Callable[[tuple[Value, ...], tuple[Value, ...], tuple[Value, ...]], tuple[Sequence[Value], Sequence[Value]]]
AUTO = -1
"""The number of steps between two kept states is left open."""
Inverse = Callable[[tuple[Value, ...], tuple[Value, ...], tuple[Value, ...]], Sequence[Value]]


@dataclass(frozen=True)
class Scan(Op):
    """Runs `region` along `dim`, handing `carries` values from each step to the next.

    Operands: the first carries, then `scanned` tensors with `dim`, of which a step gets its own slice, then what all
    steps share. Results: the last carries, then the other outputs of the region, stacked along `dim`. The region's
    `ties` bind each carry that leaves to the one that comes in. `length` is the size of `dim` where nothing is scanned.
    In the form for a gradient (`active` says which operands have one) the carries that come into each step are results
    too, last: memory for all of them.

    A scan with an `inverse` keeps none: that region takes the carries that leave a step, its slices and what is shared,
    and gives the carries that came in. It never runs as it stands, but within the gradient, and costs nothing until
    then. What comes back is the state up to rounding, so the map should not contract: a step that forgets where it
    came from cannot be undone. Such a step has no sites.

    Otherwise `every` says how many steps lie between two states that the gradient keeps; those between are run again
    (`ir.passes.checkpoint`). 0: every state is kept; `AUTO`: as the memory that a plan has says.
    """

    dim: str
    region: Program
    carries: int
    scanned: int
    reverse: bool = False
    length: int = 0
    active: tuple[bool, ...] = ()
    inverse: Program | None = None
    every: int = 0
    name: ClassVar[str] = "scan"

    # --- types ---

    def result(self, *operands):
        return self.results(*operands)[0]

    def results(self, *operands):
        inputs = [i.type for i in self.region.inputs]
        if len(operands) != len(inputs):
            raise Diagnostic("type", f"a scan whose body takes {len(inputs)} values got {len(operands)}")
        for i, (outer, inner) in enumerate(zip(operands, inputs, strict=True)):
            what = "carry" if i < self.carries else "scanned" if self.is_scanned(i) else "shared"
            if self.is_scanned(i) and self.dim not in outer:
                raise Diagnostic("type", f"a scan along '{self.dim}' is given {outer} to go through, which lacks it")
            if (outer.without([self.dim]) if self.is_scanned(i) else outer) != inner:
                raise Diagnostic("type", f"a scan's body takes {inner} as {what} value {i}, but got {outer}")
        outputs = [v.type for _, v in self.region.outputs]
        for i, (comes, leaves) in enumerate(zip(inputs[: self.carries], outputs, strict=False)):
            if comes != leaves:
                hint = "the first value of a recurrence needs the dims and the dtype of the later ones"
                raise Diagnostic("type", f"carry {i} of a scan comes in as {comes} and leaves as {leaves}", hint=hint)
        if self.every < AUTO or (self.every and self.inverse):
            message = "with an inverse keeps no states" if self.inverse else "keeps states some steps apart"
            hint = "leave one of the two away" if self.inverse else "0 keeps all of them, -1 leaves the number open"
            raise Diagnostic("type", f"a scan {message}: every = {self.every} is no such number", hint=hint)
        if self.inverse:
            check_inverse(self.region, self.inverse, self.carries)
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

    def is_scanned(self, i: int) -> bool:
        """Whether operand i is one of which a step gets its own slice."""
        return self.carries <= i < self.carries + self.scanned

    # --- region protocol ---

    def regions(self):
        return (self.region, self.inverse) if self.inverse else (self.region,)

    def with_regions(self, *regions):
        region, inverse = regions if self.inverse else (*regions, None)
        return dataclasses.replace(self, region=region, inverse=inverse)

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
        come = () if self.inverse else self.region_operands()[: self.carries]
        kept = tuple((f"kept{i}", v) for i, v in enumerate(come))
        return dataclasses.replace(
            self, region=dataclasses.replace(self.region, outputs=(*outputs, *kept)), active=tuple(active)
        )

    def vjp_all(self, cotangents, results, operands):
        if not self.active:
            raise InternalError("a scan is differentiated in the form that for_gradient gives")
        from .scan_gradient import Reverse

        return Reverse(self, cotangents, results, operands).emit()


def has_inverse(op: Op) -> bool:
    """Whether an op is a scan that can be undone step by step: it holds no sites."""
    return isinstance(op, Scan) and op.inverse is not None


def check_inverse(region: Program, inverse: Program, carries: int) -> None:
    """Refuses an inverse that is none of the region: by its types, or since a step with sites has none."""
    takes, gives = [i.type for i in inverse.inputs], [v.type for _, v in inverse.outputs]
    wanted = [i.type for i in region.inputs]
    if takes != wanted:
        message = f"a scan's step takes {_list(wanted)}, but its inverse {_list(takes)}"
        hint = "an inverse takes the carries that leave a step, then the same slices and shared values"
        raise Diagnostic("type", message, hint=hint)
    if gives != wanted[:carries]:
        message = f"the inverse of a scan's step gives {_list(gives)}, but {_list(wanted[:carries])} came into the step"
        raise Diagnostic("type", message, hint="give back every carry as it came in, in the same order")
    site = next((n.op for p in (region, inverse) for n in p.walk() if isinstance(n.op, Site)), None)
    if site is not None:
        hint = "put the value out of the scan and state it after, or leave the inverse away"
        raise Diagnostic("type", f"a scan with an inverse holds the site '{site.site}'", hint=hint)


def _list(types: Sequence[TensorType]) -> str:
    return ", ".join(map(str, types)) or "nothing"


def stacked(t: TensorType, step: Dim) -> TensorType:
    """The type of one value per step: the dim comes first, or right after the chains."""
    if step.name in t:
        raise Diagnostic("type", f"what a scan along '{step.name}' computes at each step has that dim already")
    lead = 1 if t.names[:1] == (CHAIN,) else 0
    return TensorType((*t.dims[:lead], step, *t.dims[lead:]), t.dtype)


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
    inverse: Inverse | None = None,
    every: int = 0,
) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """Emits a scan: `body(carries, slices, shared) -> (carries, outputs)`; gives the last carries, stacked outputs.

    The body may use only what it is given: every value from outside is passed through `shared`. With the inverse of a
    step, `inverse(carries that leave, slices, shared) -> carries that came in`, a gradient needs no memory per step;
    with `every` it keeps the state of each so many steps (see `Scan`).
    """
    outer = current()

    def inputs(b: Builder, of: str) -> tuple[tuple[Value, ...], tuple[Value, ...], tuple[Value, ...]]:
        comes = tuple(b.input(f"{of}:carry{i}", v.type) for i, v in enumerate(first))
        slices = tuple(b.input(f"{of}:slice{i}", v.type.without([dim])) for i, v in enumerate(through))
        return comes, slices, tuple(b.input(f"{of}:shared{i}", v.type) for i, v in enumerate(shared))

    with outer.region(name) as b:
        comes, slices, common = inputs(b, name)
        leaves, outputs = body(comes, slices, common)
        leaves = [reorder(v, c.dims) for v, c in zip(leaves, comes, strict=True)]
        made = {f"carry{i}": v for i, v in enumerate(leaves)} | {f"step{i}": v for i, v in enumerate(outputs)}
        region = b.finish(made, {f"carry{i}": v.name for i, v in enumerate(comes)})
    undo = None
    if inverse is not None:
        with outer.region(f"{region.name}:inverse") as b:
            taken = inputs(b, f"{name}:inverse")
            came = list(inverse(*taken))
            came[: len(first)] = [reorder(v, c.dims) for v, c in zip(came, taken[0], strict=False)]
            undo = b.finish({f"carry{i}": v for i, v in enumerate(came)})
    op = Scan(dim, region, len(first), len(through), reverse, length, inverse=undo, every=every)
    results = outer.emit_all(op, *first, *through, *shared)
    return results[: len(first)], results[len(first) :]
