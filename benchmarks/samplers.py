"""Effective draws per second and per gradient on posteriordb: our samplers, NumPyro's, BlackJAX's and nutpie's.

Four chains of 1,000 draws after 1,000 of warm-up, in float64, each sampler with its defaults, the peers with a target
acceptance of 0.8 as is ours for NUTS; all peers sample our log density (`_chains.py`). The figure of a run is its
smallest bulk effective sample size (ArviZ) over the elements of the posterior's quantities. Rows, for each posterior
and peer:

    minimum ESS per second         CPU time of the whole job, warm-up included, after compilation. Of NumPyro and
                                   BlackJAX the faster of vectorised and sequential chains counts.
    ESS per 1000 gradients         after warm-up, and in total; ours without those of the search for a step size.
    CPU seconds to compile         all that comes before the first transition but imports: a run of one latent comes
                                   before, and in both processes JAX has compiled something. Against NumPyro the median
                                   of the ratios of three compilations, in turn: the second and third know the model.
    wall seconds with compilation

Ours is measured in this process, the peers in one beside it, which waits meanwhile: importing ppl has XLA compile loops
of little work as whole functions, and not unroll them (`ppl.xla_flags`), which speeds up some peers too. They run as
their users have them, or with --whole-loops as we do. Ratios of rates are peer / ours, others ours / peer. nutpie
evaluates the gradient through a call of Python for each leapfrog, which takes most of its time: its seconds say little,
its effective draws per gradient are the bar.

    python benchmarks/samplers.py [--quick] [--only POSTERIOR ...] [--peers PEER ...] [--sampler nuts mams]
                                  [--whole-loops]
"""

from __future__ import annotations

import math
import os
import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import ppl  # before peers, which make XLA read its flags as they are imported

# isort: split

import arviz as az
import jax
import numpy as np
from _chains import CHAINS, PEERS, Draws, Outcome, numpyro_compilation, our_compilation, ours
from _harness import parser, report, write

from ppl.infer.keep import Kept, collect_program
from ppl.infer.mapped import Mapped
from ppl.xla_flags import OPTIONS

sys.path.append(str(Path(__file__).parent.parent))
from tests.yardsticks.agree import DATA
from tests.yardsticks.posteriordb.posteriors import POSTERIORS
from tests.yardsticks.posteriordb.reference import read_data

CHOSEN = (
    *("arK-arK", "eight_schools-eight_schools_noncentered", "garch-garch11", "gp_pois_regr-gp_regr"),
    *("gp_pois_regr-gp_pois_regr", "hmm_example-hmm_example", "bball_drive_event_0-hmm_drive_0"),
    *("kilpisjarvi_mod-kilpisjarvi", "low_dim_gauss_mix-low_dim_gauss_mix", "sblri-blr"),
    *("earnings-logearn_height", "kidiq-kidscore_interaction", "kidiq-kidscore_momhsiq"),
    *("mesquite-logmesquite", "mesquite-logmesquite_logvolume", "nes1996-nes", "nes2000-nes", "diamonds-diamonds"),
)
QUICK = ("arK-arK", "eight_schools-eight_schools_noncentered", "mesquite-logmesquite_logvolume")
PACKAGES = ("jax", "jaxlib", "numpyro", "blackjax", "nutpie")
PER_GRADIENT, COMPILE = "ESS per 1000 gradients", "CPU seconds to compile"
COMPILATIONS = 3
NUMPYRO_RATE, BEST_RATE, NUTPIE_PER_GRADIENT = 0.2, 1.0, 1 / 0.8


def quantities(posterior: Any, draws: Draws, keep: tuple[str, ...]) -> Draws:
    """The posterior's quantities from unconstrained draws [chain, draw, ...] of its latents."""
    program = posterior.program("density")
    types = {n: v.type for n, v in program.outputs if n in keep}
    kept = Kept(types, {}, tuple(posterior.latents))
    made = Mapped(posterior.executable(collect_program(posterior, kept, CHAINS, False)), tuple(posterior.latents), 1)
    return {n: x for n, x in made.run({**posterior.bound.data, **draws}).items() if n in keep}


