"""Layouts, and the moves between them: the whole vocabulary of communication.

A layout says which mesh axes split each dim (`split`, the axes in order, the first one major) and over which axes the
value is still to be reduced (`partial`). A dim of size n split over p devices lies in blocks of ceil(n / p): the last
blocks may be short or empty, and are stored padded. Ops compute, reshards communicate: every collective is a `Move`
from one layout to another, or a declared halo; the planner prices moves and the backend performs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, permutations

from .dims import TensorType
from .errors import InternalError
from .hashed import hash_once
from .mesh import Mesh
from .permute import Axes, Splits, moved_axes, ratios, rearranged, rounds


@hash_once
@dataclass(frozen=True)
class Layout:
    """Where a value lives. Use `Layout.of`; the fields are normalised so that equal layouts compare equal."""

    splits: tuple[tuple[str, Axes], ...] = ()
    partial: frozenset[str] = frozenset()
    reduce: str = "sum"
    """How the partial values combine: "sum", "max" or "min"; "sum" when nothing is partial."""

    @classmethod
    def of(cls, split: Mapping[str, str | Axes] | None = None, partial: Iterable[str] = (), reduce: str = "sum"):
        pairs = ((d, (a,) if isinstance(a, str) else tuple(a)) for d, a in (split or {}).items())
        partial = frozenset(partial)
        return cls(tuple(sorted((d, a) for d, a in pairs if a)), partial, reduce if partial else "sum")

    @property
    def split(self) -> dict[str, Axes]:
        return dict(self.splits)

    def axes(self, dim: str) -> Axes:
        """The axes that split `dim`, major first; empty where it is whole."""
        for d, axes in self.splits:
            if d == dim:
                return axes
        return ()

    @property
    def used(self) -> frozenset[str]:
        """Every axis that splits a dim or is partial."""
        return frozenset(a for _, axes in self.splits for a in axes) | self.partial

    def with_split(self, dim: str, axes: Axes) -> Layout:
        return Layout.of({**self.split, dim: axes}, self.partial, self.reduce)

    def with_partial(self, partial: frozenset[str]) -> Layout:
        return Layout.of(self.split, partial, self.reduce)

    def __str__(self) -> str:
        split = ", ".join(f"{d}/{'+'.join(a)}" for d, a in self.splits) or "whole"
        rest = f"; {self.reduce} over {', '.join(sorted(self.partial))}" if self.partial else ""
        return "{" + split + rest + "}"


WHOLE = Layout()


def block(size: int, parts: int) -> int:
    """The stored extent of one block: ceil(size / parts)."""
    return -(-size // parts)


def block_shape(t: TensorType, layout: Layout, mesh: Mesh) -> tuple[int, ...]:
    """The shape of a device's block, padding included."""
    return tuple(block(d.size, mesh.size(layout.axes(d.name))) for d in t.dims)


def block_bytes(t: TensorType, layout: Layout, mesh: Mesh) -> int:
    size = t.itemsize
    for extent in block_shape(t, layout, mesh):
        size *= extent
    return size


def nests(size: int, mesh: Mesh, outer: Axes, inner: Axes) -> bool:
    """Whether splitting the blocks of `outer` further over `inner` gives the blocks of both."""
    if not outer or not inner:
        return True
    return is_even(size, mesh.size(outer), mesh.size(outer + inner))


@dataclass(frozen=True)
class Move:
    """One collective, or a free slice, over `axes` at once.

    all_reduce       partial over axes → whole there
    reduce_scatter   partial over axes → `target` split (further) over axes
    all_gather       `source` split (innermost) over axes → whole there
    all_to_all       `source` split (innermost) over axes → `target` split (further) over axes
    slice            whole over axes → `target` split (further) over axes; free
    permute          blocks passed on among the devices along axes, whole, in pieces or to be put together → `splits`
    halo             the edges of the blocks of `source`, `width` wide, from both neighbours (not a reshard)
    spill            what blocks of `source` hold `width` beyond their edges, added to both neighbours (not a reshard)
    pass             buffers that an op hands to both neighbours along `source` as it computes (not a reshard)

    `wider` says by how much a halo's or a spill's block is already, or still, larger on both sides along other dims.
    """

    kind: str
    axes: Axes
    source: str | None = None
    target: str | None = None
    width: int = 0
    splits: Splits = ()
    wider: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        what = {
            "all_reduce": "",
            "reduce_scatter": f" -> {self.target}",
            "all_gather": f" {self.source}",
            "all_to_all": f" {self.source} -> {self.target}",
            "slice": f" -> {self.target}",
            "permute": f" to {str(Layout.of(dict(self.splits)))[1:-1]}",
            "halo": f" {self.source} by {self.width}",
            "spill": f" {self.source} by {self.width}",
            "pass": f" on along {self.source}",
        }[self.kind]
        return f"{self.kind}({'+'.join(self.axes)}){what}"


