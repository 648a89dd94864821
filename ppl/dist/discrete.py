"""Distributions of counts. A value that is no whole number of the support has log mass -inf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ir.build import cast
from ir.dist import Informed, Support
from ir.graph import Value

from .family import Family, Parameter
from .functions import (
    NAN,
    between,
    deviance,
    either,
    equal,
    exp,
    floor,
    inside,
    log,
    log1p,
    log_deviance,
    noise,
    real,
    sigmoid,
    softplus,
    stirling,
    where,
    whole,
)

PROBS = Parameter("probs", "unit", "the probability of a success", keyword=True, optional=True)
LOGITS = Parameter("logits", "real", "log(probs / (1 - probs))", keyword=True, optional=True)
PROBS_OR_LOGITS = "some libraries take probabilities here and others logits"


class Discrete(Family):
    """Distributions of whole numbers."""

    discrete: ClassVar[bool] = True
    inside: ClassVar[float] = 0.0


def probability(p: Value) -> Value:
    """p, or NaN where it is no probability."""
    return where(between(p, 0.0, 1.0), p, NAN)


def over(numerator: Value | float, denominator: Value) -> Value:
    """A quotient, or 0 where the denominator is 0: at the edge of its domain a parameter does not move."""
    positive = denominator > 0.0
    return where(positive, numerator / where(positive, denominator, 1.0), 0.0)


def success(form: str, p: Value, trials: Value | float = 1.0) -> Informed:
    """What `trials` successes or failures tell about the parameter `form` of their probability."""
    if form == "logits":
        return Informed("logits", p, trials * sigmoid(p) * sigmoid(-p))
    return Informed("probs", p, over(trials, p * (1.0 - p)))


@dataclass(frozen=True)
class Bernoulli(Discrete):
    """A success (1) or failure (0); give `probs` or `logits`."""

    form: str = "probs"
    name: ClassVar[str] = "Bernoulli"
    parameters: ClassVar = (PROBS, LOGITS)
    one_of: ClassVar = ("probs", "logits")
    why_named: ClassVar[str] = PROBS_OR_LOGITS
    lives_on: ClassVar[str] = "0, 1"
    example: ClassVar[str] = "Bernoulli(probs = 0.5)"

    @classmethod
    def of(cls, event, given):
        return cls("logits" if "logits" in given else "probs", event=event)

    def support(self, p):
        return Support("integer", 0, 1)

    def log_prob(self, x, p):
        x = real(x)
        success = equal(x, 1.0)
        if self.form == "logits":
            log_mass = -softplus((1.0 - 2.0 * x) * p)
        else:  # each logarithm gets a safe argument where the other one holds
            p = probability(p)
            log_mass = log(where(success, p, 1.0)) + log1p(-where(success, 0.0 * p, p))
        return inside(either(success, equal(x, 0.0)), log_mass)

    def draw(self, source, dims, p):
        p = sigmoid(p) if self.form == "logits" else p
        return cast(noise("uniform", source, dims) < p, "i32")

    def information(self, p):
        return (success(self.form, p),)


@dataclass(frozen=True)
class Binomial(Discrete):
    """How many of `total_count` trials succeed; give `probs` or `logits`."""

    form: str = "probs"
    name: ClassVar[str] = "Binomial"
    parameters: ClassVar = (Parameter("total_count", "count", "the number of trials"), PROBS, LOGITS)
    one_of: ClassVar = ("probs", "logits")
    why_named: ClassVar[str] = PROBS_OR_LOGITS
    lives_on: ClassVar[str] = "0, 1, …, total_count"
    example: ClassVar[str] = "Binomial(total_count = 10, probs = 0.5)"

    @classmethod
    def of(cls, event, given):
        return cls("logits" if "logits" in given else "probs", event=event)

    def support(self, total_count, p):
        return Support("integer", 0, total_count)

    def log_prob(self, x, total_count, p):
        # -D(k, n p) - D(n - k, n q) + S(n) - S(k) - S(n - k), with q = 1 - p (see `ppl.dist.special`).
        x = real(x)
        n = real(total_count)
        within = between(x, 0.0, n)
        k = where(within, x, 0.0)
        misses = n - k
        if self.form == "logits":
            log_n = log(n)
            distance = log_deviance(k, log_n - softplus(-p)) + log_deviance(misses, log_n - softplus(p))
        else:
            p = probability(p)
            distance = deviance(k, n * p) + deviance(misses, n * (1.0 - p))
        return inside(within, stirling(n) - stirling(k) - stirling(misses) - distance)

    def draw(self, source, dims, total_count, p):
        p = sigmoid(p) if self.form == "logits" else p
        return whole(noise("binomial", source, dims, real(total_count), p))

    def information(self, total_count, p):
        return (success(self.form, p, real(total_count)),)


@dataclass(frozen=True)
class Poisson(Discrete):
    """The number of independent events of which `rate` are expected; give `rate` or `log_rate`."""

    form: str = "rate"
    name: ClassVar[str] = "Poisson"
    parameters: ClassVar = (
        Parameter("rate", "nonnegative", "the expected number", optional=True),
        Parameter("log_rate", "real", "the logarithm of the expected number", keyword=True, optional=True),
    )
    one_of: ClassVar = ("rate", "log_rate")
    lives_on: ClassVar[str] = "0, 1, 2, …"
    example: ClassVar[str] = "Poisson(4)"

    @classmethod
    def of(cls, event, given):
        return cls("log_rate" if "log_rate" in given else "rate", event=event)

    def support(self, rate):
        return Support("integer", 0)

    def log_prob(self, x, rate):
        x = real(x)
        within = x >= 0.0
        k = where(within, x, 0.0)
        distance = log_deviance(k, rate) if self.form == "log_rate" else deviance(k, rate)
        return inside(within, -distance - stirling(k))

    def draw(self, source, dims, rate):
        rate = exp(rate) if self.form == "log_rate" else rate
        return whole(noise("poisson", source, dims, rate))

    def information(self, rate):
        return (Informed(self.form, rate, exp(rate) if self.form == "log_rate" else over(1.0, rate)),)


@dataclass(frozen=True)
class NegativeBinomial(Discrete):
    """A Poisson count whose rate is a gamma number: mean `mean`, variance `mean` + `mean`² / `concentration`."""

    name: ClassVar[str] = "NegativeBinomial"
    parameters: ClassVar = (
        Parameter("mean", "positive", "the expected number", keyword=True),
        Parameter("concentration", "positive", "the larger, the closer to Poisson", keyword=True),
    )
    lives_on: ClassVar[str] = "0, 1, 2, …"
    example: ClassVar[str] = "NegativeBinomial(mean = 4, concentration = 2)"

    def support(self, mean, concentration):
        return Support("integer", 0)

    def log_prob(self, x, mean, concentration):
        # With n = c + k and m the mean: log(c / n) - D(c, n c / (c + m)) - D(k, n m / (c + m)) + S(n) - S(c) - S(k).
        x = real(x)
        within = x >= 0.0
        k = where(within, x, 0.0)
        c = concentration
        n = c + k
        both_means = c + mean
        distance = deviance(c, n * (c / both_means)) + deviance(k, n * (mean / both_means))
        return inside(within, stirling(n) - stirling(c) - stirling(k) - log1p(k / c) - distance)

    def draw(self, source, dims, mean, concentration):
        log_gamma = noise("gamma", source.next(1), dims, concentration, log=True)
        return whole(noise("poisson", source, dims, exp(log_gamma + log(mean / concentration))))

    def information(self, mean, concentration):
        told = concentration / (mean * (concentration + mean))
        return Informed("mean", mean, told), Informed("concentration", concentration, None)


@dataclass(frozen=True)
class Geometric(Discrete):
    """The number of failures before the first success; give `probs` or `logits`."""

    form: str = "probs"
    name: ClassVar[str] = "Geometric"
    parameters: ClassVar = (PROBS, LOGITS)
    one_of: ClassVar = ("probs", "logits")
    why_named: ClassVar[str] = PROBS_OR_LOGITS
    lives_on: ClassVar[str] = "0, 1, 2, …"
    example: ClassVar[str] = "Geometric(probs = 0.5)"

    @classmethod
    def of(cls, event, given):
        return cls("logits" if "logits" in given else "probs", event=event)

    def support(self, p):
        return Support("integer", 0)

    def log_prob(self, x, p):
        x = real(x)
        within = x >= 0.0
        k = where(within, x, 0.0)
        if self.form == "logits":
            return inside(within, -k * softplus(p) - softplus(-p))
        p = probability(p)
        failures = k > 0.0  # without failures 1 - p may be 0
        return inside(within, k * log1p(-where(failures, p, 0.0 * p)) + log(p))

    def draw(self, source, dims, p):
        log_failure = -softplus(p) if self.form == "logits" else log1p(-p)
        waits = noise("exponential", source, dims) / -log_failure
        return whole(floor(waits))

    def information(self, p):
        if self.form == "logits":
            return (Informed("logits", p, sigmoid(-p)),)
        return (Informed("probs", p, over(1.0, p**2 * (1.0 - p))),)
