"""Trimming scans: what nobody reads is not stacked, not carried and not handed in."""

from __future__ import annotations

import dataclasses
from collections.abc import Container

from ..graph import Node, Program
from ..ops.control import Scan
from ..ops.sites import Site


def trim_scans(program: Program) -> Program:
    """The program with unread results, carries and operands of its scans gone; sites in a body stay.

    A scan in the form for a gradient is left as it is: its results are counted from the end.
    """
    needed, nodes = {v.name for _, v in program.outputs}, list[Node]()
    for node in reversed(program.nodes):
        if isinstance(node.op, Scan) and not node.op.active:
            node = _trimmed(node, needed)
        nodes.append(node)
        if _is_read(node, needed):
            needed |= {v.name for v in node.operands}
    return dataclasses.replace(program, nodes=tuple(reversed(nodes)))


def _is_read(node: Node, needed: Container[str]) -> bool:
    return any(v.name in needed for v in node.results) or _has_site(node)


def _has_site(node: Node) -> bool:
    return isinstance(node.op, Site) or any(_has_site(n) for region in node.op.regions() for n in region.nodes)


def _trimmed(node: Node, needed: Container[str]) -> Node:
    """The scan with the results in `needed`, and the carries on which they depend, undoing a step included."""
    op = node.op
    assert isinstance(op, Scan)
    outputs, undone = op.region.outputs, set[str]()
    kept = {k for k, v in enumerate(node.results) if v.name in needed}
    while True:
        read = _read(op.region, {outputs[k][1].name for k in kept})
        used = _used(op.region, read)
        if op.inverse:
            undone = _read(op.inverse, {op.inverse.outputs[k][1].name for k in kept if k < op.carries})
            used |= _used(op.inverse, undone)
        carried = {i for i in used if i < op.carries}
        if carried <= kept:
            break
        kept |= carried
    if len(kept) == len(outputs) and len(used) == len(node.operands):
        return dataclasses.replace(node, op=op.with_regions(*map(trim_scans, op.regions())))
    kept_inputs = [i for i in range(len(node.operands)) if i in (kept if i < op.carries else used)]
    names = {outputs[k][0] for k in kept}
    region = Program(
        op.region.name,
        tuple(op.region.inputs[i] for i in kept_inputs),
        tuple(n for n in op.region.nodes if _is_read(n, read)),
        tuple(outputs[k] for k in sorted(kept)),
        {output: to for output, to in op.region.ties.items() if output in names},
    )
    inverse = op.inverse and Program(
        op.inverse.name,
        tuple(op.inverse.inputs[i] for i in kept_inputs),
        tuple(n for n in op.inverse.nodes if _is_read(n, undone)),
        tuple(x for k, x in enumerate(op.inverse.outputs) if k in kept),
    )
    trimmed = dataclasses.replace(
        op,
        region=trim_scans(region),
        inverse=inverse and trim_scans(inverse),
        carries=sum(i < op.carries for i in kept_inputs),
        scanned=sum(op.carries <= i < op.carries + op.scanned for i in kept_inputs),
        length=op.trips(node.types),
    )
    operands = tuple(node.operands[i] for i in kept_inputs)
    return Node(trimmed, operands, tuple(node.results[k] for k in sorted(kept)), node.span)


def _used(region: Program, read: Container[str]) -> set[int]:
    """Which inputs of a region are read."""
    return {i for i, x in enumerate(region.inputs) if x.name in read}


def _read(region: Program, wanted: set[str]) -> set[str]:
    """The values of a body that the wanted ones and its sites depend on."""
    found = set(wanted)
    for node in reversed(region.nodes):
        if _is_read(node, found):
            found |= {v.name for v in (*node.results, *node.operands)}
    return found
