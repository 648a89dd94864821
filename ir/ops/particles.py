"""Particles that move away from a lattice, and a mesh: painting onto it, reading from it, and their gradients.

A particle belongs to a point of a lattice (for all time: its Lagrangian place) and stands at that point plus its
displacement, in cells of the mesh. The lattice's dims are split over devices and so are the mesh's, alike; particles
that have left their device's part of the mesh are reached by a halo `reach` cells wide. One that has gone farther along
a split dim is never lost in silence: everything that the op makes there is NaN, and its result `farthest` tells how far
the farthest particle has gone along the dims that are split.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import reduce
from operator import mul
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ..assign import CELLS, Axis, Cells, beyond, slopes, weights
from ..build import current
from ..dims import Dim, TensorType, union
from ..errors import Diagnostic, InternalError
from ..layout import Move, block
from ..op import Op, Reach
from ..place import Place, align


@dataclass(frozen=True)
class Particles(Op):
    """What the ops share. `lattice[i]` is the lattice's dim along the mesh's `mesh[i]`; the two may be the same.

    The first operands are the displacements along the dims of the mesh, in order. Further dims (chains) are a batch.
    """

    lattice: tuple[str, ...]
    mesh: tuple[Dim, ...]
    kernel: str
    reach: int
    """By how many cells a particle may have left its place along a dim that is split."""

    # --- types ---

    @property
    def rank(self) -> int:
        return len(self.mesh)

    @property
    def width(self) -> int:
        """Of the halo."""
        return self.reach + beyond(self.kernel)

    def check(self, *operands: TensorType) -> None:
        if self.kernel not in CELLS:
            raise Diagnostic("type", f"unknown kernel '{self.kernel}'", hint=f"kernels are {', '.join(CELLS)}")
        if len(self.lattice) != self.rank or len(operands) < self.rank:
            message = f"{self.name} onto {self.rank} dims needs {self.rank} displacements and as many lattice dims"
            raise Diagnostic("type", message)
        if self.reach < 1:
            raise Diagnostic("type", f"reach must be 1 cell or more, not {self.reach}")
        for i, t in enumerate(operands):
            if not t.is_real or t.dtype != operands[0].dtype:
                raise Diagnostic("type", f"{self.name} needs real operands of one dtype, but operand {i + 1} is {t}")
            wanted = [d.name for d in self.mesh] if i in self.fields(len(operands)) else self.lattice
            for dim in wanted:
                if dim not in t:
                    raise Diagnostic("type", f"operand {i + 1} of {self.name} lacks dim '{dim}': it is {t}")
        for d in self.mesh:
            for i in self.fields(len(operands)):
                if operands[i][d.name] != d.size:
                    raise Diagnostic("type", f"the mesh has {d.size} cells along '{d.name}', a field {operands[i]}")

    @abstractmethod
    def fields(self, count: int) -> range:
        """Which of so many operands lie on the mesh."""

    def batch(self, *operands: TensorType) -> tuple[Dim, ...]:
        """The dims beside lattice and mesh."""
        own = {*self.lattice, *(d.name for d in self.mesh)}
        return tuple(d for d in union(*(t.without(own) for t in operands)))

    def on_lattice(self, *operands: TensorType) -> TensorType:
        sizes = operands[0].sizes
        return TensorType((*self.batch(*operands), *(Dim(n, sizes[n]) for n in self.lattice)), operands[0].dtype)

    def on_mesh(self, *operands: TensorType) -> TensorType:
        return TensorType((*self.batch(*operands), *self.mesh), operands[0].dtype)

    def farthest(self, *operands: TensorType) -> TensorType:
        return TensorType(self.batch(*operands), operands[0].dtype)

    def result(self, *operands):
        return self.results(*operands)[0]

    # --- where it may run ---

    def roles(self, *operands):
        return {d: Reach(self.width) for d in (*self.lattice, *(m.name for m in self.mesh))}

    def pairs(self) -> dict[str, str]:
        """By dim of the mesh, the lattice's."""
        return {m.name: n for n, m in zip(self.lattice, self.mesh, strict=True)}

    def illegal(self, operands, strategy, mesh):
        sizes, split = operands[0].sizes, strategy.split
        for m, n in zip(self.mesh, self.lattice, strict=True):
            axes = split.get(n, ())
            if len(self.fields(len(operands))) and split.get(m.name, ()) != axes:
                return f"{self.name} needs lattice dim '{n}' and mesh dim '{m.name}' split alike"
            parts = mesh.size(axes)
            if parts == 1:
                continue
            points, cells = block(sizes[n], parts), block(m.size, parts)
            if points * m.size != cells * sizes[n]:
                return f"{parts} blocks of the lattice along '{n}' and of the mesh along '{m.name}' do not line up"
            if m.size - (parts - 1) * cells < self.width:
                return f"{self.name} reaches {self.width} cells, more than the smallest of {parts} blocks of '{m.name}'"
        return super().illegal(operands, strategy, mesh)

    def walk_splits(self, strategy):
        """The mesh dims that are split, with the axes and how much wider a block is along the ones before."""
        wider: tuple[tuple[str, int], ...] = ()
        for m, n in zip(self.mesh, self.lattice, strict=True):
            if axes := strategy.split.get(n, ()):
                yield m.name, axes, wider
                wider = (*wider, (m.name, self.width))

    def halos(self, operands, strategy):
        fields = self.fields(len(operands))
        return tuple(
            (i, Move("halo", axes, source=dim, width=self.width, wider=wider))
            for i in fields
            for dim, axes, wider in self.walk_splits(strategy)
        )

    def bytes_touched(self, operands):
        lattice, mesh = self.on_lattice(*operands), self.on_mesh(*operands)
        fields = len(self.fields(len(operands)))
        others = len(operands) - fields + len(self.results(*operands)) - 1
        touched = lattice.size * (others + CELLS[self.kernel] ** self.rank) + mesh.size * max(fields, 1)
        return float(touched * lattice.itemsize)

    def flops(self, *operands):
        lattice = self.on_lattice(*operands)
        return float(
            lattice.size * CELLS[self.kernel] ** self.rank * (self.rank + 1) * max(1, len(operands) - self.rank)
        )

    # --- gradient ---

    def vjp(self, cotangent, result, *operands):
        others = len(self.results(*(v.type for v in operands))) - 1
        return self.vjp_all((cotangent, *[None] * others), (result,), operands)

    # --- what it computes ---

    def local(self, place, *blocks):
        """Batches one after the other by `vmap`; each is a matter of lattice and mesh alone."""
        batch, fields = self.batch(*place.operands), self.fields(len(blocks))
        arrays = []
        for i, (b, t) in enumerate(zip(blocks, place.operands, strict=True)):
            own = tuple(d.name for d in self.mesh) if i in fields else self.lattice
            arrays.append(align(b, t.names, (*(d.name for d in batch if d.name in t), *own)))
        f = lambda *xs: self.one(place, *xs)  # noqa: E731
        for d in reversed(batch):
            f = jax.vmap(f, in_axes=tuple(0 if d.name in t else None for t in place.operands))
        made = f(*arrays)
        return tuple(made)

    @abstractmethod
    def one(self, place: Place, *arrays: Any) -> tuple[Any, ...]:
        """The results of a single lattice and mesh."""

    def axes(self, place: Place) -> list[Axis]:
        found = []
        for n, m in zip(self.lattice, self.mesh, strict=True):
            parts = place.parts(n)
            points = np.arange(place.extent(n), dtype=np.int64) * m.size
            margin = self.width if parts > 1 else None
            found.append(Axis(block(m.size, parts), points, place.sizes[n], margin))
        return found

    def real(self, place: Place, x: jax.Array) -> jax.Array:
        """Values on the lattice, 0 for its padding."""
        return place.select(x, self.lattice, 0)

    def gone(self, place: Place, displacements: Any) -> Any:
        """How far the farthest particle of the block has gone along a split dim."""
        moved = [d for d, n in zip(displacements, self.lattice, strict=True) if place.parts(n) > 1]
        if not moved:
            return jnp.zeros((), displacements[0].dtype)
        return reduce(jnp.maximum, [jnp.max(jnp.abs(d), initial=0) for d in moved])


