"""Programs of 64 MB and more per device, planned in different ways, whose memory is XLA's to say and ours to predict.

They are compiled for virtual devices and never run, so that sizes cost nothing.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from typing import Any

import ppl
from planner import Machine, peak_bytes
from ppl.bind import outline
from ppl.execute import Executable
from ppl.posterior import Posterior
from ppl.request import PlanRequest
from tests.yardsticks.agree import EXAMPLES
from tests.yardsticks.held_out_models import TEXTS as OTHER_TEXTS
from tests.yardsticks.on_meshes import MACHINES

FIELD = """
model field
dim x, y, z
dim kx = freq(x), ky = freq(y), kz = rfreq(z)
data seen[x, y, z]: real
white[x, y, z] ~ Normal(0, 1)
modes[kx, ky, kz] = rfft(white, x -> kx, y -> ky, z -> kz)
k2[kx, ky, kz] = wavenumber(kx, 1)^2 + wavenumber(ky, 1)^2 + wavenumber(kz, 1)^2
delta[x, y, z] = irfft(modes / (1 + k2), kx -> x, ky -> y, kz -> z)
seen[x, y, z] ~ Normal(delta, 1)
"""
COUNTS = """
model counts
dim x, y, z
dim kx = freq(x), ky = freq(y), kz = rfreq(z)
const box: real<lower = 0>
data counts[x, y, z]: int, nbar[x, y, z]: real<lower = 0>
amp  ~ LogNormal(0, 0.5)
bias ~ TruncatedNormal(1.5, 0.5, lower = 0)
white[x, y, z]  ~ Normal(0, 1)
k2[kx, ky, kz]  = wavenumber(kx, box)^2 + wavenumber(ky, box)^2 + wavenumber(kz, box)^2
delta[x, y, z]  = irfft(sqrt(amp / (k2 + 1e-4)) * rfft(white, x -> kx, y -> ky, z -> kz), kx -> x, ky -> y, kz -> z)
counts[x, y, z] ~ Poisson(nbar * exp(bias * delta))
"""
DESIGN = """
model design
dim obs, feature
data X[obs, feature]: real
data y[obs]: real
w[feature] ~ Normal(0, 1)
sigma ~ HalfNormal(5)
mean[obs] = contract(X, w, over = feature)
y[obs] ~ Normal(mean, sigma)
"""
LOGISTIC = """
model logistic
dim obs, feature
data X[obs, feature]: real
data y[obs]: bool
w[feature] ~ Normal(0, 1)
y[obs] ~ Bernoulli(logits = contract(X, w, over = feature))
"""
VOLATILITY = """
model volatility
dim time, series
data y[time, series]: real
mu ~ Normal(0, 1)
phi ~ Beta(20, 1.5)
sigma ~ HalfNormal(0.2)
eps[time, series] ~ Normal(0, 1)
scan t in time {
  h[t, series] = mu + phi * (h[t - 1] - mu) + sigma * eps[t]   init mu
}
y[time, series] ~ Normal(0, exp(h / 2))
"""
STUDENT = """
model student
dim obs, group, feature
data X[obs, feature]: real
data g[obs]: index[group]
data y[obs]: real
mu ~ Normal(0, 1)
tau ~ HalfNormal(1)
a[group] ~ Normal(mu, tau)
w[feature] ~ Normal(0, 1)
s ~ HalfNormal(1)
m[obs] = a[group = g] + contract(X, w, over = feature)
y[obs] ~ StudentT(4, m, s)
"""
COUNTED = """
model counted
dim obs, group
data g[obs]: index[group]
data k[obs]: int
mu ~ Normal(0, 1)
a[group] ~ Normal(mu, 1)
k[obs] ~ Poisson(exp(a[group = g]))
"""
SMOOTH = """
model smooth
dim x, y
dim kx = freq(x), ky = rfreq(y)
data seen[x, y]: real
amp ~ LogNormal(0, 1)
white[x, y] ~ Normal(0, 1)
k2[kx, ky] = wavenumber(kx, 1)^2 + wavenumber(ky, 1)^2
f[x, y] = irfft(sqrt(amp) / (1 + k2) * rfft(white, x -> kx, y -> ky), kx -> x, ky -> y)
seen[x, y] ~ Normal(exp(0.5 * f), 0.1)
"""
TEXTS = {"field": FIELD, "counts": COUNTS, "design": DESIGN, "logistic": LOGISTIC, "volatility": VOLATILITY}
TEXTS |= {"student": STUDENT, "counted": COUNTED, "smooth": SMOOTH} | OTHER_TEXTS


@dataclass(frozen=True)
class Case:
    """A model by its name or the beginning of an example's, its sizes, and what to plan for."""

    model: str
    sizes: tuple[tuple[str, int], ...]
    mesh: str = "1"
    chains: int = 1
    pins: tuple[str, ...] = ()
    machine: str = "laptop"
    """One of `on_meshes.MACHINES`, or a machine's name."""

    def __str__(self) -> str:
        size = "x".join(str(n) for _, n in self.sizes)
        shown = [self.model, size, self.mesh, f"{self.chains} chains", *self.pins]
        return " ".join([*shown, self.machine] if self.machine != "laptop" else shown)


