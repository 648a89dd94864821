"""The linear regressions of posteriordb: outcome and terms of each, as in Gelman & Hill (2006) and Stan's models.

`beta[1]` multiplies the constant, `beta[2]`, … the terms in the order given here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from numpy import log, log10, mean

Formula = Callable[[SimpleNamespace], tuple[np.ndarray, list[np.ndarray]]]


@dataclass(frozen=True)
class Regression:
    """`formula` gives outcome and terms of data by Stan's names; `model` is a file of this folder."""

    formula: Formula
    model: str = "regression"

    def outcome_and_terms(self, d: SimpleNamespace) -> tuple[np.ndarray, np.ndarray]:
        """y[obs] and x[obs, term], the constant first."""
        y, terms = self.formula(d)
        return y, np.stack([np.ones_like(y), *terms], axis=1)


def sd(x: np.ndarray) -> np.floating:
    """Stan's: of a sample."""
    return np.std(x, ddof=1)


def with_interaction(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    return [a, b, a * b]


def nes(d: SimpleNamespace) -> tuple[np.ndarray, list[np.ndarray]]:
    ages = [1.0 * (d.age_discrete == k) for k in (2, 3, 4)]
    return d.partyid7, [d.real_ideo, d.race_adj, *ages, d.educ1, d.gender, d.income]


REGRESSIONS: dict[str, Regression] = {
    "earnings-earn_height": Regression(lambda d: (d.earn, [d.height])),
    "earnings-log10earn_height": Regression(lambda d: (log10(d.earn), [d.height])),
    "earnings-logearn_height": Regression(lambda d: (log(d.earn), [d.height])),
    "earnings-logearn_height_male": Regression(lambda d: (log(d.earn), [d.height, d.male])),
    "earnings-logearn_logheight_male": Regression(lambda d: (log(d.earn), [log(d.height), d.male])),
    "earnings-logearn_interaction_z": Regression(
        lambda d: (log(d.earn), with_interaction((d.height - mean(d.height)) / sd(d.height), d.male))
    ),
    "kidiq-kidscore_momhs": Regression(lambda d: (d.kid_score, [d.mom_hs]), "regression_cauchy"),
    "kidiq-kidscore_momiq": Regression(lambda d: (d.kid_score, [d.mom_iq]), "regression_cauchy"),
    "kidiq-kidscore_momhsiq": Regression(lambda d: (d.kid_score, [d.mom_hs, d.mom_iq]), "regression_cauchy"),
    "kidiq-kidscore_interaction": Regression(
        lambda d: (d.kid_score, with_interaction(d.mom_hs, d.mom_iq)), "regression_cauchy"
    ),
    "kidiq_with_mom_work-kidscore_interaction_c": Regression(
        lambda d: (d.kid_score, with_interaction(d.mom_hs - mean(d.mom_hs), d.mom_iq - mean(d.mom_iq)))
    ),
    "kidiq_with_mom_work-kidscore_interaction_c2": Regression(
        lambda d: (d.kid_score, with_interaction(d.mom_hs - 0.5, d.mom_iq - 100))
    ),
    "kidiq_with_mom_work-kidscore_interaction_z": Regression(
        lambda d: (
            d.kid_score,
            with_interaction(*((v - mean(v)) / (2 * sd(v)) for v in (d.mom_hs, d.mom_iq))),
        )
    ),
    "kidiq_with_mom_work-kidscore_mom_work": Regression(
        lambda d: (d.kid_score, [1.0 * (d.mom_work == k) for k in (2, 3, 4)])
    ),
    "mesquite-mesquite": Regression(
        lambda d: (d.weight, [d.diam1, d.diam2, d.canopy_height, d.total_height, d.density, d.group])
    ),
    "mesquite-logmesquite": Regression(
        lambda d: (
            log(d.weight),
            [*(log(v) for v in (d.diam1, d.diam2, d.canopy_height, d.total_height, d.density)), d.group],
        )
    ),
    "mesquite-logmesquite_logvolume": Regression(lambda d: (log(d.weight), [log(d.diam1 * d.diam2 * d.canopy_height)])),
    "mesquite-logmesquite_logva": Regression(
        lambda d: (log(d.weight), [log(d.diam1 * d.diam2 * d.canopy_height), log(d.diam1 * d.diam2), d.group])
    ),
    "mesquite-logmesquite_logvash": Regression(
        lambda d: (
            log(d.weight),
            [
                log(d.diam1 * d.diam2 * d.canopy_height),
                log(d.diam1 * d.diam2),
                log(d.diam1 / d.diam2),
                log(d.total_height),
                d.group,
            ],
        )
    ),
    **{f"nes{year}-nes": Regression(nes) for year in range(1972, 2004, 4)},
}
