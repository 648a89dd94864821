"""Fields: the posterior's mean and sd as maps, beside the truth where it is known, and how well they agree by scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..io.draws import Draws, Variable
from .figure import INK, colour, drawing, new_figure, to_svg
from .summary import draw_blocks

MAP_PIXELS = 512
"""Maps with longer sides are averaged in blocks before they are drawn."""
POINTS = 20000
"""Elements drawn in a scatter plot."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and sd of a field over all draws of all chains."""

    dims: tuple[str, ...]
    mean: np.ndarray
    sd: np.ndarray


def field_moments(draws: Draws, name: str) -> Moments:
    """The moments of a field: those that the run streamed, or else taken over its draws, some at a time.

    Of a complex field, the modulus of the mean, and sd = sqrt(E|x - mean|^2).
    """
    if name in draws["posterior_mean"]:
        mean = draws["posterior_mean"][name]
        sd = draws["posterior_sd"].get(name)
        return Moments(mean.dims, _modulus(mean.values), sd.values if sd else np.full(mean.shape, np.nan))
    variable = draws["posterior"][name]
    mean, square = _accumulate(variable)
    count = variable.shape[0] * variable.shape[1]
    return Moments(variable.event_dims, _modulus(mean), np.sqrt(square / max(1, count - 1)))


def field_names(draws: Draws) -> list[str]:
    """Quantities of two or three dims, fields whose draws were kept or whose moments were streamed."""
    names = [n for n, v in draws["posterior_mean"].items() if len(v.dims) in (2, 3)]
    return names + [n for n, v in draws["posterior"].items() if len(v.event_dims) in (2, 3) and n not in names]


def plot_field(name: str, moments: Moments, truth: np.ndarray | None = None) -> str:
    """Maps of mean and sd (and truth): of a 2-D field one row, of a 3-D field the three central slices."""
    slices = _slices(moments.mean.shape)
    given = {"mean": moments.mean, "sd": moments.sd}
    columns = given if truth is None else {"truth": truth, **given}
    with drawing():
        width = 10.4 if len(columns) == 3 else 7.6
        vertical, horizontal = slices[0][0]
        side = width / len(columns) * 0.82 * moments.mean.shape[vertical] / moments.mean.shape[horizontal]
        figure = new_figure(width, len(slices) * min(4.2, max(1.4, side) + 0.35))
        panels = figure.subplots(len(slices), len(columns), squeeze=False)
        scale = _limits([columns[c] for c in columns if c != "sd"])
        for row, (kept, index) in zip(panels, slices, strict=True):
            for axes, (title, array) in zip(row, columns.items(), strict=True):
                limits = _limits([moments.sd], signed=False) if title == "sd" else scale
                image = axes.imshow(_coarse(array[index]), origin="lower", interpolation="nearest", **limits)
                axes.set_xticks([])
                axes.set_yticks([])
                axes.set_title(title if len(slices) == 1 else f"{title}, {_slice_name(moments, kept)}")
                axes.set_xlabel(moments.dims[kept[1]])
                axes.set_ylabel(moments.dims[kept[0]])
                bar = figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02)
                bar.outline.set_visible(False)
                bar.ax.locator_params(nbins=5)
        return to_svg(figure, f"maps of {', '.join(columns)} of {name}")


def plot_agreement(name: str, moments: Moments, truth: np.ndarray) -> str:
    """Truth against mean, the standardised residuals, and coherence by scale where everything is finite."""
    with drawing():
        figure = new_figure(10.4, 2.9)
        figure.get_layout_engine().set(wspace=0.06)
        whole = bool(np.isfinite(truth).all() and np.isfinite(moments.mean).all())
        scatter, residual, *rest = figure.subplots(1, 3 if whole else 2)
        _scatter(scatter, moments, truth)
        _residuals(residual, moments, truth)
        if whole:
            _coherence(rest[0], moments.mean, truth)
        return to_svg(figure, f"agreement of {name} with the truth")


