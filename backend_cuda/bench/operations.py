"""The collectives of the table: the block of each, what one call does, what NumPy says of it, how many bytes it moves.

Sizes, counts and bus factors are those of nccl-tests: https://github.com/NVIDIA/nccl-tests, doc/PERFORMANCE.md. A bus
bandwidth is then what crosses the links of one rank per second, whatever the number of ranks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ir.mesh import Mesh

from ..halo import Edge
from ..lax_collectives import LaxCollectives

Blocks = Sequence[np.ndarray]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Operation(ABC):
    """A collective of all ranks of a mesh, which are numbered with its first axis major."""

    mesh: Mesh
    calls = 1
    """Collectives in a step."""
    sums = False
    in_place = False
    """Whether the result has the shape of the block, so that it may take its memory."""

    @property
    def ranks(self) -> int:
        return self.mesh.devices

    @abstractmethod
    def shape(self, elements: int) -> Shape | None:
        """A rank's block, of a message of at most so many elements; None where these are too few."""

    @abstractmethod
    def message(self, shape: Shape) -> int:
        """The elements that count as the size of the message: of the larger of a rank's operand and result."""

    def count(self, shape: Shape) -> int:
        """The elements of the call's argument: what a rank gives each other one, or all of them."""
        return math.prod(shape)

    @abstractmethod
    def factor(self, shape: Shape) -> float:
        """Bus bandwidth over algorithm bandwidth."""

    @abstractmethod
    def call(self, comm: LaxCollectives, x: jax.Array) -> jax.Array:
        """One call, of a rank's block."""

    def step(self, comm: LaxCollectives, x: jax.Array) -> jax.Array:
        """`calls` calls, each of what the one before it made, and a result like the block."""
        return self.call(comm, x)

    @abstractmethod
    def truth(self, blocks: Blocks) -> list[np.ndarray]:
        """The results of all ranks."""


class AllReduce(Operation):
    """The sum of all blocks, for each rank."""

    sums, in_place = True, True

    def shape(self, elements: int) -> Shape | None:
        return (elements,) if elements else None

    def message(self, shape: Shape) -> int:
        return math.prod(shape)

    def factor(self, shape: Shape) -> float:
        return 2 * (self.ranks - 1) / self.ranks

    def call(self, comm: LaxCollectives, x: jax.Array) -> jax.Array:
        return comm.all_reduce(x, self.mesh.names, "sum")

    def truth(self, blocks: Blocks) -> list[np.ndarray]:
        return [np.sum(blocks, axis=0, dtype=blocks[0].dtype)] * len(blocks)


