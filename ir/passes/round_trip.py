"""There and back: what the inverses of scans make of the states at their ends, to hold inverses to.

A wrong inverse is a wrong gradient, and no type tells. So whoever writes one runs this program once, in a test, and
compares `first:…` with `undone:…`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..build import Builder
from ..dims import TensorType
from ..graph import Program
from ..ops.control import Scan
from .drop_inverses import drop_inverses
from .rewrite import with_fresh_regions


def round_trip(program: Program) -> Program:
    """The program of two outputs for each carry of the scans with an inverse, those within other scans apart.

    `first:REGION:I` is carry I as it enters the scan whose region is REGION, `undone:REGION:I` what all steps, and then
    the inverses of all steps, make of it: the same up to rounding.
    """
    with Builder(program.name) as b:
        env = {i.name: b.input(i.name, i.type, i.role) for i in program.inputs}
        outputs = {}
        for node in program.nodes:
            operands = tuple(env[v.name] for v in node.operands)
            op, names = with_fresh_regions(node.op, b), [v.name for v in node.results]
            made = b.emit_all(op, *operands, span=node.span, names=names)
            env |= {old.name: new for old, new in zip(node.results, made, strict=True)}
            if isinstance(op, Scan) and op.inverse:
                last = b.emit_all(_backwards(op, b, node.types), *made[: op.carries], *operands[op.carries :])
                for i, (first, undone) in enumerate(zip(operands, last, strict=False)):
                    outputs |= {f"first:{op.region.name}:{i}": first, f"undone:{op.region.name}:{i}": undone}
        return drop_inverses(b.finish(outputs))


def _backwards(op: Scan, b: Builder, types: Sequence[TensorType]) -> Scan:
    """The scan that undoes all steps of another one."""
    region = with_fresh_regions(op, b).regions()[1]
    carries = zip(region.outputs, region.inputs, strict=False)
    region = dataclasses.replace(region, ties={name: i.name for (name, _), i in carries})
    return Scan(op.dim, region, op.carries, op.scanned, not op.reverse, op.trips(types))


__all__ = ["round_trip"]
