"""The frame of most passes: a new program, node by node, with one rule that may put other values in a node's place.

    def rule(node: Node, scope: Scope) -> Sequence[Value] | None:
        if isinstance(node.op, Neg) and isinstance((inner := scope.op(node.operands[0])), Neg):
            return scope.made[node.operands[0].name].operands   # neg(neg x) is x
        return None                                              # keep the node

    program = rewrite(program, rule)

The rule sees each node with its operands already rewritten, and regions too. It may emit nodes (operators on values
work: a builder is in use, placed at the node's span). Names that somebody chose, those that are not numbers, survive.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

from ..build import Builder
from ..errors import InternalError
from ..graph import Node, Program, Value
from ..op import Op

Rule = Callable[[Node, "Scope"], Sequence[Value] | None]
"""What takes a node's place: None keeps it, values of the same types replace its results."""


class Scope:
    """The program or region that is being rebuilt. `notes` is the rule's own memory, one per scope."""

    def __init__(self, builder: Builder):
        self.builder = builder
        self.made: dict[str, Node] = {}
        self.notes: dict[Any, Any] = {}
        self._seen = 0

    def op(self, value: Value) -> Op | None:
        """The op that makes a value; None for an input."""
        node = self.node(value)
        return node.op if node else None

    def node(self, value: Value) -> Node | None:
        """The node that makes a value; None for an input."""
        self.look()
        return self.made.get(value.name)

    def keep(self, node: Node) -> tuple[Value, ...]:
        """Emits the node as it stands, under its names and with its types: those of its operands have not changed."""
        return self.builder.emit_again(node)

    def look(self) -> None:
        """Takes note of what was emitted since the last look."""
        for node in self.builder.nodes[self._seen :]:
            self.made |= {v.name: node for v in node.results}
        self._seen = len(self.builder.nodes)


def rewrite(program: Program, rule: Rule, needed: Container[str] | None = None) -> Program:
    """A new program by a rule; inputs, outputs, ties and spans are kept, and results keep their types.

    With `needed`, a node of which no result is in there is left out.
    """
    with Builder(program.name) as b:
        return _rebuild(program, b, rule, needed)


def _rebuild(program: Program, b: Builder, rule: Rule, needed: Container[str] | None) -> Program:
    env = {i.name: b.input(i.name, i.type, i.role) for i in program.inputs}
    scope, wishes = Scope(b), dict[str, str]()
    for node in program.nodes:
        if needed is not None and not any(v.name in needed for v in node.results):
            continue
        op = node.op
        if regions := op.regions():
            op = op.with_regions(*(_region(r, b, rule, needed) for r in regions))
        candidate = Node(op, tuple(env[v.name] for v in node.operands), node.results, node.span)
        b.span = node.span
        results = rule(candidate, scope)
        if results is None:
            results = scope.keep(candidate)
        scope.look()
        for old, new in zip(node.results, results, strict=True):
            if new.type != old.type:
                raise InternalError(f"a rewrite of {op.name} changed {old}: {old.type} to {new.type}")
            env[old.name] = new
            if not old.name.isdigit() and new.name.isdigit() and new.name in scope.made:
                wishes.setdefault(new.name, old.name)
    b.span = None
    ties = {output: env[to].name for output, to in program.ties.items()}
    return _with_names(b, b.finish({name: env[v.name] for name, v in program.outputs}, ties), wishes)


def _region(region: Program, b: Builder, rule: Rule, needed: Container[str] | None) -> Program:
    with b.region(region.name) as inner:
        return _rebuild(region, inner, rule, needed)


def with_fresh_regions(op: Op, b: Builder) -> Op:
    """An op whose regions' values have names that are free in a builder: to emit it there, or a second time."""
    return op.with_regions(*(_region(r, b, lambda node, scope: None, None) for r in op.regions()))


def _with_names(b: Builder, program: Program, wishes: dict[str, str]) -> Program:
    """Gives a chosen name back to a value that took a named one's place: people pin values by these names."""
    if not wishes:
        return program
    names = {old: b.reserve(wish) for old, wish in wishes.items()}

    def renamed(values: Sequence[Value]) -> tuple[Value, ...]:
        return tuple(Value(names[v.name], v.type) if v.name in names else v for v in values)

    nodes = tuple(Node(n.op, renamed(n.operands), renamed(n.results), n.span) for n in program.nodes)
    outputs = zip((name for name, _ in program.outputs), renamed([v for _, v in program.outputs]), strict=True)
    return Program(program.name, program.inputs, nodes, tuple(outputs), program.ties)
