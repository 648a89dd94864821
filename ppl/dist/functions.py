"""Functions on values of a program, as the leaves here use them: numbers are allowed beside a value."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from ir.build import as_value, binary, cast, current, emit
from ir.dims import Dim
from ir.dist import Noise
from ir.graph import Value
from ir.op import Op
from ir.ops import special
from ir.ops.create import Broadcast
from ir.ops.elementwise import ZerosLike
from ir.ops.reduce import MaxOver, Sum


HALF_LOG_2PI = special.HALF_LOG_2PI
INF = math.inf
NAN = math.nan


def _function(name: str) -> Callable[[Value], Value]:
    return lambda x: emit(Op.table[name](), x)


def _pair(name: str) -> Callable[[Any, Any], Value]:
    return lambda x, y: binary(name, x, y)


exp, log, log1p, sqrt, absolute = (_function(name) for name in ("exp", "log", "log1p", "sqrt", "abs"))
floor = _function("floor")
sigmoid, softplus = _function("sigmoid"), _function("softplus")
stirling, log1p_square = _function("stirling"), _function("log1p_square")
equal, both, either, minimum = _pair("eq"), _pair("and"), _pair("or"), _pair("minimum")
deviance, log_deviance, log_normal_mass = _pair("deviance"), _pair("log_deviance"), _pair("log_normal_mass")


def real(x: Value) -> Value:
    """x as a real number: counts are converted."""
    return x if x.type.is_real else cast(x, current().real)


def where(condition: Value, x: Value | float, y: Value | float) -> Value:
    """x where the condition holds, else y."""
    like = x if isinstance(x, Value) else y
    assert isinstance(like, Value)
    return emit(Op.table["where"](), condition, as_value(x, like), as_value(y, like))


def inside(condition: Value, log_density: Value) -> Value:
    """The log density where the condition holds, else -inf; its arguments must be safe outside."""
    return where(condition, log_density, -INF)


def between(x: Value, low: Value | float, high: Value | float) -> Value:
    """low <= x <= high."""
    return both(x >= low, x <= high)


def total(x: Value, over: Iterable[str]) -> Value:
    """The sum over those of the dims that x has."""
    over = tuple(d for d in over if d in x.type)
    return emit(Sum(over), x) if over else x


def largest(x: Value, over: str) -> Value:
    return emit(MaxOver((over,)), x)


def log_sum_exp(x: Value, over: str) -> Value:
    """log(sum(exp(x))) over a dim without overflow; where all x are -inf, NaN."""
    top = emit(special.StopGradient(), largest(x, over))
    return log(total(exp(x - top), [over])) + top


def zeros_like(x: Value) -> Value:
    return emit(ZerosLike(), x)


def along(x: Value, dims: Iterable[Dim]) -> Value:
    """x repeated along those of the dims that it lacks."""
    missing = tuple(d for d in dims if d.name not in x.type)
    return emit(Broadcast(missing), x) if missing else x


def noise(kind: str, source: Noise, dims: tuple[Dim, ...], *params: Value, **more: Any) -> Value:
    """Noise along `dims`, a real number each: "uniform", "normal", "exponential", "gamma", "poisson" or "binomial"."""
    op = Op.table[f"random_{kind}"](dims, source.site, source.stream, current().real, **more)  # type: ignore[call-arg]
    return emit(op, source.key, *params)


def whole(x: Value) -> Value:
    """A drawn count as an integer; -1 where a parameter was invalid."""
    return cast(where(x >= 0.0, x, -1.0), "i32")
