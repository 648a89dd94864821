"""Which values of the forward pass are recomputed instead of being kept: the search's choice, or the user's.

Keeping everything is the cheapest plan that there is, unless memory binds; so second copies join the problem only when
the best plan without them does not fit. Then each value chosen here is kept or recomputed for each of its consumers in
the backward pass, jointly with all layouts. The user's word, a plan file's `[recompute]`, leaves nothing to choose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ir.errors import Diagnostic
from ir.graph import Program, Value
from ir.mesh import Mesh
from ir.passes.recompute import again, everything_again, places, recompute

from .cost import whole_bytes
from .fusion import Fusion, made_in_place
from .pins import did_you_mean, find_value

SHARE = 1e-3
"""A value of which even an equal share per device is below this fraction of the memory budget is always kept."""


def with_second_copies(program: Program, memory: float, mesh: Mesh, platform: str) -> tuple[Program, dict[str, Value]]:
    """The program with a second copy of every value worth recomputing, and the copies' names with their originals.

    Each is made when the backward pass comes to the value: in a chain, not with what is computed from it, which would
    have to be held as long as the value itself. What takes no memory is made again whenever it is needed.
    """
    possible = places(program)
    worth = [
        n.key
        for n in program.nodes
        if n.key in possible
        and not made_in_place(n)
        and whole_bytes(n.results[0].type) / mesh.devices >= SHARE * memory
    ]
    chosen = everything_again(program, worth, Fusion.of(program, platform).unstored())
    values = {n.key: n.results[0] for n in program.nodes}
    return recompute(program, chosen), {again(name): values[name] for name in chosen}


@dataclass(frozen=True)
class Again:
    """The order to compute a value a second time, for some consumers or (None) for all that may take it so."""

    value: str
    consumers: tuple[str, ...] | None = None
    where: str = "recompute"


def asked_again(recompute: bool | Sequence[Again]) -> bool | tuple[Again, ...]:
    """What `make_plan` is told, as `Question.recompute` has it."""
    return recompute if isinstance(recompute, bool) else tuple(recompute)


def check_again(orders: Sequence[Again], program: Program, names: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The orders as `Plan.recompute` has them; a `Diagnostic` for the first that cannot be meant."""
    shown = {value: user for user, value in reversed(list(names.items()))}
    possible = places(program)
    found: dict[str, Again] = {}
    for order in orders:
        name = find_value(order.value, program, names, "the plan file's [recompute]", order.where).name
        if name not in possible:
            known = sorted((shown.get(n, n) for n in possible), key=str.isdigit)
            some = ", ".join(known[:8])
            raise Diagnostic(
                "plan",
                f"'{order.value}' cannot be computed again: it is no single result that the backward pass needs",
                where=order.where,
                hint=f"these can: {some}" if some else "no value of this program can: it has no backward pass",
            )
        found[name] = order
    allowed = everything_again(program, list(found))
    takers = {v.name: [] for n in program.nodes for v in n.operands}
    for node in program.nodes:
        for value in dict.fromkeys(node.operands):
            takers[value.name] += [node.key] if node.key in possible else []
    return {
        name: _consumers(order, allowed.get(name, ()), takers.get(name, ()), names, shown)
        for name, order in found.items()
    }


def _consumers(
    order: Again, allowed: Sequence[str], takers: Sequence[str], names: Mapping[str, str], shown: Mapping[str, str]
) -> tuple[str, ...]:
    listed = [shown.get(key, key) for key in allowed]
    if not allowed:
        message = f"nobody would take '{order.value}' computed again: what needs it is not computed again itself"
        some = " or ".join(shown.get(n, n) for n in takers)
        hint = f"leave the line out, or have {some} computed again too" if some else "leave the line out"
        raise Diagnostic("plan", message, where=order.where, hint=hint)
    chosen = allowed if order.consumers is None else [names.get(c, c) for c in order.consumers]
    for name, key in zip(order.consumers or (), chosen, strict=False):
        if key not in allowed:
            meant = did_you_mean(name, [*listed, *allowed])
            message = f"'{name}' cannot take '{order.value}' computed again"
            hint = meant or f"these can: {', '.join(listed)}"
            raise Diagnostic("plan", message, where=order.where, hint=hint)
    return tuple(key for key in allowed if key in chosen)
