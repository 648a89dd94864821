"""What a program really communicates: the collectives of the StableHLO that we emit and of XLA's optimised HLO.

Both are read from the program itself and told in the plan's words (`ir.layout.Collective`), mesh axes recovered from
the groups of devices, so that they can be held to `Plan.collectives`. In optimised HLO XLA may have combined several
collectives into one instruction: each operand is listed by itself, with the instruction's number in common.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from ir.errors import InternalError
from ir.layout import Axes, Collective
from ir.mesh import Mesh

KINDS = (
    *("all_reduce", "reduce_scatter", "all_gather", "all_to_all", "collective_permute", "collective_broadcast"),
    *("ragged_all_to_all", "send", "recv"),
)
"""Every operation by which devices may talk; the plan knows the first five."""


@dataclass(frozen=True)
class Performed:
    """A collective as a program contains it. `trips`: how often one run executes it; None where data decide (a loop
    without a fixed count, a branch). `instruction` numbers the instructions in the order of the text."""

    collective: Collective
    trips: int | None
    instruction: int

    def __str__(self) -> str:
        return f"{'?' if self.trips is None else self.trips} x {self.collective}"


def emitted(lowered: Any, mesh: Mesh) -> list[Performed]:
    """The collectives of a `jax.stages.Lowered` over the devices of `mesh`, one for each operand."""
    module = lowered.compiler_ir("stablehlo")
    functions = {
        str(f.attributes["sym_name"]).strip('"'): f for f in module.body.operations if "sym_name" in f.attributes
    }
    found: list[Performed] = []

    def visit(op: Any, trips: int | None) -> None:
        name = op.operation.name
        kind = name.removeprefix("stablehlo.")
        if kind in KINDS:
            axes = _named_axes(op.attributes) or _axes(kind, _groups(op.attributes), mesh)
            found.extend(
                Performed(Collective(kind, axes, *_mlir_type(str(x.type))), trips, len(found)) for x in op.operands
            )
        if name == "func.call":
            visit(functions[str(op.attributes["callee"]).lstrip("@")], trips)
        inner = trips
        if name == "stablehlo.while":
            count = _trip_count(op)
            inner = None if trips is None or count is None else trips * count
        elif name in ("stablehlo.if", "stablehlo.case"):
            inner = None
        for region in op.operation.regions:
            for block in region.blocks:
                for child in block.operations:
                    visit(child, inner)

    visit(functions["main"], 1)
    return found


def optimised(compiled: Any, mesh: Mesh) -> list[Performed]:
    """The collectives of a `jax.stages.Compiled` over the devices of `mesh`, one for each operand."""
    return hlo_collectives(compiled.as_text(), mesh)


def hlo_collectives(text: str, mesh: Mesh) -> list[Performed]:
    """The collectives of a module in HLO text."""
    return [
        Performed(Collective(i.kind, _axes(i.kind, i.groups, mesh), dtype, size), i.trips, number)
        for number, i in enumerate(_instructions(text, mesh))
        for dtype, size in i.operands
    ]


def received(compiled: Any, mesh: Mesh) -> np.ndarray:
    """Bytes that each device of `mesh` receives in one run of a `jax.stages.Compiled`, whoever wrote the program.

    Groups of devices may lie across the mesh in any way. In a group of n, of an operand of S bytes on each device, one
    receives (n-1) S in an all-gather, 2 (n-1)/n S in an all-reduce, (n-1)/n S in a reduce-scatter or an all-to-all, and
    S from another device in a permute. A collective that data decide on is an `InternalError`.
    """
    found = np.zeros(mesh.devices)
    for i in _instructions(compiled.as_text(), mesh):
        if i.trips is None or (i.kind not in _SHARES and i.kind != "collective_permute"):
            raise InternalError(f"how much a {i.kind} moves is not known before it runs")
        size = i.trips * sum(size for _, size in i.operands)
        for group in i.groups.tolist():
            if i.kind == "collective_permute":
                found[group[1]] += size * (group[0] != group[1])
            else:
                found[group] += _SHARES[i.kind](len(group)) * size
    return found


_SHARES = {
    "all_gather": lambda n: n - 1,
    "all_reduce": lambda n: 2 * (n - 1) / n,
    "reduce_scatter": lambda n: (n - 1) / n,
    "all_to_all": lambda n: (n - 1) / n,
}


@dataclass(frozen=True)
class _Instruction:
    """A collective of an HLO module: groups of devices (pairs for a permute), (dtype, bytes) of each operand."""

    kind: str
    groups: np.ndarray
    operands: list[tuple[str, int]]
    trips: int | None


def _instructions(text: str, mesh: Mesh) -> list[_Instruction]:
    entry, computations = _computations(text)
    found: list[_Instruction] = []

    def visit(name: str, trips: int | None) -> None:
        types = {i["name"]: i["type"] for i in computations[name]}
        for i in computations[name]:
            kind = i["op"].removesuffix("-start").replace("-", "_")
            if kind in KINDS and not i["op"].endswith("-done"):
                operands = list(_operands(kind, [types[o] for o in _NAME.findall(i["args"])]))
                found.append(_Instruction(kind, _hlo_groups(i["rest"], mesh), operands, trips))
            inner = trips
            if i["op"] == "while":
                known = re.search(r'"known_trip_count":\{"n":"(\d+)"', i["rest"])
                inner = None if trips is None or known is None else trips * int(known[1])
            elif i["op"] == "conditional":
                inner = None
            for called in _CALLED.findall(i["rest"]):
                for one in re.findall(r"%?([\w.\-]+)", called):
                    visit(one, inner)

    visit(entry, 1)
    return found


# --- StableHLO ---


def _trip_count(op: Any) -> int | None:
    """How often a `stablehlo.while` runs that counts from a constant, by one, up to a constant; else None."""
    condition, body = (region.blocks[0] for region in op.operation.regions)
    test = _maker(_last(condition).operands[0])
    if test is None or test.name != "stablehlo.compare" or "LT" not in str(test.attributes["comparison_direction"]):
        return None
    at = next((n for n, a in enumerate(condition.arguments) if a == test.operands[0]), None)
    if at is None:
        return None
    first, end = _constant(op.operands[at]), _constant(test.operands[1])
    step = _maker(_last(body).operands[at])
    if step is None or step.name != "stablehlo.add" or step.operands[0] != body.arguments[at]:
        return None
    if first is None or end is None or _constant(step.operands[1]) != 1:
        return None
    return max(0, end - first)


def _last(block: Any) -> Any:
    return block.operations[len(block.operations) - 1].operation


def _maker(value: Any) -> Any:
    """The operation that makes a value; None for a block's argument."""
    owner = value.owner
    return owner.operation if hasattr(owner, "operation") else owner if hasattr(owner, "name") else None


