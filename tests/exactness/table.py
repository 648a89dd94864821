"""The table: which algorithm is held to which case, with which settings, and how far off it could be unnoticed.

tolerance: a statistic that is off by so many of its posterior deviations is found out: 4.5 Monte Carlo errors are less.
For `fitted` and `at_the_mode` it is what a fit may be off by.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ppl
from tests.exactness import fields, judge, targets
from tests.exactness.case import Case

CASES: dict[str, Callable[[], Case]] = {
    "gaussian 1": lambda: targets.gaussian(1.0),
    "gaussian 1e2": lambda: targets.gaussian(1e2),
    "gaussian 1e5": lambda: targets.gaussian(1e5),
    "gaussian 1e5 along axes": lambda: targets.gaussian(1e5, turned=False),
    "gaussian 1e2, its mean field": lambda: targets.mean_field(1e2),
    "funnel recentred": lambda: targets.funnel(centred=False),
    "funnel": lambda: targets.funnel(centred=True),
    "banana": lambda: targets.banana(6),
    "banana of 4 dims": lambda: targets.banana(2),
    "mixture": lambda: targets.mixture(1.2, (1.0, 0.7)),
    "two modes": lambda: targets.mixture(2.0, (0.5, 0.4)),
    "wiener 64²": lambda: fields.wiener((64, 64), 1.0, 4.0),
    "wiener 32³": lambda: fields.wiener((32, 32, 32), 1.5, 6.0),
    "amplitude and field": fields.amplitude,
}


FAST = {
    "gaussian 1e2: laplace",
    "gaussian 1e5: hmc",
    "gaussian 1e5: exact_gaussian",
    "gaussian 1e5: map",
    "gaussian 1e5 along axes: chees",
}
"""About 20 s of CPU in all."""


@dataclass(frozen=True)
class Cell:
    """One algorithm on one case. runs: independent ones, of which the judge sees all."""

    case: str
    algorithm: str
    program: Any
    tolerance: float
    rule: Callable[..., judge.Verdict] = judge.by_chains
    runs: int = 1

    @property
    def name(self) -> str:
        return f"{self.case}: {self.algorithm}"

    @property
    def fast(self) -> bool:
        """Whether it is measured in every run of the tests."""
        return self.name in FAST

    def measure(self, seed: int = 1) -> judge.Verdict:
        """Runs the cell."""
        case = CASES[self.case]()
        results = [
            case.posterior.run(self.program, seed=seed + i, predictive=False, progress=False) for i in range(self.runs)
        ]
        return self.rule(case, results if self.runs > 1 else results[0], self.tolerance)


def _gaussians() -> list[Cell]:
    cells = []
    short = {"warmup": 600, "jitter": 1.0}  # few long steps may come to a whole period
    for case in ("gaussian 1", "gaussian 1e2", "gaussian 1e5"):
        cells += [
            Cell(case, "nuts", ppl.nuts(draws=2000, warmup=600), 0.1),
            Cell(case, "hmc", ppl.hmc(draws=4000, warmup=600, steps=4), 0.1),
            Cell(case, "hmc minimal_norm", ppl.hmc(steps=2, draws=12_000, integrator="minimal_norm", **short), 0.1),
            Cell(case, "hmc three_stage", ppl.hmc(draws=12_000, integrator="three_stage", **short), 0.1),
            Cell(case, "mams", ppl.mams(draws=4000, warmup=600), 0.1),
            Cell(case, "slice", ppl.slice(draws=3000, warmup=600), 0.1),
            Cell(case, "exact_gaussian", ppl.exact_gaussian(draws=2000), 0.1),
            Cell(case, "exact_gaussian by solver", ppl.exact_gaussian(draws=1500, dense=0), 0.1),
            Cell(case, "map", ppl.map(tolerance=1e-13), 1e-4, judge.at_the_mode),
            Cell(case, "laplace", ppl.laplace(draws=2000), 0.1, judge.normal),
            Cell(case, "laplace lanczos", ppl.laplace(draws=2000, curvature="lanczos"), 0.1, judge.normal),
        ]
    for case in ("gaussian 1", "gaussian 1e2", "gaussian 1e5 along axes"):
        cells += [
            Cell(case, "chees", ppl.chees(draws=1000, warmup=600), 0.1),
            Cell(case, "mclmc", ppl.mclmc(draws=100_000), 0.1, judge.unadjusted),
            Cell(case, "smc", ppl.smc(particles=1000), 0.1, judge.by_populations, runs=12),
        ]
    return [
        *cells,
        Cell("gaussian 1", "advi", ppl.advi(draws=2000), 0.1, judge.fitted),
        Cell("gaussian 1", "pathfinder", ppl.pathfinder(draws=2000), 0.1, judge.normal),
        Cell("gaussian 1e2, its mean field", "advi", ppl.advi(draws=2000, samples=4), 0.15, judge.fitted),
        Cell("gaussian 1e2", "advi of full rank", ppl.advi(rank=targets.D, draws=2000), 0.1, judge.fitted),
    ]


def _curved() -> list[Cell]:
    cells = []
    for case, tolerance, accept in (("funnel recentred", 0.1, 0.8), ("banana", 0.15, 0.95), ("mixture", 0.1, 0.8)):
        careful = {"target_accept": accept}  # the banana is narrow where it is far out
        cells += [
            Cell(case, "nuts", ppl.nuts(draws=4000, **careful), tolerance),
            Cell(case, "hmc", ppl.hmc(draws=8000, **careful), tolerance),
            Cell(case, "hmc minimal_norm", ppl.hmc(draws=8000, integrator="minimal_norm", **careful), tolerance),
            Cell(case, "hmc three_stage", ppl.hmc(draws=8000, integrator="three_stage", **careful), tolerance),
            Cell(case, "chees", ppl.chees(draws=2000, **careful), tolerance),
            Cell(case, "mams", ppl.mams(draws=16_000), tolerance),
            Cell(case, "mclmc", ppl.mclmc(draws=200_000, thin=20), tolerance, judge.unadjusted),
            Cell(case, "smc", ppl.smc(particles=1000), tolerance, judge.by_populations, runs=12),
        ]
    return [
        *cells,
        Cell("funnel recentred", "slice", ppl.slice(draws=8000), 0.1),
        Cell("banana of 4 dims", "slice", ppl.slice(draws=60_000, thin=10), 0.15),
        Cell("mixture", "slice", ppl.slice(draws=8000), 0.1),
        Cell("banana of 4 dims", "gibbs", ppl.gibbs(x=ppl.nuts(), y=ppl.exact_gaussian(), draws=30_000), 0.3),
        Cell("funnel", "gibbs", ppl.gibbs(v=ppl.slice(), x=ppl.exact_gaussian(), draws=50_000, chains=8), 0.1),
        Cell("funnel", "nuts", ppl.nuts(), 1.0, judge.reported),
        Cell("funnel", "hmc", ppl.hmc(), 1.0, judge.reported),
        Cell("funnel", "mams", ppl.mams(), 1.0, judge.reported),
        Cell("two modes", "slice", ppl.slice(draws=40_000, thin=5), 0.3),  # it seldom crosses
        Cell("two modes", "smc", ppl.smc(particles=1000), 0.1, judge.by_populations, runs=12),
    ]


def _fields() -> list[Cell]:
    plane, volume, joint = "wiener 64²", "wiener 32³", "amplitude and field"
    short, cells = {"draws": 800, "warmup": 250, "jitter": 1.0}, []
    for case, draws, tolerance in ((plane, 800, 0.2), (volume, 200, 0.4)):
        cells += [
            Cell(case, "nuts", ppl.nuts(draws=draws, warmup=200), tolerance),
            Cell(case, "hmc", ppl.hmc(draws=draws, warmup=200), tolerance),
            Cell(case, "mams", ppl.mams(draws=draws, warmup=200), tolerance),
            Cell(case, "mclmc", ppl.mclmc(draws=10 * draws, warmup=2000), tolerance, judge.unadjusted),
            Cell(case, "exact_gaussian", ppl.exact_gaussian(draws=draws), tolerance),
            # It ends within 1e-8 of the log density, some -5e4: a single mode may be 0.03 deviations off.
            Cell(case, "map", ppl.map(), 0.06, judge.at_the_mode),
            Cell(case, "laplace", ppl.laplace(draws=draws), tolerance, judge.normal),
        ]
    waves = {"metric": "fourier", "draws": 800}
    cells += [
        Cell(plane, "nuts in plane waves", ppl.nuts(warmup=100, **waves), 0.2),
        Cell(plane, "hmc in plane waves", ppl.hmc(warmup=100, steps=6, jitter=1.0, **waves), 0.2),
        Cell(plane, "mams in plane waves", ppl.mams(warmup=200, **waves), 0.2),
        Cell(plane, "hmc minimal_norm", ppl.hmc(steps=4, integrator="minimal_norm", **short), 0.2),
        Cell(plane, "hmc three_stage", ppl.hmc(steps=2, integrator="three_stage", **short), 0.25),
        Cell(plane, "chees", ppl.chees(draws=400, warmup=250), 0.2),
    ]
    exact, walk = ppl.exact_gaussian(), ppl.mclmc()
    extensive = functools.partial(judge.unadjusted, single=judge.EXTENSIVE)
    of_block = functools.partial(extensive, told_as="energy_variance_white")
    return [
        *cells,
        Cell(joint, "nuts", ppl.nuts(draws=600, warmup=200), 0.25),
        Cell(joint, "hmc", ppl.hmc(draws=1500, warmup=200), 0.25),
        Cell(joint, "hmc minimal_norm", ppl.hmc(draws=1500, warmup=300, steps=6, integrator="minimal_norm"), 0.2),
        Cell(joint, "hmc three_stage", ppl.hmc(draws=1500, warmup=300, steps=4, integrator="three_stage"), 0.2),
        Cell(joint, "chees", ppl.chees(draws=500, warmup=300), 0.2),
        Cell(joint, "mams", ppl.mams(draws=1500, warmup=300), 0.2),
        Cell(joint, "mclmc", ppl.mclmc(draws=30_000, thin=20), 0.2, extensive),
        Cell(joint, "mclmc, short steps", ppl.mclmc(draws=80_000, thin=40, energy_variance=5e-6), 0.2, extensive),
        Cell(joint, "gibbs", ppl.gibbs(white=exact, ln_amp=ppl.nuts(), draws=1000, warmup=100), 0.3),
        Cell(
            joint, "gibbs with mclmc", ppl.gibbs(white=walk, ln_amp=ppl.nuts(), draws=3000, warmup=1000), 0.3, of_block
        ),
    ]


TABLE = (*_gaussians(), *_curved(), *_fields())
