"""The posteriors of posteriordb in our language: which model, which data, which of its quantities are Stan's.

    case = POSTERIORS["arK-arK"]
    posterior = ppl.compile(case.load(), case.data(read_data(folder)), dtype="float64")

The models are the *.ppl files of this folder. The linear regressions share two of them and differ in their terms, which
`regressions.py` lists.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

import ppl
from ppl.trace.model import Model
from tests.yardsticks.posteriordb.regressions import REGRESSIONS, Regression

FOLDER = Path(__file__).parent
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Posterior:
    """One posterior. Its functions take arrays with any leading axes, in namespaces by Stan's names or by ours.

    data: our data from Stan's. quantities: Stan's arrays by their names, from ours. latents: our latents, in their own
    units, from Stan's arrays and data. keep: the quantities of ours that `quantities` reads.
    """

    name: str
    model: str
    data: Callable[[SimpleNamespace], dict[str, Any]]
    keep: tuple[str, ...]
    quantities: Callable[[SimpleNamespace], Arrays]
    latents: Callable[[SimpleNamespace, SimpleNamespace], Arrays]

    def load(self) -> Model:
        return ppl.load(FOLDER / f"{self.model}.ppl")


def same(name: str, model: str, data: Callable[[SimpleNamespace], dict[str, Any]], *names: str) -> Posterior:
    """A posterior whose latents and quantities are Stan's, of the same names."""
    chosen = lambda values: {n: getattr(values, n) for n in names}  # noqa: E731
    return Posterior(name, model, data, names, chosen, lambda stan, data: chosen(stan))


def regression(name: str, r: Regression) -> Posterior:
    return same(name, r.model, lambda d: dict(zip(("y", "x"), r.outcome_and_terms(d), strict=True)), "beta", "sigma")


def autoregression(d: SimpleNamespace) -> dict[str, Any]:
    order, count = int(d.K), len(d.y)
    past = np.stack([d.y[order - k : count - k] for k in range(1, order + 1)], axis=1)
    return {"y": d.y[order:], "past": past}


def eight_schools(d: SimpleNamespace) -> dict[str, Any]:
    return {"y": d.y, "sigma": d.sigma}


def kilpisjarvi(d: SimpleNamespace) -> dict[str, Any]:
    prior = {"alpha_loc": d.pmualpha, "alpha_scale": d.psalpha, "beta_loc": d.pmubeta, "beta_scale": d.psbeta}
    return {"x": d.x, "y": d.y, **prior}


def whitened(stan: SimpleNamespace, d: SimpleNamespace) -> Arrays:
    """f = L f_tilde, for every draw."""
    apart = d.x[:, None] - d.x
    f_tilde = []
    for rho, alpha, f in zip(stan.rho, stan.alpha, stan.f, strict=True):
        cov = alpha**2 * np.exp(-0.5 * (apart / rho) ** 2) + 1e-10 * np.eye(len(d.x))
        f_tilde.append(solve_triangular(np.linalg.cholesky(cov), f, lower=True))
    return {"rho": stan.rho, "alpha": stan.alpha, "f_tilde": np.array(f_tilde)}


def gaps(ordered: np.ndarray) -> np.ndarray:
    """Differences of increasing positive numbers, the first from zero."""
    return np.diff(ordered, axis=-1, prepend=0)


def rows(theta: np.ndarray) -> Arrays:
    """Stan's simplexes theta1 and theta2 from a matrix [..., from, to]."""
    return {"theta1": theta[..., 0, :], "theta2": theta[..., 1, :]}


def matrix(stan: SimpleNamespace) -> np.ndarray:
    return np.stack([stan.theta1, stan.theta2], axis=-2)


STEPS = 10
"""Runge-Kutta steps a year."""


def lynx_and_hare(d: SimpleNamespace) -> dict[str, Any]:
    return {"y_first": d.y_init, "y": d.y, "at": np.int64(STEPS * d.ts) - 1, "h": 1 / STEPS}


