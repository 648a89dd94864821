"""The result of a run: draws, summary, warnings, and ways to take them elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .io.draws import Draws
from .report.html import write_report
from .report.psis import pool
from .report.summary import Summary, summarize
from .report.warnings import find_warnings

if TYPE_CHECKING:
    from .infer.options import Common
    from .infer.protocol import Handover
    from .posterior import Posterior


@dataclass(frozen=True, eq=False)
class Result:
    """Draws of a posterior. `result["mu"]` is an array [chain, draw, ...]."""

    posterior: Posterior
    options: Common
    draws: Draws
    seed: int
    notes: list[str]
    interrupted: bool = False
    handover: Handover | None = None
    """Where the chains ended, with what was learnt of the posterior's scales: `posterior.run(..., init=result)`."""

    def __getitem__(self, name: str) -> np.ndarray:
        return self.draws["posterior"][name].values

    def summary(self, names: Iterable[str] | None = None) -> Summary:
        """Mean, sd, quantiles, R-hat, bulk and tail ESS and MCSE of every quantity, or of those named."""
        return summarize(self.draws, names=names)

    def warnings(self) -> list[Any]:
        """What a person should know before using the draws, in plain sentences."""
        return find_warnings(self.draws, summarize(self.draws))

    def pooled(self, seed: int = 0, count: int | None = None) -> Draws:
        """The draws of an approximation's chains, resampled by their importance weights: see `ppl.report.psis.pool`."""
        return pool(self.draws, seed, count)

    def to_arviz(self) -> Any:
        """`InferenceData` (ArviZ 0.x) or `DataTree` (1.x), with every group."""
        return self.draws.to_arviz()

    def report(self, path: str | Path, truth: Mapping[str, Any] | None = None) -> Path:
        """Writes the report of the run as one HTML file; `truth` marks the values a simulation was made with."""
        return write_report(self.draws, path, truth=truth)

    def save(self, folder: str | Path) -> Path:
        """Writes the run folder of a result that was kept in memory: draws, model, plan and report."""
        from .folder import write_folder

        return write_folder(self, folder)
