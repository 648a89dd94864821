"""Machine files: TOML to `Machine` and back. Every number that is missing, impossible or misspelt is a `Diagnostic`.

    platform   "gpu" (the default) or "cpu": whose compiler makes its programs, for what they hold in memory
    [device]   f32, f64 [flop/s], memory_bandwidth [B/s]; may have memory_size [B], launch [s], efficiency
    [work.fft] f32, f64 [flop/s], bandwidth [B/s] attained in a class of work; all may be left out
    [inside]   alpha [s] and beta [B/s] by kind of collective; may have devices (per node), seconds and bandwidth
    [across]   the same for groups that leave a node, where the machine has nodes; may have staged = true
    [native]   the same of hand-written collectives inside a node; may have measured = false

`seconds` and `bandwidth` hold curves by kind and group, as points [bytes of the operand on one device, s or B/s]: what
nccl-tests calls the bus bandwidth. A group is "8" (devices of one node, or nodes with one device each) or "2x8" (nodes
times devices in each).
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ir.errors import Diagnostic

from .curves import Curve, share
from .machine import KINDS, PLATFORMS, WORK, Link, Machine, NativeLink, Rates

DEVICE = ("f32", "f64", "memory_bandwidth", "memory_size", "launch", "efficiency")


def read_machine(path: Path) -> Machine:
    """The machine of a file."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        hint = "a machine file is text as in planner/machines; meshbayes calibrate writes one"
        raise Diagnostic("plan", f"this is not TOML: {error}", where=str(path), hint=hint) from None
    except OSError as error:
        hint = "give a file that you may read"
        raise Diagnostic("plan", f"cannot read it: {error.strerror}", where=str(path), hint=hint) from None
    return machine_of(table, str(path))


def machine_of(table: Mapping[str, Any], where: str) -> Machine:
    """The machine that a parsed file describes."""
    reader = _Reader(where)
    reader.check_keys("", table, ("name", "title", "platform", "device", "work", "inside", "across", "native"))
    device, inside = reader.section(table, "device"), reader.section(table, "inside")
    reader.check_keys("device", device, DEVICE)
    fast = reader.link(inside, "inside", ("devices",))
    across, native = reader.section(table, "across"), reader.section(table, "native")
    return Machine(
        name=str(table.get("name", Path(where).stem)),
        title=str(table.get("title", "")),
        platform=reader.one_of(table, "platform", PLATFORMS),
        f32=reader.rate(device, "device.f32"),
        f64=reader.rate(device, "device.f64"),
        memory_bandwidth=reader.rate(device, "device.memory_bandwidth"),
        memory_size=reader.number(device, "device.memory_size", 0.0),
        launch=reader.number(device, "device.launch", 0.0),
        efficiency=reader.share(device, "device.efficiency"),
        node=reader.whole(inside, "inside.devices"),
        inside=fast,
        across=reader.link(across, "across", ("staged",)) if across else fast,
        work=tuple(reader.work(table)),
        staged=reader.flag(across, "across.staged"),
        native=reader.native(native) if native else None,
    )


def machine_text(machine: Machine, comment: str = "") -> str:
    """A machine as its file: `machine_of` gives it back, up to four digits."""
    lines = [*(f"# {line}".rstrip() for line in comment.splitlines()), f'name = "{machine.name}"']
    lines += [f'title = "{machine.title}"', f'platform = "{machine.platform}"', "", "[device]"]
    lines += [f"{key} = {_digits(getattr(machine, key))}" for key in DEVICE]
    for name, rates in machine.work:
        lines += ["", f"[work.{name}]"]
        lines += [f"{k} = {_digits(v)}" for k in ("f32", "f64", "bandwidth") if (v := getattr(rates, k))]
    for section, link in (("inside", machine.inside), ("across", machine.across), ("native", machine.native)):
        if link is None or (section == "across" and link == machine.inside):
            continue
        lines += ["", f"[{section}]"]
        lines += [f"devices = {machine.node}"] if section == "inside" else []
        lines += ["staged = true"] if section == "across" and machine.staged else []
        lines += ["measured = false"] if isinstance(link, NativeLink) and not link.measured else []
        for key, values in (("alpha", link.alpha), ("beta", link.beta)):
            pairs = (f"{kind} = {_digits(value)}" for kind, value in zip(KINDS, values, strict=True))
            lines.append(f"{key} = {{ {', '.join(pairs)} }}")
        for kind, curves in zip(KINDS, link.curves, strict=True):
            lines += ["", f"[{section}.seconds.{kind}]"] if curves else []
            for c in curves:
                key = f"{c.nodes}x{c.per}" if section == "across" else str(c.per)
                lines.append(f"{key} = [{', '.join(f'[{_digits(x)}, {_digits(t)}]' for x, t in c.points)}]")
    return "\n".join(lines) + "\n"


