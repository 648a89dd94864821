"""The functions of the language, on values with named dims: the same table serves text and Python models."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from ir.build import as_value, binary, cast, constant, current, emit
from ir.dims import Dim
from ir.graph import Value
from ir.op import Op
from ir.ops.contract import Contract
from ir.ops.create import Coordinate
from ir.ops.fft import FFT, IRFFT, RFFT
from ir.ops.linalg import Cholesky, Diagonal
from ir.ops.reduce import MaxOver, Sum
from ir.ops.shape import CumSum, Rename
from ir.ops.special import StopGradient
from ir.ops.stencil import Shift

from .context import Context, current_context

FUNCTIONS: dict[str, Callable[..., Any]] = {}
"""Every function by the name under which the language knows it."""


def language(f: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a function part of the language, under its own name without a trailing underscore."""
    FUNCTIONS[f.__name__.rstrip("_")] = f
    return f


def _real(x: Any) -> Value:
    """A value that is real or complex: integers and conditions are converted."""
    x = as_value(float(x) if isinstance(x, int) else x)
    return x if x.type.dtype[0] in "fc" else cast(x, current().real)


def _names(over: str | Iterable[str]) -> tuple[str, ...]:
    return (over,) if isinstance(over, str) else tuple(over)


def _unary(name: str) -> Callable[[Any], Value]:
    def function(x: Any) -> Value:
        return emit(Op.table[name](), _real(x))

    function.__name__ = name
    function.__doc__ = Op.table[name].__doc__
    return language(function)


exp, log, log1p, expm1, sqrt = map(_unary, ("exp", "log", "log1p", "expm1", "sqrt"))
sin, cos, tan, atan, tanh = map(_unary, ("sin", "cos", "tan", "atan", "tanh"))
sigmoid, softplus, lgamma, digamma = map(_unary, ("sigmoid", "softplus", "lgamma", "digamma"))
erf, erfc, ndtri, log_ndtr = map(_unary, ("erf", "erfc", "ndtri", "log_ndtr"))
abs_, floor, real, imag, conj = map(_unary, ("abs", "floor", "real", "imag", "conj"))
FUNCTIONS["inv_logit"] = sigmoid


def _pair(name: str) -> Callable[[Any, Any], Value]:
    def function(x: Any, y: Any) -> Value:
        x, y = _real(x), _real(y)
        return binary(name, x, y)

    function.__name__ = name
    function.__doc__ = Op.table[name].__doc__
    return language(function)


maximum, minimum, atan2, logaddexp = map(_pair, ("maximum", "minimum", "atan2", "logaddexp"))
complex_ = _pair("complex")


@language
def where(condition: Value, x: Any, y: Any) -> Value:
    """x where the condition holds, else y, by element; the other one does no harm there, to gradients either.

    where(x > 0, log(x), 0) has gradient 0 for x below 0; JAX users write a second `where` around the argument for it.
    """
    like = x if isinstance(x, Value) else y if isinstance(y, Value) else None
    x, y = as_value(x, like), as_value(y, like)
    if like is None:
        x, y = _real(x), _real(y)
    from ir.dims import promote

    dtype = promote(x.type.dtype, y.type.dtype)
    return emit(Op.table["where"](), as_value(condition), cast(x, dtype), cast(y, dtype))


@language
def sum(x: Value, over: str | Iterable[str]) -> Value:
    """The sum over the dims `over`."""
    x = as_value(x)
    return emit(Sum(_names(over)), x if x.type.dtype != "bool" else cast(x, "i32"))


@language
def mean(x: Value, over: str | Iterable[str]) -> Value:
    """The mean over the dims `over`."""
    total = sum(_real(x), over)
    count = 1
    for d in _names(over):
        count *= x.type[d]
    return total / float(count)


@language
def max(x: Value, over: str | Iterable[str]) -> Value:
    """The largest element over the dims `over`."""
    return emit(MaxOver(_names(over)), _real(x))


@language
def logsumexp(x: Value, over: str | Iterable[str]) -> Value:
    """log(sum(exp(x))) over the dims `over`, without overflow."""
    top = emit(StopGradient(), max(x, over))  # its own gradient cancels
    return log(sum(exp(_real(x) - top), over)) + top


@language
def softmax(x: Value, over: str | Iterable[str]) -> Value:
    """exp(x) / sum(exp(x)) along the dims `over`."""
    return exp(_real(x) - logsumexp(x, over))


@language
def contract(x: Value, y: Value, over: str | Iterable[str]) -> Value:
    """The product of two tensors summed over the shared dims `over`: a dot or matrix product by name."""
    from ir.dims import promote

    x, y = _real(x), _real(y)
    dtype = promote(x.type.dtype, y.type.dtype)
    return emit(Contract(_names(over)), cast(x, dtype), cast(y, dtype))


