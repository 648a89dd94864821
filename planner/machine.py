"""The machine that a plan is made for: what a device computes, remembers and hears from the others.

A machine is a small TOML file (see planner/machines). Its numbers are per device; collectives follow the alpha-beta
law, t = alpha(kind) · log2(n) + (bytes sent) / beta(kind), with one pair of tables for groups that stay inside a node
and one for groups that leave it.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ir.errors import Diagnostic
from ir.mesh import Mesh

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "collective_permute")
FOLDER = Path(__file__).parent / "machines"


@dataclass(frozen=True)
class Link:
    """What joins the devices of a group: latency [s] and bandwidth [B/s] by kind of collective."""

    alpha: tuple[float, ...]
    beta: tuple[float, ...]

    def times(self, kind: str) -> tuple[float, float]:
        at = KINDS.index(kind)
        return self.alpha[at], self.beta[at]


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
    node: int = 0
    """Devices per node; 0 when all devices are joined alike."""
    title: str = ""

    @classmethod
    def load(cls, name: str | Path) -> Machine:
        """A built-in machine by name, or a machine file by path; a `Diagnostic` says what would do."""
        known = sorted(p.stem for p in FOLDER.glob("*.toml"))
        text = str(name)
        if text in known:
            return cls.read(FOLDER / f"{text}.toml")
        if Path(text).suffix == ".toml":
            if not Path(text).is_file():
                raise Diagnostic("plan", f"there is no machine file {text}", where="machine")
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
        try:
            return cls.from_table(tomllib.loads(path.read_text()), str(path))
        except tomllib.TOMLDecodeError as error:
            raise Diagnostic("plan", f"this is not TOML: {error}", where=str(path)) from None

    @classmethod
    def from_table(cls, table: Mapping[str, Any], where: str) -> Machine:
        """The machine that a parsed file describes; every missing or impossible number is named."""

        def number(section: Mapping[str, Any], path: str, default: float | None = None) -> float:
            found = section.get(path.rsplit(".", 1)[-1], default)
            if isinstance(found, bool) or not isinstance(found, int | float) or found < 0:
                missing = "is missing" if found is None else f"is {found!r}"
                raise Diagnostic("plan", f"{path} {missing}", where=where, hint=f"give {path} as a positive number")
            return float(found)

        def link(section: str) -> Link:
            have = table.get(section, {})
            alpha, beta = have.get("alpha", {}), have.get("beta", {})
            return Link(
                tuple(number(alpha, f"{section}.alpha.{k}") for k in KINDS),
                tuple(max(1.0, number(beta, f"{section}.beta.{k}")) for k in KINDS),
            )

        device, inside = table.get("device", {}), link("inside")
        return cls(
            name=str(table.get("name", Path(where).stem)),
            title=str(table.get("title", "")),
            f32=number(device, "device.f32"),
            f64=number(device, "device.f64"),
            memory_bandwidth=number(device, "device.memory_bandwidth"),
            memory_size=number(device, "device.memory_size", 0.0),
            launch=number(device, "device.launch", 0.0),
            efficiency=number(device, "device.efficiency", 1.0),
            node=int(number(table.get("inside", {}), "inside.devices", 0)),
            inside=inside,
            across=link("across") if "across" in table else inside,
        )

    def flops(self, dtype: str) -> float:
        """Attained floating-point operations per second in a dtype."""
        return self.efficiency * (self.f64 if dtype in ("f64", "c128") else self.f32)

    def bandwidth(self) -> float:
        """Attained memory bandwidth [B/s]."""
        return self.efficiency * self.memory_bandwidth

    def link(self, mesh: Mesh, axes: Iterable[str]) -> Link:
        """The link of a group along mesh axes.

        Devices are numbered with the last mesh axis running fastest, so an axis stays inside a node when it and all
        later axes fit into one.
        """
        if not self.node:
            return self.inside
        wanted, span = set(axes), 1
        for name, size in reversed(mesh.axes):
            span *= size
            if name in wanted and size > 1 and (span > self.node or self.node % span):
                return self.across
        return self.inside
