"""Models for simulation-based calibration (Talts et al. 2018): every chain has parameters from the prior, and data
of its own that these gave. Each gives (truth {name: [replicate, ...]}, target of all replicates, shapes of latents).
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from ppl.infer.space import Space
from tests.infer.driven import Driven

REPLICATES, RANKS, BINS = 640, 63, 16


def differentiated(log_density):
    """The target of a log density [replicate] of independent replicates."""
    gradient = jax.grad(lambda x: jnp.sum(log_density(x)))
    return lambda x: (log_density(x), gradient(x))


def hierarchy(rng):
    """mu ~ N(0, 1), s = log sd ~ N(0, 0.5), t[4] ~ N(mu, e^s), y[4] ~ N(t, 1)."""
    truth = {"mu": rng.normal(size=REPLICATES), "s": 0.5 * rng.normal(size=REPLICATES)}
    truth["t"] = truth["mu"][:, None] + np.exp(truth["s"])[:, None] * rng.normal(size=(REPLICATES, 4))
    y = truth["t"] + rng.normal(size=(REPLICATES, 4))

    def log_density(x):
        mu, s, t = x["mu"], x["s"], x["t"]
        spread = 0.5 * jnp.exp(-2 * s) * jnp.sum((t - mu[:, None]) ** 2, axis=1) + 4 * s
        return -0.5 * mu**2 - 2 * s**2 - spread - 0.5 * jnp.sum((y - t) ** 2, axis=1)

    return truth, differentiated(log_density), {"mu": (), "s": (), "t": (4,)}


def counts(rng):
    """a ~ N(0, 1), b ~ N(0, 1), y[6] ~ Poisson(exp(a + b x))."""
    truth, x = {"a": rng.normal(size=REPLICATES), "b": rng.normal(size=REPLICATES)}, np.linspace(-1, 1.5, 6)
    y = rng.poisson(np.exp(truth["a"][:, None] + truth["b"][:, None] * x))

    def log_density(p):
        eta = p["a"][:, None] + p["b"][:, None] * x
        return jnp.sum(y * eta - jnp.exp(eta), axis=1) - 0.5 * (p["a"] ** 2 + p["b"] ** 2)

    return truth, differentiated(log_density), {"a": (), "b": ()}


def regression(rng):
    """b[3] ~ N(0, 2), s = log sd ~ N(0, 1), y[8] ~ N(X b, e^s) with correlated columns."""
    x = np.vander(np.linspace(0.2, 1.4, 8), 3)
    truth = {"b": 2 * rng.normal(size=(REPLICATES, 3)), "s": rng.normal(size=REPLICATES)}
    y = truth["b"] @ x.T + np.exp(truth["s"])[:, None] * rng.normal(size=(REPLICATES, 8))

    def log_density(p):
        b, s = p["b"], p["s"]
        misfit = 0.5 * jnp.exp(-2 * s) * jnp.sum((y - b @ x.T) ** 2, axis=1) + 8 * s
        return -jnp.sum(b * b, axis=1) / 8 - 0.5 * s * s - misfit

    return truth, differentiated(log_density), {"b": (3,), "s": ()}


def autoregression(rng):
    """z = artanh phi ~ N(0, 0.7), s = log sd ~ N(0, 0.5), h[7] a stationary AR(1) of phi, e^s; y ~ N(h, 1)."""
    truth = {"z": 0.7 * rng.normal(size=REPLICATES), "s": 0.5 * rng.normal(size=REPLICATES)}
    phi, sd = np.tanh(truth["z"]), np.exp(truth["s"])
    h = [sd / np.sqrt(1 - phi**2) * rng.normal(size=REPLICATES)]
    for _ in range(6):
        h.append(phi * h[-1] + sd * rng.normal(size=REPLICATES))
    truth["h"] = np.stack(h, axis=1)
    y = truth["h"] + rng.normal(size=truth["h"].shape)

    def log_density(p):
        phi, s, h = jnp.tanh(p["z"])[:, None], p["s"], p["h"]
        square = (1 - phi[:, 0] ** 2) * h[:, 0] ** 2 + jnp.sum((h[:, 1:] - phi * h[:, :-1]) ** 2, axis=1)
        path = 0.5 * jnp.exp(-2 * s) * square + 7 * s - 0.5 * jnp.log1p(-(phi[:, 0] ** 2))
        return -0.5 * (p["z"] / 0.7) ** 2 - 2 * s * s - path - 0.5 * jnp.sum((y - h) ** 2, axis=1)

    return truth, differentiated(log_density), {"z": (), "s": (), "h": (7,)}


def dose(rng):
    """a ~ N(0, 1.5), s = log slope ~ N(0, 0.5), y[5] ~ Binomial(6, logistic(a + e^s x))."""
    truth = {"a": 1.5 * rng.normal(size=REPLICATES), "s": 0.5 * rng.normal(size=REPLICATES)}
    x = np.linspace(-2, 2, 5)
    y = rng.binomial(6, 1 / (1 + np.exp(-(truth["a"][:, None] + np.exp(truth["s"])[:, None] * x))))

    def log_density(p):
        eta = p["a"][:, None] + jnp.exp(p["s"])[:, None] * x
        likelihood = jnp.sum(y * eta - 6 * jnp.logaddexp(eta, 0.0), axis=1)
        return likelihood - 0.5 * (p["a"] / 1.5) ** 2 - 2 * p["s"] ** 2

    return truth, differentiated(log_density), {"a": (), "s": ()}


MODELS = (hierarchy, counts, regression, autoregression, dose)


def rank_p_values(options, model, thin, hasty=False):
    """The p-value of uniform ranks of every latent (of its first element) among `RANKS` thinned draws; chi square over
    `BINS` bins. `options(**run)` makes the inference program; `hasty` as of `Driven`."""
    truth, target, shapes = model(np.random.default_rng(10))
    program = options(warmup=300, draws=RANKS * thin, thin=thin, chains=REPLICATES)
    with jax.enable_x64(True):
        draws, _, _ = Driven(program, Space.single(shapes, REPLICATES), target, hasty=hasty).run(11)
    found = {}
    for name, value in truth.items():
        first, kept = (v.reshape(*v.shape[:k], -1)[..., 0] for v, k in ((value, 1), (draws[name], 2)))
        rank = (kept[:, :RANKS] < first[:, None]).sum(axis=1)
        found[name] = stats.chisquare(np.bincount(rank * BINS // (RANKS + 1), minlength=BINS)).pvalue
    return found
