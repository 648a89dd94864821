"""Findings about samplers that are not Metropolis-adjusted: how far off their draws may be."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..infer.isokinetic import energy_variance, squared_bias
from ..io.draws import Draws
from .finding import Finding, told_chains

EXCESS, REJECTED = 2.0, 1e-3
"""Of unadjusted samplers: energy errors so many times larger than asked for, and a part of steps undone, are told."""
ADDED = 0.1
"""A bias of a hyper-parameter, in its standard deviations, that may be there is told."""


def unadjusted(draws: Draws) -> Iterator[Finding]:
    """What energy errors and undone steps say about the bias of the draws; nothing of adjusted samplers."""
    yield from _beside_a_field(draws)
    variance, wanted = draws.statistic("energy_variance"), draws.attrs.get("energy_variance")
    if variance is None or wanted is None:
        return
    mean = variance.mean(axis=1)
    large = np.flatnonzero(~(mean <= EXCESS * wanted))
    if large.size:
        worst = float(np.nanmax(mean)) if np.isfinite(mean).any() else float("nan")
        yield Finding(
            "problem",
            f"Energy errors are larger than asked for in {told_chains(large)}: {worst:.1e} per dim instead of "
            f"{wanted:.1e}; second moments are biased by about {squared_bias(worst) ** 0.5:.0%} of their spread, not "
            f"{squared_bias(wanted) ** 0.5:.0%}",
            "The sampler is not Metropolis-adjusted and its step is too long for what the posterior turned out to be. "
            "Lengthen the warm-up, set a smaller energy_variance, or let ppl.mams, which is exact, follow it.",
            tuple(f"chain {c}" for c in large.tolist()),
        )
    rejected = draws.statistic("rejected")
    if rejected is None:
        return
    share = rejected.mean(axis=1)
    often = np.flatnonzero(share > REJECTED)
    if often.size:
        yield Finding(
            "problem" if share.max() > 10 * REJECTED else "caution",
            f"Steps of far too large energy errors were undone, up to {share.max():.1%} of all, in "
            f"{told_chains(often)}",
            "Regions where the posterior is narrow are visited too rarely, which hyper-parameters feel first. Write "
            "hierarchical parameters non-centred (@noncentered), lengthen the warm-up, or set a smaller "
            "energy_variance; ppl.mams or ppl.nuts tell whether it matters.",
            tuple(f"chain {c}" for c in often.tolist()),
        )


def _beside_a_field(draws: Draws) -> Iterator[Finding]:
    """The bias that a hyper-parameter may have.

    With its score s = sum_i s_i(x_i) over the n latents of a field, its mean is off by sum_i (bias of s_i) / sd(s) of
    its standard deviations. If each s_i is off by q sd(s_i) in root mean square, that is at most q sqrt(n) (Cauchy and
    Schwarz): the more latents, the worse, though each is off as little.
    """
    stats = draws["sample_stats"]
    found = [v.values for n, v in stats.items() if n == "energy_variance" or n.startswith("energy_variance_")]
    size, beside = draws.attrs.get("field_size"), draws.attrs.get("beside_field")
    if not found or not size or not beside:
        return
    q = squared_bias(max(float(np.nanmax(x.mean(axis=1))) for x in found)) ** 0.5
    bound = q * math.sqrt(size)
    if bound <= ADDED:
        return
    needed = energy_variance(ADDED / math.sqrt(size))
    yield Finding(
        "caution",
        f"{', '.join(beside[:4])}{', …' if len(beside) > 4 else ''} may be off by more than the {q:.0%} that hold for "
        f"one latent: what all {size:,} latents of the field pull alike adds up, to {bound:.2g} posterior standard "
        "deviations at most",
        "The sampler is not Metropolis-adjusted. Let ppl.mams, which is exact, follow it (mclmc() >> mams()); "
        f"energy_variance = {needed:.0e} would keep the bound below {ADDED:g}.",
        tuple(beside),
    )
