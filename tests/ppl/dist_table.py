"""One row for each distribution: parameters, points, and the log density from elsewhere.

The points of a row run along dim `m` and its parameters along dim `p`; a reference takes the points, an array [p, m],
and the parameters, arrays [p, 1]. Rows of distributions along a dim are in test_dist_vector.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import special, stats

from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.graph import Program
from ir.ops.reduce import Sum
from ir.passes.differentiate import differentiate
from ppl.dist.make import make
from tests.ir.interpret import run

Array = np.ndarray
PARAMS, POINTS = 5, 11
"""The sizes of dims p and m: short rows repeat their last entry, so that all rows share compiled operations."""


def _stretch(x: Array, size: int) -> Array:
    """The last axis filled up with its last entry."""
    return np.concatenate([x, np.repeat(x[..., -1:], size - x.shape[-1], axis=-1)], axis=-1)


@dataclass(frozen=True)
class Row:
    """A distribution, called with the named parameters (one tuple of values for each column of `params`)."""

    name: str
    params: Mapping[str, tuple[float, ...]]
    points: Callable[..., Array]
    reference: Callable[..., Array]
    outside: tuple[float, ...] = ()
    """Points where the mass or density must be zero, whatever the parameters."""
    discrete: bool = False
    illegal: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Values of single parameters with which there must be no density."""

    @property
    def title(self) -> str:
        return f"{self.name}-{'-'.join(self.params)}"

    def columns(self) -> dict[str, Array]:
        return {name: _stretch(np.array(values, float), PARAMS)[:, None] for name, values in self.params.items()}

    def grid(self) -> Array:
        x = self.points(*self.columns().values())
        x = _stretch(np.broadcast_to(x, (PARAMS, x.shape[-1])), POINTS)
        return x.astype(np.int32 if self.discrete else np.float64)


def program_of(
    name: str,
    params: tuple[str, ...],
    x: TensorType,
    types: Mapping[str, TensorType],
    real: str = "f64",
    event: tuple[str, ...] = (),
) -> Program:
    """Inputs `x` and the parameters; outputs the log density by element and its sum."""
    with Builder(name, real) as b:
        given = {p: b.input(p, types[p]) for p in params}
        point = b.input("x", x)
        call = make(name, event, (), given)
        log_prob = call.dist.log_prob(point, *call.params)
        return b.finish({"log_prob": log_prob, "total": emit(Sum(log_prob.dims), log_prob)})


def evaluate(row: Row, x: Array, columns: Mapping[str, Array], real: str = "f64") -> Array:
    """The log density at points [p, m] with parameters [p, 1]."""
    program, arguments = _prepare(row, x, columns, real)
    return run(program, arguments)["log_prob"]


def gradient(row: Row, x: Array, columns: Mapping[str, Array], real: str = "f64") -> dict[str, Array]:
    """The gradient of the sum of the log density, by input."""
    program, arguments = _prepare(row, x, columns, real)
    wrt = [*(name for name in columns if name != "total_count"), *([] if row.discrete else ["x"])]
    found = run(differentiate(program, wrt, "total"), arguments)
    return {name: found[f"grad:{name}"] for name in wrt}


def _prepare(row: Row, x: Array, columns: Mapping[str, Array], real: str) -> tuple[Program, dict[str, Array]]:
    p, m = Dim("p", x.shape[0]), Dim("m", x.shape[1])
    types = {name: TensorType((p,), "i32" if name == "total_count" else real) for name in columns}
    program = program_of(row.name, tuple(columns), TensorType((p, m), "i32" if row.discrete else real), types, real)
    return program, {"x": x, **{name: c[:, 0] for name, c in columns.items()}}


def scaled(*z: float) -> Callable[..., Array]:
    """The points loc + scale z of a location-scale family; other parameters come before the two."""
    return lambda *params: params[-2] + params[-1] * np.array(z)


def times(*z: float) -> Callable[..., Array]:
    """The points scale z, or z / rate, with the width as last parameter."""
    return lambda *params: params[-1] * np.array(z)


def at(*x: float) -> Callable[..., Array]:
    return lambda *params: np.array(x)[None, :] + 0.0 * (params[0] if params else 0.0)


