"""Elementwise operations: each is a scalar function, broadcast over the union of its operands' dims by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.scipy import special

from ..build import binary, cast, current, emit
from ..dims import DTYPES, REAL_OF, Dim, TensorType, union
from ..errors import Diagnostic
from ..graph import Value
from ..op import Op
from ..place import Place, align
from .reduce import unbroadcast


@dataclass(frozen=True)
class Elementwise(Op):
    """The interface of all elementwise ops: a leaf gives `fn` on arrays, and a dtype rule if it is not the default."""

    arity: ClassVar[int] = 1
    real_only: ClassVar[bool] = True
    takes_bool: ClassVar[bool] = False
    cost: ClassVar[float] = 1.0
    """Floating-point operations per element; 10 stands for a transcendental function."""

    def fn(self, *arrays: Any) -> Any:
        raise NotImplementedError

    def dtype(self, *dtypes: str) -> str:
        """The result's dtype; by default all operands share one dtype, real where the function needs it."""
        if len(set(dtypes)) > 1:
            raise Diagnostic("type", f"{self.name} of {' and '.join(dtypes)}: both must have the same dtype")
        if dtypes[0] == "bool" and not self.takes_bool:
            hint = "a condition counts as a number after cast, or inside where(condition, a, b)"
            raise Diagnostic("type", f"{self.name} needs numbers, but its operand is a condition (bool)", hint=hint)
        if self.real_only and dtypes[0] not in REAL_OF:
            raise Diagnostic("type", f"{self.name} needs real numbers, but its operand is {dtypes[0]}")
        if self.real_only and dtypes[0][0] == "c":
            hint = "take real(x) or imag(x)"
            raise Diagnostic("type", f"{self.name} is not defined for complex numbers here", hint=hint)
        return dtypes[0]

    def result(self, *operands: TensorType) -> TensorType:
        if len(operands) != self.arity:
            raise Diagnostic("type", f"{self.name} takes {self.arity} operand(s), but got {len(operands)}")
        return TensorType(union(*operands), self.dtype(*(t.dtype for t in operands)))

    def flops(self, *operands: TensorType) -> float:
        return self.cost * self.result(*operands).size

    def local(self, place: Place, *blocks: Any) -> Any:
        wanted = place.results[0].names
        return self.fn(*(align(b, t.names, wanted) for b, t in zip(blocks, place.operands, strict=True)))

    @classmethod
    def examples(cls):
        if "name" not in cls.__dict__:
            return []
        x, y = Dim("x", 9), Dim("y", 10)
        types = [TensorType((x, y), "f64"), TensorType((y,), "f64"), TensorType((), "f64")]
        return [(cls(), tuple(types[: cls.arity]))]


# --- arithmetic: vjp by hand, because it is linear and feeds contractions ---


class Linear(Elementwise):
    """Ops that are jointly linear in all their operands."""

    real_only = False

    def linear(self, *operands):
        return (tuple(range(len(operands))),)


@dataclass(frozen=True)
class Neg(Linear):
    name: ClassVar[str] = "neg"

    def fn(self, x):
        return -x

    def vjp(self, cotangent, result, x):
        return (-cotangent,)


@dataclass(frozen=True)
class Add(Linear):
    name: ClassVar[str] = "add"
    arity: ClassVar[int] = 2

    def fn(self, x, y):
        return x + y

    def vjp(self, cotangent, result, x, y):
        return unbroadcast(cotangent, x.type), unbroadcast(cotangent, y.type)


@dataclass(frozen=True)
class Sub(Linear):
    name: ClassVar[str] = "sub"
    arity: ClassVar[int] = 2

    def fn(self, x, y):
        return x - y

    def vjp(self, cotangent, result, x, y):
        return unbroadcast(cotangent, x.type), unbroadcast(-cotangent, y.type)


