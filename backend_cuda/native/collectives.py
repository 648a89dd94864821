"""The collectives of `LaxCollectives` by hand-written kernels, one behind the other on a chain of tokens.

What the kernels do not do (all-reduces of more than 64 KiB, messages beyond the staging slots, groups of more than 64
ranks or across machines) is left to `jax.lax`, at its place in the chain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ir.errors import InternalError
from ir.native import SMALL_SUM, Native, takes

from .. import lax_collectives
from ..lax_collectives import Axes, LaxCollectives
from . import boxes
from .boxes import BoxProgram, Edge
from .calls import REDUCED, after, all_reduce, among, exchange, first_token, serves
from .communicator import Binding, Communicator

BlockFunction = Callable[[jax.Array], jax.Array]
Rules = tuple[Native, ...] | None
PERMUTE = "collective_permute"


class NativeCollectives(LaxCollectives):
    """The collectives of one trace on a bound mesh: `opened()` starts a chain, which every call lengthens.

    rules: what a plan gives to the kernels, the rest being left to `jax.lax`; None for all that they serve.

    The chain lives in this object, so a loop has to carry it: the body begins with `resume` of what it carries and ends
    with `carried`. A function that is differentiated opens a chain of its own inside.
    """

    def __init__(self, binding: Binding, token: jax.Array | None = None, rules: Rules = None):
        self.binding, self.token, self.rules = binding, token, rules

    def opened(self, blocks: Sequence[jax.Array] = ()) -> NativeCollectives:
        if self.token is not None:
            return self
        made = NativeCollectives(self.binding, first_token(), self.rules)
        for x in blocks:
            made.token = after(made._token(), x)
        return made

    def closed(self, outputs: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return {name: after(x, self._token()) for name, x in outputs.items()}

    def carried(self) -> tuple[jax.Array, ...]:
        return (self._token(),)

    def resume(self, carried: Sequence[jax.Array]) -> None:
        (self.token,) = carried

    def all_reduce(self, x: jax.Array, axes: Axes, kind: str) -> jax.Array:
        comm = self._communicator("all_reduce", x.nbytes, axes)
        if comm is None or x.dtype.name not in REDUCED or x.nbytes > min(SMALL_SUM, comm.slot_bytes):
            return self._lax(lambda x: super(NativeCollectives, self).all_reduce(x, axes, kind), x)
        y, self.token = all_reduce(comm, x, self._token(), kind, lax_collectives.mesh_ranks(axes))
        return y

    def all_reduce_many(self, xs: Sequence[jax.Array], axes: Axes, kind: str) -> list[jax.Array]:
        """Several small arrays in one all-reduce for each data type among them."""
        made: dict[int, jax.Array] = {}
        for dtype in dict.fromkeys(x.dtype for x in xs):
            chosen = [i for i, x in enumerate(xs) if x.dtype == dtype]
            flat = self.all_reduce(jnp.concatenate([xs[i].reshape(-1) for i in chosen]), axes, kind)
            ends = np.cumsum([xs[i].size for i in chosen])[:-1].tolist()
            made |= {i: p.reshape(xs[i].shape) for i, p in zip(chosen, jnp.split(flat, ends), strict=True)}
        return [made[i] for i in range(len(xs))]

    def reduce_scatter(self, x: jax.Array, axes: Axes, target: int) -> jax.Array:
        lax = lambda x: super(NativeCollectives, self).reduce_scatter(x, axes, target)  # noqa: E731
        return self._run("reduce_scatter", x.nbytes, x, axes, lax, boxes.reduce_scatter, x.shape, target)

    def all_gather(self, x: jax.Array, axes: Axes, source: int) -> jax.Array:
        lax = lambda x: super(NativeCollectives, self).all_gather(x, axes, source)  # noqa: E731
        return self._run("all_gather", x.nbytes, x, axes, lax, boxes.all_gather, x.shape, source)

    def all_to_all(self, x: jax.Array, axes: Axes, source: int, target: int) -> jax.Array:
        lax = lambda x: super(NativeCollectives, self).all_to_all(x, axes, source, target)  # noqa: E731
        return self._run("all_to_all", x.nbytes, x, axes, lax, boxes.all_to_all, x.shape, source, target)

    def permute(self, x: jax.Array, axes: Axes, pairs: Sequence[tuple[int, int]]) -> jax.Array:
        lax = lambda x: super(NativeCollectives, self).permute(x, axes, pairs)  # noqa: E731
        pairs = tuple((int(a), int(b)) for a, b in pairs)
        return self._run(PERMUTE, x.nbytes, x, axes, lax, boxes.permute, x.shape, pairs)

    def halo(self, x: jax.Array, axes: Axes, axis: int, width: int, parts: int, size: int) -> jax.Array:
        lax = lambda x: super(NativeCollectives, self).halo(x, axes, axis, width, parts, size)  # noqa: E731
        edge = x.nbytes // x.shape[axis] * width
        return self._run(PERMUTE, edge, x, axes, lax, boxes.copy_halo, x.shape, (Edge(axis, parts, size, width),))

    def halos(self, x: jax.Array, axes: Sequence[Axes], edges: Sequence[Edge]) -> jax.Array:
        """The block extended along several dims, each split over axes of its own, corners included: one exchange."""

        def lax(x: jax.Array) -> jax.Array:
            if not all(e.periodic for e in edges):
                raise InternalError("jax.lax has no halo with a zero boundary: use larger staging slots")
            for along, e in zip(axes, edges, strict=True):
                x = super(NativeCollectives, self).halo(x, along, e.axis, e.width, e.parts, e.size)
            return x

        edge = max(x.nbytes // x.shape[e.axis] * e.width for e in edges)
        every = tuple(a for along in axes for a in along)
        return self._run(PERMUTE, edge, x, every, lax, boxes.copy_halo, x.shape, tuple(edges))

    def spill(self, x: jax.Array, axes: Axes, axis: int, width: int, parts: int, extent: int, size: int) -> jax.Array:
        lax = lambda x: super(NativeCollectives, self).spill(x, axes, axis, width, parts, extent, size)  # noqa: E731
        inside = (*x.shape[:axis], extent, *x.shape[axis + 1 :])
        edge = x.nbytes // x.shape[axis] * width
        return self._run(PERMUTE, edge, x, axes, lax, boxes.sum_halo, inside, (Edge(axis, parts, size, width),))

    def pass_on(self, left: jax.Array, right: jax.Array, axes: Axes, parts: int) -> tuple[jax.Array, jax.Array]:
        lax = lambda x: jnp.stack(super(NativeCollectives, self).pass_on(x[0], x[1], axes, parts))  # noqa: E731
        both = jnp.stack([left, right])
        made = self._run(PERMUTE, left.nbytes, both, axes, lax, _ring, both.shape)
        return made[0], made[1]

    def _run(
        self,
        kind: str,
        size: int,
        x: jax.Array,
        axes: Axes,
        lax: BlockFunction,
        build: Callable[..., BoxProgram],
        *args: Any,
    ) -> jax.Array:
        """The program that `build` makes of `args`, or `lax` where the kernels do not serve it or are not to.

        To a plan it is a collective of a kind with an operand of `size` bytes.
        """
        comm = self._communicator(kind, size, axes)
        if comm is not None:
            program = _program(build, tuple(lax_collectives.mesh_ranks(axes)), *args)
            if serves(comm, program, x.dtype):
                y, self.token = exchange(comm, program, x, self._token())
                return y
        return self._lax(lax, x)

    def _communicator(self, kind: str, size: int, axes: Axes) -> Communicator | None:
        """That of the axes; None where the plan or the machine leaves the collective to lax."""
        if self.rules is not None and not takes(self.rules, kind, axes, size):
            return None
        return self.binding.communicator(axes)

    def _lax(self, f: BlockFunction, x: jax.Array) -> jax.Array:
        y, self.token = among(f, x, self._token())
        return y

    def _token(self) -> jax.Array:
        if self.token is None:
            raise InternalError("native collectives outside a chain: open one in each trace")
        return self.token


@lru_cache(maxsize=512)
def _program(build: Callable[..., BoxProgram], numbers: tuple[int, ...], *args: Any) -> BoxProgram:
    """The program of a builder; `numbers` are those in the order of the mesh of the ranks along the axes as given."""
    first = () if build in (boxes.copy_halo, boxes.sum_halo) else (len(numbers),)
    return build(*first, *args).renumbered(numbers)


def _ring(ranks: int, shape: Sequence[int]) -> BoxProgram:
    """Of the stack (to the left, to the right) that each rank hands on: (from the left, from the right)."""
    zero, one, extent = (0,) * len(shape), (1, *(0,) * (len(shape) - 1)), (1, *shape[1:])
    return BoxProgram.of(
        ranks,
        shape,
        shape,
        [
            box
            for r in range(ranks)
            for box in ((r, (r - 1) % ranks, zero, one, extent), (r, (r + 1) % ranks, one, zero, extent))
        ],
    )
