"""The optimiser against the ASPLOS / EuroSys 2025 contest on intra-operator parallelism (github.com/google/iopddl).

Its problems are planning problems of large neural networks: a strategy for each of up to 65,000 nodes, costs of nodes
and of pairs, bytes of each node over an interval of time, a limit on their sum. They are read into the form on which
plans are searched under a memory budget (planner/solve/pairwise.py) and solved by the same code; a second, direct
reading of the contest's rules checks the answer. `FOLDER` holds `asplos-2025-iopddl-*.json.gz` (from the contest's
benchmarks folder); `final_results.csv` there, if it is there, gives the published scores of all teams.

ratio = cost / best published cost. XLA's scores are those that the organisers gave the winning team
(github.com/ti2-group/iopddl_experiments, iopddl_final_results.csv); it has none for the other problems. The contest
gave 60 to 300 seconds on 8 cores.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _harness import parser, report

from planner.solve.budget import solve_pairwise
from planner.solve.pairwise import Pairwise

BARRED = 10**17
"""Costs from here on stand for strategies that exclude each other."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXY"
WINNER = "team01"
XLA = {
    "A": 13214846074,
    "B": 990205,
    "C": 4195881092919,
    "E": 6638829816582,
    "F": 2788507105840,
    "G": 1264777,
    "H": 7746779635221,
    "I": 6552890513792,
    "P": 651833115436,
    "Q": 1995944800323,
}
OPTIMA = {"G": 217039, "B": 532843, "V": 1617084}
"""Best costs known where the contest's teams did not all reach them: proved by MILP solvers."""
TARGETS = {"G": 1.0, "B": 1.0, "V": 1.01}


@dataclass
class Instance:
    """A problem of the contest as its file has it."""

    costs: list[list[int]]
    usages: list[list[int]]
    intervals: list[tuple[int, int]]
    """Half open."""
    edges: list[tuple[int, int]]
    prices: list[list[int]]
    """By edge, over the second node's strategies within the first's."""
    limit: int | None

    @classmethod
    def read(cls, path: Path) -> Instance:
        with gzip.open(path) as file:
            problem = json.load(file)["problem"]
        nodes, edges = problem["nodes"], problem["edges"]
        return cls(
            nodes["costs"],
            nodes["usages"],
            [(a, b) for a, b in nodes["intervals"]],
            [(a, b) for a, b in edges["nodes"]],
            edges["costs"],
            problem.get("usage_limit"),
        )

    def pairwise(self) -> Pairwise:
        """In the planner's form: spans closed at both ends, infinite prices for what excludes each other."""
        steps = max((b for _, b in self.intervals), default=0) if self.limit is not None else 0
        held = [
            [(a, b - 1, np.array(usage, float))] if self.limit is not None and a < b else []
            for (a, b), usage in zip(self.intervals, self.usages, strict=True)
        ]
        form = Pairwise.of([_prices(c) for c in self.costs], held, np.full(steps, float(self.limit or 0)))
        for (a, b), prices in zip(self.edges, self.prices, strict=True):
            form.join(a, b, _prices(prices).reshape(len(self.costs[a]), len(self.costs[b])))
        return form

    def evaluate(self, choice: list[int]) -> tuple[int, int]:
        """The cost of a choice and the largest usage at any time, in whole numbers, by the contest's rules."""
        change: dict[int, int] = {}
        total = 0
        for (begin, end), costs, usages, s in zip(self.intervals, self.costs, self.usages, choice, strict=True):
            total += costs[s]
            if begin < end:
                change[begin] = change.get(begin, 0) + usages[s]
                change[end] = change.get(end, 0) - usages[s]
        for (a, b), prices in zip(self.edges, self.prices, strict=True):
            total += prices[choice[a] * len(self.costs[b]) + choice[b]]
        most = used = 0
        for when in sorted(change):
            used += change[when]
            most = max(most, used)
        return total, most


def _prices(costs: list[int]) -> np.ndarray:
    prices = np.array(costs, float)
    return np.where(prices < BARRED, prices, np.inf)


def published(folder: Path) -> dict[str, dict[str, int]]:
    """By team and problem the costs in `final_results.csv`; empty if it is not in the folder."""
    path = folder / "final_results.csv"
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    return {
        row[0]: {letter: int(cost) for letter, cost in zip(rows[0][1:], row[1:], strict=False) if cost}
        for row in rows[1:]
        if row
    }


def measure(folder: Path, letter: str, seconds: float, teams: dict[str, dict[str, int]]) -> dict[str, Any]:
    """The row of one problem."""
    known = [scores[letter] for scores in teams.values() if letter in scores]
    known += [table[letter] for table in (XLA, OPTIMA) if letter in table]
    result: dict[str, Any] = {
        "case": letter,
        "metric": "cost of the best choice found",
        "peer": min(known, default=None),
        "peer_name": "best published",
        "xla": XLA.get(letter),
        "winner": teams.get(WINNER, {}).get(letter),
        "target": TARGETS.get(letter),
        "ratio": None,
    }
    path = folder / f"asplos-2025-iopddl-{letter}.json.gz"
    if not path.exists():
        return result | {"why": f"{path.name} is not in {folder}"}
    instance = Instance.read(path)
    result |= {"nodes": len(instance.costs), "edges": len(instance.edges), "allowed_seconds": seconds}
    start = time.perf_counter()
    found = solve_pairwise(instance.pairwise(), seconds)
    result |= {"seconds": time.perf_counter() - start, "how": found.how}
    if found.states is None:
        why = "no choice within the limit was found in time" if np.isfinite(found.bound) else "proved: nothing fits"
        return result | {"bound": _finite(found.bound), "why": why}
    cost, most = instance.evaluate(found.states.tolist())
    if instance.limit is not None and most > instance.limit:
        return result | {"why": f"the answer uses {most:,}, more than the limit {instance.limit:,}"}
    result |= {"ours": cost, "bound": found.bound, "gap": 1 - found.bound / cost if cost else 0.0}
    result["proven"] = found.proven and abs(cost - found.price) <= 1e-9 * abs(cost)
    if result["xla"]:
        result["cost / xla"] = cost / result["xla"]
    if result["winner"]:
        result["cost / winner"] = cost / result["winner"]
    if not known:
        return result | {"why": "no published cost to compare with"}
    return result | {"ratio": cost / result["peer"]}


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("folder", type=Path, nargs="?", help="where the contest's files lie")
    options.add_argument("--instances", help="letters, as in G,B; by default all (with --quick G,B)")
    options.add_argument("--seconds", type=float, default=300.0, help="time for each problem")
    given = options.parse_args()
    letters = given.instances.split(",") if given.instances else list("GB" if given.quick else LETTERS)
    if given.folder is None:
        missing = {"metric": "cost of the best choice found", "ratio": None, "why": "no folder given"}
        report("iopddl", [{"case": letter} | missing for letter in letters], ("numpy", "scipy"), given.json)
        return
    teams = published(given.folder)
    rows = []
    for letter in letters:
        rows.append(measure(given.folder, letter, given.seconds, teams))
        print(_line(rows[-1]), file=sys.stderr, flush=True)
    report("iopddl", rows, ("numpy", "scipy"), given.json)


def _line(row: dict[str, Any]) -> str:
    if row["ratio"] is None:
        return f"{row['case']}: {row['why']}"
    proof = "proven optimal" if row["proven"] else f"gap {row['gap']:.2%}"
    return f"{row['case']}: {row['ours']:,} = {row['ratio']:.4f} x best known, {proof}, {row['seconds']:.1f} s"


if __name__ == "__main__":
    main()
