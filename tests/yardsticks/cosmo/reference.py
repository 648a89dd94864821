"""The same cosmology by SciPy's adaptive integrators, written from the equations and not from `ppl.cosmo`."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.integrate import quad, solve_ivp

C_H0 = 2997.92458  # [Mpc/h]


def expansion(a, Omega_m, w0=-1.0, wa=0.0, Omega_k=0.0):
    """E(a)."""
    dark = (1 - Omega_m - Omega_k) * a ** (-3 * (1 + w0 + wa)) * np.exp(-3 * wa * (1 - a))
    return np.sqrt(Omega_m * a**-3 + Omega_k * a**-2 + dark)


def slope(a, **parameters):
    """d ln E / d ln a by the complex step, exact to rounding."""
    return np.imag(np.log(expansion(a * np.exp(1e-30j), **parameters))) / 1e-30


@cache
def growth(a, **parameters):
    """(D1, D1', D2, D2') at a, from a = 2e-9 on, where dark energy and curvature are nothing."""
    first = -20.0

    def rate(x, y):
        D1, v1, D2, v2 = y
        scale = np.exp(x)
        p = 2 + slope(scale, **parameters)
        q = 1.5 * parameters["Omega_m"] * scale**-3 / expansion(scale, **parameters) ** 2
        return v1, q * D1 - p * v1, v2, q * (D2 + D1**2) - p * v2

    start = np.exp(first)
    state = np.array([start, start, 3 / 7 * start**2, 6 / 7 * start**2])
    # Relative steps alone: the state grows by many powers of ten.
    found = solve_ivp(rate, (first, np.log(a)), state, "DOP853", rtol=1e-12, atol=1e-30)
    return tuple(found.y[:, -1])


def comoving(a, **parameters):
    """chi(a) [Mpc/h]."""
    return C_H0 * quad(lambda x: 1 / (x**2 * expansion(x, **parameters)), a, 1, epsabs=0, epsrel=1e-12)[0]


def transverse(a, **parameters):
    """What a ruler across the line of sight measures [Mpc/h]."""
    k, chi = parameters.get("Omega_k", 0.0), comoving(a, **parameters) / C_H0
    if k == 0:
        return C_H0 * chi
    root = np.sqrt(abs(k))
    return C_H0 * (np.sinh(root * chi) if k > 0 else np.sin(root * chi)) / root


def derivative(f, x, step):
    """df/dx by the symmetric difference of fourth order."""
    return (8 * (f(x + step) - f(x - step)) - (f(x + 2 * step) - f(x - 2 * step))) / (12 * step)
