"""Power spectra of fields, held to NumPy's own sums over the full spectrum, and to what was put in."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from ir.errors import Diagnostic
from ppl import cosmo
from ppl.trace.functions import sum as total

from .boxes import box_values
from .reference import growth

CELL = 5.0
SHAPES = [(12, 12, 12), (12, 11, 9)]


def by_hand(a, b, edges, multipole=0, los=2, window=0):
    """(P, modes, mean k) by shell: every mode of the full complex transform on its own."""
    k = np.stack(np.meshgrid(*(2 * np.pi * np.fft.fftfreq(n, CELL) for n in a.shape), indexing="ij"))
    size = np.sqrt((k**2).sum(0))
    power = (np.fft.fftn(a) * np.fft.fftn(b).conj()).real * CELL**3 / a.size
    power = power / np.prod(np.sinc(k * CELL / 2 / np.pi), axis=0) ** (2 * window)
    mu = k[los] / np.where(size > 0, size, 1)
    power = power * (2 * multipole + 1) * np.polynomial.legendre.Legendre.basis(multipole)(mu)
    found = np.full((3, len(edges) - 1), np.nan)
    for i, (low, high) in enumerate(pairwise(edges)):
        of = (size >= low) & (size < high) & (size > 0)
        if of.any():
            found[:, i] = power[of].mean(), of.sum(), size[of].mean()
        else:
            found[1, i] = 0
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_shells_hold_the_modes_of_the_full_spectrum(shape):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, *shape))
    dims = dict(zip("xyz", shape, strict=True)) | {"shell": 7, "narrow": 9}

    def f(a, b):
        log = {"low": 0.13, "high": 0.61, "spacing": "log", "cell": CELL}
        return {
            "P": cosmo.power_spectrum(a, "shell", cell=CELL),
            "n": cosmo.mode_count(a, "shell", cell=CELL),
            "k": cosmo.mean_wavenumber(a, "shell", cell=CELL),
            "P2": cosmo.power_spectrum(a, "shell", cell=CELL, los="y", multipole=2),
            "P4": cosmo.power_spectrum(a, "shell", cell=CELL, los="x", multipole=4),
            "X": cosmo.cross_power(a, a + b, "narrow", window="cic", **log),
            "r": cosmo.cross_correlation(a, a + b, "narrow", **log),
            "m": cosmo.mode_count(a, "narrow", **log),
        }

    got = box_values(f, dims, a=a, b=b)
    linear = np.linspace(np.pi / CELL / max(shape), np.pi / CELL, 8)
    P, n, k = by_hand(a, a, linear)
    np.testing.assert_array_equal(got["n"], n)
    np.testing.assert_allclose(got["k"], k, rtol=1e-12)
    np.testing.assert_allclose(got["P"], P, rtol=1e-12)
    scale = np.abs(P).max()
    np.testing.assert_allclose(got["P2"], by_hand(a, a, linear, 2, 1)[0], atol=1e-12 * scale)
    np.testing.assert_allclose(got["P4"], by_hand(a, a, linear, 4, 0)[0], atol=1e-12 * scale)
    log = np.geomspace(0.13, 0.61, 10)
    X, m, _ = by_hand(a, a + b, log, window=2)
    np.testing.assert_array_equal(got["m"], m)
    np.testing.assert_allclose(got["X"], X, rtol=1e-11)
    aa, ab, bb = (by_hand(u, v, log)[0] for u, v in ((a, a), (a, a + b), (a + b, a + b)))
    np.testing.assert_allclose(got["r"], ab / np.sqrt(aa * bb), rtol=1e-11)


def test_a_mesh_changes_no_power_and_no_gradient():
    """Also in float32, where the modes left out have no part in the gradient (in f64 to 1e-12, in f32 to 1e-5)."""
    a = np.random.default_rng(2).normal(size=(12, 10, 9))
    dims = {"x": 12, "y": 10, "z": 9, "shell": 5}

    def f(a):
        P = cosmo.power_spectrum(a, "shell", cell=CELL, low=0.2, high=0.5, los="z", multipole=2)
        return {"P": P, "total": total(P * P, "shell")}

    one = box_values(f, dims, gradient_of="total", a=a)
    split = box_values(f, dims, mesh="row=2,col=2", pins=("a:x=row,y=col",), gradient_of="total", a=a)
    single = box_values(f, dims, real="f32", gradient_of="total", a=a)
    for name in ("P", "grad:a"):
        scale = np.abs(one[name]).max()
        np.testing.assert_allclose(split[name], one[name], atol=1e-12 * scale)
        np.testing.assert_allclose(single[name], one[name], atol=1e-5 * scale)
    v = np.random.default_rng(3).normal(size=a.shape)
    up, down = (box_values(f, dims, a=a + h * v)["total"] for h in (1e-5, -1e-5))
    np.testing.assert_allclose((one["grad:a"] * v).sum(), (up - down) / 2e-5, rtol=1e-7)


def test_the_linear_density_has_the_power_that_was_put_in():
    """White noise that is one spike has modes of equal size, so that shells of one wavenumber hold P(k) itself.

    Published numbers of Planck 2015 with sigma8 normalised by quadrature (as in test_power); growth by SciPy.
    """
    planck, a = dataclasses.replace(cosmo.Planck15(), T_cmb=2.726), 0.5
    n, cell = 12, 2 * np.pi / (12 * 0.05)
    white = np.zeros((n, n, n))
    white[3, 1, 7] = n**1.5
    numbers = {0.05: 12478.081, 0.1: 5673.4337, 0.2: 1953.2123}

    def f(white):
        at = {k: {"cell": cell, "low": k * 0.99, "high": k * 1.01} for k in numbers}
        today, early = (cosmo.linear_density(white, planck, cell=cell, a=x) for x in (1.0, a))
        found = {str(k): cosmo.power_spectrum(today, "shell", **how) for k, how in at.items()}
        return found | {"early": cosmo.power_spectrum(early, "shell", **at[0.1])}

    got = box_values(f, {"x": n, "y": n, "z": n, "shell": 1}, white=white)
    np.testing.assert_allclose([got[str(k)][0] for k in numbers], list(numbers.values()), rtol=1e-5)
    ratio = growth(a, Omega_m=0.3075)[0] / growth(1.0, Omega_m=0.3075)[0]
    np.testing.assert_allclose(got["early"] / got["0.1"], ratio**2, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"multipole": 3}, "there is no multipole 3"),
        ({"multipole": 2}, "about a line of sight"),
        ({"los": "shell"}, "no dim of the field"),
        ({"low": 0.5, "high": 0.2}, "no shells lie between"),
        ({"low": 0.0, "spacing": "log"}, "no shells lie between"),
        ({"window": "gauss"}, "unknown kernel"),
        ({"spacing": "cubic"}, "unknown spacing"),
    ],
)
def test_what_no_shell_can_be_is_told(arguments, told):
    dims = {"x": 4, "y": 4, "z": 4, "shell": 3}
    with pytest.raises(Diagnostic, match=told) as error:
        box_values(lambda a: {"P": cosmo.power_spectrum(a, "shell", cell=1.0, **arguments)}, dims, a=np.ones((4,) * 3))
    assert error.value.hint