def _poison(x: jax.Array, farthest: jax.Array, reach: int) -> jax.Array:
    """x, or NaN where a particle was out of reach."""
    return jnp.where(farthest <= reach, x, x.dtype.type(np.nan))


@dataclass(frozen=True)
class Paint(Particles):
    """Adds particles to a mesh: one of mass 1 each or, with `weights` of them on the lattice, as many meshes.

    Operands: displacements, then weights. Results: the meshes, and `farthest`. A mesh without displacements and of the
    lattice's size holds the weights themselves.
    """

    weights: int = 0
    name: ClassVar[str] = "paint"

    def fields(self, count):
        return range(0)

    def results(self, *operands):
        if len(operands) != self.rank + self.weights:
            message = f"paint onto {self.rank} dims with {self.weights} weight(s) got {len(operands)} operands"
            raise Diagnostic("type", message)
        self.check(*operands)
        return (*[self.on_mesh(*operands)] * max(1, self.weights), self.farthest(*operands))

    def renames(self):
        return {n: m for m, n in self.pairs().items() if n != m}

    def spills(self, operands, strategy):
        found = []
        for k in range(max(1, self.weights)):
            found += [
                (k, Move("spill", a, source=d, width=self.width, wider=w)) for d, a, w in self.walk_splits(strategy)
            ][::-1]
        return tuple(found)

    def one(self, place, *arrays):
        displacements = [self.real(place, d) for d in arrays[: self.rank]]
        values = [self.real(place, v) for v in arrays[self.rank :]]
        if not values:
            values = [self.real(place, jnp.ones_like(displacements[0]))]
        axes = self.axes(place)
        cells = Cells(axes, displacements, self.kernel)
        shares = [weights(t, self.kernel) for t in cells.t]
        size = reduce(mul, [a.extent for a in axes], 1)
        meshes = [jnp.zeros((size,), v.dtype) for v in values]
        for index, corner in cells.walk():
            part = reduce(jnp.multiply, [w[j] for w, j in zip(shares, corner, strict=True)])
            for k, v in enumerate(values):
                meshes[k] = meshes[k].at[index.ravel()].add((part * v).ravel(), mode="promise_in_bounds")
        gone = self.gone(place, displacements)
        shape = tuple(a.extent for a in axes)
        return (*(_poison(m.reshape(shape), gone, self.reach) for m in meshes), gone)

    def vjp_all(self, cotangents, results, operands):
        b, given = current(), [(k, ct) for k, ct in enumerate(cotangents[:-1]) if ct is not None]
        moved, values = operands[: self.rank], operands[self.rank :]
        fields = [ct for _, ct in given]
        found: list[Any] = [None] * len(operands)
        if not fields:
            return tuple(found)
        shared = (self.lattice, self.mesh, self.kernel, self.reach)
        weighing = [values[k] for k, _ in given] if values else []
        slopes_of = ReadSlopes(*shared, len(fields), bool(weighing))
        found[: self.rank] = b.emit_all(slopes_of, *moved, *fields, *weighing)
        if values:
            read = b.emit_all(Read(*shared, len(fields)), *moved, *fields)
            for (k, _), value in zip(given, read, strict=False):
                found[self.rank + k] = value
        return fit(found, operands)

    @classmethod
    def examples(cls):
        return [
            (cls(*case, weights=n), (*moved, *[moved[0]] * n)) for case, moved, _ in _examples() for n in (0, 1)
        ] + [(cls(*case, weights=2), (*moved, *[moved[0]] * 2)) for case, moved, _ in _examples()[:1]]


