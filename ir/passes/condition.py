"""Conditioning on data: latent sites become observed ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from ..build import Builder
from ..build_scan import ScanBuilder
from ..dims import Dim, TensorType
from ..errors import Diagnostic
from ..graph import Node, Program, Value
from ..ops.control import Scan, stacked
from ..ops.sites import Observe, Sample


def condition(program: Program, names: Collection[str]) -> Program:
    """The program with the latent sites `names` observed: each gets a data input of its name and type.

    The input of a site inside a scan has the scan's dim first.
    """
    latent = dict(_latent(program))
    for name in names:
        if name not in latent:
            raise Diagnostic(
                "data",
                f"cannot condition on '{name}'",
                hint=f"the model's latent sites are {', '.join(latent) or 'none'}",
            )
    with Builder(program.name) as b:
        env = {i.name: b.input(i.name, i.type, i.role) for i in program.inputs}
        given = {name: b.input(name, latent[name], "data") for name in names}
        _condition(b, program, env, given)
        return b.finish({name: env[v.name] for name, v in program.outputs}, program.ties)


def _latent(program: Program) -> Iterator[tuple[str, TensorType]]:
    """The latent sites with their types; inside a scan, those of all steps together."""
    for node in program.nodes:
        if isinstance(node.op, Sample) and not node.op.generated:
            yield node.op.site, node.results[0].type
        if isinstance(node.op, Scan):
            dim = Dim(node.op.dim, node.op.trips(node.types))
            yield from ((name, stacked(t, dim)) for name, t in _latent(node.op.region))


def _condition(b: Builder, program: Program, env: dict[str, Value], given: Mapping[str, Value]) -> None:
    """Emits the nodes of a program or of a body; `given` are the values of sites, as `b` knows them."""
    for node in program.nodes:
        operands = tuple(env[v.name] for v in node.operands)
        if isinstance(node.op, Sample) and node.op.site in given:
            value = given[node.op.site]
            b.emit(Observe(node.op.site, node.op.dist, node.op.dtype), value, *operands, span=node.span)
            env[node.results[0].name] = value
            continue
        if isinstance(node.op, Scan):
            results = _condition_scan(b, node, operands, given)
        else:
            results = b.emit_all(node.op, *operands, span=node.span, names=[v.name for v in node.results])
        env |= {old.name: new for old, new in zip(node.results, results, strict=True)}


def _condition_scan(
    b: Builder, node: Node, operands: tuple[Value, ...], given: Mapping[str, Value]
) -> tuple[Value, ...]:
    op = node.op
    assert isinstance(op, Scan)
    mine = {name for name, _ in _latent(op.region)}
    scan = ScanBuilder(b, Dim(op.dim, op.trips(node.types)), op.region.name, reverse=op.reverse)
    with scan:
        env = scan.enter(op, operands)
        _condition(scan.region, op.region, env, {n: scan.slice(x) for n, x in given.items() if n in mine})
        leaves = [env[v.name] for _, v in op.region.outputs]
        names = [name.removeprefix("step:") for name, _ in op.region.outputs[op.carries :]]
        scan.close(leaves[: op.carries], dict(zip(names, leaves[op.carries :], strict=True)))
    last, stacked_ = scan.emit([v.name for v in node.results])
    return (*last, *stacked_.values())