def smallest_ess(draws: Draws) -> tuple[float, float]:
    """The smallest bulk ESS and the largest R-hat of all elements; a constant one has no effective draw."""
    data = az.convert_to_dataset(draws)
    ess = [np.nan_to_num(v.values, nan=0.0).min() for v in az.ess(data, method="bulk").values()]
    r_hat = [np.nan_to_num(v.values, nan=np.inf).max() for v in az.rhat(data).values()]
    return float(min(ess)), float(max(r_hat))


def figures(outcome: Outcome, draws: Draws) -> dict[str, float]:
    ess, r_hat = smallest_ess(draws)
    return {
        "minimum ESS per second": ess / outcome.job_seconds,
        PER_GRADIENT: 1000 * ess / outcome.gradients,
        f"{PER_GRADIENT}, in total": 1000 * ess / (outcome.warmup_gradients + outcome.gradients),
        COMPILE: outcome.compile_seconds,
        "wall seconds with compilation": outcome.wall_seconds,
        "R-hat": r_hat,
    }


def _enable_x64() -> None:
    """For the peers; ours does not look at it."""
    jax.config.update("jax_enable_x64", True)


@contextmanager
def beside(whole_loops: bool) -> Iterator[Executor]:
    """A process for the peers, with XLA's own defaults for loops unless they are to have ours."""
    flags = os.environ["XLA_FLAGS"]
    defaults = dict(zip(OPTIONS, ("1024", "false"), strict=True))
    if not whole_loops:
        for name, value in OPTIONS.items():
            os.environ["XLA_FLAGS"] = os.environ["XLA_FLAGS"].replace(f"{name}={value}", f"{name}={defaults[name]}")
    with ProcessPoolExecutor(1, get_context("spawn"), _enable_x64) as process:
        process.submit(os.getpid).result()  # it starts with the first call
        os.environ["XLA_FLAGS"] = flags
        yield process


@cache
def made_posterior(name: str, folder: Path) -> Any:
    """The posterior whose log density the peers sample."""
    case = POSTERIORS[name]
    posterior = ppl.compile(case.load(), case.data(read_data(folder / name)), dtype="float64")
    # Outside of any trace first, so that what the density keeps of the data are arrays and not a trace's.
    jax.block_until_ready(posterior.log_density({n: np.zeros(t.shape) for n, t in posterior.latents.items()}))
    return posterior


def import_all() -> None:
    """A run of one latent, with all imports that a first run makes."""
    posterior = ppl.compile(ppl.from_text("model one\na ~ Normal(0, 1)\n"), {})
    posterior.run(ppl.slice(chains=1, draws=1, warmup=1), progress=False, predictive=False)


def peer_outcomes(key: str, name: str, folder: Path, draws: int, seed: int) -> list[Outcome]:
    return PEERS[key](made_posterior(name, folder), draws, draws, seed)


def compile_again(key: str, name: str, folder: Path, draws: int, seed: int, manner: str) -> float:
    assert key == "numpyro"
    return numpyro_compilation(made_posterior(name, folder), draws, draws, seed, manner)


def measure(
    name: str, sampler: str, peers: list[str], draws: int, folder: Path, seed: int, process: Executor
) -> Iterator[dict[str, Any]]:
    case, make = POSTERIORS[name], getattr(ppl, sampler, None)
    named = {"case": f"{sampler}, {name}"}
    why = None if make is not None else f"ppl.{sampler} does not exist yet"
    if not (folder / name).is_dir():
        why = f"no data in {folder}: --data or MESHBAYES_DATA names the folder"
    if make is None or why is not None:
        yield named | {"metric": "minimum ESS per second", "ratio": None, "why": why}
        return
    data = case.data(read_data(folder / name))
    options = make(chains=CHAINS, draws=draws, warmup=draws)
    posterior = made_posterior(name, folder)  # first, as in the peers' process: JAX and its compilers have been used
    compiled = lambda: ppl.compile(case.load(), data, dtype="float64")  # noqa: E731
    mine = ours(compiled, options, case.keep, seed)
    ourselves = figures(mine, mine.draws)
    for key in peers:
        outcomes = process.submit(peer_outcomes, key, name, folder, draws, seed).result()
        made = [(o, figures(o, quantities(posterior, o.draws, case.keep))) for o in outcomes]
        outcome, theirs = max(made, key=lambda pair: pair[1]["minimum ESS per second"])
        for metric in theirs:
            if metric == "R-hat":
                continue
            row = named | compare(metric, ourselves, theirs, key, outcome.peer)
            if (metric, key) == (COMPILE, "numpyro"):
                manner, pairs = outcome.peer.rpartition(", ")[2], [(mine.compile_seconds, outcome.compile_seconds)]
                while len(pairs) < COMPILATIONS:
                    a = our_compilation(compiled, options, case.keep, seed, mine.job_seconds)
                    again = process.submit(compile_again, key, name, folder, draws, seed, manner)
                    pairs.append((a, again.result()))
                row |= medians(pairs)
            yield row


