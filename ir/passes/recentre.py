"""Recentring: a site marked non-centred becomes a function of a parameter-free one.

`alpha ~ Normal(mu, sigma) @noncentered` becomes `alpha_raw ~ Normal(0, 1)` and `alpha = mu + sigma * alpha_raw`:
where the data say little about each `alpha`, the sampler then meets no funnel (Papaspiliopoulos et al. 2007).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..build import as_value
from ..dist import Distribution
from ..errors import Diagnostic
from ..graph import Node, Program, Value
from ..ops.sites import Deterministic, Sample
from .rewrite import Scope, rewrite


def recentre(program: Program) -> Program:
    """The program with every non-centred site replaced, in scans too; latents are renamed `NAME_raw`."""
    if not any(isinstance(n.op, Sample) and n.op.noncentered for n in program.walk()):
        return program
    return rewrite(program, _recentred)


def _recentred(node: Node, scope: Scope) -> Sequence[Value] | None:
    op, b, params = node.op, scope.builder, node.operands
    if not isinstance(op, Sample) or not op.noncentered:
        return None
    b.real = op.dtype

    def sample(dist: Distribution, *args: Value | float) -> Value:
        raw = Sample(f"{op.site}_raw", dist, op.dims_, op.dtype)
        return b.emit(raw, *(as_value(a) for a in args), span=node.span)

    made = op.dist.recentre(sample, *params)
    if made is None:
        raise Diagnostic(
            "type",
            f'"{op.site}" cannot be non-centred: {op.dist.name} has no form with a parameter-free draw',
            hint="take @noncentered away, or write the transformation yourself",
        ).at(node.span)
    return (b.emit(Deterministic(op.site), made),)