@dataclass(frozen=True)
class Read(Particles):
    """The values of `count` fields at the particles.

    Operands: displacements, then fields. Results: their values, and `farthest`.
    """

    count: int = 1
    name: ClassVar[str] = "read"

    def fields(self, count):
        return range(self.rank, count)

    def results(self, *operands):
        if len(operands) != self.rank + self.count:
            message = f"reading {self.count} field(s) of {self.rank} dims needs {self.rank + self.count} operands"
            raise Diagnostic("type", message)
        self.check(*operands)
        return (*[self.on_lattice(*operands)] * self.count, self.farthest(*operands))

    def one(self, place, *arrays):
        displacements = [self.real(place, d) for d in arrays[: self.rank]]
        cells = Cells(self.axes(place), displacements, self.kernel)
        shares = [weights(t, self.kernel) for t in cells.t]
        fields = [f.reshape(-1) for f in arrays[self.rank :]]
        found: list[Any] = [None] * self.count
        for index, corner in cells.walk():
            part = reduce(jnp.multiply, [w[j] for w, j in zip(shares, corner, strict=True)])
            for k, field in enumerate(fields):
                term = part * field.at[index].get(mode="promise_in_bounds")
                found[k] = term if found[k] is None else found[k] + term
        gone = self.gone(place, displacements)
        return (*(_poison(x, gone, self.reach) for x in found), gone)

    def vjp_all(self, cotangents, results, operands):
        b, given = current(), [(k, ct) for k, ct in enumerate(cotangents[:-1]) if ct is not None]
        moved, fields = operands[: self.rank], operands[self.rank :]
        found: list[Any] = [None] * len(operands)
        if not given:
            return tuple(found)
        shared, values = (self.lattice, self.mesh, self.kernel, self.reach), [ct for _, ct in given]
        found[: self.rank] = b.emit_all(
            ReadSlopes(*shared, len(given), True), *moved, *(fields[k] for k, _ in given), *values
        )
        painted = b.emit_all(Paint(*shared, len(given)), *moved, *values)
        for (k, _), value in zip(given, painted, strict=False):
            found[self.rank + k] = value
        return fit(found, operands)

    @classmethod
    def examples(cls):
        cases = [(cls(*case, count=1), (*moved, field)) for case, moved, field in _examples()]
        case, moved, field = _examples()[0]
        return [*cases, (cls(*case, count=2), (*moved, field, field))]


