"""In which order the compiler runs the kernels of a program, to keep memory low.

XLA has several orders (`xla/hlo/transforms/simplifiers/hlo_memory_scheduler.cc`), told here of the kernels of
`planner.fusion`:

- *greedy*: of the kernels that are ready, the one that frees most beyond what it makes; what makes a number at once;
- *depth first*: each kernel after what it reads, of that first what many want or what takes much to make.

For GPUs the one with the lowest peak is taken, for CPUs, where it is told to save memory (`backend_cuda.options`), the
second (`xla/service/cpu/cpu_compiler.cc`).

Bytes are those of whole values, since an order is for all layouts at once. Second copies (`ir.passes.recompute`) stand
before the first node that could use them, whoever does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from ir.graph import Node, Program, Value
from ir.passes.recompute import SUFFIX, again, places, taken_again

from .fusion import Fusion, has_one_index, is_composite, originals

Step = tuple[Node, int | None]
"""A node that runs, or that packs one of its operands: which."""


def in_order(program: Program, platform: str, fusion: Fusion | None = None) -> list[Step]:
    """What happens one after another; what is inlined stands before the first kernel that it is part of.

    `fusion` is that of the program, where it is known already.
    """
    second = {n.key.removesuffix(SUFFIX): n for n in program.nodes if n.key.endswith(SUFFIX)}
    base = originals(program)
    fusion = fusion if fusion is not None and base is program else Fusion.of(base, platform)
    kernels = Kernels.of(base, fusion)
    order = depth_first(kernels)
    if platform == "gpu":
        order = min((greedy(kernels), order), key=kernels.peak)
    nodes, steps = {n.key: n for n in program.nodes}, kernels.spread(order)
    before: dict[str, list[Node]] = {}
    runs = [key for key, packed in steps if packed is None]
    for key, place in _places(program, base, runs, fusion.unstored()).items() if second else ():
        if key in second:
            before.setdefault(place, []).insert(0, second[key])
    found: list[Step] = []
    for key, packed in steps:
        found += [(node, None) for node in before.get(key, ())] if packed is None else []
        found.append((nodes[key], packed))
    return found


def _places(program: Program, base: Program, order: Sequence[str], free: Collection[str]) -> dict[str, str]:
    """The node before which the second copy of each value stands, the last value first (see `recompute.places`).

    It does not depend on what is recomputed, unless by order a second copy is taken before it would have to be there.
    """
    taken = {n.key: [v.name.removesuffix(SUFFIX) for v in n.operands if v.name.endswith(SUFFIX)] for n in program.nodes}
    where, index = places(base, free=free), {key: i for i, key in enumerate(order)}
    found = places(base, index, free)
    placed: dict[str, str] = {}
    for node in reversed(base.nodes):
        if node.key in found:
            placed[node.key] = order[found[node.key]]
            for name in (*taken_again(node, where), *taken.get(again(node.key), ())):
                found[name] = min(found[node.key], found[name])
    return placed


@dataclass
class Kernels:
    """The kernels of a program by node key: what each reads and makes, in whole values."""

    reads: dict[str, list[str]] = field(default_factory=dict)
    """By kernel, the stored values that it reads."""
    makes: dict[str, list[str]] = field(default_factory=dict)
    within: dict[str, list[str]] = field(default_factory=dict)
    """By kernel, the keys of the nodes that are inlined into it, in the program's order."""
    maker: dict[str, str] = field(default_factory=dict)
    """By value, the kernel that makes it."""
    bytes: dict[str, float] = field(default_factory=dict)
    """By value; inputs, whose memory nothing frees, are left out."""
    outputs: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, program: Program, fusion: Fusion) -> Kernels:
        found, made = cls(), {v.name: n for n in program.nodes for v in n.results}
        found.outputs = [v.name for _, v in sorted(program.outputs)]
        for node in program.nodes:
            if not (node.op.regions() or fusion.is_stored(node)):
                continue
            packs = [i for i in range(len(node.operands)) if fusion.is_packer(node) and not has_one_index(node, i)]
            for index in packs:
                name = packing(node, index)
                found._add(name, _taken_in([node.operands[index]], made, fusion, True))
                found.bytes[name] = size(node.operands[index])
            read = [v for i, v in enumerate(node.operands) if i not in packs] if packs else fusion.readings[node.key]
            found._add(node.key, _taken_in(read, made, fusion, fusion.is_taker(node)), [v.name for v in node.results])
            found.reads[node.key] += [packing(node, i) for i in packs]
            found.bytes |= {v.name: size(v) for v in node.results}
        return found

    def _add(self, key: str, taken: tuple[list[str], list[str]], makes: Sequence[str] = ()) -> None:
        self.reads[key], self.within[key] = taken
        self.makes[key] = list(makes or (key,))
        self.maker |= dict.fromkeys(self.makes[key], key)

    def peak(self, order: Sequence[str]) -> float:
        """The most bytes at once, inputs apart, if the kernels run in an order."""
        left, held, most = self.uses(), 0.0, 0.0
        for key in order:
            held += sum(self.bytes[name] for name in self.makes[key])
            most = max(most, held)
            for name in (*self.reads[key], *self.makes[key]):
                left[name] = left.get(name, 0) - (name in self.reads[key])
                if left[name] == 0:
                    held -= self.bytes.get(name, 0.0)
        return most

    def uses(self) -> dict[str, int]:
        """How often each value is read; an output once more, at the end."""
        found = dict.fromkeys(self.bytes, 0)
        for name in (*(name for reads in self.reads.values() for name in reads), *self.outputs):
            found[name] = found.get(name, 0) + 1
        return found

    def spread(self, order: Sequence[str]) -> list[tuple[str, int | None]]:
        """The keys of all nodes in the order of their kernels, and of those that pack with the index of the operand."""
        found: dict[tuple[str, int | None], None] = {}
        for kernel in order:
            inlined = ((key, None) for key in self.within[kernel] if key not in self.reads)
            key, _, packed = kernel.partition("#")
            found |= dict.fromkeys((*inlined, (key, int(packed) if packed else None)))
        return list(found)