@dataclass(frozen=True)
class Mul(Elementwise):
    """A product; one operand may be real and the other complex, which costs no complex copy of the real one."""

    name: ClassVar[str] = "mul"
    arity: ClassVar[int] = 2
    real_only: ClassVar[bool] = False

    def dtype(self, x, y):
        if {x, y} in ({"f32", "c64"}, {"f64", "c128"}):
            return max(x, y, key=lambda d: d[0] == "c")
        return super().dtype(x, y)

    def fn(self, x, y):
        if jnp.iscomplexobj(x) != jnp.iscomplexobj(y):
            x, y = (y, x) if jnp.iscomplexobj(x) else (x, y)
            return jax.lax.complex(x * y.real, x * y.imag)
        return x * y

    def linear(self, *operands):
        return ((0,), (1,))

    def vjp(self, cotangent, result, x, y):
        return product_into(cotangent, y, x.type), product_into(cotangent, x, y.type)

    @classmethod
    def examples(cls):
        x, y = Dim("x", 9), Dim("y", 10)
        mixed = [((x, y), (y,)), ((x,), (y,)), ((), (y, x))]
        pairs = [*(("f64", "c128", dims) for dims in mixed), ("c128", "f64", mixed[0])]
        return [
            *super().examples(),
            *((cls(), (TensorType(a, first), TensorType(b, second))) for first, second, (a, b) in pairs),
        ]


@dataclass(frozen=True)
class Div(Elementwise):
    name: ClassVar[str] = "div"
    arity: ClassVar[int] = 2
    cost: ClassVar[float] = 4.0
    real_only: ClassVar[bool] = False

    def fn(self, x, y):
        return x / y

    def linear(self, *operands):
        return ((0,),)

    def vjp(self, cotangent, result, x, y):
        per_y = cotangent / y
        return unbroadcast(per_y, x.type), product_into(-per_y, result, y.type)


def product_into(a: Value, b: Value, target: TensorType) -> Value:
    """a × b summed over the dims that `target` lacks, in its dtype: the cotangent of one factor of a product."""
    from .complex_parts import Real
    from .contract import Contract

    over = tuple(dict.fromkeys(d for d in (*a.dims, *b.dims) if d not in target))
    if not target.is_complex and (a.type.is_complex or b.type.is_complex):
        both = a.type.is_complex and b.type.is_complex
        return unbroadcast(emit(RealProduct(), a, b) if both else emit(Real(), binary("mul", a, b)), target)
    if (
        over
        and not current().branches
        and a.type.dtype == b.type.dtype
        and all(d in a.type and d in b.type for d in over)
    ):
        return cast(emit(Contract(over), a, b), target.dtype)
    return unbroadcast(binary("mul", a, b), target)


@dataclass(frozen=True)
class RealProduct(Elementwise):
    """The real part of a product of two complex numbers."""

    name: ClassVar[str] = "real_product"
    arity: ClassVar[int] = 2
    cost: ClassVar[float] = 3.0

    def dtype(self, x, y):
        if x != y or x[0] != "c":
            raise Diagnostic("type", f"real_product needs two complex operands, but got {x} and {y}")
        return REAL_OF[x]

    def fn(self, x, y):
        return x.real * y.real - x.imag * y.imag

    def linear(self, *operands):
        return ((0,), (1,))

    def vjp(self, cotangent, result, x, y):
        return product_into(cotangent, y, x.type), product_into(cotangent, x, y.type)

    @classmethod
    def examples(cls):
        x, y = Dim("x", 9), Dim("y", 10)
        return [(cls(), (TensorType((x, y), "c128"), TensorType((y,), "c128")))]


@dataclass(frozen=True)
class Cast(Elementwise):
    """Converts to another dtype; complex to real takes the real part, as the transpose of real to complex does."""

    to: str
    name: ClassVar[str] = "cast"
    real_only: ClassVar[bool] = False

    def dtype(self, x):
        return self.to

    def fn(self, x):
        if jnp.iscomplexobj(x) and self.to[0] != "c":
            x = x.real
        return x.astype(DTYPES[self.to][0])

    def linear(self, *operands):
        return ((0,),) if self.to[0] in "fc" and operands[0].dtype[0] in "fc" else ()

    def vjp(self, cotangent, result, x):
        return (cast(cotangent, x.type.dtype) if x.type.dtype[0] in "fc" else None,)

    @classmethod
    def examples(cls):
        x = Dim("x", 9)
        return [(cls("f32"), (TensorType((x,), "f64"),)), (cls("c128"), (TensorType((x,), "f64"),))]


