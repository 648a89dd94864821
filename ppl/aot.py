"""Compiling a plan's program ahead of time, for devices and sizes that this machine need not have; it is never run.

The arguments are only shapes with shardings, so nothing of the field's size is allocated. What XLA says of memory and
which collectives stand in its optimised program are held beside what the plan predicts.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import jax

import backend_cuda as backend
from backend_cuda.inspect import Performed, optimised
from ir.errors import Diagnostic
from ir.graph import Program
from ir.plan import Plan
from planner import peak_bytes
from planner.show import bytes_text

from .execute import Executable

MOST = 256
"""Virtual devices for which XLA compiles in seconds to minutes."""

Kind = tuple[str, tuple[str, ...], str]
"""A kind of collective, mesh axes, and a dtype."""


@dataclass(frozen=True)
class Compiled:
    """What came of compiling: seconds, bytes per device by XLA's account and as predicted, and collectives of a run."""

    devices: int
    lowering_seconds: float
    compile_seconds: float
    memory: dict[str, int]
    """Bytes per device: arguments, outputs, temporaries, and the outputs that lie in an argument's room."""
    predicted_bytes: float
    """The plan's peak per device, without the sampler's own vectors, which this program does not hold."""
    declared: Counter[tuple[Kind, int]]
    """The plan's collectives: how often each kind with its bytes."""
    performed: Counter[tuple[Kind, int]]
    """The same for XLA's optimised program."""
    unknown: int
    """Collectives of XLA's program whose number of runs only the data decide; they are counted once."""

    @property
    def xla_bytes(self) -> int:
        """XLA's memory per device: arguments, outputs and temporaries, less what is shared."""
        return held(self.memory)

    def json(self) -> dict[str, Any]:
        """Everything as plain data."""
        rows = [
            {"kind": kind, "axes": list(axes), "dtype": dtype, "bytes": size, "plan": planned, "xla": found}
            for (kind, axes, dtype), size, planned, found in self._rows()
        ]
        return {
            "devices": self.devices,
            "lowering_seconds": self.lowering_seconds,
            "compile_seconds": self.compile_seconds,
            "memory": {**self.memory, "xla": self.xla_bytes, "predicted": self.predicted_bytes},
            "collectives": rows,
            "unknown_trips": self.unknown,
        }

    def _rows(self) -> list[tuple[Kind, int, int, int]]:
        """Each collective with its bytes, how often the plan has it and how often XLA's program; large ones first."""
        every = sorted({*self.declared, *self.performed}, key=lambda c: (-c[1], str(c)))
        return [(kind, size, self.declared[kind, size], self.performed[kind, size]) for kind, size in every]

    def __str__(self) -> str:
        parts = ", ".join(f"{bytes_text(n)} {name}" for name, n in self.memory.items())
        lines = [
            f"compiled for {self.devices} virtual CPU device{'s' * (self.devices > 1)}, not run: "
            f"{self.lowering_seconds:.1f} s lowering, {self.compile_seconds:.1f} s compiling",
            f"  memory      {bytes_text(self.xla_bytes)} per device by XLA ({parts}), "
            f"{bytes_text(self.predicted_bytes)} predicted",
            "  collectives of one run, as planned and in XLA's program" + (":" if self._rows() else ": none"),
        ]
        rows = [("planned", "XLA", "")]
        for (kind, axes, dtype), size, planned, found in self._rows():
            rows.append((str(planned), str(found), f"{kind}({'+'.join(axes)}) {dtype} {size:,} B"))
        if len(rows) > 1:
            lines += [f"    {a:>7}  {b:>5}  {c}".rstrip() for a, b, c in rows]
        if self.unknown:
            lines.append(f"  {self.unknown} of XLA's collectives run as often as the data decide: counted once")
        return "\n".join(lines) + "\n"


def memory_of(compiled: Any) -> dict[str, int]:
    """XLA's account of a compiled program's memory on one device, as `Compiled.memory`."""
    sizes = compiled.memory_analysis()
    return {
        "arguments": sizes.argument_size_in_bytes,
        "outputs": sizes.output_size_in_bytes,
        "temporaries": sizes.temp_size_in_bytes,
        "aliased": sizes.alias_size_in_bytes,
    }


def held(memory: dict[str, int]) -> int:
    """Arguments, outputs and temporaries, less what is shared."""
    return memory["arguments"] + memory["outputs"] + memory["temporaries"] - memory["aliased"]


def check_devices(count: int, where: str) -> None:
    """A `Diagnostic` for more devices than XLA's CPU compiler can reasonably be asked for."""
    if count > MOST:
        raise Diagnostic(
            "plan",
            f"a program is compiled for at most {MOST} virtual devices, not {count}",
            where=where,
            hint=f"leave --compile-only out (a plan needs no compiler), or compile for {MOST} devices or fewer",
        )


def compile_only(program: Program, plan: Plan) -> Compiled:
    """Lowers and compiles a planned program for virtual CPU devices without running it, with `jax.lax`'s collectives.

    The devices must be there: `XLA_FLAGS=--xla_force_host_platform_device_count=N` before JAX starts. Raises
    `Diagnostic` for more than 256 of them, or fewer than the mesh needs.
    """
    check_devices(plan.mesh.devices, "mesh")
    cpus = jax.devices("cpu")
    with jax.default_device(cpus[0]):
        start = time.perf_counter()
        devices = backend.device_mesh(plan.mesh, cpus)
        lowered = Executable(program, plan, devices, given_collectives=backend.LAX).lowered()
        middle = time.perf_counter()
        with jax.enable_x64(True):
            compiled = lowered.compile()
        end = time.perf_counter()
    found = optimised(compiled, plan.mesh)
    return Compiled(
        plan.mesh.devices,
        middle - start,
        end - middle,
        memory_of(compiled),
        peak_bytes(program, replace(plan, copies=0.0, platform="cpu")),
        _counted((c, n) for c, n in plan.collectives(program).items() if plan.mesh.size(c.axes) > 1),
        _counted((p.collective, _runs(p)) for p in found),
        sum(p.trips is None for p in found),
    )


def _runs(performed: Performed) -> int:
    return 1 if performed.trips is None else performed.trips


def _counted(collectives: Any) -> Counter[tuple[Kind, int]]:
    found: Counter[tuple[Kind, int]] = Counter()
    for c, count in collectives:
        found[(c.kind, c.axes, c.dtype), c.bytes] += count
    return found


__all__ = ["Compiled", "check_devices", "compile_only", "held", "memory_of"]