def packing(node: Node, index: int) -> str:
    """The kernel that packs an operand of a node, and its result."""
    return f"{node.key}#{index}"


def size(value: Value) -> float:
    return float(value.type.size * value.type.itemsize)


def _taken_in(
    values: Sequence[Value], made: Mapping[str, Node], fusion: Fusion, taker: bool
) -> tuple[list[str], list[str]]:
    """The stored values that a kernel of these operands reads, and the keys of the nodes inlined into it."""
    reads: dict[str, None] = {}
    within: dict[str, None] = {}

    levels, path = [iter(dict.fromkeys(values))], []
    while levels:  # no recursion: a kernel may take in thousands of nodes
        value = next(levels[-1], None)
        if value is None:
            levels.pop()
            if path:  # all that the last node on the path reads has been seen
                within[path.pop()] = None
            continue
        maker = made.get(value.name)
        inlined = maker is not None and not maker.op.regions() and fusion.is_inlined(maker)
        if maker is None or not inlined or (fusion.is_stored(maker) and not taker) or is_composite(maker):
            reads[value.name] = None
        if maker is not None and inlined and (taker or not fusion.is_stored(maker)) and maker.key not in within:
            path.append(maker.key)
            levels.append(iter(dict.fromkeys(fusion.readings[maker.key])))
    return list(reads), list(within)


def greedy(kernels: Kernels) -> list[str]:
    """At each turn the ready kernel that frees most beyond what it makes; of equals the one that was ready first."""
    left, order, ready = kernels.uses(), [], []
    waiting = {key: {kernels.maker[n] for n in reads if n in kernels.maker} for key, reads in kernels.reads.items()}
    followers: dict[str, list[str]] = {}
    for key, before in waiting.items():
        for maker in before:
            followers.setdefault(maker, []).append(key)
    users = {key: len(followers.get(key, ())) for key in waiting}

    def weight(key: str) -> tuple[float, float]:
        if all(kernels.bytes[name] <= NUMBER for name in kernels.makes[key]):
            return inf, inf
        freed = sum(kernels.bytes.get(name, 0.0) for name in kernels.reads[key] if left[name] == 1)
        return freed - sum(kernels.bytes[name] for name in kernels.makes[key]), users[key]

    ready += [key for key, before in waiting.items() if not before]
    while ready:
        at = max(range(len(ready)), key=lambda i: weight(ready[i]))
        key = ready.pop(at)
        order.append(key)
        for name in kernels.reads[key]:
            left[name] -= 1
        for user in followers.get(key, ()):
            waiting[user].discard(key)
            if not waiting[user]:
                ready.append(user)
    return order


NUMBER = 8.0
"""Bytes of a value that counts as a single number."""


INSTRUCTIONS = 2
"""XLA's instructions per kernel, roughly: it counts inputs, constants and tuples too, and no more wishes than these."""


def depth_first(kernels: Kernels) -> list[str]:
    """Each kernel after what it reads: first what is wanted by many, then what takes much to make."""
    after = {key: [kernels.maker[n] for n in reads if n in kernels.maker] for key, reads in kernels.reads.items()}
    users = Counter(maker for before in after.values() for maker in dict.fromkeys(before))
    users.update(kernels.maker[name] for name in kernels.outputs if name in kernels.maker)
    wanted: dict[str, tuple[float, float]] = {}
    everything = 0.0
    for key in kernels.reads:
        own = sum(kernels.bytes[name] for name in kernels.makes[key])
        below = [wanted[maker] for maker in dict.fromkeys(after[key])]
        extra = max(0, users[key] - 1) + sum(e for e, _ in below)
        everything += own
        wanted[key] = min(extra, INSTRUCTIONS * len(kernels.reads)), min(everything, own + sum(s for _, s in below))
    order: dict[str, None] = {}
    roots = [kernels.maker[name] for name in kernels.outputs if name in kernels.maker]
    todo = [key for key in kernels.reads if key not in set(roots)] + sorted(roots, key=wanted.__getitem__)
    while todo:
        key = todo[-1]
        before = [m for m in dict.fromkeys(after[key]) if m not in order]
        if before:
            todo += sorted(before, key=wanted.__getitem__)
        else:
            order[todo.pop()] = None
    return list(order)
