"""Conditioning: latent sites become observed ones, or are held at values.

The posterior is the same. An observed site has a likelihood of its own and is drawn in predictions; a held one adds its
prior to the density and is otherwise a constant under its name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from ..build import Builder, emit
from ..build_scan import ScanBuilder
from ..dims import Dim, TensorType
from ..errors import Diagnostic
from ..graph import Node, Program, Value
from ..ops.control import Scan, has_inverse, stacked
from ..ops.sites import Deterministic, Factor, Observe, Sample
from .rewrite import with_fresh_regions

Become = Callable[[Builder, Node, Value, tuple[Value, ...]], Value]
"""Emits what a site becomes whose value is given; (builder, node, value, parameters) to the value under its name."""


def condition(program: Program, names: Collection[str]) -> Program:
    """The program with the latent sites `names` observed: each gets a data input of its name and type.

    The input of a site inside a scan has the scan's dim first.
    """
    return _given(program, names, _observed)


def hold(program: Program, names: Collection[str]) -> Program:
    """The program with the latent sites `names` held: each gets a data input of its name and type, as in `condition`.

    Its prior, at that value, stays a term of the density: its parameters may be latent.
    """
    return _given(program, names, _held)


def latent_sites(program: Program) -> dict[str, TensorType]:
    """The latent sites with their types; those inside a scan have its dim first."""
    return dict(_latent(program))


def _given(program: Program, names: Collection[str], become: Become) -> Program:
    latent = latent_sites(program)
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
        _condition(b, program, env, given, become)
        return b.finish({name: env[v.name] for name, v in program.outputs}, program.ties)


def _observed(b: Builder, node: Node, value: Value, params: tuple[Value, ...]) -> Value:
    op = node.op
    assert isinstance(op, Sample)
    b.emit(Observe(op.site, op.dist, op.dtype), value, *params, span=node.span)
    return value


def _held(b: Builder, node: Node, value: Value, params: tuple[Value, ...]) -> Value:
    op = node.op
    assert isinstance(op, Sample)
    b.real = op.dtype
    term = op.dist.log_prob(value, *params)
    # A density that is the same everywhere lacks dims over which it counts as often.
    missing = value.type.without(op.dist.event).size // term.type.size
    emit(Factor(f"prior:{op.site}"), term if missing == 1 else term * float(missing))
    return b.emit(Deterministic(op.site), value, span=node.span)


def _latent(program: Program) -> Iterator[tuple[str, TensorType]]:
    """The latent sites with their types; inside a scan, those of all steps together."""
    for node in program.nodes:
        if isinstance(node.op, Sample) and not node.op.generated:
            yield node.op.site, node.results[0].type
        if isinstance(node.op, Scan):
            dim = Dim(node.op.dim, node.op.trips(node.types))
            yield from ((name, stacked(t, dim)) for name, t in _latent(node.op.region))


def _condition(b: Builder, program: Program, env: dict[str, Value], given: Mapping[str, Value], become: Become) -> None:
    """Emits the nodes of a program or of a body; `given` are the values of sites, as `b` knows them."""
    for node in program.nodes:
        operands = tuple(env[v.name] for v in node.operands)
        if isinstance(node.op, Sample) and node.op.site in given:
            env[node.results[0].name] = become(b, node, given[node.op.site], operands)
            continue
        if isinstance(node.op, Scan) and not has_inverse(node.op):
            results = _condition_scan(b, node, operands, given, become)
        else:
            op, names = with_fresh_regions(node.op, b), [v.name for v in node.results]
            results = b.emit_all(op, *operands, span=node.span, names=names)
        env |= {old.name: new for old, new in zip(node.results, results, strict=True)}


def _condition_scan(
    b: Builder, node: Node, operands: tuple[Value, ...], given: Mapping[str, Value], become: Become
) -> tuple[Value, ...]:
    op = node.op
    assert isinstance(op, Scan)
    mine = {name for name, _ in _latent(op.region)}
    scan = ScanBuilder(b, Dim(op.dim, op.trips(node.types)), op.region.name, reverse=op.reverse, every=op.every)
    with scan:
        env = scan.enter(op, operands)
        _condition(scan.region, op.region, env, {n: scan.slice(x) for n, x in given.items() if n in mine}, become)
        leaves = [env[v.name] for _, v in op.region.outputs]
        names = [name.removeprefix("step:") for name, _ in op.region.outputs[op.carries :]]
        scan.close(leaves[: op.carries], dict(zip(names, leaves[op.carries :], strict=True)))
    last, stacked_ = scan.emit([v.name for v in node.results])
    return (*last, *stacked_.values())