def case(model: str, mesh: str = "1", chains: int = 1, *pins: str, machine: str = "laptop", **sizes: int) -> Case:
    return Case(model, tuple(sizes.items()), mesh, chains, pins, machine)


def cube(n: int) -> dict[str, int]:
    return {"x": n, "y": n, "z": n}


WIDE = {"x": 4096, "y": 4096}
MANY = {"obs": 40_000_000, "county": 30_000}
CASES = (
    case("mass", x=2048, y=2048),
    case("mass", "1", 4, x=2048, y=2048),
    case("mass", "8", 4, **WIDE),
    case("mass", "8", **WIDE),
    case("mass", "row=4,col=2", 4, "white:x=row,y=col", "chain:whole", **WIDE),
    case("mass", "row=2,col=2", 1, "white:y=row+col", **WIDE),
    case("mass", "row=4,col=2", 1, "white:x=row,y=col", x=4001, y=3990),
    case("field", **cube(256)),
    case("field", "8", **cube(512)),
    case("field", "row=4,col=2", 1, "white:x=row,y=col", **cube(512)),
    case("field", "row=4,col=2", 4, "white:x=row,y=col", "chain:whole", **cube(256)),
    case("counts", **cube(256)),
    case("counts", "1", 4, **cube(256)),
    case("counts", "8", **cube(512)),
    case("counts", "row=4,col=2", 1, "white:x=row,y=col", **cube(512)),
    case("design", obs=1_000_000, feature=500),
    case("design", "1", 4, obs=1_000_000, feature=500),
    case("design", "8", 4, obs=1_000_000, feature=500),
    case("design", "row=4,col=2", 4, "X:obs=row,feature=col", "chain:whole", obs=1_000_000, feature=500),
    case("logistic", "1", 4, obs=10_000_000, feature=20),
    case("logistic", "row=2,col=2", 4, "y:obs=row", "chain:col", obs=10_000_000, feature=20),
    case("linear", obs=10_000_000),
    case("linear", "1", 4, obs=10_000_000),
    case("linear", "8", 4, obs=40_000_000),
    case("linear", "row=4,col=2", 4, "y:obs=row", "chain:col", obs=40_000_000),
    case("radon", obs=10_000_000, county=3000),
    case("radon", "1", 4, obs=10_000_000, county=3000),
    case("radon", "8", 4, **MANY),
    case("radon", "row=4,col=2", 4, "y:obs=row", "alpha_raw:county=col", **MANY),
    case("radon", "row=4,col=2", 4, "y:obs=row", "chain:col", **MANY),
    case("volatility", time=100, series=200_000),
    case("volatility", "8", 4, time=100, series=400_000),
)
BLOCKS, SPLIT, DEAR = ("white:x=row,y=col",), "row=4,col=2", "gathers are dear"
OTHERS = (
    case("student", obs=4_000_000, group=100, feature=5),
    case("student", "row=2,col=2", 4, "y:obs=row", "chain:col", obs=4_000_000, group=1000, feature=5),
    case("counted", "1", 4, obs=10_000_000, group=1000),
    case("counted", "8", machine="h100x8", obs=40_000_000, group=1000),
    case("smooth", **WIDE),
    case("smooth", "8", 4, machine="h100x8", x=8192, y=8192),
    case("smooth", SPLIT, 1, *BLOCKS, machine="h100x8", x=8192, y=8192),
    case("mass", SPLIT, 4, machine="h100x8", x=8192, y=8192),
    case("mass", SPLIT, 4, *BLOCKS, "chain:whole", machine=DEAR, **WIDE),
    case("mass", SPLIT, 4, "modes:kx=col,ky=row", *BLOCKS, machine="talk is cheap", **WIDE),
    case("field", SPLIT, 1, *BLOCKS, machine="h100x8", **cube(512)),
    case("counts", SPLIT, 1, *BLOCKS, machine="h100x8", **cube(512)),
    case("counts", "row=2,col=2", 4, "chain:col", machine=DEAR, **cube(256)),
    case("radon", SPLIT, 4, "y:obs=row", "alpha:county=col", machine=DEAR, **MANY),
)
"""Programs that the rules were mended with, once they had failed there."""

