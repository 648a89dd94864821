"""Data that fits is put into the declared form; data that does not is refused with both sides named."""

import numpy as np
import pytest

from ir.errors import Diagnostic, Source, Span
from ppl.io import Data, Datum, Declaration, as_data, check_data

TEXT = Source("radon.ppl", "model radon\ndata floor[obs]: real\n")
SPAN = Span(TEXT, 2, 6, 2, 11)
NONE = {"obs": None, "county": None}


def declare(name, *dims, **rest):
    return Declaration(name, dims, span=SPAN, **rest)


RADON = [
    declare("floor", "obs"),
    declare("cty", "obs", type="index", index_dim="county"),
    declare("y", "obs"),
]


def radon(**changes):
    return {"floor": [0, 1, 1, 0], "cty": [0, 2, 1, 2], "y": [0.5, 1.5, -0.5, 0.25]} | changes


def test_sizes_come_from_the_data():
    checked = check_data(RADON, radon(), NONE)
    assert checked.dim_sizes == {"obs": 4, "county": 3}
    assert checked.data["floor"].value.dtype == np.float64 and checked.data["cty"].value.dtype == np.int32
    assert checked.data["y"].dims == ("obs",)
    assert any("county" in n and "largest index" in n for n in checked.notes)


def test_labels_are_numbered_and_become_coordinates():
    checked = check_data(RADON, radon(cty=["B", "C", "A", "C"]), NONE)
    assert checked.data["cty"].value.tolist() == [1, 2, 0, 2]
    assert checked.coords["county"].tolist() == ["A", "B", "C"]


def test_labels_named_like_the_dim_set_the_order():
    checked = check_data(RADON, radon(cty=["B", "C", "A", "C"], county=["C", "B", "A", "D"]), NONE)
    assert checked.data["cty"].value.tolist() == [1, 0, 2, 0]
    assert checked.dim_sizes["county"] == 4 and not any("ignored" in n for n in checked.notes)


def test_two_indices_of_one_dim_share_their_labels():
    games = [declare(n, "game", type="index", index_dim="team") for n in ("home", "away")]
    checked = check_data(games, {"home": ["b", "c"], "away": ["a", "b"]}, {"game": None, "team": None})
    assert checked.data["home"].value.tolist() == [1, 2] and checked.data["away"].value.tolist() == [0, 1]


def test_index_base_one_shifts():
    checked = check_data(RADON, radon(cty=[1, 3, 2, 3]), NONE, index_base=1)
    assert checked.data["cty"].value.tolist() == [0, 2, 1, 2] and checked.dim_sizes["county"] == 3


def test_an_integer_named_like_a_dim_gives_its_size():
    checked = check_data(RADON, radon(county=7), NONE)
    assert checked.dim_sizes["county"] == 7


def test_named_dims_in_another_order_are_transposed():
    field = np.arange(12.0).reshape(3, 4)
    data = Data({"e1": Datum(field, ("y", "x"), {"x": np.arange(4) * 0.5}, "e1.zarr")})
    checked = check_data([declare("e1", "x", "y")], data, {"x": None, "y": None})
    np.testing.assert_array_equal(checked.data["e1"].value, field.T)
    np.testing.assert_array_equal(checked.coords["x"], np.arange(4) * 0.5)


def test_defaults_fill_the_declared_shape():
    checked = check_data([declare("y", "obs"), declare("w", "obs", default=2.0)], {"y": [1.0, 2.0, 3.0]}, {"obs": None})
    assert checked.data["w"].value.tolist() == [2.0, 2.0, 2.0]


def test_missing_values_pass_under_a_mask():
    rows = [
        declare("y", "obs", may_be_missing=True, lower=0.0),
        declare("n", "obs", type="int", may_be_missing=True, lower=1),
    ]
    checked = check_data(rows, {"y": [1.0, np.nan], "n": [3.0, np.nan]}, {"obs": None})
    assert np.isnan(checked.data["y"].value[1]) and checked.data["n"].value.tolist() == [3, 1]


def test_whole_floats_are_integers_and_float32_stays():
    rows = [declare("n", "obs", type="int"), declare("y", "obs"), declare("m", "obs", type="bool")]
    data = {"n": np.array([1.0, 2.0], np.float32), "y": np.array([1, 2], np.float32), "m": [1, 0]}
    checked = check_data(rows, data, {"obs": None})
    kinds = [checked.data[n].value.dtype for n in ("n", "y", "m")]
    assert kinds == [np.int64, np.float32, np.bool_]


def test_extra_data_is_noted():
    checked = check_data(RADON, radon(extra=3), NONE)
    assert any("ignored" in n and "'extra'" in n for n in checked.notes)


