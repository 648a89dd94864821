"""Reverse mode in the IR: the backward pass becomes nodes of the program, and is planned like the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ..build import Builder, constant, emit
from ..dims import TensorType
from ..errors import InternalError
from ..graph import Node, Program, Value
from ..ops.create import Broadcast
from ..ops.order import reorder
from .branches import Cotangent, pull_through
from .checkpoint import checkpoint
from .drop_inverses import drop_inverses
from .rewrite import with_fresh_regions

_DIFFERENTIABLE = ("f32", "f64", "c64", "c128")


def differentiate(program: Program, wrt: Collection[str], output: str = "log_density") -> Program:
    """The program with `grad:NAME` outputs: the gradient of a scalar output in the inputs `wrt`.

    Each gradient is tied to its input: it leaves in the layout in which the input arrives. An input on which the output
    does not depend gets zeros. All other outputs are kept; the inverses of scans are used up,
    and scans with checkpoints become scans of scans (`checkpoint`; those that leave the number open keep all states).
    """
    program = checkpoint(program)
    target = program.results[output]
    if target.type.dims or target.type.dtype not in ("f32", "f64"):
        raise InternalError(f"only a real scalar can be differentiated, not {target.type}")
    with Builder(program.name) as b:
        env = {i.name: b.input(i.name, i.type, i.role) for i in program.inputs}
        active = {env[name].name for name in wrt}
        nodes = [copy_for_gradient(b, node, env, active) for node in program.nodes]
        outputs = {name: env[v.name] for name, v in program.outputs}
        seed = {outputs[output].name: constant(1.0, target.type.dtype)}
        cotangents = pull_back(b, nodes, seed, active)
        ties = dict(program.ties)
        for name in wrt:
            x, found = env[name], cotangents.get(env[name].name)
            outputs[f"grad:{name}"] = zeros(x.type) if found is None else reorder(found.selected(), x.dims)
            ties[f"grad:{name}"] = name
        return drop_inverses(b.finish(outputs, ties))


def copy_for_gradient(b: Builder, node: Node, env: dict[str, Value], active: set[str]) -> Node:
    """Emits a node again, in the form that its gradient needs where it depends on an active value."""
    operands = tuple(env[v.name] for v in node.operands)
    op = with_fresh_regions(node.op, b)
    if any(v.name in active for v in operands):
        op = op.for_gradient(tuple(v.name in active for v in operands))
    results = b.emit_all(op, *operands, span=node.span, names=[v.name for v in node.results])
    for old, new in zip(node.results, results, strict=False):
        env[old.name] = new
    if any(v.name in active for v in operands):
        active |= {v.name for v in results if v.type.dtype in _DIFFERENTIABLE}
    return b.nodes[-1]


def pull_back(
    b: Builder, nodes: Iterable[Node], seed: Mapping[str, Value], active: Collection[str]
) -> dict[str, Cotangent]:
    """Runs through `nodes` backwards and gives the cotangent of every active value that has one."""
    cotangents = {name: Cotangent(v) for name, v in seed.items()}
    for node in reversed(list(nodes)):
        if not any(v.name in cotangents for v in node.results) or not any(v.name in active for v in node.operands):
            continue
        b.span = node.span
        found = pull_through(b, node, [cotangents.get(v.name) for v in node.results])
        for value, ct in zip(node.operands, found, strict=True):
            if ct is None or value.name not in active:
                continue
            held = cotangents.get(value.name)
            cotangents[value.name] = ct if held is None else held.plus(ct)
    b.span = None
    return cotangents


def zeros(t: TensorType) -> Value:
    """A tensor of zeros."""
    zero = constant(0.0, t.dtype)
    return emit(Broadcast(t.dims), zero) if t.dims else zero
