"""Particles that move away from a lattice, and a mesh: painting onto it, reading from it, and their gradients.

Where a particle's device has to reach beyond its part of the mesh, and how, is a matter of `ownership`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..build import current
from ..dims import Dim, TensorType
from ..errors import Diagnostic, InternalError
from ..layout import Move
from ..painter import Swarm
from ..place import Place
from .ownership import MIGRATE, Particles, poison


@dataclass(frozen=True)
class Paint(Particles):
    """Adds particles to a mesh: one of mass 1 each or, with `weights` of them on the lattice, as many meshes.

    Operands: displacements, then weights. Results: the meshes, and `need`. A mesh without displacements and of the
    lattice's size holds the weights themselves.
    """

    weights: int = 0
    name: ClassVar[str] = "paint"

    def fields(self, count):
        return range(0)

    def brought(self):
        return 0

    def results(self, *operands):
        if len(operands) != self.rank + self.weights:
            message = f"paint onto {self.rank} dims with {self.weights} weight(s) got {len(operands)} operands"
            raise Diagnostic("type", message)
        self.check(*operands)
        return (*[self.on_mesh(*operands)] * max(1, self.weights), self.need(*operands))

    def renames(self):
        return {n: m for m, n in self.pairs().items() if n != m}

    def spills(self, operands, strategy):
        found, width = [], self.width(strategy.method)
        for k in range(max(1, self.weights)):
            found += [(k, Move("spill", a, source=d, width=width, wider=w)) for d, a, w in self.walk_splits(strategy)][
                ::-1
            ]
        return tuple(found)

    def one(self, place, *arrays):
        displacements = [self.real(place, d) for d in arrays[: self.rank]]
        values = [self.real(place, v) for v in arrays[self.rank :]]
        guests: list[Any] = []
        if place.method == MIGRATE:
            moved, need = self.migrate(place, displacements, values)
            masked = [g.masked() or [g.here.astype(need.dtype)] for g in (moved.residents, moved.guests)]
            values, guests = [v.reshape(displacements[0].shape) for v in masked[0]], masked[1]
            swarm, bad = moved.swarm(displacements), moved.bad
        else:
            need, bad = self.stay(place, displacements)
            swarm = Swarm.of(self.axes(place), self.kernel, displacements)
            if not values and any(map(place.is_padded, self.lattice)):
                values = [self.real(place, jnp.ones_like(displacements[0]))]
        meshes = place.painter.paint(swarm, values, guests, place.reproducible)
        return (*(poison(m, bad) for m in meshes), need)

    def vjp_all(self, cotangents, results, operands):
        b, given = current(), [(k, ct) for k, ct in enumerate(cotangents[:-1]) if ct is not None]
        moved, values = operands[: self.rank], operands[self.rank :]
        fields = [ct for _, ct in given]
        found: list[Any] = [None] * len(operands)
        if not fields:
            return tuple(found)
        shared = self.shared()
        weighing = [values[k] for k, _ in given] if values else []
        slopes_of = ReadSlopes(*shared, count=len(fields), weighed=bool(weighing))
        found[: self.rank] = b.emit_all(slopes_of, *moved, *fields, *weighing)
        if values:
            read = b.emit_all(Read(*shared, count=len(fields)), *moved, *fields)
            for (k, _), value in zip(given, read, strict=False):
                found[self.rank + k] = value
        return fit(found, operands)

    @classmethod
    def examples(cls):
        return [
            (cls(*case, weights=n), (*moved, *[moved[0]] * n)) for case, moved, _ in _examples() for n in (0, 1)
        ] + [(cls(*case, weights=2), (*moved, *[moved[0]] * 2)) for case, moved, _ in _examples()[:1]]


@dataclass(frozen=True)
class Reading(Particles):
    """What is read from a mesh for particles. The mesh's dims are split as the lattice's are."""

    def follows(self):
        return {m: n for m, n in self.pairs().items() if m != n}

    @abstractmethod
    def at(self, place: Place, swarm: Swarm, fields: list[Any], own: list[Any], guests: list[Any]) -> Any:
        """What is read for the lattice's particles, with their values, and for their guests."""

    def read(self, place: Place, displacements: Any, fields: Any, values: Any) -> tuple[tuple[jax.Array, ...], Any]:
        """(what is read for the block's particles, `need`)."""
        displacements, fields = [self.real(place, d) for d in displacements], list(fields)
        if place.method != MIGRATE:
            need, bad = self.stay(place, displacements)
            swarm = Swarm.of(self.axes(place), self.kernel, displacements)
            return tuple(poison(x, bad) for x in self.at(place, swarm, fields, list(values), [])[0]), need
        moved, need = self.migrate(place, displacements, values)
        given = fields, list(values), list(moved.guests.values)
        own, guests = self.at(place, moved.swarm(displacements), *given)
        home = moved.home([x.reshape(-1) for x in own], guests)
        return tuple(poison(x.reshape(displacements[0].shape), moved.bad) for x in home), need