@dataclass(frozen=True)
class IntPow(Elementwise):
    """x to a fixed integer power."""

    exponent: int
    name: ClassVar[str] = "int_pow"
    real_only: ClassVar[bool] = False
    cost: ClassVar[float] = 2.0

    def fn(self, x):
        return jax.lax.integer_pow(x, self.exponent)

    def vjp(self, cotangent, result, x):
        if self.exponent == 0:
            return (None,)
        if self.exponent == 2:
            return (cotangent * (2.0 * x),)
        return (cotangent * (float(self.exponent) * emit(IntPow(self.exponent - 1), x)),)

    @classmethod
    def examples(cls):
        return [(cls(n), (TensorType((Dim("x", 9),), "f64"),)) for n in (2, 3, -1, 0)]


@dataclass(frozen=True)
class Pow(Elementwise):
    name: ClassVar[str] = "pow"
    arity: ClassVar[int] = 2
    cost: ClassVar[float] = 20.0

    def fn(self, x, y):
        return jnp.power(x, y)


@dataclass(frozen=True)
class Where(Elementwise):
    """`where(condition, x, y)`: x where the condition holds, else y.

    The other branch may be infinite or NaN without harm to the result, nor to gradients (`ir.passes.branches`).
    """

    name: ClassVar[str] = "where"
    arity: ClassVar[int] = 3
    real_only: ClassVar[bool] = False
    takes_bool: ClassVar[bool] = True

    def dtype(self, condition, x, y):
        if condition != "bool":
            hint = "compare it, as x > 0"
            raise Diagnostic("type", f"where needs a condition (bool), but got {condition}", hint=hint)
        return super().dtype(x, y)

    def fn(self, condition, x, y):
        return jnp.where(condition, x, y)

    def linear(self, *operands):
        return ((1, 2),)

    def vjp(self, cotangent, result, condition, x, y):
        zero = emit(ZerosLike(), cotangent)
        return (
            None,
            unbroadcast(emit(Where(), condition, cotangent, zero), x.type),
            unbroadcast(emit(Where(), condition, zero, cotangent), y.type),
        )

    @classmethod
    def examples(cls):
        x, y = Dim("x", 9), Dim("y", 10)
        return [(cls(), (TensorType((y,), "bool"), TensorType((x, y), "f64"), TensorType((x,), "f64")))]


@dataclass(frozen=True)
class ZerosLike(Elementwise):
    """Zeros of the operand's type."""

    name: ClassVar[str] = "zeros_like"
    real_only: ClassVar[bool] = False
    takes_bool: ClassVar[bool] = True
    cost: ClassVar[float] = 0.0

    def fn(self, x):
        return jnp.zeros_like(x)

    def vjp(self, cotangent, result, x):
        return (None,)


# --- comparisons and logic ---


class Compare(Elementwise):
    arity = 2
    real_only = False
    takes_bool = True

    def dtype(self, x, y):
        super().dtype(x, y)
        return "bool"

    def vjp(self, cotangent, result, x, y):
        return (None, None)


class Logic(Elementwise):
    arity = 2
    real_only = False

    def dtype(self, *dtypes):
        if set(dtypes) != {"bool"}:
            raise Diagnostic("type", f"{self.name} needs conditions (bool), but got {' and '.join(dtypes)}")
        return "bool"

    def vjp(self, cotangent, result, *operands):
        return tuple(None for _ in operands)

    @classmethod
    def examples(cls):
        types = (TensorType((Dim("x", 9), Dim("y", 10)), "bool"), TensorType((Dim("y", 10),), "bool"))
        return [(cls(), types[: cls.arity])] if "name" in cls.__dict__ else []


def _leaf(base: type[Elementwise], name: str, fn: Any, doc: str, **members: Any) -> type[Elementwise]:
    """A leaf class whose whole definition is one scalar function."""
    body = {"name": name, "fn": lambda self, *x: fn(*x), "__doc__": doc, "__module__": __name__, **members}
    return dataclass(frozen=True)(type(name.title().replace("_", ""), (base,), body))


