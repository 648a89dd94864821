"""Text models whose statements reach over dims in ways that a dim check could refuse: they mean what they say."""

import numpy as np
from scipy import stats

import ppl

LAST = """\
model walk
dim time
data y[time]: real

z[time] ~ Normal(0, 1)
y[time] ~ Normal(z, 1)
factor ends = -z[time = size(time) - 1]^2 - z[time = 0]
"""
PROCESS = """\
model process
dim n
dim m = alias(n)
data x[n]: real, y[n]: real

rho ~ HalfNormal(1)
cov[n, m]  = exp(-abs(x - rename(x, n -> m)) / rho) + where(coordinate(n) == coordinate(m), 0.1, 0)
root[n, m] = cholesky(cov, rows = n, cols = m)
y[n] ~ MvNormal[n](0.5, chol = root)
"""


def density(text, data, **free):
    posterior = ppl.compile(ppl.from_text(text), data, dtype="float64")
    return posterior.value_and_gradient(free)


def test_arithmetic_of_sizes_gives_the_last_position():
    z, y = np.linspace(-1, 2, 9), np.zeros(9)
    value, gradient = density(LAST, {"y": y}, z=z)
    assert np.isclose(value, stats.norm.logpdf([z, y - z]).sum() - z[-1] ** 2 - z[0])
    assert np.allclose(gradient["z"], -2 * z - np.eye(9)[0] - 2 * z[-1] * np.eye(9)[-1])


def test_the_columns_of_a_factor_need_not_be_on_the_left():
    x, y, rho = np.array([0.0, 0.3, 1.1, 2.0]), np.array([0.2, -0.5, 1.0, 0.1]), 0.7
    value, _ = density(PROCESS, {"x": x, "y": y}, rho=np.log(rho))
    cov = np.exp(-abs(x[:, None] - x) / rho) + 0.1 * np.eye(4)
    prior = stats.halfnorm.logpdf(rho) + np.log(rho)
    assert np.isclose(value, prior + stats.multivariate_normal.logpdf(y, np.full(4, 0.5), cov))
