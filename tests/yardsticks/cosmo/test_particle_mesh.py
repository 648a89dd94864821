"""Simulations against pmpp (spectral kernels) and JaxPM (finite differences), from the same white noise, in float64.

`pmpp_numbers.json` and `jaxpm_numbers.json` hold numbers of theirs (`pmpp_runs.py`, `jaxpm_runs.py`), so that no peer
is needed; where they are installed, slow tests compare whole fields with what they compute now.
"""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest

from ir.build import Builder
from ir.dims import TensorType
from ir.passes.simplify import simplify
from ppl.cosmo.lpt import lpt

from . import jaxpm_runs, pmpp_runs
from .pmpp_runs import CASES, DIRECTIONS
from .simulations import PARAMETERS, Running, Simulation, rms, vector

TOLERANCES = {"x0": 1e-6, "p0": 1e-5, "second": 1e-5, "x1": 1e-4, "p1": 1e-4, "density": 1e-3}
"""Relative rms over particles or cells. Measured: 5e-7, 5e-7, 1e-6, 5e-7, 5e-7, 1e-6 ("steps")."""


def ours(case):
    return Simulation(case.shape, tuple(case.times.tolist()), case.cell, case.ratio)


@cache
def found(name):
    """Our fields of a case, in pmpp's units."""
    case = CASES[name]
    made = Running(ours(case).fields())({"white": case.noise, **PARAMETERS})
    vectors = {n: vector(made, n) * case.cell for n in ("x0", "p0", "second", "x1", "p1")}
    return vectors | {"density": made["density"]}


@pytest.mark.parametrize("name", ["steps", "fine"])
def test_a_simulation_equals_numbers_of_pmpp(name):
    """2LPT at a = 1/64; 63 steps to a = 1, and 7 on a mesh twice as fine as the particles."""
    numbers, case = json.loads(pmpp_runs.NUMBERS.read_text())[name], CASES[name]
    for field, x in found(name).items():
        flat = x.reshape(-1) if field == "density" else x.reshape(-1, 3)
        assert rms(flat[case.drawn(len(flat))], np.array(numbers[field]["values"])) < TOLERANCES[field], field
        np.testing.assert_allclose(np.sqrt((x**2).mean()), numbers[field]["rms"], rtol=TOLERANCES[field])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["steps", "fine"])
def test_a_simulation_equals_pmpp_everywhere(name):
    pytest.importorskip("pmpp", reason="pmpp 1.1 is not installed")
    for field, x in pmpp_runs.fields(CASES[name]).items():
        assert rms(found(name)[field].reshape(x.shape), x) < TOLERANCES[field], field


@cache
def gradient():
    case = CASES["gradient"]
    run = Running(ours(case).variance(["white", *PARAMETERS]))
    return case, run, run({"white": case.noise, **PARAMETERS})


@pytest.mark.slow
def test_the_gradient_equals_differences_of_pmpp():
    """In the five parameters to 1e-5 and along two directions of the white noise to 1e-6, what differences can tell."""
    numbers = json.loads(pmpp_runs.NUMBERS.read_text())["gradient"]
    case, _, made = gradient()
    np.testing.assert_allclose(made["variance"], numbers["variance"], rtol=3e-6)
    for name in PARAMETERS:
        np.testing.assert_allclose(made[f"grad:{name}"], numbers[name], rtol=1e-5, err_msg=name)
    for seed in DIRECTIONS:
        along = (made["grad:white"] * np.random.default_rng(seed).normal(size=case.shape)).sum()
        np.testing.assert_allclose(along, numbers[f"noise {seed}"], rtol=1e-5)


@pytest.mark.slow
def test_the_differences_of_pmpp_are_what_is_kept():
    pytest.importorskip("pmpp", reason="pmpp 1.1 is not installed")
    numbers = json.loads(pmpp_runs.NUMBERS.read_text())["gradient"]
    for name, x in pmpp_runs.derivatives(CASES["gradient"]).items():
        np.testing.assert_allclose(x, numbers[name], rtol=1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("seed", DIRECTIONS)
def test_the_gradient_equals_our_own_differences(seed):
    """Along random directions, with steps so small that no particle passes the centre of a cell."""
    case, run, made = gradient()
    v, h = np.random.default_rng(seed).normal(size=case.shape), 1e-6
    ends = [run({"white": case.noise + s * v, **PARAMETERS})["variance"] for s in (h, -h)]
    np.testing.assert_allclose((made["grad:white"] * v).sum(), (ends[0] - ends[1]) / (2 * h), rtol=1e-7)


@cache
def differences():
    """With differences of fourth order: vectors of perturbation theory, and gravity at displaced particles."""
    case = jaxpm_runs.CASE
    simulation = Simulation(case.shape, (0.1, 1.0), gradient="finite")
    box, t = simulation.box, TensorType(simulation.dims, "f64")
    with Builder("kernels", "f64") as b:
        vectors = lpt(box.modes(b.input("delta", t, "data")), box)
        moved = tuple(b.input(f"moved.{i}", t, "data") for i in range(3))
        gravity, _ = simulation.particles.gravity(moved)
        assert vectors.second is not None
        fields = {"first": vectors.first, "second": vectors.second, "gravity": gravity}
        program = b.finish({f"{n}.{i}": v for n, f in fields.items() for i, v in enumerate(f)})
    inputs = {"delta": case.delta, **{f"moved.{i}": case.moved[..., i] for i in range(3)}}
    made = Running(simplify(program))(inputs)
    return {n: vector(made, n) for n in fields}


def test_finite_differences_equal_numbers_of_jaxpm():
    numbers = json.loads(jaxpm_runs.NUMBERS.read_text())
    for name, x in differences().items():
        assert rms(x[jaxpm_runs.CASE.drawn(len(x))], np.array(numbers[name]["values"])) < 1e-9, name
        np.testing.assert_allclose(np.sqrt((x**2).mean()), numbers[name]["rms"], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of JAX, in JaxPM and jaxDecomp
def test_finite_differences_equal_jaxpm_everywhere():
    pytest.importorskip("jaxpm", reason="jaxpm 0.1.6 is not installed")
    for name, x in jaxpm_runs.fields().items():
        assert rms(differences()[name], x.reshape(-1, 3)) < 1e-9, name
