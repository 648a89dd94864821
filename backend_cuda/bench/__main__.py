"""`python -m backend_cuda.bench`: the table of collectives. Exit codes: 1 wrong values or a failed run, 2 arguments."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import jax

from ir.errors import Diagnostic

from .arguments import Request, read
from .measure import Row
from .runs import BOTH, GPU_FLAGS, Failed, Told, Variant, run
from .table import header, line, out_of_bounds, summary


def main(arguments: Sequence[str]) -> int:
    try:
        return table(read(arguments))
    except Diagnostic as error:
        print(error.render(), file=sys.stderr)
        return 2
    except Failed as error:
        print(f"run error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def table(request: Request) -> int:
    """Prints the table. On CPUs line by line; on GPUs runs with other flags of XLA follow, and the lines after them."""
    found: list[Row] = []
    told, names = None, BOTH.names
    for heard in run(request, BOTH):
        if isinstance(heard, Told):
            told = heard
            names = (*BOTH.names, *(GPU_FLAGS if told.platform != "cpu" else ()))
            _say(_title(request, told))
            if names == BOTH.names:
                _say("# further flags of XLA: none on CPUs")
                _say(header(names))
            continue
        found.append(heard)
        if names == BOTH.names:
            _say(line(heard, names))
    if names != BOTH.names:
        found = _with_flags(request, found)
        _say("\n".join([header(names), *(line(row, names) for row in found)]))
    if not found:
        _say("# no size is large enough to be dealt out to the mesh: give a larger --to")
    _say(summary(found, names))
    if request.json and told:
        request.json.write_text(json.dumps(_document(request, told, found), indent=1) + "\n", encoding="utf-8")
    return 1 if out_of_bounds(found) else 0


def _with_flags(request: Request, found: list[Row]) -> list[Row]:
    """The rows with the readings of runs of their own; a run that fails, as by a flag that XLA lacks, is said."""
    for name, flags in GPU_FLAGS.items():
        try:
            told = [row for row in run(request, Variant((name,), flags)) if isinstance(row, Row)]
        except Failed as error:
            _say(f"# {name} ({flags}): {error}")
            continue
        more = {(row.collective, row.size): row.readings for row in told}
        found = [replace(r, readings={**r.readings, **more.get((r.collective, r.size), {})}) for r in found]
    return found


def _title(request: Request, told: Told) -> str:
    where = f"{request.processes} processes" if request.processes else "one process"
    notes = [f"# {name}: not measured: {why}" for name, why in told.missing.items()]
    title = f"# mesh {told.mesh}, {told.platform}, {where}, JAX {jax.__version__}; a dash: left to jax.lax or not there"
    return "\n".join([title, *notes])


def _document(request: Request, told: Told, found: Sequence[Row]) -> dict[str, Any]:
    """Seconds and bytes per second."""
    cases = []
    for row in found:
        readings = {
            name: r
            and {
                **asdict(r),
                "algorithm_bandwidth": row.algorithm_bandwidth(r),
                "bus_bandwidth": row.bus_bandwidth(r),
            }
            for name, r in row.readings.items()
        }
        cases.append({**asdict(row), "readings": readings})
    return {**asdict(told), "processes": request.processes, "jax": jax.__version__, "flags": GPU_FLAGS, "rows": cases}


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
