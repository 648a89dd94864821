"""Projects that are right: what the cases of `error_cases.py` break."""

RADON = """\
model radon
dim obs, county
data floor[obs]: real
data cty[obs]: index[county]
data y[obs]: real

mu    ~ Normal(0, 10)
tau   ~ HalfNormal(2)
beta  ~ Normal(0, 2)
sigma ~ HalfNormal(2)
alpha[county] ~ Normal(mu, tau) @noncentered
eta[obs] = alpha[county = cty] + beta * floor
y[obs] ~ Normal(eta, sigma)
"""
RADON_DATA = '{"floor": [0, 1, 0, 1, 0], "cty": [0, 0, 1, 2, 2], "y": [1.5, 0.5, 1.0, 0.75, 1.25]}\n'
FIELD = """\
model field
dim x = 8, y = 6
dim kx = freq(x), ky = rfreq(y)
const box: real<lower = 0>
data counts[x, y]: int<lower = 0>
data rate[x, y]: real<lower = 0>

amp ~ LogNormal(0, 1)
white[x, y] ~ Normal(0, 1)
k2[kx, ky] = wavenumber(kx, box)^2 + wavenumber(ky, box)^2
modes[kx, ky] = sqrt(amp / (k2 + 1)) * rfft(white, x -> kx, y -> ky)
delta[x, y] = irfft(modes, kx -> x, ky -> y)
counts[x, y] ~ Poisson(rate * exp(delta))
"""
FIELD_DATA = f'{{"box": 10.0, "counts": {[[1] * 6] * 8}, "rate": {[[2.5] * 6] * 8}}}\n'
MIXTURE = """\
model mixture
dim trial, k = 3
data n[trial]: int<lower = 0>
data m[trial]: int<lower = 0>

weight[k] ~ Dirichlet[k](2.0)
p[trial] ~ Beta(1, 1)
m[trial] ~ Binomial(n, probs = p)
"""
MIXTURE_DATA = '{"n": [10, 12, 9, 7], "m": [3, 4, 9, 0]}\n'
PYTHON = """\
import ppl


@ppl.model
def line(x: ppl.Data["obs"], y: ppl.Data["obs"]):
    slope = ppl.sample("slope", ppl.Normal(0, 10))
    ppl.observe("y", ppl.Normal(slope * x, 1), y)
"""
BOX = """\
model box
use cosmology
dim x = 4, y = 6, z = 5
dim shell = 2
data counts[x, y, z]: real

Omega_m ~ Uniform(0.2, 0.4)
white[x, y, z] ~ Normal(0, 1)
universe = cosmology(Omega_m = Omega_m, Omega_b = 0.05, h = 0.7, n_s = 0.96, sigma8 = 0.8)
matter = simulate(white, universe, cell = 8.0, steps = 0, order = 1)
seen = redshift_space(matter, los = z)
delta[x, y, z] = density(seen) - 1
power[shell] = power_spectrum(delta, shell, cell = 8.0, los = z, multipole = 2)
counts[x, y, z] ~ Normal(delta, 1)
"""
BOX_DATA = f'{{"counts": {[[[1.0] * 5] * 6] * 4}}}\n'
PROJECTS = {
    "box": {"model.ppl": BOX, "data.json": BOX_DATA},
    "radon": {"model.ppl": RADON, "data.json": RADON_DATA},
    "field": {"model.ppl": FIELD, "data.json": FIELD_DATA},
    "mixture": {"model.ppl": MIXTURE, "data.json": MIXTURE_DATA},
    "python": {"model.py": PYTHON, "data.json": '{"x": [1.0, 2.0, 3.0], "y": [2.0, 4.5, 5.5]}\n'},
}
