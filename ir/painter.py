"""How the particles of a block are painted onto its part of a mesh and read from it.

`Painter` is the reference, of XLA's scatters and gathers. A backend may give a `Place` another one, which says the same
within rounding; what goes between devices, and whether particles are lost, is no matter of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import mul
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .assign import Axis, Cells, fold_tails, slopes, weights, with_tails
from .flat import added, taken

Arrays = Sequence[jax.Array]


class Swarm(NamedTuple):
    """Particles and the block of a mesh that they stand in."""

    axes: Sequence[Axis]
    kernel: str
    displacements: Arrays
    """By dim of the mesh [cells], of the lattice's shape."""
    cells: Arrays
    """Of further particles, its guests: by dim their first cells from the block's first one, i32 [guest]."""
    t: Arrays
    """By dim, their places in the middle of their cells."""

    @classmethod
    def of(cls, axes: Sequence[Axis], kernel: str, displacements: Arrays) -> Swarm:
        """Without guests."""
        none = lambda dtype: [jnp.zeros((0,), dtype)] * len(axes)  # noqa: E731
        return cls(axes, kernel, displacements, none(jnp.int32), none(displacements[0].dtype))

    def groups(self) -> Iterator[Cells]:
        """The cells of the lattice's particles and, if there are any, of the guests."""
        yield Cells.of(self.axes, self.displacements, self.kernel)
        if self.t[0].size:
            yield Cells(self.axes, self.kernel, self.cells, self.t)


class Painter:
    """The reference. Meshes and fields are blocks with the margins of split dims.

    Values: by mesh, those of the lattice's particles, and those of its guests.
    """

    def paint(self, swarm: Swarm, own: Arrays, guests: Arrays, reproducible: bool = False) -> list[jax.Array]:
        """As many meshes as there are values; one, to which each particle adds 1, without.

        reproducible: the same bits whenever it runs, on every device.
        """
        shape, dtype = tuple(a.extent for a in swarm.axes), swarm.displacements[0].dtype
        meshes = [jnp.zeros((reduce(mul, shape, 1),), dtype)] * max(1, len(own))
        for cells, values in zip(swarm.groups(), (own, guests), strict=False):
            values = values or [jnp.ones_like(cells.t[0])]
            shares = [weights(t, swarm.kernel) for t in cells.t]

            def add(meshes, at, picked, shares=shares, values=values):
                part = reduce(jnp.multiply, picked(shares))
                return [added(m, at, part * v) for m, v in zip(meshes, values, strict=True)]

            meshes = cells.over(add, meshes)
        return [fold_tails(m.reshape(shape), swarm.axes) for m in meshes]

    def read(self, swarm: Swarm, fields: Arrays) -> tuple[list[jax.Array], list[jax.Array]]:
        """By field, its values at the lattice's particles and at its guests."""

        def at(cells: Cells, fields: Arrays, _: Arrays) -> list[jax.Array]:
            shares = [weights(t, swarm.kernel) for t in cells.t]

            def add(found, at, picked):
                part = reduce(jnp.multiply, picked(shares))
                return [x + part * taken(f, at) for x, f in zip(found, fields, strict=True)]

            return cells.over(add, [jnp.zeros_like(cells.t[0])] * len(fields))

        return self._of_groups(at, swarm, fields, (), ())

    def read_slopes(
        self, swarm: Swarm, fields: Arrays, own: Arrays, guests: Arrays
    ) -> tuple[list[jax.Array], list[jax.Array]]:
        """By dim, what moving a particle changes in the sum of fields times its values, or of fields without values."""

        def at(cells: Cells, fields: Arrays, values: Arrays) -> list[jax.Array]:
            shares, steep = ([f(t, swarm.kernel) for t in cells.t] for f in (weights, slopes))
            rank = len(shares)

            def add(found, at, picked):
                terms = [taken(f, at) for f in fields]
                terms = [x * v for x, v in zip(terms, values, strict=True)] if values else terms
                held, part, slope = reduce(jnp.add, terms), picked(shares), picked(steep)
                parts = [[slope[a] if a == i else w for a, w in enumerate(part)] for i in range(rank)]
                return [x + held * reduce(jnp.multiply, p) for x, p in zip(found, parts, strict=True)]

            return cells.over(add, [jnp.zeros_like(cells.t[0])] * rank)

        return self._of_groups(at, swarm, fields, own, guests)

    def _of_groups(
        self, at: Callable[..., list[jax.Array]], swarm: Swarm, fields: Arrays, own: Arrays, guests: Arrays
    ) -> tuple[list[Any], list[Any]]:
        fields = [with_tails(f, swarm.axes).reshape(-1) for f in fields]
        found = [at(cells, fields, values) for cells, values in zip(swarm.groups(), (own, guests), strict=False)]
        return found[0], found[1] if len(found) > 1 else [jnp.zeros((0,), x.dtype) for x in found[0]]


XLA = Painter()

__all__ = ["XLA", "Arrays", "Painter", "Swarm"]
