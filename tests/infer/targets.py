"""Targets with known moments, written as a compiled program would hand them over: batched over chains, energies f64."""

import jax.numpy as jnp
import numpy as np


def gaussian(scales):
    """Independent normals of the given scales; {name: array}."""

    def target(x):
        total, gradient = 0.0, {}
        for name, scale in scales.items():
            z = x[name] / jnp.asarray(scale, x[name].dtype)
            total = total - 0.5 * jnp.sum(z.astype(jnp.float64) ** 2, axis=tuple(range(1, z.ndim)))
            gradient[name] = -z / jnp.asarray(scale, x[name].dtype)
        return total, gradient

    return target


def correlated(rho):
    """Two unit normals "u", "v" of shape () with correlation rho."""

    def target(x):
        u, v = x["u"], x["v"]
        c = 1 / (1 - rho**2)
        return -0.5 * c * (u * u - 2 * rho * u * v + v * v), {"u": -c * (u - rho * v), "v": -c * (v - rho * u)}

    return target


def mild_funnel(x):
    """v ~ N(0, 1), w[3] ~ N(0, exp(v / 2))."""
    v, w = x["v"], x["w"]
    square = jnp.sum(w**2, axis=1)
    precision = jnp.exp(-v)
    log_density = -0.5 * v**2 - 0.5 * precision * square - 1.5 * v
    return log_density, {"v": -v + 0.5 * precision * square - 1.5, "w": -precision[:, None] * w}


def largest_t(draws, expected):
    """max |t| of chain means against `expected`, with the scatter of the chains (draws: [C, K, ...])."""
    means = np.asarray(draws, np.float64).mean(axis=1)
    error = means.std(axis=0, ddof=1) / np.sqrt(means.shape[0])
    return np.abs((means.mean(axis=0) - expected) / error).max()
