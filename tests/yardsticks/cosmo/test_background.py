"""Distances and growth: closed forms, published numbers, and SciPy's integrators for dark energy and curvature.

Closed forms for matter and a cosmological constant: D1 = a 2F1(1/3, 1; 11/6; -a³ (1 - Om) / Om) and
f = -1.5 Om(a) + 2.5 Om(a) a / D1. The table's numbers are theirs; pyccl 3.3.6 without radiation agrees to 4e-7 (growth)
and 2e-8 (distance).
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import hyp2f1

from ppl.cosmo import Cosmology, Planck15, distances, growth, hubble, hubble_slope, matter_fraction
from ppl.cosmo.grid import A_MAX, A_MIN

from . import reference
from .evaluate import Compiled, evaluate

A = np.array([0.002, 0.1, 0.25, 0.5, 2 / 3, 0.85, 1.0])
COLUMNS = """
    Om      D(.1)         D(.25)        D(.5)         D(2/3)        f(.5)         f(1)          D1(1)         D2(1)         D2(.5)        f2(.5)
    0.3     0.1283184315  0.3188404011  0.6118057533  0.7731811502  0.8692851212  0.5127962477  0.7789810168  0.2623065208  0.0975188491  1.74338939
    0.3075  0.1275888098  0.3170940849  0.6092451045  0.7710286991  0.8730643682  0.5199903292  0.7834472118  0.2652765726  0.0978108157  1.75081492
    0.3111  0.1272473502  0.3162762423  0.6080408329  0.7700120463  0.8748291594  0.5234144698  0.7855549045  0.2666838291  0.0979468626  1.75428228
