"""Pareto-smoothed importance sampling of draws from an approximation (Vehtari et al. 2024, JMLR 25(72)), by ArviZ.

The weight of a draw is the posterior's density over the approximation's; the shape k of the generalised Pareto
distribution that their tail follows says how far the approximation can be trusted: below 0.7 weighted means are
reliable, above it the approximation misses a part of the posterior that draws cannot make good.
"""

from __future__ import annotations

import warnings

import numpy as np

from ..io.arviz import arviz_major, import_arviz
from ..io.draws import Draws, Variable

KHAT = 0.7
LEAST = 25
"""Draws below which no tail can be fitted."""


def smooth(log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(smoothed normalised log weights [..., draw], k-hat [...]) of log weights [..., draw], finite or -inf."""
    log_weights = np.array(log_weights, float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if arviz_major() >= 1:
            from arviz_stats.base import array_stats  # pyright: ignore[reportMissingImports]

            made, shape = array_stats.psislw(log_weights, axis=-1)
        else:
            made, shape = import_arviz().psislw(log_weights)
    return np.asarray(made), np.asarray(shape)


def khats(log_weights: np.ndarray) -> np.ndarray:
    """k-hat of each chain of `log_weights[chain, draw]`; NaN for too few draws or weights that are not finite.

    Weights that are equal to rounding, as those of an exact approximation, have no tail: k-hat is -inf.
    """
    found = np.full(len(log_weights), np.nan)
    for chain, row in enumerate(np.asarray(log_weights, float)):
        if len(row) < LEAST or not np.isfinite(row).all():
            continue
        found[chain] = float(smooth(row)[1]) if np.ptp(row) > 1e-6 else -np.inf
    return found


def pool(draws: Draws, seed: int = 0, count: int | None = None) -> Draws:
    """Draws of all chains resampled by their smoothed weights, as one chain: multi-path Pathfinder's last step.

    `count` draws with replacement (default: as many as a chain has). Needs the statistic `log_weight`, comparable
    between chains, as `pathfinder`, `advi` and a dense `laplace` give it. A chain whose path ended in a worse place
    hardly enters. The result's attributes have `pareto_k` of the pooled weights.
    """
    weights = draws.statistic("log_weight")
    if weights is None:
        from ir.errors import Diagnostic

        hint = "pathfinder, advi and laplace tell the weights of their draws"
        raise Diagnostic("argument", "the draws of this run have no weights to resample them by", hint=hint)
    flat = np.asarray(weights, float).reshape(-1)
    usable = np.isfinite(flat)
    if usable.sum() < LEAST:
        from ir.errors import Diagnostic

        raise Diagnostic("run", f"only {usable.sum()} draws have a finite weight", hint="draw more, or look at the fit")
    made, shape = smooth(flat[usable])
    probability = np.zeros(len(flat))
    probability[usable] = np.exp(made - made.max())
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(flat), count or weights.shape[1], p=probability / probability.sum())
    sampled = ("posterior", "sample_stats", "posterior_predictive", "log_likelihood")

    def take(v: Variable) -> Variable:
        whole = v.values
        return Variable(v.dims, whole.reshape(-1, *whole.shape[2:])[chosen][None])

    groups = {g: {n: take(v) for n, v in vs.items()} if g in sampled else vs for g, vs in draws.groups.items()}
    return Draws(groups, draws.coords, {**draws.attrs, "pareto_k": float(shape)})
