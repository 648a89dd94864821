"""Transfer functions and linear power against other codes, SciPy's quadrature, and each other.

The numbers: jax_cosmo's transfer functions (commit c4f249f, T_cmb = 2.726 K), which follow Eisenstein & Hu 1998; P(k)
of Planck 2015 with sigma8 normalised by quadrature to 1e-9, with which pyccl 3.3.6 agrees to 4e-5; pmwd for A_s.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.interpolate import CubicSpline

from ir.build import emit
from ir.errors import Diagnostic
from ir.ops.reduce import Sum
from ppl.cosmo import (
    Cosmology,
    Planck15,
    Planck18,
    growth,
    linear_power,
    power_table,
    sigma,
    sigma8,
    tabulated_power,
    transfer,
    transfer_no_wiggle,
)

from .evaluate import Compiled, evaluate
from .reference import derivative

PLANCK15 = dataclasses.replace(Planck15(), T_cmb=2.726)
SIMPLE = Cosmology(Omega_m=0.3, Omega_b=0.05, h=0.7, n_s=0.96, A_s=2e-9)
K = np.array([1e-3, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0])
T = np.array([0.992139674, 0.778472073, 0.269410478, 0.129945346, 0.0545393065, 0.0139543906, 0.00463586117])
NO_WIGGLE = np.array([0.132267293, 0.00460497286])  # at .1 and 1
P15 = np.array([21984.197, 12478.081, 5673.4337, 1953.2123, 66.878322])  # at .01, .05, .1, .2, 1
P_SIMPLE = np.array([22634.846, 5613.8663, 65.155388])  # at .01, .1, 1


def test_transfer_functions_equal_published_numbers():
    found = evaluate(lambda k: {"T": transfer(PLANCK15, k), "smooth": transfer_no_wiggle(PLANCK15, k)}, {"k": K})
    np.testing.assert_allclose(found["T"], T, rtol=1e-8)
    np.testing.assert_allclose(found["smooth"][[3, 6]], NO_WIGGLE, rtol=1e-8)


def test_power_equals_published_numbers():
    def powers(k):
        return {"sigma8": linear_power(PLANCK15, k), "A_s": linear_power(SIMPLE, k), "rms": sigma8(SIMPLE)}

    found = evaluate(powers, {"k": K})
    np.testing.assert_allclose(found["sigma8"][[1, 2, 3, 4, 6]], P15, rtol=5e-8)
    np.testing.assert_allclose(found["A_s"][[1, 3, 6]], P_SIMPLE, rtol=5e-8)
    np.testing.assert_allclose(found["rms"], 0.8121140, rtol=5e-6)  # pmwd's by FFTLog


def ball(x):
    return 3 * (np.sin(x) - x * np.cos(x)) / x**3


@pytest.mark.parametrize("wiggles", [True, False])
def test_the_rms_in_spheres_is_that_of_quadrature(wiggles):
    """σ²(R) by adaptive quadrature over a fine spline of P, to ten times farther out."""
    k, radii = np.geomspace(1e-5, 400, 12000), np.array([2.0, 8.0, 30.0])

    def powers(k, radius):
        P = linear_power(Planck18(), k, wiggles=wiggles)
        return {"P": P, "rms": sigma(Planck18(), radius, wiggles=wiggles)}

    f = Compiled(powers, {"k": k, "radius": 8.0})
    P = CubicSpline(np.log(k), f(k=k, radius=8.0)["P"] * k**3 / (2 * np.pi**2))
    for radius in radii:
        ends = np.concatenate(
            [np.geomspace(1e-5, 0.5 / radius, 6), np.geomspace(1 / radius, 40 * 8 * 1.2 / radius, 60)]
        )
        pieces = zip(np.log(ends[:-1]), np.log(ends[1:]), strict=True)
        square = sum(quad(lambda x, r=radius: P(x) * ball(np.exp(x) * r) ** 2, *p, epsrel=1e-9)[0] for p in pieces)
        np.testing.assert_allclose(f(k=k, radius=radius)["rms"], np.sqrt(square), rtol=1e-7)
    np.testing.assert_allclose(f(k=k, radius=8.0)["rms"], 0.8102, rtol=1e-12)


def test_power_grows_as_the_square_of_the_growth():
    def powers(a, k):
        made, today = growth(SIMPLE), linear_power(SIMPLE, k)
        same = dataclasses.replace(SIMPLE, A_s=None, sigma8=sigma8(SIMPLE))
        ratio = linear_power(SIMPLE, k, a, growth=made) / today
        return {"ratio": ratio, "D1": made.D1(a) / made.D1(1.0), "other": linear_power(same, k, a) / today}

    found = evaluate(powers, {"a": 0.4, "k": 0.2})
    np.testing.assert_allclose(found["ratio"], found["D1"] ** 2, rtol=1e-13)
    np.testing.assert_allclose(found["other"], found["D1"] ** 2, rtol=1e-13)


# --- tables ---


def test_a_table_of_power_is_the_power():
    k = np.concatenate([[0.0], np.geomspace(6.2e-6, 403, 3001)])
    found = evaluate(lambda k: {"table": power_table(PLANCK15)(k), "P": linear_power(PLANCK15, k)}, {"k": k})
    np.testing.assert_allclose(found["table"], found["P"], rtol=2e-6)
    assert found["P"][0] == found["table"][0] == 0


def test_a_table_in_float32_is_exact_to_its_precision():
    k = np.geomspace(1e-4, 50, 2001).astype(np.float32)
    exact = evaluate(lambda k: {"P": linear_power(PLANCK15, k)}, {"k": k})["P"]
    found = evaluate(lambda k: {"P": power_table(PLANCK15)(k)}, {"k": k}, real="f32")["P"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, rtol=4e-6)


def test_a_tabulated_spectrum_is_interpolated_between_its_points():
    knots = np.sort(np.concatenate([np.geomspace(1e-4, 20, 500), np.geomspace(0.011, 0.6, 241)]))  # unevenly
    k = np.geomspace(1e-4, 20, 999)

    def table(knots, k):
        spectrum = tabulated_power(knots, linear_power(PLANCK15, knots))
        return {"P": spectrum(k), "exact": linear_power(PLANCK15, k)}

    run = Compiled(table, {"knots": knots, "k": k})
    found = run(knots=knots, k=k)
    np.testing.assert_allclose(found["P"], found["exact"], rtol=1e-5)
    edges = run(knots=knots, k=np.append(np.full(997, 0.1), [20.1, 0.0]))
    assert np.isnan(edges["P"][997]) and edges["P"][998] == 0
    assert np.isnan(run(knots=knots[::-1], k=k)["P"]).all()


def test_power_at_k_0_has_a_value_and_gradients():
    parameters = {"Omega_m": 0.3, "sigma8": 0.8}

    def powers(k, knots, Omega_m, sigma8):
        cosmo = Cosmology(Omega_m, 0.05, 0.7, 0.96, sigma8=sigma8)
        tabulated = tabulated_power(knots, linear_power(cosmo, knots, wiggles=False))
        P = [linear_power(cosmo, k, wiggles=False), power_table(cosmo, wiggles=False)(k), tabulated(k)]
        return {"P": P[0] + P[1] + P[2], "total": emit(Sum(("point",)), P[0] + P[1] + P[2])}

    inputs = {"k": np.array([0, 0.02, 0.4]), "knots": np.geomspace(0.01, 1, 20), **parameters}
    found = Compiled(powers, inputs, gradient_of="total")(**inputs)
    assert found["P"][0] == 0 and found["grad:k"][0] == 0
    for name in ("k", "Omega_m", "sigma8"):
        assert np.isfinite(found[f"grad:{name}"]).all()
    np.testing.assert_allclose(found["grad:sigma8"], 2 * found["total"] / 0.8, rtol=1e-12)


def test_wavenumbers_outside_are_nan():
    def powers(k):
        return {"table": power_table(PLANCK15)(k), "P": linear_power(PLANCK15, k), "T": transfer(PLANCK15, k)}

    found = evaluate(powers, {"k": np.array([-0.1, np.nan, 404.0, 6e-6, 0.0])})
    assert np.array_equal(np.isnan(found["table"]), [True, True, True, True, False])
    assert np.array_equal(np.isnan(found["P"]), [True, True, False, False, False])
    np.testing.assert_allclose(found["T"][4], 1, rtol=1e-9)


# --- gradients ---

STEPS = {
    "Omega_m": 2e-3,
    "Omega_b": 5e-4,
    "h": 3e-3,
    "n_s": 5e-3,
    "A_s": 2e-11,
    "w0": 5e-3,
    "wa": 5e-3,
    "Omega_k": 2e-3,
}
STEPS |= {"T_cmb": 1e-2, "k": 3e-4}
AT = {"Omega_m": 0.3, "Omega_b": 0.05, "h": 0.7, "n_s": 0.96, "A_s": 2e-9, "w0": -0.9, "wa": 0.1, "Omega_k": 0.02}
AT |= {"T_cmb": 2.7255, "k": 0.11}


def outputs(k, **parameters):
    """P by A_s at another time, and by sigma8 from the formula and from a table."""
    made = growth(by_A_s := Cosmology(**parameters))
    by_sigma8 = dataclasses.replace(by_A_s, A_s=None, sigma8=4e8 * parameters["A_s"])
    table = power_table(by_sigma8, wiggles=False)
    smooth = linear_power(by_sigma8, k, wiggles=False)
    return {"P": linear_power(by_A_s, k, 0.6, growth=made), "smooth": smooth, "table": table(k)}


@pytest.mark.slow
def test_gradients_in_all_parameters_equal_differences():
    """The parameters of each point of a difference lie along a dim: cosmologies may have dims, too."""
    names = ("P", "smooth", "table")

    def weighed(weights, **at):
        found = outputs(**at)
        terms = [weights[{"weight": i}] * found[n] for i, n in enumerate(names)]
        return {"total": sum(terms[1:], terms[0])}

    f = Compiled(weighed, {"weights": np.ones(len(names)), **AT}, gradient_of="total")
    found = [f(weights=np.eye(len(names))[i], **AT) for i in range(len(names))]
    shifts = [(p, s) for p in STEPS for s in (-2, -1, 1, 2)]
    moved = {p: np.array([AT[p] + (s * STEPS[p] if p == q else 0) for q, s in shifts]) for p in AT}
    values = Compiled(outputs, moved)(**moved)
    for i, name in enumerate(names):
        for j, parameter in enumerate(STEPS):
            four = dict(zip((-2, -1, 1, 2), values[name][4 * j : 4 * j + 4], strict=True))
            want = derivative(four.__getitem__, 0, 1) / STEPS[parameter]
            got = found[i][f"grad:{parameter}"]
            tolerance = 1e-4 if name == "table" and parameter == "k" else 1e-6  # across the knots of the table
            atol = 1e-9 * abs(values[name][0]) / STEPS[parameter]
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=atol, err_msg=f"{name}, {parameter}")


# --- mistakes ---

WRONG = [
    (lambda: Cosmology(-0.3, 0.05, 0.7, 0.96), "Omega_m is a positive number, but got -0.3", None),
    (lambda: Cosmology(0.3, 0.0, 0.7, 0.96), "Omega_b is a positive number, but got 0", "1e-6"),
    (lambda: Cosmology(0.3, 0.4, 0.7, 0.96), "Omega_b = 0.4 is more than Omega_m = 0.3", "baryons included"),
    (lambda: Cosmology(0.3, 0.05, 70.0, 0.96), "h is H0 in units of 100 km/s/Mpc, but got 70", "h = 0.7"),
    (lambda: Cosmology(0.3, 0.05, 0.7, float("nan")), "n_s is a finite number, but got nan", None),
    (lambda: Cosmology(0.3, 0.05, 0.7, 0.96, 0.8, 2e-9), "both sigma8 and A_s are given", "give one of them"),
    (lambda: Cosmology(0.3, 0.05, 0.7, 0.96, w0=-0.5, wa=0.6), "w0 + wa = 0.1: dark energy", "below 0"),
    (lambda: Cosmology("0.3", 0.05, 0.7, 0.96), "Omega_m is a real number, but got str", "a number, or a value"),  # type: ignore[arg-type]
    (lambda: Cosmology(None, 0.05, 0.7, 0.96), "Omega_m is a real number, but got NoneType", "a number, or a value"),  # type: ignore[arg-type]
    (lambda: Cosmology(0.3, 0.05, 0.7, 0.96, A_s=0.0), "A_s is a positive number, but got 0", "2e-9"),
]


@pytest.mark.parametrize("make, message, hint", WRONG)
def test_wrong_parameters_are_refused(make, message, hint):
    with pytest.raises(Diagnostic) as caught:
        make()
    assert message in caught.value.message and (hint or "") in (caught.value.hint or "")


def test_power_without_an_amplitude_is_refused():
    with pytest.raises(Diagnostic, match="without sigma8 or A_s"):
        evaluate(lambda k: {"P": linear_power(Cosmology(0.3, 0.05, 0.7, 0.96), k)}, {"k": K})


def test_a_spectrum_is_tabulated_along_one_dim():
    with pytest.raises(Diagnostic, match="along one dim, but k has"):
        evaluate(lambda k, p: {"P": tabulated_power(k, p)(0.1)}, {"k": 0.1, "p": K})
