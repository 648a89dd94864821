"""What is wrong with a run, in plain words, each with what to do about it.

Thresholds: R-hat 1.01 and 100 effective draws per chain (Vehtari et al. 2021, doi:10.1214/20-BA1221), E-BFMI 0.3
(Betancourt 2016, arXiv:1604.00695). A run without a finding is not proven right; a run with one is not to be trusted
as it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from scipy.special import pdtrc

from ..io.draws import Draws
from .diagnose import ESS_PER_CHAIN, RHAT, HighRhats, energy_bfmi
from .divergence import where_most
from .finding import Finding, told_chains
from .psis import KHAT, khats
from .summary import FieldRow, Summary, summarize
from .unadjusted import unadjusted

BFMI = 0.3
ACCEPTANCE_MARGIN = 0.1
"""A mean acceptance this far from its target says that the step size was not adapted to the end."""
IDLE = 0.1
"""Acceptance counts as far above target when less than this part of the rejections aimed at is left: dual averaging
commonly ends some way above its target (0.94 for 0.8), in other samplers too."""
VIRIAL, VIRIAL_ERRORS = 0.1, 5.0
"""Equipartition is told to fail when it is off by more than this part and by so many standard errors."""


def find_warnings(
    draws: Draws,
    summary: Summary | None = None,
    target_acceptance: float | None = None,
    max_tree_depth: int | None = None,
) -> list[Finding]:
    """All findings of a run, problems first. Targets that are not given are taken from the attributes of the run."""
    summary = summarize(draws) if summary is None else summary
    target = target_acceptance if target_acceptance is not None else draws.attrs.get("target_acceptance")
    depth = max_tree_depth if max_tree_depth is not None else draws.attrs.get("max_tree_depth")
    found = [
        *_not_finite(draws, summary),
        *_beyond(draws),
        *_stuck(draws),
        *_mixing(summary, bool(draws.attrs.get("population")), sampled=draws.statistic("mean_lp") is not None),
        *_divergences(draws),
        *_depth(draws, depth),
        *_energy(draws),
        *_acceptance(draws, target),
        *unadjusted(draws),
        *_equipartition(draws),
        *_unconverged(draws),
        *_failed(draws),
        *_weights(draws),
    ]
    return sorted(found, key=lambda f: f.severity != "problem")


def _not_finite(draws: Draws, summary: Summary) -> Iterator[Finding]:
    bad = [r.name for r in summary.rows if not np.isfinite(r.mean)]
    bad += [f.name for f in summary.fields if not np.isfinite(f.mean[0])]
    lp = draws.statistic("lp")
    bad += ["the log density"] if lp is not None and not np.isfinite(lp).all() else []
    if bad:
        yield Finding(
            "problem",
            f"Draws that are not finite (NaN or inf) in {_names(bad)}",
            "Look for a logarithm or square root of what can become zero or negative, a division by what can vanish, "
            "or an exponential that overflows; run again in float64 (--dtype float64) to tell rounding from a mistake.",
            tuple(bad),
        )


def _beyond(draws: Draws) -> Iterator[Finding]:
    """Proposals that devices had no room for: the draws are of a posterior that is cut there."""
    if told := draws.attrs.get("beyond"):
        advice = "Write that in the model and run again, or run on fewer devices; the posterior is cut off there."
        yield Finding("problem", str(told)[:1].upper() + str(told)[1:], advice)


def _stuck(draws: Draws) -> Iterator[Finding]:
    """A chain that never moves while the quantity is not a constant of the model."""
    if draws.statistic("gradient_norm") is not None:
        return  # draws of a fit: those of `map` are all the mode
    chains: set[int] = set()
    for variable in draws["posterior"].values():
        if variable.data.dtype.kind not in "fc" or draws.num_draws < 2 or 0 in variable.shape:
            continue
        first = np.asarray(variable.data[(slice(None), slice(None), *(0 for _ in variable.event_dims))])
        still = (first == first[:, :1]).all(axis=1)
        if still.all() and (first == first[0, 0]).all():
            continue
        chains |= set(np.flatnonzero(still).tolist())
    if chains:
        yield Finding(
            "problem",
            f"Every draw is the same in {told_chains(chains)}, which did not move",
            "It started where the gradient is not usable, or its step size is far too large. Start from other initial "
            "values (draws of the prior, or a MAP estimate), or lengthen the warm-up.",
            tuple(f"chain {c}" for c in sorted(chains)),
        )


def _more_than_chance(high: HighRhats) -> bool:
    """Whether there are more elements with a high R-hat than effective draws explain.

    Elements are correlated: twice as many as expected are taken for the mean of a Poisson distribution, of whose draws
    one in a hundred has so many.
    """
    return high.unexplained > 0 or (high.count > 0 and bool(pdtrc(high.count - 1, 2 * high.by_chance) < 0.01))


def _share(field: FieldRow) -> str:
    count, chance = field.high.count, field.high.by_chance
    return f": {count:,} of {field.checked:,} elements, of which chance makes about {chance:.{chance < 10:d}f}"


def _mixing(summary: Summary, population: bool, sampled: bool) -> Iterator[Finding]:
    """`sampled`: every chain's draws are of a fit to samples of its own, and independent."""
    high = [(r.rhat, r.name, "") for r in summary.rows if r.rhat > RHAT]
    # The largest of thousands of R-hats exceeds the threshold now and then by chance; their median does not.
    spread = [f for f in summary.fields if f.rhat[1] > RHAT]
    clear = bool(high or spread)
    high += [(f.rhat[2], f.name, _share(f)) for f in summary.fields if f in spread or _more_than_chance(f.high)]
    high.sort(reverse=True)
    if high:
        yield Finding(
            "problem" if clear else "caution",
            f"The chains do not agree: R-hat is above {RHAT} for {_names([n for _, n, _ in high])} "
            f"(largest {high[0][0]:.3f}, for {high[0][1]}{high[0][2]})",
            "Every chain's mean is fitted to samples of its own, too few of them. Raise `samples` (four times as many "
            "halve the differences); if they stay, the fits ended in different places: start from map."
            if sampled
            else "The draws are not yet from one distribution. Run longer (more warm-up and more draws); if it stays, "
            "look at the trace plot: chains in different places mean several modes or a parameter that the data do not "
            "determine, slow drift means a model to be reparameterised.",
            tuple(n for _, n, _ in high),
        )
    needed = ESS_PER_CHAIN * summary.num_chains
    least = [(min(r.ess_bulk, r.ess_tail), r.name) for r in summary.rows]
    least += [(min(f.ess_bulk[0], f.ess_tail[0]), f.name) for f in summary.fields]
    low = sorted((ess, name) for ess, name in least if ess < needed)
    if low and not (high and sampled):
        yield Finding(
            "caution" if low[0][0] > needed / 4 else "problem",
            f"Few effective draws: fewer than {needed} ({ESS_PER_CHAIN} per chain) for {_names([n for _, n in low])} "
            f"(least {low[0][0]:.0f}, for {low[0][1]})",
            f"Means and quantiles of these are uncertain, and so is R-hat. Run about {_factor(needed, low[0][0])} "
            "times as many draws; thinning does not help.",
            tuple(n for _, n in low),
        )
    if summary.num_chains == 1 and not population:
        yield Finding("caution", "Only one chain was run: R-hat cannot be computed", "Run four chains.")
    if summary.num_chains == 1 and population:
        advice = "Compare the means and the evidence of two seeds, or of twice the particles."
        yield Finding("caution", "One population was run: R-hat says nothing of it", advice)


