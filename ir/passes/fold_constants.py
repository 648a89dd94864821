"""Folding constants, identities and broadcasts.

Scalars known now are computed now. `x * 1`, `x + 0`, `neg(neg x)` and the like are x. A broadcast moves towards the
output as far as it goes: `exp(broadcast(x))` becomes `broadcast(exp(x))`, `broadcast(x) * y` becomes `x * y` where y
has the dims anyway, `sum(broadcast(x))` becomes `x * size`. Types never change, and no value but for rounding: `x * 0`
stays, because x may be NaN.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import jax
import numpy as np

from ..build import as_value, cast, constant, emit
from ..dims import TensorType, union
from ..graph import Node, Program, Value
from ..op import Op
from ..ops.contract import Contract
from ..ops.create import Broadcast, Constant
from ..ops.elementwise import Cast, Elementwise, IntPow, Where, ZerosLike
from ..ops.order import Reorder, reorder
from ..ops.pullback import Pullback
from ..ops.reduce import MaxOver, Sum
from ..place import Place
from .rewrite import Scope, rewrite

Law = Callable[[Node, Scope], Value | None]


def fold_constants(program: Program) -> Program:
    """The program with every law below applied once, operands first."""
    return rewrite(program, _fold)


def _fold(node: Node, scope: Scope) -> Sequence[Value] | None:
    if len(node.results) != 1:
        return None
    for law in LAWS:
        found = law(node, scope)
        if found is not None and found.type == node.results[0].type:
            return (found,)
    return None


# --- what is known about a value ---


def number(value: Value, scope: Scope) -> complex | None:
    """The number that a value holds everywhere, where that is known."""
    node = scope.node(value)
    if node and isinstance(node.op, Constant):
        return node.op.value
    return number(node.operands[0], scope) if node and isinstance(node.op, Broadcast) else None


def spread(x: Value, t: TensorType) -> Value | None:
    """x broadcast to a type; None where it cannot be, or where the order of dims would differ."""
    if not _spreads(x.type, t):
        return None
    missing = tuple(d for d in t.dims if d.name not in x.type)
    return emit(Broadcast(missing), x) if missing else x


def _spreads(narrow: TensorType, wide: TensorType) -> bool:
    missing = tuple(d for d in wide.dims if d.name not in narrow)
    return TensorType(union(narrow, TensorType(missing)), narrow.dtype) == wide


def _source(value: Value, scope: Scope) -> Value:
    """What is broadcast, or the value itself."""
    node = scope.node(value)
    return node.operands[0] if node and isinstance(node.op, Broadcast) else value


# --- laws: the value that takes a node's place, or None where the law does not hold ---


def evaluate(node: Node, scope: Scope) -> Value | None:
    """A scalar function of constants is a constant."""
    t = node.results[0].type
    known = [scope.op(v) for v in node.operands]
    if not isinstance(node.op, Elementwise | Pullback) or t.dims or t.is_complex:
        return None
    if not known or not all(isinstance(op, Constant) for op in known):
        return None
    key = tuple((repr(op.value), op.value, op.dtype) for op in known if isinstance(op, Constant))
    return constant(_evaluate(node.op, key, t), t.dtype)


@lru_cache(maxsize=4096)
def _evaluate(op: Op, constants: tuple[tuple[str, Any, str], ...], t: TensorType) -> Any:
    types = [TensorType((), dtype) for _, _, dtype in constants]
    with jax.enable_x64(True), jax.ensure_compile_time_eval(), _on_cpu():
        blocks = [np.asarray(value, t.numpy) for (_, value, _), t in zip(constants, types, strict=True)]
        return np.asarray(_compiled(op, tuple(types), t)(*blocks)).item()


@cache
def _compiled(op: Op, types: tuple[TensorType, ...], t: TensorType) -> Callable[..., jax.Array]:
    """One program: a special function is made of twenty operations, each of which would be compiled by itself."""
    return jax.jit(lambda *blocks: op.local(Place(list(types), [t]), *blocks))


def _on_cpu() -> contextlib.AbstractContextManager:
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:  # JAX_PLATFORMS leaves the CPU out
        return contextlib.nullcontext()


def drop_neutral(node: Node, scope: Scope) -> Value | None:
    """x + 0, x - 0, x * 1, x / 1 and x ** 1 are x."""
    t, name = node.results[0].type, node.op.name
    if name == "int_pow":
        return node.operands[0] if isinstance(node.op, IntPow) and node.op.exponent == 1 else None
    neutral = {"add": 0, "sub": 0, "mul": 1, "div": 1, "pow": 1}.get(name)
    if neutral is None:
        return None
    x, y = node.operands
    if x.type.dtype == t.dtype and number(y, scope) == neutral:
        return spread(x, t)
    if name in ("add", "mul") and y.type.dtype == t.dtype and number(x, scope) == neutral:
        return spread(y, t)
    return None


def undo(node: Node, scope: Scope) -> Value | None:
    """An op that is its own inverse, applied twice, is nothing; so is a cast there and back through a wider dtype."""
    inner = scope.node(node.operands[0]) if node.operands else None
    if isinstance(node.op, Cast):
        x = node.operands[0]
        if x.type.dtype == node.op.to:
            return x
        if inner and isinstance(inner.op, Cast) and (node.op.to, x.type.dtype) in _WIDENS:
            return inner.operands[0]
        return None
    if node.op.name in ("neg", "not", "conj") and inner and inner.op.name == node.op.name:
        return inner.operands[0]
    return None


_WIDENS = {
    *(("bool", wide) for wide in ("i32", "i64", "u32", "f32", "f64")),
    *(("i32", wide) for wide in ("i64", "f64")),
    *(("u32", wide) for wide in ("i64", "f64")),
    *(("f32", wide) for wide in ("f64", "c64", "c128")),
    *(("f64", "c128"), ("c64", "c128")),
}
"""Pairs of dtypes of which the second holds every number of the first."""


def order_once(node: Node, scope: Scope) -> Value | None:
    """Dims that stand in order need none; of two orders the last one counts."""
    if not isinstance(node.op, Reorder):
        return None
    (x,), t = node.operands, node.results[0].type
    inner = scope.node(x)
    if inner and isinstance(inner.op, Reorder) and node.op.result(inner.operands[0].type) == t:
        return reorder(inner.operands[0], node.op.order)
    return x if x.type == t else None


def choose(node: Node, scope: Scope) -> Value | None:
    """`where` with a known condition, or with one value on both sides, is one of its sides."""
    if not isinstance(node.op, Where):
        return None
    condition, x, y = node.operands
    known = number(condition, scope)
    if known is None:
        return spread(x, node.results[0].type) if x == y else None
    return spread(x if known else y, node.results[0].type)


def name_zeros(node: Node, scope: Scope) -> Value | None:
    """Zeros in the form of another tensor are a constant."""
    if not isinstance(node.op, ZerosLike):
        return None
    t = node.results[0].type
    return spread(constant(0.0, t.dtype), t)


def join_broadcasts(node: Node, scope: Scope) -> Value | None:
    """A broadcast along no dim is its operand; one of another is a single one."""
    if not isinstance(node.op, Broadcast):
        return None
    (x,) = node.operands
    if not node.op.sizes:
        return x
    source = _source(x, scope)
    return spread(source, node.results[0].type) if source is not x else None


def sink_broadcasts(node: Node, scope: Scope) -> Value | None:
    """f(broadcast(x), y) is f(x, y), broadcast where a dim is still missing."""
    if not isinstance(node.op, Elementwise):
        return None
    sources = [_source(v, scope) for v in node.operands]
    if sources == list(node.operands):
        return None
    t, narrow = node.results[0].type, node.op.result(*(v.type for v in sources))
    if _spreads(narrow, t):
        return spread(emit(node.op, *sources), t)
    return None


def narrow_cotangent(node: Node, scope: Scope) -> Value | None:
    """A derived gradient broadcasts its cotangent itself, along dims that its other operands have."""
    if not isinstance(node.op, Pullback) or not isinstance(node.op.of, Elementwise):
        return None
    cotangent, *operands = node.operands
    source = _source(cotangent, scope)
    if source is cotangent or any(all(d not in v.type for v in operands) for d in cotangent.dims):
        return None
    return emit(node.op, source, *operands)


def reduce_broadcast(node: Node, scope: Scope) -> Value | None:
    """The sum of a broadcast is a multiple, its maximum is the operand; other dims are reduced before, not after."""
    if not isinstance(node.op, Sum | MaxOver):
        return None
    (x,) = node.operands
    source, dtype = _source(x, scope), node.results[0].type.dtype
    if not node.op.over:
        return cast(x, dtype)
    if source is x or dtype == "bool":
        return None
    rest = tuple(d for d in node.op.over if d in source.type)
    t, times = source.type.without(rest).with_dtype(dtype), 1
    if not _spreads(t, node.results[0].type):
        return None
    if isinstance(node.op, Sum):
        times = math.prod(x.type[d] for d in node.op.over if d not in source.type)
        reduced = emit(Sum(rest, node.op.accumulate), source) if rest else cast(source, dtype)
    else:
        reduced = emit(MaxOver(rest), source) if rest else source
    if times != 1:
        reduced = reduced * as_value(times, reduced)
    return spread(reduced, node.results[0].type)


def split_sum(node: Node, scope: Scope) -> Value | None:
    """The sum of x ± c, where c has none of the summed dims, is the sum of x ± c times their size.

    `sum(-z² / 2 - log(scale))` then adds up one term a element, and the other once. Totals in f64 only: a count times
    an f32 number is exact there.
    """
    if not isinstance(node.op, Sum) or node.op.accumulate != "f64" or not node.op.over:
        return None
    inner = scope.node(node.operands[0])
    if inner is None or inner.op.name not in ("add", "sub"):
        return None
    over, total = node.op.over, node.operands[0].type
    x, y = inner.operands
    count = float(math.prod(total[d] for d in over))
    lacks = [not any(d in v.type for d in over) for v in (x, y)]
    if lacks == [False, True] and x.type == total:
        part = cast(y, "f64") * count
        whole = emit(Sum(over, "f64"), x)
        return whole + part if inner.op.name == "add" else whole - part
    if lacks == [True, False] and y.type == total:
        part = cast(x, "f64") * count
        whole = emit(Sum(over, "f64"), y)
        return part + whole if inner.op.name == "add" else part - whole
    return None


def contract_broadcast(node: Node, scope: Scope) -> Value | None:
    """A contraction with what is the same all along its dims is a multiple of a sum."""
    if not isinstance(node.op, Contract):
        return None
    t = node.results[0].type
    for x, y in (node.operands, node.operands[::-1]):
        source = _source(x, scope)
        if source is x or any(d in source.type for d in node.op.over):
            continue
        narrow = TensorType(union(source.type, y.type.without(node.op.over)), t.dtype)
        if _spreads(narrow, t):
            return spread(source * emit(Sum(node.op.over), y), t)
    return None


LAWS: tuple[Law, ...] = (
    evaluate,
    drop_neutral,
    undo,
    order_once,
    choose,
    name_zeros,
    join_broadcasts,
    reduce_broadcast,
    split_sum,
    contract_broadcast,
    narrow_cotangent,
    sink_broadcasts,
)
