"""From timings to a machine: curves of the collectives, the alpha-beta law beneath them, and rates of computing.

Timings come as `Sample`s, whoever took them. Noise only ever adds time, so of several samples of one thing the fastest
counts. A curve must not fall: it is the nearest that never does (isotonic regression of log seconds). The law is fitted
for each kind over all groups and sizes with weights that make relative errors count; its two numbers are what groups
and kinds without a curve fall back on, and what a person reads.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from ir.errors import Diagnostic

from .curves import Curve, Points, share
from .machine import KINDS, WORK, Link, Machine, NativeLink, Rates

NATIVE = "native"
"""Before the kind of a collective: it was ours."""
NO_LIMIT = 1e30
"""The bandwidth of what took the same time at all sizes [B/s]."""


@dataclass(frozen=True)
class Sample:
    """A timing: a kind of collective among n devices, `size` bytes of operand on each; or work of one device.

    Collectives are those of `jax.lax`, or hand-written ones ("native all_reduce").

    For work, `what` is a class with its precision ("fft f32") and `size` counts flops; without one ("gather") bytes;
    "launch" counts operations. `spread` is the noise of the repeats, as a fraction.
    """

    what: str
    size: float
    seconds: float
    spread: float = 0.0
    n: int = 1


@dataclass(frozen=True)
class Fit:
    """How well one line of the machine holds: its samples, their noise, and the typical factor between it and them."""

    what: str
    samples: int
    spread: float
    law: float
    """The typical ratio, one way or the other, of the law (for work: the rate) to a sample: 1 where it is exact."""
    curve: float = 1.0
    """The same for the curves."""


@dataclass(frozen=True)
class Calibration:
    machine: Machine
    fits: tuple[Fit, ...]

    def __str__(self) -> str:
        machine = self.machine
        lines = [f"{machine.name}: {machine.title}", "", "  computing, per device          attained    noise  fit"]
        for fit in self.fits:
            if fit.what.removeprefix(f"{NATIVE} ") in KINDS:
                continue
            lines.append(f"  {fit.what:<28} {self._rate(fit.what):>12}  ±{fit.spread:4.0%}  within x{fit.law:.2f}")
        lines += ["", "  collectives                    alpha        beta    noise  law         curves"]
        for fit in self.fits:
            kind = fit.what.removeprefix(f"{NATIVE} ")
            link = machine.inside if kind == fit.what else machine.native
            if kind not in KINDS or link is None:
                continue
            alpha, beta = link.times(kind)
            lines.append(
                f"  {fit.what:<25} {1e6 * alpha:8.1f} us {_speed(beta)}  ±{fit.spread:4.0%}"
                f"  within x{fit.law:.2f}  x{fit.curve:.2f}"
            )
        return "\n".join(lines) + "\n"

    def _rate(self, what: str) -> str:
        kind, _, precision = what.partition(" ")
        if kind == "launch":
            return f"{1e6 * self.machine.launch:.3g} us"
        if precision:
            return f"{getattr(self.machine.rates(kind), precision) / 1e9:.3g} Gflop/s"
        return f"{self.machine.rates(kind).bandwidth / 1e9:.3g} GB/s"


def calibrate(
    samples: Iterable[Sample], name: str, title: str, memory_size: float = 0.0, platform: str = "cpu"
) -> Calibration:
    """The machine that the samples are of; a `Diagnostic` where they do not say enough."""
    samples = list(samples)
    by_what: dict[str, list[Sample]] = {}
    for s in _fastest(samples):
        by_what.setdefault(s.what, []).append(s)
    noise = {what: statistics.median(s.spread for s in samples if s.what == what) for what in by_what}
    _check_enough(by_what)
    fits, work, launch = list[Fit](), {}, 0.0
    for what, found in by_what.items():
        kind, _, precision = what.partition(" ")
        if kind in KINDS or kind == NATIVE:
            continue
        rate = _rate(found)
        fits.append(Fit(what, len(found), noise[what], _typical(s.seconds * rate / s.size for s in found)))
        if kind == "launch":
            launch = 1 / rate
        else:
            work.setdefault(kind, {})[precision or "bandwidth"] = rate
    link = Link(*_fitted("", by_what, noise, fits))
    native = NativeLink(*_fitted(f"{NATIVE} ", by_what, noise, fits)) if _has_native(by_what) else None
    general = work["elementwise"]
    machine = Machine(
        name=name,
        title=title,
        platform=platform,
        f32=general["f32"],
        f64=general["f64"],
        memory_bandwidth=general["bandwidth"],
        memory_size=memory_size,
        launch=launch,
        inside=link,
        across=link,
        work=tuple((kind, Rates(**work[kind])) for kind in WORK if kind in work),
        native=native,
    )
    return Calibration(machine, tuple(fits))


def _speed(beta: float) -> str:
    return f"{beta / 1e9:6.2f} GB/s" if beta < NO_LIMIT else f"{'no limit':>11}"


def _has_native(by_what: Iterable[str]) -> bool:
    """Whether every kind was timed: one without figures would pass for free."""
    return {f"{NATIVE} {kind}" for kind in KINDS} <= set(by_what)


def _fitted(
    prefix: str, by_what: Mapping[str, list[Sample]], noise: Mapping[str, float], fits: list[Fit]
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[tuple[Curve, ...], ...]]:
    """Alphas, betas and curves by kind of the collectives of a prefix; how well they hold is added to `fits`."""
    laws, curves = [], []
    for kind in KINDS:
        what = f"{prefix}{kind}"
        found = by_what.get(what, [])
        laws.append(fit_law(kind, found))
        curves.append(tuple(_curves(found)))
        if not found:
            continue
        (alpha, beta), bent = laws[-1], {c.n: c for c in curves[-1]}
        line = Link((alpha,) * len(KINDS), (beta,) * len(KINDS))
        law = _typical(line.seconds(kind, 1, s.n, s.size) / s.seconds for s in found)
        curve = _typical(bent[s.n].seconds(s.size) / s.seconds for s in found)
        fits.append(Fit(what, len(found), noise[what], law, curve))
    alphas, betas = zip(*laws, strict=True)
    return alphas, betas, tuple(curves)


def fit_law(kind: str, samples: Sequence[Sample]) -> tuple[float, float]:
    """alpha [s] and beta [B/s] of t = alpha·log2(n) + (bytes sent)/beta, nearest to the samples in relative terms.

    Without samples, a latency of nothing and no limit: there is no group that could use the kind.
    """
    if not samples:
        return 0.0, NO_LIMIT
    steps = [1.0 if kind == "collective_permute" else math.log2(s.n) for s in samples]
    rows = np.array([[step, share(kind, s.n) * s.size] for step, s in zip(steps, samples, strict=True)])
    seconds = np.array([s.seconds for s in samples])
    scale = np.array([1e-6, 1e-9])
    found, _ = nnls(rows * scale / seconds[:, None], np.ones(len(samples)))
    alpha, slowness = found * scale
    return float(alpha), float(1 / slowness) if slowness else NO_LIMIT


def rising(points: Iterable[tuple[float, float]]) -> Points:
    """The nearest curve that does not fall: neighbours that do are replaced by their geometric mean."""
    groups: list[tuple[float, list[float]]] = []
    for size, seconds in sorted(points):
        level, sizes = math.log(seconds), [size]
        while groups and groups[-1][0] > level:
            below, more = groups.pop()
            level = (level * len(sizes) + below * len(more)) / (len(sizes) + len(more))
            sizes = more + sizes
        groups.append((level, sizes))
    return tuple((size, math.exp(level)) for level, sizes in groups for size in sizes)


def _fastest(samples: Iterable[Sample]) -> list[Sample]:
    best: dict[tuple[str, float, int], Sample] = {}
    for s in samples:
        key = s.what, s.size, s.n
        if key not in best or s.seconds < best[key].seconds:
            best[key] = s
    return list(best.values())


def _curves(samples: Sequence[Sample]) -> Iterable[Curve]:
    for n in sorted({s.n for s in samples}):
        yield Curve(1, n, rising((s.size, s.seconds) for s in samples if s.n == n))


def _rate(samples: Sequence[Sample]) -> float:
    """Work over time: the geometric mean over the sizes."""
    return math.exp(statistics.mean(math.log(s.size / s.seconds) for s in samples))


def _typical(ratios: Iterable[float]) -> float:
    """exp of the median |log ratio|."""
    return math.exp(statistics.median(abs(math.log(r)) for r in ratios))


def _check_enough(by_what: dict[str, list[Sample]]) -> None:
    for what in ("elementwise", "elementwise f32", "elementwise f64", "launch"):
        if what not in by_what:
            hint = "give the measurement more time: --seconds 300"
            raise Diagnostic("plan", f"there are no timings of {what}", where="calibrate", hint=hint)
