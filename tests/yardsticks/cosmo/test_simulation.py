"""What a model calls to simulate: redshift space, velocities, biased weights, meshes and steppers."""

import numpy as np
import pytest

from ir.build import emit
from ir.errors import Diagnostic
from ir.ops.reduce import Sum
from ppl import cosmo
from ppl.cosmo import nbody
from ppl.cosmo.box import Box
from ppl.cosmo.bullfrog import bullfrog
from ppl.cosmo.growth import growth as growth_tables
from ppl.cosmo.initial import linear_modes, start
from ppl.cosmo.lpt import lpt
from ppl.cosmo.mesh import ParticleMesh
from ppl.cosmo.nbody import Steps, fastpm

from .boxes import box_values
from .evaluate import evaluate
from .reference import expansion, growth

OMEGA_M = 0.3111
EVEN = {"x": 16, "y": 16, "z": 16}
ODD = {"x": 8, "y": 6, "z": 7}


def phases(shape, seed=1):
    """White noise all of whose modes have the size that they have in the mean, in random phases."""
    modes = np.fft.fftn(np.random.default_rng(seed).normal(size=shape))
    return np.fft.ifftn(modes / np.abs(modes)).real * np.sqrt(np.prod(shape))


def test_redshifts_enhance_power_as_kaiser_says():
    """At a = 0.05, to 1 % with the modes of the box, and to 5 % 1 + 2f/3 + f^2/5 (Kaiser 1987)."""
    a, cell = 0.05, 20.0
    dims = EVEN | {"shell": 2}

    def f(white):
        universe = cosmo.Planck18()
        p = cosmo.simulate(white, universe, cell=cell, steps=0, stop=a, kernel="tsc")
        how = {"cell": cell, "low": 0.01, "high": 0.1}
        seen = cosmo.redshift_space(p, los="y")
        return {
            "real": cosmo.power_spectrum(cosmo.density(p), "shell", **how),
            "seen": cosmo.power_spectrum(cosmo.density(seen), "shell", **how),
            "linear": cosmo.linear_density(white, universe, cell=cell, a=a),
        }

    got = box_values(f, dims, white=phases((16, 16, 16)))
    D1, slope, *_ = growth(a, Omega_m=OMEGA_M)
    rate = slope / D1
    k = np.stack(np.meshgrid(*(2 * np.pi * np.fft.fftfreq(16, cell),) * 3, indexing="ij"))
    size, power = np.sqrt((k**2).sum(0)), np.abs(np.fft.fftn(got["linear"])) ** 2
    boost = (1 + rate * k[1] ** 2 / np.where(size > 0, size, 1) ** 2) ** 2
    shells = [(size >= low) & (size < high) for low, high in ((0.01, 0.055), (0.055, 0.1))]
    own = [(power * boost)[s].sum() / power[s].sum() for s in shells]
    ratio = got["seen"] / got["real"]
    np.testing.assert_allclose(ratio, own, rtol=0.01)
    np.testing.assert_allclose(ratio, 1 + 2 * rate / 3 + rate**2 / 5, rtol=0.05)


def test_velocities_are_those_of_linear_theory():
    """v = a H f x of the first order, 100 h km/s/Mpc times a E f of a displacement in Mpc/h; growth by SciPy."""
    a = 0.6

    def f(white):
        p = cosmo.simulate(white, cosmo.Planck18(), cell=4.0, steps=0, stop=a, order=1)
        seen = cosmo.redshift_space(p, los="z")
        return {
            "x": cosmo.displacement(p, "z"),
            "v": cosmo.velocity(p, "z"),
            "seen": cosmo.displacement(seen, "z"),
            "beside": cosmo.displacement(seen, "x") - cosmo.displacement(p, "x"),
        }

    got = box_values(f, ODD, white=np.random.default_rng(2).normal(size=(8, 6, 7)))
    D1, slope, *_ = growth(a, Omega_m=OMEGA_M)
    np.testing.assert_allclose(got["v"], 100 * a * expansion(a, OMEGA_M) * slope / D1 * got["x"], rtol=1e-6)
    np.testing.assert_allclose(got["seen"], (1 + slope / D1) * got["x"], rtol=1e-6)
    assert not got["beside"].any()