def _divergences(draws: Draws) -> Iterator[Finding]:
    diverging = draws.statistic("diverging")
    if diverging is None or not diverging.any() or draws.statistic("energy_variance") is not None:
        return
    count, share = int(diverging.sum()), float(diverging.mean())
    each, place = ", ".join(str(int(n)) for n in diverging.sum(axis=1)), where_most(draws, diverging)
    told = f", {place}" if place else ""
    yield Finding(
        "problem",
        f"{count} of {diverging.size} trajectories diverged ({share:.1%}; by chain {each}){told}",
        "The sampler meets a region that it cannot follow, and the draws leave it out: estimates are biased. Write "
        "hierarchical parameters non-centred (@noncentered), raise the target acceptance to 0.95 or 0.99, or give "
        "weakly informative priors to scales. More draws do not help.",
        tuple(f"chain {c}" for c in np.flatnonzero(diverging.any(axis=1)).tolist()),
    )


def _depth(draws: Draws, max_tree_depth: int | None) -> Iterator[Finding]:
    reached = draws.statistic("reached_max_treedepth")
    depth = draws.statistic("tree_depth")
    if reached is None and depth is not None and max_tree_depth is not None:
        reached = depth >= max_tree_depth
    if reached is None or not reached.any():
        return
    limit = f" of {max_tree_depth}" if max_tree_depth is not None else ""
    yield Finding(
        "caution",
        f"{int(reached.sum())} of {reached.size} trajectories ended at the depth limit{limit} ({reached.mean():.1%})",
        "The results are valid, and each draw costs more than it should: scales differ much between parameters. "
        "Lengthen the warm-up, reparameterise, or raise max_tree_depth.",
    )


def _energy(draws: Draws) -> Iterator[Finding]:
    energy = draws.statistic("energy")
    if energy is None or energy.shape[1] < 10 or not np.isfinite(energy).all():
        return
    bfmi = energy_bfmi(energy)
    low = np.flatnonzero(bfmi < BFMI)
    if low.size:
        yield Finding(
            "caution",
            f"E-BFMI is below {BFMI} in {told_chains(low)} (least {np.nanmin(bfmi):.2f})",
            "The energy is explored slowly: the posterior has tails or funnels that a fresh momentum does not bridge. "
            "Reparameterise (non-centred scales, a lighter-tailed prior) or lengthen the warm-up.",
            tuple(f"chain {c}" for c in low.tolist()),
        )


