"""One process of a run, `python -m backend_cuda.bench.worker SPEC`: measures with the others, and the first one tells.

A line of JSON each: what there is, then rows, or a mistake in what was asked. Whoever starts it is `runs`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax

from ir.errors import Diagnostic
from ir.mesh import Mesh

from ..lax_collectives import LAX, LaxCollectives
from ..native import NativeCollectives, bind
from ..spmd import device_mesh
from . import runs
from .measure import rows
from .operations import operation


def main(spec: dict[str, Any]) -> None:
    if spec["processes"]:
        jax.distributed.initialize(f"127.0.0.1:{spec['port']}", spec["processes"], spec["rank"])
    try:
        _measure(spec)
    except Diagnostic as error:
        _tell(spec, {"error": error.kind, "message": error.message, "hint": error.hint, "where": error.where})


def _measure(spec: dict[str, Any]) -> None:
    mesh = Mesh.parse(spec["mesh"] or f"row={len(jax.devices())}")
    if mesh.devices < 2:
        hint = "give --mesh or --processes; on a CPU JAX_PLATFORMS=cpu has virtual devices"
        raise Diagnostic("argument", "one device has no collectives to time", where="--mesh", hint=hint)
    devices = device_mesh(mesh)
    comms, missing = implementations(spec["names"], devices)
    platform = devices.devices.flat[0].platform
    _tell(spec, {"platform": platform, "mesh": str(mesh), "missing": missing})
    operations = {name: operation(name, mesh, spec["width"]) for name in spec["collectives"]}
    for row in rows(operations, spec["sizes"], spec["dtype"], comms, devices, spec["repeats"]):
        _tell(spec, asdict(row))


def implementations(
    names: Sequence[str], devices: jax.sharding.Mesh
) -> tuple[dict[str, LaxCollectives], dict[str, str]]:
    """By name; and why some are not there."""
    comms: dict[str, LaxCollectives] = {}
    missing: dict[str, str] = {}
    for name in names:
        if name != runs.NATIVE:
            comms[name] = LAX
            continue
        try:
            binding = bind(devices)
        except Diagnostic as error:
            missing[name] = error.message
            continue
        if binding is not None:
            comms[name] = NativeCollectives(binding)
    return comms, missing


def _tell(spec: dict[str, Any], what: dict[str, Any]) -> None:
    if spec["rank"] == 0:
        with Path(spec["out"]).open("a", encoding="utf-8") as out:
            out.write(json.dumps(what) + "\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
