"""Lowering: a program and its plan become the function of one device's blocks.

It executes and never chooses: every operand is brought to the layout that the plan wants, by the moves that the plan
stores, once per layout; every op computes on its blocks.

What the plan recomputes stands behind a fence: a second copy takes its operands, those that are not second copies
themselves, through `jax.lax.optimization_barrier` together with the result of the last sum or transform before it that
needs the first copy. So XLA can neither merge the two nor run them side by side. (XLA:CPU removes such fences.) Where
nothing before it does, it waits for the program's first node alone: the copies stay apart, but may be made together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from ir.errors import InternalError
from ir.graph import Node, Program, Value
from ir.layout import Layout, Move
from ir.op import Halo, Map
from ir.painter import XLA, Painter
from ir.passes.recompute import again
from ir.place import Place
from ir.plan import Plan
from ir.strategy import Strategy

from .fuse import fuse_transforms, take_factors
from .halo import wrap
from .lax_collectives import LAX, LaxCollectives
from .reshard import attach_halos, reshard, take_in

BlockFunction = Callable[..., dict[str, jax.Array]]


def lower(
    program: Program,
    plan: Plan,
    comm: LaxCollectives | None = None,
    reproducible: bool = False,
    painter: Painter = XLA,
) -> BlockFunction:
    """`f(*blocks) -> {output name: block}`: one device's part of the program.

    Blocks of the inputs come in the plan's layouts, in the order of `program.inputs`, padded where a dim is split
    unevenly; outputs leave in the plan's output layouts with their padding set to zero. On a mesh of more than one
    device the function must run inside `jax.shard_map(..., check_vma=False)` over axes of the plan's names.

    reproducible: sums, contractions and pullbacks of elementwise ops have the same bits on every mesh. Each split one
    then performs two small all-reduces of its own, beyond those that the plan prices (`ir.grid_sum`).
    painter: what paints and reads particles on a device.
    """
    comm = comm or LAX
    program = take_factors(fuse_transforms(plan.applied(program), plan), plan)

    def run(*blocks: jax.Array) -> dict[str, jax.Array]:
        if len(blocks) != len(program.inputs):
            raise InternalError(f"'{program.name}' takes {len(program.inputs)} blocks, but got {len(blocks)}")
        chain = comm.opened(blocks)
        made = _Run(program, plan, chain, blocks, reproducible, painter).outputs()
        return made if chain is comm else chain.closed(made)

    return run


class _Run:
    """One trace of a program: the blocks made so far, by value and layout."""

    def __init__(
        self,
        program: Program,
        plan: Plan,
        comm: LaxCollectives,
        blocks: Sequence[jax.Array],
        reproducible: bool,
        painter: Painter,
    ):
        self.program, self.plan, self.comm = program, plan, comm
        self.reproducible, self.painter = reproducible, painter
        self.blocks: dict[tuple[str, Layout], jax.Array] = {
            (i.name, plan.layouts[i.name]): b for i, b in zip(program.inputs, blocks, strict=True)
        }
        self.second = {again(name): 1 << i for i, name in enumerate(plan.recompute)}
        self.fenced: dict[tuple[str, Layout, str], jax.Array] = {}
        needs: dict[str, int] = {}
        """By value, which of the first copies it needs, as bits."""
        before: dict[str, Node] = {}
        """By second copy, the node that it waits for."""
        for node in program.nodes:
            self._node(node, before.get(node.key, program.nodes[0]))
            bits = sum({self.second.get(again(v.name), 0) for v in node.results})
            for value in node.operands:
                bits |= needs.get(value.name, 0)
            needs |= {v.name: bits for v in node.results}
            if bits and self._is_gate(node):
                before |= {name: node for name, bit in self.second.items() if bits & bit}

    def _is_gate(self, node: Node) -> bool:
        """Whether a node is worth waiting for: the last first copy that sums, transforms or looks up.

        Only what needs a value is made after it: a prior, or the gradient of a sum, is at hand early. The result of the
        node is held until the fence.
        """
        if node.key in self.second or node.op.regions():
            return False
        return any(not isinstance(r, Map) for r in node.op.roles(*node.types).values())

    def outputs(self) -> dict[str, jax.Array]:
        found = {}
        for name, value in self.program.outputs:
            layout = self.plan.output_layout(self.program, name)
            place = Place((value.type,), (), layout.split, self.plan.mesh)
            found[name] = place.select(self._fetch(value, layout), value.dims, 0)
        return found

    def _fetch(self, value: Value, wanted: Layout) -> jax.Array:
        """A value's block in a layout; the reshard is performed on first use and kept."""
        if (value.name, wanted) not in self.blocks:
            start = self.plan.layouts[value.name]
            path = self.plan.path(value, wanted)
            x = self.blocks[value.name, start]
            self.blocks[value.name, wanted] = reshard(self.comm, x, value.type, path, start, self.plan.mesh)
        return self.blocks[value.name, wanted]

    def _fence(self, value: Value, layout: Layout, before: Node) -> jax.Array:
        """A value's block that is not at hand before the result of another node is."""
        key = value.name, layout, before.key
        if key not in self.fenced:
            gate = self.blocks[before.key, self.plan.layouts[before.key]]
            self.fenced[key] = jax.lax.optimization_barrier((self._fetch(value, layout), gate))[0]
        return self.fenced[key]

    def _node(self, node: Node, before: Node) -> None:
        wanted = list(self.plan.wanted(node))
        if node.key in self.second:
            blocks = [
                self._fetch(v, layout) if v.name in self.second else self._fence(v, layout, before)
                for v, layout in wanted
            ]
        else:
            blocks = [self._fetch(value, layout) for value, layout in wanted]
        if node.op.regions():
            results = _scan(node, self.plan, self.comm, blocks, self.reproducible, self.painter)
        else:
            strategy = self.plan.strategies[node.key]
            for dim, role in node.op.roles(*node.types).items():
                if isinstance(role, Halo) and dim not in strategy.split:
                    for i, (value, _) in enumerate(wanted):
                        if dim in value.type:
                            blocks[i] = wrap(blocks[i], value.type.index(dim), role.width)
            for i, moves in _by_index(node.op.halos(node.types, strategy)):
                value, _ = wanted[i]
                blocks[i] = attach_halos(self.comm, blocks[i], value.type, moves, self.plan.mesh)
            given = self.reproducible, self.comm, self.painter
            results = list(compute(node, strategy, self.plan, blocks, *given))
            for i, moves in _by_index(node.op.spills(node.types, strategy)):
                results[i] = take_in(self.comm, results[i], node.results[i].type, moves, self.plan.mesh)
        for value, x in zip(node.results, results, strict=True):
            self.blocks[value.name, self.plan.layouts[value.name]] = x