def after(move: Move, layout: Layout, t: TensorType, mesh: Mesh) -> Layout | None:
    """The layout that `move` leads to, or None where it is not legal from `layout`."""
    axes, split, partial = move.axes, layout.split, layout.partial
    if move.kind == "permute":
        return _permuted(move, layout, t, mesh)
    if move.kind in ("all_reduce", "reduce_scatter"):
        if not set(axes) <= partial or (move.kind == "reduce_scatter" and layout.reduce != "sum"):
            return None
        partial = partial - set(axes)
    if move.kind in ("all_gather", "all_to_all"):
        assert move.source is not None
        held = layout.axes(move.source)
        rest = held[: len(held) - len(axes)]
        if held[len(rest) :] != axes or move.source not in t or not nests(t[move.source], mesh, rest, axes):
            return None
        split = {**split, move.source: rest}
    if move.kind == "slice" and layout.used & set(axes):
        return None
    if move.target is not None:
        held = split.get(move.target, ())
        if move.target == move.source or move.target not in t or not nests(t[move.target], mesh, held, axes):
            return None
        split = {**split, move.target: held + axes}
    return Layout.of(split, partial, layout.reduce)


def _permuted(move: Move, layout: Layout, t: TensorType, mesh: Mesh) -> Layout | None:
    """The layout after a permute: along every dim new blocks are pieces of old ones, or put together of them."""
    then = Layout.of(dict(move.splits), layout.partial, layout.reduce)
    if sum(len(axes) for _, axes in move.splits) + len(layout.partial) > len(then.used):
        return None  # an axis at two places
    if move.axes != moved_axes(layout.splits, move.splits, mesh) or not move.axes:
        return None
    shares = ratios(layout.splits, move.splits, mesh)
    if shares is None or any(d not in t for d in shares):
        return None
    for dim in shares:
        few, many = (mesh.size(x.axes(dim)) for x in (layout, then))
        if few > 1 and many > 1 and not is_even(t[dim], min(few, many), max(few, many)):
            return None
    return then


Fields = tuple[Splits, frozenset[str], str]
"""Those of a layout."""

Cut = tuple[str, int, int]
"""A dim, and two numbers of parts: blocks of the fewer are to be cut into blocks of the more."""


