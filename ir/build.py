"""Building programs: a `Builder` in use collects the nodes that operators and functions on values emit.

with Builder("line") as b:
    x = b.input("x", TensorType((Dim("obs", 9),)), "data")
    program = b.finish({"y": 2.0 * x + 1.0})
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .dims import CHAIN, Dim, TensorType, promote
from .errors import Diagnostic, InternalError, Span
from .graph import Input, Node, Program, Value
from .op import Op

_builders: ContextVar[tuple[Builder, ...]] = ContextVar("builders", default=())


class Builder:
    """Collects inputs and nodes. `real` is the dtype of real constants and parameters: f32 or f64.

    A builder made inside another one (a region) draws its value names from the outermost, so that they are unique. One
    that captures may use values from outside: each becomes a further input of the region, and `captured` holds them in
    order (value from outside → value inside); `sliced` holds in the same way the tensors that a scan goes through.
    """

    def __init__(self, name: str, real: str = "f32", parent: Builder | None = None, capture: bool = False):
        self.name, self.real, self.parent, self.capture = name, real, parent, capture
        self.inputs: list[Input] = []
        self.nodes: list[Node] = []
        self.defined: set[str] = set()
        self.captured: dict[Value, Value] = {}
        self.sliced: dict[Value, Value] = {}
        self.span: Span | None = None
        self.find_span: Callable[[], Span | None] | None = None
        self.branches: tuple[tuple[Value, bool], ...] = ()
        """Where the cotangents count that are being made: see `ir.passes.branches`."""
        self._root: Builder = parent._root if parent else self
        if parent is None:
            self._taken: set[str] = set()
            self._regions: set[str] = set()
            self._count = 0

    def __enter__(self) -> Builder:
        _builders.set((*_builders.get(), self))
        return self

    def __exit__(self, *_: object) -> None:
        _builders.set(_builders.get()[:-1])

    def region(self, name: str, *, capture: bool = False) -> Builder:
        """A builder for a region of an op of this one; a plan knows regions by name, so it is made unique."""
        inner = Builder(_unique(name, self._root._regions), self.real, self, capture)
        inner.span, inner.find_span = self.span, self.find_span
        return inner

    def fresh(self) -> str:
        root = self._root
        while str(root._count) in root._taken:
            root._count += 1
        return self.reserve(str(root._count))

    def reserve(self, name: str) -> str:
        """Takes a value name; one already taken gets a number after it."""
        return _unique(name, self._root._taken)

    def input(self, name: str, type: TensorType, role: str = "argument") -> Value:
        if self.parent is None and name in self._root._taken:
            raise Diagnostic("type", f"'{name}' is declared twice").at(self.where())
        value = Value(self.reserve(name), type)
        self.inputs.append(Input(value, role))
        self.defined.add(value.name)
        return value

    def own(self, value: Value) -> Value:
        """The value as this builder knows it: a value from outside enters a region that captures as an input."""
        if not self.capture or value.name in self.defined:
            return value
        if value not in self.captured:
            assert self.parent is not None
            outer = self.parent.own(value)
            self.captured[value] = self.input(f"{self.name}:{outer.name}", outer.type)
        return self.captured[value]

    @contextmanager
    def rehearse(self) -> Iterator[None]:
        """Building on trial: this builder and those around it are afterwards as they were, names included."""
        chain: list[Builder] = [self]
        while chain[-1].parent is not None:
            chain.append(chain[-1].parent)
        root = self._root
        held = [(list(b.inputs), list(b.nodes), set(b.defined), dict(b.captured), dict(b.sliced)) for b in chain]
        names = set(root._taken), set(root._regions), root._count
        try:
            yield
        finally:
            for b, state in zip(chain, held, strict=True):
                b.inputs, b.nodes, b.defined, b.captured, b.sliced = state
            root._taken, root._regions, root._count = names

    def where(self) -> Span | None:
        return self.find_span() if self.find_span else self.span

    def emit_all(
        self, op: Op, *operands: Value, span: Span | None = None, names: Sequence[str] = ()
    ) -> tuple[Value, ...]:
        """Appends a node and returns its results; a type error is placed at the node's span.

        `names` are wished for the results; one that is a number (a name nobody chose) or taken is replaced.
        """
        span = span or self.where()
        operands = tuple(self.own(v) for v in operands)
        try:
            types = op.results(*(v.type for v in operands))
        except Diagnostic as error:
            raise error.at(span) from None
        wished = [names[i] if i < len(names) else "" for i in range(len(types))]
        return self._append(op, operands, types, wished, span)

    def emit_again(self, node: Node) -> tuple[Value, ...]:
        """Appends a node whose results' types are known, under its names; returns the new results."""
        types, names = [v.type for v in node.results], [v.name for v in node.results]
        return self._append(node.op, tuple(map(self.own, node.operands)), types, names, node.span or self.where())

    def _append(
        self, op: Op, operands: tuple[Value, ...], types: Sequence[TensorType], names: Sequence[str], span: Span | None
    ) -> tuple[Value, ...]:
        results = tuple(
            Value(self.reserve(n) if n and not n.isdigit() else self.fresh(), t)
            for n, t in zip(names, types, strict=True)
        )
        self.nodes.append(Node(op, operands, results, span))
        self.defined.update(v.name for v in results)
        return results

    def emit(self, op: Op, *operands: Value, span: Span | None = None) -> Value:
        """`emit_all` for an op with one result."""
        return self.emit_all(op, *operands, span=span)[0]

    def finish(self, outputs: Mapping[str, Value], ties: Mapping[str, str] | None = None) -> Program:
        return Program(self.name, tuple(self.inputs), tuple(self.nodes), tuple(outputs.items()), dict(ties or {}))


