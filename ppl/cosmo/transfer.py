"""The linear transfer function of matter by Eisenstein & Hu 1998 (ApJ 496, 605; astro-ph/9709112), "EH".

Fits of a few percent to Boltzmann codes, without neutrinos: between -2 and +3 % of CAMB for 1e-3 to 5 h/Mpc. Letters
are the paper's: lengths [Mpc] and wavenumbers [1/Mpc] there, wavenumbers [h/Mpc] in what users call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ir.build import binary
from ir.graph import Value

from ..trace.functions import exp, log, sin, sqrt, where
from .cosmology import Cosmology
from .double import in_double

_ZERO = 1e-8
"""What stands for k = 0 [h/Mpc]: 1 - T is 1e-10 there."""


@dataclass(frozen=True)
class _Epochs:
    """What both transfer functions take from the time before recombination (EH, equations 2 to 7)."""

    w_m: Value
    """Omega_m h²."""
    f_b: Value
    """Baryons in matter."""
    z_eq: Value
    """Equality of matter and radiation."""
    k_eq: Value
    z_d: Value
    """The end of the drag on baryons."""
    R_d: Value
    """3/4 of the baryons' density over the photons', then."""
    s: Value
    """The sound horizon, then."""
    k_silk: Value


def _epochs(cosmo: Any) -> _Epochs:
    w_m, w_b = cosmo.Omega_m * cosmo.h**2, cosmo.Omega_b * cosmo.h**2
    theta = cosmo.T_cmb / 2.7
    z_eq = 2.5e4 * w_m / theta**4
    k_eq = 7.46e-2 * w_m / theta**2
    b1 = 0.313 * _pow(w_m, -0.419) * (1.0 + 0.607 * _pow(w_m, 0.674))
    b2 = 0.238 * _pow(w_m, 0.223)
    z_d = 1291.0 * _pow(w_m, 0.251) / (1.0 + 0.659 * _pow(w_m, 0.828)) * (1.0 + b1 * _pow(w_b, b2))
    R_d, R_eq = (31.5 * w_b / theta**4 * (1000.0 / z) for z in (z_d, z_eq))
    waves = log((sqrt(1.0 + R_d) + sqrt(R_d + R_eq)) / (1.0 + sqrt(R_eq)))
    s = 2.0 / (3.0 * k_eq) * sqrt(6.0 / R_eq) * waves
    k_silk = 1.6 * _pow(w_b, 0.52) * _pow(w_m, 0.73) * (1.0 + _pow(10.4 * w_m, -0.95))
    return _Epochs(w_m, cosmo.Omega_b / cosmo.Omega_m, z_eq, k_eq, z_d, R_d, s, k_silk)


@in_double
def transfer(cosmo: Cosmology, k: Any) -> Value:
    """T(k) with baryon acoustic oscillations (EH, equations 16 to 24), 1 at k = 0; k [h/Mpc] of any dims."""
    e, k = _epochs(cosmo), _positive(k) * cosmo.h
    f_b, f_c = e.f_b, 1.0 - e.f_b
    q, ks = k / (13.41 * e.k_eq), k * e.s
    return f_b * _baryons(e, k, q, ks) + f_c * _cold(e, q, ks)


def _cold(e: _Epochs, q: Value, ks: Value) -> Value:
    """T_c, of cold dark matter."""
    f_b, f_c = e.f_b, 1.0 - e.f_b
    a1 = _pow(46.9 * e.w_m, 0.670) * (1.0 + _pow(32.1 * e.w_m, -0.532))
    a2 = _pow(12.0 * e.w_m, 0.424) * (1.0 + _pow(45.0 * e.w_m, -0.582))
    alpha = _pow(a1, -f_b) * _pow(a2, -(f_b**3))
    b1 = 0.944 / (1.0 + _pow(458.0 * e.w_m, -0.708))
    b2 = _pow(0.395 * e.w_m, -0.0266)
    beta = 1.0 / (1.0 + b1 * (_pow(f_c, b2) - 1.0))
    f = 1.0 / (1.0 + (ks / 5.4) ** 4)
    return f * _pressureless(q, 1.0, beta) + (1.0 - f) * _pressureless(q, alpha, beta)


def _baryons(e: _Epochs, k: Value, q: Value, ks: Value) -> Value:
    """T_b: the oscillation j0(k s~), damped by Silk's diffusion. Fractions are so written that they hold at k -> 0."""
    y = (1.0 + e.z_eq) / (1.0 + e.z_d)
    root = sqrt(1.0 + y)
    G = y * (-6.0 * root + (2.0 + 3.0 * y) * log((root + 1.0) / (root - 1.0)))
    alpha = 2.07 * e.k_eq * e.s * _pow(1.0 + e.R_d, -0.75) * G
    beta = 0.5 + e.f_b + (3.0 - 2.0 * e.f_b) * sqrt((17.2 * e.w_m) ** 2 + 1.0)
    node = 8.41 * _pow(e.w_m, 0.435)
    cube = ks**3
    x = ks * ks / _pow(cube + node**3, 1 / 3)  # k s~ = k s / (1 + (node / k s)³)^(1/3)
    damped = alpha * cube / (cube + beta**3) * exp(-_pow(k / e.k_silk, 1.4))
    return (_pressureless(q, 1.0, 1.0) / (1.0 + (ks / 5.2) ** 2) + damped) * (sin(x) / x)


def _pressureless(q: Value, alpha: Any, beta: Any) -> Value:
    """T~0(k, alpha, beta) (EH, equations 19 and 20)."""
    L = log(math.e + 1.8 * beta * q)
    C = 14.2 / alpha + 386.0 / (1.0 + 69.9 * _pow(q, 1.08))
    return L / (L + C * q**2)


@in_double
def transfer_no_wiggle(cosmo: Cosmology, k: Any) -> Value:
    """T(k) with the baryons' suppression but not their oscillations (EH, equations 26 and 28 to 31); k [h/Mpc].

    The sound horizon is the full one, not the fit of equation 26.
    """
    e, k = _epochs(cosmo), _positive(k) * cosmo.h
    alpha = 1.0 - 0.328 * log(431.0 * e.w_m) * e.f_b + 0.38 * log(22.3 * e.w_m) * e.f_b**2
    shape = alpha + (1.0 - alpha) / (1.0 + (0.43 * k * e.s) ** 4)
    q = k * (cosmo.T_cmb / 2.7) ** 2 / (e.w_m * shape)  # equation 28; 13.41 k_eq would be 4e-4 off
    L = log(2.0 * math.e + 1.8 * q)
    C = 14.2 + 731.0 / (1.0 + 62.5 * q)
    return L / (L + C * q**2)


def _pow(x: Value, exponent: Any) -> Value:
    """x^exponent for x > 0: half the code of a general power, which counts where there are twenty."""
    return exp(exponent * log(x))


def _positive(k: Value) -> Value:
    """Wavenumbers at which everything is defined: a tiny one for 0, and NaN for negative ones."""
    return where(k > 0.0, k, where(binary("eq", k, 0.0), _ZERO, float("nan")))


__all__ = ["transfer", "transfer_no_wiggle"]