def test_bias_weights_of_a_plane_wave_are_known():
    """delta = A cos(k.q) has s^2 = 2/3 delta^2 in every direction, and its Laplacian is -k^2 delta."""
    cell, A, b1, b2, bs2, bn = 3.0, 0.4, 0.8, -0.3, 0.7, 5.0
    x, y, z = np.meshgrid(np.arange(8), np.arange(6), np.arange(7), indexing="ij")
    k = 2 * np.pi * np.array([1 / 8, 2 / 6, -1 / 7])
    delta = A * np.cos(k[0] * x + k[1] * y + k[2] * z + 0.3)
    expected = 1 + b1 * delta + (b2 + 2 / 3 * bs2) * (delta**2 - A**2 / 2) - bn * (k @ k) / cell**2 * delta

    def f(delta, b2):
        weights = cosmo.bias_weights(delta, cell=cell, b1=b1, b2=b2, bs2=bs2, bnabla2=bn)
        return {"all": weights, "none": cosmo.bias_weights(delta, cell=cell)}

    got = box_values(f, ODD, delta=delta, b2=b2)
    np.testing.assert_allclose(got["all"], expected, atol=1e-12)
    np.testing.assert_array_equal(got["none"], 1)


def test_density_on_another_mesh_has_its_units():
    dims = {"x": 4, "y": 4, "z": 6, "u": 8, "v": 8, "w": 12, "p": 2, "q": 2, "r": 3}

    def f(white, b):
        p = cosmo.simulate(0.0 * white, cosmo.Planck18(), cell=3.0, steps=0)
        far = cosmo.simulate(white, cosmo.Planck18(), cell=3.0, steps=0)
        return {
            "fine": cosmo.density(p, dims=("u", "v", "w")),
            "coarse": cosmo.density(far, 1.0 + b, dims=("p", "q", "r"), kernel="tsc"),
            "own": cosmo.density(far, b),
        }

    got = box_values(f, dims, white=np.random.default_rng(3).normal(size=(4, 4, 6)), b=0.5)
    fine = np.zeros((8, 8, 12))
    fine[::2, ::2, ::2] = 8
    np.testing.assert_allclose(got["fine"], fine, atol=1e-12)
    np.testing.assert_allclose([got["coarse"].mean(), got["own"].mean()], [1.5, 0.5], rtol=1e-12)


def stepped(factors, d, p):
    """What steps make of (d1, d2) and momenta where x = d1 s1 + d2 s2, whose gravity is d1 s1 + (d2 + d1^2) s2."""
    gravity = lambda d: np.array([d[0], d[1] + d[0] ** 2])  # noqa: E731
    d = d + factors.get("first_drift", 0.0) * p
    keeps = factors.get("keep", np.ones_like(factors["kick"]))
    for keep, kick, drift in zip(keeps, factors["kick"], factors["drift"], strict=True):
        p = keep * p + kick * gravity(d)
        d = d + drift * p
    return d, p + factors.get("last_kick", 0.0) * gravity(d)


@pytest.mark.parametrize("Omega_m", [1.0, 0.3])
def test_steps_keep_the_orders_of_perturbation_theory(Omega_m):
    """Both steppers keep D1 to rounding; BullFrog keeps D2, to rounding where it is 3/7 D1^2, else as the trapezoidal
    rule does (1e-4 in eight steps), and FastPM to the first order of its steps (1e-2)."""
    counts, begin, end = (1, 2, 8), 0.2, 0.9

    def f(a):
        tables = growth_tables(cosmo.Cosmology(Omega_m=Omega_m, Omega_b=0.05, h=0.7, n_s=0.96))
        found = {n: getattr(tables, n)(a) for n in ("D1", "D2", "dD1", "dD2", "G_D")}
        for make in (fastpm, bullfrog):
            for count in counts:
                factors = make(tables, Steps.even(begin, end, count))
                named = {n: x for n, x in vars(factors).items() if x is not None}
                found |= {f"{make.__name__} {count} {n}": x for n, x in named.items()}
        return found

    got = evaluate(f, {"a": np.array([begin, end])})
    theory = np.stack([got["D1"], got["D2"]])
    momenta = np.stack([got["G_D"], got["G_D"] * got["dD2"] / got["dD1"]])
    off = {}
    for make in ("fastpm", "bullfrog"):
        for count in counts:
            lead = f"{make} {count} "
            factors = {n.removeprefix(lead): x for n, x in got.items() if n.startswith(lead)}
            d, p = stepped(factors, theory[:, 0], momenta[:, 0])
            np.testing.assert_allclose([d[0], p[0]], [theory[0, 1], momenta[0, 1]], rtol=1e-12)
            off[make, count] = np.abs(np.array([d[1], p[1]]) / [theory[1, 1], momenta[1, 1]] - 1)
    if Omega_m == 1:
        assert all(np.all(off["bullfrog", n] < 1e-12) for n in counts)
    assert np.all(off["bullfrog", 8] < 2e-4) and np.all(off["bullfrog", 8] < off["bullfrog", 2] / 7 + 1e-12)
    assert np.all(off["fastpm", 8] > 4e-3)


