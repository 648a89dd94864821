"""Expanding the sites inside a scan: each step's share of a site becomes an entry of a tensor with the scan's dim.

| inside, at each step            | outside                                                              |
|---------------------------------|----------------------------------------------------------------------|
| a latent or given site          | an input with the dim first, which the scan goes through             |
| a term of the log density       | one f64 scalar a step, stacked, then summed along the dim            |
| a value that is an output       | a tensor with the dim first                                          |
| a draw                          | from a key of the step's own, derived from the program's key         |

The walk over a body is the same as over a program (`ir.passes.expand.Expansion`), so scans may stand inside scans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..build import Builder
from ..build_scan import ScanBuilder
from ..dims import Dim, TensorType
from ..errors import InternalError
from ..graph import Node, Value
from ..ops.control import Scan
from ..ops.order import reorder
from ..ops.random import StepKeys
from ..ops.sites import Sample
from .expand import DRAWING, Expansion, deterministic_names


@dataclass(frozen=True)
class Step:
    """What the sites in a scan's body ask of the program around it."""

    around: Expansion
    scan: ScanBuilder

    def input(self, name: str, t: TensorType, role: str) -> Value:
        """This step's entry of a further input of the program, which has the scan's dim."""
        return self.scan.slice(self.around.input(self.scan.outer, name, self.scan.stacked(t), role))

    def key(self) -> Value:
        """A random key of this step's own."""
        return self.scan.slice(self.scan.outer.emit(StepKeys(self.scan.dim), self.around.random_key()))


def expand_scan(around: Expansion, b: Builder, node: Node) -> None:
    """Emits a scan with its sites expanded, and hands what they become to the expansion around it."""
    op = node.op
    if not isinstance(op, Scan):
        raise InternalError(f"{op.name} has a region with sites, and no rule to expand it")
    operands = zip(op.region_operands(), node.operands, strict=True)
    skipped = _skipped(op, {v.name for v, outer in operands if outer.name in around.skipped}, around.mode)
    kept = [k for k, (_, v) in enumerate(op.region.outputs) if v.name not in skipped]
    scan = ScanBuilder(b, Dim(op.dim, op.trips(node.types)), op.region.name, reverse=op.reverse, every=op.every)
    inside = Expansion(around.mode, skipped=set(skipped), step=Step(around, scan))
    with scan:
        inside.env |= scan.enter(op, [around.env.get(v.name, v) for v in node.operands], skipped)
        names = deterministic_names(op.region)
        for inner in op.region.nodes:
            scan.region.span = inner.span
            inside.node(scan.region, inner, names)
        scan.region.span = None
        made = {f"result:{k}": inside.env[op.region.outputs[k][1].name] for k in kept}
        leaves = [made.pop(f"result:{k}") for k in kept if k < op.carries]
        made |= inside.outputs | ({_TOTAL: inside.total()} if inside.terms else {})
        close = _Close(scan, made)
        scan.close(leaves, close.stacked)
    found = close.emit([k for k in kept if k < op.carries])
    around.skipped |= {v.name for k, v in enumerate(node.results) if k not in kept}
    around.env |= {node.results[k].name: found.pop(f"result:{k}") for k in kept}
    if _TOTAL in found:
        around.add_term(found.pop(_TOTAL))
    around.outputs |= found


_TOTAL = "log_density:step"


class _Close:
    """What a body puts out, each value once: what is only an entry of a tensor from outside is that tensor."""

    def __init__(self, scan: ScanBuilder, made: Mapping[str, Value]):
        self.scan, self.made = scan, made
        self.whole = {inner: outer for outer, inner in scan.region.sliced.items()}
        self.source: dict[Value, str] = {}
        """The name of the stacked output for each value."""
        for name, value in made.items():
            if value not in self.whole and (value not in self.source or _is_site(name)):
                self.source[value] = name
        self.stacked = {name: value for value, name in self.source.items()}

    def emit(self, carries: list[int]) -> dict[str, Value]:
        """The scan, and everything that its body made, from outside."""
        wished = [*("" for _ in carries), *(n if _is_site(n) else "" for n in self.stacked)]
        last, stacked = self.scan.emit(wished)
        found = {f"result:{k}": v for k, v in zip(carries, last, strict=True)}
        for name, value in self.made.items():
            if value in self.source:
                found[name] = stacked[self.source[value]]
            else:
                found[name] = reorder(self.whole[value], self.scan.stacked(value.type).names)
        return found


def _is_site(name: str) -> bool:
    """Whether an output is named for a site: those are plain words."""
    return name.isidentifier()


def _skipped(op: Scan, from_outside: set[str], mode: str) -> set[str]:
    """The values of a body that this mode leaves out: generated sites, and what depends on them in any step."""
    found, region, before = set(from_outside), op.region, -1
    while before < len(found):
        before = len(found)
        for node in region.nodes:
            generated = isinstance(node.op, Sample) and node.op.generated and mode not in DRAWING
            if generated or any(v.name in found for v in node.operands):
                found |= {v.name for v in node.results}
        leaves = (v for _, v in region.outputs[: op.carries])
        found |= {i.name for i, v in zip(op.region_operands(), leaves, strict=False) if v.name in found}
    return found