def _by_index(moves: Sequence[tuple[int, Move]]) -> Iterator[tuple[int, list[Move]]]:
    """The moves of each operand or result, in their order: what goes in one exchange."""
    for index in dict.fromkeys(i for i, _ in moves):
        yield index, [move for i, move in moves if i == index]


def compute(
    node: Node,
    strategy: Strategy,
    plan: Plan,
    blocks: Sequence[jax.Array],
    reproducible: bool = False,
    comm: LaxCollectives | None = None,
    painter: Painter = XLA,
) -> tuple[jax.Array, ...]:
    """A node's result blocks from operand blocks that lie in its strategy's layouts; what spills is still on them."""
    types, comm = tuple(v.type for v in node.results), comm or LAX
    split, renames = strategy.split, node.op.renames() | {old: new for new, old in node.op.follows().items()}
    calls = strategy.method, comm.pass_on, comm.all_reduce, painter, comm.batched
    place = Place(node.types, types, split, plan.mesh, renames, reproducible, *calls)
    beyond = {(i, m.source): 2 * m.width for i, m in node.op.spills(node.types, strategy)}
    with jax.named_scope(node.op.name):
        made = node.op.local(place, *blocks)
    results = made if isinstance(made, tuple) else (made,)
    for i, (value, x) in enumerate(zip(node.results, results, strict=True)):
        wanted = tuple(place.extent(d) + beyond.get((i, d), 0) for d in value.dims)
        if x.shape != wanted or x.dtype.name != value.type.numpy:
            raise InternalError(f"{node.op.name} made a block {x.dtype.name}{x.shape}, but {value.type} wants {wanted}")
    return results


def _scan(
    node: Node,
    plan: Plan,
    comm: LaxCollectives,
    blocks: Sequence[jax.Array],
    reproducible: bool,
    painter: Painter,
) -> tuple[jax.Array, ...]:
    """Runs a scan node with `jax.lax.scan`; its region's collectives run in every trip."""
    op: Any = node.op
    (region,) = op.regions()
    carries, scanned = op.carries, op.scanned
    axes = [v.type.index(op.dim) for v in node.operands[carries : carries + scanned]]
    xs = tuple(_move(b, a, 0) for b, a in zip(blocks[carries : carries + scanned], axes, strict=True))
    fixed = tuple(blocks[carries + scanned :])
    body = lower(region, plan, comm, reproducible, painter)

    def step(carry: tuple[jax.Array, ...], x: tuple[jax.Array, ...]):
        comm.resume(carry[carries:])
        made = list(body(*carry[:carries], *x, *fixed).values())
        return (*made[:carries], *comm.carried()), tuple(made[carries:])

    trips, start = op.trips(node.types), (*blocks[:carries], *comm.carried())
    last, stacked = jax.lax.scan(step, start, xs, length=trips, reverse=op.reverse)
    comm.resume(last[carries:])
    last = last[:carries]
    stacked = tuple(_move(y, 0, v.type.index(op.dim)) for y, v in zip(stacked, node.results[carries:], strict=True))
    return (*last, *stacked)


def _move(x: jax.Array, old: int, new: int) -> jax.Array:
    import jax.numpy as jnp

    return x if old == new else jnp.moveaxis(x, old, new)
