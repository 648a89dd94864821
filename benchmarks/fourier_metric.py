"""Effective draws of a field per gradient: NUTS with a scale for each band of wavenumbers against one for each pixel.

The model is examples/01_mass_map.ppl with its amplitude and slope held, on a patch seen everywhere or through a mask
that hides a fifth of it, at two depths; two chains, 300 transitions of warm-up, 300 draws. `ours` is
`metric = "fourier"`, `peer` is `metric = "variance"`, the diagonal that other libraries have. Effective draws (ArviZ,
bulk) are of every 5th pixel along both axes, in real space, where fields are mostly looked at, and of the mean, the
longest wave.

    python benchmarks/fourier_metric.py [--quick]
"""

from __future__ import annotations

import os
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import arviz as az
import numpy as np
from _harness import parser, report

import ppl

EXAMPLES = Path(__file__).parent.parent / "examples"
FIXED = {"amp": 2.0, "slope": 1.8}


def posterior_of(side: int, noise: float, masked: bool) -> Any:
    data, _ = runpy.run_path(str(EXAMPLES / "01_mass_map.py"))["simulate"](side, 1)
    mask = np.ones((side, side), bool)
    if masked:
        hidden = round(side * np.sqrt(0.2))
        mask[:hidden, :hidden] = False
    data = {**data, "noise": np.full((side, side), noise, np.float32), "mask": mask}
    return ppl.compile(ppl.load(EXAMPLES / "01_mass_map.ppl"), data, sizes={"x": side, "y": side}, fixed=FIXED)


def measure(side: int, noise: float, masked: bool, draws: int) -> Iterator[dict[str, Any]]:
    posterior, found = posterior_of(side, noise, masked), {}
    for metric in ("fourier", "variance"):
        spent = {"warm-up": 0, "sampling": 0}

        def watch(stage: Any, done: int, info: Any, spent: dict[str, int] = spent) -> None:
            spent[stage.phase(done)] += int(np.sum(info.leapfrogs))

        options = ppl.nuts(chains=2, draws=draws, warmup=draws, metric=metric)
        result = posterior.run(options, seed=1, watch=watch, progress=False, predictive=False, keep=["white"])
        white = result["white"]
        pixels = az.ess(az.convert_to_dataset({"x": white[:, :, ::5, ::5]}))["x"].values
        mean = float(az.ess(white.mean(axis=(2, 3))))
        ess = {"median pixel": float(np.median(pixels)), "worst pixel": float(pixels.min()), "mean": mean}
        found[metric] = spent, ess
    case = f"{side}^2 pixels, noise {noise}{', a fifth hidden' if masked else ''}"
    (mine, ours), (theirs, peer) = found["fourier"], found["variance"]
    for of in ours:
        a, b = 1000 * ours[of] / mine["sampling"], 1000 * peer[of] / theirs["sampling"]
        row = {"case": case, "metric": f"ESS per 1000 gradients, {of}", "ours": a, "peer": b, "ratio": b / a}
        yield row | {"peer_name": "metric = variance"}
    row = {"case": case, "metric": "gradients of the warm-up", "ours": mine["warm-up"], "peer": theirs["warm-up"]}
    yield row | {"ratio": mine["warm-up"] / theirs["warm-up"], "peer_name": "metric = variance"}


if __name__ == "__main__":
    options = parser(__doc__ or "").parse_args()
    side, draws = (32, 100) if options.quick else (64, 300)
    cases = [(noise, masked) for noise in (0.3, 0.03) for masked in (False, True)]
    rows = [row for noise, masked in cases for row in measure(side, noise, masked, draws)]
    report("fourier_metric", rows, ("jax", "jaxlib"), options.json)
