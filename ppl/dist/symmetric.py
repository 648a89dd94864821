"""Symmetric distributions with heavier tails than the normal, and their halves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ir.dist import POSITIVE, REAL, Informed

from .family import Family, Parameter
from .functions import (
    HALF_LOG_2PI,
    absolute,
    exp,
    inside,
    log,
    log1p,
    log1p_square,
    noise,
    real,
    softplus,
    sqrt,
    stirling,
)

LOC = Parameter("loc", "real", "the centre")
SCALE = Parameter("scale", "positive", "the width")
DF = Parameter("df", "positive", "the degrees of freedom")
EULER = 0.5772156649015329
GUMBEL_WIDTH = math.pi**2 / 6
"""The information of a Gumbel number about the logarithm of its scale, along a fixed loc - (1 - EULER) scale."""


def student_t(z, df):
    """The log density of a standard Student t at z.

    log Gamma(h + 1/2) - log Gamma(h), with h = df / 2, in terms of S (see `ppl.dist.special`):
    S(h + 1/2) - S(h) + (h - 1/2) log(1 + 1/df) + log(h) / 2 - 1/2, which keeps its digits at any df.
    """
    h = 0.5 * df
    norm = stirling(h) - stirling(h + 0.5) - (h - 0.5) * log1p(1.0 / df) + (0.5 + HALF_LOG_2PI)
    return -(h + 0.5) * log1p_square(z / sqrt(df)) - norm


def student_t_noise(source, dims, df):
    """Draws of a standard Student t: a normal number over the root of an independent gamma of mean 1."""
    h = 0.5 * df
    log_gamma = noise("gamma", source.next(1), dims, h, log=True)
    return noise("normal", source, dims) * exp(0.5 * (log(h) - log_gamma))


@dataclass(frozen=True)
class StudentT(Family):
    """Student's t distribution of `df` degrees of freedom, moved by `loc` and stretched by `scale`."""

    name: ClassVar[str] = "StudentT"
    parameters: ClassVar = (DF, LOC, SCALE)
    example: ClassVar[str] = "StudentT(4, 0, 1)"

    def support(self, df, loc, scale):
        return REAL

    def log_prob(self, x, df, loc, scale):
        return student_t((real(x) - loc) / scale, df) - log(scale)

    def draw(self, source, dims, df, loc, scale):
        return loc + scale * student_t_noise(source, dims, df)

    def recentre(self, sample, df, loc, scale):
        return loc + scale * sample(StudentT(), df, 0.0, 1.0)

    def information(self, df, loc, scale):
        return (
            Informed("loc", loc, (df + 1.0) / ((df + 3.0) * scale**2), location=True),
            Informed("scale", log(scale), 2.0 * df / (df + 3.0)),
            Informed("df", df, None),
        )


@dataclass(frozen=True)
class HalfStudentT(Family):
    """The absolute value of a Student t number of centre 0."""

    name: ClassVar[str] = "HalfStudentT"
    parameters: ClassVar = (DF, SCALE)
    lives_on: ClassVar[str] = "x >= 0"
    example: ClassVar[str] = "HalfStudentT(4, 1)"

    def support(self, df, scale):
        return POSITIVE

    def log_prob(self, x, df, scale):
        z = real(x) / scale
        return inside(z >= 0.0, student_t(z, df) - (log(scale) - math.log(2)))

    def draw(self, source, dims, df, scale):
        return scale * absolute(student_t_noise(source, dims, df))

    def recentre(self, sample, df, scale):
        return scale * sample(HalfStudentT(), df, 1.0)

    def information(self, df, scale):
        return Informed("scale", log(scale), 2.0 * df / (df + 3.0), location=True), Informed("df", df, None)


@dataclass(frozen=True)
class Cauchy(Family):
    """The Cauchy distribution: the ratio of two normal numbers. It has no mean."""

    name: ClassVar[str] = "Cauchy"
    parameters: ClassVar = (LOC, SCALE)
    example: ClassVar[str] = "Cauchy(0, 1)"

    def support(self, loc, scale):
        return REAL

    def log_prob(self, x, loc, scale):
        return -log1p_square((real(x) - loc) / scale) - (log(scale) + math.log(math.pi))

    def draw(self, source, dims, loc, scale):
        return loc + scale * (noise("normal", source, dims) / noise("normal", source.next(1), dims))

    def recentre(self, sample, loc, scale):
        return loc + scale * sample(Cauchy(), 0.0, 1.0)

    def information(self, loc, scale):
        return Informed("loc", loc, 0.5 / scale**2, location=True), Informed("scale", log(scale), 0.5)


