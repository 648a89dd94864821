"""A run of processes, which measure and tell: rows come as they are made. XLA reads its flags once, so a run with other
flags is another run; whoever starts them never starts JAX's devices.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ir.errors import Diagnostic

from ..native.build import MODE
from .arguments import VIRTUAL, Request
from .measure import Reading, Row

ROOT = Path(__file__).parents[2]
LAX, NATIVE = "jax.lax", "native"


@dataclass(frozen=True)
class Variant:
    """Which implementations a run measures, and more flags for XLA."""

    names: tuple[str, ...]
    flags: str = ""


BOTH = Variant((NATIVE, LAX))
GPU_FLAGS = {
    f"{LAX}, one-shot": "--xla_gpu_unsupported_use_all_reduce_one_shot_kernel=true",
    f"{LAX}, symmetric buffers": "--xla_gpu_experimental_enable_nccl_symmetric_buffers=true",
}
"""What XLA has on GPUs besides. On CPUs it has no such flags."""


@dataclass(frozen=True)
class Told:
    """What a run says first: the kind of device, the mesh, and why implementations are not there."""

    platform: str
    mesh: str
    missing: dict[str, str]


class Failed(Exception):
    """A run that did not end well: why, in words for the user."""


def run(request: Request, variant: Variant) -> Iterator[Told | Row]:
    """What the processes of a run tell: first `Told`, then rows. A mistake in what was asked is a `Diagnostic`."""
    with tempfile.TemporaryDirectory() as folder:
        out, count = Path(folder) / "told", max(1, request.processes)
        spec = {**_plain(request), "names": variant.names, "port": _free_port(), "out": str(out)}
        command = [sys.executable, "-m", f"{__package__}.worker"]
        logs = [open(Path(folder) / f"log{r}", "w+") for r in range(count)]  # noqa: SIM115
        started = [
            subprocess.Popen(
                [*command, json.dumps({**spec, "rank": r})], env=environment(request, variant), stdout=log, stderr=log
            )
            for r, log in enumerate(logs)
        ]
        try:
            yield from _told(out, started, time.monotonic() + request.limit, request.limit)
        except Failed as error:
            raise Failed(f"{error}{_said(logs, started)}") from error
        finally:
            for process in started:
                process.kill()
                process.wait()
            for log in logs:
                log.close()


def environment(request: Request, variant: Variant) -> dict[str, str]:
    """Of a run's processes. Virtual devices are of no account where there are GPUs."""
    devices = request.mesh.devices if request.mesh else VIRTUAL
    others = [f for f in os.environ.get("XLA_FLAGS", "").split() if "host_platform_device_count" not in f]
    flags = [*others, f"--xla_force_host_platform_device_count={devices // max(1, request.processes)}", variant.flags]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "XLA_FLAGS": " ".join(flags).strip(), "PYTHONPATH": os.pathsep.join(paths), MODE: "native"}
    return {**env, "JAX_PLATFORMS": "cpu"} if request.processes else env


def _told(out: Path, started: Sequence[subprocess.Popen[bytes]], end: float, limit: int) -> Iterator[Told | Row]:
    read = 0
    while True:
        codes = [p.poll() for p in started]
        text = out.read_text() if out.exists() else ""
        for line in text[read:].splitlines(keepends=True):
            if line.endswith("\n"):
                read += len(line)
                yield _heard(json.loads(line))
        if any(codes):
            raise Failed(f"a process ended with exit code {next(c for c in codes if c)}")
        if all(c == 0 for c in codes):
            return
        if time.monotonic() > end:
            raise Failed(f"not done within {limit} s (--limit)")
        time.sleep(0.1)


def _heard(told: dict[str, Any]) -> Told | Row:
    if "error" in told:
        raise Diagnostic(told["error"], told["message"], hint=told["hint"], where=told["where"])
    if "platform" in told:
        return Told(**told)
    readings = {name: Reading(**r) if r else None for name, r in told.pop("readings").items()}
    return Row(**told, readings=readings)


def _said(logs: Sequence[Any], started: Sequence[subprocess.Popen[bytes]]) -> str:
    """The last line of the first process that failed."""
    for log, process in zip(logs, started, strict=True):
        log.seek(0)
        lines = log.read().strip().splitlines()
        if process.poll() and lines:
            return f": {lines[-1]}"
    return ""


def _plain(request: Request) -> dict[str, Any]:
    return {
        "collectives": request.collectives,
        "sizes": request.sizes,
        "dtype": request.dtype,
        "mesh": str(request.mesh) if request.mesh else None,
        "processes": request.processes,
        "width": request.width,
        "repeats": request.repeats,
    }


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