def is_even(size: int, few: int, many: int) -> bool:
    """Whether cutting the blocks of `few` parts further gives the blocks of `many`."""
    return block(size, many) * (many // few) == block(size, few)


def moves_from(layout: Layout, t: TensorType, mesh: Mesh) -> Iterator[tuple[Move, Layout]]:
    """Every legal move from a layout with where it leads, over one axis or several at once."""
    long = tuple(d.name for d in t.dims if d.size > 1)
    for move, then, cuts in possible_moves(layout, t.names, long, mesh):
        if all(is_even(t[d], few, many) for d, few, many in cuts):
            yield move, Layout(*then)


def possible_moves(
    layout: Layout, dims: tuple[str, ...], long: tuple[str, ...], mesh: Mesh
) -> Iterator[tuple[Move, Fields, tuple[Cut, ...]]]:
    """Every move that is legal where dims divide evenly, with where it leads and the cuts that have to be even.

    Of a type it takes no more than its dims and those that are longer than one, so that types of other sizes share
    the answer. `after` is the law: what it says of any one move is the same.
    """
    splits, partial, reduce = layout.splits, layout.partial, layout.reduce
    free = [a for a in mesh.names if a not in layout.used]

    def split_further(axes: Axes, splits: Splits) -> Iterator[tuple[str, Splits, tuple[Cut, ...]]]:
        held = dict(splits)
        for d in dims:
            outer = held.get(d, ())
            few = mesh.size(outer)
            yield d, _with(splits, d, outer + axes), ((d, few, few * mesh.size(axes)),) if outer else ()

    for axes in _subsets(sorted(partial, key=mesh.names.index)):
        left = partial.difference(axes)
        kind = reduce if left else "sum"
        yield Move("all_reduce", axes), (splits, left, kind), ()
        for order in permutations(axes) if reduce == "sum" else ():
            for d, then, cuts in split_further(order, splits):
                yield Move("reduce_scatter", order, target=d), (then, left, kind), cuts
    for dim, held in splits:
        for at in range(len(held)):
            rest, axes = held[:at], held[at:]
            less, joined = _with(splits, dim, rest), ((dim, mesh.size(rest), mesh.size(held)),) if rest else ()
            yield Move("all_gather", axes, source=dim), (less, partial, reduce), joined
            for d, then, cuts in split_further(axes, less):
                if d != dim:
                    yield Move("all_to_all", axes, source=dim, target=d), (then, partial, reduce), joined + cuts
    for axes in _subsets(free):
        for order in permutations(axes):
            for d, then, cuts in split_further(order, splits):
                yield Move("slice", order, target=d), (then, partial, reduce), cuts
    for then in rearranged(splits, tuple(free), long, mesh) if splits else ():
        if axes := moved_axes(splits, then, mesh):
            yield Move("permute", axes, splits=then), (then, partial, reduce), _recut(splits, then, mesh)


def _with(splits: Splits, dim: str, axes: Axes) -> Splits:
    """The splits with these axes along a dim."""
    others = [s for s in splits if s[0] != dim]
    return tuple(sorted([*others, (dim, axes)])) if axes else tuple(others)


def _recut(before: Splits, then: Splits, mesh: Mesh) -> tuple[Cut, ...]:
    """What a permute cuts or puts together, where both ways to split have several parts."""
    old, found = dict(before), []
    for dim, axes in then:
        few, many = sorted((mesh.size(old.get(dim, ())), mesh.size(axes)))
        if 1 < few < many:
            found.append((dim, few, many))
    return tuple(found)


def _subsets(axes: list[str]) -> Iterator[Axes]:
    for count in range(1, len(axes) + 1):
        yield from combinations(axes, count)


@dataclass(frozen=True)
class Collective:
    """A collective as a program contains it: what the plan declares and what an emitted program is held to.

    `bytes` is the size of the operand on one device, padding included.
    """

    kind: str
    axes: Axes
    dtype: str
    bytes: int

    def __str__(self) -> str:
        return f"{self.kind}({'+'.join(self.axes)}) {self.dtype} {self.bytes:,} B"


def collectives_of(move: Move, t: TensorType, layout: Layout, mesh: Mesh) -> tuple[Collective, ...]:
    """What a move from `layout` performs: nothing for a slice, two permutes for a halo, a spill or a pass, one a round
    for a permute."""
    if move.kind == "slice":
        return ()
    if move.kind == "permute":
        old, new = (block_shape(t, x, mesh) for x in (layout, Layout.of(dict(move.splits))))
        piece = _bytes(t, dict(zip(t.names, map(min, old, new), strict=True)))
        return (Collective("collective_permute", move.axes, t.dtype, piece),) * rounds(layout.splits, move.splits, mesh)
    shape = dict(zip(t.names, block_shape(t, layout, mesh), strict=True))
    if move.kind == "pass":
        return (Collective("collective_permute", move.axes, t.dtype, _bytes(t, shape)),) * 2
    if move.kind in ("halo", "spill"):
        assert move.source is not None
        shape |= {dim: shape[dim] + 2 * width for dim, width in move.wider}
        shape[move.source] = move.width
        edge = Collective("collective_permute", move.axes, t.dtype, _bytes(t, shape))
        return (edge, edge)
    if move.target is not None:  # the target's block is padded to whole pieces before it is dealt out
        parts = mesh.size(move.axes)
        shape[move.target] = block(shape[move.target], parts) * parts
    return (Collective(move.kind, move.axes, t.dtype, _bytes(t, shape)),)


def _bytes(t: TensorType, shape: Mapping[str, int]) -> int:
    total = t.itemsize
    for extent in shape.values():
        total *= extent
    return total


def replay(path: tuple[Move, ...], layout: Layout, t: TensorType, mesh: Mesh) -> Iterator[tuple[Move, Layout, Layout]]:
    """Walks a path of moves: each move with the layouts before and after it. An illegal step is an `InternalError`."""
    for move in path:
        then = after(move, layout, t, mesh)
        if then is None:
            raise InternalError(f"{move} is not legal from {layout} of {t} on mesh {mesh}")
        yield move, layout, then
        layout = then
