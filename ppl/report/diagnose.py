"""Convergence diagnostics, computed by ArviZ.

Rank-normalised split R-hat, bulk and tail effective sample size and the Monte Carlo error of the mean, all after
Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Bayesian Analysis 16(2), 667-718, doi:10.1214/20-BA1221.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import chdtrc

from ..io.arviz import import_arviz

RHAT = 1.01
ESS_PER_CHAIN = 100
"""Above the one or below the other a quantity is told (Vehtari et al. 2021)."""
TAILS = (0.05, 0.95)
"""The quantiles of the tail ESS, and of the table; the default of ArviZ 1.x follows its interval width instead."""


class Diagnostics(NamedTuple):
    """One number per element."""

    rhat: np.ndarray
    ess_bulk: np.ndarray
    ess_tail: np.ndarray
    mcse: np.ndarray


def diagnose(values: np.ndarray) -> Diagnostics:
    """R-hat, bulk and tail ESS and MCSE of the mean of `values[chain, draw, element]`.

    NaN where a number cannot be had: R-hat of one chain, anything of fewer than four draws or of values that are not
    finite. `test_report_summary.py` holds all four to ArviZ's public functions.
    """
    chains, draws, elements = values.shape
    nothing = np.full(elements, np.nan)
    usable = np.isfinite(values).all(axis=(0, 1)) & (draws >= 4)
    if not usable.any():
        return Diagnostics(nothing, nothing, nothing, nothing)
    numbers = _arviz(np.ascontiguousarray(values[..., usable], dtype=float), chains > 1)
    spread = []
    for found in numbers:
        column = nothing.copy()
        column[usable] = found
        spread.append(column)
    return Diagnostics(*spread)


@dataclass(frozen=True)
class HighRhats:
    """How many elements have an R-hat above `RHAT`."""

    count: int
    unexplained: int
    """Of these, with fewer effective draws than `ESS_PER_CHAIN`, as where chains disagree."""
    by_chance: float
    """How many of the others there would be in chains that sample one distribution."""


def high_rhats(found: Diagnostics, chains: int, draws: int) -> HighRhats:
    """Elements with a high R-hat, and how many of them chance makes.

    R-hat compares the means of the 2 m halves of m chains, each of ESS / (2 m) effective draws. With f = 2 m - 1,
    (R-hat^2 - 1 + 2 / draws) f ESS / (2 m) is then chi-squared with f degrees of freedom, as in an analysis of
    variance. The rank-normalised R-hat is the larger one of ranks, to which bulk ESS belongs, and of folded ranks, to
    which about tail ESS does. `test_report_summary.py` holds this to simulated chains.
    """
    freedom = 2 * chains - 1
    excess = (RHAT**2 - 1 + 2 / draws) * freedom / (2 * chains)
    known = np.isfinite(found.rhat)
    ess, high = np.stack([found.ess_bulk, found.ess_tail])[:, known], found.rhat[known] > RHAT
    enough = (ess >= ESS_PER_CHAIN * chains).all(axis=0)
    chance = np.minimum(chdtrc(freedom, excess * ess).sum(axis=0), 1)
    return HighRhats(int(high.sum()), int((high & ~enough).sum()), float(chance[enough].sum()))


def energy_bfmi(energy: np.ndarray) -> np.ndarray:
    """The energy Bayesian fraction of missing information of each chain of `energy[chain, draw]`.

    E-BFMI = sum((E_n - E_{n-1})^2) / sum((E_n - mean E)^2): Betancourt (2016), arXiv:1604.00695. NaN for a constant
    energy; about 2 for independent energies.
    """
    energy = np.asarray(energy, dtype=float)
    spread = np.square(energy - energy.mean(axis=1, keepdims=True)).sum(axis=1)
    change = np.square(np.diff(energy, axis=1)).sum(axis=1)
    return np.divide(change, spread, out=np.full(len(energy), np.nan), where=spread > 0)


def _arviz(values: np.ndarray, several: bool) -> list[np.ndarray]:
    """The four numbers of every element, by functions that ArviZ 0.x and 1.x both have."""
    import xarray as xr

    arviz = import_arviz()
    logger = logging.getLogger("arviz")
    level = logger.level
    dataset = xr.Dataset({"v": (("chain", "draw", "element"), values)})
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            rhat = arviz.rhat(dataset, method="rank")["v"] if several else np.full(values.shape[2], np.nan)
            bulk = arviz.ess(dataset, method="bulk")["v"]
            tail = arviz.ess(dataset, method="tail", prob=TAILS)["v"]
            return [np.asarray(v) for v in (rhat, bulk, tail, arviz.mcse(dataset, method="mean")["v"])]
        finally:
            logger.setLevel(level)
