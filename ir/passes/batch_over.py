"""Batching by name: a program for one chain becomes a program for many.

Ops say what they do by the names of dims, so a further dim needs no rule of their own: the named inputs get it, and the
same ops are emitted on the new operands.
"""

from __future__ import annotations

from collections.abc import Collection

from ..build import Builder, emit
from ..dims import Dim, TensorType
from ..errors import InternalError
from ..graph import Node, Program, Value
from ..ops.create import Broadcast
from ..ops.order import reorder
from ..ops.pullback import Pullback
from .rewrite import with_fresh_regions


def batch_over(program: Program, dim: Dim, inputs: Collection[str], outputs: Collection[str] | None = None) -> Program:
    """The program with `dim` as first dim of the named inputs and of everything that depends on them.

    The named outputs (all of them by default) that do not depend on those inputs are broadcast along it. Outputs keep
    the order of their dims.
    """
    wanted = program.results if outputs is None else outputs
    with Builder(program.name) as b:
        return _batch(b, program, dim, inputs, wanted)


def _batch(b: Builder, program: Program, dim: Dim, inputs: Collection[str], outputs: Collection[str]) -> Program:
    env: dict[str, Value] = {}
    for i in program.inputs:
        if dim.name in i.type:
            raise InternalError(f"input '{i.name}' of '{program.name}' has the dim '{dim.name}' already")
        env[i.name] = b.input(i.name, with_dim(i.type, dim) if i.name in inputs else i.type, i.role)
    for node in program.nodes:
        b.span = node.span
        results = batched(b, node, tuple(env[v.name] for v in node.operands), dim)
        env |= {old.name: new for old, new in zip(node.results, results, strict=True)}
    b.span = None
    found = {name: env[v.name] for name, v in program.outputs}
    found |= {name: along(found[name], dim) for name in outputs}
    found = {name: reorder(found[name], v.dims) for name, v in program.outputs}
    return b.finish(found, {output: env[to].name for output, to in program.ties.items()})


def with_dim(t: TensorType, dim: Dim) -> TensorType:
    return TensorType((dim, *t.dims), t.dtype)


def along(x: Value, dim: Dim) -> Value:
    """x with the dim: itself, or broadcast."""
    return x if dim.name in x.type else emit(Broadcast((dim,)), x)


def batched(b: Builder, node: Node, operands: tuple[Value, ...], dim: Dim) -> tuple[Value, ...]:
    """Emits a node on new operands, of which any may have the further dim."""
    names = [v.name for v in node.results]
    if not any(dim.name in v.type for v in operands):
        return b.emit_all(with_fresh_regions(node.op, b), *operands, span=node.span, names=names)
    if node.op.regions():
        return _batched_loop(b, node, operands, dim)
    if isinstance(node.op, Pullback):  # the gradient of an operand that all chains share is one per chain all the same
        mine = 1 + node.op.index
        operands = (*operands[:mine], along(operands[mine], dim), *operands[mine + 1 :])
    results = b.emit_all(node.op, *operands, span=node.span, names=names)
    for old, new in zip(node.results, results, strict=True):
        if dim.name not in new.type or set(new.type.without([dim.name]).dims) != set(old.type.dims):
            raise InternalError(f"{node.op.name} cannot be batched over {dim}: {old.type} became {new.type}")
    return results


def _batched_loop(b: Builder, node: Node, operands: tuple[Value, ...], dim: Dim) -> tuple[Value, ...]:
    """A loop batches its region; what it carries has the dim from the start if any trip gives it the dim."""
    region, *inverses = node.op.regions()
    inner = node.op.region_operands()  # type: ignore[attr-defined]
    inputs = {v.name for v, outer in zip(inner, operands, strict=True) if dim.name in outer.type}
    found = -1
    while found < len(inputs):
        found, reached = len(inputs), _reached(region, inputs)
        inputs |= {to for output, to in region.ties.items() if region.results[output].name in reached}
        for inverse in inverses:
            undone = _reached(inverse, _same(inner, inputs, inverse))
            inputs |= {v.name for v, (_, came) in zip(inner, inverse.outputs, strict=False) if came.name in undone}
    operands = tuple(along(o, dim) if v.name in inputs else o for v, o in zip(inner, operands, strict=True))
    operands = tuple(reorder(new, old.dims) for new, old in zip(operands, node.operands, strict=True))
    carried = [output for output, to in region.ties.items() if to in inputs]
    made = []
    with b.region(region.name) as body:
        made.append(_batch(body, region, dim, inputs, carried))
    for inverse in inverses:
        came = [output for v, (output, _) in zip(inner, inverse.outputs, strict=False) if v.name in inputs]
        with b.region(inverse.name) as body:
            made.append(_batch(body, inverse, dim, _same(inner, inputs, inverse), came))
    op = node.op.with_regions(*made)
    return b.emit_all(op, *operands, span=node.span, names=[v.name for v in node.results])


def _same(inner: Collection[Value], inputs: Collection[str], inverse: Program) -> set[str]:
    """The inputs of an inverse that stand where the named ones of the region do."""
    return {i.name for v, i in zip(inner, inverse.inputs, strict=True) if v.name in inputs}


def _reached(program: Program, inputs: Collection[str]) -> set[str]:
    """The values that depend on the named inputs."""
    reached = set(inputs)
    for node in program.nodes:
        if any(v.name in reached for v in node.operands):
            reached |= {v.name for v in node.results}
    return reached
