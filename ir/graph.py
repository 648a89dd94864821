"""Programs: values in single-assignment form, the nodes that make them, and inputs and outputs with names.

A `Program` is frozen; passes make new ones with a `Builder` (see `ir.build`). Values are known by their name, which is
unique in the whole program, the regions of its scans included: a plan is a map from these names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .dims import TensorType
from .errors import InternalError, Span
from .op import Op


@dataclass(frozen=True)
class Value:
    """One tensor of a program. Python operators on values append nodes to the builder in use."""

    name: str
    type: TensorType

    def __str__(self) -> str:
        return f"%{self.name}"

    @property
    def dims(self) -> tuple[str, ...]:
        return self.type.names

    def __add__(self, other: Any) -> Value:
        return _binary("add", self, other)

    def __radd__(self, other: Any) -> Value:
        return _binary("add", other, self)

    def __sub__(self, other: Any) -> Value:
        return _binary("sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return _binary("sub", other, self)

    def __mul__(self, other: Any) -> Value:
        return _binary("mul", self, other)

    def __rmul__(self, other: Any) -> Value:
        return _binary("mul", other, self)

    def __truediv__(self, other: Any) -> Value:
        return _binary("div", self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return _binary("div", other, self)

    def __pow__(self, other: Any) -> Value:
        return _binary("pow", self, other)

    def __rpow__(self, other: Any) -> Value:
        return _binary("pow", other, self)

    def __neg__(self) -> Value:
        from .build import emit

        return emit(Op.table["neg"](), self)

    def __lt__(self, other: Any) -> Value:
        return _binary("lt", self, other)

    def __le__(self, other: Any) -> Value:
        return _binary("le", self, other)

    def __gt__(self, other: Any) -> Value:
        return _binary("lt", other, self)

    def __ge__(self, other: Any) -> Value:
        return _binary("le", other, self)

    def __getitem__(self, where: Mapping[str, Any]) -> Value:
        from .build import lookup

        return lookup(self, where)

    def __bool__(self) -> bool:
        raise _no_value(self, "used as a condition", "where(condition, a, b) chooses by element")

    def __float__(self) -> float:
        raise _no_value(self, "turned into a number", "keep computing with it: numbers exist only when the model runs")

    __int__ = __float__
    __index__ = __float__
    __iter__ = None  # type: ignore[assignment]
    __array_ufunc__ = None


def _binary(name: str, x: Any, y: Any) -> Value:
    from .build import binary

    return binary(name, x, y)


def _no_value(value: Value, what: str, hint: str):
    from .build import diagnostic

    return diagnostic("type", f"a tensor of the model ({value.type}) is {what}, but it has no value yet", hint=hint)


@dataclass(frozen=True)
class Input:
    """A program's argument. `role` says what feeds it:

    "data" the user's data and constants, "latent" an unconstrained parameter, "key" the random key words,
    "argument" anything else (a region's operands).
    """

    value: Value
    role: str = "argument"

    @property
    def name(self) -> str:
        return self.value.name

    @property
    def type(self) -> TensorType:
        return self.value.type


@dataclass(frozen=True)
class Node:
    """One application of an op."""

    op: Op
    operands: tuple[Value, ...]
    results: tuple[Value, ...]
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> str:
        """The name by which a plan knows the node: that of its first result."""
        return self.results[0].name

    @property
    def types(self) -> tuple[TensorType, ...]:
        return tuple(v.type for v in self.operands)


@dataclass(frozen=True)
class Program:
    """A static graph: inputs, nodes in an order of execution, and named outputs.

    `ties` names outputs that must leave in the layout in which an input arrives (a gradient in its latent's layout).
    """

    name: str
    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[tuple[str, Value], ...]
    ties: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    def input(self, name: str) -> Input:
        for i in self.inputs:
            if i.name == name:
                return i
        raise InternalError(f"program '{self.name}' has no input '{name}'")

    def inputs_of(self, role: str) -> tuple[Input, ...]:
        return tuple(i for i in self.inputs if i.role == role)

    @property
    def results(self) -> dict[str, Value]:
        """The outputs by name."""
        return dict(self.outputs)

    def walk(self) -> Iterator[Node]:
        """Every node, those of regions right after the node that holds them."""
        for node in self.nodes:
            yield node
            for region in node.op.regions():
                yield from region.walk()

    def uses(self) -> dict[str, list[tuple[Node, int]]]:
        """The consumers of each value at this level: (node, operand index)."""
        found: dict[str, list[tuple[Node, int]]] = {}
        for node in self.nodes:
            for index, value in enumerate(node.operands):
                found.setdefault(value.name, []).append((node, index))
        return found

    def __str__(self) -> str:
        from .text import print_program

        return print_program(self)
