"""The interface of probability distributions: log density, support and draws, all as IR.

A distribution object is static (its name, its parametrisation, its event dims); its parameters are operands. The leaves
live in `ppl.dist`; a leaf joins `Distribution.table` by being defined.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from .dims import Dim, TensorType
from .graph import Value


@dataclass(frozen=True)
class Support:
    """The set on which a distribution lives.

    kind "real", "lower" (x > lower), "upper" (x < upper), "interval", "simplex" (positive, sums to one along the last
    event dim), or "integer" (discrete: no gradient). Bounds are values of the program or numbers.
    """

    kind: str
    lower: Value | float | None = None
    upper: Value | float | None = None


@dataclass(frozen=True)
class Informed:
    """A coordinate of a distribution's parameters in which their Fisher information is diagonal.

    The information of one draw about all parameters is the sum over the coordinates of `information` times the square
    of the coordinate's differential; event dims are among those of the coordinates. None: it is not known, and the
    parameter must not depend on latents. With `location` the density of the unconstrained draw u depends on u and this
    coordinate through their difference alone.
    """

    name: str
    value: Value
    information: Value | float | None
    location: bool = False


REAL = Support("real")
POSITIVE = Support("lower", 0.0)
UNIT = Support("interval", 0.0, 1.0)


@dataclass(frozen=True)
class Distribution(ABC):
    """A distribution; `event` names its event dims (those of one draw), in order."""

    event: tuple[str, ...] = field(default=(), kw_only=True)

    name: ClassVar[str]
    table: ClassVar[dict[str, type[Distribution]]] = {}
    discrete: ClassVar[bool] = False
    improper: ClassVar[bool] = False
    """Whether the density has no finite integral: nothing can be drawn then."""
    inside: ClassVar[float] = 0.5
    """A point where the density is finite whatever the parameters: stands in for missing observations."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            Distribution.table[cls.name] = cls

    @abstractmethod
    def support(self, *params: Value) -> Support:
        """Where the distribution lives."""

    @abstractmethod
    def log_prob(self, x: Value, *params: Value) -> Value:
        """The log density (or mass) of x, by element; event dims are summed away."""

    @abstractmethod
    def draw(self, noise: Noise, dims: tuple[Dim, ...], *params: Value) -> Value:
        """A draw with the given dims."""

    def event_type(self, dims: tuple[Dim, ...], real: str, *params: TensorType) -> TensorType:
        """The type of a draw; integers for discrete distributions."""
        return TensorType(dims, "i32" if self.discrete else real)

    def inner(self) -> tuple[str, ...]:
        """Dims that parameters have and a draw does not, as the categories of a Categorical."""
        return ()

    def recentre(self, sample: Callable[..., Value], *params: Value) -> Value | None:
        """The draw as a function of a parameter-free one, `sample(distribution, *params)`; None if there is none."""
        return None

    def information(self, *params: Value) -> tuple[Informed, ...]:
        """What an observation tells about the parameters; by default nothing is known (see `Informed`)."""
        return tuple(Informed(f"parameter {i + 1}", p, None) for i, p in enumerate(params) if p.type.is_real)

    def prior_information(self, u: Value, *params: Value) -> tuple[Informed, ...] | None:
        """The same of a latent draw, whose unconstrained form u is one of the unknowns: the expected curvature of
        -log p(u | params) in all of them; None if it is not known."""
        found = self.information(*params)
        if not any(c.location for c in found):
            return None
        return tuple(replace(c, value=c.value - u) if c.location else c for c in found)


@dataclass(frozen=True)
class Noise:
    """The source of randomness of one site: the key words, and a name that makes the site's noise its own."""

    key: Value
    site: str
    stream: int = 0

    def next(self, stream: int) -> Noise:
        """Independent noise for another part of the same draw."""
        return Noise(self.key, self.site, stream)
