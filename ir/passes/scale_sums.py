"""Multiplying a sum by a number instead of every term.

A number beside a tensor is an operand of its own to the library that XLA:CPU leaves sums to: where several sums of one
size have the same factor, as the -1/2 of normal densities, XLA keeps a tensor full of it. Which sums could take their
factor out is said here; for which of them that is in place depends on the plan (`backend_cuda.fuse`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from ..graph import Node, Program, Value
from ..ops.create import Constant
from ..ops.elementwise import Mul
from ..ops.reduce import Sum


class Scaled(NamedTuple):
    """A sum of a tensor times a number."""

    total: Node
    product: Node
    tensor: Value
    number: float


def scaled(program: Program) -> dict[str, Scaled]:
    """The sums of products with a number, by key."""
    made = {v.name: n for n in program.nodes for v in n.results}
    found: dict[str, Scaled] = {}
    for node in program.nodes:
        if not isinstance(node.op, Sum) or node.op.times != 1.0:
            continue
        product = made.get(node.operands[0].name)
        if product is None or not isinstance(product.op, Mul):
            continue
        for number, tensor in (product.operands, product.operands[::-1]):
            maker = made.get(number.name)
            alike = number.type.dtype == tensor.type.dtype in ("f32", "f64")
            if alike and tensor.dims and maker is not None and isinstance(maker.op, Constant):
                value = float(np.dtype(number.type.numpy).type(maker.op.value))
                found[node.key] = Scaled(node, product, tensor, value)
                break
    return found


def scale_sums(program: Program, totals: Collection[str]) -> Program:
    """The program in which the named sums take their factors out; products that nobody else reads are gone."""
    nodes = {n.key: n for n in program.nodes}
    for key, one in scaled(program).items():
        if key in totals:
            op = dataclasses.replace(one.total.op, times=one.number)
            nodes[key] = Node(op, (one.tensor,), one.total.results, one.total.span)
    read = {v.name for n in nodes.values() for v in n.operands} | {v.name for _, v in program.outputs}
    for one in scaled(program).values():
        if one.total.key in totals and not any(v.name in read for v in one.product.results):
            nodes.pop(one.product.key, None)
    return dataclasses.replace(program, nodes=tuple(nodes.values()))


__all__ = ["Scaled", "scale_sums", "scaled"]
