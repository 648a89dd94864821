"""The normal distribution and what is made from it by folding, exponentiating and truncating."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ir.build import as_value, emit
from ir.dist import POSITIVE, REAL, Informed, Support
from ir.ops.special import TruncatedNormalQuantile

from .family import Family, Parameter
from .functions import HALF_LOG_2PI, INF, absolute, between, exp, inside, log, log_normal_mass, noise, real, where


HALF_LOG_HALF_PI = HALF_LOG_2PI - 0.6931471805599453
LOC = Parameter("loc", "real", "the mean, at which the density is largest")
SCALE = Parameter("scale", "positive", "the standard deviation")


@dataclass(frozen=True)
class Normal(Family):
    """The normal distribution of mean `loc` and standard deviation `scale`."""

    name: ClassVar[str] = "Normal"
    parameters: ClassVar = (LOC, SCALE)
    example: ClassVar[str] = "Normal(0, 1)"

    def support(self, loc, scale):
        return REAL

    def log_prob(self, x, loc, scale):
        z = (real(x) - loc) / scale
        return -0.5 * z**2 - (log(scale) + HALF_LOG_2PI)

    def draw(self, source, dims, loc, scale):
        return loc + scale * noise("normal", source, dims)

    def recentre(self, sample, loc, scale):
        return loc + scale * sample(Normal(), 0.0, 1.0)

    def information(self, loc, scale):
        return Informed("loc", loc, 1.0 / scale**2, location=True), Informed("scale", log(scale), 2.0)


@dataclass(frozen=True)
class HalfNormal(Family):
    """The absolute value of a normal number of mean 0 and standard deviation `scale`."""

    name: ClassVar[str] = "HalfNormal"
    parameters: ClassVar = (Parameter("scale", "positive", "the standard deviation before folding"),)
    lives_on: ClassVar[str] = "x >= 0"
    example: ClassVar[str] = "HalfNormal(1)"

    def support(self, scale):
        return POSITIVE

    def log_prob(self, x, scale):
        z = real(x) / scale
        return inside(z >= 0.0, -0.5 * z**2 - (log(scale) + HALF_LOG_HALF_PI))

    def draw(self, source, dims, scale):
        return scale * absolute(noise("normal", source, dims))

    def recentre(self, sample, scale):
        return scale * sample(HalfNormal(), 1.0)

    def information(self, scale):
        return (Informed("scale", log(scale), 2.0, location=True),)


@dataclass(frozen=True)
class LogNormal(Family):
    """The exponential of a normal number of mean `loc` and standard deviation `scale`."""

    name: ClassVar[str] = "LogNormal"
    parameters: ClassVar = (
        Parameter("loc", "real", "the mean of log x"),
        Parameter("scale", "positive", "the standard deviation of log x"),
    )
    lives_on: ClassVar[str] = "x > 0"
    example: ClassVar[str] = "LogNormal(0, 1)"

    def support(self, loc, scale):
        return POSITIVE

    def log_prob(self, x, loc, scale):
        x = real(x)
        positive = x > 0.0
        log_x = log(where(positive, x, 1.0))
        z = (log_x - loc) / scale
        return inside(positive, -0.5 * z**2 - log_x - (log(scale) + HALF_LOG_2PI))

    def draw(self, source, dims, loc, scale):
        return exp(loc + scale * noise("normal", source, dims))

    def recentre(self, sample, loc, scale):
        return exp(loc + scale * sample(Normal(), 0.0, 1.0))

    def information(self, loc, scale):
        return Informed("loc", loc, 1.0 / scale**2, location=True), Informed("scale", log(scale), 2.0)


@dataclass(frozen=True)
class TruncatedNormal(Family):
    """A normal number given that it lies between `lower` and `upper`; one of the bounds may be left out."""

    bounds: tuple[str, ...] = ("lower", "upper")
    name: ClassVar[str] = "TruncatedNormal"
    parameters: ClassVar = (
        Parameter("loc", "real", "the mean before truncation"),
        Parameter("scale", "positive", "the standard deviation before truncation"),
        Parameter("lower", "real", "the lower bound", keyword=True, optional=True),
        Parameter("upper", "real", "the upper bound", keyword=True, optional=True),
    )
    some_of: ClassVar = ("lower", "upper")
    why_named: ClassVar[str] = "a bound by itself does not say which one it is"
    increasing: ClassVar = ("lower", "upper")
    lives_on: ClassVar[str] = "lower <= x <= upper"
    example: ClassVar[str] = "TruncatedNormal(0, 1, lower = 0)"

    @classmethod
    def of(cls, event, given):
        return cls(tuple(b for b in ("lower", "upper") if b in given), event=event)

    def _limits(self, bounds):
        found = dict(zip(self.bounds, bounds, strict=True))
        return found.get("lower", -INF), found.get("upper", INF)

    def support(self, loc, scale, *bounds):
        kind = self.bounds[0] if len(self.bounds) == 1 else "interval"
        return Support(kind, **dict(zip(self.bounds, bounds, strict=True)))

    def _standard(self, loc, scale, *bounds):
        return tuple(b if isinstance(b, float) else (b - loc) / scale for b in self._limits(bounds))

    def log_prob(self, x, loc, scale, *bounds):
        x = real(x)
        z = (x - loc) / scale
        a, b = self._standard(loc, scale, *bounds)
        norm = log(scale) + log_normal_mass(a, b) + HALF_LOG_2PI
        low, high = self._limits(bounds)
        within = x <= high if low == -INF else x >= low if high == INF else between(x, low, high)
        return inside(within, -0.5 * z**2 - norm)

    def draw(self, source, dims, loc, scale, *bounds):
        u = noise("uniform", source, dims)
        z = emit(TruncatedNormalQuantile(), u, *(as_value(b, u) for b in self._standard(loc, scale, *bounds)))
        return loc + scale * z
