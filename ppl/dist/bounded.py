"""Distributions on an interval, and the improper ones that are flat on the line or a half line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ir.dist import POSITIVE, REAL, UNIT, Informed, Support
from ir.errors import Diagnostic

from .family import Family, Parameter
from .functions import (
    NAN,
    between,
    both,
    deviance,
    inside,
    log,
    log1p,
    minimum,
    noise,
    real,
    sigmoid,
    stirling,
    where,
    zeros_like,
)


@dataclass(frozen=True)
class Uniform(Family):
    """The uniform distribution on the interval from `low` to `high`, its ends included."""

    name: ClassVar[str] = "Uniform"
    parameters: ClassVar = (Parameter("low", "real", "the lower end"), Parameter("high", "real", "the upper end"))
    increasing: ClassVar = ("low", "high")
    lives_on: ClassVar[str] = "low <= x <= high"
    example: ClassVar[str] = "Uniform(0, 1)"

    def support(self, low, high):
        return Support("interval", low, high)

    def log_prob(self, x, low, high):
        log_width = log(where(low < high, high - low, NAN))
        return inside(between(real(x), low, high), -log_width)

    def draw(self, source, dims, low, high):
        return minimum(low + (high - low) * noise("uniform", source, dims), high)

    def prior_information(self, u, low, high):
        # Whatever the bounds, u is logistic.
        return (Informed("draw", u, 1.0 / 3.0),)


@dataclass(frozen=True)
class Beta(Family):
    """The beta distribution of mean `concentration1` / (`concentration1` + `concentration0`), 0 and 1 excluded."""

    name: ClassVar[str] = "Beta"
    parameters: ClassVar = (
        Parameter("concentration1", "positive", "the pull towards 1 (alpha)"),
        Parameter("concentration0", "positive", "the pull towards 0 (beta)"),
    )
    lives_on: ClassVar[str] = "0 < x < 1"
    example: ClassVar[str] = "Beta(2, 5)"

    def support(self, concentration1, concentration0):
        return UNIT

    def log_prob(self, x, concentration1, concentration0):
        # In terms of D and S (see `ppl.dist.special`), with n = a + b:
        # -D(a, n x) - D(b, n (1 - x)) - log x - log(1 - x) - [S(a) + S(b) - S(n) - log(a b / n)].
        a, b = concentration1, concentration0
        x = real(x)
        within = both(x > 0.0, x < 1.0)
        x = where(within, x, 0.5)
        n = a + b
        norm = stirling(a) + stirling(b) - stirling(n) - log(a) - log(b / n)
        terms = deviance(a, n * x) + deviance(b, n * (1.0 - x)) + log(x) + log1p(-x)
        return inside(within, -terms - norm)

    def draw(self, source, dims, concentration1, concentration0):
        up = noise("gamma", source, dims, concentration1, log=True)
        down = noise("gamma", source.next(1), dims, concentration0, log=True)
        return sigmoid(up - down)

    def prior_information(self, u, concentration1, concentration0):
        # E[(a + b) x (1 - x)], the curvature along u = logit x.
        a, b = concentration1, concentration0
        total = a + b
        return Informed("draw", u, a * b / (total + 1.0)), *self.information(a, b)


@dataclass(frozen=True)
class Flat(Family):
    """A constant density on the whole line. It is no probability: the posterior must be made proper by the data."""

    name: ClassVar[str] = "Flat"
    improper: ClassVar[bool] = True
    example: ClassVar[str] = "Flat()"

    def support(self):
        return REAL

    def log_prob(self, x):
        return zeros_like(real(x))

    def draw(self, source, dims):
        raise improper(self.name, source.site)

    def prior_information(self, u):
        return ()


@dataclass(frozen=True)
class HalfFlat(Family):
    """A constant density on the positive numbers. It is no probability: the data must make the posterior proper."""

    name: ClassVar[str] = "HalfFlat"
    improper: ClassVar[bool] = True
    lives_on: ClassVar[str] = "x >= 0"
    example: ClassVar[str] = "HalfFlat()"

    def support(self):
        return POSITIVE

    def log_prob(self, x):
        x = real(x)
        return inside(x >= 0.0, zeros_like(x))

    def draw(self, source, dims):
        raise improper(self.name, source.site)

    def prior_information(self, u):
        return ()


def improper(name: str, site: str) -> Diagnostic:
    return Diagnostic(
        "type",
        f'nothing can be drawn from the improper distribution {name} of "{site}"',
        hint="draws need a proper one, for example Normal(0, 10) or HalfNormal(10)",
    )
