"""The op as a unit: one class says what an operation means, types, splits, costs, computes and differentiates to.

Because dims are named, the sharding factor is the dim's name: an op only states what it does along each dim (its
`Role`), and legality, partial sums, halos, cost and printing follow. A `Strategy` places the whole op: which mesh axes
split each dim that it mentions; operand and result layouts are restrictions of it.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from .column import Column
from .dims import Dim, TensorType
from .layout import Layout, Move, block, block_shape
from .mesh import Mesh
from .strategy import Left, Placements, Strategy, all_placements, arriving, arriving_column, leaving, leaving_column

if TYPE_CHECKING:
    from .graph import Program, Value
    from .place import Place


class Role:
    """What an op does along one dim; planner and backend read nothing else about the op."""

    def __str__(self) -> str:
        return type(self).__name__


@dataclass(frozen=True)
class Map(Role):
    """Independent along the dim: any split, no communication. The default."""


@dataclass(frozen=True)
class Reduce(Role):
    """Reduced away: a split dim leaves a result that is partial over its axes."""

    kind: str = "sum"


@dataclass(frozen=True)
class Whole(Role):
    """Needs the full extent: the dim must not be split here."""


@dataclass(frozen=True)
class Halo(Role):
    """Needs `width` neighbours on both sides, periodically: exchanged when the dim is split."""

    width: int


@dataclass(frozen=True)
class Reach(Role):
    """Touches what lies up to `width` beyond its block: exchanged, when the dim is split, as the op's `halos` of
    operands and `spills` of results say. A result without the dim is a maximum over it."""

    width: int


@dataclass(frozen=True)
class Lookup(Role):
    """A table's dim, indexed by another operand: each block answers for its own range, the result is partial."""


