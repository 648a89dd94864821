"""Steps that need not wait for each other: a scan that is no recurrence becomes ordinary ops along its dim.

In the density of a state-space model all states are given, so what a step hands on is known before any step runs:

    h[t] ~ Normal(phi * h[t - 1], sigma)        the carry into step t is the latent's entry t - 1: a shift by one

Such a scan is slow for no reason (one small step after the other, one collective a step), and its dim could not be
split over a mesh. A true recurrence, as the variance of a GARCH model or a draw of states from the prior, stays a scan,
and so does a body with transforms, factorisations or user functions: its steps are long, and all at once need memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..build import Builder, binary, constant, emit
from ..dims import Dim
from ..graph import Node, Program, Value
from ..op import Whole
from ..ops.control import Scan
from ..ops.create import Coordinate
from ..ops.elementwise import Where
from ..ops.gather import Gather
from ..ops.order import reorder
from ..ops.random import Noise
from ..ops.sites import Site
from ..ops.stencil import Shift
from .batch_over import along, batched
from .rewrite import Scope, rewrite


def parallelise(program: Program) -> Program:
    """The program with every scan of light steps that do not wait for each other done at once."""
    return rewrite(program, _rule)


def _rule(node: Node, scope: Scope) -> Sequence[Value] | None:
    op = node.op
    if not isinstance(op, Scan) or op.active or not all(_is_light(n) for n in op.region.nodes):
        return None
    order = _order(op)
    return None if order is None else _Flat(op, node, scope.builder).emit(order)


def _is_light(node: Node) -> bool:
    """Whether the op fuses with its neighbours or reduces them."""
    if isinstance(node.op, Site) or node.op.regions():
        return False
    return isinstance(node.op, Noise) or not any(isinstance(r, Whole) for r in node.op.roles(*node.types).values())


def _order(op: Scan) -> list[Node | int] | None:
    """The body's nodes, and its carries by number, each after what it needs; None for a recurrence."""
    inputs, leaves = op.region_operands(), [v for _, v in op.region.outputs]
    known = {v.name for v in inputs[op.carries :]}
    order: list[Node | int] = []
    nodes, carries, before = list(op.region.nodes), list(range(op.carries)), -1
    while len(order) > before:
        before, waiting = len(order), []
        for node in nodes:
            if all(v.name in known for v in node.operands):
                order.append(node)
                known |= {v.name for v in node.results}
            else:
                waiting.append(node)
        for i in [i for i in carries if leaves[i].name in known]:
            order.append(i)
            carries.remove(i)
            known.add(inputs[i].name)
        nodes = waiting
    return None if nodes or carries else order


class _Flat:
    """The steps of a scan done at once; values have the scan's dim where they differ from step to step."""

    def __init__(self, op: Scan, node: Node, b: Builder):
        self.op, self.node, self.b = op, node, b
        self.dim = Dim(op.dim, op.trips(node.types))
        self.first = node.operands[: op.carries]
        shared = zip(op.region_operands()[op.carries :], node.operands[op.carries :], strict=True)
        self.env = {inner.name: outer for inner, outer in shared}

    def emit(self, order: list[Node | int]) -> list[Value]:
        outputs = [v for _, v in self.op.region.outputs]
        for item in order:
            if isinstance(item, int):
                self.env[self.op.region_operands()[item].name] = self._before(item, outputs[item])
                continue
            self.b.span = item.span
            results = batched(self.b, item, tuple(self.env[v.name] for v in item.operands), self.dim)
            self.env |= {old.name: new for old, new in zip(item.results, results, strict=True)}
        self.b.span = self.node.span
        made = [along(self.env[v.name], self.dim) for v in outputs]
        end = 0 if self.op.reverse else self.dim.size - 1
        last = [emit(Gather(self.dim.name), x, constant(end)) for x in made[: self.op.carries]]
        found = [*last, *made[self.op.carries :]]
        return [reorder(x, old.type.names) for x, old in zip(found, self.node.results, strict=True)]

    def _before(self, carry: int, leaves: Value) -> Value:
        """What comes into each step: the first value, then what the step before hands on."""
        x = along(self.env[leaves.name], self.dim)
        at, reverse = emit(Coordinate(self.dim, "index", 0, "i32")), self.op.reverse
        is_first = binary("le", self.dim.size - 1, at) if reverse else binary("lt", at, 1)
        return emit(Where(), is_first, self.first[carry], emit(Shift(self.dim.name, -1 if reverse else 1), x))
