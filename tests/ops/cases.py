"""What the laws of `test_every_op` run on: the examples of every op, values in each op's domain, and plans by hand."""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ir.ops  # noqa: F401  (defining the leaves fills the table)
from ir.build import Builder
from ir.dims import TensorType
from ir.graph import Program, Value
from ir.layout import WHOLE, Collective, Layout, Move, moves_from
from ir.mesh import Mesh
from ir.op import Op, Strategy
from ir.place import Place
from ir.plan import Plan

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""Compiler options for programs that run once."""


@dataclass(frozen=True)
class Case:
    """One example of an op."""

    op: Op
    types: tuple[TensorType, ...]
    index: int

    def __str__(self) -> str:
        return f"{self.op.name}-{self.index}"

    @property
    def noise(self) -> bool:
        return self.op.name.startswith("random_")

    def seed(self, salt: str) -> int:
        return zlib.crc32(f"{self}:{salt}".encode())


@cache
def cases_of(name: str) -> tuple[Case, ...]:
    return tuple(Case(op, types, i) for i, (op, types) in enumerate(Op.table[name].examples()))


def families() -> dict[str, list[str]]:
    """The names of the ops of `ir.ops` that have examples, by the file they stand in."""
    found: dict[str, list[str]] = {}
    for name, cls in Op.table.items():
        if cls.__module__.startswith("ir.") and cases_of(name):
            found.setdefault(cls.__module__.rpartition(".")[2], []).append(name)
    return found


# --- values ---

_INSIDE = {  # where a function is smooth and has a gradient
    **dict.fromkeys(("log", "sqrt", "log1p", "pow", "lgamma", "digamma"), (0.3, 2.0)),
    **dict.fromkeys(("ndtri",), (0.1, 0.9)),
    **dict.fromkeys(("deviance", "stirling"), (0.3, 20.0)),
    **dict.fromkeys(("log_deviance",), (0.3, 2.0)),
    **dict.fromkeys(("floor",), (0.2, 0.7)),
    **dict.fromkeys(("random_gamma", "random_poisson"), (0.5, 30.0)),
}


def values(case: Case, salt: str = "first") -> list[np.ndarray]:
    """Operands in the op's domain, the same at each call."""
    return _values(case.op, case.types, np.random.default_rng(case.seed(salt)))


def _values(op: Op, types: Sequence[TensorType], rng: np.random.Generator) -> list[np.ndarray]:
    if op.name == "pullback":
        return [draw(types[0], rng), *_values(op.of, types[1:], rng)]  # type: ignore[attr-defined]
    found = [draw(t, rng, *_INSIDE.get(op.name, ())) for t in types]
    if op.name == "gather":
        found[1] = rng.integers(0, types[0][op.dim], types[1].shape, dtype=np.int32)  # type: ignore[attr-defined]
    if op.name == "scatter_add":
        found[1] = rng.integers(0, op.dim.size, types[1].shape, dtype=np.int32)  # type: ignore[attr-defined]
    if op.name in ("cholesky", "triangular_solve"):
        found[0] = _definite(op, types[0], rng)
    if op.name in ("interp", "slopes") and not op.step:  # type: ignore[attr-defined]
        at = 1 if op.name == "interp" else 0
        found[at] = _knots(types[at], types[at].index(op.dim), rng)  # type: ignore[attr-defined]
    if op.name == "log_normal_mass":  # P(a < Z < b) with a < b
        found = [draw(types[0], rng, -1.5, -0.1), draw(types[1], rng, 0.1, 1.5)]
    if op.name in ("paint", "read", "read_slopes"):  # off the kinks of CIC and the jumps of NGP
        for i in range(op.rank):  # type: ignore[attr-defined]
            found[i] = rng.integers(-3, 3, types[i].shape) / 2 + rng.uniform(0.02, 0.48, types[i].shape)
    if op.name == "random_binomial":
        found[1], found[2] = np.floor(draw(types[1], rng, 5.0, 60.0)), draw(types[2], rng, 0.1, 0.9)
    return found


