"""Seconds to plan: gradients of models and toys of field-level models, on meshes of 8 to 4,096 GPUs of h100x8 nodes.

A row is one program on one mesh (or one search for the shape of the mesh): nodes, median seconds from the program to
the proven plan, of which building the network, and how the plan was proved. The peer solves the same network by HiGHS
alone (`planner.solve.milp.Model`), the building counted in. `seconds target` is what satisfies us on two cores.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from _graphs import gaussian_field, lagrangian, model_gradient, node_count, particle_mesh
from _harness import arguments, report

from ir.graph import Program
from ir.mesh import Mesh
from ir.op import facts
from planner import Costs, Machine, make_plan, search_mesh
from planner.problem import Problem, Question
from planner.solve.milp import Model

MACHINE = Machine.load("h100x8")
PATIENCE = 60.0
"""Seconds that HiGHS alone is given."""


@dataclass(frozen=True)
class Case:
    name: str
    program: Callable[[], Program]
    mesh: str
    """A mesh, or a number of devices whose shape is searched."""
    seconds: float
    """The largest time to plan that satisfies us."""
    quick: bool = True
    peer: bool = True


def radon() -> Program:
    return model_gradient("03_radon.ppl", obs=919, county=85)


def mass_map(chains: int = 4) -> Program:
    return model_gradient("01_mass_map.ppl", chains, x=512, y=510)


HUGE = (2200, 2200, 2200)
UNEVEN = (2200, 2161, 2099)
CASES = (
    Case("hierarchical model (radon)", radon, "gpu=8", 2.0),
    Case("mass map", mass_map, "gpu=8", 2.0),
    Case("mass map", mass_map, "node=2,gpu=8", 2.0),
    Case("mass map", mass_map, "node=2,gpu=4,gpu2=2", 2.0, quick=False, peer=False),
    Case("Gaussian field 512^3", lambda: gaussian_field((512, 512, 512)), "gpu=8", 0.1),
    Case("Gaussian field 512^3", lambda: gaussian_field((512, 512, 512)), "node=4,gpu=8", 0.1),
    Case("Lagrangian 512^3", lambda: lagrangian(512), "gpu=8", 2.0),
    Case("Lagrangian 512^3", lambda: lagrangian(512), "node=4,gpu=8", 2.0, quick=False),
    Case("particle mesh 512^3, 1 step", lambda: particle_mesh(512, 1), "node=4,gpu=8", 0.1),
    Case("particle mesh 512^3, 10 steps", lambda: particle_mesh(512, 10), "node=4,gpu=8", 2.0, quick=False),
    Case("particle mesh 512^3, 70 steps", lambda: particle_mesh(512, 70), "node=4,gpu=8", 30.0, False, False),
    Case("particle mesh 512^3, 10 steps scanned", lambda: particle_mesh(512, 10, scanned=True), "node=4,gpu=8", 2.0),
    Case("particle mesh 512^3, 70 steps scanned", lambda: particle_mesh(512, 70, scanned=True), "node=4,gpu=8", 2.0),
    Case("Gaussian field 2200^3", lambda: gaussian_field(HUGE), "node=8,gpu=8", 2.0, peer=False),
    Case("Gaussian field 2160^3", lambda: gaussian_field((2160, 2160, 2160)), "node=64,gpu=8", 2.0, peer=False),
    Case("Gaussian field 2200^3", lambda: gaussian_field(HUGE), "node=512,gpu=8", 2.0),
    Case("Gaussian field 2200^3", lambda: gaussian_field(HUGE), "node=32,node2=16,gpu=8", 5.0, peer=False),
    Case("Gaussian field 2200x2161x2099", lambda: gaussian_field(UNEVEN), "node=512,gpu=8", 2.0, peer=False),
    Case("Gaussian field 2200^3", lambda: gaussian_field(HUGE), "4096", 10.0, quick=False, peer=False),
    Case("mass map", mass_map, "64", 10.0, quick=False, peer=False),
)


def problem(program: Program, mesh: Mesh) -> Problem:
    """The networks of a program, as `make_plan` builds them."""
    facts.cache_clear()  # what an earlier repeat has looked up
    return Problem.of(program, Costs(MACHINE, mesh), Question(memory=MACHINE.memory_size, seconds=PATIENCE))


def timed(f: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    made = f()
    return time.perf_counter() - start, made


def measure(case: Case, repeats: int) -> dict[str, Any]:
    program = case.program()
    row: dict[str, Any] = {"case": f"{case.name} on {case.mesh}", "metric": "seconds to plan"}
    row["nodes"] = node_count(program)
    if case.mesh.isdigit():
        found = [timed(lambda: search_mesh(program, int(case.mesh), machine=MACHINE)) for _ in range(repeats)]
        plan, row["shapes"] = found[0][1].plan, str(found[0][1]).splitlines()[2:]
    else:
        mesh = Mesh.parse(case.mesh)
        row["seconds to build"] = statistics.median(timed(lambda: problem(program, mesh))[0] for _ in range(repeats))
        found = [
            timed(lambda: (facts.cache_clear(), make_plan(program, mesh, machine=MACHINE))) for _ in range(repeats)
        ]
        plan = found[0][1][1]
    seconds = [s for s, _ in found]
    assert plan.prediction is not None
    row |= {"ours": statistics.median(seconds), "range": [min(seconds), max(seconds)], "seconds target": case.seconds}
    row |= {"proved by": plan.prediction.how, "gap": plan.prediction.gap, "predicted seconds": plan.prediction.seconds}
    row |= {"peak bytes": plan.prediction.peak_bytes, "mesh": str(plan.mesh)}
    return row | beside_highs(case, program, row["ours"])


def beside_highs(case: Case, program: Program, ours: float) -> dict[str, Any]:
    """The same networks solved by HiGHS alone, one after the other; the best plan must cost the same."""
    peer = {"peer_name": "HiGHS alone", "target": 1.0, "ratio": None}
    if not case.peer:
        return peer | {"why": "HiGHS alone was not asked: the problem is large, or a search over several meshes"}
    start = time.perf_counter()
    options = problem(program, Mesh.parse(case.mesh)).options
    answers = [Model(option.network).solve(PATIENCE) for option in options]
    seconds = time.perf_counter() - start
    if not all(a.finished for a in answers):
        return peer | {"why": f"HiGHS alone did not finish in {PATIENCE:.0f} s"}
    best = min(o.network.cost(a.states) for o, a in zip(options, answers, strict=True) if a.states is not None)
    return peer | {"peer": seconds, "ratio": ours / seconds, "peer's predicted seconds": best}


if __name__ == "__main__":
    given = arguments(__doc__ or "")
    chosen = [c for c in CASES if c.quick or not given.quick]
    rows = [measure(c, 1 if given.quick else 3) for c in chosen]
    report("planning", rows, ("scipy", "numpy"), given.json)
