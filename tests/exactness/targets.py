"""Cases of few latents: Gaussians, a funnel, a banana, mixtures. Every moment is in closed form."""

import functools

import numpy as np
from scipy import stats

from tests.exactness.case import Case, Draws, Moment

D, ROWS, PRIOR = 10, 13, 2.0

LINEAR = """
model linear                               # its posterior is any Gaussian narrower than the prior
dim i, j
data a[j, i]: real, y[j]: real

x[i] ~ Normal(0, 2)
y[j] ~ Normal(contract(a, x, over = i), 1)
"""


def _linear(condition: float, turned: bool):
    """Data, posterior mean, eigenvectors and deviations along them (1 down to condition^-1/2), log evidence."""
    rng = np.random.default_rng(7)
    vectors = np.linalg.qr(rng.normal(size=(D, D)))[0] if turned else np.eye(D)[rng.permutation(D)]
    sd = np.geomspace(1.0, condition**-0.5, D)
    seen = np.linalg.qr(rng.normal(size=(ROWS, D)))[0]
    a = seen * np.sqrt(sd**-2 - PRIOR**-2) @ vectors.T
    y = a @ rng.normal(size=D) + rng.normal(size=ROWS)
    mean = vectors * sd**2 @ vectors.T @ a.T @ y
    covariance = np.eye(ROWS) + PRIOR**2 * a @ a.T
    evidence = stats.multivariate_normal(np.zeros(ROWS), covariance).logpdf(y)
    return {"a": a, "y": y}, mean, vectors, sd, float(evidence)


NORMAL = {"mean": (0.0, 1.0), "square": (1.0, 2.0**0.5), "fourth": (3.0, 96.0**0.5), "product": (0.0, 1.0)}


def _normal(z: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics of independent unit normals [chain, draw, n]."""
    return {"mean": z, "square": z**2, "fourth": z**4, "product": z * np.roll(z, 1, axis=2)}


@functools.cache
def gaussian(condition: float, turned: bool = True) -> Case:
    """Linear regression in known noise. turned: the axes of the posterior are not those of the latents."""
    data, mean, vectors, sd, evidence = _linear(condition, turned)
    return Case(
        model=LINEAR,
        data=data,
        exact={n: Moment(np.full(D, v), s) for n, (v, s) in NORMAL.items()},
        statistics=lambda draws: _normal((draws["x"] - mean) @ vectors / sd),
        direct=lambda rng, n: {"x": mean + (sd * rng.normal(size=(4, n, D))) @ vectors.T},
        log_evidence=evidence,
        from_mode=lambda draws: (draws["x"] - mean) @ vectors / sd,
    )


@functools.cache
def mean_field(condition: float) -> Case:
    """The normal with independent latents that is closest to the turned Gaussian N(m, P^-1), by KL(q || p): means m and
    variances 1 / P_ii (the derivative by the variances; Bishop 2006, Pattern Recognition, 10.1.2)."""
    data, mean, vectors, sd, _ = _linear(condition, turned=True)
    own = np.einsum("ik,k->i", vectors**2, sd**-2) ** -0.5
    return Case(
        model=LINEAR,
        data=data,
        exact={n: Moment(np.full(D, v), s) for n, (v, s) in NORMAL.items()},
        statistics=lambda draws: _normal((draws["x"] - mean) / own),
        direct=lambda rng, n: {"x": mean + own * rng.normal(size=(4, n, D))},
    )


FUNNEL = """
model funnel                               # Neal (2003), Annals of Statistics 31, 705, section 8
dim i

v    ~ Normal(0, 3)
x[i] ~ Normal(0, exp(0.5 * v)) @noncentered
"""


@functools.cache
def funnel(centred: bool) -> Case:
    """Neal's funnel with nine x, as it stands or recentred by the language. x itself has no useful moments (its square
    varies by a factor e^18): x e^(-v/2) is a unit normal independent of v."""
    tail = 3 * stats.norm.ppf(0.05)

    def statistics(draws: Draws) -> dict[str, np.ndarray]:
        v = draws["v"] / 3
        z = draws["x"] * np.exp(-draws["v"] / 2)[..., None]
        low, high = draws["v"] < tail, draws["v"] > -tail
        return {"v": v, "v^2": v**2, "low": low, "high": high, "z": z, "z^2": z**2, "z v": z * v[..., None]}

    def direct(rng: np.random.Generator, n: int) -> Draws:
        v = 3 * rng.normal(size=(4, n))
        return {"v": v, "x": np.exp(v / 2)[..., None] * rng.normal(size=(4, n, 9))}

    tails = Moment(0.05, (0.05 * 0.95) ** 0.5)
    return Case(
        model=FUNNEL.replace("@noncentered", "") if centred else FUNNEL,
        data={},
        sizes={"i": 9},
        exact={
            "v": Moment(0.0, 1.0),
            "v^2": Moment(1.0, 2.0**0.5),
            "low": tails,
            "high": tails,
            "z": Moment(np.zeros(9), 1.0),
            "z^2": Moment(np.ones(9), 2.0**0.5),
            "z v": Moment(np.zeros(9), 1.0),
        },
        statistics=statistics,
        direct=direct,
    )


WIDTH = 0.5
BANANA = f"""
model banana                               # pairs along a parabola: Rosenbrock's function as a density
dim i