@language
def cholesky(x: Value, rows: str, cols: str) -> Value:
    """The lower triangular factor L of a symmetric positive matrix with dims `rows` and `cols`: x = L Lᵀ."""
    return emit(Cholesky(rows, cols), _real(x))


@language
def diagonal(x: Value, rows: str, cols: str) -> Value:
    """The diagonal of a matrix with dims `rows` and `cols`, along `rows`."""
    return emit(Diagonal(rows, cols), as_value(x))


@language
def cumsum(x: Value, over: str) -> Value:
    """The running sum along the dim `over`."""
    return emit(CumSum(over), as_value(x))


@language
def shift(x: Value, /, **by: int) -> Value:
    """The tensor moved periodically: `shift(x, row = 1)[row = i]` is `x[row = i - 1]`."""
    for dim, step in by.items():
        x = emit(Shift(dim, int(step)), x)
    return x


@language
def lag(x: Value, dim: str, by: int, fill: Any) -> Value:
    """The tensor moved along a dim: `lag(x, time, 1, 0)[time = i]` is `x[time = i - 1]`, and 0 where there is none."""
    context = current_context()
    x = as_value(x)
    if not isinstance(dim, str) or dim not in x.type:
        have = ", ".join(x.dims) or "no dims"
        raise context.error(f"lag moves along '{dim}', but the tensor has [{have}]", "write lag(x, time, 1, 0)")
    if isinstance(by, bool) or not isinstance(by, int) or by == 0:
        shown = "a quantity" if isinstance(by, Value) else by
        raise context.error(f"lag moves by a whole number of entries, not by {shown}", "write lag(x, time, 1, 0)")
    size = x.type[dim]
    fill = cast(as_value(fill, x), x.type.dtype)
    at = emit(Coordinate(context.dim(dim), "index", 0, "i32"))
    outside = binary("lt", at, by) if by > 0 else binary("le", size + by, at)
    return emit(Op.table["where"](), outside, fill, emit(Shift(dim, by % size), x))


@language
def rename(x: Value, /, **to: str) -> Value:
    """The tensor with dims under other names of the same size: `rename(x, k = "k2")` (in text `rename(x, k -> k2)`)."""
    context = current_context()
    for old, new in to.items():
        if old not in x.type:
            raise context.error(f"the tensor has no dim '{old}'", f"it has [{', '.join(x.dims)}]")
        if context.dim(new).size != x.type[old]:
            message = f"dim '{new}' has size {context.dim(new).size}, but '{old}' has {x.type[old]}"
            raise context.error(message, f"declare dim {new} = alias({old})")
        x = emit(Rename(old, new), x)
    return x


@language
def size(dim: str) -> float:
    """The size of a dim, as a number."""
    return float(current_context().dim(dim).size)


@language
def coordinate(dim: str) -> Value:
    """The position along a dim: 0, 1, 2, …"""
    context = current_context()
    return emit(Coordinate(context.dim(dim), "index", 0, context.builder.real))


@language
def frequency(dim: str) -> Value:
    """The integer frequency along a dim declared as freq(x) (0, 1, …, -2, -1) or rfreq(x) (0, 1, …, n // 2)."""
    context = current_context()
    of, rule = _signal(context, dim)
    return emit(Coordinate(context.dim(dim), rule, of.size, context.builder.real))


@language
def wavenumber(dim: str, length: Any) -> Value:
    """2π / length × the integer frequency: the wavenumber along a dim whose box has the given length."""
    return frequency(dim) * (2.0 * 3.141592653589793 / as_value(length, None))


@language
def fft(x: Value, /, **to: str) -> Value:
    """The unnormalised discrete Fourier transform along dims: `fft(x, row = "krow")` (in text `row -> krow`)."""
    context = current_context()
    for dim, freq in to.items():
        x = emit(FFT(dim, _frequency_of(context, x, dim, freq, "freq")), _complex(x))
    return x


@language
def ifft(x: Value, /, **to: str) -> Value:
    """The inverse of `fft`: `ifft(x, krow = "row")`."""
    context = current_context()
    for freq, dim in to.items():
        _frequency_of(context, x, dim, freq, "freq", inverse=True)
        x = emit(FFT(freq, dim, True), x)
    return x


