"""A memory budget that nothing fits: which orders stand in the way, and what would do instead.

Told are the least memory that some plan on the mesh needs, the smallest set of orders that together with the budget
leave no plan (if the budget could be met without them), and the least number of devices that would do with this
budget, found by doubling the mesh's last or first axis.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ir.errors import Diagnostic
from ir.mesh import Mesh

from ..orders import Unsatisfiable
from .conflict import Demand, Member, member_lines, minimal_conflict

if TYPE_CHECKING:
    from ..problem import Problem

DOUBLINGS = 6
"""How often an axis of the mesh is doubled in search of one that does."""


@dataclass(frozen=True)
class Tried:
    """A larger mesh with the bytes per device that some plan on it needs: the least found, and a proven bound."""

    mesh: Mesh
    bytes: float
    proven: float


class TooSmall(Diagnostic):
    """The diagnostic, with the same as data."""

    def __init__(
        self,
        message: str,
        *,
        needed: float,
        proven: float,
        members: Sequence[Member],
        tried: Sequence[Tried],
        enough: Tried | None,
        **rest: Any,
    ):
        super().__init__("plan", message, where="memory", **rest)
        self.needed, self.proven, self.enough = needed, proven, enough
        self.members, self.tried = tuple(members), tuple(tried)

    def as_json(self) -> dict[str, Any]:
        return {
            "least_bytes": self.needed,
            "least_bytes_proven": self.proven,
            "conflict": [m.as_json() for m in self.members],
            "tried": [_mesh_row(t) for t in self.tried],
            "enough": self.enough and _mesh_row(self.enough),
        }


def _mesh_row(tried: Tried) -> dict[str, Any]:
    return {"mesh": dict(tried.mesh.axes), "devices": tried.mesh.devices, "bytes": tried.bytes, "proven": tried.proven}


def explain_budget(problem: Problem, refuted: bool = False, seconds: float = 20.0) -> TooSmall:
    """The error for a problem that has no plan within its memory (proved where `refuted`), or none that was found.

    `seconds` limits all that is asked here together: the least memory, the orders to blame, larger meshes.
    """
    begin = time.monotonic()
    memory, mesh = problem.memory, problem.costs.mesh
    needed, proven = problem.least_memory(0.4 * seconds)
    if refuted:
        proven = min(needed, max(proven, memory))
    deadline = begin + 0.7 * seconds
    members = _orders_to_blame(problem, deadline) if needed > memory and problem.demands else []
    message = f"no plan on mesh {mesh} fits into {memory:,.0f} B per device"
    if mesh.devices == 1:
        message = f"the program does not fit into {memory:,.0f} B on one device"
    if not refuted and proven <= memory:  # not proved: the search was stopped
        message = f"no plan on mesh {mesh} that fits into {memory:,.0f} B per device was found in time"
    if members:
        lines = [f"{message}:", "  together with the budget these leave no plan", *member_lines(members)]
        message = "\n".join(lines)
    tried, enough, stuck = _larger(problem, begin + seconds)
    hint = f"the smallest memory that would do on this mesh is {needed:,.0f} B per device"
    if needed > proven * (1 + 1e-6):
        hint = f"{needed:,.0f} B per device would do, and less than {proven:,.0f} B cannot"
    elif mesh.devices == 1:
        hint = f"it needs {needed:,.0f} B"
    return TooSmall(
        message,
        needed=needed,
        proven=proven,
        members=members,
        tried=tried,
        enough=enough,
        hint=f"{hint}; {_devices(memory, tried, enough, stuck)}",
    )


def _devices(memory: float, tried: Sequence[Tried], enough: Tried | None, stuck: bool) -> str:
    if enough is not None:
        others = ", ".join(str(t.mesh) for t in tried if t.proven > memory)
        also = f"; {others} would not" if others else ""
        return f"with {memory:,.0f} B, {enough.mesh.devices} devices would do, as mesh {enough.mesh}{also}"
    if not tried:
        return "more devices or fewer pins need less"
    others, least = ", ".join(str(t.mesh) for t in tried), min(tried, key=lambda t: t.bytes)
    why = "more devices alone do not help" if stuck else "no larger mesh that was tried does"
    return f"{why}: of {others} the best, {least.mesh}, needs {least.bytes:,.0f} B"


def _orders_to_blame(problem: Problem, deadline: float) -> list[Member]:
    """The smallest set of orders that together with the budget leaves no plan; empty where the budget alone does."""
    pose = problem.pose
    assert pose is not None

    def possible(some: Sequence[Demand]) -> bool:
        if len(some) == len(problem.demands):
            return False
        left = deadline - time.monotonic()
        return left <= 0 or pose(some).least_memory(min(5.0, left))[1] <= problem.memory

    if not possible(()):
        return []
    core = minimal_conflict(problem.demands, possible)
    return [_without(each, problem) for each in core]


def _without(demand: Demand, problem: Problem) -> Member:
    """The best plan within the budget when one demand is dropped."""
    assert problem.pose is not None
    rest = replace(problem.pose([d for d in problem.demands if d is not demand]), seconds=2.0)
    plan = rest.solve()
    if plan is None or plan.prediction is None:
        least = rest.least_memory(2.0)[0]
        return Member(demand, None, None, f"a plan needs {least:,.0f} B per device")
    return Member(demand, plan.prediction.seconds, plan.prediction.peak_bytes)


def _larger(problem: Problem, deadline: float) -> tuple[list[Tried], Tried | None, bool]:
    """Meshes of two, four, … times the devices, the last axis made longer or the first, until one does.

    The search ends, and the third part of the answer says so, where twice the devices need no less.
    """
    assert problem.pose is not None
    mesh = problem.costs.mesh
    axes = mesh.axes or (("device", 1),)
    tried: list[Tried] = []
    before = float("inf")
    for doublings in range(1, DOUBLINGS + 1):
        at = dict.fromkeys([len(axes) - 1, 0])
        for longer in (_longer(axes, i, 2**doublings) for i in at):
            left = deadline - time.monotonic()
            if left <= 0 and tried:
                break
            try:
                larger = problem.pose(problem.demands, longer)
                least, proven = larger.least_memory(min(3.0, max(1.0, 0.5 * left)), problem.memory)
            except Unsatisfiable:
                continue
            tried.append(Tried(longer, least, proven))
        best = min(tried, key=lambda t: t.bytes, default=None)
        if best is not None and best.bytes <= problem.memory:
            return tried, best, False
        if time.monotonic() > deadline:
            break
        if best is None or best.bytes > 0.99 * before:  # what is left is not split by what is longer
            return tried, None, True
        before = best.bytes
    return tried, None, False


def _longer(axes: Sequence[tuple[str, int]], index: int, factor: int) -> Mesh:
    return Mesh(tuple((name, size * factor if i == index else size) for i, (name, size) in enumerate(axes)))