def _constant(value: Any) -> int | None:
    """A whole constant, through the conversions that JAX puts around it."""
    maker = _maker(value)
    if maker is not None and maker.name in ("stablehlo.convert", "stablehlo.broadcast_in_dim"):
        return _constant(maker.operands[0])
    if maker is None or maker.name != "stablehlo.constant":
        return None
    number = re.fullmatch(r"dense<(-?\d+)> : .*", str(maker.attributes["value"]))
    return int(number[1]) if number else None


def _named_axes(attributes: Any) -> tuple[str, ...]:
    """The mesh axes, where replica groups are written by their names, as JAX 0.12 does; empty where by device."""
    text = str(attributes["replica_groups"]) if "replica_groups" in attributes else ""
    return tuple(re.findall(r'axis_ref<name = "([^"]+)">', text))


def _groups(attributes: Any) -> np.ndarray:
    name = "replica_groups" if "replica_groups" in attributes else "source_target_pairs"
    attribute = attributes[name]
    return np.array([attribute[n] for n in range(len(attribute))]).reshape(attribute.type.shape)


_MLIR_DTYPES = {"i1": "bool", "i8": "i8", "i32": "i32", "i64": "i64", "ui32": "u32", "ui64": "u64", "f16": "f16"}
_MLIR_DTYPES |= {"bf16": "bf16", "f32": "f32", "f64": "f64", "complex<f32>": "c64", "complex<f64>": "c128"}
_BYTES = {"bool": 1, "i8": 1, "u8": 1, "f16": 2, "bf16": 2, "c64": 8, "c128": 16}


def _mlir_type(text: str) -> tuple[str, int]:
    """Our dtype and the bytes of a `tensor<3x4xf32>`."""
    match = re.fullmatch(r"tensor<((?:\d+x)*)([\w<>]+)>", text)
    if match is None or match[2] not in _MLIR_DTYPES:
        raise InternalError(f"a collective of {text} is not understood")
    dtype = _MLIR_DTYPES[match[2]]
    return dtype, math.prod(int(n) for n in match[1].split("x") if n) * _itemsize(dtype)


def _itemsize(dtype: str) -> int:
    return _BYTES.get(dtype) or int(dtype[1:]) // 8


# --- HLO ---

