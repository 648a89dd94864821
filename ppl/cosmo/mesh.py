"""A particle mesh: particles that belong to the cells of a box, their density, and the gravity that they feel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ir.build import current
from ir.dims import Dim
from ir.errors import Diagnostic
from ir.graph import Value
from ir.ops.ownership import OWNERSHIPS
from ir.ops.particles import Paint, Read

from ..trace.context import in_model, limit
from .box import Box

Vector = tuple[Value, ...]


@dataclass(frozen=True)
class ParticleMesh:
    """Particles of a box, one a cell, and a mesh `ratio` times as fine a dim.

    kernel: how a particle is shared among cells ("ngp", "cic", "tsc", "pcs"), also when forces are read.

    ownership: how devices that split the box deal with particles that leave their part, "auto" for what a plan finds
    faster (`ir.ops.ownership`). "halo": they reach beyond it, by `reach` cells of the mesh, which must not be more than
    the smallest block has. "migrate": they hand particles on to their neighbours, through each face of a block at most
    as many as `capacity` layers of the lattice have (default: half of `reach`), none farther than the smallest block.
    Where particles go beyond that, a run plans anew with more room (`ppl.limits`).
    """

    box: Box
    kernel: str = "cic"
    reach: int = 8
    ratio: int = 1
    capacity: int | None = None
    ownership: str = "auto"

    @property
    def mesh(self) -> Box:
        return self.box.finer(self.ratio)

    def density(self, displacements: Sequence[Value], weights: Value | None = None) -> tuple[Value, Value]:
        """(density / mean, on the mesh; what devices `need` to hold, see `ir.ops.ownership`).

        displacements: in cells of the box, by dim. weights: masses of the particles, of mean 1 (default: all 1).
        Where the load is more than 1 the density is NaN. In a model the run tells so.
        """
        density, need = self._density(displacements, weights)
        self.tell(need)
        return density, need

    def _density(self, displacements: Sequence[Value], weights: Value | None = None) -> tuple[Value, Value]:
        given = (weights,) if weights is not None else ()
        op = Paint(*self._shared(), weights=len(given))
        mass, need = current().emit_all(op, *self._scaled(displacements), *given)
        return mass * float(self.ratio ** len(self.box.dims)) if self.ratio > 1 else mass, need

    def read(self, displacements: Sequence[Value], *fields: Value) -> tuple[Value, ...]:
        """Fields on the mesh at the particles; NaN at those out of reach."""
        return current().emit_all(Read(*self._shared(), count=len(fields)), *self._scaled(displacements), *fields)[:-1]

    def gravity(self, displacements: Sequence[Value]) -> tuple[Vector, Value]:
        """(g = -grad lap^-1 delta at the particles, by dim [cells of the box]; `need`, as of `density`).

        The acceleration of a particle is 3/2 Omega_m g / a (with H0 = 1); for displacements D1 s1 small beside a cell
        g = D1 s1.
        """
        density, need = self._density(displacements)
        potential = self.mesh.potential() * self.mesh.modes(density)
        fields = [-g for g in self.mesh.gradients(potential)]
        return tuple(g * (1 / self.ratio) for g in self.read(displacements, *fields)), need

    @property
    def whole_reach(self) -> int:
        """The reach, checked."""
        if self.reach < 1 or int(self.reach) != self.reach:
            message = f"reach is a whole number of cells, 1 or more, not {self.reach}"
            raise Diagnostic("argument", message, hint="write for example reach = 8")
        return int(self.reach)

    def _shared(self) -> tuple:
        return self.box.names, self.mesh.dims, *self.manner()

    def manner(self) -> tuple[str, int, int, str]:
        """How particles meet the mesh: kernel, reach, capacity and ownership, checked."""
        reach = self.whole_reach
        half = math.ceil(self.reach / (2 * self.ratio))  # of the reach, in layers of the lattice
        capacity = half if self.capacity is None else self.capacity
        if capacity < 1 or int(capacity) != capacity:
            raise Diagnostic("argument", f"capacity is a whole number of layers, 1 or more, not {capacity}")
        if self.ownership not in OWNERSHIPS:
            hint = f"choose from {', '.join(OWNERSHIPS)}"
            raise Diagnostic("argument", f"unknown ownership of particles '{self.ownership}'", hint=hint)
        return self.kernel, reach, int(capacity), self.ownership

    def tell(self, need: Value, onto: Sequence[Dim] | None = None) -> None:
        """Has a model's run tell where particles are more or farther than devices can hold; `onto`: another mesh."""
        if in_model():
            mesh = tuple(d.name for d in onto or self.mesh.dims)
            limit("load", need, mesh, *self.manner()[1:])

    def _scaled(self, displacements: Sequence[Value]) -> Vector:
        if len(displacements) != len(self.box.dims):
            message = f"{len(displacements)} displacements for a box of {len(self.box.dims)} dims"
            raise Diagnostic("argument", message, hint="give one for each dim, in order")
        return tuple(d * float(self.ratio) for d in displacements) if self.ratio > 1 else tuple(displacements)


__all__ = ["ParticleMesh"]
