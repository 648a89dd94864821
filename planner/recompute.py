"""Which values of the forward pass the search may recompute instead of keeping: those whose bytes matter.

Keeping everything is the cheapest plan that there is, unless memory binds; so second copies join the problem only when
the best plan without them does not fit. Then each value chosen here is kept or recomputed for each of its consumers in
the backward pass, jointly with all layouts.
"""

from __future__ import annotations

from ir.graph import Program, Value
from ir.mesh import Mesh
from ir.passes.recompute import again, everything_again, places, recompute

from .cost import whole_bytes
from .fusion import made_in_place

SHARE = 1e-3
"""A value of which even an equal share per device is below this fraction of the memory budget is always kept."""


def with_second_copies(program: Program, memory: float, mesh: Mesh) -> tuple[Program, dict[str, Value]]:
    """The program with a second copy of every value worth recomputing, and the copies' names with their originals."""
    possible = places(program)
    worth = [
        n.key
        for n in program.nodes
        if n.key in possible
        and not made_in_place(n)
        and whole_bytes(n.results[0].type) / mesh.devices >= SHARE * memory
    ]
    chosen = everything_again(program, worth)
    values = {n.key: n.results[0] for n in program.nodes}
    return recompute(program, chosen), {again(name): values[name] for name in chosen}