@language
def rfft(x: Value, /, **to: str) -> Value:
    """The transform of a real tensor: along the dim that goes to an rfreq(…) dim only half the spectrum is kept."""
    context = current_context()
    if not x.type.is_real:
        raise context.error(f"rfft needs real numbers, but its operand is {x.type.dtype}", "use fft")
    half = _half(context, to.items())
    x = emit(RFFT(half[0], _frequency_of(context, x, *half, "rfreq")), x)
    for dim, freq in reversed(list(to.items())):
        if dim != half[0]:
            x = emit(FFT(dim, _frequency_of(context, x, dim, freq, "freq")), x)
    return x


@language
def irfft(x: Value, /, **to: str) -> Value:
    """The inverse of `rfft`, real: `irfft(x, krow = "row", kcol = "col")`."""
    context = current_context()
    dim, freq = _half(context, ((d, f) for f, d in to.items()))
    for f, d in to.items():
        _frequency_of(context, x, d, f, "rfreq" if f == freq else "freq", inverse=True)
        if f != freq:
            x = emit(FFT(f, d, True), _complex(x))
    return emit(IRFFT(freq, dim, context.dim(dim).size), _complex(x))


def _complex(x: Value) -> Value:
    return x if x.type.is_complex else cast(x, "c128" if x.type.dtype == "f64" else "c64")


def _half(context: Context, pairs: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """The one (dim, frequency dim) pair whose frequencies are declared as rfreq."""
    pairs = list(pairs)
    found = [(d, f) for d, f in pairs if f in context.specs and context.specs[f].rule == "rfreq"]
    if len(found) != 1:
        shown = ", ".join(f for _, f in pairs) or "none"
        raise context.error(
            f"a real transform needs exactly one half-spectrum dim, but got {len(found)} among {shown}",
            "declare the last one as dim kz = rfreq(z) and the others as freq(…)",
        )
    return found[0]


def _signal(context: Context, freq: str) -> tuple[Dim, str]:
    context.dim(freq)
    spec = context.specs[freq]
    if spec.rule not in ("freq", "rfreq") or spec.of is None:
        known = ", ".join(n for n, s in context.specs.items() if s.rule in ("freq", "rfreq"))
        hint = f"the frequency dims are {known}" if known else "declare one: dim kx = freq(x) or dim kx = rfreq(x)"
        raise context.error(f"'{freq}' is not a frequency dim", hint)
    return context.dim(spec.of), spec.rule


def _frequency_of(context: Context, x: Value, dim: str, freq: str, rule: str, inverse: bool = False) -> str:
    have = freq if inverse else dim
    if have not in x.type:
        has = f"it has [{', '.join(x.dims)}]" if x.dims else "it has no dims"
        raise context.error(f"the tensor has no dim '{have}': {has}", f"transform a tensor that has {have}")
    of, found = _signal(context, freq)
    if of.name != dim and of.size != context.dim(dim).size:
        hint = f"write {freq} -> {of.name}" if inverse else f"write {of.name} -> {freq}"
        raise context.error(f"'{freq}' holds the frequencies of '{of.name}' (size {of.size}), not of '{dim}'", hint)
    if found != rule:
        raise context.error(
            f"'{freq}' is declared as {found}(…), but this transform needs {rule}(…)",
            f"a complex transform maps to freq(…), the last dim of a real one to rfreq(…): dim {freq} = {rule}({dim})",
        )
    return freq


def unknown_function(context: Context, name: str, used: Iterable[str] = ()) -> Exception:
    """The diagnostic for a function that neither the language has nor the libraries that a model uses."""
    from .libraries import library, library_of

    foreign = {
        "normal": "a distribution stands after ~",
        "logit": "log(p / (1 - p))",
        "square": "x^2",
        "pow": "x^y",
        "log_sum_exp": "logsumexp(x, over = k)",
        "fmax": "maximum(x, y)",
        "fmin": "minimum(x, y)",
        "inv_sqrt": "1 / sqrt(x)",
        "ifelse": "where(condition, x, y)",
        "if_else": "where(condition, x, y)",
        "dot": "contract(x, y, over = k)",
        "dot_product": "contract(x, y, over = k)",
        "einsum": "contract(x, y, over = k)",
        "matmul": "contract(x, y, over = k)",
        "arctan2": "atan2(y, x)",
        "gammaln": "lgamma(x)",
    }
    if home := library_of(name, used):
        message = f'"{name}" is a function of the library {home}, which this model does not use'
        return context.error(message, f"add the line `use {home}` below the model line")
    known = [*FUNCTIONS, *(f for u in used for f in library(u))]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"write {foreign[name]}" if name in foreign else f'did you mean "{near[0]}"?' if near else None
    return context.error(f'unknown function "{name}"', hint or "functions: " + ", ".join(sorted(known)))


__all__ = ["FUNCTIONS", "constant", *(f.rstrip("_") for f in FUNCTIONS if f != "abs")]
