"""The shape of the mesh: from a number of devices to the mesh whose best plan is the fastest.

A shape gives the devices axes: some that lie inside a node (`gpu`, `gpu2`, …) and some that go across nodes (`node`,
`node2`, …), or one axis over all of them (`device`). Axes of one kind are joined by the same links, so their order
changes nothing: of the ordered factorisations only the descending ones are searched. Where the machine has no nodes,
or the devices fit into one, there is one kind of axis (`device` or `gpu`).

A plan of a shape is also a plan of every shape that cuts its axes further, at the same price: the pieces act together.
So the coarse shapes, which are soon solved, come first, and the best price found is the cutoff for the finer ones:
most of these are struck off by a bound before their search begins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ir.errors import Diagnostic
from ir.graph import Program
from ir.layout import Layout
from ir.mesh import Mesh
from ir.plan import Plan

from .cost import Costs
from .machine import Machine
from .make import make_plan, too_large
from .orders import Order, Preference, parse_order
from .problem import KEEP_SMALL, Problem, Question
from .recompute import Again, asked_again
from .show.units import seconds_text


@dataclass(frozen=True)
class Tried:
    """A shape with the predicted seconds of its best plan, or None and why it has been struck off."""

    mesh: Mesh
    seconds: float | None
    why: str = ""
    proven: bool = True
    """Whether the search came to its end; otherwise the shape may have a faster plan."""


@dataclass(frozen=True)
class MeshSearch:
    """The best plan on any shape, and every shape in the order tried."""

    devices: int
    plan: Plan
    tried: tuple[Tried, ...]

    @property
    def proven(self) -> bool:
        """Whether no shape that was searched has a faster plan."""
        return all(t.proven for t in self.tried)

    def json(self) -> list[dict[str, object]]:
        """The shapes as plain data."""
        return [{"mesh": dict(t.mesh.axes), "seconds": t.seconds, "why": t.why} for t in self.tried]

    def __str__(self) -> str:
        rows = [("mesh", "predicted", "")]
        rows += [(str(t.mesh), seconds_text(t.seconds) if t.seconds is not None else "-", t.why) for t in self.tried]
        wide = [max(len(row[c]) for row in rows) for c in (0, 1)]
        lines = [f"  {a.ljust(wide[0])}  {b.ljust(wide[1])}  {c}".rstrip() for a, b, c in rows]
        proof = "" if self.proven else "; not all searches came to their end"
        return "\n".join([f"shapes of {self.devices} devices: {len(self.tried)} tried{proof}", *lines]) + "\n"


def mesh_shapes(devices: int, machine: Machine, axes: int = 3) -> tuple[Mesh, ...]:
    """The shapes to search, coarse ones first; at most `axes` axes.

    Raises `Diagnostic` for a number of devices that is not positive, or that fills the machine's nodes unevenly.
    """
    if devices < 1:
        hint = "give the number of devices, as --devices 8"
        raise Diagnostic("plan", f"a mesh cannot have {devices} devices", where="devices", hint=hint)
    if axes < 1:
        raise Diagnostic("plan", f"a mesh cannot have at most {axes} axes", where="axes", hint="search 1, 2 or 3 axes")
    if devices == 1:
        return (Mesh(),)
    if not machine.node or devices <= machine.node:
        name = "gpu" if machine.node else "device"
        found = [_mesh(f, name) for f in factorisations(devices, axes)]
    else:
        nodes, rest = divmod(devices, machine.node)
        if rest:
            near = f"{nodes * machine.node} or {(nodes + 1) * machine.node}"
            raise Diagnostic(
                "plan",
                f"{devices} devices do not fill nodes of {machine.node} ({machine.name})",
                where="devices",
                hint=f"above one node, take whole nodes: {near} devices; or give the mesh itself with --mesh",
            )
        found = [_mesh((devices,), "device")]
        for across in factorisations(nodes, axes - 1):
            for inside in factorisations(machine.node, axes - len(across)):
                found.append(Mesh(_mesh(across, "node").axes + _mesh(inside, "gpu").axes))
    return tuple(sorted(found, key=lambda m: (len(m.axes), max(m.shape), m.shape)))


def factorisations(n: int, most: int) -> Iterator[tuple[int, ...]]:
    """Every way to write n > 1 as a product of at most `most` factors above one, in descending order."""

    def below(n: int, most: int, largest: int) -> Iterator[tuple[int, ...]]:
        if n == 1:
            yield ()
        elif most:
            for factor in (f for f in range(min(n, largest), 1, -1) if n % f == 0):
                yield from ((factor, *rest) for rest in below(n // factor, most - 1, factor))

    return below(n, most, n)


def _mesh(sizes: tuple[int, ...], name: str) -> Mesh:
    return Mesh(tuple((f"{name}{i + 1}" if i else name, size) for i, size in enumerate(sizes)))


def search_mesh(
    program: Program,
    devices: int,
    *,
    machine: Machine | str | None = None,
    memory: float | None = None,
    pins: Sequence[Order | str] = (),
    fixed: Mapping[str, Layout] | None = None,
    names: Mapping[str, str] | None = None,
    keep_small: int = KEEP_SMALL,
    seconds: float = 60.0,
    recompute: bool | Sequence[Again] = True,
    copies: float = 0.0,
    axes: int = 3,
    explain: bool = True,
) -> MeshSearch:
    """The plan of least predicted time over all shapes of `devices` devices with at most `axes` axes.

    Searched are the shapes of `mesh_shapes`; of shapes with plans of equal price the one with fewer axes is taken. Pins
    may name axes: shapes without them are struck off; preferences are heard on the best shape, they do not choose it.
    The other arguments are those of `make_plan`; `seconds` limits each search of a shape. Raises `Diagnostic` where no
    shape can be meant and where no plan of any shape fits the memory (without `explain` in few words, at once).
    """
    if not isinstance(machine, Machine):
        machine = Machine.load(machine or "laptop")
    orders = tuple(parse_order(p) if isinstance(p, str) else p for p in pins)
    firm = tuple(o for o in orders if not isinstance(o, Preference))
    budget = machine.memory_size if memory is None else memory
    question = Question(firm, fixed or {}, names or {}, budget, keep_small, seconds, asked_again(recompute), copies)
    best: Plan | None = None
    tried: list[Tried] = []
    refused: list[Diagnostic] = []
    posed: Problem | None = None
    refuted = True
    for mesh in mesh_shapes(devices, machine, axes):
        try:
            problem = Problem.of(program, Costs(machine, mesh), question)
        except Diagnostic as error:
            refused.append(error)
            tried.append(Tried(mesh, None, f"struck off: {error.message}"))
            continue
        if posed is None or len(mesh.axes) <= 2:  # the least memory takes long to prove with more
            posed = problem
        cutoff = _seconds(best) * (1 - 1e-9)
        plan, proven = problem.search(cutoff=cutoff)
        stopped, refuted = not proven, refuted and (plan is not None or proven)
        if plan is not None and _seconds(plan) < cutoff:
            tried.append(Tried(mesh, _seconds(plan), _how(plan) if stopped else "", not stopped))
            best = plan
        elif stopped:
            tried.append(Tried(mesh, None, f"stopped after {seconds:.0f} s", False))
        elif best is None:
            tried.append(Tried(mesh, None, "struck off: no plan fits the memory"))
        else:
            tried.append(Tried(mesh, None, f"struck off: no plan is faster than {seconds_text(_seconds(best))}"))
    if best is None:
        if posed is not None and not explain:
            raise too_large(program, budget)
        raise refused[-1] if posed is None else _too_small(devices, posed, len(tried), refuted)
    if len(firm) < len(orders):
        best = make_plan(
            program,
            best.mesh,
            machine=machine,
            memory=memory,
            pins=orders,
            fixed=fixed,
            names=names,
            keep_small=keep_small,
            seconds=seconds,
            recompute=recompute,
            copies=copies,
        )
    return MeshSearch(devices, best, tuple(_marked(t, best) for t in tried))


def _too_small(devices: int, posed: Problem, count: int, proven: bool) -> Diagnostic:
    error = posed.too_small(proven)
    shapes = "the one shape" if count == 1 else f"any of {count} shapes"
    return Diagnostic(
        "plan",
        f"no plan on {shapes} of {devices} devices fits into {posed.memory:,.0f} B per device",
        where="memory",
        hint=f"on mesh {posed.costs.mesh}: {error.hint}",
    )


def _seconds(plan: Plan | None) -> float:
    if plan is None:
        return math.inf
    assert plan.prediction is not None
    return plan.prediction.seconds


def _how(plan: Plan) -> str:
    assert plan.prediction is not None
    return plan.prediction.how


def _marked(tried: Tried, best: Plan) -> Tried:
    if tried.mesh != best.mesh:
        return tried
    return Tried(tried.mesh, tried.seconds, ", ".join(filter(None, ("the best", tried.why))), tried.proven)