_INSTRUCTION = re.compile(
    r"\s+(?:ROOT )?%(?P<name>[\w.\-]+) = (?P<type>\((?:[^()]|\([^()]*\))*\)|\S+) (?P<op>[a-z][\w\-]*)"
    r"\((?P<args>[^)]*)\)(?P<rest>.*)"
)
_NAME = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(
    r"(?:body|condition|calls|to_apply|true_computation|false_computation|branch_computations)="
    r"(\{[^}]*\}|%[\w.\-]+)"
)
_HLO_DTYPES = {"pred": "bool", "s8": "i8", "s32": "i32", "s64": "i64"}


def _computations(text: str) -> tuple[str, dict[str, list[dict[str, str]]]]:
    """The entry's name, and the instructions of each computation."""
    entry, found, body = "", dict[str, list[dict[str, str]]](), None
    for line in text.splitlines():
        head = re.match(r"(ENTRY )?%([\w.\-]+) \(.*\{$", line)
        if head:
            body = found.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif body is not None and (match := _INSTRUCTION.match(line)):
            body.append(match.groupdict())
    if not entry:
        raise InternalError("this is not the text of an HLO module")
    return entry, found


def _operands(kind: str, types: Sequence[str]) -> Iterator[tuple[str, int]]:
    """dtype and bytes of each operand; the pieces of an all-to-all in tuple form are one operand."""
    shapes = [shape for t in types for shape in re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", t)]
    sized = []
    for name, dims in shapes:
        dtype = _HLO_DTYPES.get(name, name)
        sized.append((dtype, math.prod(int(n) for n in dims.split(",") if n) * _itemsize(dtype)))
    if kind == "all_to_all" and len(sized) > 1:
        sized = [(sized[0][0], sum(size for _, size in sized))]
    yield from sized


def _hlo_groups(rest: str, mesh: Mesh) -> np.ndarray:
    pairs = re.search(r"(?:replica_groups|source_target_pairs)=\{((?:\{[\d,]*\},?)*)\}", rest)
    if pairs:
        rows = [[int(n) for n in row.split(",")] for row in re.findall(r"\{([\d,]+)\}", pairs[1])]
        return np.array(rows or [range(mesh.devices)])
    named = re.search(
        r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? \{([^}]*)\}", rest
    )
    if named:
        own = Mesh(tuple((n, int(size)) for n, size in re.findall(r"'([^']+)'=(\d+)", named[1])))
        rows = np.array(_rows(tuple(re.findall(r"'([^']+)'", named[4])), own))
        return _iota(named[2], named[3])[rows] if named[2] else rows
    iota = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", rest)
    if iota is None:
        raise InternalError(f"a collective's groups of devices are not understood: {rest[:200]}")
    return _iota(iota[2], iota[3]).reshape([int(n) for n in iota[1].split(",")])


def _iota(sizes: str, order: str | None) -> np.ndarray:
    """0, 1, 2, … in an array of these sizes, its axes transposed into an order, flat: `[2,4]T(1,0)`."""
    shape, axes = ([int(n) for n in part.split(",")] if part else [] for part in (sizes, order))
    devices = np.arange(math.prod(shape)).reshape(shape)
    return (devices.transpose(axes) if axes else devices).reshape(-1)


# --- mesh axes ---


def _axes(kind: str, groups: np.ndarray, mesh: Mesh) -> Axes:
    """The mesh axes along which the devices of each group lie, the first one major; devices are numbered row-major."""
    wanted = {tuple(row) for row in groups.tolist()}
    for count in range(len(mesh.names) + 1):
        for axes in permutations(mesh.names, count):
            rows = _rows(axes, mesh)
            if kind == "collective_permute":  # to the next or to the previous neighbour, around
                ways = [{(r[i], r[(i + s) % len(r)]) for r in rows for i in range(len(r))} for s in (1, -1)]
            else:
                ways = [{tuple(r) for r in rows}]
            if wanted in ways:
                return axes
    if kind == "collective_permute":  # not around a ring: the axes along which anything moves
        places = np.stack(np.unravel_index(groups, mesh.shape))
        return tuple(a for a, p in zip(mesh.names, places, strict=True) if (p[:, 0] != p[:, 1]).any())
    raise InternalError(f"the groups {groups.tolist()} of a {kind} lie along no axes of the mesh {mesh}")


def _rows(axes: Axes, mesh: Mesh) -> list[list[int]]:
    """The devices along `axes`, for each place on the other axes."""
    devices = np.arange(mesh.devices).reshape(mesh.shape)
    rest = [n for n in mesh.names if n not in axes]
    order = [mesh.names.index(n) for n in (*rest, *axes)]
    return devices.transpose(order).reshape(-1, mesh.size(axes)).tolist()


__all__ = ["KINDS", "Performed", "emitted", "hlo_collectives", "optimised", "received"]
