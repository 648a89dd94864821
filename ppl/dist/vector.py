"""Distributions along a named dim: categories, compositions and correlated vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ir.build import cast, emit
from ir.dims import CHAIN, Dim, TensorType
from ir.dist import REAL, Informed, Support
from ir.errors import Diagnostic
from ir.graph import Value
from ir.ops.contract import Contract
from ir.ops.create import Coordinate
from ir.ops.gather import Gather
from ir.ops.linalg import Diagonal, TriangularSolve, Tril
from ir.ops.shape import Rename

from .discrete import PROBS_OR_LOGITS, Discrete
from .family import Family, Parameter
from .functions import (
    HALF_LOG_2PI,
    along,
    between,
    both,
    deviance,
    equal,
    exp,
    inside,
    largest,
    log,
    log_sum_exp,
    noise,
    real,
    sqrt,
    stirling,
    total,
    where,
)
from .normal import Normal

SUM_TOLERANCE = 1e-3
"""How far from 1 the parts of an observed composition may sum: data come with few decimals."""


@dataclass(frozen=True)
class Categorical(Discrete):
    """One of the positions along a dim; give `probs`, which are divided by their sum, or `logits`.

    The dim is one of the parameters, not of the draw: `z[n] ~ Categorical[k](probs = w)`.
    """

    over: str = ""
    form: str = "probs"
    name: ClassVar[str] = "Categorical"
    parameters: ClassVar = (
        Parameter("probs", "vector", "the probabilities", keyword=True, optional=True),
        Parameter("logits", "vector", "log probabilities, up to a constant", keyword=True, optional=True),
    )
    one_of: ClassVar = ("probs", "logits")
    why_named: ClassVar[str] = PROBS_OR_LOGITS
    event_dims: ClassVar[int] = 1
    lives_on: ClassVar[str] = "0, 1, …, size of k - 1"
    example: ClassVar[str] = "Categorical[k](probs = w)"

    @classmethod
    def of(cls, event, given):
        return cls(event[0], "logits" if "logits" in given else "probs")

    def inner(self):
        return (self.over,)

    def support(self, p):
        return Support("integer", 0, p.type[self.over] - 1)

    def _logits(self, p: Value) -> Value:
        if self.form == "logits":
            return p
        possible = p > 0.0
        log_p = log(where(equal(p, 0.0), 1.0, p))  # a negative one gives NaN
        return where(possible, log_p, where(equal(p, 0.0), -math.inf, log_p))

    def log_prob(self, x, p):
        logits = self._logits(p)
        size = p.type[self.over]
        within = both(x >= 0, x <= size - 1)
        picked = emit(Gather(self.over), logits, cast(where(within, x, 0), "i32"))
        norm = log_sum_exp(logits, self.over) if self.form == "logits" else log(total(p, [self.over]))
        return inside(within, picked - norm)

    def draw(self, source, dims, p):
        # The largest of log p - log E over the categories, E exponential of rate 1, is at each with probability p.
        category = Dim(self.over, p.type[self.over])
        score = self._logits(p) - log(noise("exponential", source, (*dims, category)))
        position = emit(Coordinate(category, "index", 0, "i32"))
        return largest(where(equal(score, largest(score, self.over)), position, -1), self.over)

    def information(self, p):
        # sum of dp² / p over the categories, whatever p is made of; the root of 0 has no derivative.
        if self.form == "logits":
            root = exp(0.5 * (p - log_sum_exp(p, self.over)))
        else:
            share = p / total(p, [self.over])
            root = where(share > 0.0, sqrt(where(share > 0.0, share, 1.0)), 0.0)
        return (Informed(self.form, 2.0 * root, 1.0),)


@dataclass(frozen=True)
class Dirichlet(Family):
    """The Dirichlet distribution of parts along a dim that sum to one; one concentration for all parts, or one each."""

    name: ClassVar[str] = "Dirichlet"
    parameters: ClassVar = (Parameter("concentration", "positive", "the pull towards each part"),)
    event_dims: ClassVar[int] = 1
    lives_on: ClassVar[str] = "x > 0 with sum 1 along the dim"
    example: ClassVar[str] = "Dirichlet[k](2)"

    def support(self, concentration):
        return Support("simplex")

    def log_prob(self, x, concentration):
        # sum of -D(c, n x) - S(c) + log(c / x) over the parts, + S(n) - log n, with n the sum of c.
        (k,) = self.event
        x, c = real(x), concentration
        positive = x > 0.0
        x1 = where(positive, x, 0.5)
        per_part = stirling(c) - log(c)
        if k in c.type:
            n, norm = total(c, [k]), total(per_part, [k])
        else:
            size = float(x.type[k])
            n, norm = size * c, size * per_part
        norm = norm - stirling(n) + log(n)
        parts = total(inside(positive, -deviance(c, n * x1) - log(x1)), [k])
        whole = total(x, [k])
        return inside(between(whole, 1.0 - SUM_TOLERANCE, 1.0 + SUM_TOLERANCE), parts - norm)

    def draw(self, source, dims, concentration):
        log_gamma = noise(
            "gamma", source, dims, along(concentration, [d for d in dims if d.name in self.event]), log=True
        )
        return exp(log_gamma - log_sum_exp(log_gamma, self.event[0]))


@dataclass(frozen=True)
class MvNormal(Family):
    """The normal distribution of a vector along dim k, of mean `loc` and covariance L Lᵀ, where L is `chol`.

    L has k for its rows and another dim of the same size for its columns; only its lower triangle is read.
    """

    columns: str = ""
    name: ClassVar[str] = "MvNormal"
    parameters: ClassVar = (
        Parameter("loc", "real", "the mean"),
        Parameter("chol", "matrix", "the lower Cholesky factor of the covariance, with dims [k, k2]", keyword=True),
    )
    event_dims: ClassVar[int] = 1
    why_named: ClassVar[str] = "a covariance and its factor look alike"
    lives_on: ClassVar[str] = "all real vectors"
    example: ClassVar[str] = "MvNormal[k](loc, chol = L)"

    @classmethod
    def of(cls, event, given):
        (k,) = event
        loc = given["loc"].type if isinstance(given["loc"], Value) else TensorType()
        return cls(columns_of(given["chol"].type, k, loc), event=event)

    def inner(self):
        return (self.columns,)

    def support(self, loc, chol):
        return REAL

    def log_prob(self, x, loc, chol):
        (k,) = self.event
        z = emit(TriangularSolve(k, self.columns), chol, real(x) - loc)
        log_det = total(log(emit(Diagonal(k, self.columns), chol)), [k])
        return -0.5 * total(z * z, [self.columns]) - (log_det + chol.type[k] * HALF_LOG_2PI)

    def _mix(self, loc, chol, z):
        factor = emit(Tril(self.event[0], self.columns), chol)
        return loc + emit(Contract((self.columns,)), factor, z)

    def draw(self, source, dims, loc, chol):
        z = noise("normal", source, tuple(Dim(self.columns, d.size) if d.name in self.event else d for d in dims))
        return self._mix(loc, chol, z)

    def _informed(self, loc, chol):
        (k,) = self.event
        white = emit(TriangularSolve(k, self.columns), chol, along(loc, [Dim(k, chol.type[k])]))
        return Informed("loc", white, 1.0), Informed("chol", chol, None)

    def information(self, loc, chol):
        return self._informed(loc, chol)

    def prior_information(self, u, loc, chol):
        return self._informed(loc - u, chol)

    def recentre(self, sample, loc, chol):
        return self._mix(loc, chol, emit(Rename(self.event[0], self.columns), sample(Normal(), 0.0, 1.0)))


def columns_of(chol: TensorType, k: str, loc: TensorType) -> str:
    """The dim of a factor's columns: the one beside k of the same size, which the mean does not have."""
    found = [d.name for d in chol.dims if k in chol and d.name not in (k, CHAIN, *loc.names) and d.size == chol[k]]
    if len(found) == 1:
        return found[0]
    have = ", ".join(chol.names) or "no dims"
    raise Diagnostic(
        "type",
        f"chol of MvNormal must have dim '{k}' for its rows and one other dim of the same size for its columns; "
        f"it has [{have}]",
        hint=f"declare a second dim for the columns, `dim {k}2 = alias({k})`, and chol[{k}, {k}2]",
    )
