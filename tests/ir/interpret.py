"""A one-device interpreter: the meaning of a program, op by op, against which passes are held."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ir.graph import Node, Program
from ir.ops.control import Scan
from ir.place import Place


def run(program: Program, arguments: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a program by name, every op computed whole on one device."""
    with jax.enable_x64(True):
        blocks = [jnp.asarray(arguments[i.name], i.type.numpy) for i in program.inputs]
        return {name: np.asarray(x) for name, x in run_blocks(program, blocks).items()}


def run_blocks(program: Program, blocks: Sequence[Any]) -> dict[str, Any]:
    """`run` within a trace, with the arguments in the order of the inputs."""
    env = {i.name: x for i, x in zip(program.inputs, blocks, strict=True)}
    for i in program.inputs:
        assert env[i.name].shape == i.type.shape, f"{i.name}: {env[i.name].shape} is not {i.type}"
    for node in program.nodes:
        operands = [env[v.name] for v in node.operands]
        if isinstance(node.op, Scan):
            found = _scan(node.op, node, operands)
        else:
            place = Place(node.types, [v.type for v in node.results], renames=node.op.renames())
            found = node.op.local(place, *operands)
        found = found if isinstance(found, tuple) else (found,)
        for value, array in zip(node.results, found, strict=True):
            assert array.dtype == value.type.numpy, f"{node.op.name} gave {array.dtype} for {value.type}"
            env[value.name] = jnp.broadcast_to(array, value.type.shape)
    return {name: env[v.name] for name, v in program.outputs}


def _scan(op: Scan, node: Node, operands: Sequence[Any]) -> tuple[Any, ...]:
    carries, through = list(operands[: op.carries]), operands[op.carries : op.carries + op.scanned]
    axes = [v.type.index(op.dim) for v in node.operands[op.carries : op.carries + op.scanned]]
    steps, made = range(op.trips(node.types)), {}
    for t in reversed(steps) if op.reverse else steps:
        slices = [jnp.take(x, t, axis) for x, axis in zip(through, axes, strict=True)]
        results = run_blocks(op.region, [*carries, *slices, *operands[op.carries + op.scanned :]])
        carries, made[t] = list(results.values())[: op.carries], list(results.values())[op.carries :]
    columns = zip(*(made[t] for t in steps), strict=True)
    stacked = [jnp.stack(c, v.type.index(op.dim)) for c, v in zip(columns, node.results[op.carries :], strict=True)]
    return (*carries, *stacked)
