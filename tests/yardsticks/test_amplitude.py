"""A field with one unknown amplitude: the joint posterior of both against one-dimensional quadrature.

White noise w on 32² pixels is seen as d = ifft(e^a T fft(w)) + N(0, 1) with T = 4 / |k|, k in whole waves, T(0) = 0,
and a ~ N(0, 0.5²). Mode by mode the power of d is exponential with mean e^2a T² + 1, which gives the marginal posterior
of a without w; the posterior mean of w is the mixture of the Wiener filters of all a. The data are those of NumPy's
`default_rng(0)`, w drawn before the noise.
"""

from typing import NamedTuple

import numpy as np

import ppl
from tests.yardsticks.agree import MODELS, bulk_ess, mean, quantile, rms, sd

PIXELS = 32
PRIOR_SD = 0.5
PROBS = (0.05, 0.5, 0.95)


def simulate() -> tuple[np.ndarray, np.ndarray]:
    """The transfer function on all modes, and the data."""
    rng = np.random.default_rng(0)
    white, noise = rng.normal(size=(2, PIXELS, PIXELS))
    k = np.fft.fftfreq(PIXELS, 1 / PIXELS)
    k = np.hypot(k[:, None], k)
    transfer = np.where(k > 0, 4 / np.where(k > 0, k, 1), 0)
    return transfer, np.fft.ifft2(transfer * np.fft.fft2(white)).real + noise


class Exact(NamedTuple):
    """The marginal posterior of the amplitude's logarithm, and the posterior mean of the white noise."""

    mean: float
    sd: float
    quantiles: np.ndarray
    white: np.ndarray


def quadrature(transfer: np.ndarray, data: np.ndarray) -> Exact:
    """By sums over a grid of amplitudes, 12 sd to either side."""
    modes = np.fft.fft2(data)
    power = abs(modes) ** 2 / data.size
    a = np.linspace(-1.3, 1.3, 10_001)
    log_density = np.array([_log_density(x, power, transfer) for x in a])
    weight = np.exp(log_density - log_density.max())
    weight /= weight.sum()
    centre = weight @ a
    quantiles = np.interp(PROBS, np.cumsum(weight) - weight / 2, a)
    filters = np.zeros_like(transfer)
    for x, w in zip(a, weight, strict=True):
        if w > 1e-14:
            gain = np.exp(x) * transfer
            filters += w * gain / (gain**2 + 1)
    return Exact(centre, np.sqrt(weight @ (a - centre) ** 2), quantiles, np.fft.ifft2(filters * modes).real)


def _log_density(a: float, power: np.ndarray, transfer: np.ndarray) -> float:
    variance = np.exp(2 * a) * transfer**2 + 1
    return float(-0.5 * np.sum(power / variance + np.log(variance)) - 0.5 * (a / PRIOR_SD) ** 2)


def test_the_quadrature_gives_the_numbers_of_another_one():
    exact = quadrature(*simulate())  # the numbers were found before this project was begun, by another program
    np.testing.assert_allclose([exact.mean, exact.sd], [-0.03771, 0.10466], atol=1e-5)
    np.testing.assert_allclose(exact.quantiles, [-0.2153, -0.0348, 0.1286], atol=3e-4)  # on a coarser grid


def test_a_free_amplitude_and_its_field():
    transfer, data = simulate()
    exact = quadrature(transfer, data)
    half = transfer[:, : PIXELS // 2 + 1]
    posterior = ppl.compile(ppl.load(MODELS / "free_amplitude.ppl"), {"transfer": half, "d": data}, dtype="float64")
    options = ppl.nuts(chains=4, draws=700, warmup=200)
    result = posterior.run(options, seed=1, keep=["ln_amp", "white"], predictive=False, progress=False)
    ln_amp = result["ln_amp"]
    z = {"mean": mean(ln_amp).z(exact.mean), "sd": sd(ln_amp).z(exact.sd)}
    z |= {f"{p:.0%}": quantile(ln_amp, p).z(q) for p, q in zip(PROBS, exact.quantiles, strict=True)}
    field = mean(result["white"]).z(exact.white)
    steps = int(result.draws["sample_stats"]["n_steps"].values.sum())
    print(
        f"\nln_amp: mean {ln_amp.mean():.5f}, sd {ln_amp.std():.5f}, ESS {bulk_ess(ln_amp):.0f}, "
        f"{steps / bulk_ess(ln_amp):.0f} gradients per ESS; z: {', '.join(f'{n} {x:.2f}' for n, x in z.items())}; "
        f"field: rms {rms(field):.3f}, largest {abs(field).max():.2f}"
    )
    assert bulk_ess(ln_amp) >= 400
    assert all(abs(x) < 4 for x in z.values())  # five numbers: a false alarm in 3000
    assert 0.9 < rms(field) < 1.1 and abs(field).max() < 5  # 1024 numbers: one in 1700
