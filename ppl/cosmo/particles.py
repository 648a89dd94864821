"""Particles of a box at one time: where they stand and move, how dense they are, where an observer sees them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from ir.build import as_value, cast, current, diagnostic, emit
from ir.dims import Dim
from ir.graph import Value
from ir.ops.create import Broadcast
from ir.ops.particles import Paint

from ..trace.context import current_context
from ..trace.records import Record, checked
from .background import hubble
from .cosmology import Cosmology
from .double import double
from .lpt import Vector
from .mesh import ParticleMesh


@dataclass(frozen=True)
class Particles(Record):
    """One particle for each cell of a box, at a scale factor; made by `simulate`.

    displacement: from the centres of their cells [cells], by dim of the box. momentum: a^2 dx/dt [cells, H0 = 1].
    """

    kind: ClassVar[str] = "particles"
    made_by: ClassVar[str] = "simulate(white, cosmo, cell = 4.0)"

    displacement: Vector
    momentum: Vector
    mesh: ParticleMesh
    cosmo: Cosmology
    a: Value | float

    def along(self, dim: str) -> int:
        """Which of the box's dims that is."""
        names = self.mesh.box.names
        if not isinstance(dim, str) or dim not in names:
            shown = f"'{dim}'" if isinstance(dim, str) else "this"
            raise diagnostic("argument", f"{shown} is no dim of the particles", hint=f"it is one of {', '.join(names)}")
        return names.index(dim)


@checked
def displacement(particles: Particles, along: str) -> Value:
    """How far particles are from where they began, along one dim of the box [Mpc/h, comoving]."""
    return particles.displacement[particles.along(along)] * particles.mesh.box.cell


@checked
def velocity(particles: Particles, along: str) -> Value:
    """Peculiar velocities of particles along one dim of the box [km/s]: a dx/dt, with H0 = 100 h km/s/Mpc."""
    p = particles.momentum[particles.along(along)]
    return p * cast(100.0 * particles.mesh.box.cell / double(particles.a), p.type.dtype)


@checked
def redshift_space(particles: Particles, los: str) -> Particles:
    """The particles where they seem to be by their redshifts, seen from afar along the dim `los` of the box.

    x + v / (a H), plane parallel (Kaiser 1987): in terms of momenta x + p / (a^2 E).
    """
    i, a = particles.along(los), double(particles.a)
    factor = 1.0 / (a * a * hubble(particles.cosmo, a))
    moved = list(particles.displacement)
    moved[i] = moved[i] + particles.momentum[i] * cast(factor, moved[i].type.dtype)
    return dataclasses.replace(particles, displacement=tuple(moved))


@checked
def density(
    particles: Particles,
    weights: Any = None,
    *,
    dims: str | Iterable[str] | None = None,
    kernel: str | None = None,
    reach: int | None = None,
) -> Value:
    """The density of particles in units of their mean number in a cell: 1 + delta.

    weights: what each particle counts, as `bias_weights`. dims: those of the mesh, in the order of the box's and as
    many times as fine along each (default: the box's own). kernel: how a particle is shared among cells, ngp, cic, tsc
    or pcs (default: that of the simulation). reach: by how many cells of that mesh a particle may have left its place
    along a dim that devices split (default: as in the simulation).
    """
    mesh, box = particles.mesh, particles.mesh.box
    target = box.dims if dims is None else _mesh_dims((dims,) if isinstance(dims, str) else tuple(dims), box.dims)
    ratio = target[0].size / box.dims[0].size
    reach = math.ceil(mesh.reach * ratio / mesh.ratio) if reach is None else reach
    painted = ParticleMesh(box, kernel or mesh.kernel, reach, 1, mesh.capacity, mesh.ownership)
    moved = tuple(d * ratio for d in particles.displacement) if ratio != 1 else particles.displacement
    given = () if weights is None else (_on_lattice(weights, particles),)
    op = Paint(box.names, target, *painted.manner(), weights=len(given))
    mass, need = current().emit_all(op, *moved, *given)
    painted.tell(need, target)
    return mass * float(ratio ** len(target)) if ratio != 1 else mass


def _mesh_dims(names: tuple[str, ...], lattice: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """The dims of a mesh, whose cells are cubes as the box's are."""
    found = current_context().dims(names)
    if len(found) != len(lattice) or len({d.size / n.size for d, n in zip(found, lattice, strict=True)}) != 1:
        box, mesh = (", ".join(f"{d.name} = {d.size}" for d in dims) for dims in (lattice, found))
        message = f"a mesh of {mesh} does not fit a box of {box}"
        raise diagnostic("argument", message, hint="the mesh has as many dims, each the same number of times as long")
    return found


def _on_lattice(weights: Any, particles: Particles) -> Value:
    """Weights of all particles, also where they are given as one number or lack a dim."""
    like = particles.displacement[0]
    weights = cast(as_value(weights, like), like.type.dtype)
    missing = tuple(d for d in particles.mesh.box.dims if d.name not in weights.type)
    return emit(Broadcast(missing), weights) if missing else weights


__all__ = ["Particles", "density", "displacement", "redshift_space", "velocity"]