_OTHERS = [
    same("arK-arK", "arK", autoregression, "alpha", "beta", "sigma"),
    same("garch-garch11", "garch11", lambda d: {"y": d.y, "sigma1": d.sigma1}, "mu", "alpha0", "alpha1", "beta1"),
    same("gp_pois_regr-gp_regr", "gp_regr", lambda d: {"x": d.x, "y": d.y}, "rho", "alpha", "sigma"),
    same("kilpisjarvi_mod-kilpisjarvi", "kilpisjarvi", kilpisjarvi, "alpha", "beta", "sigma"),
    same("sblri-blr", "blr", lambda d: {"x": d.X, "y": d.y}, "beta", "sigma"),
    Posterior(
        "diamonds-diamonds",
        "diamonds",
        lambda d: {"x": d.X[:, 1:], "y": d.Y},
        ("b", "intercept", "sigma"),
        lambda q: {"b": q.b, "Intercept": q.intercept, "sigma": q.sigma},
        lambda s, d: {"b": s.b, "intercept": s.Intercept, "sigma": s.sigma},
    ),
    Posterior(
        "eight_schools-eight_schools_noncentered",
        "eight_schools_noncentered",
        eight_schools,
        ("theta", "mu", "tau"),
        lambda q: {"theta": q.theta, "mu": q.mu, "tau": q.tau},
        lambda s, d: {"theta_trans": (s.theta - s.mu[:, None]) / s.tau[:, None], "mu": s.mu, "tau": s.tau},
    ),
    Posterior(
        "gp_pois_regr-gp_pois_regr",
        "gp_pois_regr",
        lambda d: {"x": d.x, "k": np.int64(d.k)},
        ("rho", "alpha", "f"),
        lambda q: {"rho": q.rho, "alpha": q.alpha, "f": q.f},
        whitened,
    ),
    Posterior(
        "hmm_example-hmm_example",
        "hmm_example",
        lambda d: {"y": d.y},
        ("theta", "mu"),
        lambda q: {**rows(q.theta), "mu": q.mu},
        lambda s, d: {"theta": matrix(s), "gap": gaps(s.mu)},
    ),
    Posterior(
        "bball_drive_event_0-hmm_drive_0",
        "hmm_drive_0",
        lambda d: {"u": d.u, "v": d.v, "pull": d.alpha},
        ("theta", "phi", "lambda"),
        lambda q: {**rows(q.theta), "phi": q.phi, "lambda": getattr(q, "lambda")},
        lambda s, d: {"theta": matrix(s), "phi_gap": gaps(s.phi), "lambda_gap": gaps(getattr(s, "lambda"))},
    ),
    Posterior(
        "low_dim_gauss_mix-low_dim_gauss_mix",
        "low_dim_gauss_mix",
        lambda d: {"y": d.y},
        ("mu", "sigma", "theta"),
        lambda q: {"mu": q.mu, "sigma": q.sigma, "theta": q.theta},
        lambda s, d: {"low": s.mu[:, 0], "gap": s.mu[:, 1] - s.mu[:, 0], "sigma": s.sigma, "theta": s.theta},
    ),
    Posterior(
        "hudson_lynx_hare-lotka_volterra",
        "lotka_volterra",
        lynx_and_hare,
        ("birth", "eaten", "death", "gain", "start", "sigma"),
        lambda q: {
            "theta": np.stack([q.birth, q.eaten, q.death, q.gain], axis=-1),
            "z_init": q.start,
            "sigma": q.sigma,
        },
        lambda s, d: {
            **dict(zip(("birth", "eaten", "death", "gain"), s.theta.T, strict=True)),
            "start": s.z_init,
            "sigma": s.sigma,
        },
    ),
]

POSTERIORS: dict[str, Posterior] = {p.name: p for p in _OTHERS}
POSTERIORS |= {name: regression(name, r) for name, r in REGRESSIONS.items()}
POSTERIORS = dict(sorted(POSTERIORS.items()))
