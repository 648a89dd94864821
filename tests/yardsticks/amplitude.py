"""A field with one unknown amplitude, and the joint posterior of both by one-dimensional quadrature.

White noise w on 32² pixels is seen as d = ifft(e^a T fft(w)) + N(0, 1) with T = 4 / |k|, k in whole waves, T(0) = 0,
and a ~ N(0, 0.5²). Mode by mode the power of d is exponential with mean e^2a T² + 1, which gives the marginal posterior
of a without w; the posterior mean of w is the mixture of the Wiener filters of all a. The data are those of NumPy's
`default_rng(0)`, w drawn before the noise.
"""

from typing import NamedTuple

import numpy as np

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
    """By sums over a grid of amplitudes."""
    modes = np.fft.fft2(data)
    a, weight = grid(transfer, data)
    centre = weight @ a
    quantiles = np.interp(PROBS, np.cumsum(weight) - weight / 2, a)
    filters = np.zeros_like(transfer)
    for x, w in zip(a, weight, strict=True):
        if w > 1e-14:
            gain = np.exp(x) * transfer
            filters += w * gain / (gain**2 + 1)
    return Exact(centre, np.sqrt(weight @ (a - centre) ** 2), quantiles, np.fft.ifft2(filters * modes).real)


def grid(transfer: np.ndarray, data: np.ndarray, points: int = 10_001) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of amplitudes, 12 sd to either side, and their posterior probabilities."""
    power = abs(np.fft.fft2(data)) ** 2 / data.size
    a = np.linspace(-1.3, 1.3, points)
    log_density = np.array([_log_density(x, power, transfer) for x in a])
    weight = np.exp(log_density - log_density.max())
    return a, weight / weight.sum()


def _log_density(a: float, power: np.ndarray, transfer: np.ndarray) -> float:
    variance = np.exp(2 * a) * transfer**2 + 1
    return float(-0.5 * np.sum(power / variance + np.log(variance)) - 0.5 * (a / PRIOR_SD) ** 2)
