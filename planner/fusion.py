"""Which values never exist in memory, because the compiler makes them inside the kernels that use them.

XLA joins neighbouring elementwise ops, look-ups and reductions into one kernel. The rules here are those of its passes
(`xla/service/instruction_fusion.cc`, `xla/service/cpu/cpu_instruction_fusion.cc`), told of nodes:

- a *loop* computes each element of its result by itself: elementwise ops, broadcasts, coordinates, look-ups;
- a *reduction* sums such elements up, or takes the largest; a contraction of two tensors of the same dims is one;
- everything else (transforms, matrix products, scatters, scans, moves between layouts, outputs) reads real buffers.

On GPUs a loop is *inlined* into all kernels that use its result, if all of them are loops or reductions; if not, its
result is *stored*. On CPUs it is one of both:

- inlined only, where a single kernel uses it, a loop or a reduction; or where all are loops and it is cheap;
- both, where it is cheap, reads no more than one tensor of its result's size, and some users are loops: these compute
  it anew rather than read it;
- else stored only: expensive functions (divisions, roots, anything transcendental, look-ups) are computed once.

A reduction takes in arithmetic with real numbers only: conditions and complex numbers are stored for it, as XLA:CPU
leaves sums to a library. A function of several steps (softplus, deviance) is both: the expensive step is kept, in a
buffer of the result's size, and the rest computed anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ir.graph import Node, Program, Value
from ir.op import Map, Op, Reduce, facts
from ir.ops.contract import Contract
from ir.ops.create import Constant
from ir.ops.elementwise import Div, Elementwise, Neg
from ir.ops.gather import Gather, ScatterAdd
from ir.ops.pullback import Pullback
from ir.ops.reduce import Sum
from ir.passes.recompute import SUFFIX

COMPOSITE = 20.0
"""Operations per element from which on a function takes several steps, as log(1 + exp(x)) does."""

CHEAP = 4.0
"""Operations per element from which on a function is not computed twice."""

ARITHMETIC = frozenset(
    (
        *("add", "sub", "mul", "div", "neg", "int_pow", "pow", "cast", "maximum", "minimum", "abs", "floor"),
        *("exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan", "tanh", "sigmoid", "erf", "broadcast"),
    )
)
"""The functions that a reduction takes in (`xla/backends/cpu/ynn_support.cc`)."""


SHARED = frozenset(("softplus", "logaddexp", "log_ndtr", "pow", "log_deviance"))
"""The functions of several steps whose gradient takes an expensive step of theirs, which XLA then does once."""


@dataclass
class Fusion:
    """What becomes of the values of one program, its regions apart; by the name of the value first made so.

    Second copies (`ir.passes.recompute`) count as what they are copies of, so that the answer does not depend on what
    is recomputed.
    """

    readings: dict[str, list[Value]]
    """By node key, the values that it reads."""
    stored: dict[str, bool] = field(default_factory=dict)
    inlined: dict[str, bool] = field(default_factory=dict)
    loops: set[str] = field(default_factory=set)
    """The keys of the nodes that are loops."""
    packers: set[str] = field(default_factory=set)
    """Of those that first pack their operands."""
    takers: set[str] = field(default_factory=set)
    """Of those that compute a stored value anew: loops, and what packs its operands by a loop."""

    @classmethod
    def of(cls, program: Program, platform: str) -> Fusion:
        """What `platform`'s compiler, "cpu" or "gpu", makes of a program."""
        decide = _on_gpu if platform == "gpu" else _on_cpu
        base = originals(program)
        fusion, read, nodes = cls(readings(program)), readings(base), {n.key: n for n in base.nodes}
        constants = {n.key for n in base.nodes if isinstance(n.op, Constant)}
        users: dict[str, dict[str, None]] = {}
        for node in base.nodes:
            for value in read[node.key]:
                users.setdefault(value.name, {})[node.key] = None
        outputs = {v.name for _, v in base.outputs}
        fusion.loops = {key for key, node in nodes.items() if is_loop(node)}
        fusion.packers = {key for key, node in nodes.items() if is_packer(node)}
        fusion.takers = fusion.loops | fusion.packers
        reductions = {key for key, node in nodes.items() if is_reduction(node)}
        kernels: dict[str, set[str]] = {}
        for key, node in reversed(nodes.items()):
            readers = set().union(*(kernels[u] for u in users.get(key, ())))
            inlined, stored = decide(node, readers, fusion.takers, readers & reductions, key in outputs, constants)
            fusion.inlined[key], fusion.stored[key] = inlined, stored
            into = readers & fusion.takers if stored else readers
            kernels[key] = ({key} if stored else set()) | (into if inlined else set())
        return fusion

    def is_stored(self, node: Node) -> bool:
        return self.stored[first_name(node.key)]

    def unstored(self) -> set[str]:
        """The keys of the nodes whose results have no memory."""
        return {key for key, stored in self.stored.items() if not stored}

    def is_inlined(self, node: Node) -> bool:
        return self.inlined[first_name(node.key)]

    def is_loop(self, node: Node) -> bool:
        return first_name(node.key) in self.loops

    def is_packer(self, node: Node) -> bool:
        return first_name(node.key) in self.packers

    def is_taker(self, node: Node) -> bool:
        return first_name(node.key) in self.takers


def _on_gpu(
    node: Node, readers: set[str], takers: set[str], reductions: set[str], output: bool, constants: set[str]
) -> tuple[bool, bool]:
    """The same for GPUs: where every user is a kernel that can take a loop in, they all do, however dear it is."""
    inlined = is_loop(node) and bool(readers) and readers <= takers | reductions and not output
    return inlined, not inlined


