"""Lagrangian perturbation theory: where particles of a box stand while displacements are small.

x = q + D1 s1 + D2 s2 with s1 = -grad phi1, phi1 = lap^-1 delta; s2 = -grad phi2, phi2 = lap^-1 of the sum over i < j of
phi1,ii phi1,jj - phi1,ij^2 (Bouchet et al. 1995, with D2 > 0 and D2 -> 3/7 a^2 early). delta is the linear density
contrast divided by D1, displacements are in cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from ir.build import diagnostic
from ir.graph import Value

from .box import Box

Vector = tuple[Value, ...]


@dataclass(frozen=True)
class Displacements:
    """The vectors of the first and (None where it was not asked for) second order [cells], by dim of the box."""

    first: Vector
    second: Vector | None

    def at(self, first: Value | float, second: Value | float) -> Vector:
        """first s1 + second s2: displacements with growth factors, momenta with their derivatives."""
        if self.second is None:
            return tuple(s * first for s in self.first)
        return tuple(s * first + t * second for s, t in zip(self.first, self.second, strict=True))


def lpt(modes: Value, box: Box, order: int = 2) -> Displacements:
    """The displacement vectors from the spectrum of the linear density contrast (`linear_modes`)."""
    potential = box.potential() * modes
    first = tuple(-s for s in box.gradients(potential))
    if order not in (1, 2):
        raise diagnostic("argument", f"perturbation theory of order {order}", hint="order is 1 or 2")
    if order == 1 or len(box.dims) == 1:  # along one dim the first order is exact until paths cross
        return Displacements(first, None)
    source = box.modes(_source(potential, box))
    second = tuple(-s for s in box.gradients(box.potential() * source))
    return Displacements(first, second)


def _source(potential: Value, box: Box) -> Value:
    """The sum over pairs of dims of phi,ii phi,jj - phi,ij^2.

    Second derivatives along one dim keep the Nyquist frequency, mixed ones have none: it has no sign.
    """
    rank = range(len(box.dims))
    pure = [box.field(-(box.second(i, i) * potential)) for i in rank]
    total = None
    for i, j in combinations(rank, 2):
        mixed = box.field(-(box.second(i, j) * potential))
        term = pure[i] * pure[j] - mixed * mixed
        total = term if total is None else total + term
    assert total is not None
    return total


__all__ = ["Displacements", "lpt"]
