"""A sampler with its defaults on the posteriors of posteriordb: does it agree with Stan's draws, and at what price?

Four chains, started as Stan's, from numbers in (-2, 2). The draws are doubled until the smallest bulk ESS of a quantity
is 1,000, within `--most` draws a chain and `--seconds` of CPU time a run. Each mean and mean square of each quantity of
the reference is then compared: |difference| within 4 combined Monte Carlo standard errors and, for an unadjusted
sampler, the bias that follows from its realised energy variance (`ppl.infer.isokinetic.squared_bias`). The price is
counted in gradients of one chain: those of the transitions that are kept, and those of warm-up too (the few of the
search for a first step size are not counted).

    python benchmarks/posteriordb.py --data FOLDER [--only NAME ...] [--sampler nuts] [--seed 1] [--quick]

FOLDER holds one folder a posterior: data.json.gz, reference_summary.json (default: posteriordb in MESHBAYES_DATA).
The last row is over all quantities of all posteriors; those of a posterior that was not reached count as disagreeing.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _harness import parser, report

import ppl
from ppl.infer.isokinetic import squared_bias

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.yardsticks.agree import DATA
from tests.yardsticks.posteriordb.compare import Comparison, compare
from tests.yardsticks.posteriordb.posteriors import POSTERIORS
from tests.yardsticks.posteriordb.reference import read_data, read_summary

QUICK = ["arK-arK", "eight_schools-eight_schools_noncentered", "gp_pois_regr-gp_regr", "mesquite-logmesquite_logvolume"]
ENOUGH = 1000.0
"""Bulk effective sample size of every quantity."""
REQUIRED = 0.97
"""The fraction of means and mean squares that must agree."""


@dataclass
class Spent:
    """Gradients of all chains, and the CPU time after which a run is stopped; `watch` is the run's callback."""

    limit: float
    started: float = field(default_factory=time.process_time)
    before: int = 0
    after: int = 0

    def watch(self, stage: Any, done: int, info: Any) -> None:
        count = int(np.sum(info.leapfrogs))
        if stage.phase(done) == "warm-up":
            self.before += count
        else:
            self.after += count
        if self.seconds() > self.limit:
            raise KeyboardInterrupt  # the run keeps what it has drawn

    def seconds(self) -> float:
        return time.process_time() - self.started


