"""The machine that a plan is made for: what a device computes, remembers and hears from the others.

A machine is a small TOML file (see planner/machines and `machine_file`). Its numbers are per device. Computing: one
rate for all work, or a rate for each class of it (`WORK`). Collectives: the alpha-beta law, t = alpha(kind) · log2(n) +
(bytes sent) / beta(kind), or measured curves where the file has them (`curves`); one set for groups that stay inside a
node, one for groups that leave it, and one for hand-written kernels, where the machine has figures of them.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ir.errors import Diagnostic
from ir.mesh import Mesh

from .curves import Curve, curve_of, share

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "collective_permute")
WORK = ("elementwise", "reduce", "matmul", "fft", "gather", "scatter", "linalg", "repack")
"""Classes of work that attain very different shares of a device's peak; `repack` is transposing in memory."""
PLATFORMS = ("gpu", "cpu")
FOLDER = Path(__file__).parent / "machines"


@dataclass(frozen=True)
class Link:
    """What joins the devices of a group: latency [s] and bandwidth [B/s] by kind of collective, and measured curves."""

    alpha: tuple[float, ...]
    beta: tuple[float, ...]
    curves: tuple[tuple[Curve, ...], ...] = ((),) * len(KINDS)
    """By kind; a kind without curves follows alpha and beta."""

    def times(self, kind: str) -> tuple[float, float]:
        at = KINDS.index(kind)
        return self.alpha[at], self.beta[at]

    def curve(self, kind: str, nodes: int, per: int) -> Callable[[float], float]:
        """Seconds of a collective among `nodes` × `per` devices by the bytes of operand on each."""
        if curves := self.curves[KINDS.index(kind)]:
            return curve_of(curves, kind, nodes, per)
        alpha, beta = self.times(kind)
        n = nodes * per
        latency = alpha if kind == "collective_permute" else alpha * math.log2(n)
        sent = share(kind, n)
        return lambda size: latency + sent * size / beta

    def seconds(self, kind: str, nodes: int, per: int, size: float) -> float:
        """The same for one size."""
        return self.curve(kind, nodes, per)(size)


@dataclass(frozen=True)
class NativeLink(Link):
    """What hand-written collectives attain inside a node; packing and unpacking are in it."""

    measured: bool = True
    """Whether the figures were measured: a plan takes others only where the user asks for these collectives."""


@dataclass(frozen=True)
class Rates:
    """What a device attains in one class of work: flop/s by precision and B/s; zero where the device's own hold."""

    f32: float = 0.0
    f64: float = 0.0
    bandwidth: float = 0.0


