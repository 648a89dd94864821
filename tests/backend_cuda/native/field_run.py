"""Draws of a small field's posterior, and how many collectives the program has: `field_run.py MESH PIN SAMPLER OUT`.

With `RANK PROCESSES PORT` behind it, as one process of several.
"""

import re
import sys

import jax
import numpy as np

import ppl
from ppl.infer.run import _Setup

MODEL = """
model field
dim x = 12, y = 10
dim kx = freq(x), ky = rfreq(y)
data seen[x, y]: real
amp ~ LogNormal(0, 0.5)
white[x, y] ~ Normal(0, 1)
k2[kx, ky] = wavenumber(kx, 1)^2 + wavenumber(ky, 1)^2
delta[x, y] = irfft(amp * rfft(white, x -> kx, y -> ky) / (1 + k2), kx -> x, ky -> y)
seen[x, y] ~ Normal(delta, 1)
"""
SAMPLERS = {
    "hmc": ppl.hmc(chains=2, warmup=100, draws=200),
    "nuts": ppl.nuts(chains=2, warmup=100, draws=100),
    "mclmc": ppl.mclmc(chains=2, warmup=200, draws=200),
    "chees": ppl.chees(chains=2, warmup=50, draws=50),
    "smc": ppl.smc(particles=8),
    "mgvi": ppl.mgvi(chains=2),
    "reproducible": ppl.hmc(chains=2, warmup=30, draws=30, reproducible=True),
    "laplace": ppl.laplace(chains=2, draws=10),
}


def main(mesh: str, pin: str, sampler: str, out: str, rank: str = "0", processes: str = "1", port: str = "0") -> None:
    if processes != "1":
        jax.distributed.initialize(f"127.0.0.1:{port}", int(processes), int(rank))
    seen = np.random.default_rng(0).normal(size=(12, 10)).astype(np.float32)
    model, data = ppl.from_text(MODEL), {"seen": seen}
    plan = ppl.plan(model, data, mesh=mesh, pins=(f"white:{pin}",), chains=2)
    posterior = ppl.compile(model, data, plan=plan)
    text = _Setup.of(posterior, SAMPLERS[sampler], None, False).engines[-1].lowered().as_text()
    calls = {"native": r"@meshbayes_(?:exchange|all_reduce)", "xla": r"stablehlo\.(?:all_|collective_|reduce_scatter)"}
    found = {name: np.array(len(re.findall(pattern, text))) for name, pattern in calls.items()}
    result = posterior.run(SAMPLERS[sampler], seed=3, progress=False, predictive=False)
    found |= {name: result[name] for name in ("amp", "white")}
    value, gradient = posterior.value_and_gradient({"amp": np.float32(0.3), "white": seen})
    found |= {"value": np.array(value)} | {f"grad:{name}": x for name, x in gradient.items()}
    found["notes"] = np.array(result.notes, dtype=str)
    np.savez(out, **found)  # type: ignore[arg-type]


main(*sys.argv[1:])