@dataclass(frozen=True)
class Read(Reading):
    """The values of `count` fields at the particles.

    Operands: displacements, then fields. Results: their values, and `need`.
    """

    count: int = 1
    name: ClassVar[str] = "read"

    def fields(self, count):
        return range(self.rank, count)

    def brought(self):
        return self.count

    def results(self, *operands):
        if len(operands) != self.rank + self.count:
            message = f"reading {self.count} field(s) of {self.rank} dims needs {self.rank + self.count} operands"
            raise Diagnostic("type", message)
        self.check(*operands)
        return (*[self.on_lattice(*operands)] * self.count, self.need(*operands))

    def one(self, place, *arrays):
        found, need = self.read(place, arrays[: self.rank], arrays[self.rank :], ())
        return (*found, need)

    def at(self, place, swarm, fields, own, guests):
        return place.painter.read(swarm, fields)

    def vjp_all(self, cotangents, results, operands):
        b, given = current(), [(k, ct) for k, ct in enumerate(cotangents[:-1]) if ct is not None]
        moved, fields = operands[: self.rank], operands[self.rank :]
        found: list[Any] = [None] * len(operands)
        if not given:
            return tuple(found)
        shared, values = self.shared(), [ct for _, ct in given]
        found[: self.rank] = b.emit_all(
            ReadSlopes(*shared, count=len(given), weighed=True), *moved, *(fields[k] for k, _ in given), *values
        )
        painted = b.emit_all(Paint(*shared, weights=len(given)), *moved, *values)
        for (k, _), value in zip(given, painted, strict=False):
            found[self.rank + k] = value
        return fit(found, operands)

    @classmethod
    def examples(cls):
        cases = [(cls(*case, count=1), (*moved, field)) for case, moved, field in _examples()]
        case, moved, field = _examples()[0]
        return [*cases, (cls(*case, count=2), (*moved, field, field))]


@dataclass(frozen=True)
class ReadSlopes(Reading):
    """By dim of the mesh, what moving each particle would change in the sum of fields times values there.

    Operands: displacements, `count` fields and, if `weighed`, as many tensors on the lattice (else 1). The gradient of
    `Paint` and `Read` in the displacements.
    """

    count: int = 1
    weighed: bool = False
    name: ClassVar[str] = "read_slopes"

    def fields(self, count):
        return range(self.rank, self.rank + self.count)

    def brought(self):
        return self.rank

    def results(self, *operands):
        wanted = self.rank + self.count * (1 + self.weighed)
        if len(operands) != wanted:
            raise Diagnostic("type", f"the slopes of {self.count} field(s) need {wanted} operands, not {len(operands)}")
        self.check(*operands)
        return (self.on_lattice(*operands),) * self.rank

    def one(self, place, *arrays):
        first = self.rank + self.count
        return self.read(place, arrays[: self.rank], arrays[self.rank : first], arrays[first:])[0]

    def at(self, place, swarm, fields, own, guests):
        return place.painter.read_slopes(swarm, fields, own, guests)

    def vjp_all(self, cotangents, results, operands):
        raise InternalError("second derivatives of a particle's position are not in the graph")

    @classmethod
    def examples(cls):
        found = []
        for case, moved, field in _examples():
            found += [(cls(*case), (*moved, field)), (cls(*case, weighed=True), (*moved, field, moved[0]))]
        return found


def fit(found: list[Any], operands: Any) -> tuple[Any, ...]:
    """Cotangents summed over the batch dims that an operand does not have."""
    from .reduce import unbroadcast

    return tuple(None if v is None else unbroadcast(v, x.type) for v, x in zip(found, operands, strict=True))


def _examples() -> list[tuple[tuple[Any, ...], tuple[TensorType, ...], TensorType]]:
    """(parameters, displacements, field): a lattice that is the mesh, one coarser than the mesh, a plane."""
    x, y, z = Dim("x", 16), Dim("y", 31), Dim("z", 5)
    box, half = TensorType((x, y, z), "f64"), TensorType((Dim("p", 8), Dim("q", 6)), "f64")
    fine = (Dim("x", 16), Dim("y", 9))
    line = TensorType((x,), "f64")
    return [
        ((("x", "y", "z"), (x, y, z), "cic", 3, 2), (box,) * 3, box),
        ((("p", "q"), fine, "tsc", 2, 2), (half,) * 2, TensorType(fine, "f64")),
        ((("x",), (x,), "pcs", 2, 4), (line,), line),
        ((("x",), (x,), "ngp", 2, 2), (line,), line),
    ]
