"""Cosmology inside of models: parameters that are sampled, several chains, and the example of the package's page."""

import re
from pathlib import Path

import numpy as np
import pytest

import ppl
from ppl import cosmo

from .reference import derivative

README = Path(cosmo.__file__).with_name("README.md")


@ppl.model
def clustering(a: ppl.Data["z"], k: ppl.Data["mode"], rate: ppl.Data["z"], power: ppl.Data["mode"]):
    Omega_m = ppl.sample("Omega_m", ppl.Uniform(0.1, 0.9))
    sigma8 = ppl.sample("sigma8", ppl.LogNormal(-0.2, 0.2))
    universe = cosmo.Cosmology(Omega_m, 0.05, 0.7, 0.96, sigma8=sigma8)
    ppl.observe("rate", ppl.Normal(cosmo.growth(universe).f1(a), 0.01), rate)
    ppl.observe("power", ppl.Normal(cosmo.power_table(universe, wiggles=False)(k), 100.0), power)


A, K = np.linspace(0.4, 1, 5), np.linspace(0.02, 0.2, 7)
DATA = {"a": A, "k": K, "rate": np.full(5, 0.7), "power": np.full(7, 4000.0)}
AT = {"Omega_m": 0.1, "sigma8": -0.2}


@pytest.mark.slow
def test_a_model_in_float32_has_the_gradient_of_one_in_float64():
    wide, narrow = (ppl.compile(clustering, DATA, dtype=d).value_and_gradient(AT) for d in ("float64", "float32"))
    for name in AT:
        np.testing.assert_allclose(narrow[1][name], wide[1][name], rtol=1e-5)
    np.testing.assert_allclose(narrow[0], wide[0], rtol=1e-6)


def test_its_gradient_equals_differences_on_a_mesh_too():
    posterior = ppl.compile(clustering, DATA, dtype="float64", mesh="row=2")
    _, gradient = posterior.value_and_gradient(AT)
    for name in AT:
        f = lambda x, name=name: posterior.value_and_gradient({**AT, name: x})[0]  # noqa: E731
        np.testing.assert_allclose(gradient[name], derivative(f, AT[name], 1e-3), rtol=1e-8)


@pytest.mark.slow
def test_the_example_of_the_page_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict = {"__name__": "page"}
    exec(compile(code, str(README), "exec"), names)
    assert "Omega_m" in capsys.readouterr().out
