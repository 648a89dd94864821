"""Every example exists as text and as Python, and both are one program."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import ppl
from ppl.bind import bind
from ppl.pipeline import stages

EXAMPLES = Path(__file__).parents[1] / "examples"
CASES = {
    "01_mass_map": ("mass_map", lambda ns: ns["simulate"](64)[0]),
    "02_linear_regression": ("linear_regression", lambda ns: ns["simulate"]()),
    "03_radon": ("radon", lambda ns: ns["simulate"]()),
    "04_eight_schools": ("eight_schools", lambda ns: ns["DATA"]),
    "05_structure": ("structure", lambda ns: {}),
    "06_initial_conditions": ("initial_conditions", lambda ns: {"observed": np.ones((16, 16, 16))}),
}


def test_every_text_example_has_a_case():
    assert {p.stem for p in EXAMPLES.glob("*.ppl")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_text_and_python_give_the_same_program(name, dtype):
    function, make = CASES[name]
    namespace = runpy.run_path(str(EXAMPLES / f"{name}.py"))
    data = make(namespace)
    text = bind(ppl.load(EXAMPLES / f"{name}.ppl"), data, dtype=dtype)
    python = bind(namespace[function], data, dtype=dtype)
    assert text.program == python.program
    for (stage, a), (_, b) in zip(stages(text, 3), stages(python, 3), strict=True):
        assert a == b, stage


def test_the_simulated_sky_is_the_model_at_the_truth():
    """The NumPy simulation and the model agree on the convergence of one white-noise field."""
    namespace = runpy.run_path(str(EXAMPLES / "01_mass_map.py"))
    data, truth = namespace["simulate"](64)
    posterior = ppl.compile(namespace["mass_map"], data, dtype="float64")
    made = posterior.constrain({"amp": np.log(truth["amp"]), "slope": truth["slope"], "white": truth["white"]})
    np.testing.assert_allclose(made["kappa"], truth["kappa"], rtol=0, atol=1e-10 * np.abs(truth["kappa"]).max())


@pytest.mark.parametrize("form", ["text", "python"])
def test_missing_values_under_a_mask_change_nothing(form):
    """Masked pixels may hold NaN: the log density and its gradient are those with any other number there."""
    namespace = runpy.run_path(str(EXAMPLES / "01_mass_map.py"))
    data, truth = namespace["simulate"](64)
    model = namespace["mass_map"] if form == "python" else ppl.load(EXAMPLES / "01_mass_map.ppl")
    missing = data | {n: np.where(data["mask"], data[n], np.nan) for n in ("e1", "e2")}
    at = {"amp": 0.1, "slope": 1.0, "white": truth["white"]}
    (a, grad_a), (b, grad_b) = (ppl.compile(model, d).value_and_gradient(at) for d in (data, missing))
    assert a == b
    for name in grad_a:
        np.testing.assert_array_equal(grad_a[name], grad_b[name])


SMALL = {"x": 8, "y": 8, "z": 8}


@pytest.mark.slow
def test_structure_grows_and_is_drawn(tmp_path):
    """On scales of the box the evolved power is the linear one of the same noise, to 30 %; pictures are written."""
    namespace = runpy.run_path(str(EXAMPLES / "05_structure.py"))
    drawn = namespace["draw"](1, **SMALL, shell=3)
    np.testing.assert_allclose(drawn["P_linear"][0], drawn["P_delta"][0], rtol=0.3)
    assert drawn["delta"].mean() == pytest.approx(0, abs=1e-4) and drawn["P_redshift"][0] > drawn["P_delta"][0]
    namespace["picture"](drawn, tmp_path / "structure.png")
    assert (tmp_path / "structure.png").stat().st_size > 20_000


@pytest.mark.slow
def test_initial_conditions_are_found_again(tmp_path):
    namespace = runpy.run_path(str(EXAMPLES / "06_initial_conditions.py"))
    data, truth = namespace["simulate"](1, **SMALL)
    found = namespace["recover"](data, draws=20, warmup=20, **SMALL)
    for fields in found.values():
        _, r = namespace["correlation"](fields["initial"], truth["initial"], shells=3)
        assert r[0] > 0.6
        assert np.corrcoef(fields["final"].ravel(), truth["final"].ravel())[0, 1] > 0.7
    namespace["picture"](truth, found, tmp_path / "initial.png")
    assert (tmp_path / "initial.png").stat().st_size > 20_000
