"""Numbers of a model that must stay within bounds for it to be computed: which are not, where, and what would do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ir.ops.sites import Limit

if TYPE_CHECKING:
    from .posterior import Posterior

PREFIX = "limit:"


def exceeded(posterior: Posterior, position: Mapping[str, Any]) -> list[str]:
    """What is beyond its bound at unconstrained values (of one chain), each in a sentence with its hint."""
    return list(_told(posterior, position)) if limits(posterior) else []


def limits(posterior: Posterior) -> dict[str, Limit]:
    """The limits of a model by site."""
    return {n.op.site: n.op for n in posterior.bound.program.walk() if isinstance(n.op, Limit)}


def _told(posterior: Posterior, position: Mapping[str, Any]) -> Iterator[str]:
    made = _program(posterior).run({**posterior.bound.data, **{n: np.asarray(x) for n, x in position.items()}})
    for site, op in limits(posterior).items():
        found = np.asarray(made[PREFIX + site])
        if np.all(found <= op.bound):
            continue
        steps = f" in step {_first(found, op.bound)} of {found.size}" if found.ndim else ""
        numbers = found[np.isfinite(found)]  # after the step that goes beyond, there are none
        most = float(numbers.max(initial=0.0))
        if most <= op.bound:
            yield f"the {op.what}{steps} are not a number"
            continue
        hint = op.hint.format(needed=math.ceil(most))
        yield f"{most:.3g} {op.what}{steps} are more than {op.bound:g}: {hint}"


def _first(found: np.ndarray, bound: float) -> int:
    """The first step beyond the bound, from 1."""
    return int(np.flatnonzero(~(found.reshape(-1) <= bound))[0]) + 1


def _program(posterior: Posterior) -> Any:
    from .pipeline import keep

    cache = posterior.__dict__
    if "_limits" not in cache:
        program = posterior.program("density")
        cache["_limits"] = posterior.executable(keep(program, [PREFIX + site for site in limits(posterior)]))
    return cache["_limits"]


__all__ = ["exceeded", "limits"]