def _unique(name: str, taken: set[str]) -> str:
    """The name, with a number after it where it is taken; takes it."""
    wanted, n = name, 1
    while name in taken:
        n += 1
        name = f"{wanted}.{n}"
    taken.add(name)
    return name


def current() -> Builder:
    """The builder in use."""
    builders = _builders.get()
    if not builders:
        raise Diagnostic(
            "type",
            "a model operation was used outside a model",
            hint="use it inside a function that is given to ppl.compile, or inside `with Builder(...)`",
        )
    return builders[-1]


def diagnostic(kind: str, message: str, *, hint: str | None = None) -> Diagnostic:
    """A `Diagnostic` at the place that the builder in use stands at."""
    builders = _builders.get()
    return Diagnostic(kind, message, hint=hint).at(builders[-1].where() if builders else None)


def emit(op: Op, *operands: Value) -> Value:
    return current().emit(op, *operands)


def constant(number: complex | bool, dtype: str | None = None) -> Value:
    """A scalar constant; without a dtype bool, i32 for integers, else the builder's real dtype."""
    from .ops.create import Constant

    if dtype is None:
        is_int = isinstance(number, numbers.Integral)
        dtype = "bool" if isinstance(number, bool) else "i32" if is_int else current().real
    return emit(Constant(_python(number, dtype), dtype))


def _python(number: Any, dtype: str) -> Any:
    if dtype == "bool":
        return bool(number)
    return int(number) if dtype[0] in "iu" else float(number)


def as_value(x: Any, like: Value | None = None) -> Value:
    """A value from a value or a Python number; a real number takes the dtype of `like` where that is wide enough."""
    if isinstance(x, Value):
        return x
    if isinstance(x, (bool, numbers.Real)) or (hasattr(x, "item") and getattr(x, "ndim", 1) == 0):
        x = x if isinstance(x, (bool, int, float)) else x.item()  # type: ignore[union-attr]
        wanted = None
        if like is not None and not isinstance(x, bool):
            if like.type.is_real:
                wanted = like.type.dtype
            elif like.type.is_complex:
                wanted = "f32" if like.type.dtype == "c64" else "f64"
            elif isinstance(x, int) and like.type.dtype[0] in "iu":
                wanted = like.type.dtype
        return constant(x, wanted)
    raise diagnostic(
        "type",
        f"cannot compute with {type(x).__name__} here",
        hint="arrays enter a model as data (an argument with ppl.Data), numbers can be written as they are",
    )


def cast(x: Value, dtype: str) -> Value:
    return x if x.type.dtype == dtype else emit(Op.table["cast"](dtype), x)  # type: ignore[call-arg]


def binary(name: str, x: Any, y: Any) -> Value:
    """An elementwise op of two operands, numbers allowed; dtypes are promoted, integers become real in a division."""
    if not isinstance(x, Value) and not isinstance(y, Value):
        raise InternalError("binary needs at least one value")
    if name == "pow" and isinstance(x, Value) and isinstance(y, int) and not isinstance(y, bool) and y != 0:
        x = x if x.type.dtype[0] in "fc" else cast(x, current().real)
        return x if y == 1 else emit(Op.table["int_pow"](y), x)  # type: ignore[call-arg]
    x, y = as_value(x, y if isinstance(y, Value) else None), as_value(y, x if isinstance(x, Value) else None)
    dtype = promote(x.type.dtype, y.type.dtype)
    if name in ("div", "pow") and dtype[0] in "iub":
        dtype = current().real
    elif name in ("add", "sub", "mul") and dtype == "bool":
        dtype = "i32"
    if name == "mul" and dtype[0] == "c":  # real × complex needs no complex copy of the real operand
        real = "f32" if dtype == "c64" else "f64"
        x, y = (cast(v, dtype if v.type.is_complex else real) for v in (x, y))
    else:
        x, y = cast(x, dtype), cast(y, dtype)
    return emit(Op.table[name](), x, y)


def lookup(table: Value, where: Mapping[str, Any]) -> Value:
    """`table[{"county": cty}]`: looks dims up by an index tensor or at a fixed position."""
    from .ops.gather import Gather

    if not isinstance(where, Mapping):
        raise diagnostic(
            "type",
            "a tensor is indexed by name, not by position",
            hint=f'write x[{{"{table.dims[0] if table.dims else "dim"}": index}}] (in a text model: x[dim = index])',
        )
    for dim, index in where.items():
        if dim not in table.type:
            have = ", ".join(table.dims) or "no dims"
            raise diagnostic("type", f"cannot index dim '{dim}': the tensor has [{have}]")
        if isinstance(index, float):  # as size(time) - 1, which is arithmetic of reals
            if not index.is_integer():
                raise diagnostic("type", f"index {index:g} is not a whole number", hint="positions are 0, 1, 2, …")
            index = int(index)
        if isinstance(index, numbers.Integral) and not 0 <= int(index) < table.type[dim]:
            raise diagnostic("type", f"index {index} is outside dim '{dim}', which has size {table.type[dim]} (from 0)")
        table = emit(Gather(dim), table, as_value(index))
    return table


__all__ = ["CHAIN", "Builder", "Dim", "as_value", "binary", "cast", "constant", "current", "emit", "lookup"]
