"""What devices can hold of particles that leave their part of a mesh: what was beyond it, and planning with more room.

A plan gives particles room (`ir.ops.ownership`): the reach of halos, the capacity of buffers. Programs of a model put
out what was needed, by limit, as `limit:SITE`; it belongs to the method and layout of the plan that they run with.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ir.dims import CHAIN
from ir.errors import Diagnostic
from ir.graph import Program
from ir.ops.ownership import NEED
from ir.ops.sites import Limit
from ir.passes.enlarge import Manner, Which, enlarge, which

if TYPE_CHECKING:
    from .posterior import Posterior

PREFIX = "limit:"
TRIES = 8
"""So often a model is planned with more room before it is given up."""
ROOM, MORE = 1.25, 1.5
"""Room over what was needed: the first time, and where that did not do (a simulation's later steps need more)."""


@dataclass(frozen=True)
class Exceeded:
    """A limit with what was needed beyond it: at the first of `steps` steps (None: there are none) where it was."""

    limit: Limit
    step: int | None
    steps: int
    load: float
    cells: float
    fill: float

    @property
    def far(self) -> bool:
        """Whether particles that migrate would have to go farther than to a neighbour."""
        return self.fill >= 0 and self.load > max(1.0, self.fill)

    @property
    def place(self) -> str:
        return f"on the mesh [{', '.join(self.limit.mesh)}]"

    @property
    def told(self) -> str:
        step = "" if self.step is None else f" in step {self.step} of {self.steps}"
        where = f"{self.place}{step} "
        if not np.isfinite(self.load):
            return f"{where}displacements of particles are not a number"
        if self.fill < 0:
            far = f"{self.load * self.limit.reach:.3g} cells"
            return f"{where}a particle has gone {far}, more than the reach of {self.limit.reach}"
        if self.far:
            return f"{where}a particle that is to migrate has gone {self.load:.3g} times as far as its block is wide"
        full = f"{self.fill:.3g} times as many particles as the capacity of {self.limit.capacity} has room for"
        return f"{where}through a face of a block go {full}"

    def manner(self, room: float = ROOM) -> Manner | None:
        """With this the particles would be held, with some room; None where nothing would do."""
        reach, capacity, ownership = self.limit.reach, self.limit.capacity, self.limit.ownership
        if not np.isfinite(self.load) or (self.far and ownership == "migrate"):
            return None
        if self.far:  # halos that a block is too small for leave the dim whole
            return max(reach, math.ceil(self.cells * room)), capacity, "halo"
        if self.fill < 0:
            larger = max(reach + 1, math.ceil(self.cells * room))
            return larger, capacity if ownership == "halo" else math.ceil(capacity * larger / reach), ownership
        larger = max(capacity + 1, math.ceil(capacity * self.fill * room))
        return reach if ownership == "migrate" else math.ceil(reach * larger / capacity), larger, ownership

    def written(self, manner: Manner) -> str:
        """What to write in the model for it."""
        reach, capacity, ownership = manner
        words = {"reach": f"reach = {reach}", "capacity": f"capacity = {capacity}"}
        words |= {"ownership": f'ownership = "{ownership}"'} if ownership != self.limit.ownership else {}
        drop = {"halo": ("capacity",), "migrate": ("reach",)}.get(ownership, ())
        return ", ".join(w for n, w in words.items() if n not in drop)


class Beyond(Diagnostic):
    """A diagnostic of something that would be finite if devices held more."""

    def __init__(self, exceeded: Sequence[Exceeded], message: str, **further: Any):
        told = "".join(f"; {e.told}" for e in exceeded)
        hint = "the model is computed on devices that hold no more; on one device there is no such bound"
        super().__init__("run", message + told, hint=hint, **further)
        self.exceeded = tuple(exceeded)


def names_of(program: Program) -> list[str]:
    """The outputs of a program that tell what was needed."""
    return [n for n, _ in program.outputs if n.startswith(PREFIX)]


def exceeded(posterior: Posterior, program: Program, made: Mapping[str, Any]) -> list[Exceeded]:
    """The limits beyond which the outputs of a program of the posterior say that it was.

    Chains are taken together, and so are runs, if the arrays have an axis of them before those of their type.
    """
    found = []
    for name in names_of(program):
        t, need = program.results[name].type, np.asarray(made[name], np.float64)
        steps = tuple(d for d in t.names if d not in (CHAIN, NEED.name))
        order = [t.names.index(d) - len(t.names) for d in (*({CHAIN} & set(t.names)), *steps, NEED.name)]
        runs = range(need.ndim - len(order))
        count = math.prod(t[d] for d in steps)
        rows = np.transpose(need, [*runs, *(need.ndim + i for i in order)]).reshape(-1, count, NEED.size)
        found.append(of_rows(posterior.limits[name.removeprefix(PREFIX)], rows, bool(steps)))
    # Where one limit is exceeded, what comes after it is not a number.
    return [e for e in found if e is not None and np.isfinite(e.load)] or [e for e in found if e is not None]


def of_rows(limit: Limit, need: np.ndarray, stepped: bool) -> Exceeded | None:
    """What was needed beyond a limit, of needs [run, step, ~need]; None where all was held."""
    over = ~(need[..., 0] <= 1)
    if not over.any():
        return None
    numbers = need[over & np.isfinite(need[..., 0])]  # after the step that goes beyond there are none
    load, cells, fill = numbers.max(axis=0) if len(numbers) else (np.inf, np.inf, np.inf)
    step = int(np.flatnonzero(over.any(axis=0))[0]) + 1 if stepped else None
    return Exceeded(limit, step, need.shape[1], float(load), float(cells), float(fill))


def enlarged(posterior: Posterior, found: Sequence[Exceeded], tries: int) -> Posterior:
    """The posterior with room for what was needed, and a note that says so; `posterior.larger` from then on.

    tries: how often it was enlarged before. Raises `Beyond` where no room would do.
    """
    from .posterior import Posterior

    first: dict[Which, Exceeded] = {}
    manners: dict[Which, Manner] = {}
    for e in found:
        manner, key = e.manner(ROOM if tries == 0 else MORE), which(e.limit)
        if manner is None or tries == TRIES:
            why = "and no more room would hold them" if manner is None else f"planned {TRIES} times with more room"
            raise Beyond([e], f"particles are beyond what devices hold, {why}")
        (reach, capacity, ownership), (r, c, o) = manner, manners.get(key, manner)
        first.setdefault(key, e)
        manners[key] = max(reach, r), max(capacity, c), max(ownership, o)  # "halo" comes after "auto"
    notes = [f"{e.told}: planned again with {e.written(manners[k])}; write that to keep it" for k, e in first.items()]
    bound = posterior.bound
    notes = [*(n for n in bound.notes if not n.startswith(tuple(e.place for e in first.values()))), *notes]
    bound = dataclasses.replace(bound, program=enlarge(bound.program, manners), notes=tuple(notes))
    posterior.larger = Posterior(bound, posterior.request)
    return posterior.larger


def largest(posterior: Posterior) -> Posterior:
    """The posterior with the most room that was found to be needed so far."""
    while posterior.larger is not None:
        posterior = posterior.larger
    return posterior


__all__ = ["TRIES", "Beyond", "Exceeded", "enlarged", "exceeded", "largest", "names_of", "of_rows"]
