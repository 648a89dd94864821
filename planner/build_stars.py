"""The stars of a program: what moves of its values cost, and what holds how much memory from when to when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ir.column import Column
from ir.dims import TensorType
from ir.errors import InternalError
from ir.graph import Node, Program, Value
from ir.layout import WHOLE

from .candidates import ABSENT
from .memory import is_packed, staging_slots
from .schedule import Schedule
from .solve.network import Star

if TYPE_CHECKING:
    from .build import Builder


@dataclass
class Wanted:
    variable: int
    layouts: Column
    """Tuples of layouts."""
    consumer: str


@dataclass
class Made:
    """A value whose star is being collected."""

    value: Value
    source: int
    layouts: Column
    """By state of the source; None where it is absent."""
    trips: int
    wanted: list[Wanted] = field(default_factory=list)


@dataclass(frozen=True)
class Collected:
    """What a builder has collected of a program, and when the program runs what."""

    builder: Builder
    schedule: Schedule

    def stars(self, program: Program) -> list[Star]:
        found = [star for m in self.builder.made.values() for star in self._stars(m)]
        found += [self._packed(name, *packed) for name, packed in self.schedule.packed.items()]
        found += [self._room(variable, node) for variable, node in self._reaching()]
        if self.builder.copies:
            held = {i.name for i in program.inputs_of("latent")}
            found += [self._sampler(s) for s in found if s.value.name in held]
        return [*found, *self._slots()]

    def _stars(self, made: Made) -> Iterator[Star]:
        """The star of a value, and further ones for memory that it has or has not by layout and step."""
        star = self._star(made)
        yield star
        for n, life in enumerate(self.schedule.idle.get(made.value.name, ())):
            yield replace(star, value=Value(f"kept free {n}:{made.value.name}", made.value.type), uses=[], life=life)
        if made.value.name in self.schedule.going:
            yield self._read(made, star)

    def _star(self, made: Made) -> Star:
        uses = [w for w in made.wanted if w.variable != made.source]
        for w in made.wanted:
            if w.variable == made.source and tuple(w.layouts) != tuple((x,) for x in made.layouts):
                raise InternalError(f"{made.value} is tied to itself in another layout")
        stored, going = self.schedule.stored[made.value.name], made.value.name in self.schedule.going
        alike = self.builder.stars.of(made.value, made.layouts, [w.layouts for w in uses], stored, going)
        return replace(
            alike,
            value=made.value,
            source=made.source,
            price=alike.price if made.trips == 1 else made.trips * alike.price,
            life=self._life(made.value),
            stored=stored,
            uses=[
                replace(u, variable=w.variable, time=self._time(w.consumer, made.value))
                for u, w in zip(alike.uses, uses, strict=True)
            ],
        )

    def _life(self, value: Value) -> tuple[int, int]:
        """From where the value is made to its last sure consumer; a second copy has none."""
        first, last = self.schedule.life[value.name]
        if value.name in self.schedule.going:  # `_read` has the rest
            return first, last - 1
        return (
            (first, first) if value.name in self.builder.second else (first, max(first, self.schedule.sure[value.name]))
        )

    def _time(self, consumer: str, value: Value) -> tuple[int, int]:
        """From when to when a consumer holds its copy, apart from what `_read` has."""
        first, last = self.schedule.reading(consumer, value.name)
        return (first, last - 1) if value.name in self.schedule.going else (first, last)

    def _read(self, made: Made, star: Star) -> Star:
        """The memory of what the one reader of a value holds when it runs: the value itself, or a copy instead.

        A transform that is joined with the one before reads nothing where it wants no move.
        """
        (wanted,), (use,) = made.wanted, star.uses
        value, last = Value(f"read:{made.value.name}", made.value.type), self.schedule.life[made.value.name][1]
        if made.value.name not in self.schedule.joined:
            read = self.builder.stars.of(value, self.builder.one(wanted.layouts.each(lambda layouts: layouts[0])), [])
            return replace(read, value=value, source=wanted.variable, life=(last, last))
        nothing = self.builder.stars.alike(np.zeros_like(star.price))
        return replace(
            star,
            value=value,
            stored=False,
            life=(last, last),
            price=nothing,
            ties=nothing,
            scratch=nothing,
            uses=[replace(use, time=(last, last))],
        )

    def _packed(self, name: str, node: Node, index: int, life: tuple[int, int]) -> Star:
        """The memory of what a node packs of one of its operands."""
        if node.op.regions():
            inner = self.builder.made[region_operands(node)[index].name]
            variable, layouts = inner.source, inner.layouts
        else:
            variable = next(v for v, n in self.builder.nodes.items() if n.key == node.key)
            states = self.builder.variables[variable].states
            packs = [c is not ABSENT and is_packed(node, index, c.strategy) for c in states]
            layouts = Column.of(c.wants[index] if p else None for c, p in zip(states, packs, strict=True))
        value = Value(f"packed:{name}", node.types[index])
        return replace(
            self.builder.stars.of(value, self.builder.one(layouts), []), value=value, source=variable, life=life
        )

    def _reaching(self) -> Iterator[tuple[int, Node]]:
        """The variables of nodes whose blocks touch what lies beyond their edges."""
        return ((v, n) for v, n in self.builder.nodes.items() if n.op.reaches(n.types))

    def _room(self, variable: int, node: Node) -> Star:
        """The memory of what a node holds beside its blocks while it runs."""
        mesh, states = self.builder.candidates.costs.mesh, self.builder.variables[variable].states
        rooms = [0.0 if c is ABSENT else node.op.room(node.types, c.strategy, mesh) for c in states]
        sizes, labels = np.unique(rooms, return_inverse=True)
        free, sizes = self.builder.stars.alike(np.zeros((len(sizes), len(sizes)))), self.builder.stars.alike(sizes)
        value = Value(f"room:{node.key}", node.results[0].type)
        whole = [WHOLE] * len(sizes)
        return Star(
            value, variable, labels, whole, free, free, life=self.schedule.at[node.key], bytes=sizes, scratch=free
        )

    def _sampler(self, star: Star) -> Star:
        """The memory of a sampler's vectors, which lie as the latents do."""
        life = (0, self.schedule.steps - 1)
        return replace(
            star,
            value=Value(f"sampler:{star.value.name}", star.value.type),
            uses=[],
            life=life,
            stored=True,
            bytes=self.builder.copies * star.bytes,
        )

    def _slots(self) -> Iterator[Star]:
        """The memory of the staging slots of hand-written collectives, whatever is chosen."""
        size = staging_slots(self.builder.candidates.costs.native, self.builder.platform)
        if size and self.builder.variables:
            labels = np.zeros(len(self.builder.variables[0].states), int)
            free, sizes = self.builder.stars.alike(np.zeros((1, 1))), self.builder.stars.alike(np.array([float(size)]))
            value, life = Value("slots", TensorType()), (0, self.schedule.steps - 1)
            yield Star(value, 0, labels, [WHOLE], free, free, life=life, bytes=sizes, scratch=free)


def region_operands(node: Node) -> tuple[Value, ...]:
    return node.op.region_operands()  # type: ignore[attr-defined]
