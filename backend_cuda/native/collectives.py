"""The collectives of `LaxCollectives` by hand-written kernels, one behind the other on a chain of tokens.

What the kernels do not do (all-reduces of more than 64 KiB, messages beyond the staging slots, groups of more than 64
ranks or across machines) is left to `jax.lax`, at its place in the chain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ir.dims import TensorType
from ir.errors import InternalError
from ir.layout import collectives_of
from ir.mesh import Mesh
from ir.native import SMALL_SUM, Native, takes

from .. import lax_collectives
from ..halo import Cut, Edge, cut_halo, cut_spill, join_halo, join_spill
from ..lax_collectives import Axes, LaxCollectives, Resharding
from . import boxes
from .boxes import BoxProgram, Way
from .calls import REDUCED, after, all_reduce, among, exchange, first_token, serves
from .communicator import Binding

BlockFunction = Callable[[jax.Array], jax.Array]
Pieces = dict[Way, jax.Array]
"""By the way that they go, or that they come from."""
Rules = tuple[Native, ...] | None
PERMUTE = "collective_permute"
"""What halos, spills and passes count as in a plan."""


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

    def batched(self, f: Callable[..., Any], in_axes: Sequence[int | None]) -> Callable[..., Any]:
        # The calls of a batch are one, and so is the token: it goes in and comes out beside it.
        def one(token: jax.Array, *args: Any) -> Any:
            self.token = token
            return f(*args), self._token()

        def run(*args: Any) -> Any:
            made, self.token = jax.vmap(one, (None, *in_axes), (0, None))(self._token(), *args)
            return made

        return run

    def all_reduce(self, x: jax.Array, axes: Axes, kind: str) -> jax.Array:
        comm = self.binding.communicator(axes) if self._gives("all_reduce", axes, x.nbytes) else None
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
        return self._run("reduce_scatter", x, axes, lax, boxes.reduce_scatter, x.shape, target)

    def all_gather(self, x: jax.Array, axes: Axes, source: int) -> jax.Array:
        lax = lambda x: super(NativeCollectives, self).all_gather(x, axes, source)  # noqa: E731
        return self._run("all_gather", x, axes, lax, boxes.all_gather, x.shape, source)

    def all_to_all(self, x: jax.Array, axes: Axes, source: int, target: int) -> jax.Array:
        lax = lambda x: super(NativeCollectives, self).all_to_all(x, axes, source, target)  # noqa: E731
        if source == target:  # pieces of one dim among each other: no plan has it
            return self._lax(lax, x)
        return self._run("all_to_all", x, axes, lax, boxes.all_to_all, x.shape, source, target)

    def permute(self, x: jax.Array, axes: Axes, pairs: Sequence[tuple[int, int]]) -> jax.Array:
        lax = lambda x: super(NativeCollectives, self).permute(x, axes, pairs)  # noqa: E731
        pairs = tuple((int(a), int(b)) for a, b in pairs)
        return self._run(PERMUTE, x, axes, lax, boxes.permute, x.shape, pairs)

    def at_once(self, x: jax.Array, t: TensorType, steps: Sequence[Resharding], mesh: Mesh) -> jax.Array | None:
        made = [c for move, before, _ in steps for c in collectives_of(move, t, before, mesh)]
        if len(made) < 2 or not all(self._gives(c.kind, c.axes, c.bytes) for c in made):
            return None
        ends = steps[0][1], steps[-1][2]
        axes = tuple(a for a in mesh.names if any(a in layout.axes(d) for layout in ends for d in t.names))
        before, then = (tuple(tuple(map(axes.index, layout.axes(d))) for d in t.names) for layout in ends)
        return self._native(x, axes, boxes.reshard, tuple(map(mesh.size, axes)), t.shape, before, then)

    def halo(self, x: jax.Array, *edges: Edge) -> jax.Array:
        return self._around(x, edges, cut_halo, join_halo, super().halo, grows=2)

    def spill(self, x: jax.Array, *edges: Edge) -> jax.Array:
        return self._around(x, edges, cut_spill, join_spill, super().spill, grows=-2)

    def pass_on(self, left: jax.Array, right: jax.Array, axes: Axes, parts: int) -> tuple[jax.Array, jax.Array]:
        given = self._gives(PERMUTE, axes, left.nbytes)
        if given and (made := self._handed({(-1,): left, (1,): right}, axes, (parts,), (True,))) is not None:
            return made[(-1,)], made[(1,)]
        lax = lambda x: jnp.stack(super(NativeCollectives, self).pass_on(x[0], x[1], axes, parts))  # noqa: E731
        both = self._lax(lax, jnp.stack([left, right]))
        return both[0], both[1]

    def _around(
        self,
        x: jax.Array,
        edges: Sequence[Edge],
        cut: Callable[[jax.Array, Edge], Cut],
        join: Callable[[jax.Array, jax.Array, jax.Array, Edge], jax.Array],
        lax: Callable[..., jax.Array],
        grows: int,
    ) -> jax.Array:
        """A block with what its neighbours along all edges hand to it, those at corners included, in one exchange.

        XLA cuts and joins: so it can do both in what makes the block and in what reads it. To a plan it is a permute
        each way along one dim after the other, in each of which the block grows by so many widths; so it is done where
        the plan does not give all of them to the kernels, and where their ranks are too many or on several machines.
        """
        shape, given = list(x.shape), list[bool]()
        for e in edges:
            edge = math.prod(shape) // shape[e.axis] * e.width
            given.append(self._gives(PERMUTE, e.axes, edge * x.dtype.itemsize))
            shape[e.axis] += grows * e.width
        pieces: Pieces = {(): x}
        for e in edges:
            pieces = {(*way, s): y for way, p in pieces.items() for s, y in zip((-1, 0, 1), cut(p, e), strict=True)}
        own = (0,) * len(edges)
        handed = {way: p for way, p in pieces.items() if way != own}
        axes = tuple(a for e in edges for a in e.axes)
        grid, rings = zip(*((e.parts, e.periodic) for e in edges), strict=True)
        made = self._handed(handed, axes, grid, rings) if all(given) else None
        if made is None and len(edges) == 1:
            return self._lax(lambda x: lax(x, *edges), x)
        if made is None:
            for e in edges:
                x = self._around(x, (e,), cut, join, lax, grows)
            return x
        made[own] = pieces[own]
        for e in edges:
            ways = dict.fromkeys(way[1:] for way in made)
            made = {way: join(made[-1, *way], made[0, *way], made[1, *way], e) for way in ways}
        return made[()]

    def _handed(self, pieces: Pieces, axes: Axes, parts: tuple[int, ...], periodic: tuple[bool, ...]) -> Pieces | None:
        """Each piece handed to the neighbour on its way: what comes from all ways; None where that is not served."""
        flat = jnp.concatenate([p.reshape(-1) for p in pieces.values()])
        sizes = tuple(p.size for p in pieces.values())
        made = self._native(flat, axes, boxes.around, parts, tuple(pieces), sizes, periodic)
        if made is None:
            return None
        found = jnp.split(made, np.cumsum(sizes)[:-1].tolist())
        return {way: y.reshape(p.shape) for (way, p), y in zip(pieces.items(), found, strict=True)}

    def _run(
        self, kind: str, x: jax.Array, axes: Axes, lax: BlockFunction, build: Callable[..., BoxProgram], *args: Any
    ) -> jax.Array:
        """The program that `build` makes of the ranks and `args`, or `lax` where it is the plan's, or not served."""
        given, ranks = self._gives(kind, axes, x.nbytes), math.prod(map(jax.lax.axis_size, axes))
        made = self._native(x, axes, build, ranks, *args) if given else None
        return self._lax(lax, x) if made is None else made

    def _gives(self, kind: str, axes: Axes, size: int) -> bool:
        """Whether the plan gives a collective with an operand of `size` bytes to the kernels."""
        return self.rules is None or takes(self.rules, kind, axes, size)

    def _native(self, x: jax.Array, axes: Axes, build: Callable[..., BoxProgram], *args: Any) -> jax.Array | None:
        comm = self.binding.communicator(axes)
        if comm is None:
            return None
        program = _program(build, tuple(lax_collectives.mesh_ranks(axes)), *args)
        if not serves(comm, program, x.dtype):
            return None
        y, self.token = exchange(comm, program, x, self._token())
        return y

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
    return build(*args).renumbered(numbers)
