"""Samplers of a mass map of 10^9 latents on 64 devices: compiled, not run, so that any machine tells what is held.

The model is examples/01_mass_map.ppl with 32768^2 pixels on an 8 x 8 mesh of virtual devices, one chain; --quick takes
4096^2 on 4 x 2, 64 times fewer. No data are read. A row per sampler:

    ours, peer          bytes that a device holds in a run, as the plan predicts them and by XLA's account: arguments,
                        results and temporaries of the largest of the run's programs, less what is overwritten, and what
                        lies on the device beside it (the moments of fields whose draws are not kept).
    programs            the run's programs one by one; `copies` is what the program holds without the model's data and
                        without what lies beside, in units of a device's block of the field.
    field_sized         collectives of the program that makes draws, an operand of which is half a block of the field or
                        larger: instructions by kind, and those among them that no transform of the model asks for.
    loops               the program's loops in which devices talk, by nesting: its field-sized all-to-alls and all its
                        all-reduces; outer loops do not count what inner ones hold. `model` is what the plan of one
                        gradient and that of what is kept of a draw ask for.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = " ".join(
    (os.environ.get("XLA_FLAGS", ""), f"--xla_force_host_platform_device_count={8 if '--quick' in sys.argv else 64}")
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from _harness import parser, report
from _hlo import collectives

import ppl
from backend_cuda.inspect import hlo_collectives
from planner.memory import latent_bytes
from ppl.bind import outline
from ppl.infer.ahead import Ahead, Made, compile_run
from ppl.posterior import Posterior
from ppl.request import PlanRequest

MODEL = Path(__file__).parent.parent / "examples" / "01_mass_map.ppl"
PROGRAMS = {
    "hmc": lambda: ppl.hmc(chains=1),
    "mclmc": lambda: ppl.mclmc(chains=1),
    "mams": lambda: ppl.mams(chains=1),
    "nuts": lambda: ppl.nuts(chains=1, max_depth=3),
}
TARGET = 1.15
"""How far apart the two accounts may be, either way."""


def posterior_of(side: int, mesh: str) -> Posterior:
    """The mass map without data, its pixels in blocks over both axes of a mesh."""
    bound = outline(ppl.load(str(MODEL)), sizes={"x": side, "y": side})
    # No budget: the fastest plan, whatever it takes.
    request = PlanRequest.make(mesh, machine="h200x8", memory=0, pins=("white:x=row,y=col",))
    return Posterior(bound, request)


def measure(name: str, side: int, mesh: str) -> dict[str, Any]:
    made = compile_run(posterior_of(side, mesh), PROGRAMS[name]())
    block = latent_bytes(made.engine.gradient.program, made.engine.gradient.plan)
    row = {"case": f"{name}, mass map of {side}^2 pixels on {mesh}", "metric": "bytes per device, of a run"}
    row |= {"ours": made.predicted, "peer": made.xla, "peer_name": "XLA:CPU memory_analysis"}
    row |= {"ratio": made.predicted / made.xla, "target": TARGET, "block_bytes": block}
    row["programs"] = [told(program, block) for program in made.programs]
    return row | talk(made, block)


def told(made: Made, block: int) -> dict[str, Any]:
    found = {"program": made.name, "compile_seconds": made.lowering_seconds + made.compile_seconds}
    found |= {"memory": made.memory, "data": made.data, "beside": made.beside}
    found |= {"predicted": made.predicted, "xla": made.xla, "ratio": made.predicted / made.xla}
    return found | {"copies": (made.xla - made.beside - made.data) / block}


def talk(made: Ahead, block: int) -> dict[str, Any]:
    """How devices talk in the program that makes draws."""
    engine = made.engine
    text = next(p.text for p in reversed(made.programs) if p.name != "moments")
    plans = [engine.gradient, *([engine.collect] if engine.collect is not None else [])]
    mesh = engine.gradient.plan.mesh
    model = [Counter({c: n for c, n in e.plan.collectives(e.program).items() if mesh.size(c.axes) > 1}) for e in plans]
    asked = {(c.kind, c.axes, c.dtype, c.bytes) for counted in model for c in counted}
    large = [p.collective for p in hlo_collectives(text, mesh) if p.collective.bytes >= block / 2]
    found = Counter(c.kind for c in large)
    other = Counter(c.kind for c in large if c.kind != "all_to_all" or (c.kind, c.axes, c.dtype, c.bytes) not in asked)
    loops: dict[tuple[int, str], Counter[str]] = {}
    for c in collectives(text):
        loops.setdefault((c.loops, c.body), Counter())[c.kind.replace("-", "_")] += 1
    whats = ("gradient", "kept")
    return {
        "field_sized": {"found": dict(found), "not_asked_for_by_the_model": dict(other)},
        "loops": [{"nested": depth, **kinds} for (depth, _), kinds in sorted(loops.items())],
        "model": {
            what: dict(sum((Counter({c.kind: n}) for c, n in counted.items()), Counter()))
            for what, counted in zip(whats, model, strict=False)
        },
    }


if __name__ == "__main__":
    options: argparse.ArgumentParser = parser(__doc__ or "")
    options.add_argument("--only", nargs="+", choices=PROGRAMS, default=list(PROGRAMS), help="these samplers")
    chosen = options.parse_args()
    how = (4096, "row=4,col=2") if chosen.quick else (32768, "row=8,col=8")
    rows = [measure(name, *how) for name in chosen.only]
    report("giga", rows, ("jax", "jaxlib"), chosen.json)