@dataclass(frozen=True)
class Op(ABC):
    """One operation. The fields of a subclass are its static parameters, and nothing else is state."""

    name: ClassVar[str]
    table: ClassVar[dict[str, type[Op]]] = {}
    """Every op by name: a leaf class joins it by being defined."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if isinstance(cls.__dict__.get("name"), str):
            Op.table[cls.name] = cls

    # --- what a leaf states ---

    @abstractmethod
    def result(self, *operands: TensorType) -> TensorType:
        """The result's type, or a `Diagnostic` that says what to do."""

    def results(self, *operands: TensorType) -> tuple[TensorType, ...]:
        """The types of all results; an op with several overrides this."""
        return (self.result(*operands),)

    def roles(self, *operands: TensorType) -> dict[str, Role]:
        """What the op does along each dim, by the operands' names, where that is not `Map`."""
        return {}

    def renames(self) -> dict[str, str]:
        """Dims that change their name from operand to result, as `x -> kx`."""
        return {}

    def follows(self) -> dict[str, str]:
        """Dims of operands, and the dims by whose names they are split: `dims` and strategies speak of these only."""
        return {}

    def linear(self, *operands: TensorType) -> tuple[tuple[int, ...], ...]:
        """The sets of operands in which the op is jointly linear: such operands may stay partial sums."""
        return ()

    def sums_by_place(self) -> bool:
        """Whether the sums of its `Reduce` dims go through `Place.sum`, so that they can be had reproducible."""
        return False

    def flops(self, *operands: TensorType) -> float:
        """Floating-point operations of the whole op."""
        return float(sum(t.size for t in facts(self, operands).results))

    @abstractmethod
    def local(self, place: Place, *blocks: Any) -> Any:
        """The result's block (or a tuple of blocks) from the operands' blocks, on one device, without communication."""

    def vjp(self, cotangent: Value, result: Value, *operands: Value) -> tuple[Value | None, ...]:
        """Cotangents of the operands, made of other ops; the default is the derived `Pullback`.

        Complex cotangents follow JAX: they are transposes, not adjoints (no conjugation).
        """
        from .ops.pullback import pullbacks

        return pullbacks(self, cotangent, *operands)

    def vjp_all(
        self, cotangents: tuple[Value | None, ...], results: tuple[Value, ...], operands: tuple[Value, ...]
    ) -> tuple[Value | None, ...]:
        """`vjp` for an op with several results, of which some have no cotangent; others need only `vjp`."""
        (cotangent,) = cotangents
        assert cotangent is not None
        return self.vjp(cotangent, results[0], *operands)

    def for_gradient(self, active: tuple[bool, ...]) -> Op:
        """The op to run forward when a gradient in the `active` operands will be taken.

        Its results are those of the op itself, and then what the gradient needs.
        """
        return self

    def regions(self) -> tuple[Program, ...]:
        """The programs inside this op, as the body of a scan."""
        return ()

    def with_regions(self, *regions: Program) -> Op:
        assert not regions
        return self

    @classmethod
    def examples(cls) -> list[tuple[Op, tuple[TensorType, ...]]]:
        """Instances with operand types on which the shared laws run; sizes differ, so that a swapped dim fails."""
        return []

    # --- derived ---

    def dims(self, *operands: TensorType) -> dict[str, int]:
        """Every dim of the node's iteration space with its size: the operands' names, then dims the op makes."""
        following = self.follows()
        sizes = {d.name: d.size for t in operands for d in t.dims if d.name not in following}
        made = set(self.renames().values())
        for t in self.results(*operands):
            sizes |= {d.name: d.size for d in t.dims if d.name not in sizes and d.name not in made}
        return sizes

    def operand_layout(self, index: int, operands: tuple[TensorType, ...], strategy: Strategy) -> Layout:
        """The layout in which operand `index` must arrive."""
        following, carried = self.follows(), self._carried(index, operands)
        if not following:
            return arriving(strategy, operands[index].names, carried)
        names = tuple([following.get(n, n) for n in operands[index].names])
        return _renamed(arriving(strategy, names, carried), dict(zip(names, operands[index].names, strict=True)))

    def result_layouts(self, operands: tuple[TensorType, ...], strategy: Strategy) -> tuple[Layout, ...]:
        """The layouts in which the results leave."""
        known, left = facts(self, operands), self._left(operands)
        return tuple([leaving(strategy, t.names, left) for t in known.results])

    def operand_column(self, index: int, operands: tuple[TensorType, ...], placements: Placements) -> Column:
        """`operand_layout` by strategy."""
        following, carried = self.follows(), self._carried(index, operands)
        if not following:
            return arriving_column(placements, operands[index].names, carried)
        names = tuple([following.get(n, n) for n in operands[index].names])
        back = dict(zip(names, operands[index].names, strict=True))
        return arriving_column(placements, names, carried).each(lambda layout: _renamed(layout, back))

    def result_columns(self, operands: tuple[TensorType, ...], placements: Placements) -> tuple[Column, ...]:
        """`result_layouts` by strategy."""
        known, left = facts(self, operands), self._left(operands)
        return tuple([leaving_column(placements, t.names, left) for t in known.results])

    def _carried(self, index: int, operands: tuple[TensorType, ...]) -> tuple[bool, ...]:
        """By group of `linear`, whether operand `index` is in it."""
        return tuple([index in group for group in facts(self, operands).linear])

    def _left(self, operands: tuple[TensorType, ...]) -> Left:
        """What becomes of the dims in the results."""
        known = facts(self, operands)
        kinds = [(d, r.kind if isinstance(r, Reduce) else "max") for d, r in known.roles.items() if is_summed(r)]
        summed = tuple(kinds)
        looked_up = tuple([d for d, r in known.roles.items() if isinstance(r, Lookup)])
        return Left(summed, looked_up, tuple(known.renames.items()))

    def halos(self, operands: tuple[TensorType, ...], strategy: Strategy) -> tuple[tuple[int, Move], ...]:
        """The halo exchanges of a strategy: (operand index, move), in order."""
        found = []
        for dim, role in facts(self, operands).roles.items():
            if isinstance(role, Halo) and (axes := strategy.split.get(dim, ())):
                move = Move("halo", axes, source=dim, width=role.width)
                found += [(i, move) for i, t in enumerate(operands) if dim in t]
        return tuple(found)

    def spills(self, operands: tuple[TensorType, ...], strategy: Strategy) -> tuple[tuple[int, Move], ...]:
        """What blocks of results add to their neighbours' under a strategy: (result index, move), in order."""
        return ()

    def reaches(self, operands: tuple[TensorType, ...]) -> bool:
        """Whether the op's blocks touch what lies beyond their edges."""
        return any([isinstance(r, Halo | Reach) for r in facts(self, operands).roles.values()])

    def room(self, operands: tuple[TensorType, ...], strategy: Strategy, mesh: Mesh) -> float:
        """Bytes that a device holds while the op runs, beside its blocks: those with halos, those that spill."""
        wider: dict[tuple[bool, int], dict[str, int]] = {}
        for made, found in ((False, self.halos(operands, strategy)), (True, self.spills(operands, strategy))):
            for index, move in found:
                assert move.source is not None
                wider.setdefault((made, index), {})[move.source] = move.width
        total, results = 0.0, facts(self, operands).results
        for (made, index), widths in wider.items():
            t = results[index] if made else operands[index]
            layout = self.result_layouts(operands, strategy)[index] if made else None
            shape = block_shape(t, layout or self.operand_layout(index, operands, strategy), mesh)
            extents = [n + 2 * widths.get(d, 0) for d, n in zip(t.names, shape, strict=True)]
            total += t.itemsize * math.prod(extents)
        return total

    def methods(self) -> tuple[str, ...]:
        """How the op may run where its dims are split, by `Strategy.method`; `illegal` says which may be where."""
        return ("",)

    def passes(
        self, operands: tuple[TensorType, ...], strategy: Strategy, mesh: Mesh
    ) -> tuple[tuple[TensorType, Layout, Move], ...]:
        """What the op itself hands to neighbours while it computes under a strategy: buffers and moves, in order."""
        return ()

    def further_bytes(self, operands: tuple[TensorType, ...], strategy: Strategy, mesh: Mesh) -> float:
        """Memory traffic on one device that a strategy adds to the device's share of `bytes_touched` [bytes]."""
        return 0.0

    def illegal(self, operands: tuple[TensorType, ...], strategy: Strategy, mesh: Mesh) -> str | None:
        """Why a strategy cannot run, in words with what would do; None when it can."""
        known = facts(self, operands)
        roles, sizes = known.roles, known.sizes
        seen: dict[str, str] = {a: "a partial sum" for a in strategy.carry}
        for dim, axes in strategy.splits:
            for axis in axes:
                if axis in seen:
                    return f"mesh axis '{axis}' would split both '{dim}' and {seen[axis]}; an axis splits one dim only"
                seen[axis] = f"'{dim}'"
            role = roles.get(dim)
            if isinstance(role, Whole):
                return f"{self.name} needs dim '{dim}' whole, but it is split over '{'+'.join(axes)}'"
            parts = mesh.size(axes)
            if isinstance(role, Halo | Reach) and sizes[dim] - (parts - 1) * block(sizes[dim], parts) < role.width:
                return (
                    f"{self.name} needs {role.width} neighbours along '{dim}', more than its smallest of {parts} blocks"
                )
        if strategy.carry:
            if not known.linear:
                return f"{self.name} is not linear: its operands must be whole sums"
            kinds = {r.kind for d, r in roles.items() if isinstance(r, Reduce) and strategy.split.get(d)}
            if kinds - {"sum"}:
                return f"{self.name} takes a {kinds.pop()}, which does not commute with a partial sum"
        return None

    def strategies(self, operands: tuple[TensorType, ...], mesh: Mesh) -> tuple[Strategy, ...]:
        """Every legal strategy on a mesh: each axis splits a dim, carries a partial sum, or is idle."""
        return self.placements(operands, mesh).strategies

    def placements(self, operands: tuple[TensorType, ...], mesh: Mesh) -> Placements:
        """The same as the one object that all ops have with these strategies, or as an object of its own."""
        known = facts(self, operands)
        splittable = tuple([d for d, n in known.sizes.items() if n > 1 and not isinstance(known.roles.get(d), Whole)])
        found = all_placements(splittable, len(known.linear), mesh.names)
        simple = all([isinstance(r, Map | Lookup | Whole) or r == Reduce("sum") for r in known.roles.values()])
        methods = self.methods()
        if len(methods) > 1:
            found = Placements(tuple([dataclasses.replace(s, method=m) for s in found.strategies for m in methods]))
        elif simple and type(self).illegal is Op.illegal:
            return found
        legal = [self.illegal(operands, s, mesh) is None for s in found.strategies]
        return found if all(legal) else Placements(tuple(compress(found.strategies, legal)))

    def bytes_touched(self, operands: tuple[TensorType, ...]) -> float:
        """Memory traffic of the whole op, every operand read and every result written once [bytes]."""
        return float(sum(t.size * t.itemsize for t in (*operands, *facts(self, operands).results)))

    def attributes(self) -> dict[str, Any]:
        """The static parameters, for printing; a field equal to its default is left out."""
        return {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.default is dataclasses.MISSING or getattr(self, f.name) != f.default
        }

    def describe(self, *operands: TensorType) -> str:
        """The op's row in the reference: types, roles and cost, straight from its rules."""
        shown = ", ".join(f"{d}: {r}" for d, r in self.roles(*operands).items()) or "all Map"
        results = ", ".join(map(str, self.results(*operands)))
        head = f"{self.name}: {', '.join(map(str, operands))} -> {results}"
        return f"{head}\n    roles {shown}\n    flops {self.flops(*operands):,.0f}"


def _renamed(layout: Layout, names: Mapping[str, str]) -> Layout:
    return Layout.of({names[d]: axes for d, axes in layout.splits}, layout.partial, layout.reduce)


def is_summed(role: Role) -> bool:
    """Whether a result without a dim of this role is partial over the axes that split the dim."""
    return isinstance(role, Reduce | Reach)


class Facts(NamedTuple):
    """What an op says of itself on given operand types; not to be changed."""

    roles: Mapping[str, Role]
    sizes: Mapping[str, int]
    results: tuple[TensorType, ...]
    renames: Mapping[str, str]
    linear: tuple[tuple[int, ...], ...]


@lru_cache(maxsize=4096)
def facts(op: Op, operands: tuple[TensorType, ...]) -> Facts:
    """The op's own rules, looked up once: the search asks for them once for each of many strategies."""
    return Facts(op.roles(*operands), op.dims(*operands), op.results(*operands), op.renames(), op.linear(*operands))


def log2(n: int) -> float:
    return math.log2(max(n, 2))


__all__ = ["Dim", "Halo", "Lookup", "Map", "Op", "Reach", "Reduce", "Role", "Strategy", "Whole", "log2"]