CUBE = {"x": 8, "y": 8, "z": 8}


def bullfrog_run(white, mesh, steps):
    """(where particles begin, the factors of steps from a = 0.3 on)."""
    tables = growth_tables(cosmo.Planck18())
    modes = linear_modes(white, mesh.box, cosmo.Planck18(), growth=tables)
    return start(lpt(modes, mesh.box), tables, 0.3), bullfrog(tables, steps)


def test_a_step_of_bullfrog_is_what_its_factors_say():
    def f(white):
        mesh = ParticleMesh(Box(tuple(white.type.dims), 8.0), "tsc")
        (x, p), b = bullfrog_run(white, mesh, Steps.even(0.3, 0.5, 1))
        assert b.first_drift is not None and b.keep is not None
        keep, kick, drift = (emit(Sum((nbody.STEP,)), v) for v in (b.keep, b.kick, b.drift))
        moved = tuple(d + b.first_drift * v for d, v in zip(x, p, strict=True))
        g, _ = mesh.gravity(moved)
        kicked = tuple(keep * v + kick * w for v, w in zip(p, g, strict=True))
        made = nbody.simulate((x, p), mesh, b)
        found = {"moved": made.displacement[1] - (moved[1] + drift * kicked[1])}
        return found | {"kicked": made.momentum[2] - kicked[2], "gone": made.displacement[1] - x[1]}

    got = box_values(f, CUBE, white=np.random.default_rng(5).normal(size=(8, 8, 8)))
    assert max(np.abs(got["moved"]).max(), np.abs(got["kicked"]).max()) < 1e-12 < np.abs(got["gone"]).max()


@pytest.mark.slow
def test_steps_of_bullfrog_can_be_undone():
    """The gradient by undoing three steps is that with all states kept, to 1e-9; J is nearly quadratic in the noise."""

    def f(white):
        mesh, J = ParticleMesh(Box(tuple(white.type.dims), 8.0), "tsc"), []
        first, factors = bullfrog_run(white, mesh, Steps.even(0.3, 0.9, 3))
        for way in (True, False):
            end = nbody.simulate(first, mesh, factors, reversible=way)
            terms = [emit(Sum(("x", "y", "z")), v * v) for v in (*end.displacement, end.momentum[0])]
            J.append(terms[0] + 2.0 * terms[1] + terms[2] + terms[3])
        return {"J": J[0], "off": J[0] - J[1]}

    white = np.random.default_rng(5).normal(size=(8, 8, 8))
    got = box_values(f, CUBE, gradient_of="off", white=white)
    assert np.abs(got["grad:white"]).max() < 1e-9 * got["J"] / np.linalg.norm(white)


def test_a_density_of_ones_own_starts_a_simulation():
    white = np.random.default_rng(6).normal(size=(8, 6, 7))

    def f(white):
        universe = cosmo.Planck18()
        how = {"cell": 4.0, "steps": 0, "stop": 0.4}
        own = cosmo.linear_density(white, universe, cell=4.0)
        a = cosmo.simulate(white, universe, **how)
        b = cosmo.simulate(own, universe, initial="density", **how)
        return {"off": cosmo.displacement(a, "y") - cosmo.displacement(b, "y"), "size": cosmo.displacement(a, "y")}

    got = box_values(f, ODD, white=white)
    assert np.abs(got["off"]).max() < 1e-11 * np.abs(got["size"]).max()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"steps": 2.5}, "whole number of steps"),
        ({"stepper": "leapfrog"}, "unknown stepper"),
        ({"start": 0.5, "stop": 0.5}, "cannot step"),
        ({"order": 3}, "order 3"),
        ({"kernel": "cubic"}, "unknown kernel"),
        ({"initial": "noise"}, "unknown initial"),
        ({"gradient": "fourth"}, "unknown gradient"),
        ({"ratio": 1.5}, "whole number of times"),
        ({"reach": 0}, "reach is a whole number"),
        ({"cell": -1.0}, "cells of positive size"),
        ({"cosmo": 0.3}, "takes a cosmology as cosmo"),
    ],
)
def test_what_cannot_be_simulated_is_told(arguments, told):
    def f(white):
        given = {"cosmo": cosmo.Planck18(), "cell": 4.0, "steps": 1} | arguments
        return {"x": cosmo.displacement(cosmo.simulate(white, **given), "x")}

    with pytest.raises(Diagnostic, match=told) as error:
        box_values(f, ODD, white=np.ones((8, 6, 7)))
    assert error.value.hint