"""  # noqa: E501
GROWTH = {row[0]: row[1:] for row in (list(map(float, line.split())) for line in COLUMNS.strip().splitlines()[1:])}
"""By Omega_m; D is D1(a) / D1(1)."""
CHI = {0.3075: (1318.61869610, 2302.47812832, 3602.84747454), 0.3: (1322.03777715, 2312.68016412, 3625.90345209)}
"""chi at redshifts .5, 1 and 2 [Mpc/h]."""
UNIVERSES = [
    {"Omega_m": 0.3, "w0": -0.9, "wa": 0.2, "Omega_k": 0.0},
    {"Omega_m": 0.25, "w0": -1.2, "wa": -0.3, "Omega_k": 0.0},
    {"Omega_m": 0.3, "w0": -1.0, "wa": 0.0, "Omega_k": 0.15},
    {"Omega_m": 0.35, "w0": -0.8, "wa": 0.1, "Omega_k": -0.1},
    {"Omega_m": 1.0, "w0": -1.0, "wa": 0.0, "Omega_k": 0.0},
]


def universe(Omega_m, w0=-1.0, wa=0.0, Omega_k=0.0):
    return Cosmology(Omega_m, 0.0486, 0.6774, 0.9667, sigma8=0.8159, w0=w0, wa=wa, Omega_k=Omega_k)


def everything(a, **parameters):
    cosmo = universe(**parameters)
    made, far = growth(cosmo), distances(cosmo)
    chi = far.comoving(a)
    names = ("D1", "dD1", "ddD1", "f1", "D2", "dD2", "ddD2", "f2", "G_D", "G_K")
    found = {n: getattr(made, n)(a) for n in names}
    found |= {"chi": chi, "transverse": far.transverse(a), "back": far.scale_factor(chi)}
    return found | {"E": hubble(cosmo, a), "slope": hubble_slope(cosmo, a), "fraction": matter_fraction(cosmo, a)}


@pytest.fixture(scope="module")
def run():
    """Everything, compiled once: universes are its inputs."""
    return Compiled(everything, {"a": A, **UNIVERSES[0]})


def flat(Omega_m):
    return {"Omega_m": Omega_m, "w0": -1.0, "wa": 0.0, "Omega_k": 0.0}


@pytest.mark.parametrize("Omega_m", GROWTH)
def test_growth_equals_the_closed_form(run, Omega_m):
    found = run(a=A, **flat(Omega_m))
    D1 = A * hyp2f1(1 / 3, 1, 11 / 6, -(A**3) * (1 - Omega_m) / Omega_m)
    fraction = Omega_m / (Omega_m + (1 - Omega_m) * A**3)
    np.testing.assert_allclose(found["D1"], D1, rtol=3e-8)
    np.testing.assert_allclose(found["f1"], -1.5 * fraction + 2.5 * fraction * A / D1, rtol=1e-7)
    table = (*(found["D1"][1:5] / found["D1"][6]), found["f1"][3], found["f1"][6], found["D1"][6])
    table = (*table, found["D2"][6], found["D2"][3], found["f2"][3])
    np.testing.assert_allclose(table, GROWTH[Omega_m], rtol=3e-7)  # D2, f2: the table's digits


@pytest.mark.parametrize("Omega_m", CHI)
def test_distances_equal_published_numbers(run, Omega_m):
    a = 1 / (1 + np.array([0.5, 1, 2, 0.01, 9, 0, 999]))
    found = run(a=a, **flat(Omega_m))
    np.testing.assert_allclose(found["chi"][:3], CHI[Omega_m], rtol=1e-10)
    np.testing.assert_allclose(found["chi"], [reference.comoving(x, Omega_m=Omega_m) for x in a], rtol=1e-8)


@pytest.mark.parametrize("parameters", UNIVERSES, ids=str)
def test_dark_energy_and_curvature_equal_scipy(run, parameters):
    found = run(a=A, **parameters)
    for i, a in enumerate(A):
        D1, dD1, D2, dD2 = reference.growth(a, **parameters)
        p, E = 2 + reference.slope(a, **parameters), reference.expansion(a, **parameters)
        fraction = parameters["Omega_m"] * a**-3 / E**2
        exact = {"D1": D1, "dD1": dD1, "D2": D2, "dD2": dD2, "f1": dD1 / D1, "f2": dD2 / D2}
        exact |= {"ddD1": 1.5 * fraction * D1 - p * dD1, "ddD2": 1.5 * fraction * (D2 + D1**2) - p * dD2}
        exact |= {"G_D": a**2 * E * dD1, "G_K": 1.5 * parameters["Omega_m"] * D1}
        sizes = {"ddD1": D1, "ddD2": D2}  # the second derivatives pass through zero
        for name, value in exact.items():
            error = abs(found[name][i] - value) / max(abs(value), sizes.get(name, 0))
            assert error < 1e-6, f"{name} at {a}: {found[name][i]}, not {value}"
        for name, value in {"E": E, "slope": p - 2, "fraction": fraction}.items():
            np.testing.assert_allclose(found[name][i], value, rtol=1e-13, err_msg=name)
        for name, f in {"chi": reference.comoving, "transverse": reference.transverse}.items():
            np.testing.assert_allclose(found[name][i], f(a, **parameters), rtol=1e-8, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(found["back"][i], a, rtol=1e-9)


def test_outside_of_the_tables_is_nan(run):
    at = np.array([A_MIN * 0.999, A_MIN, 1e-9, 0.0, A_MAX, A_MAX * 1.001, -1.0])
    found = run(a=at, **UNIVERSES[0])
    for name in ("D1", "D2", "chi"):
        assert np.array_equal(np.isnan(found[name]), [True, False, True, True, False, True, True]), name


def test_dark_energy_that_does_not_vanish_in_the_past_has_no_growth(run):
    found = run(a=A, Omega_m=0.3, w0=-0.5, wa=0.5, Omega_k=0.0)
    assert np.isnan(found["D1"]).all() and np.isfinite(found["chi"]).all()


def test_a_model_in_float32_gets_tables_in_float64():
    def quantities(a):
        made, far = growth(universe(**UNIVERSES[0])), distances(universe(**UNIVERSES[0]))
        return {"f1": made.f1(a), "D2": made.D2(a), "G_D": made.G_D(a), "chi": far.comoving(a)}

    exact = evaluate(quantities, {"a": A.astype(np.float32)})
    for name, x in evaluate(quantities, {"a": A}, real="f32").items():
        assert x.dtype == np.float32 and exact[name].dtype == np.float64
        np.testing.assert_allclose(x, exact[name], rtol=6e-8, err_msg=name)  # half a unit of the last place


# --- gradients ---

OUTPUTS = ("D1", "dD1", "D2", "dD2", "chi", "transverse")
STEPS = {"Omega_m": 1e-3, "w0": 3e-3, "wa": 3e-3, "Omega_k": 2e-3, "a": 2e-3}


def weighed(weights, a, **parameters):
    """A sum of outputs: by its weights the gradient of each can be had from one program."""
    found, total = everything(a, **parameters), None
    for i, name in enumerate(OUTPUTS):
        term = weights[{"weight": i}] * found[name]
        total = term if total is None else total + term
    assert total is not None
    return {"total": total}


def exact(name, a, **parameters):
    if name in ("chi", "transverse"):
        return getattr(reference, {"chi": "comoving"}.get(name, name))(a, **parameters)
    return reference.growth(a, **parameters)[OUTPUTS.index(name)]


@pytest.mark.slow
def test_gradients_in_all_parameters_equal_differences_of_scipy():
    at = {"a": 0.6, **UNIVERSES[3]}
    f = Compiled(weighed, {"weights": np.ones(len(OUTPUTS)), **at}, gradient_of="total")
    for i, name in enumerate(OUTPUTS):
        found = f(weights=np.eye(len(OUTPUTS))[i], **at)
        for parameter, step in STEPS.items():

            def moved(x, name=name, parameter=parameter):
                return exact(name, **{**at, parameter: x})

            want = reference.derivative(moved, at[parameter], step)
            # The slope of a cubic between knots is one order less exact than its value.
            tolerance = 5e-6 if parameter == "a" and name in ("dD1", "dD2") else 1e-6
            np.testing.assert_allclose(found[f"grad:{parameter}"], want, rtol=tolerance, err_msg=f"{name}, {parameter}")


# --- FastPM ---


def factors(start, stop, at, Omega_m):
    cosmo = universe(Omega_m)
    made = growth(cosmo)
    found = {"kick": made.kick(start, stop, at), "drift": made.drift(start, stop, at), "D1": made.D1(start)}
    formula = at**3 * hubble(cosmo, at) ** 2 * (made.ddD1(at) + (2.0 + hubble_slope(cosmo, at)) * made.dD1(at))
    return found | {"G_D": made.G_D(start), "G_K": made.G_K(at), "formula": formula}


@pytest.fixture(scope="module")
def steps():
    """Two KDK steps from 0.1 by 0.25 to 0.6 and on to 1, three pieces each, and the ends alone."""
    start = np.array([0.1, 0.1, 0.25, 0.35, 0.35, 0.6, 1.0])
    stop = np.array([0.25, 0.35, 0.35, 0.6, 1.0, 1.0, 1.0])
    at = np.array([0.1, 0.25, 0.35, 0.35, 0.6, 1.0, 1.0])
    inputs = {"start": start, "stop": stop, "at": at, "Omega_m": 0.3}
    return inputs, evaluate(factors, inputs)


def test_the_force_factor_is_the_growth_equation(steps):
    """G_K = a³ E² (D1'' + (2 + E'/E) D1') is 1.5 Omega_m D1, and G_D = a² E D1' grows by ∫ G_K / (a² E) da."""
    inputs, found = steps
    np.testing.assert_allclose(found["formula"] / found["G_K"], 1, rtol=1e-14)  # ddD1 is taken from the equation

    def rate(a):
        D1 = a * hyp2f1(1 / 3, 1, 11 / 6, -(a**3) * 0.7 / 0.3)
        return 1.5 * 0.3 * D1 / (a**2 * reference.expansion(a, Omega_m=0.3))

    for i in range(6):
        change = quad(rate, inputs["start"][i], inputs["stop"][i], epsabs=0, epsrel=1e-12)[0]
        np.testing.assert_allclose(found["kick"][i] * found["G_K"][i], change, rtol=3e-7)


def test_steps_of_a_plane_wave_follow_linear_growth(steps):
    """Displacement x and momentum p of a Zel'dovich wave, kicked and drifted, stay D1 and G_D in any steps."""
    _, found = steps
    x, p = found["D1"][0], found["G_D"][0]
    for first, end in ((0, 3), (3, 6)):
        p = p + found["kick"][first] * 1.5 * 0.3 * x
        x = x + found["drift"][first + 1] * p
        p = p + found["kick"][first + 2] * 1.5 * 0.3 * x
        np.testing.assert_allclose([x, p], [found["D1"][end], found["G_D"][end]], rtol=1e-14)


def test_a_preset_is_a_cosmology():
    found = evaluate(lambda a: {"chi": distances(Planck15()).comoving(a)}, {"a": 0.5})
    np.testing.assert_allclose(found["chi"], CHI[0.3075][1], rtol=1e-10)