@dataclass(frozen=True)
class ReadSlopes(Particles):
    """By dim of the mesh, what moving each particle would change in the sum of fields times values there.

    Operands: displacements, `count` fields and, if `weighed`, as many tensors on the lattice (else 1). The gradient of
    `Paint` and `Read` in the displacements.
    """

    count: int = 1
    weighed: bool = False
    name: ClassVar[str] = "read_slopes"

    def fields(self, count):
        return range(self.rank, self.rank + self.count)

    def results(self, *operands):
        wanted = self.rank + self.count * (1 + self.weighed)
        if len(operands) != wanted:
            raise Diagnostic("type", f"the slopes of {self.count} field(s) need {wanted} operands, not {len(operands)}")
        self.check(*operands)
        return (self.on_lattice(*operands),) * self.rank

    def one(self, place, *arrays):
        displacements = [self.real(place, d) for d in arrays[: self.rank]]
        fields = [f.reshape(-1) for f in arrays[self.rank : self.rank + self.count]]
        values = arrays[self.rank + self.count :]
        cells = Cells(self.axes(place), displacements, self.kernel)
        shares = [weights(t, self.kernel) for t in cells.t]
        steep = [slopes(t, self.kernel) for t in cells.t]
        found: list[Any] = [None] * self.rank
        for index, corner in cells.walk():
            held = None
            for k, field in enumerate(fields):
                term = field.at[index].get(mode="promise_in_bounds")
                term = term * values[k] if values else term
                held = term if held is None else held + term
            for i in range(self.rank):
                parts = [(steep if a == i else shares)[a][j] for a, j in enumerate(corner)]
                term = held * reduce(jnp.multiply, parts)
                found[i] = term if found[i] is None else found[i] + term
        gone = self.gone(place, displacements)
        return tuple(_poison(x, gone, self.reach) for x in found)

    def vjp_all(self, cotangents, results, operands):
        raise InternalError("second derivatives of a particle's position are not in the graph")

    @classmethod
    def examples(cls):
        found = []
        for case, moved, field in _examples():
            found += [(cls(*case, 1, False), (*moved, field)), (cls(*case, 1, True), (*moved, field, moved[0]))]
        return found


def fit(found: list[Any], operands: Any) -> tuple[Any, ...]:
    """Cotangents summed over the batch dims that an operand does not have."""
    from .reduce import unbroadcast

    return tuple(None if v is None else unbroadcast(v, x.type) for v, x in zip(found, operands, strict=True))


def _examples() -> list[tuple[tuple[Any, ...], tuple[TensorType, ...], TensorType]]:
    """(parameters, displacements, field): a lattice that is the mesh, one coarser than the mesh, a plane."""
    x, y, z = Dim("x", 16), Dim("y", 15), Dim("z", 4)
    box, half = TensorType((x, y, z), "f64"), TensorType((Dim("p", 8), Dim("q", 6)), "f64")
    fine = (Dim("x", 16), Dim("y", 9))
    line = TensorType((x,), "f64")
    return [
        ((("x", "y", "z"), (x, y, z), "cic", 3), (box,) * 3, box),
        ((("p", "q"), fine, "tsc", 2), (half,) * 2, TensorType(fine, "f64")),
        ((("x",), (x,), "pcs", 2), (line,), line),
        ((("x",), (x,), "ngp", 2), (line,), line),
    ]