def _acceptance(draws: Draws, target: float | None) -> Iterator[Finding]:
    acceptance = draws.statistic("acceptance_rate")
    if acceptance is None or target is None:
        return
    mean = acceptance.mean(axis=1)
    low = np.flatnonzero(mean < target - ACCEPTANCE_MARGIN)
    high = np.flatnonzero((1 - mean) < (1 - target) * IDLE)
    if low.size:
        yield Finding(
            "caution",
            f"Acceptance is as low as {mean.min():.2f} in {told_chains(low)}, far below its target {target:g}",
            "The step size fits the warm-up and not the posterior: lengthen the warm-up.",
            tuple(f"chain {c}" for c in low.tolist()),
        )
    if high.size:
        yield Finding(
            "caution",
            f"Acceptance is as high as {mean.max():.2f} in {told_chains(high)}, far above its target {target:g}",
            "Steps are shorter than they need be, which costs time and not correctness: lengthen the warm-up.",
            tuple(f"chain {c}" for c in high.tolist()),
        )


def _equipartition(draws: Draws) -> Iterator[Finding]:
    """Large sites whose draws spread otherwise than the posterior's gradient says (see `ppl.infer.virial`)."""
    for site, told in (draws.attrs.get("virial") or {}).items():
        mean, error = told["mean"], told["error"]
        if mean is None or error is None or abs(mean - 1) <= max(VIRIAL, VIRIAL_ERRORS * error):
            continue
        yield Finding(
            "problem",
            f"Equipartition fails for {site}: the mean of -(x - c) times the gradient is {mean:.2f} ± {error:.2g} per "
            "dim instead of 1",
            f"Its draws are spread {'less' if mean < 1 else 'more'} widely than the posterior is. Either the chains "
            "have not reached it (lengthen the warm-up, or start from map or pathfinder), or they hardly move (more "
            "draws), or steps of an unadjusted sampler are too long (a smaller energy_variance, or ppl.mams).",
            (site,),
        )
    yield from _equipartition_of_bands(draws)


def _equipartition_of_bands(draws: Draws) -> Iterator[Finding]:
    """The same for the plane waves of a band of wavenumbers."""
    for site, told in (draws.attrs.get("virial") or {}).items():
        bad = []
        for band in told.get("bands", ()):
            mean, error = band["mean"], band["error"]
            if mean is not None and error is not None and abs(mean - 1) > max(VIRIAL, VIRIAL_ERRORS * error):
                bad.append(f"{band['low']:.2g} to {band['high']:.2g}: {mean:.2f} ± {error:.2g}")
        if bad:
            yield Finding(
                "problem",
                f"Equipartition fails for waves of {site}, by cycles per element ({'; '.join(bad)}) instead of 1",
                "Below 1 these scales are spread less widely than the posterior is: the chains have not come to them, "
                "or move along them slowly. Lengthen the warm-up, draw more, or write the field so that its prior is "
                "white.",
                (site,),
            )


def _unconverged(draws: Draws) -> Iterator[Finding]:
    """Optimisers and approximations that ended before they met their criteria."""
    converged = draws.statistic("converged")
    if converged is None or converged.all():
        return
    bad = np.flatnonzero(~converged.all(axis=1))
    yield Finding(
        "problem",
        f"The fit has not converged in {told_chains(bad)}",
        "Its draws are of wherever it stopped. Give it more iterations (warmup), other starting values, or another "
        "optimiser; if the log density rises without end, the posterior has no mode: give every quantity a proper "
        "prior. For laplace with Lanczos draws, raise `steps`; for mgvi, whose solutions may not have converged, "
        "`iterations`.",
        tuple(f"chain {c}" for c in bad.tolist()),
    )


def _failed(draws: Draws) -> Iterator[Finding]:
    """Fits that met a value that is not finite, or a curvature that no normal has."""
    failed = draws.statistic("failed")
    if failed is None or not failed.any():
        return
    bad = np.flatnonzero(failed.any(axis=1))
    yield Finding(
        "problem",
        f"The approximation fails in {told_chains(bad)} ({int(failed.sum())} of {failed.size} draws): the log density "
        "at the draw is not finite, or the curvature at the mode is not that of a maximum",
        "The posterior is not like a normal there. Use pathfinder or advi, or draw with nuts.",
        tuple(f"chain {c}" for c in bad.tolist()),
    )


def _weights(draws: Draws) -> Iterator[Finding]:
    """The tail of the importance weights of an approximation's draws."""
    log_weight = draws.statistic("log_weight")
    if log_weight is None:
        return
    k = khats(log_weight)
    bad = np.flatnonzero(k > KHAT)
    if bad.size:
        yield Finding(
            "problem" if bad.size == len(k) else "caution",
            f"The approximation is poor in {told_chains(bad)}: Pareto k-hat is {np.nanmax(k):.2f}, above {KHAT}",
            "It misses a part of the posterior, and its means and intervals are those of the approximation. Start "
            "nuts from it, try a richer one (mgvi, advi with a rank), or write scales non-centred.",
            tuple(f"chain {c}" for c in bad.tolist()),
        )


def _factor(needed: float, have: float) -> str:
    return f"{max(2, int(np.ceil(needed / max(have, 1.0))))}"


def _names(names: Iterable[str], limit: int = 4) -> str:
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