SHOPPING = {"obs": 8_000_000, "region": 50, "shop": 3000, "item": 20_000}
HELD_OUT = (
    case("blend", "8", 4, obs=16_000_000),
    case("blend", SPLIT, 4, "y:obs=row", "chain:col", obs=16_000_000),
    case("blend", "row=2,col=2", obs=8_000_000),
    case("process", "8", obs=2_000_000, p=100, q=100),
    case("process", SPLIT, 4, "B:obs=row", "chain:col", obs=1_000_000, p=100, q=100),
    case("level", "8", 4, time=60, series=400_000),
    case("level", "row=2,col=2", 4, "y:series=row", "chain:col", time=60, series=200_000),
    case("shops", "8", 4, **SHOPPING),
    case("shops", SPLIT, 4, "y:obs=row", "chain:col", **SHOPPING),
    case("shops", "row=2,col=2", 4, **SHOPPING),
    case("dish", "8", 4, **WIDE),
    case("dish", SPLIT, 4, *BLOCKS, "chain:whole", machine="h100x8", **WIDE),
    case("dish", "row=2,col=2", **WIDE),
    case("readout", "8", 4, cell=1_000_000, particle=16_000_000),
    case("readout", SPLIT, 4, "seen:particle=row", "chain:col", cell=1_000_000, particle=16_000_000),
    case("readout", "row=2,col=2", 4, machine=DEAR, cell=1_000_000, particle=16_000_000),
    case("factors", "8", 4, user=8000, film=8000, taste=20),
    case("factors", SPLIT, 4, "score:user=row,film=col", "chain:whole", user=8000, film=8000, taste=20),
    case("classes", "8", 4, obs=4_000_000, feature=20),
    case("classes", "row=2,col=2", 4, "X:obs=row", "chain:col", obs=2_000_000, feature=20),
    case("tides", "8", **cube(512)),
    case("tides", SPLIT, 1, *BLOCKS, **cube(512)),
    case("tides", "row=2,col=2", 4, "chain:col", **cube(256)),
)
"""Other kinds of models, added last; two rules were mended by them: a scatter is no loop; what outputs write over."""


@cache
def planned(case: Case, platform: str = "cpu") -> Executable:
    """The gradient of a case's log density over its chains, planned without a budget for a platform's compiler."""
    source = TEXTS.get(case.model)
    model: Any = ppl.from_text(source) if source else ppl.load(next(EXAMPLES.glob(f"*_{case.model}*.ppl")))
    bound = outline(model, sizes=dict(case.sizes))
    machine = MACHINES.get(case.machine, case.machine)
    machine = dataclasses.replace(machine if isinstance(machine, Machine) else Machine.load(machine), platform=platform)
    request = PlanRequest.make(case.mesh, machine=machine, memory=0, pins=case.pins)
    return Posterior(bound, request).gradient_program(case.chains)


def predicted_bytes(executable: Executable) -> float:
    return peak_bytes(executable.program, executable.plan)


def xla_bytes(executable: Executable) -> float:
    """What XLA says that the compiled program needs: arguments, results and temporary buffers [bytes per device]."""
    found = executable.lowered().compile().memory_analysis()
    return (
        found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes - found.alias_size_in_bytes
    )


__all__ = ["CASES", "HELD_OUT", "OTHERS", "Case", "planned", "predicted_bytes", "xla_bytes"]
