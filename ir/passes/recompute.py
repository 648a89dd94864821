"""Recomputation: values of the forward pass that are computed a second time instead of being kept.

Which values, and for which consumers, is the planner's choice (`Plan.recompute`); this pass only writes it out. The
second copy of a node stands right before the first node that takes it. The backend fences it (see
`backend_cuda.lower`), otherwise XLA would merge it with the first.
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


def places(
    program: Program, order: Mapping[str, int] | None = None, free: Collection[str] | None = None
) -> dict[str, int]:
    """Every value that could be recomputed, with when its second copy is made: the first time that it may be taken.

    That is when the first node of the backward pass runs that uses the value or, where none does, when the second copy
    of a value is made that is computed from it; for `free` values, which take no memory (None: all), the earlier of
    both. `order` says when each node runs; by default as the program has them. Nodes with regions and with several
    results are computed once.
    """
    order = order or {n.key: i for i, n in enumerate(program.nodes)}
    late, found = late_nodes(program), dict[str, int]()
    for node in program.nodes:
        if node.key in late and not node.op.regions():
            for value in node.operands:
                found[value.name] = min(order[node.key], found.get(value.name, order[node.key]))
    direct = set() if free is None else set(found) - set(free)
    for node in reversed(program.nodes):
        if node.key in late or node.key not in found or not _is_plain(node):
            continue
        for value in node.operands:
            if value.name not in direct:
                found[value.name] = min(found[node.key], found.get(value.name, found[node.key]))
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
    if unknown := set(chosen) - set(places(program)):
        raise InternalError(f"'{program.name}' cannot compute {', '.join(sorted(unknown))} again")
    keys = {n.key for n in program.nodes} | {again(name) for name in chosen}
    for name, consumers in chosen.items():
        if not consumers or set(consumers) - keys:
            raise InternalError(f"%{name} is computed again for {sorted(set(consumers) - keys) or 'nothing'}")

    def taken(key: str, operands: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(Value(again(v.name), v.type) if key in chosen.get(v.name, ()) else v for v in operands)

    second, nodes = {}, list[Node]()
    for node in program.nodes:
        if node.key in chosen:
            (result,) = node.results
            copy = Value(again(result.name), result.type)
            second[copy.name] = Node(node.op, taken(copy.name, node.operands), (copy,), node.span)
    for node in program.nodes:
        written = Node(node.op, taken(node.key, node.operands), node.results, node.span)
        nodes += [*_made_for(written, second), written]
    return Program(program.name, program.inputs, tuple(nodes), program.outputs, program.ties)


def _made_for(node: Node, second: dict[str, Node]) -> list[Node]:
    """Takes out of `second` what a node needs of it, as it stands there."""
    needed: dict[str, None] = {}
    todo = [v.name for v in node.operands if v.name in second]
    while todo:
        name = todo.pop()
        if name not in needed:
            needed[name] = None
            todo += [v.name for v in second[name].operands if v.name in second]
    return [second.pop(name) for name in list(second) if name in needed] if needed else []


def everything_again(
    program: Program, values: Collection[str], free: Collection[str] | None = None
) -> dict[str, tuple[str, ...]]:
    """The choice in which the values are recomputed for every consumer that may take them so, as `places` has it.

    What is made before the second copy of an operand is takes the first.
    """
    where, late = places(program, free=free), late_nodes(program)
    chosen: dict[str, list[str]] = {name: [] for name in where if name in values}
    taken: dict[str, list[str]] = {}
    for node in reversed(program.nodes):  # whoever takes a second copy comes after its maker
        if node.key in late and not node.op.regions():
            key, names = node.key, list(dict.fromkeys(v.name for v in node.operands))
        elif node.key in taken:
            key, names = again(node.key), taken_again(node, where)
        else:
            continue
        for name in names:
            if name in chosen:
                taken.setdefault(name, []).append(key)
    return {name: tuple(reversed(taken[name])) for name in chosen if name in taken}


def taken_again(node: Node, where: Mapping[str, int]) -> list[str]:
    """The operands whose second copy a node's second copy may take: those that are there by then."""
    names = dict.fromkeys(v.name for v in node.operands)
    return [name for name in names if name in where and where[name] <= where[node.key]]
