"""Recomputation: values of the forward pass that are computed a second time instead of being kept.

Which values, and for which consumers, is the planner's choice (`Plan.recompute`); this pass only writes it out. The
second copy of a node stands right before the first node that could use it, whatever is chosen, so that a schedule does
not depend on the choice. The backend fences it (see `backend_cuda.lower`), otherwise XLA would merge it with the first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..errors import InternalError
from ..graph import Node, Program, Value

SUFFIX = ".again"


def again(name: str) -> str:
    """The name of a value's second copy."""
    return name + SUFFIX


def late_nodes(program: Program) -> set[str]:
    """The keys of the nodes that only tied outputs need: in a gradient's program, the backward pass."""
    made = {v.name: n for n in program.nodes for v in n.results}
    needed = [v.name for name, v in program.outputs if name not in program.ties]
    early: set[str] = set()
    while needed:
        node = made.get(needed.pop())
        if node is not None and node.key not in early:
            early.add(node.key)
            needed += [v.name for v in node.operands]
    return {n.key for n in program.nodes} - early if program.ties else set()


def places(program: Program) -> dict[str, int]:
    """Every value that could be recomputed, with the index of the node before which its second copy stands.

    That is the first node of the backward pass that uses the value, or the first that uses one which could be
    recomputed from it. Nodes with regions and with several results are computed once.
    """
    late = late_nodes(program)
    found: dict[str, int] = {}
    for index in range(len(program.nodes) - 1, -1, -1):
        node = program.nodes[index]
        place = index if node.key in late else found.get(node.key)
        if place is None or (node.key in late and node.op.regions()):
            continue
        for value in node.operands:
            found[value.name] = min(place, found.get(value.name, place))
    return {n.key: found[n.key] for n in program.nodes if n.key in found and n.key not in late and _is_plain(n)}


def _is_plain(node: Node) -> bool:
    return len(node.results) == 1 and not node.op.regions()


def recompute(program: Program, chosen: Mapping[str, Collection[str]]) -> Program:
    """The program in which the named values are computed again for the named consumers.

    `chosen` maps a value to the keys of the nodes that take its second copy: nodes of the backward pass, or second
    copies themselves (`again(key)`). The result holds a node `again(key)` for each value; a program that has them
    already is given back as it is.
    """
    if not chosen or any(n.key == again(name) for n in program.nodes for name in chosen):
        return program
    where = places(program)
    if unknown := set(chosen) - set(where):
        raise InternalError(f"'{program.name}' cannot compute {', '.join(sorted(unknown))} again")
    keys = {n.key for n in program.nodes} | {again(name) for name in chosen}
    for name, consumers in chosen.items():
        if not consumers or set(consumers) - keys:
            raise InternalError(f"%{name} is computed again for {sorted(set(consumers) - keys) or 'nothing'}")

    def taken(key: str, operands: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(Value(again(v.name), v.type) if key in chosen.get(v.name, ()) else v for v in operands)

    before: dict[int, list[Node]] = {}
    for node in program.nodes:
        if node.key in chosen:
            (result,) = node.results
            copy = Value(again(result.name), result.type)
            second = Node(node.op, taken(copy.name, node.operands), (copy,), node.span)
            before.setdefault(where[node.key], []).append(second)
    nodes: list[Node] = []
    for index, node in enumerate(program.nodes):
        nodes += before.get(index, ())
        nodes.append(Node(node.op, taken(node.key, node.operands), node.results, node.span))
    return Program(program.name, program.inputs, tuple(nodes), program.outputs, program.ties)


def everything_again(program: Program, values: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The choice in which the values are recomputed for every consumer that may take them so."""
    where, late = places(program), late_nodes(program)
    chosen: dict[str, list[str]] = {name: [] for name in where if name in values}
    taken: dict[str, list[str]] = {}
    for node in reversed(program.nodes):  # whoever takes a second copy comes after its maker
        if node.key in late and not node.op.regions():
            key = node.key
        elif node.key in taken:
            key = again(node.key)
        else:
            continue
        for value in dict.fromkeys(node.operands):
            if value.name in chosen:
                taken.setdefault(value.name, []).append(key)
    return {name: tuple(reversed(taken[name])) for name in chosen if name in taken}
