"""Minus the Hessian of a log density on vectors: forward derivatives of the planned gradient.

Exact to rounding in the latents' dtype, where a difference of float32 gradients would keep three digits. Collectives in
the target are linear and are derived with it. A product costs about two gradients.
"""

from __future__ import annotations

from collections.abc import Callable

import jax

from ir.errors import Diagnostic

from .protocol import Target
from .space import Vector

PRODUCT = 2
"""Gradients that one product counts as."""


def product(target: Target, position: Vector, direction: Vector) -> Vector:
    """-Hess l(position) direction, zero on padding; a `Diagnostic` where an operation has no forward derivative."""
    found = forward(lambda x: target(x)[1], position, direction, "laplace")
    return {n: -g for n, g in found.items()}


def forward(f: Callable[[Vector], Vector], position: Vector, direction: Vector, who: str) -> Vector:
    """The derivative of `f` along a direction, for the algorithm `who`."""
    try:
        return jax.jvp(f, (position,), (direction,))[1]
    except (NotImplementedError, TypeError, ValueError) as error:
        raise Diagnostic(
            "run",
            f"{who}: the gradient of this model has no forward derivative ({_first_line(error)})",
            hint="use advi or pathfinder, which need gradients only",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
