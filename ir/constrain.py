"""Between the whole real space, where samplers move, and the support of a distribution, with the log-Jacobian.

| support    | from u to x                                             | log-Jacobian, by element of u                |
|------------|---------------------------------------------------------|----------------------------------------------|
| real       | x = u                                                   | none                                         |
| lower a    | x = a + exp(u)                                          | u                                            |
| upper b    | x = b - exp(u)                                          | u                                            |
| interval   | x = a + (b - a) sigmoid(u)                              | log(b - a) - u - 2 softplus(-u)              |
| simplex    | x = softmax(z), z = u by an isometry to sums of zero    | (sum over k of log x + log(K) / 2) / (K - 1) |

A simplex along dim k of size K comes from K - 1 numbers along the dim `k_free`. Of the maps from there to the simplex
this is the isometric log-ratio (Egozcue et al. 2003), symmetric in its parts, with a Householder reflection for its
basis: the one that takes the axis of the last part to (1, …, 1) / sqrt(K), which costs one sum, whatever K is. The
Jacobian of softmax from the space of zero sums is sqrt(K) times the product of the parts; it does not depend on the
position along `k_free`, so that each of the K - 1 elements carries an equal share.
"""

from __future__ import annotations

import math

from .build import as_value, binary, emit
from .dims import Dim
from .dist import Support
from .errors import Diagnostic, InternalError
from .graph import Value
from .ops.create import Coordinate
from .ops.elementwise import Exp, Log, Sigmoid, Softplus, Where
from .ops.gather import Gather
from .ops.reduce import MaxOver, Sum

BELOW_ONE = {"f32": 1.0 - 2.0**-24, "f64": 1.0 - 2.0**-53}
"""The largest numbers less than 1: no latent ever reaches the upper end of its interval."""


def free_dims(support: Support, dims: tuple[Dim, ...], event: tuple[str, ...] = ()) -> tuple[Dim, ...]:
    """The dims of the unconstrained quantity, from those of a draw; `event` names its event dims."""
    if support.kind != "simplex":
        return dims
    k = event[-1]
    return tuple(Dim(free_name(k), parts_of(d) - 1) if d.name == k else d for d in dims)


def free_name(k: str) -> str:
    """The dim of the K - 1 free numbers behind a simplex along dim k."""
    return f"{k}_free"


def parts_of(k: Dim) -> int:
    """The number of parts of a simplex; a `Diagnostic` where there is nothing to divide."""
    if k.size < 2:
        raise Diagnostic(
            "type",
            f"a simplex along '{k.name}' needs at least two parts, but the dim has size {k.size}",
            hint="the one part of such a simplex is always 1: leave the quantity out",
        )
    return k.size


def to_support(support: Support, u: Value, event: tuple[str, ...] = ()) -> tuple[Value, Value | None]:
    """(x, log_det) from the unconstrained u; log_det is to be summed over the dims of u, those it lacks included.

    It is None where the map is the identity.
    """
    kind = support.kind
    if kind == "real":
        return u, None
    if kind == "lower":
        return _shift(emit(Exp(), u), support.lower), u
    if kind == "upper":
        return binary("sub", support.upper, emit(Exp(), u)), u
    if kind == "interval":
        return _to_interval(support, u)
    if kind == "simplex":
        return _to_simplex(u, event[-1])
    raise InternalError(f"there is no unconstrained form of a support of kind '{kind}'")


def from_support(support: Support, x: Value, event: tuple[str, ...] = ()) -> Value:
    """The unconstrained u of an x inside the support; an x at its edge is taken to the nearest u that is finite."""
    kind = support.kind
    if kind == "real":
        return x
    if kind == "lower":
        return emit(Log(), _positive(x if _is_zero(support.lower) else binary("sub", x, support.lower)))
    if kind == "upper":
        return emit(Log(), _positive(binary("sub", support.upper, x)))
    if kind == "interval":
        below = _positive(x if _is_zero(support.lower) else binary("sub", x, support.lower))
        above = _positive(binary("sub", support.upper, x))
        return emit(Log(), below) - emit(Log(), above)
    if kind == "simplex":
        return _from_simplex(x, event[-1])
    raise InternalError(f"there is no unconstrained form of a support of kind '{kind}'")


def _is_zero(bound: Value | float | None) -> bool:
    return not isinstance(bound, Value) and bound == 0


def _shift(x: Value, bound: Value | float | None) -> Value:
    return x if _is_zero(bound) else binary("add", bound, x)


def _positive(x: Value) -> Value:
    """x, or the smallest normal number where x is not positive."""
    tiny = 2.0**-126 if x.type.dtype == "f32" else 2.0**-1022
    return binary("maximum", x, tiny)


def _to_interval(support: Support, u: Value) -> tuple[Value, Value]:
    low, high = support.lower, support.upper
    share = binary("minimum", emit(Sigmoid(), u), BELOW_ONE[u.type.dtype])
    log_share = -u - 2.0 * emit(Softplus(), -u)  # log sigmoid(u) + log sigmoid(-u)
    if isinstance(low, Value) or isinstance(high, Value):
        width = binary("sub", high, low)
        return _shift(width * share, low), log_share + emit(Log(), width)
    assert low is not None and high is not None
    if (low, high) == (0.0, 1.0):
        return share, log_share
    return _shift((high - low) * share, low), log_share + math.log(high - low)


def _position(dim: Dim) -> Value:
    return emit(Coordinate(dim, "index", 0, "i32"))


def _to_simplex(u: Value, k: str) -> tuple[Value, Value]:
    free = free_name(k)
    size = u.type[free] + 1
    root = math.sqrt(size)
    # z = (u, 0) + s w / (sqrt(K) - 1), with s the sum of u and w = (0, …, 0, 1) - (1, …, 1) / sqrt(K).
    s = emit(Sum((free,)), u)
    at = _position(Dim(k, size))
    inner = emit(Gather(free), u, binary("minimum", at, size - 2)) - s * (1.0 / (root * (root - 1.0)))
    z = emit(Where(), binary("lt", at, size - 1), inner, s * (1.0 / root))
    top = emit(MaxOver((k,)), z)
    log_norm = emit(Log(), emit(Sum((k,)), emit(Exp(), z - top))) + top
    # The sum of log x is -K log_norm, because the z sum to zero.
    log_det = (0.5 * math.log(size) - float(size) * log_norm) * (1.0 / (size - 1))
    return emit(Exp(), z - log_norm), log_det


def _from_simplex(x: Value, k: str) -> Value:
    dim = Dim(k, x.type[k])
    size, root = parts_of(dim), math.sqrt(dim.size)
    log_x = emit(Log(), _positive(x))
    z = log_x - emit(Sum((k,)), log_x) * (1.0 / size)
    last = emit(Gather(k), z, as_value(size - 1))
    inner = emit(Gather(k), z, _position(Dim(free_name(k), size - 1)))
    return inner + last * (1.0 / (root - 1.0))
