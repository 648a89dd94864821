"""The log densities of posteriordb's Stan models by SciPy, for one draw: what our models are held to.

Each takes Stan's parameters `s` and data `d` and includes the log-Jacobian of Stan's parameters by our unconstrained
ones: `positive`, `between`, `simplex`. Constants are left out.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from scipy import stats
from scipy.integrate import solve_ivp
from scipy.special import logsumexp

from tests.yardsticks.posteriordb.posteriors import whitened


def normal(x, loc, scale):
    return stats.norm.logpdf(x, loc, scale).sum()


def positive(*x):
    """Of exp, for each number."""
    return sum(np.log(v).sum() for v in x)


def increasing(x):
    """Of the map to positive numbers in order: that of its gaps."""
    return positive(np.diff(x, prepend=0))


def between(x, low, high):
    """Of the map from the line to an interval."""
    return np.log((x - low) * (high - x) / (high - low))


def simplex(x):
    """Of a map from zero sums to parts that sum to one, up to a constant."""
    return np.log(x).sum()


def ark(s, d):
    total = normal(s.alpha, 0, 10) + normal(s.beta, 0, 10) + stats.cauchy.logpdf(s.sigma, 0, 2.5) + positive(s.sigma)
    for t in range(int(d.K), len(d.y)):
        loc = s.alpha + sum(s.beta[k] * d.y[t - 1 - k] for k in range(int(d.K)))
        total += normal(d.y[t], loc, s.sigma)
    return total


def blr(s, d):
    return normal(s.beta, 0, 10) + normal(s.sigma, 0, 10) + normal(d.y, d.X @ s.beta, s.sigma) + positive(s.sigma)


def diamonds(s, d):
    centred = d.X[:, 1:] - d.X[:, 1:].mean(axis=0)
    prior = normal(s.b, 0, 1) + stats.t.logpdf(s.Intercept, 3, 8, 10) + stats.t.logpdf(s.sigma, 3, 0, 10)
    return prior + normal(d.Y, s.Intercept + centred @ s.b, s.sigma) + positive(s.sigma)


def eight_schools(s, d):
    trans = (s.theta - s.mu) / s.tau
    prior = normal(trans, 0, 1) + normal(s.mu, 0, 5) + stats.cauchy.logpdf(s.tau, 0, 5)
    return prior + normal(d.y, s.theta, d.sigma) + positive(s.tau)


def garch11(s, d):
    total, sigma = normal(d.y[0], s.mu, d.sigma1), d.sigma1
    for before, now in zip(d.y[:-1], d.y[1:], strict=True):
        sigma = np.sqrt(s.alpha0 + s.alpha1 * (before - s.mu) ** 2 + s.beta1 * sigma**2)
        total += normal(now, s.mu, sigma)
    return total + positive(s.alpha0) + between(s.alpha1, 0, 1) + between(s.beta1, 0, 1 - s.alpha1)


def kernel(s, d):
    return s.alpha**2 * np.exp(-0.5 * ((d.x[:, None] - d.x) / s.rho) ** 2)


def gp_regr(s, d):
    prior = stats.gamma.logpdf(s.rho, 25, scale=1 / 4) + normal(s.alpha, 0, 2) + normal(s.sigma, 0, 1)
    cov = kernel(s, d) + s.sigma * np.eye(len(d.x))
    return prior + stats.multivariate_normal.logpdf(d.y, cov=cov) + positive(s.rho, s.alpha, s.sigma)


def gp_pois_regr(s, d):
    f_tilde = whitened(SimpleNamespace(rho=[s.rho], alpha=[s.alpha], f=[s.f]), d)["f_tilde"]
    prior = stats.gamma.logpdf(s.rho, 25, scale=1 / 4) + normal(s.alpha, 0, 2) + normal(f_tilde, 0, 1)
    return prior + stats.poisson.logpmf(d.k, np.exp(s.f)).sum() + positive(s.rho, s.alpha)


def forward(theta, seen):
    """The log probability of seen[time, state], log densities, with transition probabilities theta[from, to]."""
    ahead = seen[0]
    for now in seen[1:]:
        ahead = logsumexp(ahead[:, None] + np.log(theta), axis=0) + now
    return logsumexp(ahead)


def hmm_example(s, d):
    prior = normal(s.mu, [3, 10], 1) + increasing(s.mu) + simplex(s.theta1) + simplex(s.theta2)
    return prior + forward(np.stack([s.theta1, s.theta2]), stats.norm.logpdf(d.y[:, None], s.mu, 1))


def hmm_drive_0(s, d):
    theta, rate = np.stack([s.theta1, s.theta2]), getattr(s, "lambda")
    prior = normal(s.phi, [0, 3], 1) + normal(rate, [0, 3], 1) + increasing(s.phi) + increasing(rate)
    prior += ((d.alpha - 1) * np.log(theta)).sum() + simplex(theta)
    seen = stats.expon.logpdf(d.u[:, None], scale=1 / s.phi) + stats.expon.logpdf(d.v[:, None], scale=1 / rate)
    return prior + forward(theta, seen)


def kilpisjarvi(s, d):
    prior = normal(s.alpha, d.pmualpha, d.psalpha) + normal(s.beta, d.pmubeta, d.psbeta)
    return prior + normal(d.y, s.alpha + s.beta * d.x, s.sigma) + positive(s.sigma)


def lotka_volterra(s, d):
    birth, eaten, death, gain = s.theta

    def change(_, z):
        return [(birth - eaten * z[1]) * z[0], (gain * z[0] - death) * z[1]]

    z = solve_ivp(change, (0, d.ts[-1]), s.z_init, t_eval=d.ts, rtol=1e-10, atol=1e-10).y.T
    prior = normal(s.theta, [1, 0.05, 1, 0.05], [0.5, 0.05, 0.5, 0.05]) + positive(s.theta, s.z_init, s.sigma)
    prior += (
        stats.lognorm.logpdf(s.sigma, 1, scale=np.exp(-1)).sum() + stats.lognorm.logpdf(s.z_init, 1, scale=10).sum()
    )
    seen = (
        stats.lognorm.logpdf(d.y, s.sigma, scale=z).sum()
        + stats.lognorm.logpdf(d.y_init, s.sigma, scale=s.z_init).sum()
    )
    return prior + seen


def low_dim_gauss_mix(s, d):
    prior = normal(s.sigma, 0, 2) + normal(s.mu, 0, 2) + stats.beta.logpdf(s.theta, 5, 5)
    parts = stats.norm.logpdf(d.y[:, None], s.mu, s.sigma) + np.log([s.theta, 1 - s.theta])
    seen = logsumexp(parts, axis=1).sum()
    return prior + seen + positive(s.sigma, np.diff(s.mu)) + between(s.theta, 0, 1)


def kidscore_interaction(s, d):
    loc = s.beta[0] + s.beta[1] * d.mom_hs + s.beta[2] * d.mom_iq + s.beta[3] * d.mom_hs * d.mom_iq
    return stats.cauchy.logpdf(s.sigma, 0, 2.5) + normal(d.kid_score, loc, s.sigma) + positive(s.sigma)


def nes(s, d):
    age = np.select([d.age_discrete == k for k in (2, 3, 4)], s.beta[3:6])
    loc = s.beta[0] + s.beta[1] * d.real_ideo + s.beta[2] * d.race_adj + age
    loc += s.beta[6] * d.educ1 + s.beta[7] * d.gender + s.beta[8] * d.income
    return normal(d.partyid7, loc, s.sigma) + positive(s.sigma)


DENSITIES = {
    "arK-arK": ark,
    "bball_drive_event_0-hmm_drive_0": hmm_drive_0,
    "diamonds-diamonds": diamonds,
    "eight_schools-eight_schools_noncentered": eight_schools,
    "garch-garch11": garch11,
    "gp_pois_regr-gp_pois_regr": gp_pois_regr,
    "gp_pois_regr-gp_regr": gp_regr,
    "hmm_example-hmm_example": hmm_example,
    "hudson_lynx_hare-lotka_volterra": lotka_volterra,
    "kidiq-kidscore_interaction": kidscore_interaction,
    "kilpisjarvi_mod-kilpisjarvi": kilpisjarvi,
    "low_dim_gauss_mix-low_dim_gauss_mix": low_dim_gauss_mix,
    "nes2000-nes": nes,
    "sblri-blr": blr,
}
