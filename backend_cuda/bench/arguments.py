"""The command line of the table: what it asks for, or a `Diagnostic`."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ir.errors import Diagnostic
from ir.mesh import Mesh

from .measure import DTYPES
from .operations import OPERATIONS

ONE_AXIS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "permute", "halo")
UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
VIRTUAL = 8
"""Devices of a CPU where no mesh is given."""
MOST_AXES = 3
"""That halos of several dims have: blocks are three-dimensional."""


@dataclass(frozen=True)
class Request:
    """What is to be measured. mesh: None for all devices there are, as one axis. processes: 0 for one that is not
    joined to others. repeats: loops of each case. limit: seconds that a run of processes may take."""

    collectives: tuple[str, ...]
    sizes: tuple[int, ...]
    dtype: str
    mesh: Mesh | None
    processes: int
    width: int
    repeats: int
    limit: int
    json: Path | None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Diagnostic("argument", message, hint="--help shows the options")


def parser() -> argparse.ArgumentParser:
    made = _Parser(
        prog="python -m backend_cuda.bench",
        description="Collectives of a mesh, hand-written and jax.lax's: checked, timed and tabled as nccl-tests does.",
    )
    made.add_argument("--collective", nargs="+", metavar="NAME", help=f"of {', '.join(OPERATIONS)} (all of them)")
    made.add_argument("--from", dest="first", default="1KiB", metavar="SIZE", help="smallest message (1KiB)")
    made.add_argument("--to", dest="last", default="8MiB", metavar="SIZE", help="largest message (8MiB)")
    made.add_argument("--factor", default="4", metavar="N", help="from one size to the next (4)")
    made.add_argument("--dtype", default="f32", metavar="TYPE", help=f"of {', '.join(DTYPES)} (f32)")
    made.add_argument("--mesh", metavar="AXES", help="as row=4,col=2 (all devices, or 8 virtual ones of a CPU)")
    made.add_argument("--processes", default="0", metavar="N", help="deal the mesh out to N processes, on CPUs")
    made.add_argument("--width", default="1", metavar="N", help="elements of a halo on each side (1)")
    made.add_argument("--repeats", default="5", metavar="N", help="loops of each case, of which the median counts (5)")
    made.add_argument("--limit", default="600", metavar="SECONDS", help="that all cases may take (600)")
    made.add_argument("--json", metavar="FILE", help="write the figures there too")
    return made


def read(arguments: Sequence[str]) -> Request:
    """The request of a command line; what it cannot be is a `Diagnostic`."""
    given = parser().parse_args(arguments)
    mesh, processes = _mesh(given.mesh), _whole(given.processes, "--processes", 0)
    if processes and mesh is None:
        mesh = Mesh((("row", processes),))
    if mesh is not None and mesh.devices < 2:
        hint = "give --mesh row=2 or more, or --processes 2"
        raise Diagnostic("argument", "one device has no collectives to time", where="--mesh", hint=hint)
    if processes and mesh is not None and mesh.devices % processes:
        hint = f"a mesh of {processes}, {2 * processes}, {3 * processes}, ... devices"
        text = f"{mesh.devices} devices cannot be dealt out to {processes} processes"
        raise Diagnostic("argument", text, where="--processes", hint=hint)
    return Request(
        _collectives(given.collective, mesh),
        _sizes(given.first, given.last, _whole(given.factor, "--factor", 2)),
        _one_of(given.dtype, tuple(DTYPES), "--dtype"),
        mesh,
        processes,
        _whole(given.width, "--width", 1),
        _whole(given.repeats, "--repeats", 1),
        _whole(given.limit, "--limit", 1),
        _file(given.json),
    )


def _mesh(text: str | None) -> Mesh | None:
    if text is None:
        return None
    try:
        return Mesh.parse(text)
    except Diagnostic as error:
        error.where = "--mesh"
        raise


def _collectives(given: Sequence[str] | None, mesh: Mesh | None) -> tuple[str, ...]:
    """Halos of several dims need as many mesh axes: they are left out where nobody asks for them and these are not."""
    axes = len(mesh.axes) if mesh else 1
    if given is None:
        return tuple(OPERATIONS) if 1 < axes <= MOST_AXES else ONE_AXIS
    for name in given:
        _one_of(name, tuple(OPERATIONS), "--collective")
    if "halos" in given and not 1 < axes <= MOST_AXES:
        hint = "give --mesh row=4,col=2, or take halo"
        text = f"halos are of two or three mesh axes, and there are {axes}"
        raise Diagnostic("argument", text, where="--collective", hint=hint)
    return tuple(dict.fromkeys(given))


def _sizes(first: str, last: str, factor: int) -> tuple[int, ...]:
    low, high = _bytes(first, "--from"), _bytes(last, "--to")
    if low > high:
        raise Diagnostic("argument", f"{first} is more than {last}", where="--from", hint="give --from 1KiB --to 8MiB")
    made = [low]
    while made[-1] * factor <= high:
        made.append(made[-1] * factor)
    return tuple(made)


def _bytes(text: str, where: str) -> int:
    found = re.fullmatch(r"(\d+)\s*([KMG]iB|B|)", text.strip(), re.IGNORECASE)
    if found is None or int(found[1]) < 1:
        raise Diagnostic("argument", f'"{text}" is no size', where=where, hint="write 1024, 64KiB, 8MiB or 1GiB")
    return int(found[1]) * UNITS[found[2].upper()]


def _whole(text: str, where: str, least: int) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise Diagnostic("argument", f'"{text}" is not a whole number', where=where, hint=f"give {least} or more")
    return int(text)


def _one_of(text: str, words: tuple[str, ...], where: str) -> str:
    if text not in words:
        raise Diagnostic("argument", f'there is no "{text}"', where=where, hint=f"one of {', '.join(words)}")
    return text


def _file(text: str | None) -> Path | None:
    """Told before minutes of timing if it cannot be written."""
    if text is None:
        return None
    path = Path(text)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        hint = "give a file in a folder that exists and that you may write to"
        raise Diagnostic("argument", f"cannot write {text}", where="--json", hint=hint)
    return path
