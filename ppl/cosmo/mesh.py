"""A particle mesh: particles that belong to the cells of a box, their density, and the gravity that they feel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce

from ir.build import binary, current, emit
from ir.errors import Diagnostic
from ir.graph import Value
from ir.ops.particles import Paint, Read
from ir.ops.reduce import MaxOver

from ..trace.context import in_model, limit
from ..trace.functions import abs_ as absolute
from .box import Box

Vector = tuple[Value, ...]


@dataclass(frozen=True)
class ParticleMesh:
    """Particles of a box, one a cell, and a mesh `ratio` times as fine a dim.

    kernel: how a particle is shared among cells ("ngp", "cic", "tsc", "pcs"), also when forces are read. reach: by how
    many cells of the mesh a particle may have left its cell along a dim that devices split.
    """

    box: Box
    kernel: str = "cic"
    reach: int = 8
    ratio: int = 1

    @property
    def mesh(self) -> Box:
        return self.box.finer(self.ratio)

    def density(self, displacements: Sequence[Value], weights: Value | None = None) -> tuple[Value, Value]:
        """(density / mean, on the mesh; how many cells the farthest particle has gone along a split dim).

        displacements: in cells of the box, by dim. weights: masses of the particles, of mean 1 (default: all 1).
        In a model, a density that cannot be computed for want of reach is told by the run.
        """
        tell_reach(self, self.farthest(displacements))
        return self._density(displacements, weights)

    def farthest(self, displacements: Sequence[Value]) -> Value:
        """By how many cells of the mesh the farthest particle has left its cell, along any dim."""
        each = [emit(MaxOver(self.box.names), absolute(d)) for d in displacements]
        return reduce(partial(binary, "maximum"), each) * float(self.ratio)

    def _density(self, displacements: Sequence[Value], weights: Value | None = None) -> tuple[Value, Value]:
        given = (weights,) if weights is not None else ()
        op = Paint(*self._shared(), weights=len(given))
        mass, farthest = current().emit_all(op, *self._scaled(displacements), *given)
        return mass * float(self.ratio ** len(self.box.dims)) if self.ratio > 1 else mass, farthest

    def read(self, displacements: Sequence[Value], *fields: Value) -> tuple[Value, ...]:
        """Fields on the mesh at the particles; NaN at those out of reach."""
        return current().emit_all(Read(*self._shared(), count=len(fields)), *self._scaled(displacements), *fields)[:-1]

    def gravity(self, displacements: Sequence[Value]) -> tuple[Vector, Value]:
        """(g = -grad lap^-1 delta at the particles, by dim [cells of the box]; how far the farthest has gone).

        The acceleration of a particle is 3/2 Omega_m g / a (with H0 = 1); for displacements D1 s1 small beside a cell
        g = D1 s1.
        """
        density, farthest = self._density(displacements)
        potential = self.mesh.potential() * self.mesh.modes(density)
        fields = [-g for g in self.mesh.gradients(potential)]
        return tuple(g * (1 / self.ratio) for g in self.read(displacements, *fields)), farthest

    def _shared(self) -> tuple:
        if self.reach < 1 or int(self.reach) != self.reach:
            raise Diagnostic("argument", f"reach is a whole number of cells, 1 or more, not {self.reach}")
        return self.box.names, self.mesh.dims, self.kernel, int(self.reach)

    def _scaled(self, displacements: Sequence[Value]) -> Vector:
        if len(displacements) != len(self.box.dims):
            message = f"{len(displacements)} displacements for a box of {len(self.box.dims)} dims"
            raise Diagnostic("argument", message, hint="give one for each dim, in order")
        return tuple(d * float(self.ratio) for d in displacements) if self.ratio > 1 else tuple(displacements)


def tell_reach(mesh: ParticleMesh, farthest: Value) -> None:
    """Has a model's run tell where particles go farther than devices reach."""
    if in_model():
        what = "cells of the mesh that a particle has gone along one dim"
        limit("reach", farthest, mesh.reach, what, "a larger reach holds them: reach = {needed}")


__all__ = ["ParticleMesh", "tell_reach"]
