"""`meshbayes predict`: draws from the prior, as files, the same on any mesh, and data for their own model."""

import numpy as np
import pytest
import xarray as xr

import ppl
from ppl.cli import main, read
from ppl.infer.after import prior_draws
from ppl.io.read import read_data
from ppl.request import PlanRequest
from tests.yardsticks.on_meshes import MACHINES

MODEL = """\
model line
dim obs, group = 3
data x[obs]: real
data cty[obs]: index[group]
data y[obs]: real
slope ~ Normal(0, 1)
shift[group] ~ Normal(slope, 2) @noncentered
wave = complex(slope, 1)
aside = 2 * slope @nosave
line[obs] = slope * x + shift[group = cty]
file = slope + 1
y[obs] ~ Normal(line, 0.1)
"""
GIVEN = '{"x": [1.0, 2.0, 3.0, 4.0], "cty": ["a", "b", "c", "a"]}\n'
NAMES = {"slope", "shift", "wave", "line", "file", "y"}
RAW = {"line": (4,), "y": (4,), "shift": (3,), "shift_raw": (3,)}


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "line.ppl").write_text(MODEL)
    (tmp_path / "x.json").write_text(GIVEN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def predict(*words: str) -> int:
    return main(["predict", "line.ppl", "--data", "x.json", *words])


def test_one_draw_has_the_dims_of_the_model_and_is_data_for_it(here, capsys):
    assert predict("--out", "draw.npz", "--seed", "3") == 0
    told = capsys.readouterr().out
    assert "  line[obs=4]\n" in told and "wrote draw.npz: 1 draw" in told
    drawn = np.load("draw.npz")
    assert {n: drawn[n].shape for n in drawn} == dict.fromkeys(NAMES, ()) | RAW
    line = drawn["slope"] * np.arange(1, 5) + drawn["shift"][[0, 1, 2, 0]]
    np.testing.assert_allclose(drawn["line"], line, rtol=1e-5)
    assert 0 < np.abs(drawn["y"] - line).max() < 0.6
    assert main(["check", "line.ppl", "--data", "x.json", "draw.npz"]) == 0
    mesh = ("--mesh", "row=2", "--out", "split.npz", "--seed", "3", "--quiet")
    assert predict(*mesh) == 0
    split = np.load("split.npz")
    np.testing.assert_array_equal(split["slope"], drawn["slope"])
    np.testing.assert_allclose(split["y"], drawn["y"], rtol=1e-6)


def test_several_draws_are_those_of_a_report_and_have_names_of_dims(here):
    assert predict("--out", "draws.zarr", "--draws", "5", "--seed", "2", "--quiet") == 0
    found = xr.open_zarr(here / "draws.zarr", consolidated=False)
    assert found["shift"].dims == ("draw", "group") and list(found["group"].values) == ["a", "b", "c"]
    data = {**{n: d.value for n, d in read_data(here / "x.json").items()}, "y": np.zeros(4)}
    posterior = ppl.compile(ppl.load("line.ppl"), data)
    report = prior_draws(posterior, 2, 5)
    np.testing.assert_allclose(found["y"], report["prior_predictive"]["y"][1][0], rtol=1e-6)
    np.testing.assert_allclose(found["slope"], report["prior"]["slope"][1][0], rtol=1e-6)
    assert len(np.unique(found["slope"])) == 5
    for i in (0, 1):
        same = ppl.compile(ppl.load("line.ppl"), data).draw_prior(2 + i)
        assert (same["slope"] == found["slope"][0]) == (i == 0)


def test_a_latent_can_be_held(here):
    assert predict("--out", "held.npz", "--fix", "slope=2.5", "--quiet") == 0
    held = np.load("held.npz")
    assert held["file"] == 3.5
    np.testing.assert_allclose(held["line"], 2.5 * np.arange(1, 5) + held["shift"][[0, 1, 2, 0]], rtol=1e-5)


def test_what_is_no_number_is_told(here, capsys):
    (here / "line.ppl").write_text("model bad\na ~ Normal(0, 1)\nb = log(-abs(a))\n")
    assert main(["predict", "line.ppl", "--out", "bad.npz", "--draws", "2", "--quiet"]) == 0
    assert capsys.readouterr().err == "warning: draw 0: b not finite\nwarning: draw 1: b not finite\n"


@pytest.mark.slow
def test_a_draw_beyond_what_devices_hold_is_planned_again(here, capsys, monkeypatch):
    """White noise of 200 times its size moves particles by more than the 2 cells of a block."""
    request = PlanRequest.make("row=2", machine=MACHINES["gathers are dear"])
    monkeypatch.setattr(read, "request", lambda args: request)
    (here / "far.ppl").write_text(
        "model far\nuse cosmology\ndim x = 4, y = 4, z = 4\nwhite[x, y, z] ~ Normal(0, 200)\n"
        'p = simulate(white, Planck18(), cell = 2.0, steps = 0, reach = 1, ownership = "halo")\n'
        "delta[x, y, z] = density(p) - 1\n"
    )
    assert main(["predict", "far.ppl", "--out", "far.npz", "--quiet"]) == 0
    told = capsys.readouterr().err
    assert told.startswith("note: draw 0: on the mesh [x, y, z] a particle has gone ") and "not finite" not in told
    assert "more than the reach of 1: planned again with reach = " in told
    assert np.isfinite(np.load("far.npz")["delta"]).all()


@pytest.mark.parametrize("target", ["draw.txt", "none/draw.npz", "there.zarr"])
def test_a_file_that_cannot_be_written_is_told_at_once(here, capsys, target):
    (here / "there.zarr").mkdir()
    assert predict("--out", target) == 2
    assert "hint: " in capsys.readouterr().err
