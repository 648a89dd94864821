"""Plots of scalars and of the sampler: density, trace and ranks of a quantity; the energies."""

from __future__ import annotations

from typing import Any

import numpy as np

from .diagnose import energy_bfmi
from .figure import ALARM, INK, TRUTH, colour, drawing, new_figure, to_svg


def plot_scalar(name: str, values: np.ndarray, diverging: np.ndarray | None = None, truth: float | None = None) -> str:
    """Density, trace and ranks of `values[chain, draw]`, with the true value and the divergences where known."""
    with drawing():
        # Margins by hand, so that the panels of one quantity stand exactly below those of another.
        figure = new_figure(10.4, 1.8, layout="none")
        margins = {"left": 0.008, "right": 0.988, "bottom": 0.15, "top": 0.87, "wspace": 0.0}
        density, _, trace, _, ranks = figure.subplots(1, 5, width_ratios=(1, 0.24, 2.2, 0.1, 1), gridspec_kw=margins)
        for gap in figure.axes[1::2]:
            gap.remove()
        _density(density, values, truth)
        _trace(trace, values, diverging, truth)
        _ranks(ranks, values)
        density.set_title(name, fontweight="bold")
        trace.set_title("trace")
        ranks.set_title("ranks")
        return to_svg(figure, f"density, trace and ranks of {name}")


def plot_energy(energy: np.ndarray) -> str:
    """The marginal energies against their changes: alike when momentum refreshes carry the chain everywhere."""
    with drawing():
        figure = new_figure(5.2, 2.3)
        axes = figure.subplots()
        marginal = (energy - energy.mean(axis=1, keepdims=True)).ravel()
        change = np.diff(energy, axis=1).ravel()
        edges = np.histogram_bin_edges(np.concatenate([marginal, change]), bins=50)
        for values, label, tone in ((marginal, "energy − mean", colour(0)), (change, "change of energy", colour(1))):
            axes.hist(values, edges, density=True, histtype="stepfilled", alpha=0.35, color=tone)
            axes.hist(values, edges, density=True, histtype="step", color=tone, label=label)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_title(f"energy, smallest E-BFMI {np.nanmin(energy_bfmi(energy)):.2f}")
        axes.legend(fontsize=8)
        return to_svg(figure, "histograms of the energy and of its changes")


def plot_curve(name: str, dim: str, along: np.ndarray, band: np.ndarray, truth: np.ndarray | None = None) -> str:
    """A 1-D quantity: median and 5 to 95 % band (`band[3, element]`) along its dim, by number or by label."""
    few = len(along) <= 40
    numeric = along.dtype.kind in "iuf"
    x = along if numeric else np.arange(len(along))
    with drawing():
        figure = new_figure(10.4, 2.3)
        axes = figure.subplots()
        if few:
            axes.vlines(x, band[0], band[2], color=colour(0), linewidth=1.4)
            axes.plot(x, band[1], "o", color=colour(0), markersize=4, label="median, 5–95 %")
        else:
            axes.fill_between(x, band[0], band[2], color=colour(0), alpha=0.3, linewidth=0)
            axes.plot(x, band[1], color=colour(0), label="median, 5–95 %")
        if truth is not None:
            mark = {"marker": "_", "linestyle": "", "markersize": 11} if few else {"linewidth": 0.8}
            axes.plot(x, truth, color=TRUTH, label="truth", zorder=3, **mark)
        if few and not numeric:
            steep = sum(len(str(label)) for label in along) > 110
            axes.set_xticks(
                x, [str(label) for label in along], rotation=60 if steep else 0, ha="right" if steep else "center"
            )
        axes.set_title(name, fontweight="bold")
        axes.set_xlabel(dim)
        axes.legend(fontsize=8, ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
        return to_svg(figure, f"median and 90 percent band of {name}")


def _density(axes: Any, values: np.ndarray, truth: float | None) -> None:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return
    edges = np.histogram_bin_edges(finite, bins=min(40, max(8, int(np.sqrt(values.shape[1])))))
    for chain, row in enumerate(values):
        axes.hist(row[np.isfinite(row)], edges, density=True, histtype="step", color=colour(chain), linewidth=0.9)
    if truth is not None:
        axes.axvline(truth, color=TRUTH, linestyle="--", linewidth=1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=4)


def _trace(axes: Any, values: np.ndarray, diverging: np.ndarray | None, truth: float | None) -> None:
    for chain, row in enumerate(values):
        axes.plot(row, color=colour(chain), linewidth=0.45, alpha=0.8, rasterized=True)
    if truth is not None:
        axes.axhline(truth, color=TRUTH, linestyle="--", linewidth=1)
    if diverging is not None and diverging.any():
        at = np.flatnonzero(diverging.any(axis=0))
        bottom, top = axes.get_ylim()
        low = bottom - 0.06 * (top - bottom)
        axes.set_ylim(low, top)
        axes.plot(at, np.full(at.size, low), "|", color=ALARM, markersize=7, clip_on=False, rasterized=True)
    axes.set_xlim(0, max(1, values.shape[1] - 1))


def _ranks(axes: Any, values: np.ndarray) -> None:
    """Ranks of each chain's draws among all: flat, inside the band of twice the binomial error, when chains agree."""
    chains, draws = values.shape
    bins = 20 if draws >= 200 else 10
    ranks = values.ravel().argsort(kind="stable").argsort(kind="stable").reshape(values.shape)
    expected, spread = draws / bins, 2 * np.sqrt(draws / bins * (1 - 1 / bins))
    top = 2 * expected
    axes.axhspan(max(0.0, expected - spread), expected + spread, color=INK, alpha=0.12, linewidth=0)
    for chain, row in enumerate(ranks):
        counts = np.histogram(row, bins, range=(0, chains * draws))[0]
        axes.stairs(counts, np.linspace(0, 1, bins + 1), color=colour(chain), linewidth=0.9, baseline=None)
        top = max(top, counts.max())
    axes.set_ylim(0, 1.05 * top)
    axes.set_xlim(0, 1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xticks([0, 0.5, 1])