@dataclass(frozen=True)
class HalfCauchy(Family):
    """The absolute value of a Cauchy number of centre 0."""

    name: ClassVar[str] = "HalfCauchy"
    parameters: ClassVar = (SCALE,)
    lives_on: ClassVar[str] = "x >= 0"
    example: ClassVar[str] = "HalfCauchy(1)"

    def support(self, scale):
        return POSITIVE

    def log_prob(self, x, scale):
        z = real(x) / scale
        return inside(z >= 0.0, -log1p_square(z) - (log(scale) + math.log(math.pi / 2)))

    def draw(self, source, dims, scale):
        return scale * absolute(noise("normal", source, dims) / noise("normal", source.next(1), dims))

    def recentre(self, sample, scale):
        return scale * sample(HalfCauchy(), 1.0)

    def information(self, scale):
        return (Informed("scale", log(scale), 0.5, location=True),)


@dataclass(frozen=True)
class Laplace(Family):
    """The double exponential distribution."""

    name: ClassVar[str] = "Laplace"
    parameters: ClassVar = (LOC, Parameter("scale", "positive", "the mean distance from the centre"))
    example: ClassVar[str] = "Laplace(0, 1)"

    def support(self, loc, scale):
        return REAL

    def log_prob(self, x, loc, scale):
        return -absolute((real(x) - loc) / scale) - (log(scale) + math.log(2))

    def draw(self, source, dims, loc, scale):
        return loc + scale * (noise("exponential", source, dims) - noise("exponential", source.next(1), dims))

    def recentre(self, sample, loc, scale):
        return loc + scale * sample(Laplace(), 0.0, 1.0)

    def information(self, loc, scale):
        return Informed("loc", loc, 1.0 / scale**2, location=True), Informed("scale", log(scale), 1.0)


@dataclass(frozen=True)
class Logistic(Family):
    """The logistic distribution, whose distribution function is a sigmoid."""

    name: ClassVar[str] = "Logistic"
    parameters: ClassVar = (LOC, SCALE)
    example: ClassVar[str] = "Logistic(0, 1)"

    def support(self, loc, scale):
        return REAL

    def log_prob(self, x, loc, scale):
        z = (real(x) - loc) / scale
        return -z - 2.0 * softplus(-z) - log(scale)

    def draw(self, source, dims, loc, scale):
        ratio = noise("exponential", source, dims) / noise("exponential", source.next(1), dims)
        return loc + scale * log(ratio)

    def recentre(self, sample, loc, scale):
        return loc + scale * sample(Logistic(), 0.0, 1.0)

    def information(self, loc, scale):
        return (
            Informed("loc", loc, (1.0 / 3.0) / scale**2, location=True),
            Informed("scale", log(scale), (3.0 + math.pi**2) / 9.0),
        )


@dataclass(frozen=True)
class Gumbel(Family):
    """The distribution of the largest of many numbers; its tail is to the right."""

    name: ClassVar[str] = "Gumbel"
    parameters: ClassVar = (Parameter("loc", "real", "the mode"), SCALE)
    example: ClassVar[str] = "Gumbel(0, 1)"

    def support(self, loc, scale):
        return REAL

    def log_prob(self, x, loc, scale):
        z = (real(x) - loc) / scale
        return -z - exp(-z) - log(scale)

    def draw(self, source, dims, loc, scale):
        return loc - scale * log(noise("exponential", source, dims))

    def recentre(self, sample, loc, scale):
        return loc + scale * sample(Gumbel(), 0.0, 1.0)

    def information(self, loc, scale):
        # [[1, g], [g, g² + pi²/6]] / scale² of (loc, scale), with g = EULER - 1: diagonal in loc + g scale and scale.
        return (
            Informed("loc", loc - (1.0 - EULER) * scale, 1.0 / scale**2, location=True),
            Informed("scale", log(scale), GUMBEL_WIDTH),
        )
