"""Some latents move, the others are held: what a stage with `only` keeps beside its algorithm's state.

The algorithm knows nothing of it. It gets a space of the latents that move, and a target with the held ones in place:
the gradient with respect to those is never asked for, so XLA leaves it out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax.numpy as jnp

from ir.errors import Diagnostic

from .fourier import Fourier
from .metric import Diagonal
from .protocol import Handover
from .space import Vector


class Rest(NamedTuple):
    """The latents that do not move."""

    position: Vector
    scale: Vector
    """What was known of their scales: a diagonal metric's, or 1."""


class Held(NamedTuple):
    """The state of a stage: the algorithm's own, and the rest."""

    inner: Any
    held: Rest


def enter(begin: Handover, only: Sequence[str] | None) -> tuple[Handover, Rest]:
    """What the algorithm starts from, and what is held.

    A diagonal metric is cut to the latents that move, with the step size that goes with it; of other metrics there is
    no part that would do.
    """
    if only is None:
        return begin, Rest({}, {})
    state, metric = begin.state, begin.metric
    moved = lambda vector: {n: x for n, x in vector.items() if n in only}  # noqa: E731
    rest = lambda vector: {n: x for n, x in vector.items() if n not in only}  # noqa: E731
    inner = state._replace(position=moved(state.position), gradient=moved(state.gradient))
    position = rest(state.position)
    if isinstance(metric, Diagonal):
        cut = Handover(inner, Diagonal(moved(metric.scale)), begin.step_size, begin.strained)
        return cut, Rest(position, rest(metric.scale))
    return Handover(inner), Rest(position, {n: jnp.ones_like(x) for n, x in position.items()})


def leave(inner: Handover, held: Rest) -> Handover:
    """What the next stage starts from, with the gradient of the latents that moved only.

    The step size fits a space in which the others stand still, and is not passed on.
    """
    if not held.position:
        return inner
    state = inner.state._replace(position=inner.state.position | held.position)
    metric = inner.metric
    if isinstance(metric, Diagonal):
        return Handover(state, Diagonal(metric.scale | held.scale))
    if isinstance(metric, Fourier):
        return Handover(state, replace(metric, scale=metric.scale | held.scale))
    return Handover(state)


def check_only(only: Sequence[str] | None, latents: Iterable[str]) -> None:
    """Raises a `Diagnostic` where `only` names something that is no latent."""
    known = list(latents)
    for name in only or ():
        if name in known:
            continue
        raw = f"{name}_raw"
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f"the latents are {', '.join(known)}"
        if raw in known:
            hint = f"'{name}' is non-centred: what moves is '{raw}'"
        elif near:
            hint = f"did you mean '{near[0]}'? {hint}"
        raise Diagnostic("argument", f"there is no latent '{name}' that could move", hint=hint, where="only")
