"""In what manner devices own particles: with more room for those that leave their part of a mesh, or as a plan does."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from ..graph import Node, Program, Value
from ..ops.ownership import Particles
from ..ops.sites import Limit
from ..plan import Plan
from .rewrite import Scope, rewrite

Manner = tuple[int, int, str]
"""reach, capacity and ownership"""
Which = tuple[tuple[str, ...], Manner]
"""The dims of a mesh, and in what manner particles meet it."""


def enlarge(program: Program, manners: Mapping[Which, Manner]) -> Program:
    """The program with other reach, capacity and ownership of the particles on some meshes, and of their limits."""

    def rule(node: Node, scope: Scope) -> Sequence[Value] | None:
        op = node.op
        if not isinstance(op, Particles | Limit) or (found := manners.get(which(op))) is None:
            return None
        reach, capacity, ownership = found
        op = dataclasses.replace(op, reach=reach, capacity=capacity, ownership=ownership)
        return scope.keep(Node(op, node.operands, node.results, node.span))

    return rewrite(program, rule) if manners else program


def manners_of(program: Program, plan: Plan) -> dict[Which, Manner]:
    """In what manner a plan owns particles that the program leaves open; where it does so in both ways, none."""
    found: dict[Which, set[str]] = {}
    for node in program.walk():
        op = node.op
        if not isinstance(op, Particles) or op.ownership != "auto":
            continue
        strategy = plan.strategies[node.key]
        if any(strategy.split.get(n) for n in op.lattice):
            found.setdefault(which(op), set()).add(strategy.method or "halo")
    return {key: (*key[1][:2], min(ways)) for key, ways in found.items() if len(ways) == 1}


def which(op: Particles | Limit) -> Which:
    """Whose particles an op or a limit is about."""
    names = op.mesh if isinstance(op, Limit) else tuple(d.name for d in op.mesh)
    return names, (op.reach, op.capacity, op.ownership)


__all__ = ["Manner", "Which", "enlarge", "manners_of", "which"]
