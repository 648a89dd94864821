"""Distributions of positive numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ir.dist import POSITIVE, Informed, Support

from .family import Family, Parameter
from .functions import deviance, exp, inside, log, noise, real, stirling, where
from .symmetric import EULER, GUMBEL_WIDTH

CONCENTRATION = Parameter("concentration", "positive", "the shape: the larger, the narrower")


@dataclass(frozen=True)
class Exponential(Family):
    """The exponential distribution of mean 1 / `rate`."""

    name: ClassVar[str] = "Exponential"
    parameters: ClassVar = (Parameter("rate", "positive", "events per unit: the inverse of the mean"),)
    lives_on: ClassVar[str] = "x >= 0"
    example: ClassVar[str] = "Exponential(1)"

    def support(self, rate):
        return POSITIVE

    def log_prob(self, x, rate):
        x = real(x)
        return inside(x >= 0.0, log(rate) - rate * x)

    def draw(self, source, dims, rate):
        return noise("exponential", source, dims) / rate

    def recentre(self, sample, rate):
        return sample(Exponential(), 1.0) / rate

    def information(self, rate):
        return (Informed("rate", -log(rate), 1.0, location=True),)


def gamma_log_prob(t, log_x, concentration):
    """a log t - t - log Gamma(a) - log x, as -D(a, t) - S(a) + log a - log x (see `ppl.dist.special`)."""
    return -deviance(concentration, t) - log_x - (stirling(concentration) - log(concentration))


@dataclass(frozen=True)
class Gamma(Family):
    """The gamma distribution of mean `concentration` / `rate`. At x = 0 its density counts as zero."""

    name: ClassVar[str] = "Gamma"
    parameters: ClassVar = (CONCENTRATION, Parameter("rate", "positive", "the inverse of the scale"))
    lives_on: ClassVar[str] = "x > 0"
    example: ClassVar[str] = "Gamma(2, 0.1)"

    def support(self, concentration, rate):
        return POSITIVE

    def log_prob(self, x, concentration, rate):
        x = real(x)
        positive = x > 0.0
        x = where(positive, x, 1.0)
        return inside(positive, gamma_log_prob(rate * x, log(x), concentration))

    def draw(self, source, dims, concentration, rate):
        return noise("gamma", source, dims, concentration) / rate

    def information(self, concentration, rate):
        # The mean is orthogonal to the concentration, of which the information would be trigamma(a) - 1 / a.
        log_mean = log(concentration) - log(rate)
        return (
            Informed("rate", log_mean, concentration, location=True),
            Informed("concentration", concentration, None),
        )


@dataclass(frozen=True)
class InverseGamma(Family):
    """The distribution of `scale` / g for a gamma number g of rate 1; its mean is `scale` / (`concentration` - 1)."""

    name: ClassVar[str] = "InverseGamma"
    parameters: ClassVar = (CONCENTRATION, Parameter("scale", "positive", "the width", keyword=True))
    lives_on: ClassVar[str] = "x > 0"
    example: ClassVar[str] = "InverseGamma(3, scale = 2)"

    def support(self, concentration, scale):
        return POSITIVE

    def log_prob(self, x, concentration, scale):
        x = real(x)
        positive = x > 0.0
        x = where(positive, x, 1.0)
        return inside(positive, gamma_log_prob(scale / x, log(x), concentration))

    def draw(self, source, dims, concentration, scale):
        return exp(log(scale) - noise("gamma", source, dims, concentration, log=True))

    def information(self, concentration, scale):
        level = log(scale) - log(concentration)
        return (
            Informed("scale", level, concentration, location=True),
            Informed("concentration", concentration, None),
        )


@dataclass(frozen=True)
class Weibull(Family):
    """The Weibull distribution: (x / `scale`)^`concentration` is exponential of rate 1."""

    name: ClassVar[str] = "Weibull"
    parameters: ClassVar = (
        Parameter("concentration", "positive", "the shape", keyword=True),
        Parameter("scale", "positive", "the width", keyword=True),
    )
    lives_on: ClassVar[str] = "x > 0"
    example: ClassVar[str] = "Weibull(concentration = 2, scale = 1)"

    def support(self, concentration, scale):
        return POSITIVE

    def log_prob(self, x, concentration, scale):
        x = real(x)
        positive = x > 0.0
        log_x = log(where(positive, x, 1.0))
        u = concentration * (log_x - log(scale))
        return inside(positive, u - exp(u) - log_x + log(concentration))

    def draw(self, source, dims, concentration, scale):
        return scale * exp(log(noise("exponential", source, dims)) / concentration)

    def information(self, concentration, scale):
        # -log x is Gumbel distributed, of width 1 / concentration: see there.
        level = log(scale) + (1.0 - EULER) / concentration
        return (
            Informed("scale", level, concentration**2, location=True),
            Informed("concentration", log(concentration), GUMBEL_WIDTH),
        )


@dataclass(frozen=True)
class Pareto(Family):
    """The power law above `scale`: P(X > x) = (`scale` / x)^`concentration`."""

    name: ClassVar[str] = "Pareto"
    parameters: ClassVar = (
        Parameter("scale", "positive", "the smallest value", keyword=True),
        Parameter("concentration", "positive", "the index of the tail", keyword=True),
    )
    lives_on: ClassVar[str] = "x >= scale"
    example: ClassVar[str] = "Pareto(scale = 1, concentration = 2)"

    def support(self, scale, concentration):
        return Support("lower", scale)

    def log_prob(self, x, scale, concentration):
        x = real(x)
        log_x = log(where(x > 0.0, x, 1.0))
        return inside(x >= scale, concentration * (log(scale) - log_x) - log_x + log(concentration))

    def draw(self, source, dims, scale, concentration):
        return scale * exp(noise("exponential", source, dims) / concentration)

    def information(self, scale, concentration):
        # Its support moves with the scale: there is no Fisher information of it.
        return Informed("scale", scale, None), Informed("concentration", log(concentration), 1.0)