TAILS = (-300.0, -40.0, -7.5, -1.0, -1e-9, 0.0, 0.3, 2.0, 40.0, 1e4)
HALF = (0.0, 1e-12, 0.1, 1.0, 7.5, 40.0, 300.0)
POSITIVE = (1e-12, 1e-3, 0.1, 0.9, 1.0, 1.1, 3.0, 40.0, 1e3)
LOC, SCALE = (0.0, -2.5, 1e3, 0.1), (1.0, 0.02, 3.0, 1e4)
BAD_SCALE = {"scale": (0.0, -1.0)}


def log_mass(a: Array, b: Array) -> Array:
    """log P(a < Z < b), from the tail in which both bounds are small."""
    low, high = np.where(a + b > 0, -b, a), np.where(a + b > 0, -a, b)
    top = special.log_ndtr(high)
    return top + np.log(-np.expm1(special.log_ndtr(low) - top))


def nbinom(k: Array, mean: Array, c: Array) -> Array:
    return (
        special.gammaln(k + c)
        - special.gammaln(c)
        - special.gammaln(k + 1)
        + special.xlog1py(c, -mean / (c + mean))
        + special.xlogy(k, mean / (c + mean))
    )


ROWS = [
    Row("Normal", {"loc": LOC, "scale": SCALE}, scaled(*TAILS), stats.norm.logpdf, illegal=BAD_SCALE),
    Row(
        "HalfNormal",
        {"scale": SCALE},
        times(*HALF),
        lambda x, s: stats.halfnorm.logpdf(x, scale=s),
        (-1e-9, -3.0),
        illegal=BAD_SCALE,
    ),
    Row(
        "LogNormal",
        {"loc": (0.0, -2.5, 3.0), "scale": (1.0, 0.02, 3.0)},
        lambda loc, s: np.exp(loc + s * np.array([-40.0, -5.0, -1.0, 0.0, 0.5, 7.0, 40.0])),
        lambda x, loc, s: stats.norm.logpdf(np.log(x), loc, s) - np.log(x),
        (0.0, -1.0),
        illegal=BAD_SCALE,
    ),
    Row(
        "TruncatedNormal",
        {"loc": (0.0, 1.5, 0.0, 2.0), "scale": (1.0, 0.5, 2.0, 1.0), "lower": (0.0, -1.0, 24.0, -1e3)},
        lambda loc, s, low: low + s * np.array([0.0, 1e-6, 0.4, 2.0, 9.0]),
        lambda x, loc, s, low: stats.norm.logpdf(x, loc, s) - special.log_ndtr((loc - low) / s),
        (-1e4,),
        illegal=BAD_SCALE,
    ),
    Row(
        "TruncatedNormal",
        {"loc": (0.0, 1.5, 0.0, 2.0), "scale": (1.0, 0.5, 2.0, 1.0), "upper": (0.0, -1.0, 24.0, -30.0)},
        lambda loc, s, high: high - s * np.array([0.0, 1e-6, 0.4, 2.0, 9.0]),
        lambda x, loc, s, high: stats.norm.logpdf(x, loc, s) - special.log_ndtr((high - loc) / s),
        (1e4,),
        illegal=BAD_SCALE,
    ),
    Row(
        "TruncatedNormal",
        {
            "loc": (0.0, 1.5, 0.0, 2.0, -5.0),
            "scale": (1.0, 0.5, 2.0, 1.0, 1.0),
            "lower": (-1.0, -1.0, 24.0, -7.0, -5.5),
            "upper": (2.0, 3.0, 30.0, -5.0, -4.0),
        },
        lambda loc, s, low, high: low + (high - low) * np.array([0.0, 1e-6, 0.4, 0.9, 1.0]),
        lambda x, loc, s, low, high: stats.norm.logpdf(x, loc, s) - log_mass((low - loc) / s, (high - loc) / s),
        (1e4, -1e4),
        illegal={**BAD_SCALE, "upper": (-1e3,)},
    ),
    Row(
        "StudentT",
        {"df": (0.3, 1.0, 4.5, 200.0), "loc": LOC, "scale": SCALE},
        scaled(*TAILS),
        lambda x, df, loc, s: stats.t.logpdf(x, df, loc, s),
        illegal={**BAD_SCALE, "df": (0.0, -1.0)},
    ),
    Row(
        "HalfStudentT",
        {"df": (0.3, 1.0, 4.5, 200.0), "scale": SCALE},
        times(*HALF),
        lambda x, df, s: stats.t.logpdf(x, df, 0, s) + np.log(2),
        (-1e-9, -3.0),
        illegal={**BAD_SCALE, "df": (0.0, -1.0)},
    ),
    Row("Cauchy", {"loc": LOC, "scale": SCALE}, scaled(*TAILS, 1e15), stats.cauchy.logpdf, illegal=BAD_SCALE),
    Row(
        "HalfCauchy",
        {"scale": SCALE},
        times(*HALF, 1e15),
        lambda x, s: stats.halfcauchy.logpdf(x, scale=s),
        (-1e-9,),
        illegal=BAD_SCALE,
    ),
    Row(
        "Laplace",
        {"loc": LOC, "scale": SCALE},
        scaled(*(z for z in TAILS if abs(z) > 1e-8)),  # not at the kink
        lambda x, loc, s: -np.abs((x - loc) / s) - np.log(2 * s),
        illegal=BAD_SCALE,
    ),
    Row("Logistic", {"loc": LOC, "scale": SCALE}, scaled(*TAILS), stats.logistic.logpdf, illegal=BAD_SCALE),
    Row(
        "Gumbel",
        {"loc": LOC, "scale": SCALE},
        scaled(-6.0, -1.0, 0.0, 0.4, 2.0, 40.0, 1e4),
        stats.gumbel_r.logpdf,
        illegal=BAD_SCALE,
    ),
    Row(
        "Exponential",
        {"rate": (1.0, 0.02, 30.0)},
        lambda r: np.array(HALF) / r,
        lambda x, r: stats.expon.logpdf(x, scale=1 / r),
        (-1e-9, -2.0),
        illegal={"rate": (-1.0, 0.0)},
    ),
    Row(
        "Gamma",
        {"concentration": (1.0, 0.01, 2.5, 40.0, 900.0), "rate": (1.0, 0.1, 20.0, 3.0, 1.0)},
        lambda a, r: np.array(POSITIVE) * np.maximum(a, 0.1) / r,
        lambda x, a, r: stats.gamma.logpdf(x, a, scale=1 / r),
        (0.0, -1.0),
        illegal={"concentration": (0.0, -1.5), "rate": (0.0, -1.0)},
    ),
    Row(
        "InverseGamma",
        {"concentration": (1.0, 0.01, 2.5, 40.0, 900.0), "scale": (1.0, 0.1, 20.0, 3.0, 1.0)},
        lambda a, s: np.array(POSITIVE[1:]) * s / np.maximum(a, 0.1),
        lambda x, a, s: stats.invgamma.logpdf(x, a, scale=s),
        (0.0, -1.0),
        illegal={"concentration": (0.0, -1.5), "scale": (0.0, -1.0)},
    ),
    Row(
        "Weibull",
        {"concentration": (1.0, 0.3, 5.0), "scale": (1.0, 0.02, 30.0)},
        times(1e-9, 1e-3, 0.5, 1.0, 1.5, 3.0),
        lambda x, c, s: stats.weibull_min.logpdf(x, c, scale=s),
        (0.0, -1.0),
        illegal={**BAD_SCALE, "concentration": (0.0, -1.0)},
    ),
    Row(
        "Pareto",
        {"scale": (1.0, 0.02, 30.0), "concentration": (1.0, 0.3, 5.0)},
        lambda s, c: s * np.array([1.0, 1.0 + 1e-9, 1.5, 40.0, 1e6]),
        lambda x, s, c: np.log(c) + c * np.log(s) - (c + 1) * np.log(x),
        (0.0, -1.0, 1e-3),
        illegal={**BAD_SCALE, "concentration": (0.0, -1.0)},
    ),
    Row(
        "Uniform",
        {"low": (0.0, -3.0), "high": (1.0, 1e4)},
        lambda a, b: a + (b - a) * np.array([0.0, 0.1, 0.9, 1.0]),
        lambda x, a, b: 0.0 * x - np.log(b - a),
        (-4.0, 1e5),
        illegal={"high": (-3.0, -5.0)},
    ),
    Row(
        "Beta",
        {"concentration1": (1.0, 0.5, 2.0, 30.0, 0.02), "concentration0": (1.0, 0.5, 5.0, 400.0, 3.0)},
        at(1e-300, 1e-12, 0.01, 0.3, 0.5, 0.8, 1 - 1e-12),
        lambda x, a, b: special.xlogy(a - 1, x) + special.xlog1py(b - 1, -x) - special.betaln(a, b),
        (0.0, 1.0, -0.1, 1.5),
        illegal={"concentration1": (0.0, -1.5), "concentration0": (0.0, -1.5)},
    ),
    Row("Flat", {}, at(-1e300, 0.0, 2.0), lambda x: np.zeros(x.shape)),
    Row("HalfFlat", {}, at(1e-9, 0.0, 2.0), lambda x: np.zeros(x.shape), (-1e-9,)),
    Row(
        "Bernoulli",
        {"probs": (0.5, 1e-12, 1 - 1e-12, 0.9)},
        at(0, 1),
        stats.bernoulli.logpmf,
        (-1, 2),
        True,
        {"probs": (-0.1, 1.1)},
    ),
    Row(
        "Bernoulli",
        {"logits": (0.0, -40.0, 40.0, 1.3, -800.0)},
        at(0, 1),
        lambda k, l: -np.logaddexp(0.0, np.where(k == 1, -l, l)),
        (-1, 2),
        True,
    ),
    Row(
        "Binomial",
        {"total_count": (1, 10, 10, 60, 7), "probs": (0.5, 1e-12, 1 - 1e-9, 0.3, 0.2)},
        lambda n, p: np.minimum(n, np.array([0, 1, 3, 7, 20, 60])),
        stats.binom.logpmf,
        (-1, 61),
        True,
        {"total_count": (-1.0,), "probs": (-0.1, 1.1)},
    ),
    Row(
        "Binomial",
        {"total_count": (1, 10, 10, 60, 7), "logits": (0.0, -40.0, 800.0, 0.3, -0.2)},
        lambda n, p: np.minimum(n, np.array([0, 1, 3, 7, 20, 60])),
        lambda k, n, l: (
            -np.log(n + 1) - special.betaln(k + 1, n - k + 1) - k * np.logaddexp(0, -l) - (n - k) * np.logaddexp(0, l)
        ),
        (-1, 61),
        True,
        {"total_count": (-1.0,)},
    ),
    Row(
        "Poisson",
        {"rate": (1.0, 1e-9, 3.7, 60.0, 900.0)},
        at(0, 1, 2, 5, 20, 70, 1000),
        stats.poisson.logpmf,
        (-1,),
        True,
        {"rate": (-1.0,)},
    ),
    Row(
        "Poisson",
        {"log_rate": (0.0, -30.0, 1.3, 6.0, -900.0)},
        at(0, 1, 2, 5, 20, 70, 1000),
        lambda k, l: k * l - np.exp(l) - special.gammaln(k + 1),
        (-1,),
        True,
    ),
    Row(
        "NegativeBinomial",
        {"mean": (1.0, 1e-9, 3.7, 60.0, 900.0), "concentration": (1.0, 2.5, 0.02, 900.0, 30.0)},
        at(0, 1, 2, 5, 20, 70, 1000),
        nbinom,
        (-1,),
        True,
        {"mean": (-1.0,), "concentration": (-1.0, 0.0)},
    ),
    Row(
        "Geometric",
        {"probs": (0.5, 1e-9, 0.999, 1.0)},
        at(0, 1, 2, 50),
        lambda k, p: stats.geom.logpmf(k + 1, p),
        (-1,),
        True,
        {"probs": (-0.1, 1.1)},
    ),
    Row(
        "Geometric",
        {"logits": (0.0, -40.0, 4.0)},
        at(0, 1, 2, 50),
        lambda k, l: -k * np.logaddexp(0, l) - np.logaddexp(0, -l),
        (-1,),
        True,
    ),
]
