"""MeshBayes: models with named dims, compiled to one program over a device mesh.

    import ppl

    @ppl.model
    def line(x: ppl.Data["obs"], y: ppl.Data["obs"]):
        slope = ppl.sample("slope", ppl.Normal(0, 10))
        ppl.observe("y", ppl.Normal(slope * x, 1), y)

    result = ppl.compile(line, dict(x=x, y=y)).run(ppl.nuts(chains=4))

Every name here is resolved on first use, so that `import ppl` is quick.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from .xla_flags import compile_loops_whole

_HOMES = {
    "ppl.pipeline": ("compile", "plan"),
    "ppl.infer.program": (
        *("nuts", "hmc", "mclmc", "mams", "chees", "slice", "exact_gaussian", "conjugate", "gibbs", "smc", "auto"),
        *("map", "laplace", "advi", "mgvi", "pathfinder"),
    ),
    "ppl.text.elaborate": ("load", "from_text"),
    "ir.ops.jaxfn": ("jax_fn",),
    "ppl.trace.context": ("sample", "observe", "factor", "deterministic"),
    "ppl.trace.scan": ("scan",),
    "ppl.trace.model": ("model", "Data", "Count", "Flag", "Index", "Complex", "freq", "rfreq", "alias"),
    "ppl.io.read": ("read_data", "read_many"),
    "ppl.io.store": ("open_run",),
    "ppl.report.html": ("write_report",),
    "ir.errors": ("Diagnostic",),
    "ir.mesh": ("Mesh",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

_PACKAGES = ("cosmo",)
"""Parts of the library with names of their own, as ppl.cosmo.growth."""

_OWN_NAMES = {"map": "map_"}
"""What would shadow a builtin in its own module."""


def _check_siblings() -> None:
    """`ir`, `planner` and `backend_cuda` must be this installation's own, not something that shadows them."""
    root = Path(__file__).resolve().parent.parent
    for package in ("ir", "planner", "backend_cuda"):
        found = importlib.util.find_spec(package)
        where = Path(found.origin).resolve().parent.parent if found and found.origin else None
        if where != root:
            raise ImportError(
                f"ppl needs its own package '{package}' in {root}, but Python finds "
                + (f"{found.origin}" if found else "none")
                + f": rename or move what shadows it (a file {package}.py, another package of that name)"
            )


_check_siblings()
compile_loops_whole()


def __getattr__(name: str) -> Any:
    if name in _HOME:
        found = getattr(importlib.import_module(_HOME[name]), _OWN_NAMES.get(name, name))
        globals()[name] = found
        return found
    if name in _PACKAGES:
        return importlib.import_module(f"ppl.{name}")
    if name.startswith("_"):
        raise AttributeError(f"module 'ppl' has no attribute '{name}'")
    dists, functions = importlib.import_module("ppl.dist"), importlib.import_module("ppl.trace.functions")
    if hasattr(dists, name) and name in dists.__all__:
        return getattr(dists, name)
    if name in functions.FUNCTIONS:
        return functions.FUNCTIONS[name]
    raise AttributeError(f"module 'ppl' has no attribute '{name}'" + _near(name))


def _near(name: str) -> str:
    import difflib

    found = difflib.get_close_matches(name, __dir__(), n=1)
    return f"; did you mean ppl.{found[0]}?" if found else ""


def __dir__() -> list[str]:
    dists, functions = importlib.import_module("ppl.dist"), importlib.import_module("ppl.trace.functions")
    return sorted({*_HOME, *_PACKAGES, *dists.__all__, *functions.FUNCTIONS})
