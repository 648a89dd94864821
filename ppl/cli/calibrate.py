"""`meshbayes calibrate`: the devices at hand timed, and a machine file written that plans can be made for."""

from __future__ import annotations

import datetime
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ir.errors import Diagnostic
from ir.mesh import Mesh

from . import read
from .devices import provide
from .graph import check_writable, save

if TYPE_CHECKING:
    from backend_cuda.bench import Timing

DEFAULT, DEVICES, SECONDS, QUICK_SECONDS = "machine.toml", 8, 120, 10


def execute(args: Any) -> int:
    """Takes the timings, prints the fit, writes the file."""
    out = _out(args.out or DEFAULT)
    limit = read.whole_number(args.seconds, "--seconds", 1, QUICK_SECONDS if args.quick else SECONDS)
    mesh = _mesh(args)
    provide(mesh.devices if mesh else DEVICES)
    import jax

    from backend_cuda.bench import check_devices, memory_of_device, take_timings
    from planner.calibrate import calibrate
    from planner.machine_file import machine_text

    mesh = mesh or near_square(len(jax.devices()))
    if mesh.devices == 1:
        hint = "give --devices 4 (virtual devices, on a CPU), or run it where there are several"
        raise Diagnostic("argument", "one device has no collectives to time", where="--devices", hint=hint)
    kind = check_devices(mesh)
    shown = f"{mesh.devices} {'virtual CPU' if kind == 'cpu' else kind} devices"
    progress = sys.stderr.isatty()
    timings, left_out = take_timings(mesh, args.quick, limit, _tell if progress else lambda _: None, native=True)
    if progress:
        print("\r\033[K", end="", file=sys.stderr)
    platform, title = "cpu" if kind == "cpu" else "gpu", f"{shown}, measured as mesh {mesh}"
    samples = [_sample(t, mesh) for t in timings]
    found = calibrate(samples, out.stem, title, memory_of_device(), platform)
    print(found, end="")
    if left_out:
        print(f"note: {left_out} timings were left out for want of time; --seconds {3 * limit} gives more")
    save(str(out), machine_text(found.machine, _comment(mesh, len(timings))), "--out")
    print(f"wrote {out}: use it with meshbayes plan MODEL --mesh {mesh} --machine {out}")
    return 0


def near_square(devices: int) -> Mesh:
    """A mesh of two axes where that can be, so that groups of several sizes are timed."""
    inner = max(n for n in range(1, int(devices**0.5) + 1) if devices % n == 0)
    axes = (("row", devices // inner), ("col", inner))
    return Mesh(tuple((name, size) for name, size in axes if size > 1))


def _mesh(args: Any) -> Mesh | None:
    """The mesh asked for; None where it is to be made of all devices."""
    if args.mesh is not None and args.devices is not None:
        hint = "give --mesh row=4,col=2 to say along which axes, or --devices 8"
        raise Diagnostic("argument", "both --mesh and --devices are given", where="--devices", hint=hint)
    if args.devices is not None:
        return near_square(read.whole_number(args.devices, "--devices", 1, DEVICES))
    if args.mesh is None:
        return None
    try:
        return Mesh.parse(args.mesh)
    except Diagnostic as error:
        error.where = "--mesh"
        raise


def _out(text: str) -> Path:
    """Where the file goes: what would only fail after minutes of timing is told before."""
    path, where = Path(text), f"--out {text}"
    if path.suffix != ".toml":
        hint = f"--machine knows a file by its ending: --out {path.stem or 'machine'}.toml"
        raise Diagnostic("argument", f"'{text}' does not end in .toml", where=where, hint=hint)
    check_writable(text, "--out")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        hint = "give a file in a folder that exists and that you may write to"
        raise Diagnostic("argument", f"cannot write {text}", where="--out", hint=hint)
    return path


def _sample(t: Timing, mesh: Mesh) -> Any:
    from planner.calibrate import Sample

    return Sample(t.what, t.size, t.seconds, t.spread, mesh.size(t.axes) if t.axes else 1)


def _tell(t: Timing) -> None:
    along = f" along {'+'.join(t.axes)}" if t.axes else ""
    print(f"\r\033[K{t.what}{along}, {t.size:,.0f} {t.unit}: {1e6 * t.seconds:,.1f} us", end="", file=sys.stderr)


def _comment(mesh: Mesh, timings: int) -> str:
    import jax

    return (
        f"Measured by meshbayes calibrate on {datetime.date.today()}, JAX {jax.__version__}: {timings} timings on\n"
        f"mesh {mesh}, all devices at work at once. Rates are attained as they stand. Curves are [bytes of the\n"
        "operand on one device, seconds] by the number of devices of a group; alpha and beta are the nearest law."
    )