class AllGather(Operation):
    """All blocks one behind the other. A step goes on with the first rank's, which costs a copy of it."""

    def shape(self, elements: int) -> Shape | None:
        return (elements // self.ranks,) if elements >= self.ranks else None

    def message(self, shape: Shape) -> int:
        return math.prod(shape) * self.ranks

    def factor(self, shape: Shape) -> float:
        return (self.ranks - 1) / self.ranks

    def call(self, comm: LaxCollectives, x: jax.Array) -> jax.Array:
        return comm.all_gather(x, self.mesh.names, 0)

    def step(self, comm: LaxCollectives, x: jax.Array) -> jax.Array:
        return self.call(comm, x)[: x.shape[0]]

    def truth(self, blocks: Blocks) -> list[np.ndarray]:
        return [np.concatenate(blocks)] * len(blocks)


class ReduceScatter(Operation):
    """A piece of the sum of all blocks for each rank. A step lays it over the block's first piece."""

    sums = True

    def shape(self, elements: int) -> Shape | None:
        return (elements // self.ranks * self.ranks,) if elements >= self.ranks else None

    def message(self, shape: Shape) -> int:
        return math.prod(shape)

    def count(self, shape: Shape) -> int:
        return math.prod(shape) // self.ranks

    def factor(self, shape: Shape) -> float:
        return (self.ranks - 1) / self.ranks

    def call(self, comm: LaxCollectives, x: jax.Array) -> jax.Array:
        return comm.reduce_scatter(x, self.mesh.names, 0)

    def step(self, comm: LaxCollectives, x: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice(x, self.call(comm, x), (np.int32(0),))

    def truth(self, blocks: Blocks) -> list[np.ndarray]:
        return list(np.split(np.sum(blocks, axis=0, dtype=blocks[0].dtype), len(blocks)))


class AllToAll(Operation):
    """The transpose of a distributed transform: [n a, n a, c] is split along the first axis, then along the second.

    A step goes there and back.
    """

    calls = 2

    def shape(self, elements: int) -> Shape | None:
        n = self.ranks
        if elements < n:
            return None
        a = _power_of_two((elements / n**2) ** (1 / 3))
        return a, n * a, elements // (n * a * a)

    def message(self, shape: Shape) -> int:
        return math.prod(shape)

    def count(self, shape: Shape) -> int:
        return math.prod(shape) // self.ranks

    def factor(self, shape: Shape) -> float:
        return (self.ranks - 1) / self.ranks

    def call(self, comm: LaxCollectives, x: jax.Array) -> jax.Array:
        return comm.all_to_all(x, self.mesh.names, 0, 1)

    def step(self, comm: LaxCollectives, x: jax.Array) -> jax.Array:
        return comm.all_to_all(self.call(comm, x), self.mesh.names, 1, 0)

    def truth(self, blocks: Blocks) -> list[np.ndarray]:
        return list(np.split(np.concatenate(blocks), len(blocks), axis=1))


class Permute(Operation):
    """Every block to the next rank."""

    in_place = True

    def shape(self, elements: int) -> Shape | None:
        return (elements,) if elements else None

    def message(self, shape: Shape) -> int:
        return math.prod(shape)

    def factor(self, shape: Shape) -> float:
        return 1.0

    def call(self, comm: LaxCollectives, x: jax.Array) -> jax.Array:
        return comm.permute(x, self.mesh.names, [(r, (r + 1) % self.ranks) for r in range(self.ranks)])

    def truth(self, blocks: Blocks) -> list[np.ndarray]:
        return [blocks[r - 1] for r in range(len(blocks))]


@dataclass(frozen=True)
class Halos(Operation):
    """Blocks [a, a, c] with `width` elements of their periodic neighbours on both sides of the axes that are split.

    Mesh axis i splits array axis i. The size is that of the block; the bus carries what a rank gets of others. A step
    adds the two shifted views, which keeps XLA from leaving a side out.
    """

    width: int = 1

    @property
    def splits(self) -> tuple[tuple[tuple[str, ...], int], ...]:
        """For each array axis that is split: along which mesh axes, into how many parts."""
        return tuple(((name,), size) for name, size in self.mesh.axes)

    def shape(self, elements: int) -> Shape | None:
        a = _power_of_two(elements ** (1 / 3)) if elements else 0
        shape = (a, a, elements // (a * a)) if a else (0, 0, 0)
        return shape if min(shape) >= self.width else None

    def message(self, shape: Shape) -> int:
        return math.prod(shape)

    def count(self, shape: Shape) -> int:
        return self._extended(shape) - math.prod(shape)

    def factor(self, shape: Shape) -> float:
        return self.count(shape) / math.prod(shape)

    def _extended(self, shape: Shape) -> int:
        return math.prod(n + 2 * self.width * (i < len(self.splits)) for i, n in enumerate(shape))

    def call(self, comm: LaxCollectives, x: jax.Array) -> jax.Array:
        splits = enumerate(self.splits)
        edges = (Edge(axes, i, self.width, parts, parts * x.shape[i]) for i, (axes, parts) in splits)
        return comm.halo(x, *edges)

    def step(self, comm: LaxCollectives, x: jax.Array) -> jax.Array:
        y = self.call(comm, x)
        first = tuple(slice(0, n) for n in x.shape)
        last = tuple(slice(m - n, m) for m, n in zip(y.shape, x.shape, strict=True))
        return jnp.add(y[first], y[last])

    def truth(self, blocks: Blocks) -> list[np.ndarray]:
        parts = [parts for _, parts in self.splits]
        shape = blocks[0].shape
        made = []
        for place in np.ndindex(*parts):
            block = _whole(blocks, parts)
            for i, at in enumerate(place):
                index = np.arange(at * shape[i] - self.width, (at + 1) * shape[i] + self.width)
                block = np.take(block, index, axis=i, mode="wrap")
            made.append(block)
        return made


class Halo(Halos):
    """Along the first array axis alone, which all mesh axes split."""

    @property
    def splits(self) -> tuple[tuple[tuple[str, ...], int], ...]:
        return ((self.mesh.names, self.ranks),)


OPERATIONS: dict[str, type[Operation]] = {
    "all_reduce": AllReduce,
    "all_gather": AllGather,
    "reduce_scatter": ReduceScatter,
    "all_to_all": AllToAll,
    "permute": Permute,
    "halo": Halo,
    "halos": Halos,
}


def operation(name: str, mesh: Mesh, width: int) -> Operation:
    made = OPERATIONS[name]
    return made(mesh, width) if issubclass(made, Halos) else made(mesh)


def _power_of_two(most: float) -> int:
    """The largest one up to `most`, at least 1; a hair above, so that roots of whole powers are found."""
    return 1 << max(0, math.floor(math.log2(most * (1 + 1e-9))))


def _whole(blocks: Blocks, parts: Sequence[int]) -> np.ndarray:
    """The array whose axes are split into so many parts each, of which these are the blocks."""
    shape = blocks[0].shape
    grid = np.stack(blocks).reshape(*parts, *shape)
    for n in parts:  # each time the grid's first axis joins the block's of the same number
        grid = np.concatenate([grid.take(r, axis=0) for r in range(n)], axis=len(parts) - 1)
    return grid
