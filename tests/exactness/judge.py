"""How a run is held to a case: statistics in posterior deviations, their Monte Carlo errors, and what may be off.

False alarms: |z| of 4.5 is exceeded once in 150,000. The statistics of a case number up to 100 and those of all cells
about 3500: with other seeds than these one cell in a run of fifty would fail for no reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import stats

from ppl.infer.isokinetic import squared_bias
from tests.exactness.case import Case
from tests.yardsticks.agree import mean

Z = 4.5
SINGLE, EXTENSIVE = 3.0, 10.0
"""What an unadjusted sampler states is the root mean square of the biases; a single one may be so many times that. That
of a hyper-parameter grows with the latents that depend on it: each of them tilts its marginal density by a little."""


@dataclass(frozen=True)
class Verdict:
    """What was found. worst_z: the largest deviation in units of its error; error: the largest error, in posterior
    deviations, and 1 / error^2 the draws' worth in independent ones; bias: root mean square of deviations, after what
    the errors explain, and bound: what it may be."""

    worst_z: float
    label: str
    error: float
    bias: float | None = None
    bound: float | None = None
    failures: list[str] = field(default_factory=list)
    told: str = ""

    def __str__(self) -> str:
        text = f"worst |z| {self.worst_z:.2f} ({self.label}), least effective draws {self.error**-2:.0f}"
        if self.bound is not None:
            text += f", bias {self.bias:.1%} of at most {self.bound:.1%}"
        return f"{text}{'; ' if self.told else ''}{self.told}"


def by_chains(case: Case, result: Any, tolerance: float) -> Verdict:
    """Exact samplers: every statistic within Z errors, and Z errors no more than the tolerance."""
    shift, error = _estimate(case, result)
    others = {n: np.ravel(z) for n, z in case.others(_draws(result)).items()}
    labels = case.labels + [f"{n}[{i}]" for n, z in others.items() for i in range(len(z))]
    return _verdict(np.concatenate([shift / error, *others.values()]), labels, error, tolerance)


def unadjusted(
    case: Case, result: Any, tolerance: float, single: float = SINGLE, told_as: str = "energy_variance"
) -> Verdict:
    """The root mean square of the biases of latents' moments within what the run's energy errors state; that of one
    moment within `single` times that, and `worst_z` is of the rest. A mean over n latents' moments, all off by the same
    part of their deviation, is off by sqrt(n) times that part of its own."""
    shift, error = _estimate(case, result)
    realised = float(result.draws.statistic(told_as).mean())
    bound = squared_bias(realised) ** 0.5
    rest = np.sign(shift) * np.maximum(abs(shift) - single * bound * case.latents**0.5, 0) / error
    made = _verdict(rest, case.labels, error, tolerance)
    size = case.latents.sum()
    explained = np.sum(error**2) / size
    bias = max(np.sum(shift**2) / size - explained, 0.0) ** 0.5
    # Errors alone come to this: the mean of squares of normals, as if as many were independent as there are statistics.
    slack = (explained * (stats.chi2.isf(stats.norm.sf(Z), len(shift)) / len(shift) - 1)) ** 0.5
    failures = made.failures + ([f"bias {bias:.3f} above {bound:.3f} + {slack:.3f}"] if bias > bound + slack else [])
    largest = float(np.max(abs(shift) / case.latents**0.5))
    told = f"energy variance {realised:.1e}, largest bias {largest:.1%}"
    return Verdict(made.worst_z, made.label, made.error, bias, bound, failures, told)


def by_populations(case: Case, results: Sequence[Any], tolerance: float) -> Verdict:
    """Populations have errors only by their scatter: Student's t, as the z of the same probability. Their evidence,
    whose logarithm is low by half its variance, is a statistic too."""
    means = np.array([case.standard(_draws(r)).mean(axis=(0, 1)) for r in results])
    labels, size = list(case.labels), len(results)
    error = means.std(axis=0, ddof=1) / size**0.5
    t = means.mean(axis=0) / error
    if case.log_evidence is not None:
        told = np.array([r.draws.attrs["log_evidence"] for r in results])
        off = told - case.log_evidence + 0.5 * told.var(ddof=1)
        t, labels = np.append(t, off.mean() / (off.std(ddof=1) / size**0.5)), [*labels, "log evidence"]
    z = np.sign(t) * stats.norm.isf(stats.t(size - 1).sf(abs(t)))
    return _verdict(z, labels, error, tolerance)


def fitted(case: Case, result: Any, tolerance: float) -> Verdict:
    """Approximations that come close to their answer, but for the noise of their optimiser: all chains together within
    the tolerance. Draws are independent."""
    draws = case.standard(_draws(result))
    shift, error = draws.mean(axis=(0, 1)), draws.std(axis=1).mean(axis=0) / (draws.shape[0] * draws.shape[1]) ** 0.5
    rest = np.sign(shift) * np.maximum(abs(shift) - tolerance, 0) / error
    made = _verdict(rest, case.labels, error, tolerance)
    bias = float(np.sqrt(np.mean(shift**2)))
    return Verdict(made.worst_z, made.label, made.error, bias, tolerance, made.failures + _unconverged(result))


def normal(case: Case, result: Any, tolerance: float) -> Verdict:
    """Independent draws of a normal, whose evidence is exact where it is told: for all draws, or in their mean."""
    made = by_chains(case, result, tolerance)
    failures = made.failures + _unconverged(result)
    told = result.draws.statistic("log_evidence")
    if told is None or case.log_evidence is None:
        return replace(made, failures=failures)
    off, error = told.mean() - case.log_evidence, told.std() / told.size**0.5
    if not abs(off) < 1e-5 + Z * error:
        failures = [*failures, f"log evidence off by {off:.1e}"]
    return replace(made, failures=failures, told=f"log evidence off by {off:.0e} ± {error:.0e}")


def at_the_mode(case: Case, result: Any, tolerance: float) -> Verdict:
    """All chains at the mode, within so many posterior deviations."""
    assert case.from_mode is not None
    off = float(abs(case.from_mode(_draws(result))).max())
    failures = _unconverged(result) + ([f"off by {off:.1e}"] if not off < tolerance else [])
    return Verdict(0.0, "mode", 1.0, bias=off, bound=tolerance, failures=failures)


def reported(case: Case, result: Any, tolerance: float) -> Verdict:
    """A sampler that cannot be exact here: the run must say so, as a problem, by its trajectories too and not by the
    chains alone. What it is off by is told and free."""
    shift, error = _estimate(case, result)
    problems = [f.what for f in result.warnings() if f.severity == "problem"]
    trajectories = [f.what for f in result.warnings() if "diverged" in f.what or "E-BFMI" in f.what]
    failures = [] if problems and trajectories else [f"only this is reported: {result.warnings()}"]
    told = f"off by up to {abs(shift).max():.1f} deviations; " + "; ".join(trajectories)
    return Verdict(0.0, "free", float(error.max()), failures=failures, told=told)


def _draws(result: Any) -> dict[str, np.ndarray]:
    return {n: v.values for n, v in result.draws["posterior"].items()}


def _estimate(case: Case, result: Any) -> tuple[np.ndarray, np.ndarray]:
    found = mean(case.standard(_draws(result)))
    return found.value, found.error


def _verdict(z: np.ndarray, labels: list[str], error: np.ndarray, tolerance: float) -> Verdict:
    at, largest = int(np.argmax(np.where(np.isfinite(z), abs(z), np.inf))), float(np.max(error))
    failures = [] if abs(z[at]) < Z else [f"{labels[at]} is off by {z[at]:.1f} errors"]
    if not largest * Z <= tolerance:
        failures.append(f"{Z} errors are {Z * largest:.3f} deviations, more than {tolerance}")
    return Verdict(float(abs(z[at])), labels[at], largest, failures=failures)


def _unconverged(result: Any) -> list[str]:
    converged = result.draws.statistic("converged")
    return [] if converged is None or converged.all() else ["not converged"]
