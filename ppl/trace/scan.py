"""Recurrences in a model: statements that hold for each entry of a dim in turn, each step seeing the one before.

    def step(t, last, now):                                   # an AR(1) process, observed with noise
        loc = ppl.where(t.first, 0.0, phi * last["x"])
        x = ppl.sample("x", ppl.Normal(loc, sigma))
        ppl.observe("y", ppl.Normal(x, 1), now["y"])
        return {"x": x}, {}

    ppl.scan("time", step, carry={"x": 0.0}, through={"y": y})

The body is traced once and becomes the region of one op. Names from outside can be used as they are; a tensor with the
scanned dim is read step by step: through `through`, or as `t.at(y)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ir.build import as_value, binary, constant
from ir.build_scan import ScanBuilder
from ir.dims import TensorType
from ir.errors import Diagnostic
from ir.graph import Value
from ir.ops.control import AUTO
from ir.ops.create import Broadcast
from ir.ops.sites import Site

from .context import Context, current_context

Body = Callable[["Step", dict[str, Value], dict[str, Value]], tuple[Mapping[str, Any], Mapping[str, Any]]]
ROUNDS = 4
"""How often a body is traced to find the dims of what starts as a number: each round may uncover one more carry."""


@dataclass(frozen=True)
class Step:
    """The step that a body stands at."""

    dim: str
    _scan: ScanBuilder = field(repr=False)

    @cached_property
    def index(self) -> Value:
        """Its position along the dim: 0, 1, 2, …, a whole number."""
        return self._scan.index()

    @cached_property
    def first(self) -> Value:
        """Whether it is the first one: a condition, for `ppl.where`."""
        return binary("lt", self.index, 1)

    def at(self, x: Value) -> Value:
        """The entry at this step of a tensor from outside."""
        if not isinstance(x, Value) or self.dim not in x.type:
            have = f"[{', '.join(x.dims)}]" if isinstance(x, Value) else type(x).__name__
            raise current_context().error(
                f"a step along '{self.dim}' reads tensors with that dim, but got {have}",
                "what has no such dim is used as it is",
            )
        return self._scan.slice(x)


def scan(
    dim: str,
    body: Body,
    carry: Mapping[str, Value | float],
    through: Mapping[str, Value] | None = None,
    *,
    checkpoint: int | bool = False,
) -> dict[str, Value]:
    """Runs `body(step, carry, slices) -> (new carry, outputs)` for each entry of `dim` in turn.

    carry: what each step hands to the next, by name, with its value before the first step; a number takes the dims of
    what the body hands on. through: tensors with `dim`; the body gets its step's entries. Statements in the body stand
    for one step: their dims are without `dim`. Returns the outputs with `dim`.

    checkpoint: how many steps lie between two states that a gradient keeps; those between are run again, so that of n
    steps, n / checkpoint + checkpoint states take memory. True: the planner chooses the number by the memory that
    there is. False: all states are kept.
    """
    context = current_context()
    every = _every(checkpoint, context)
    size = context.dim(dim)
    if not callable(body):
        raise context.error(f"the body of a scan is a function, but got {type(body).__name__}", _BODY)
    starts = {name: as_value(x) if isinstance(x, Value) else x for name, x in carry.items()}
    through = dict(through or {})
    for name, x in through.items():
        if not isinstance(x, Value) or dim not in x.type:
            have = f"has [{', '.join(x.dims)}]" if isinstance(x, Value) else f"is {type(x).__name__}"
            raise context.error(
                f"the scan along '{dim}' goes through \"{name}\", which {have}",
                f"what lacks '{dim}' is the same at each step: use it in the body as it is",
            )
    wanted = {name: _type_of(x, context) for name, x in starts.items()}
    numbers = [name for name, x in starts.items() if not isinstance(x, Value)]

    def trace() -> _Trace:
        builder = ScanBuilder(context.builder, size, every=every)
        return _Trace(context, builder, body, starts, through, wanted)

    for _ in range(ROUNDS if numbers else 0):
        with context.builder.rehearse():
            found = trace().types()
        if all(found[name] == wanted[name] for name in numbers):
            break
        wanted |= {name: found[name] for name in numbers}
    return trace().run()


_BODY = "as in `def step(t, last, now): …; return {'x': x}, {}`"


def _every(checkpoint: int | bool, context: Context) -> int:
    if isinstance(checkpoint, bool):
        return AUTO if checkpoint else 0
    if not isinstance(checkpoint, int) or checkpoint < 1:
        hint = "give checkpoint=8 to keep every eighth state, or checkpoint=True to have the number chosen"
        raise context.error(f"checkpoint={checkpoint!r} is no number of steps: it is whole and at least 1", hint)
    return checkpoint


def _type_of(x: Value | float, context: Context) -> TensorType:
    return x.type if isinstance(x, Value) else TensorType((), context.builder.real)


@dataclass
class _Trace:
    """One trace of a scan's body."""

    context: Context
    scan: ScanBuilder
    body: Body
    starts: Mapping[str, Value | float]
    through: Mapping[str, Value]
    wanted: Mapping[str, TensorType]

    def types(self) -> dict[str, TensorType]:
        """The types of what the body hands on; the sites that it states are not kept."""
        sites = dict(self.context.sites)
        carry, _ = self._body()
        self.context.sites = sites
        return {name: v.type for name, v in carry.items()}

    def run(self) -> dict[str, Value]:
        carry, outputs = self._body()
        for name, comes in zip(self.starts, self.scan.carries, strict=True):
            self._check_carry(name, comes[1].type, carry[name].type)
        with self.scan:
            self.scan.close([carry[name] for name in self.starts], outputs)
        return self.scan.emit()[1]

    def _body(self) -> tuple[dict[str, Value], dict[str, Value]]:
        context, outer = self.context, self.context.builder
        first = {name: self._start(x, self.wanted[name]) for name, x in self.starts.items()}
        context.builder = self.scan.region
        try:
            with self.scan:
                comes = {name: self.scan.carry(name, x) for name, x in first.items()}
                slices = {name: self.scan.slice(x) for name, x in self.through.items()}
                made = self.body(Step(self.scan.dim.name, self.scan), comes, slices)
                self._check_dims()
                return self._checked(made)
        finally:
            context.builder = outer

    def _start(self, x: Value | float, t: TensorType) -> Value:
        """The value before the first step."""
        b = self.context.builder
        if isinstance(x, Value):
            return x
        number = constant(x, t.dtype)
        return b.emit(Broadcast(t.dims), number) if t.dims else number

    def _checked(self, made: Any) -> tuple[dict[str, Value], dict[str, Value]]:
        if not (isinstance(made, tuple) and len(made) == 2 and all(isinstance(m, Mapping) for m in made)):
            raise self.context.error("the body of a scan returns what it hands on and what it puts out", _BODY)
        carry, outputs = ({n: as_value(x) for n, x in m.items()} for m in made)
        if set(carry) != set(self.starts):
            lacks, extra = sorted(set(self.starts) - set(carry)), sorted(set(carry) - set(self.starts))
            what = f"does not hand on {', '.join(lacks)}" if lacks else f"hands on {', '.join(extra)}, too"
            raise self.context.error(f"the body of the scan {what}", f"what is carried: {', '.join(self.starts)}")
        return carry, outputs

    def _check_dims(self) -> None:
        dim = self.scan.dim.name
        for node in self.scan.region.nodes:
            if isinstance(node.op, Site) and any(dim in v.type for v in node.results):
                raise Diagnostic(
                    "type",
                    f"\"{node.op.site}\" has dim '{dim}' inside the scan along '{dim}'",
                    hint=f"a statement of the body stands for one step: read tensors with '{dim}' as t.at(x)",
                ).at(node.span)

    def _check_carry(self, name: str, comes: TensorType, leaves: TensorType) -> None:
        if set(comes.dims) == set(leaves.dims) and comes.dtype == leaves.dtype:
            return
        raise self.context.error(
            f'what the scan carries as "{name}" starts as {comes} and is handed on as {leaves}',
            "start it with all dims of the later ones; a number, as carry={…: 0.0}, takes their dims by itself",
        )


__all__ = ["Step", "scan"]