FIELDS = [declare("e1", "x", "y"), declare("e2", "x", "y")]
WRONG = {
    "missing": (RADON, {"flor": [1.0], "cty": [0]}, NONE, ["floor[obs]", "y[obs]", "did you mean 'flor' for 'floor'"]),
    "nothing given": (
        RADON,
        {},
        NONE,
        ["floor[obs]: real; cty[obs]: index[county]", "given: nothing", "--data floor="],
    ),
    "rank": (RADON, radon(y=[[1.0], [2.0]]), NONE, ["'y' needs 1 dim [obs]", "shape (2, 1)", "squeeze"]),
    "scalar for array": (RADON, radon(y=1.0), NONE, ["'y' needs 1 dim", "the data has 0", "declare data y: real"]),
    "array for scalar": ([declare("box")], {"box": [1.0]}, {}, ["a single number", "shape (1,)", "box.item()"]),
    "two sizes": (RADON, radon(y=[1.0, 2.0]), NONE, ["size 4 in 'floor' of shape (4,)", "size 2 in 'y' of shape (2,)"]),
    "declared size": (RADON, radon(), NONE | {"obs": 5}, ["size 5 in the model", "size 4 in 'floor'"]),
    "transposed": (
        FIELDS,
        {"e1": np.zeros((3, 4)), "e2": np.zeros((4, 3))},
        {"x": None, "y": None},
        ["'e2' needs the shape [x=3, y=4] and has (4, 3)", "looks transposed"],
    ),
    "strange dims": (
        [FIELDS[0]],
        Data({"e1": Datum(np.zeros((3, 4)), ("x", "row"), {}, "a.zarr")}),
        {"x": None, "y": None},
        ["[x, y]", "[x, row]", "a.zarr", "rename"],
    ),
    "empty": (RADON, radon(y=[]), NONE, ["'y' is empty"]),
    "part for int": (
        [declare("n", "obs", type="int")],
        {"n": [1.0, 2.5]},
        NONE,
        ["needs int values", "n[obs=1] = 2.5", "1 of 2 values is so", "round"],
    ),
    "complex for real": (RADON, radon(y=np.ones(4) * 1j), NONE, ["needs real values", "complex numbers"]),
    "text for real": (RADON, radon(y=["a", "b", "c", "d"]), NONE, ["the data has text", "index["]),
    "two for bool": ([declare("m", "obs", type="bool")], {"m": [0, 2]}, NONE, ["m[obs=1] = 2", "true, false, 1 or 0"]),
    "nan": (
        FIELDS[:1],
        {"e1": np.where(np.eye(3, 4, 1) > 0, np.nan, 1.0)},
        {"x": None, "y": None},
        ["e1[x=0, y=1] = nan is not a finite number", "3 of 12 values are so", "where(mask"],
    ),
    "inf": (RADON, radon(y=[1.0, 2.0, np.inf, 1.0]), NONE, ["y[obs=2] = inf", "1 of 4 values is so"]),
    "below": ([declare("r", lower=0.0)], {"r": -2.5}, {}, ["r = -2.5 is below the lower bound 0", "correct"]),
    "above": ([declare("p", "obs", upper=1.0)], {"p": [0.5, 3.0]}, NONE, ["p[obs=1] = 3 is above the upper bound 1"]),
    "one-based, known size": (
        RADON,
        radon(cty=[1, 3, 2, 3]),
        NONE | {"county": 3},
        ["cty[obs=1] = 3 is outside 0 .. 2", "--index-base 1"],
    ),
    "one-based, unknown size": (RADON, radon(cty=[1, 3, 2, 3]), NONE, ["from 1 to 3 with no 0", "--index-base 1"]),
    "index too large": (RADON, radon(cty=[0, 9, 2, 3]), NONE | {"county": 3}, ["cty[obs=1] = 9", "counted 0 to 2"]),
    "index negative": (RADON, radon(cty=[0, -1, 2, 3]), NONE, ["cty[obs=1] = -1 is outside 0 .. 3", "count from 0"]),
    "index not whole": (RADON, radon(cty=[0, 0.5, 2, 3]), NONE, ["cty[obs=1] = 0.5", "whole numbers, or text labels"]),
    "unknown label": (
        RADON,
        radon(cty=["A", "B", "Bx", "A"], county=["A", "B"]),
        NONE,
        ["cty[obs=2] = 'Bx' is not a label of dim 'county'", "did you mean 'B'"],
    ),
    "label twice": (RADON, radon(cty=["A"] * 4, county=["A", "A"]), NONE, ["'A' of dim 'county' stands 2 times"]),
    "too few labels": (
        RADON,
        radon(cty=["A"] * 4),
        NONE | {"county": 3},
        ["size 3", "1 different labels", "all 3 labels"],
    ),
    "labels and numbers": (
        [declare(n, "game", type="index", index_dim="team") for n in ("home", "away")],
        {"home": ["b", "c"], "away": [0, 1]},
        {"game": None, "team": None},
        ["'home' gives the elements of 'team' as labels and 'away' as numbers"],
    ),
    "size unknown": ([declare("box")], {"box": 1.0}, {"k": None}, ["the size of dim 'k'", "--set k=10"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_every_misfit_is_a_lesson(case):
    declarations, data, sizes, expected = WRONG[case]
    with pytest.raises(Diagnostic) as caught:
        check_data(declarations, data, sizes)
    told = caught.value.render()
    assert caught.value.kind == "data" and "hint: " in told
    if case not in ("size unknown", "label twice"):
        assert "radon.ppl:2:6" in told and "^^^^^" in told
    for part in expected:
        assert part in told, told


def test_index_base_one_with_a_zero_is_refused():
    with pytest.raises(Diagnostic) as caught:
        check_data(RADON, radon(), NONE, index_base=1)
    assert "leave --index-base 1 out" in caught.value.render()


def test_the_file_of_every_array_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", floor=np.zeros(4), cty=np.zeros(4, int), y=np.zeros(3))
    from ppl.io import read_data

    with pytest.raises(Diagnostic) as caught:
        check_data(RADON, read_data(tmp_path / "a.npz"), NONE)
    assert "a.npz[floor]" in caught.value.render() and "a.npz[y]" in caught.value.render()


def test_checked_data_is_in_the_order_of_the_declarations():
    assert list(check_data(RADON, as_data(radon()), NONE).data) == ["floor", "cty", "y"]