@dataclass(frozen=True)
class Machine:
    """A kind of device and its links; `node` devices share the fast link. Zero `memory_size` means unknown."""

    name: str
    f32: float
    f64: float
    memory_bandwidth: float
    inside: Link
    across: Link
    memory_size: float = 0.0
    launch: float = 0.0
    efficiency: float = 1.0
    """What real programs attain of f32, f64 and memory_bandwidth; the rates of `work` are attained as they stand."""
    node: int = 0
    """Devices per node; 0 when all devices are joined alike."""
    title: str = ""
    work: tuple[tuple[str, Rates], ...] = ()
    platform: str = "gpu"
    """Whose compiler makes its programs, "cpu" or "gpu": what lies in memory when follows from that."""
    staged: bool = False
    """Whether a sum or gather among several devices of several nodes may go in stages, inside a node and across."""
    native: NativeLink | None = None
    """Hand-written collectives; None where there are no figures, or they are not to be used."""
    collectives: str = "auto"
    """auto: hand-written ones where measured figures say that they are faster; native: wherever they serve; lax."""

    @classmethod
    def load(cls, name: str | Path) -> Machine:
        """A built-in machine by name, or a machine file by path; a `Diagnostic` says what would do."""
        known = sorted(p.stem for p in FOLDER.glob("*.toml"))
        text = str(name)
        if text in known:
            return cls.read(FOLDER / f"{text}.toml")
        if Path(text).suffix == ".toml":
            if not Path(text).exists():
                hint = f"meshbayes calibrate --out {Path(text).name} measures the devices at hand and writes one"
                raise Diagnostic("plan", f"there is no machine file {text}", where="machine", hint=hint)
            return cls.read(Path(text))
        close = difflib.get_close_matches(text, known, 1)
        did_you_mean = f"did you mean '{close[0]}'? " if close else ""
        raise Diagnostic(
            "plan",
            f"unknown machine '{text}'",
            where="machine",
            hint=f"{did_you_mean}built in are {', '.join(known)}; any other is the path of a .toml file",
        )

    @classmethod
    def read(cls, path: Path) -> Machine:
        """The machine of a file; a `Diagnostic` with the place of what is wrong in it."""
        from .machine_file import read_machine

        return read_machine(path)

    @classmethod
    def from_table(cls, table: Mapping[str, Any], where: str) -> Machine:
        """The machine that a parsed file describes; every missing or impossible number is named."""
        from .machine_file import machine_of

        return machine_of(table, where)

    def law(self) -> Machine:
        """The machine without what was measured in detail: two rates, one bandwidth and the alpha-beta law."""
        inside, across = (Link(link.alpha, link.beta) for link in (self.inside, self.across))
        return dataclasses.replace(self, inside=inside, across=across, work=(), staged=False, native=None)

    def lax_curve(self, kind: str, mesh: Mesh, axes: tuple[str, ...]) -> Callable[[float], float]:
        """Seconds of a collective of `jax.lax` by bytes of operand, with what an all-to-all is repacked."""
        alone = self.curve(kind, mesh, axes)
        if kind != "all_to_all" or mesh.size(axes) == 1:
            return alone
        bandwidth = self.bandwidth("repack")
        return lambda size: alone(size) + 2 * size / bandwidth

    def flops(self, dtype: str, work: str = "") -> float:
        """Attained floating-point operations per second in a dtype and a class of work."""
        double = dtype in ("f64", "c128")
        own = self.rates(work)
        return (own.f64 if double else own.f32) or self.efficiency * (self.f64 if double else self.f32)

    def bandwidth(self, work: str = "") -> float:
        """Attained memory bandwidth [B/s] in a class of work."""
        return self.rates(work).bandwidth or self.efficiency * self.memory_bandwidth

    def rates(self, work: str) -> Rates:
        for name, rates in self.work:
            if name == work:
                return rates
        return _NO_RATES

    def link(self, mesh: Mesh, axes: Iterable[str]) -> Link:
        """The link of a group along mesh axes."""
        return self.inside if self.group(mesh, tuple(axes))[0] == 1 else self.across

    def group(self, mesh: Mesh, axes: tuple[str, ...]) -> tuple[int, int]:
        """How many nodes a group along mesh axes spans, and how many of its devices are in each.

        Devices are numbered with the last mesh axis running fastest, node by node. Where groups differ, that with most
        nodes counts.
        """
        return _group(mesh, axes, self.node)

    def collective(self, kind: str, mesh: Mesh, axes: tuple[str, ...], size: float) -> float:
        """Seconds of a collective along mesh axes with `size` bytes of operand on each device."""
        return self.curve(kind, mesh, axes)(size)

    def curve(self, kind: str, mesh: Mesh, axes: tuple[str, ...]) -> Callable[[float], float]:
        """The same by size."""
        nodes, per = self.group(mesh, axes)
        if nodes * per == 1:
            return lambda size: 0.0
        if nodes == 1:
            return self.inside.curve(kind, 1, per)
        found = self.across.curve(kind, nodes, per)
        staged = self._in_stages(kind, nodes, per) if self.staged and per > 1 else None
        return found if staged is None else lambda size: min(found(size), staged(size))

    def _in_stages(self, kind: str, nodes: int, per: int) -> Callable[[float], float] | None:
        """As communication libraries do it with one network adapter per device, all of them at work."""
        inside, across = self.inside.curve, self.across.curve
        if kind == "all_reduce":
            scatter, gather = inside("reduce_scatter", 1, per), inside("all_gather", 1, per)
            between = across("all_reduce", nodes, 1)
            return lambda size: scatter(size) + gather(size / per) + between(size / per)
        if kind == "reduce_scatter":
            scatter, between = inside(kind, 1, per), across(kind, nodes, 1)
            return lambda size: scatter(size) + between(size / per)
        if kind == "all_gather":
            gather, between = inside(kind, 1, per), across(kind, nodes, 1)
            return lambda size: between(size) + gather(nodes * size)
        return None


_NO_RATES = Rates()


@lru_cache(maxsize=1024)
def _group(mesh: Mesh, axes: tuple[str, ...], node: int) -> tuple[int, int]:
    n = mesh.size(axes)
    if not node or mesh.devices <= node:
        return 1, n
    grid = np.arange(mesh.devices).reshape(mesh.shape) // node
    order = [mesh.names.index(a) for a in axes]
    groups = np.moveaxis(grid, order, range(-len(order), 0)).reshape(-1, n)
    nodes = max(len(set(g)) for g in groups.tolist())
    return nodes, -(-n // nodes)
