"""A run's draws against Stan's: z-scores of means and mean squares of every quantity, effective sample sizes, R-hat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from tests.yardsticks.agree import bulk_ess, mean, rank_rhat
from tests.yardsticks.posteriordb.posteriors import Posterior
from tests.yardsticks.posteriordb.reference import Summary, spread

LIMIT = 4.0
"""Combined Monte Carlo standard errors within which two codes agree."""


@dataclass(frozen=True)
class Comparison:
    """Arrays along `names`, Stan's elements."""

    names: list[str]
    z_mean: np.ndarray
    z_mean_square: np.ndarray
    ess: np.ndarray
    rhat: np.ndarray

    def within(self) -> float:
        """The fraction of means and mean squares that agree with the reference; NaN does not."""
        return float(np.mean(np.abs([self.z_mean, self.z_mean_square]) <= LIMIT))

    def largest_z(self) -> float:
        return float(np.max(np.abs([self.z_mean, self.z_mean_square])))


def compare(case: Posterior, draws: Mapping[str, np.ndarray], reference: Summary, bias: float = 0.0) -> Comparison:
    """What draws[chain, draw, ...] of the quantities `case.keep` say beside the reference.

    bias: what an unadjusted sampler states of itself, in standard deviations of what a mean is taken of. It is taken
    off the differences.
    """
    ours = case.quantities(SimpleNamespace(**{n: draws[n] for n in case.keep}))
    x = spread(reference.names, ours)
    # The error of a mean square is that of the mean of x²: it has an effective sample size of its own.
    powers = zip((x, x**2), (reference.mean, reference.mean_square), strict=True)
    z = (mean(y).z(stans, bias * y.std(axis=(0, 1))) for y, stans in powers)
    return Comparison(reference.names, *z, bulk_ess(x), rank_rhat(x))
