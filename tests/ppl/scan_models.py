"""Models with scans for the tests: text and Python, data, and their log densities written out in NumPy."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

import ppl
from ppl.trace.model import Model

MODELS = Path(__file__).parent / "models"
TIME, ASSET = 12, 9


@ppl.model
def stochvol(r: ppl.Data["time", "asset"]):
    """The model of models/stochvol.ppl."""
    mu = ppl.sample("mu", ppl.Normal(-1, 1), dims="asset")
    phi = ppl.sample("phi", ppl.Uniform(-1, 1))
    sigma = ppl.sample("sigma", ppl.HalfNormal(0.5))

    def step(t, last, now):
        loc, spread = mu + phi * (last["h"] - mu), sigma / ppl.sqrt(1 - phi**2)
        h = ppl.sample("h", ppl.Normal(ppl.where(t.first, mu, loc), ppl.where(t.first, spread, sigma)), dims="asset")
        ppl.observe("r", ppl.Normal(0, ppl.exp(h / 2)), now["r"])
        return {"h": h}, {"h": h}

    ppl.scan("time", step, carry={"h": 0.5}, through={"r": r})


@ppl.model
def second_order(y: ppl.Data["time"]):
    """An AR(2) process with a positive state of its own and a term in the density, read at two earlier steps."""
    a = ppl.sample("a", ppl.Normal(0, 0.5))
    b = ppl.sample("b", ppl.Normal(0, 0.5))

    def step(t, last, now):
        early = t.index < 2
        loc = ppl.where(early, 0.0, a * last["x"] + b * last["x_before"])
        x = ppl.sample("x", ppl.Normal(loc, ppl.where(early, 2.0, 1.0)))
        s = ppl.sample("s", ppl.LogNormal(0, ppl.where(t.first, 1.0, 0.5 + 0.1 * last["s"])))
        ppl.factor("pull", -0.1 * x**2)
        ppl.observe("y", ppl.Normal(x, s), t.at(y))
        return {"x": x, "x_before": last["x"], "s": s}, {"x": x, "level": ppl.exp(0.1 * x)}

    out = ppl.scan("time", step, carry={"x": 0.0, "x_before": 0.0, "s": 1.0})
    ppl.deterministic("mean_level", ppl.mean(out["level"], over="time"))


@dataclass(frozen=True)
class Case:
    """A model with data, and its log density in terms of constrained values `v`, log-Jacobians included."""

    model: Model
    data: dict[str, np.ndarray]
    log_density: Callable[[dict[str, np.ndarray], dict[str, np.ndarray]], float]


def normal(x, loc, scale):
    return stats.norm.logpdf(x, loc, scale).sum()


def half_normal(x, scale):
    return stats.halfnorm.logpdf(x, scale=scale).sum()


def interval(x, low, high):
    """The log-Jacobian of the map from the real line to an interval."""
    return np.log((x - low) * (high - x) / (high - low))


def stochvol_density(v, data):
    total = normal(v["mu"], -1, 1) + np.log(0.5) + half_normal(v["sigma"], 0.5)
    total += interval(v["phi"], -1, 1) + np.log(v["sigma"])
    h, phi, sigma = v["h"], v["phi"], v["sigma"]
    total += normal(h[0], v["mu"], sigma / np.sqrt(1 - phi**2))
    total += normal(h[1:], v["mu"] + phi * (h[:-1] - v["mu"]), sigma)
    return total + normal(data["r"], 0, np.exp(h / 2))


def garch_density(v, data):
    r, sigma = data["r"], data["sigma_first"]
    total = normal(v["mu"], 0, 1) + half_normal(v["a0"], 1) - np.log(1 - v["a1"])
    total += np.log(v["a0"]) + interval(v["a1"], 0, 1) + interval(v["b1"], 0, 1 - v["a1"])
    for t in range(len(r)):
        if t:
            sigma = np.sqrt(v["a0"] + v["a1"] * (r[t - 1] - v["mu"]) ** 2 + v["b1"] * sigma**2)
        total += normal(r[t], v["mu"], sigma)
    return total


def counts_density(v, data):
    phi, tau = v["phi"], v["tau"]
    total = normal(v["level"], 1, 1) + np.log(0.5) + half_normal(tau, 1) + normal(v["x_raw"], 0, 1)
    total += interval(phi, -1, 1) + np.log(tau)
    for t, raw in enumerate(v["x_raw"]):
        x = phi * x + tau * raw if t else tau / np.sqrt(1 - phi**2) * raw
        terms = stats.poisson.logpmf(data["n"][t], np.exp(v["level"] + x))
        total += terms[data["seen"][t]].sum()
    return total


def second_order_density(v, data):
    x, s = v["x"], v["s"]
    total = normal(v["a"], 0, 0.5) + normal(v["b"], 0, 0.5) + normal(x[:2], 0, 2) - 0.1 * (x**2).sum()
    total += normal(x[2:], v["a"] * x[1:-1] + v["b"] * x[:-2], 1)
    total += np.log(s).sum()
    scale = np.concatenate([[1.0], 0.5 + 0.1 * s[:-1]])
    return total + stats.lognorm.logpdf(s, scale).sum() + normal(data["y"], x, s)


def cases() -> dict[str, Case]:
    rng = np.random.default_rng(8)
    r = rng.normal(size=(TIME, ASSET))
    seen = rng.uniform(size=(TIME, ASSET)) < 0.8
    counts = {"n": np.where(seen, rng.poisson(3, size=(TIME, ASSET)), 0), "seen": seen}
    garch = {"r": r[:, 0], "sigma_first": np.float64(0.8)}
    return {
        "stochvol": Case(stochvol, {"r": r}, stochvol_density),
        "garch": Case(ppl.load(MODELS / "garch.ppl"), garch, garch_density),
        "counts": Case(ppl.load(MODELS / "counts.ppl"), counts, counts_density),
        "second_order": Case(second_order, {"y": r[:, 0]}, second_order_density),
    }
