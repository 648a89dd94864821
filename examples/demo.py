"""The main job: a simulated weak-lensing survey patch, its mass map inferred on a mesh of eight virtual devices.

    python examples/demo.py [--pixels 64] [--draws 700] [--out runs/demo]

Two chains run at once, and each has its field split over four devices: pins ask for that, because a patch this small
would fit one device, where the planner would rather leave it. The report shows truth and recovery side by side.
"""

import argparse
import os
import runpy
import sys
import time
from pathlib import Path

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

import numpy as np

import ppl

HERE = Path(__file__).parent
PINS = ("chain:col", "white:x=row", "modes:ky=row", "shear1:x=row", "shear2:x=row")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--draws", type=int, default=700)
    parser.add_argument("--warmup", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    options = parser.parse_args()

    started = time.perf_counter()
    sky = runpy.run_path(str(HERE / "01_mass_map.py"))
    data, truth = sky["simulate"](options.pixels, options.seed)
    sizes = {"x": options.pixels, "y": options.pixels}
    model = ppl.load(HERE / "01_mass_map.ppl")
    plan = ppl.plan(model, data, mesh="row=4,col=2", chains=2, pins=PINS, sizes=sizes)
    print(f"{options.pixels}² pixels, {options.pixels**2 + 2} latents, 2 chains; one gradient communicates")
    for collective, count in plan.plan.collectives(plan.program).items():
        print(f"  {count} x {collective}")
    sys.stdout.flush()

    posterior = ppl.compile(model, data, plan=plan, sizes=sizes)
    sampler = ppl.nuts(chains=2, draws=options.draws, warmup=options.warmup)
    result = posterior.run(sampler, seed=options.seed, progress=True)

    options.out.mkdir(parents=True, exist_ok=True)
    shown = {n: truth[n] for n in ("amp", "slope", "kappa")}
    report = result.report(options.out / "report.html", truth=shown)
    kappa = result["kappa"].mean(axis=(0, 1))
    likeness = np.corrcoef(kappa.ravel(), truth["kappa"].ravel())[0, 1]
    print(result.summary(["amp", "slope"]))
    for finding in result.warnings():
        print(f"{finding.severity}: {finding.what}. {finding.advice}")
    print(
        f"truth: amp {truth['amp']}, slope {truth['slope']}; mean map against the true map: correlation {likeness:.3f}"
    )
    print(f"{time.perf_counter() - started:.0f} seconds; the report is {report.resolve()}")


if __name__ == "__main__":
    try:
        main()
    except ppl.Diagnostic as error:
        sys.exit(error.render())