def _on_cpu(
    node: Node, readers: set[str], takers: set[str], reductions: set[str], output: bool, constants: set[str]
) -> tuple[bool, bool]:
    """Whether a node is inlined into the kernels that use it, and whether its result is stored."""
    if not is_loop(node) or not readers:
        return False, True
    fusible = readers <= takers | reductions and not output
    cheap = is_cheap(node, constants)
    if fusible and ((cheap or len(readers) == 1) if not reductions else (len(readers) == 1 and is_arithmetic(node))):
        return True, False
    again = is_composite(node) or (cheap and is_unary(node))
    return again and bool(readers & takers), True


def first_name(name: str) -> str:
    """The name of the value that a name stands for, second copy or not."""
    return name.removesuffix(SUFFIX)


def originals(program: Program) -> Program:
    """The program before anything was computed again."""
    if not any(n.key.endswith(SUFFIX) for n in program.nodes):
        return program
    plain = [
        replace(n, operands=tuple(Value(first_name(v.name), v.type) for v in n.operands))
        for n in program.nodes
        if not n.key.endswith(SUFFIX)
    ]
    return replace(program, nodes=tuple(plain))


def readings(program: Program) -> dict[str, list[Value]]:
    """The values that each node reads, by its key: its operands, and what XLA's simplifications add.

    The sign is taken out of a sum of -x, which then reads x instead. The gradient of some functions computes them
    again, and is merged with the first time (`SHARED`): it reads the result.
    """
    made = {v.name: n for n in program.nodes for v in n.results}
    functions: dict[tuple[Op, tuple[str, ...]], Value] = {}
    for node in program.nodes:
        if isinstance(node.op, Elementwise):
            functions.setdefault((node.op, names(node.operands)), node.results[0])
    early = needed(program)
    found = {}
    for node in program.nodes:
        read = list(dict.fromkeys(node.operands))
        if isinstance(node.op, Sum) and (maker := made.get(read[0].name)) and isinstance(maker.op, Neg):
            read = list(maker.operands)
        if isinstance(node.op, Pullback):
            value = functions.get((node.op.of, names(node.operands[1:])))
            if value is not None and value.name not in early and node.op.of.name in SHARED:
                read.append(value)
        found[node.key] = read
    return found


def needed(program: Program, readings: Mapping[str, list[Value]] | None = None) -> set[str]:
    """The keys of the nodes that tied outputs need: in a gradient's program, those of the gradient.

    Where a second copy is needed the first one counts as needed too, whoever takes which.
    """
    made: dict[str, list[Node]] = {}
    for node in program.nodes:
        for value in node.results:
            made.setdefault(first_name(value.name), []).append(node)
    wanted, found = [first_name(v.name) for name, v in program.outputs if name in program.ties], set()
    while wanted:
        for node in made.get(wanted.pop(), ()):
            if node.key not in found:
                found.add(node.key)
                wanted += names(readings[node.key] if readings else node.operands)
    return found


def names(values: Iterable[Value]) -> tuple[str, ...]:
    return tuple(first_name(v.name) for v in values)


def is_packer(node: Node) -> bool:
    """Whether a node first packs its operands in the order that it needs, each into a buffer of its own."""
    return isinstance(node.op, ScatterAdd)


def has_one_index(node: Node, operand: int) -> bool:
    """Whether an operand is a scatter's index, and the same one for all of a batch."""
    return isinstance(node.op, ScatterAdd) and operand == 1 and set(node.types[1].names) <= set(node.op.over)


def is_loop(node: Node) -> bool:
    """Whether each element of the node's one result is computed by itself."""
    if len(node.results) != 1 or node.op.regions() or is_packer(node):
        return False
    return isinstance(node.op, Gather) or all(isinstance(r, Map) for r in facts(node.op, node.types).roles.values())


def is_reduction(node: Node) -> bool:
    """Whether the node sums up what a loop could make: not a product of matrices, which is left to a library."""
    if isinstance(node.op, Contract) and set(node.types[0].names) != set(node.types[1].names):
        return False
    if is_packer(node):
        return False
    roles = facts(node.op, node.types).roles.values()
    return any(isinstance(r, Reduce) for r in roles) and all(isinstance(r, Map | Reduce) for r in roles)


def is_cheap(node: Node, constants: set[str]) -> bool:
    """Whether a loop may be computed once for each of its consumers; a division by a constant is a product."""
    if isinstance(node.op, Gather):
        return False
    if isinstance(node.op, Div) and (node.operands[1].name in constants or not is_full(node.operands[1], node)):
        return True
    return node.op.flops(*node.types) < CHEAP * max(1, node.results[0].type.size)


def made_in_place(node: Node) -> bool:
    """Whether a node makes its result out of nothing, as a broadcast does: nobody would keep it."""
    return node.op.flops(*node.types) == 0 and sum(v.type.size for v in node.operands) < node.results[0].type.size


def is_composite(node: Node) -> bool:
    """Whether a function takes several steps, of which an expensive one is kept rather than the result."""
    return isinstance(node.op, Elementwise) and node.op.cost >= COMPOSITE


def is_arithmetic(node: Node) -> bool:
    """Whether a reduction takes the loop in: XLA's CPU library does so with functions of real numbers only."""
    return node.op.name in ARITHMETIC and all(v.type.dtype in ("f32", "f64") for v in (*node.operands, *node.results))


def is_unary(node: Node) -> bool:
    """Whether the node reads at most one tensor of as many dims as its result."""
    return sum(is_full(v, node) for v in dict.fromkeys(node.operands)) <= 1


def is_full(value: Value, node: Node) -> bool:
    return _rank(value) >= _rank(node.results[0])


def _rank(value: Value) -> int:
    return sum(d.size > 1 for d in value.type.dims)