Lt = _leaf(Compare, "lt", jnp.less, "x < y.")
Le = _leaf(Compare, "le", jnp.less_equal, "x <= y.")
Eq = _leaf(Compare, "eq", jnp.equal, "x == y.")
Ne = _leaf(Compare, "ne", jnp.not_equal, "x != y.")
And = _leaf(Logic, "and", jnp.logical_and, "Both conditions hold.")
Or = _leaf(Logic, "or", jnp.logical_or, "One condition holds.")
Not = _leaf(Logic, "not", jnp.logical_not, "The condition does not hold.", arity=1)


# --- functions: gradient in terms of the result, so that the operand need not be kept for it ---


def _function(name: str, fn: Any, slope: Callable[[Value], Value], doc: str, cost: float) -> type[Elementwise]:
    """A function of one operand, by its derivative as a function of its result."""
    return _leaf(Elementwise, name, fn, doc, cost=cost, vjp=lambda self, ct, result, x: (ct * slope(result),))


Exp = _function("exp", jnp.exp, lambda y: y, "The exponential.", 10.0)
Expm1 = _function("expm1", jnp.expm1, lambda y: y + 1.0, "exp(x) - 1, exact near 0.", 10.0)
Sqrt = _function("sqrt", jnp.sqrt, lambda y: 0.5 / y, "The square root.", 4.0)
Tan = _function("tan", jnp.tan, lambda y: y * y + 1.0, "The tangent of x in radians.", 12.0)
Tanh = _function("tanh", jnp.tanh, lambda y: (1.0 - y) * (1.0 + y), "The hyperbolic tangent.", 12.0)
Sigmoid = _function("sigmoid", jax.nn.sigmoid, lambda y: y * (1.0 - y), "1 / (1 + exp(-x)).", 12.0)

# --- functions: gradient derived ---

Log = _leaf(Elementwise, "log", jnp.log, "The natural logarithm.", cost=10.0)
Log1p = _leaf(Elementwise, "log1p", jnp.log1p, "log(1 + x), exact near 0.", cost=10.0)
Sin = _leaf(Elementwise, "sin", jnp.sin, "The sine of x in radians.", cost=10.0)
Cos = _leaf(Elementwise, "cos", jnp.cos, "The cosine of x in radians.", cost=10.0)
Atan = _leaf(Elementwise, "atan", jnp.arctan, "The arc tangent.", cost=12.0)
Softplus = _leaf(Elementwise, "softplus", jax.nn.softplus, "log(1 + exp(x)) without overflow.", cost=20.0)
Lgamma = _leaf(Elementwise, "lgamma", special.gammaln, "log |Gamma(x)|.", cost=40.0)
Digamma = _leaf(Elementwise, "digamma", special.digamma, "The derivative of lgamma.", cost=40.0)
Erf = _leaf(Elementwise, "erf", special.erf, "The error function.", cost=20.0)
Erfc = _leaf(Elementwise, "erfc", special.erfc, "1 - erf(x), exact in the tail.", cost=20.0)
Ndtri = _leaf(Elementwise, "ndtri", special.ndtri, "The quantile function of the standard normal.", cost=40.0)
# JAX's default of 3 terms is off by 4e-9 near x = -20.
_log_ndtr = partial(special.log_ndtr, series_order=10)
LogNdtr = _leaf(Elementwise, "log_ndtr", _log_ndtr, "log of the normal cdf, exact in both tails.", cost=40.0)
Abs = _leaf(Elementwise, "abs", jnp.abs, "The absolute value.")
Floor = _leaf(Elementwise, "floor", jnp.floor, "The largest integer not above x, as a real number.")
Max = _leaf(Elementwise, "maximum", jnp.maximum, "The larger of two.", arity=2, real_only=False)
Min = _leaf(Elementwise, "minimum", jnp.minimum, "The smaller of two.", arity=2, real_only=False)
Atan2 = _leaf(Elementwise, "atan2", jnp.arctan2, "The angle of the point (y, x) as atan2(y, x).", arity=2, cost=15.0)
Logaddexp = _leaf(Elementwise, "logaddexp", jnp.logaddexp, "log(exp(x) + exp(y)) without overflow.", arity=2, cost=30.0)
