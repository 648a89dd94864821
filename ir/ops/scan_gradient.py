"""The gradient of a scan: a scan that runs backwards and pulls cotangents through one step after the other.

Each step needs the state at which it ran. Where every state was kept, the backward scan goes through them. Where the
scan has an inverse, nothing is kept: the backward scan carries the state that leaves a step and makes the one that came
in by the inverse, in the same region as the recomputation and the pullback, so that what these share is computed once.
For a leapfrog step, p1 = p + K F(x); x1 = x + D p1, undone by x = x1 - D p1; p = p1 - K F(x), that is the force.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..build import Builder, current, emit
from ..graph import Node, Program, Value
from ..passes.differentiate import copy_for_gradient, pull_back, zeros
from ..passes.rewrite import with_fresh_regions
from .control import Scan
from .order import Reorder, reorder

_DIFFERENTIABLE = ("f32", "f64", "c64", "c128")


class Reverse:
    """The scan that pulls cotangents back through a forward scan, which is in the form for a gradient.

    It carries the states that leave the steps (where they are made by an inverse), the cotangents of the carries and,
    added up, those of what all steps share; it goes through the kept carries (where there are), the scanned operands
    and the cotangents of the stacked results.
    """

    def __init__(
        self, op: Scan, cotangents: Sequence[Value | None], results: Sequence[Value], operands: Sequence[Value]
    ):
        self.op, self.operands, self.inputs = op, operands, op.region_operands()
        count, end = op.carries, len(op.region.outputs)
        self.kept = () if op.inverse else results[end - count :]
        self.states = results[:count] if op.inverse else ()
        self.last = cotangents[:count]
        end -= len(self.kept)
        self.steps = [(k, reorder(ct, results[k].dims)) for k in range(count, end) if (ct := cotangents[k]) is not None]
        self.active = self._active()
        wanted = [i for i, v in enumerate(self.inputs) if v.name in self.active]
        self.carried = [i for i in wanted if i < count]
        self.through = [i for i in wanted if op.is_scanned(i)]
        self.shared = [i for i in wanted if i >= count + op.scanned]

    def _active(self) -> set[str]:
        """The inputs of the region that have a gradient; a carry has one as soon as any trip gives it one."""
        region, found = self.op.region, set[str]()
        for value, active in zip(self.inputs, self.op.active, strict=True):
            found |= {value.name} if active and value.type.dtype in _DIFFERENTIABLE else set()
        before = -1
        while before < len(found):
            before, reached = len(found), set(found)
            for node in region.nodes:
                if any(v.name in reached for v in node.operands):
                    reached |= {v.name for v in node.results if v.type.dtype in _DIFFERENTIABLE}
            leaves = (v for _, v in region.outputs[: self.op.carries])
            found |= {i.name for i, v in zip(self.inputs, leaves, strict=False) if v.name in reached}
        return found

    def emit(self) -> tuple[Value | None, ...]:
        """Emits the scan; the cotangents of the operands."""
        op, b, count = self.op, current(), self.op.carries
        first = list(self.states)
        for i in self.carried:
            ct, t = self.last[i], self.inputs[i].type
            first.append(reorder(ct, t.names) if ct is not None else zeros(t))
        first += [zeros(self.inputs[i].type) for i in self.shared]
        through = [*self.kept, *self.operands[count : count + op.scanned], *(ct for _, ct in self.steps)]
        region = self._region()
        length = op.trips([v.type for v in self.operands])
        scan = Scan(op.dim, region, len(first), len(through), not op.reverse, length)
        made = b.emit_all(scan, *first, *through, *self.operands[count + op.scanned :])
        found: list[Value | None] = [None] * len(self.operands)
        mine = [*self.carried, *self.shared, *self.through]
        for i, value in zip(mine, made[len(self.states) :], strict=True):
            found[i] = value
        return tuple(found)

    def _region(self) -> Program:
        op, region, count = self.op, self.op.region, self.op.carries
        with current().region(f"{region.name}:reverse") as b:
            after = [b.input(f"after:{v.name}", v.type) for v in self.inputs[: len(self.states)]]
            come = {i: b.input(f"grad:{self.inputs[i].name}", self.inputs[i].type) for i in self.carried}
            sums = {i: b.input(f"grad:{self.inputs[i].name}", self.inputs[i].type) for i in self.shared}
            known = self.inputs[len(self.states) : count + op.scanned]
            env = {v.name: b.input(v.name, v.type) for v in known}
            slices = [(k, b.input(f"grad:{region.outputs[k][0]}", region.outputs[k][1].type)) for k, _ in self.steps]
            env |= {v.name: b.input(v.name, v.type) for v in self.inputs[count + op.scanned :]}
            if op.inverse:
                given = [*after, *(env[v.name] for v in self.inputs[count:])]
                before = _run(b, op.inverse, given)
                env |= {v.name: x for v, x in zip(self.inputs, before, strict=False)}
            states = [env[v.name] for v in self.inputs[: len(self.states)]]
            active = {env[name].name for name in self.active}
            leaves = {region.outputs[i][1].name: x for i, x in reversed(list(enumerate(after)))}
            nodes = [_copy(b, node, env, active, leaves) for node in region.nodes]
            seed: dict[str, Value] = {}
            for k, ct in (*come.items(), *slices):
                name = env[region.outputs[k][1].name].name
                seed[name] = seed[name] + ct if name in seed else ct
            found = pull_back(b, nodes, seed, active)

            def cotangent(i: int) -> Value:
                mine = found.get(env[self.inputs[i].name].name)
                return zeros(self.inputs[i].type) if mine is None else reorder(mine.selected(), self.inputs[i].dims)

            outputs = {f"state{i}": x for i, x in enumerate(states)}
            outputs |= {f"carry{i}": cotangent(i) for i in self.carried}
            outputs |= {f"sum{i}": sums[i] + cotangent(i) for i in self.shared}
            ties = {f"state{i}": v.name for i, v in enumerate(after)}
            ties |= {f"carry{i}": v.name for i, v in come.items()} | {f"sum{i}": v.name for i, v in sums.items()}
            outputs |= {f"slice{i}": cotangent(i) for i in self.through}
            return b.finish(outputs, ties)


def _run(b: Builder, inverse: Program, given: Sequence[Value]) -> list[Value]:
    """Emits a step's inverse: the carries that came into the step.

    Each is a value of its own, even where the inverse hands one of its inputs on: cotangents are told apart by name.
    """
    env = {i.name: x for i, x in zip(inverse.inputs, given, strict=True)}
    for node in inverse.nodes:
        operands = tuple(env[v.name] for v in node.operands)
        made = b.emit_all(with_fresh_regions(node.op, b), *operands, span=node.span)
        env |= {old.name: new for old, new in zip(node.results, made, strict=True)}
    taken, found = {x.name for x in given}, []
    for _, value in inverse.outputs:
        x = env[value.name]
        found.append(emit(Reorder(x.dims), x) if x.name in taken else x)
        taken.add(x.name)
    return found


def _copy(b: Builder, node: Node, env: dict[str, Value], active: set[str], known: Mapping[str, Value]) -> Node:
    """A node of the step as the pullback needs it: emitted again, or not where its result is a `known` state."""
    if len(node.results) > 1 or node.op.regions() or node.key not in known:
        return copy_for_gradient(b, node, env, active)
    operands, result = tuple(env[v.name] for v in node.operands), known[node.key]
    env[node.key] = result
    if any(v.name in active for v in operands) and result.type.dtype in _DIFFERENTIABLE:
        active.add(result.name)
    return Node(node.op, operands, (result,), node.span)


__all__ = ["Reverse"]
