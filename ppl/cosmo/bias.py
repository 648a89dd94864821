"""Galaxies as weights of the matter's particles: the Lagrangian bias expansion of second order.

    w = 1 + b1 delta + b2 (delta^2 - <delta^2>) + bs2 (s^2 - <s^2>) + bnabla2 lap delta

of the linear density delta where a particle began (Modi et al. 2020, arXiv:1910.07097, without factors of 1/2, as
there), with s^2 = sum over i, j of s_ij^2, s_ij = (d_i d_j lap^-1 - 1/3 [i = j]) delta. Where particles with these
weights have gone, their density is that of the galaxies: matter moves it, and a linear bias today is 1 + b1.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from ir.build import as_value, diagnostic
from ir.graph import Value

from ..trace.functions import mean
from ..trace.records import checked
from .box import Box
from .simulation import box_of


@checked
def bias_weights(
    delta: Value, *, cell: float, b1: Any = 0.0, b2: Any = 0.0, bs2: Any = 0.0, bnabla2: Any = 0.0
) -> Value:
    """What each particle counts as galaxies, by the linear density at its place: `density(particles, weights)`.

    delta: `linear_density` at the scale factor of the particles; cell: the side of a cell [Mpc/h]. Biases are numbers
    or quantities of the model; bnabla2 in (Mpc/h)^2.
    """
    delta = as_value(delta)
    box = box_of(delta, cell)
    for name, b in (("b1", b1), ("b2", b2), ("bs2", bs2), ("bnabla2", bnabla2)):
        extra = [d for d in b.dims if d in box.names] if isinstance(b, Value) else []
        if extra:
            raise diagnostic("type", f"{name} is one number for all of the box, but it has dim '{extra[0]}'")
    weights = 1.0 + b1 * delta
    if not _is_zero(b2):
        square = delta * delta
        weights = weights + b2 * (square - mean(square, box.names))
    if not _is_zero(bs2):
        shear = tidal_square(delta, box)
        weights = weights + bs2 * (shear - mean(shear, box.names))
    if not _is_zero(bnabla2):
        weights = weights + bnabla2 * (box.field(-(box.squared() * box.modes(delta))) * (1 / box.cell**2))
    return weights


def tidal_square(delta: Value, box: Box) -> Value:
    """s^2 of a density contrast: the sum of the squares of its traceless tidal tensor."""
    potential = box.potential() * box.modes(delta)
    rank = range(len(box.dims))
    total = delta * delta * (-1 / len(box.dims))
    for i in rank:
        pure = box.field(-(box.second(i, i) * potential))
        total = total + pure * pure
    for i, j in combinations(rank, 2):
        mixed = box.field(-(box.second(i, j) * potential))
        total = total + 2.0 * (mixed * mixed)
    return total


def _is_zero(b: Any) -> bool:
    return not isinstance(b, Value) and b == 0


__all__ = ["bias_weights", "tidal_square"]