def measure(name: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The row of one posterior."""
    case, reference = POSTERIORS[name], read_summary(folder / name)
    posterior = ppl.compile(case.load(), case.data(read_data(folder / name)), dtype="float64")
    draws = args.draws
    while True:
        # A draw of an unadjusted sampler is one step, of which the tenth is kept.
        steps = 10 if args.sampler == "mclmc" else 1
        options = getattr(ppl, args.sampler)(chains=4, draws=draws * steps)
        spent = Spent(args.seconds)
        how = {"init": "uniform", "keep": case.keep, "predictive": False, "progress": False, "watch": spent.watch}
        result = posterior.run(options, seed=args.seed, **how)
        if not spent.after:
            why = f"warm-up took more than {args.seconds:g} s"
            return row(name, args.sampler, None, spent, 0, why=why) | {"count": 2 * len(reference.names)}
        bias = stated_bias(result)
        found = compare(case, result, reference, bias)
        kept = result[case.keep[0]].shape[1]
        short = ENOUGH / float(np.nan_to_num(found.ess.min(), nan=1.0))
        if short <= 1:
            return row(name, args.sampler, found, spent, kept, bias)
        if result.interrupted:
            return row(name, args.sampler, found, spent, kept, bias, f"stopped after {args.seconds:g} s")
        if draws >= args.most:
            return row(name, args.sampler, found, spent, kept, bias, f"{draws} draws a chain are not enough")
        draws = min(args.most, draws * 2 ** math.ceil(math.log2(short)))


def stated_bias(result: Any) -> float:
    """Of the chain that is worst off, in standard deviations of second moments; 0 of adjusted samplers."""
    stats = result.draws["sample_stats"]
    if "energy_variance" not in stats:
        return 0.0
    return math.sqrt(squared_bias(float(np.asarray(stats["energy_variance"].data).mean(axis=1).max())))


def row(
    name: str,
    sampler: str,
    found: Comparison | None,
    spent: Spent,
    draws: int,
    bias: float = 0.0,
    why: str | None = None,
) -> dict[str, Any]:
    """One posterior; without a ratio where the effective sample size was not reached, with the reason."""
    made: dict[str, Any] = {
        "case": name,
        "metric": f"fraction of means and mean squares within 4 errors of Stan's, by {sampler}",
        "ours": None,
        "peer": REQUIRED,
        "peer_name": "required",
        "ratio": None,
        "target": 1.0,
        "draws": draws,
        "gradients": {"warmup": spent.before, "sampling": spent.after},
        "cpu_seconds": round(spent.seconds(), 2),
    }
    if found is not None:
        ess = float(found.ess.min())
        pairs = zip(found.names, found.z_mean, found.z_mean_square, found.ess, found.rhat, strict=True)
        made |= {
            "ours": found.within(),
            "ratio": None if why else REQUIRED / max(found.within(), 1e-9),
            "count": 2 * len(found.names),
            "largest_z": found.largest_z(),
            "rhat": float(found.rhat.max()),
            "stated_bias": bias,
            "ess": ess,
            "ess_per_1000_gradients": 1000 * ess / spent.after,
            "ess_per_1000_gradients_with_warmup": 1000 * ess / (spent.before + spent.after),
            "quantities": {
                n: {"z_mean": a, "z_mean_square": b, "ess": e, "rhat": r}
                for n, a, b, e, r in ((n, *map(float, numbers)) for n, *numbers in pairs)
            },
        }
    return made | ({"why": why} if why else {})


def over_all(rows: list[dict[str, Any]], sampler: str) -> dict[str, Any]:
    """The row of all posteriors together."""
    reached = [r for r in rows if r["ratio"] is not None]
    within = sum(r["count"] * r["ours"] for r in reached) / sum(r["count"] for r in rows)
    return {
        "case": f"all {len(rows)}",
        "metric": f"fraction of all means and mean squares within 4 errors of Stan's, by {sampler}",
        "ours": within,
        "peer": REQUIRED,
        "peer_name": "required",
        "ratio": REQUIRED / max(within, 1e-9),
        "target": 1.0,
        "reached": len(reached),
    }


def line(r: dict[str, Any]) -> str:
    """A row as a person reads it."""
    if r["ours"] is None:
        return f"{r['case']:48} {r['why']}"
    return (
        f"{r['case']:48} within {r['ours']:.3f}, |z| {r['largest_z']:.2f}, R-hat {r['rhat']:.3f}, "
        f"ESS {r['ess']:.0f} of {4 * r['draws']}, per 1,000 gradients {r['ess_per_1000_gradients']:.2f} "
        f"({r['ess_per_1000_gradients_with_warmup']:.2f} with warm-up), {r['cpu_seconds']:.0f} s"
        + (f", stated bias {r['stated_bias']:.3f}" if r["stated_bias"] else "")
        + (f": {r['why']}" if "why" in r else "")
    )


def main() -> None:
    options = parser(__doc__ or "")
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("--data", type=Path, help="the folder of posteriors")
    options.add_argument("--sampler", default="nuts", help="a program of ppl by name")
    options.add_argument("--only", nargs="+", metavar="NAME", help="posteriors, or the beginnings of their names")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--draws", type=int, default=1000, help="a chain, in the first run")
    options.add_argument("--most", type=int, default=16_000, help="draws a chain in the last run")
    options.add_argument("--seconds", type=float, default=600, help="CPU time of one run")
    args = options.parse_args()
    folder = args.data or DATA / "posteriordb"
    if not folder.is_dir():
        why = f"no reference posteriors in {folder}: name their folder with --data or MESHBAYES_DATA"
        if args.data is not None:
            options.error(why)
        report("posteriordb", [{"case": "all", "ratio": None, "why": why}], (), args.json)
        return
    wanted = tuple(args.only or (QUICK if args.quick else POSTERIORS))
    names = [n for n in POSTERIORS if n.startswith(wanted) and (folder / n).is_dir()]
    if not names:
        options.error(f"no posterior of {folder} begins with {' or '.join(wanted)}")
    rows = []
    for name in names:
        rows.append(measure(name, folder, args))
        print(line(rows[-1]), file=sys.stderr, flush=True)
    rows.append(over_all(rows, args.sampler))
    report("posteriordb", rows, ("jax", "numpy", "arviz"), args.json)


if __name__ == "__main__":
    main()