x[i] ~ Normal(1, 1)
y[i] ~ Normal(x^2, {WIDTH})
"""


@functools.cache
def banana(pairs: int) -> Case:
    """With x ~ N(1, 1): E x^2, x^4 = 2, 10, from which the moments of y follow. Of each pair x, y, the outer end of the
    parabola, and the normals x - 1 and (y - x^2) / width that the pair is made of. (The square of y has a kurtosis of
    thousands: its errors are no guide.)"""
    e2, e4, w = 2.0, 10.0, WIDTH**2
    far = 1 + stats.norm.isf(0.05)

    def statistics(draws: Draws) -> dict[str, np.ndarray]:
        x, y = draws["x"], draws["y"]
        r = (y - x**2) / WIDTH
        return {"x": x, "x^2": x**2, "y": y, "far": x > far, "r": r, "r^2": r**2, "r (x - 1)": r * (x - 1)}

    def direct(rng: np.random.Generator, n: int) -> Draws:
        x, r = rng.normal(size=(2, 4, n, pairs))
        return {"x": 1 + x, "y": (1 + x) ** 2 + WIDTH * r}

    full = np.ones(pairs)
    return Case(
        model=BANANA,
        data={},
        sizes={"i": pairs},
        exact={
            "x": Moment(1 * full, 1.0),
            "x^2": Moment(e2 * full, (e4 - e2**2) ** 0.5),
            "y": Moment(e2 * full, (e4 - e2**2 + w) ** 0.5),
            "far": Moment(0.05 * full, (0.05 * 0.95) ** 0.5),
            "r": Moment(0 * full, 1.0),
            "r^2": Moment(full, 2.0**0.5),
            "r (x - 1)": Moment(0 * full, 1.0),
        },
        statistics=statistics,
        direct=direct,
    )


MIXTURE = """
model mixture                              # a Gaussian prior times the sum of two Gaussians: again two Gaussians
dim i
data first[i]: real, second[i]: real
data sd_first: real, sd_second: real

x[i] ~ Normal(0, 3)
one  = -0.5 * sum((x - first)^2, over = i) / sd_first^2     @nosave
two  = -0.5 * sum((x - second)^2, over = i) / sd_second^2   @nosave
factor both = logaddexp(one, two)
"""


@functools.cache
def mixture(apart: float, sds: tuple[float, float], dims: int = 3) -> Case:
    """Two modes, centred at +- apart along one direction. Products of normal densities by component give weights, means
    and variances of the posterior; statistics are of the coordinate u along that direction and those across it."""
    rng = np.random.default_rng(1)
    frame = np.linalg.qr(rng.normal(size=(dims, dims)))[0]
    centres, s2 = np.array([apart, -apart]), np.square(sds)
    # Of N(x; 0, 9) exp(-(x - c)^2 / 2 s^2), by component: mass, and the moments of u.
    variance = 1 / (1 / 9 + 1 / s2)
    mean = variance * centres / s2
    log_mass = 0.5 * dims * np.log(s2 / (9 + s2)) - 0.5 * centres**2 / (9 + s2)
    evidence = np.logaddexp(*log_mass)
    weight = np.exp(log_mass - evidence)
    raw = [weight @ m for m in (mean, mean**2 + variance, mean**4 + 6 * mean**2 * variance + 3 * variance**2)]
    first = weight @ stats.norm(mean, variance**0.5).sf(0.0)
    across = weight @ variance

    def statistics(draws: Draws) -> dict[str, np.ndarray]:
        u, *rest = np.moveaxis(draws["x"] @ frame, 2, 0)
        rest = np.stack(rest, axis=2)
        return {"u": u, "u^2": u**2, "first": u > 0, "rest": rest, "rest^2": rest**2}

    def direct(rng: np.random.Generator, n: int) -> Draws:
        which = rng.choice(2, size=(4, n), p=weight)
        z = variance[which, None] ** 0.5 * rng.normal(size=(4, n, dims))
        return {"x": mean[which, None] * frame[:, 0] + z}

    return Case(
        model=MIXTURE,
        data={"first": apart * frame[:, 0], "second": -apart * frame[:, 0], "sd_first": sds[0], "sd_second": sds[1]},
        exact={
            "u": Moment(raw[0], (raw[1] - raw[0] ** 2) ** 0.5),
            "u^2": Moment(raw[1], (raw[2] - raw[1] ** 2) ** 0.5),
            "first": Moment(first, (first * (1 - first)) ** 0.5),
            "rest": Moment(np.zeros(dims - 1), across**0.5),
            "rest^2": Moment(np.full(dims - 1, across), (3 * weight @ variance**2 - across**2) ** 0.5),
        },
        statistics=statistics,
        direct=direct,
        log_evidence=float(evidence),
    )