def draw(t: TensorType, rng: np.random.Generator, low: float = -1.5, high: float = 1.5) -> np.ndarray:
    """Random values of a type; integers are small, key words use all their bits."""
    if t.dtype == "bool":
        return rng.random(t.shape) < 0.5
    if t.dtype == "u32":
        return rng.integers(0, 2**32, t.shape, dtype=np.uint32)
    if t.dtype[0] == "i":
        return rng.integers(0, 3, t.shape).astype(t.numpy)
    x = rng.uniform(low, high, t.shape)
    if t.is_complex:
        x = x + 1j * rng.uniform(low, high, t.shape)
    return np.asarray(x, t.numpy)


def _knots(t: TensorType, axis: int, rng: np.random.Generator) -> np.ndarray:
    """Ascending numbers along an axis, unevenly apart, from -1.6 to 1.6."""
    steps = np.cumsum(rng.uniform(0.5, 1.5, t.shape), axis)
    first, last = np.take(steps, [0], axis), np.take(steps, [-1], axis)
    return np.asarray(3.2 * (steps - first) / (last - first) - 1.6, t.numpy)


def _definite(op: Any, t: TensorType, rng: np.random.Generator) -> np.ndarray:
    """A positive definite matrix for every batch element."""
    rest = [d for d in t.names if d not in (op.rows, op.cols)]
    n = t[op.rows]
    a = rng.normal(size=(*(t[d] for d in rest), n, n))
    a = a @ np.swapaxes(a, -1, -2) + n * np.eye(n)
    return np.transpose(a, [[*rest, op.rows, op.cols].index(d) for d in t.names])


# --- programs and plans ---


def find_path(start: Layout, goal: Layout, t: TensorType, mesh: Mesh) -> tuple[Move, ...] | None:
    """A shortest path of legal moves; None where there is none."""
    seen, edge = {start}, [((), start)]
    while edge:
        further = []
        for path, layout in edge:
            if layout == goal:
                return path
            for move, then in moves_from(layout, t, mesh):
                if then not in seen:
                    seen.add(then)
                    further.append(((*path, move), then))
        edge = further
    return None


def pick_strategies(case: Case, mesh: Mesh, count: int) -> list[Strategy]:
    """Some of the op's legal strategies that split or carry anything, drawn with a fixed seed; one of other methods."""
    legal = [
        s
        for s in case.op.strategies(case.types, mesh)
        if (s.splits or s.carry)
        and all(
            find_path(start_layout(case, i, s), case.op.operand_layout(i, case.types, s), t, mesh) is not None
            for i, t in enumerate(case.types)
        )
    ]
    rng = random.Random(case.seed(str(mesh)))
    carried = [s for s in legal if s.carry]
    first = [s for s in legal if s.method == ""]
    picked = rng.sample(first, min(count, len(first)))
    for method in case.op.methods()[1:]:
        picked += rng.sample([s for s in legal if s.method == method], any(s.method == method for s in legal))
    if carried and not any(s.carry for s in picked):
        picked[-1] = rng.choice(carried)
    return picked


def start_layout(case: Case, index: int, strategy: Strategy) -> Layout:
    """How an operand comes in: whole, or as partial sums where the strategy carries it."""
    return WHOLE.with_partial(case.op.operand_layout(index, case.types, strategy).partial)


