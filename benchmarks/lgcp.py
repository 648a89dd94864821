"""How many gradients does an effective draw of a log-Gaussian Cox process's hyper-parameters cost?

    python benchmarks/lgcp.py [--quick] [--json FILE]

A 64 x 64 periodic grid of counts with an unknown level and amplitude (4,098 latents; `models/lgcp.ppl`, the data of
`counts` below). Microcanonical dynamics against NUTS of this project, both from the prior with their default
adaptation, four chains: bulk ESS of the worse hyper-parameter per 1,000 gradients, its variances against those of NUTS,
and the gradients of a warm-up. Only counts are compared, so other programs on the machine do not matter. The relative
error of a variance ratio, from the ESS of squares in both runs, stands beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from _harness import arguments, report

import ppl
from ppl.infer.isokinetic import squared_bias
from ppl.report.diagnose import diagnose

HYPER = ("level", "log_amp")


def counts(n: int = 64, seed: int = 1) -> dict[str, Any]:
    """Counts of a field of unit variance and power 1 / (1 + (k / 4)^2)^1.5 on a periodic n x n grid."""
    k2 = sum(np.square(np.fft.fftfreq(n) * n).reshape(s) for s in ((-1, 1), (1, -1)))
    power = (1 + k2 / 16) ** -1.5
    norm = 1 / np.sqrt(power.mean())
    rng = np.random.RandomState(seed)
    modes = np.fft.fft2(rng.randn(n, n)) * norm * np.sqrt(power)
    field = np.fft.ifft2(modes).real
    return {"counts": rng.poisson(np.exp(field)), "box": 2 * np.pi, "norm": norm}


def measure(posterior: Any, options: Any, seed: int) -> dict[str, Any]:
    """ESS per 1,000 gradients, variances and their relative errors, gradients of the warm-up per chain."""
    spent = {"warmup": 0.0, "draws": 0.0}

    def watch(stage: Any, done: int, info: Any) -> None:
        spent["draws" if stage.phase(done) == "sampling" else "warmup"] += float(info.leapfrogs.sum())

    result = posterior.run(options, seed=seed, progress=False, predictive=False, keep=list(HYPER), watch=watch)
    x = np.stack([np.asarray(result.draws["posterior"][n].data, float) for n in HYPER], axis=2)
    bulk, squares = diagnose(x).ess_bulk, diagnose((x - x.mean(axis=(0, 1))) ** 2).ess_bulk
    stats = result.draws["sample_stats"]
    return {
        "rate": float(bulk.min()) / spent["draws"] * 1e3,
        "total rate": float(bulk.min()) / sum(spent.values()) * 1e3,
        "variance": x.var(axis=(0, 1)),
        "error": np.sqrt(2 / squares),
        "warmup": spent["warmup"] / options.chains,
        "rhat": float(diagnose(x).rhat.max()),
        "energy variance": float(np.asarray(stats["energy_variance"].data).mean()) if "energy_variance" in stats else 0,
    }


def main() -> None:
    args = arguments(__doc__ or "")
    model = ppl.load(Path(__file__).parent / "models" / "lgcp.ppl")
    posterior = ppl.compile(model, counts(), dtype="float64")
    steps, draws = (12_000, 300) if args.quick else (60_000, 4000)
    ours = measure(posterior, ppl.mclmc(draws=steps), 1)
    peer = measure(posterior, ppl.nuts(draws=draws), 1)
    case, name = "LGCP 64 x 64", "nuts of this project"
    rows = [
        {
            "case": case,
            "metric": f"ESS of the hyper-parameters per 1000 gradients, {what}",
            "ours": ours[key],
            "peer": peer[key],
            "peer_name": name,
            "ratio": peer[key] / ours[key],
            "target": 1.0,
        }
        for what, key in (("after warm-up", "rate"), ("warm-up included", "total rate"))
    ]
    wanted = {"peer": 20.0, "peer_name": "what is asked for"}
    rows.append({"case": case, "metric": rows[0]["metric"], "ours": ours["rate"], **wanted})
    rows[-1] |= {"ratio": 20.0 / ours["rate"], "target": 1.0}
    rows.append({"case": case, "metric": "gradients of a chain's warm-up", "ours": ours["warmup"]})
    rows[-1] |= {"peer": peer["warmup"], "peer_name": name, "ratio": ours["warmup"] / 1e4, "target": 1.0}
    for i, hyper in enumerate(HYPER):
        ratio = ours["variance"][i] / peer["variance"][i]
        rows.append(
            {
                "case": case,
                "metric": f"|variance ratio - 1| of {hyper}",
                "ours": ours["variance"][i],
                "peer": peer["variance"][i],
                "peer_name": name,
                "ratio": abs(ratio - 1),
                "error": float(np.hypot(ours["error"][i], peer["error"][i])),
                "target": 0.1,
            }
        )
    rows.append({"case": case, "metric": "largest R-hat - 1", "ours": ours["rhat"] - 1, "peer": peer["rhat"] - 1})
    rows[-1] |= {"peer_name": name, "ratio": (ours["rhat"] - 1) / 0.01, "target": 1.0}
    rows.append({"case": case, "metric": "squared bias stated from energy errors"})
    rows[-1] |= {"ours": squared_bias(ours["energy variance"]), "peer": squared_bias(5e-4), "peer_name": "as asked for"}
    rows[-1] |= {"ratio": ours["energy variance"] / 5e-4, "target": 2.0}
    report("lgcp", rows, ("jax", "numpy"), args.json)


if __name__ == "__main__":
    main()