def medians(pairs: list[tuple[float, float]]) -> dict[str, Any]:
    """Of timings of ours and of a peer that were taken in turn."""
    ratios = [a / b for a, b in pairs]
    mine, theirs = map(statistics.median, zip(*pairs, strict=True))
    return {"ours": mine, "peer": theirs, "ratio": statistics.median(ratios), "ratio_range": [min(ratios), max(ratios)]}


def compare(metric: str, ourselves: dict[str, float], theirs: dict[str, float], key: str, peer: str) -> dict[str, Any]:
    a, b = ourselves[metric], theirs[metric]
    row = {"metric": metric, "ours": a, "peer": b, "peer_name": peer, "key": key}
    row["largest R-hat"] = [ourselves["R-hat"], theirs["R-hat"]]
    top, bottom = (b, a) if "ESS" in metric else (a, b)
    target = {(COMPILE, "numpyro"): 1.0, (PER_GRADIENT, "nutpie"): NUTPIE_PER_GRADIENT}.get((metric, key))
    if not bottom:
        return row | {"ratio": None, "target": target, "why": "nothing to divide by: a run without an effective draw"}
    return row | {"ratio": top / bottom, "target": target}


def summary(rows: list[dict[str, Any]], sampler: str) -> Iterator[dict[str, Any]]:
    """Medians and worst cases over posteriors; a rate of ours that is zero counts as an infinite ratio."""

    def ratios(metric: str, *keys: str) -> list[float]:
        """Of each posterior, the largest over the peers of `keys`."""
        largest: dict[str, float] = {}
        for r in rows:
            if r["case"].startswith(f"{sampler}, ") and r["metric"] == metric and r.get("key") in keys:
                value = math.inf if r["ratio"] is None else r["ratio"]
                largest[r["case"]] = max(largest.get(r["case"], 0.0), value)
        return list(largest.values())

    rate = "minimum ESS per second"
    for metric, found, of, peer, target in (
        (f"{rate}, median", ratios(rate, "numpyro"), statistics.median, "numpyro", NUMPYRO_RATE),
        (f"{rate}, median", ratios(rate, *PEERS), statistics.median, "the best of all", BEST_RATE),
        (f"{PER_GRADIENT}, worst", ratios(PER_GRADIENT, "nutpie"), max, "nutpie", NUTPIE_PER_GRADIENT),
        (f"{COMPILE}, worst", ratios(COMPILE, "numpyro"), max, "numpyro", 1.0),
    ):
        row = {"case": f"{sampler}, {len(found)} posteriors", "metric": metric, "peer_name": peer, "target": target}
        if found and math.isfinite(of(found)):
            yield row | {"ratio": of(found)}
        elif found:
            yield row | {"ratio": None, "why": "a run of ours gave no effective draw"}


if __name__ == "__main__":
    options = parser(__doc__ or "")
    options.add_argument("--only", nargs="+", choices=sorted(POSTERIORS), help="these posteriors")
    options.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    options.add_argument("--sampler", nargs="+", default=["nuts", "mams"])
    options.add_argument("--data", type=Path, default=DATA / "posteriordb", help="the folder of posteriors")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--whole-loops", action="store_true", help="the peers' loops are compiled as ours are")
    chosen = options.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    _enable_x64()
    import_all()
    rows: list[dict[str, Any]] = []
    names, draws = chosen.only or (QUICK if chosen.quick else CHOSEN), 500 if chosen.quick else 1000
    with beside(chosen.whole_loops) as process:
        for sampler in chosen.sampler:
            for name in names:
                rows += measure(name, sampler, chosen.peers, draws, chosen.data, chosen.seed, process)
                write("samplers", rows, PACKAGES, chosen.json)
            rows += summary(rows, sampler)
    report("samplers", rows, PACKAGES, chosen.json)
