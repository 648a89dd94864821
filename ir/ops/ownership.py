"""Who paints and reads a particle: what the ops of particles share, and the two ways in which devices own particles.

A particle belongs to a point of a lattice (for all time: its Lagrangian place) and stands at that point plus its
displacement, in cells of the mesh. The lattice's dims are split over devices and so are the mesh's, alike. A particle
that has left its device's part of the mesh is reached in one of two ways, which a strategy's method says:

    halo     (method "") it stays, and a halo `reach` cells wide is exchanged or spilled
    migrate  it is handed to the device in whose part it stands, which paints or reads for it with a halo as wide as the
             kernel, and what was read is handed back (`ir.migration`); values stay at their lattice points in any case

None is ever lost in silence: everything that an op makes on a device that cannot hold what it should is NaN, and the
ops' result `need` [~need] tells the most that was needed:

    load   the largest share of what the method can hold; above 1 is too much. halo: |d| / reach along the dims that are
           split; migrate: |d| / (cells of the smallest block), and `fill`
    cells  |d| along any dim [cells of the mesh]: with more room a plan may split others
    fill   (particles that leave through one face) / (slots of its buffer); -1 where the method is halo
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import mul
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..assign import CELLS, Axis, beyond, first_cells
from ..dims import Dim, TensorType, union
from ..errors import Diagnostic
from ..layout import Layout, Move, block
from ..migration import Group, Hop, Migration, hops_of
from ..op import Op, Reach, Whole
from ..place import Place, align

MIGRATE = "migrate"
OWNERSHIPS = ("auto", "halo", "migrate")
NEED = Dim("~need", 3)
"""load, cells, fill"""

COMPACTION = 48.0
"""Bytes a particle and hop: its cell read, and to either side a running count written and read, level by level."""


@dataclass(frozen=True)
class Particles(Op):
    """What the ops share. `lattice[i]` is the lattice's dim along the mesh's `mesh[i]`; the two may be the same.

    The first operands are the displacements along the dims of the mesh, in order. Further dims (chains) are a batch.
    """

    lattice: tuple[str, ...]
    mesh: tuple[Dim, ...]
    kernel: str
    reach: int
    """halo: by how many cells a particle may have left its place along a dim that is split."""
    capacity: int
    """migrate: through a face of a block go at most as many particles as this many layers of the lattice have."""
    ownership: str = "auto"
    """"halo" or "migrate" where a plan may not choose."""

    # --- types ---

    @property
    def rank(self) -> int:
        return len(self.mesh)

    def check(self, *operands: TensorType) -> None:
        if self.kernel not in CELLS:
            raise Diagnostic("type", f"unknown kernel '{self.kernel}'", hint=f"kernels are {', '.join(CELLS)}")
        if self.ownership not in OWNERSHIPS:
            hint = f"choose from {', '.join(OWNERSHIPS)}"
            raise Diagnostic("type", f"unknown ownership of particles '{self.ownership}'", hint=hint)
        if len(self.lattice) != self.rank or len(operands) < self.rank:
            message = f"{self.name} onto {self.rank} dims needs {self.rank} displacements and as many lattice dims"
            raise Diagnostic("type", message)
        if self.reach < 1:
            raise Diagnostic("type", f"reach must be 1 cell or more, not {self.reach}")
        if self.capacity < 1:
            raise Diagnostic("type", f"capacity must be 1 layer of the lattice or more, not {self.capacity}")
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
        """Which of so many operands lie on the mesh; those after the displacements that do not, particles carry."""

    @abstractmethod
    def brought(self) -> int:
        """How many numbers are read for a particle."""

    def batch(self, *operands: TensorType) -> tuple[Dim, ...]:
        """The dims beside lattice and mesh."""
        own = {*self.lattice, *(d.name for d in self.mesh)}
        return tuple(d for d in union(*(t.without(own) for t in operands)))

    def on_lattice(self, *operands: TensorType) -> TensorType:
        sizes = operands[0].sizes
        return TensorType((*self.batch(*operands), *(Dim(n, sizes[n]) for n in self.lattice)), operands[0].dtype)

    def on_mesh(self, *operands: TensorType) -> TensorType:
        return TensorType((*self.batch(*operands), *self.mesh), operands[0].dtype)

    def need(self, *operands: TensorType) -> TensorType:
        return TensorType((*self.batch(*operands), NEED), operands[0].dtype)

    def result(self, *operands):
        return self.results(*operands)[0]

    # --- where it may run ---

    def methods(self):
        return ("",) if self.ownership == "halo" else ("", MIGRATE)

    def width(self, method: str) -> int:
        """Of the halo."""
        return beyond(self.kernel) + (0 if method == MIGRATE else self.reach)

    def roles(self, *operands):
        least = beyond(self.kernel)  # in either way
        found = {n: Reach(1) for n in self.lattice} | {m.name: Reach(least) for m in self.mesh}
        return found | ({NEED.name: Whole()} if any(NEED in t.dims for t in self.results(*operands)) else {})

    def pairs(self) -> dict[str, str]:
        """By dim of the mesh, the lattice's."""
        return {m.name: n for n, m in zip(self.lattice, self.mesh, strict=True)}

    def illegal(self, operands, strategy, mesh):
        sizes, split, width = operands[0].sizes, strategy.split, self.width(strategy.method)
        if strategy.method not in self.methods():
            return f"{self.name} knows no method '{strategy.method}' where particles are owned by {self.ownership}"
        held = any(n in split for n in self.lattice)
        if strategy.method == MIGRATE and not held:
            return f"no particle of {self.name} leaves a device where the lattice is whole"
        if self.ownership == MIGRATE and held and strategy.method != MIGRATE:
            return f"{self.name} is asked to have its particles migrate"
        for m, n in zip(self.mesh, self.lattice, strict=True):
            parts = mesh.size(split.get(n, ()))
            if parts == 1:
                continue
            points, cells = block(sizes[n], parts), block(m.size, parts)
            if points * m.size != cells * sizes[n]:
                return f"{parts} blocks of the lattice along '{n}' and of the mesh along '{m.name}' do not line up"
            if m.size - (parts - 1) * cells < width:
                return f"{self.name} reaches {width} cells, more than the smallest of {parts} blocks of '{m.name}'"
        return super().illegal(operands, strategy, mesh)

    def walk_splits(self, strategy):
        """The mesh dims that are split, with the axes and how much wider a block is along the ones before."""
        wider, width = tuple[tuple[str, int], ...](), self.width(strategy.method)
        for m, n in zip(self.mesh, self.lattice, strict=True):
            if axes := strategy.split.get(n, ()):
                yield m.name, axes, wider
                wider = (*wider, (m.name, width))

    def halos(self, operands, strategy):
        fields, width = self.fields(len(operands)), self.width(strategy.method)
        return tuple(
            (i, Move("halo", axes, source=dim, width=width, wider=wider))
            for i in fields
            for dim, axes, wider in self.walk_splits(strategy)
        )

    def passes(self, operands, strategy, mesh):
        """Out with where particles stand and what they carry, back with what was read for them."""
        if strategy.method != MIGRATE:
            return ()
        fields, dtype = self.fields(len(operands)), operands[0].dtype
        out = self.batch(*(t for i, t in enumerate(operands) if i not in fields))
        hops, found = self.hops(operands, strategy.split, mesh), []
        for hop in hops:
            rows = hop.rows(len(operands) - self.rank - len(fields))
            found.append(self._pass(hop, out, rows, hop.slots, "i32" if dtype == "f32" else "i64", strategy))
        if self.brought():
            batch = self.batch(*operands)
            found += [self._pass(h, batch, self.brought(), h.slots, dtype, strategy) for h in reversed(hops)]
        return tuple(found)

    def _pass(self, hop: Hop, batch: tuple[Dim, ...], rows: int, slots: int, dtype: str, strategy):
        t = TensorType((*batch, Dim("~row", rows), Dim("~slot", slots)), dtype)
        layout = Layout.of({d.name: strategy.split[d.name] for d in batch if d.name in strategy.split})
        return t, layout, Move("pass", strategy.split[self.lattice[hop.along]], source=self.mesh[hop.along].name)

    def hops(self, operands, split, mesh) -> tuple[Hop, ...]:
        """The ways on which particles migrate."""
        parts = [mesh.size(split.get(n, ())) for n in self.lattice]
        shape = [block(operands[0][n], p) for n, p in zip(self.lattice, parts, strict=True)]
        points = reduce(mul, shape, 1)
        slots = [max(1, min(points, self.capacity * (points // max(n, 1)))) for n in shape]
        bits = 8 * operands[0].itemsize
        return hops_of(self._axes(parts, [np.zeros(0, np.int64)] * self.rank, [1] * self.rank, MIGRATE), slots, bits)

    # --- what it costs ---

    def bytes_touched(self, operands):
        lattice, mesh = self.on_lattice(*operands), self.on_mesh(*operands)
        fields = len(self.fields(len(operands)))
        others = len(operands) - fields + len(self.results(*operands)) - 1
        touched = lattice.size * (others + CELLS[self.kernel] ** self.rank) + mesh.size * max(fields, 1)
        return float(touched * lattice.itemsize)

    def room(self, operands, strategy, mesh):
        """Further, a number a particle for its first cell and one for what is added or found there.

        Of migration, by particle and by guest where they stand, what they carry and what is read for them; and the
        buffers of one hop, filled and received.
        """
        split, t = strategy.split, self.on_lattice(*operands)
        particles = reduce(mul, [block(d.size, mesh.size(split.get(d.name, ()))) for d in t.dims], 1)
        found = super().room(operands, strategy, mesh) + float(particles * (4 + t.itemsize))
        if strategy.method != MIGRATE or not (hops := self.hops(operands, split, mesh)):
            return found
        batch = reduce(mul, [block(d.size, mesh.size(split.get(d.name, ()))) for d in self.batch(*operands)], 1)
        carried = len(operands) - self.rank - len(self.fields(len(operands)))
        guests, stand = 2 * sum(h.slots for h in hops), self.rank * (4 + t.itemsize)
        buffers = max(2 * h.slots * h.rows(carried) for h in hops) * 2 * t.itemsize
        of_guests = guests * (stand + (carried + self.brought()) * t.itemsize)
        return found + float(particles * stand + batch * (of_guests + buffers))

    def further_bytes(self, operands, strategy, mesh):
        """The halo of the mesh's blocks, written and read; of migration the compaction and the buffers too."""
        split, width = strategy.split, self.width(strategy.method)
        batch = reduce(mul, [block(d.size, mesh.size(split.get(d.name, ()))) for d in self.batch(*operands)], 1)
        parts = [mesh.size(split.get(n, ())) for n in self.lattice]
        cells = [block(m.size, p) for m, p in zip(self.mesh, parts, strict=True)]
        wide = [n + 2 * width if p > 1 else n for n, p in zip(cells, parts, strict=True)]
        meshes = max(1, len(self.fields(len(operands))), len(self.results(*operands)) - 1 - self.brought())
        found = 2.0 * meshes * operands[0].itemsize * (reduce(mul, wide, 1) - reduce(mul, cells, 1)) * batch
        if strategy.method != MIGRATE:
            return found
        points = reduce(mul, [block(operands[0][n], p) for n, p in zip(self.lattice, parts, strict=True)], 1)
        found += COMPACTION * points * len(self.hops(operands, split, mesh)) * batch
        for t, layout, _ in self.passes(operands, strategy, mesh):  # two of them, each written, read and taken apart
            size = t.size * t.itemsize
            for d, axes in layout.splits:
                size = size // t[d] * block(t[d], mesh.size(axes))
            found += 8.0 * size
        return found

    def flops(self, *operands):
        lattice = self.on_lattice(*operands)
        return float(
            lattice.size * CELLS[self.kernel] ** self.rank * (self.rank + 1) * max(1, len(operands) - self.rank)
        )

    # --- gradient ---

    def shared(self) -> tuple[Any, ...]:
        """The fields that ops on the same particles have in common."""
        return self.lattice, self.mesh, self.kernel, self.reach, self.capacity, self.ownership

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
            f = place.vmap(f, tuple(0 if d.name in t else None for t in place.operands))
        made = f(*arrays)
        return tuple(made)

    @abstractmethod
    def one(self, place: Place, *arrays: Any) -> tuple[Any, ...]:
        """The results of a single lattice and mesh."""

    def axes(self, place: Place) -> list[Axis]:
        pairs = zip(self.lattice, self.mesh, strict=True)
        points = [np.arange(place.extent(n), dtype=np.int64) * m.size for n, m in pairs]
        sizes = [place.sizes[n] for n in self.lattice]
        return self._axes([place.parts(n) for n in self.lattice], points, sizes, place.method)

    def _axes(self, parts: list[int], points: list[np.ndarray], sizes: list[int], method: str) -> list[Axis]:
        margin = self.width(method)
        along = zip(self.mesh, parts, points, sizes, strict=True)
        tail = CELLS[self.kernel] - 1
        return [Axis(block(m.size, p), q, n, margin if p > 1 else None, tail) for m, p, q, n in along]

    def real(self, place: Place, x: jax.Array) -> jax.Array:
        """Values on the lattice, 0 for its padding."""
        return place.select(x, self.lattice, 0)

    def stay(self, place: Place, displacements: Any) -> tuple[jax.Array, jax.Array]:
        """Of particles that no device hands on `need`, and whether that is too much."""
        load = self._farthest(place, displacements, [self.reach] * self.rank)
        cells = _most(displacements, [1] * self.rank)
        return jnp.stack([load, cells, jnp.full_like(load, -1)]), ~(load <= 1)

    def migrate(self, place: Place, displacements: Any, carried: Any) -> tuple[Migration, jax.Array]:
        """The particles of the block handed on, with the values that they carry; `need`."""
        axes, dims = self.axes(place), [m.name for m in self.mesh]
        smallest = [m.size - (place.parts(m.name) - 1) * a.cells for m, a in zip(self.mesh, axes, strict=True)]
        load = self._farthest(place, displacements, smallest)
        found = [first_cells(a, d, self.kernel, i) for i, (a, d) in enumerate(zip(axes, displacements, strict=True))]
        here = place.select(jnp.ones(displacements[0].shape, bool), self.lattice, False)
        flat = lambda xs: tuple(x.reshape(-1) for x in xs)  # noqa: E731
        own = Group(flat(c for c, _ in found), flat(t for _, t in found), flat(carried), here.reshape(-1))
        hops = self.hops(place.operands, place.split, place.mesh)
        moved = Migration(place, axes, dims, self.kernel, hops).out(own, load)
        cells = _most(displacements, [1] * self.rank)
        return moved, jnp.stack([jnp.maximum(load, moved.fill), cells, moved.fill])

    def _farthest(self, place: Place, displacements: Any, most: list[int]) -> Any:
        """How far the farthest particle of the block has gone along a split dim, as a share of `most` [cells]."""
        along = zip(displacements, most, self.lattice, strict=True)
        moved = [(d, m) for d, m, n in along if place.parts(n) > 1]
        return _most(*zip(*moved, strict=True)) if moved else jnp.zeros((), displacements[0].dtype)


def _most(displacements: Sequence[jax.Array], units: Sequence[int]) -> jax.Array:
    """The largest number of a block in these units, by dim; infinite where one is no number."""
    number = displacements[0].dtype.type
    each = zip(displacements, units, strict=True)
    found = reduce(jnp.maximum, [jnp.max(jnp.abs(d), initial=0) / number(m) for d, m in each])
    return jnp.where(found <= jnp.inf, found, number(jnp.inf))  # a maximum over devices may leave out NaN


def poison(x: jax.Array, bad: jax.Array) -> jax.Array:
    """x, or NaN where particles were lost."""
    return jnp.where(bad, x.dtype.type(np.nan), x)


__all__ = ["MIGRATE", "OWNERSHIPS", "Particles", "poison"]
