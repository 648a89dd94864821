"""The escape hatch: an arbitrary JAX function as one op, with declared dims.

The function is opaque, so it is called on whole arrays unless its author says more: role `Map` along a dim promises
that it works on any part of that dim by itself, `Reduce` that it sums over it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..build import diagnostic, emit
from ..dims import DTYPES, Dim, TensorType, union
from ..errors import Diagnostic
from ..graph import Value
from ..layout import block
from ..op import Map, Op, Reduce, Role, Whole
from ..place import align

_IR_DTYPES = {numpy: ours for ours, (numpy, _) in DTYPES.items()}


@dataclass(frozen=True)
class JaxFn(Op):
    """`f` of arrays whose axes are the dims `takes`, in that order, giving one array of type `returns`.

    Dims of an operand that `takes` does not name (a batch of chains) are mapped over by `jax.vmap` and come first in
    the result. `maps` and `sums` are the dims with roles `Map` and `Reduce`; all others are `Whole`. The gradient is
    `jax.vjp` of `f`. Two such ops are equal when they hold the same function object.
    """

    f: Callable[..., Any]
    takes: tuple[tuple[str, ...], ...]
    returns: TensorType
    maps: tuple[str, ...] = ()
    sums: tuple[str, ...] = ()
    label: str = "jax_fn"
    name: ClassVar[str] = "jax_fn"

    def extras(self, *operands: TensorType) -> tuple[Dim, ...]:
        """The dims that are mapped over, in the order in which they lead the result."""
        own = (TensorType(tuple(d for d in t.dims if d.name not in names)) for t, names in self._pairs(operands))
        return union(*own)

    def _pairs(self, operands: Sequence[TensorType]):
        if len(operands) != len(self.takes):
            raise Diagnostic("type", f"{self.label} takes {len(self.takes)} operand(s), but got {len(operands)}")
        return zip(operands, self.takes, strict=True)

    def result(self, *operands):
        extras = self.extras(*operands)
        for i, (t, names) in enumerate(self._pairs(operands)):
            lacks = [d for d in names if d not in t]
            if lacks:
                raise Diagnostic("type", f"operand {i + 1} of {self.label} lacks dim '{lacks[0]}': it is {t}")
        for dim in self.sums:
            if dim in self.returns:
                raise Diagnostic("type", f"{self.label} is said to sum over '{dim}', but its result has that dim")
        for d in extras:
            if d.name in self.returns:
                hint = "declare the dim in the operand too, or rename one of them"
                raise Diagnostic("type", f"{self.label} makes dim '{d.name}', but an operand brings one", hint=hint)
        return TensorType((*extras, *self.returns.dims), self.returns.dtype)

    def roles(self, *operands):
        mentioned = dict.fromkeys((*(d for names in self.takes for d in names), *self.returns.names))
        stated: dict[str, Role] = {**dict.fromkeys(self.maps, Map()), **dict.fromkeys(self.sums, Reduce())}
        return {dim: stated.get(dim, Whole()) for dim in mentioned}

    def illegal(self, operands, strategy, mesh):
        for dim, axes in strategy.splits:
            size, parts = self.dims(*operands)[dim], mesh.size(axes)
            if dim in self.sums and block(size, parts) * parts != size:
                return f"{self.label} sums over '{dim}' itself and would count padding: {parts} does not divide {size}"
        return super().illegal(operands, strategy, mesh)

    def local(self, place, *blocks):
        names = [d.name for d in self.extras(*place.operands)]
        arrays = [
            align(b, t.names, (*(d for d in names if d in t), *own))
            for b, (t, own) in zip(blocks, self._pairs(place.operands), strict=True)
        ]
        f = self.f
        for dim in reversed(names):
            f = jax.vmap(f, in_axes=tuple(0 if dim in t else None for t in place.operands))
        return jnp.asarray(f(*arrays)).astype(place.results[0].numpy)

    @classmethod
    def examples(cls):
        x, y, k, n = Dim("x", 8), Dim("y", 10), Dim("k", 4), Dim("n", 9)
        sizes = TensorType((k,), "f64")
        return [
            (cls(_outer, (("x",), ("y",)), sizes), (TensorType((x,), "f64"), TensorType((y,), "f64"))),
            (cls(_rows, (("x", "y"),), TensorType((y,), "f64"), ("y",), ("x",)), (TensorType((y, x), "f64"),)),
            (
                cls(_logistic, (("n", "k"), ("k",)), TensorType((n,), "f64"), ("n",)),
                (TensorType((k, n), "f64"), TensorType((k,), "f64")),
            ),
        ]


def jax_fn(
    f: Callable[..., Any],
    *operands: Value,
    dims: Sequence[str] = (),
    roles: Mapping[str, Role] | None = None,
    label: str | None = None,
) -> Value:
    """Emits `f` of operands as one op. `f` sees each operand's dims in their order and returns an array with `dims`.

    Sizes and dtype of the result are found by `jax.eval_shape`, before anything runs; a function that cannot be traced
    on these types is a `Diagnostic`.
    """
    label = str(label or getattr(f, "__name__", "jax_fn"))
    with jax.enable_x64(True):
        try:
            made = jax.eval_shape(f, *(jax.ShapeDtypeStruct(v.type.shape, v.type.numpy) for v in operands))
        except Exception as error:
            shapes = ", ".join(str(v.type) for v in operands)
            raise diagnostic("type", f"{label} cannot be traced on {shapes}: {error}") from error
    if not isinstance(made, jax.ShapeDtypeStruct) or made.dtype.name not in _IR_DTYPES:
        raise diagnostic("type", f"{label} must return one array, but it returns {made}")
    if len(made.shape) != len(dims):
        hint = f"name the dims of the result: dims = {made.shape} needs {len(made.shape)} names"
        raise diagnostic("type", f"{label} returns an array of shape {made.shape} for dims {tuple(dims)}", hint=hint)
    for dim, role in (roles or {}).items():
        if not isinstance(role, Map | Reduce | Whole) or role == Reduce("max"):
            raise diagnostic("type", f"{label}: a JAX function cannot have role {role} along '{dim}'")
    maps = tuple(d for d, role in (roles or {}).items() if isinstance(role, Map))
    sums = tuple(d for d, role in (roles or {}).items() if isinstance(role, Reduce))
    returns = TensorType(tuple(map(Dim, dims, made.shape)), _IR_DTYPES[made.dtype.name])
    return emit(JaxFn(f, tuple(v.dims for v in operands), returns, maps, sums, label), *operands)


def _outer(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.stack([jnp.sum(x) * y[1], x[0] * jnp.sin(y[2]), x[3] ** 2, jnp.prod(y)])


def _logistic(x: jax.Array, slope: jax.Array) -> jax.Array:
    return jax.nn.softplus(x @ slope)


def _rows(x: jax.Array) -> jax.Array:
    return jnp.sum(jnp.sin(x), axis=0)