class _Reader:
    """Numbers out of a parsed file, by the path that a person would call them."""

    def __init__(self, where: str):
        self.where = where

    def wrong(self, message: str, hint: str) -> Diagnostic:
        return Diagnostic("plan", message, where=self.where, hint=hint)

    def check_keys(self, path: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
        known = tuple(known)
        for key in table:
            if key not in known:
                close = difflib.get_close_matches(key, known, 1, 0.75)
                hint = f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(known)}"
                raise self.wrong(f"{path + '.' if path else ''}{key} means nothing in a machine file", hint)

    def section(self, table: Mapping[str, Any], path: str) -> Mapping[str, Any]:
        found = table.get(path.rsplit(".", 1)[-1], {})
        if not isinstance(found, Mapping):
            raise self.wrong(f"{path} is {found!r}", f"make it a table: [{path}]")
        return found

    def number(self, section: Mapping[str, Any], path: str, default: float | None = None) -> float:
        found = section.get(path.rsplit(".", 1)[-1], default)
        if not _is_number(found) or found < 0:
            missing = "is missing" if found is None else f"is {found!r}"
            raise self.wrong(f"{path} {missing}", f"give {path} as a number that is not negative")
        return float(found)

    def rate(self, section: Mapping[str, Any], path: str) -> float:
        """Something per second: at least one, since times are worked out by dividing by it."""
        found: Any = section.get(path.rsplit(".", 1)[-1])
        if not _is_number(found) or found < 1:
            missing = "is missing" if found is None else f"is {found!r}"
            raise self.wrong(f"{path} {missing}", f"give {path} per second, as 1.2e9")
        return float(found)

    def share(self, section: Mapping[str, Any], path: str) -> float:
        """A part of the whole, all of it where nothing is said."""
        found = self.number(section, path, 1.0)
        if not 0 < found <= 1:
            raise self.wrong(f"{path} is {found:g}", f"give {path} as a share of what the device can do, as 0.4")
        return found

    def whole(self, section: Mapping[str, Any], path: str) -> int:
        """A number of devices, 0 where nothing is said."""
        found = self.number(section, path, 0)
        if found != int(found):
            raise self.wrong(f"{path} is {found:g}", "give a whole number of devices; 0 where all are joined alike")
        return int(found)

    def one_of(self, section: Mapping[str, Any], path: str, known: tuple[str, ...]) -> str:
        """One of the known words; the first where nothing is said."""
        found = section.get(path.rsplit(".", 1)[-1], known[0])
        if found not in known:
            raise self.wrong(f"{path} is {found!r}", f"it is one of {', '.join(known)}")
        return str(found)

    def flag(self, section: Mapping[str, Any], path: str, default: bool = False) -> bool:
        found = section.get(path.rsplit(".", 1)[-1], default)
        if not isinstance(found, bool):
            raise self.wrong(f"{path} is {found!r}", f"write {path} as true or false")
        return found

    def work(self, table: Mapping[str, Any]) -> Iterable[tuple[str, Rates]]:
        section = self.section(table, "work")
        self.check_keys("work", section, WORK)
        for name in section:
            rates = self.section(section, f"work.{name}")
            keys = ("f32", "f64", "bandwidth")
            self.check_keys(f"work.{name}", rates, keys)
            yield name, Rates(*(self.rate(rates, f"work.{name}.{key}") if key in rates else 0.0 for key in keys))

    def link(self, table: Mapping[str, Any], section: str, also: tuple[str, ...]) -> Link:
        self.check_keys(section, table, ("alpha", "beta", "seconds", "bandwidth", *also))
        alpha, beta = self.section(table, f"{section}.alpha"), self.section(table, f"{section}.beta")
        seconds, bandwidth = self.section(table, f"{section}.seconds"), self.section(table, f"{section}.bandwidth")
        for name, found in (("alpha", alpha), ("beta", beta), ("seconds", seconds), ("bandwidth", bandwidth)):
            self.check_keys(f"{section}.{name}", found, KINDS)
        for kind in seconds:
            if kind in bandwidth:
                raise self.wrong(f"{section}.seconds.{kind} and {section}.bandwidth.{kind} are both given", "keep one")
        return Link(
            tuple(self.number(alpha, f"{section}.alpha.{k}") for k in KINDS),
            tuple(self.rate(beta, f"{section}.beta.{k}") for k in KINDS),
            tuple(
                tuple(self.curves(seconds, f"{section}.seconds.{k}", k))
                or tuple(self.curves(bandwidth, f"{section}.bandwidth.{k}", k))
                for k in KINDS
            ),
        )

    def native(self, section: Mapping[str, Any]) -> NativeLink:
        link = self.link(section, "native", ("measured",))
        for kind, curves in zip(KINDS, link.curves, strict=True):
            if across := next((c for c in curves if c.nodes > 1), None):
                hint = "hand-written collectives stay inside a node: name a group by its devices, as 8"
                raise self.wrong(f"native.seconds.{kind} has a group of {across.nodes} nodes", hint)
        return NativeLink(link.alpha, link.beta, link.curves, self.flag(section, "native.measured", True))

    def curves(self, table: Mapping[str, Any], path: str, kind: str) -> Iterable[Curve]:
        for key, points in self.section(table, path).items():
            match = re.fullmatch(r"(?:(\d+)x)?(\d+)", key)
            nodes, per = (int(match[1] or 1), int(match[2])) if match else (0, 0)
            if path.startswith("across") and match and match[1] is None:
                nodes, per = per, 1
            if nodes * per < 2:
                hint = 'write a number of devices, as 8, or nodes and devices in each, as "2x8"'
                raise self.wrong(f"{path} has a group '{key}'", hint)
            yield Curve(nodes, per, tuple(self.points(points, f'{path}."{key}"', kind, nodes * per)))

    def points(self, found: Any, path: str, kind: str, n: int) -> Iterable[tuple[float, float]]:
        hint = "write points [bytes, seconds], as [[1024, 1e-5], [1048576, 4e-5]]"
        if ".bandwidth." in path:
            hint = "write points [bytes, bytes per second], as [[1024, 1e8], [1048576, 2e10]]"
        if not isinstance(found, list) or not found:
            raise self.wrong(f"{path} is {found!r}", hint)
        size = seconds = 0.0
        for point in found:
            if not (isinstance(point, list) and len(point) == 2 and all(_is_number(x) and x > 0 for x in point)):
                raise self.wrong(f"{path} holds {point!r}", hint)
            then = share(kind, n) * point[0] / point[1] if ".bandwidth." in path else point[1]
            if point[0] <= size:
                raise self.wrong(f"{path} goes back to {point[0]:g} bytes", "put the points in the order of bytes")
            if then < seconds * (1 - 1e-9):
                message = f"{path} takes {then:g} s for {point[0]:g} bytes, less than for {size:g}"
                raise self.wrong(message, "a larger message takes no less time: leave out the point that is off")
            size, seconds = float(point[0]), max(seconds, float(then))
            yield size, seconds


def _is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)


def _digits(value: float) -> str:
    """A number with four digits, as TOML reads it."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.4g}"
