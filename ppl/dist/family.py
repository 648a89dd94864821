"""What a distribution of the language states beside its density: its parameters, in words and in numbers.

A leaf of `Family` is one distribution. The constructor that users call, its errors and the reference are made from what
the leaf says here (see `ppl.dist.make`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ir.dist import Distribution

DOMAINS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "real": ("a finite number", math.isfinite),
    "positive": ("positive", lambda v: 0 < v < math.inf),
    "nonnegative": ("at least 0", lambda v: 0 <= v < math.inf),
    "unit": ("between 0 and 1", lambda v: 0 <= v <= 1),
    "count": ("a whole number of at least 0", lambda v: 0 <= v < math.inf and v == int(v)),
    "matrix": ("a lower triangular matrix", lambda v: False),
    "vector": ("a vector along the distribution's dim", lambda v: False),
}
"""What each kind of parameter must be: in words, and as a condition on a number that is written as it is.

A parameter that is computed cannot be checked before the model runs: out of its domain it makes the log density NaN or
-inf, never finite, and the sampler rejects both. `test_illegal_parameters_never_have_a_density` holds every leaf to it.
"""


@dataclass(frozen=True)
class Parameter:
    """One parameter: its name, its domain (a key of `DOMAINS`) and its meaning.

    `keyword`: it must be named in a call, because libraries disagree about what stands first. `optional`: it may be
    left out, as a bound or one of several forms.
    """

    name: str
    domain: str
    doc: str
    keyword: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Family(Distribution):
    """The interface of all distributions here. A leaf adds support, log_prob and draw, and these words about itself."""

    parameters: ClassVar[tuple[Parameter, ...]] = ()
    one_of: ClassVar[tuple[str, ...]] = ()
    """Names of optional parameters of which exactly one must be given."""
    some_of: ClassVar[tuple[str, ...]] = ()
    """Names of optional parameters of which at least one must be given."""
    increasing: ClassVar[tuple[str, str] | None] = None
    """Two parameters of which the first must be less than the second."""
    why_named: ClassVar[str] = "libraries disagree about the order of these arguments"
    """Why the keyword parameters must be named."""
    event_dims: ClassVar[int] = 0
    """How many dims stand on the distribution, as in `Dirichlet[k](2.0)`."""
    lives_on: ClassVar[str] = "all real numbers"
    example: ClassVar[str] = ""
    """A right call, for hints."""

    @classmethod
    def of(cls, event: tuple[str, ...], given: Mapping[str, Any]) -> Family:
        """The distribution for a call with these event dims and parameters, which have been checked."""
        return cls(event=event)

    def inner(self) -> tuple[str, ...]:
        """Dims that parameters have and a draw does not, as the categories of a Categorical."""
        return ()


def signature(family: type[Family]) -> str:
    """A call with the parameters' names, as `Binomial(total_count, probs = … | logits = …)`."""
    shown = [p.name if not p.keyword else f"{p.name} = …" for p in family.parameters if p.name not in family.one_of]
    if family.one_of:
        keyword = {p.name: p.keyword for p in family.parameters}
        shown.append(" | ".join(f"{n} = …" if keyword[n] else n for n in family.one_of))
    event = "[k]" if family.event_dims else ""
    return f"{family.name}{event}({', '.join(shown)})"
