"""Chains in parts of the posterior that have next to no mass go on from where the others are, once in a warm-up.

A chain that starts beside a minor mode can stay there for thousands of transitions. What a part has of the posterior's
mass is estimated by the normal of its chain: log Z = mean log density + log |det F| + const, with the metric's F F^T
for the covariance. A funnel's neck, where densities are high, has a small volume to make up for it. A chain that falls
short of the best one by more than `MARGIN` nats and a quarter a dim, which is beyond the errors of such estimates,
takes the position, metric and step size of another chain; its noise stays its own, so that they part at once. The run
tells.

The number of chains changes the draws of such chains, and of no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from .engine import Engine
from .metric import Dense, Diagonal, LowRank, Metric

MARGIN, PER_DIM = 20.0, 0.25
SOONEST = 200
"""Transitions before anything is said of a chain, unless the warm-up is shorter."""
WINDOW = 100
"""Transitions whose log densities count, the last ones."""


def when(engine: Engine) -> int | None:
    """After how many transitions chains are compared; None: they are not."""
    options = engine.options
    if not getattr(options, "rescue", False) or options.chains < 2 or not engine.packing.parts or not options.warmup:
        return None
    return max(options.warmup // 2, min(SOONEST, options.warmup))


def rescue(engine: Engine, state: Any, log_density: Sequence[np.ndarray]) -> tuple[Any, list[str]]:
    """The state with such chains moved, and what is to be told of it. log_density: [chain, transition] of each block
    so far."""
    recent = np.concatenate(log_density, axis=1)[:, -WINDOW:]
    mass = recent.mean(axis=1) + log_volume(state.inner.adapt.metric)
    source, short = regroup(mass, engine.space.degrees)
    moved = np.flatnonzero(source != np.arange(len(source)))
    if not len(moved):
        return state, []
    with jax.enable_x64(True):
        state = engine.place(jax.tree.map(lambda x: x[source] if x.ndim else x, state))
    told = ", ".join(f"chain {c} (e^-{short[c]:.0f}) went on from chain {source[c]}'s place" for c in moved)
    return state, [
        "warm-up found chains where the posterior has next to no mass beside where others were, by the normal of each: "
        f"{told}; rescue = false leaves chains where they are"
    ]


def regroup(mass: np.ndarray, degrees: int) -> tuple[np.ndarray, np.ndarray]:
    """int[C]: the chain that each goes on from, itself unless it falls short; and by how many nats it falls short."""
    mass = np.where(np.isnan(mass), -np.inf, mass)
    best = mass.max()
    short = best - mass if np.isfinite(best) else np.zeros_like(mass)
    good = np.flatnonzero(short <= MARGIN + PER_DIM * degrees)
    source = np.arange(len(mass))
    bad = np.setdiff1d(source, good)
    source[bad] = good[np.arange(len(bad)) % len(good)]
    return source, short


def log_volume(metric: Metric) -> np.ndarray:
    """float64[C]: log |det F|."""
    if isinstance(metric, Dense):
        return np.linalg.slogdet(np.asarray(metric.factor, np.float64))[1]
    assert isinstance(metric, Diagonal | LowRank)
    scales = [np.asarray(s, np.float64) for s in metric.scale.values()]
    volume = sum(np.log(s).reshape(len(s), -1).sum(axis=1) for s in scales)
    if isinstance(metric, LowRank):
        volume = volume + 0.5 * np.log(np.asarray(metric.eigenvalues)).sum(axis=1)
    return np.asarray(volume)