def coherence(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Wavenumber (1 is the Nyquist frequency of an axis), coherence and transfer of `a` with respect to `b`.

    With F the Fourier transforms and averages over shells of |k|,
    r(k) = <Re F_a F_b*> / sqrt(<|F_a|^2> <|F_b|^2>) and T(k) = sqrt(<|F_a|^2> / <|F_b|^2>).
    """
    fa, fb = np.fft.fftn(a - a.mean()), np.fft.fftn(b - b.mean())
    k = np.sqrt(sum(f**2 for f in np.meshgrid(*(2 * np.fft.fftfreq(n) for n in a.shape), indexing="ij")))
    bins = max(2, min(24, min(a.shape) // 2))
    edges = np.linspace(0, 1, bins + 1)
    shell = np.digitize(k.ravel(), edges) - 1
    inside = (shell >= 0) & (shell < bins) & (k.ravel() > 0)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(shell[inside], values.ravel()[inside], minlength=bins)

    cross, power_a, power_b = total((fa * fb.conj()).real), total(np.abs(fa) ** 2), total(np.abs(fb) ** 2)
    with np.errstate(all="ignore"):
        return (edges[1:] + edges[:-1]) / 2, cross / np.sqrt(power_a * power_b), np.sqrt(power_a / power_b)


def _accumulate(variable: Variable) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sum of squared deviations over all draws, block by block (Chan, Golub & LeVeque 1979)."""
    mean: Any = 0.0
    square: Any = np.zeros(variable.event_shape)
    seen = 0
    for chain, block in draw_blocks(variable):
        part = np.asarray(variable.data[chain, block])
        part = part.astype(np.complex128 if part.dtype.kind == "c" else np.float64)
        new, new_mean = len(part), part.mean(axis=0)
        shift = new_mean - mean
        square = square + (np.abs(part - new_mean) ** 2).sum(axis=0) + np.abs(shift) ** 2 * seen * new / (seen + new)
        mean = mean + shift * (new / (seen + new))
        seen += new
    return np.asarray(mean), square


def _modulus(values: np.ndarray) -> np.ndarray:
    return np.abs(values) if values.dtype.kind == "c" else np.asarray(values, dtype=float)


def _slices(shape: tuple[int, ...]) -> list[tuple[tuple[int, int], tuple[Any, ...]]]:
    """The axes of each map (vertical, horizontal) and the index that cuts it out."""
    if len(shape) == 2:
        return [((0, 1), (slice(None), slice(None)))]
    cuts = []
    for across in (2, 1, 0):
        kept = tuple(axis for axis in range(3) if axis != across)
        index = tuple(shape[a] // 2 if a == across else slice(None) for a in range(3))
        cuts.append((kept, index))
    return cuts  # type: ignore[return-value]


def _slice_name(moments: Moments, kept: tuple[int, int]) -> str:
    across = ({0, 1, 2} - set(kept)).pop()
    return f"{moments.dims[across]} = {moments.mean.shape[across] // 2}"


def _limits(arrays: list[np.ndarray], signed: bool = True) -> dict[str, Any]:
    """One colour scale for several maps: around zero when the values are of both signs; the extreme 0.5 % are cut."""
    values = np.concatenate([a[np.isfinite(a)].ravel() for a in arrays])
    if not values.size:
        return {}
    low, high = np.quantile(values, (0.005, 0.995))
    if signed and low < 0 < high:
        top = max(-low, high)
        return {"vmin": -top, "vmax": top, "cmap": "RdBu_r"}
    return {"vmin": low, "vmax": high, "cmap": "viridis" if signed else "magma"}


def _coarse(array: np.ndarray) -> np.ndarray:
    """Averaged in blocks to at most `MAP_PIXELS` a side; a rest that does not fill a block is left out."""
    steps = [max(1, -(-n // MAP_PIXELS)) for n in array.shape]
    if steps == [1, 1]:
        return array
    kept = [n // s for n, s in zip(array.shape, steps, strict=True)]
    cut = array[: kept[0] * steps[0], : kept[1] * steps[1]]
    return cut.reshape(kept[0], steps[0], kept[1], steps[1]).mean(axis=(1, 3))


def _scatter(axes: Any, moments: Moments, truth: np.ndarray) -> None:
    a, b = truth.ravel(), moments.mean.ravel()
    chosen = np.unique(np.linspace(0, a.size - 1, min(a.size, POINTS)).astype(int))
    chosen = chosen[np.isfinite(a[chosen]) & np.isfinite(b[chosen])]
    size = 8 if chosen.size < 500 else 2
    axes.scatter(a[chosen], b[chosen], s=size, color=colour(0), alpha=0.35, linewidths=0, rasterized=True)
    if chosen.size:
        ends = [a[chosen].min(), a[chosen].max()]
        axes.plot(ends, ends, color=INK, linewidth=0.8)
        axes.set_title(f"correlation {np.corrcoef(a[chosen], b[chosen])[0, 1]:.3f}")
    axes.set_xlabel("truth")
    axes.set_ylabel("posterior mean")


def _residuals(axes: Any, moments: Moments, truth: np.ndarray) -> None:
    """(truth − mean) / sd: a standard normal when the posterior is right and nearly normal."""
    with np.errstate(all="ignore"):
        z = ((truth - moments.mean) / moments.sd).ravel()
    z = z[np.isfinite(z)]
    if not z.size:
        return
    axes.hist(np.clip(z, -5, 5), np.linspace(-5, 5, 51), density=True, color=colour(0), alpha=0.5)
    x = np.linspace(-5, 5, 201)
    axes.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color=INK, linewidth=0.8)
    axes.set_title(f"{np.mean(np.abs(z) < 1):.0%} within 1 sd, {np.mean(np.abs(z) < 2):.0%} within 2 sd")
    axes.set_xlabel("(truth − mean) / sd")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _coherence(axes: Any, mean: np.ndarray, truth: np.ndarray) -> None:
    k, r, t = coherence(mean, truth)
    axes.plot(k, r, color=colour(0), label="coherence")
    axes.plot(k, t, color=colour(1), label="transfer")
    axes.axhline(1, color=INK, linewidth=0.5, alpha=0.5)
    axes.set_ylim(
        min(0.0, float(np.nanmin(r, initial=0.0))), max(1.1, min(2.0, 1.03 * float(np.nanmax(t, initial=0.0))))
    )
    axes.set_xlim(0, 1)
    axes.set_xlabel("wavenumber / Nyquist")
    axes.set_title("mean against truth, by scale")
    axes.legend(fontsize=8)