@dataclass
class Planned:
    """A program of many independent nodes with a plan by hand; results leave whole."""

    mesh: Mesh
    builder: Builder
    layouts: dict[str, Layout]
    strategies: dict[str, Strategy]
    reshards: dict[tuple[str, Layout], tuple[Move, ...]]
    made: dict[str, Value]

    @classmethod
    def on(cls, mesh: Mesh) -> Planned:
        return cls(mesh, Builder("laws", "f64"), {}, {}, {}, {})

    def input(self, name: str, t: TensorType, layout: Layout = WHOLE) -> Value:
        value = self.builder.input(name, t)
        self.layouts[value.name] = layout
        return value

    def add(self, name: str, case: Case, operands: Sequence[Value], strategy: Strategy) -> tuple[Value, ...]:
        """The case's node under a strategy; its results become outputs `name.0`, `name.1`, …"""
        results = self.builder.emit_all(case.op, *operands)
        self.strategies[results[0].name] = strategy
        for i, value in enumerate(operands):
            self.bring(value, case.op.operand_layout(i, case.types, strategy))
        layouts = case.op.result_layouts(case.types, strategy)
        for k, (value, layout) in enumerate(zip(results, layouts, strict=True)):
            self.layouts[value.name] = layout
            self.bring(value, WHOLE)
            self.made[f"{name}.{k}"] = value
        return results

    def bring(self, value: Value, wanted: Layout) -> None:
        start = self.layouts[value.name]
        if start != wanted:
            path = find_path(start, wanted, value.type, self.mesh)
            assert path is not None, f"no path of {value.type} from {start} to {wanted} on {self.mesh}"
            self.reshards[value.name, wanted] = path

    def finish(self) -> tuple[Program, Plan]:
        """The program; nodes that other means than `add` have emitted run whole."""
        program = self.builder.finish(self.made)
        for node in program.nodes:
            self.strategies.setdefault(node.key, Strategy())
            for value in node.results:
                self.layouts.setdefault(value.name, WHOLE)
        outputs = dict.fromkeys(self.made, WHOLE)
        return program, Plan(self.mesh, self.layouts, self.strategies, self.reshards, outputs)


# --- padding and collectives ---


def poison(x: jax.Array, t: TensorType, layout: Layout, mesh: Mesh) -> jax.Array:
    """The block with its padding replaced by what must not leak: NaN, or a number far outside any index."""
    bad = {"f": np.nan, "c": np.nan, "b": True, "i": 2**29, "u": 2**29}[t.dtype[0]]
    return Place((t,), (), layout.split, mesh).select(x, t.names, bad)


_KINDS = {
    "psum": "all_reduce",
    "pmax": "all_reduce",
    "pmin": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "all_to_all": "all_to_all",
    "ppermute": "collective_permute",
}


def performed(jaxpr: Any) -> Counter[Collective]:
    """The collectives in a traced program, those of a loop's body with its trips."""
    found: Counter[Collective] = Counter()
    for equation in jaxpr.eqns:
        kind = _KINDS.get(equation.primitive.name)
        if kind:
            axes = equation.params.get("axes", equation.params.get("axis_name"))
            for operand in equation.invars:
                dtype = next(
                    d for d in ("f32", "f64", "i32", "i64", "u32", "c64", "c128", "bool") if _is(d, operand.aval.dtype)
                )
                size = operand.aval.size * operand.aval.dtype.itemsize
                found[Collective(kind, tuple(axes) if isinstance(axes, tuple | list) else (axes,), dtype, size)] += 1
        trips = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for inner in _inner(equation.params.values()):
            found += Counter({c: trips * n for c, n in performed(inner).items()})
    return found


def _is(dtype: str, other: Any) -> bool:
    return TensorType((), dtype).numpy == other.name


def _inner(params: Iterable[Any]):
    for p in params:
        if hasattr(p, "eqns"):
            yield p
        elif hasattr(p, "jaxpr"):
            yield p.jaxpr
        elif isinstance(p, tuple | list):
            yield from _inner(p)


def share(x: jax.Array, axes: Sequence[str], mesh: Mesh) -> jax.Array:
    """This device's part of a sum over `axes` that gives x: parts differ by more than a factor."""
    parts = mesh.size(axes)
    i = jax.lax.axis_index(tuple(axes)).astype(x.dtype)
    other = jnp.flip(x) + jnp.asarray(0.3, x.dtype)
    return x * (2 * (i + 1) / (parts * (parts + 1))) + other * (i - (parts - 1) / 2)
