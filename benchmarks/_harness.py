"""What every benchmark shares: command-line options, alternating timings, the JSON of results."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def parser(doc: str) -> argparse.ArgumentParser:
    """The options that every benchmark has; one with more adds them."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller repeats")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    return parser


def arguments(doc: str) -> argparse.Namespace:
    return parser(doc).parse_args()


def alternate(
    functions: dict[str, Callable[[], Any]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each function, called in turn A B A B … after one call of each that is not counted.

    `time.process_time` as the clock counts the process's CPU time instead, which other load disturbs less.
    """
    for f in functions.values():
        f()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, f in functions.items():
            start = clock()
            f()
            seconds[name].append(clock() - start)
    return seconds


def row(
    case: str, metric: str, seconds: dict[str, list[float]], scale: float, peer: str, target: float
) -> dict[str, Any]:
    """A row of two alternated timings named "ours" and "peer": medians, and the median of the pairwise ratios."""
    ratios = [a / b for a, b in zip(seconds["ours"], seconds["peer"], strict=True)]
    return {
        "case": case,
        "metric": metric,
        "ours": statistics.median(seconds["ours"]) / scale,
        "peer": statistics.median(seconds["peer"]) / scale,
        "peer_name": peer,
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "target": target,
    }


def report(name: str, rows: list[dict[str, Any]], packages: tuple[str, ...], path: Path | None) -> None:
    """Prints the results as JSON, and writes them where asked."""
    print(document(name, rows, packages))
    write(name, rows, packages, path)


def write(name: str, rows: list[dict[str, Any]], packages: tuple[str, ...], path: Path | None) -> None:
    """Writes the results so far where asked, so that a long benchmark that is stopped leaves what it has measured."""
    if path is not None:
        path.write_text(document(name, rows, packages) + "\n", encoding="utf-8")


def document(name: str, rows: list[dict[str, Any]], packages: tuple[str, ...]) -> str:
    """The results as JSON, with the versions of what was measured."""
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    machine = f"{platform.machine()}, {platform.system()}"
    return json.dumps({"name": name, "machine": machine, "versions": versions, "rows": rows}, indent=1)
