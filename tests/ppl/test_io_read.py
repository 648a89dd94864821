"""Every data format is read, and every way in which a file can be wrong is told with the file, the cause and a hint."""

import gzip
import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from ir.errors import Diagnostic
from ppl.io import as_data, read_data, read_many

FIELD = np.arange(30, dtype=np.float32).reshape(5, 6) / 7
NAMES = np.array(["AITKIN", "ANOKA", "BECKER"])


def test_npz_gives_every_array_by_name(tmp_path):
    np.savez(tmp_path / "d.npz", y=FIELD, n=np.int16(3), county=NAMES, big=FIELD.astype(">f4"))
    data = read_data(tmp_path / "d.npz")
    assert set(data) == {"y", "n", "county", "big"}
    np.testing.assert_array_equal(data["y"].value, FIELD)
    assert data["n"].value == 3 and data["n"].value.ndim == 0
    assert data["county"].is_text and data["county"].value.tolist() == NAMES.tolist()
    assert data["big"].value.dtype.isnative
    assert data["y"].source == f"{tmp_path / 'd.npz'}[y]" and data["y"].dims is None


def test_only_wanted_entries_are_read(tmp_path):
    np.savez(tmp_path / "d.npz", y=FIELD, bad=np.array([object()], dtype=object))
    data = read_data(tmp_path / "d.npz", wanted=["y"])
    assert set(data) == {"y"} and set(data.unread) == {"bad"}


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_stan_json(tmp_path, suffix):
    content = {
        "N": 3,
        "y": [1.5, None, "-inf"],
        "on": [True, False],
        "X": [[1, 2], [3, 4], [5, 6]],
        "county": ["a", "b"],
    }
    raw = json.dumps(content).encode()
    path = tmp_path / f"d{suffix}"
    path.write_bytes(gzip.compress(raw) if suffix.endswith("gz") else raw)
    data = read_data(path)
    np.testing.assert_array_equal(data["y"].value, [1.5, np.nan, -np.inf])
    assert data["X"].value.shape == (3, 2) and data["X"].value.dtype == np.int64
    assert data["on"].value.dtype == bool and data["county"].is_text
    assert int(data["N"].value) == 3


def test_hdf5_names_dims_and_text(tmp_path):
    import h5py

    with h5py.File(tmp_path / "d.h5", "w") as f:
        f["deep/e1"] = FIELD
        f["a/mask"], f["b/mask"] = FIELD > 1, FIELD > 2
        f["names"] = NAMES.astype(object)
        f["county"] = NAMES.astype(object)
        f["county"].make_scale("county")
        f["rate"] = np.arange(3.0, dtype=">f8")
        f["rate"].dims[0].attach_scale(f["county"])
    data = read_data(tmp_path / "d.h5")
    assert set(data) == {"e1", "a/mask", "b/mask", "names", "county", "rate"}
    assert data["a/mask"].value.dtype == bool
    assert data["names"].value.tolist() == NAMES.tolist()
    assert data["rate"].dims == ("county",) and data["rate"].coords["county"].tolist() == NAMES.tolist()
    assert data["rate"].value.dtype.isnative
    one = read_many([f"m={tmp_path / 'd.h5'}:b/mask"])["m"]
    np.testing.assert_array_equal(one.value, FIELD > 2)


def test_zarr_written_by_xarray_keeps_dims_and_labels(tmp_path):
    import xarray as xr

    rates = ("county", np.arange(3.0))
    dataset = xr.Dataset({"e1": (("x", "y"), FIELD), "rate": rates}, {"y": np.arange(6) * 0.5, "county": NAMES})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Zarr: fixed-width text is not in the format 3 specification
        dataset.to_zarr(tmp_path / "d.zarr", consolidated=False)
    data = read_data(tmp_path / "d.zarr")
    assert data["e1"].dims == ("x", "y")
    np.testing.assert_array_equal(data["e1"].coords["y"], np.arange(6) * 0.5)
    assert data["rate"].coords["county"].tolist() == NAMES.tolist() and data["county"].is_text
    np.testing.assert_array_equal(data["e1"].value, FIELD)


def test_zarr_of_one_array_is_named_like_the_folder(tmp_path):
    import zarr

    zarr.save_array(tmp_path / "e1.zarr", FIELD)
    np.testing.assert_array_equal(read_data(tmp_path / "e1.zarr")["e1"].value, FIELD)


def test_fits_images_and_tables_are_native(tmp_path):
    from astropy.io import fits

    columns = [fits.Column("z", "D", array=np.arange(4.0)), fits.Column("field", "8A", array=["a", "bb", "c", "d"])]
    extensions = [fits.ImageHDU(FIELD * 2, name="MASK"), fits.BinTableHDU.from_columns(columns, name="CATALOGUE")]
    fits.HDUList([fits.PrimaryHDU(FIELD), *extensions]).writeto(tmp_path / "e1.fits")
    data = read_data(tmp_path / "e1.fits")
    assert set(data) == {"e1", "MASK", "z", "field"}
    assert data["e1"].value.dtype == np.float32 and data["e1"].value.dtype.isnative
    np.testing.assert_array_equal(data["e1"].value, FIELD)
    assert data["field"].value.tolist() == ["a", "bb", "c", "d"]
    assert set(read_data(tmp_path / "e1.fits", wanted=["mask", "e1"])) == {"mask", "e1"}
    by_number = read_many([f"m={tmp_path / 'e1.fits'}:1"])["m"]
    np.testing.assert_array_equal(by_number.value, FIELD * 2)


def test_compressed_fits(tmp_path):
    from astropy.io import fits

    fits.PrimaryHDU(FIELD).writeto(tmp_path / "e1.fits.gz")
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(FIELD, name="e2")]).writeto(tmp_path / "e2.fits.fz")
    np.testing.assert_array_equal(read_data(tmp_path / "e1.fits.gz")["e1"].value, FIELD)
    np.testing.assert_allclose(read_many([f"e2={tmp_path / 'e2.fits.fz'}"])["e2"].value, FIELD, atol=0.2)


def test_manifest_scales_chooses_and_gives_values(tmp_path):
    from astropy.io import fits

    fits.HDUList([fits.PrimaryHDU(FIELD), fits.ImageHDU(FIELD * 2)]).writeto(tmp_path / "m.fits")
    np.save(tmp_path / "e1.npy", FIELD)
    (tmp_path / "data.toml").write_text(
        'e1 = "e1.npy"\nbox = 1.5\nbins = [1, 2]\n'
        'mask = {file = "m.fits", hdu = 1, scale = 0.5, dtype = "float64", dims = ["x", "y"]}\n'
    )
    data = read_data(tmp_path / "data.toml")
    assert data["box"].value == 1.5 and data["bins"].value.tolist() == [1, 2]
    np.testing.assert_array_equal(data["mask"].value, FIELD)
    assert data["mask"].value.dtype == np.float64 and data["mask"].dims == ("x", "y")
    (tmp_path / "data.json").write_text('{"e2": "e1.npy", "mask": {"file": "m.fits", "hdu": 0}, "box": 2}')
    as_json = read_data(tmp_path / "data.json")
    np.testing.assert_array_equal(as_json["e2"].value, FIELD)


def test_later_sources_win_and_duplicates_are_reported(tmp_path):
    np.savez(tmp_path / "a.npz", y=FIELD, box=1.0)
    np.save(tmp_path / "other.npy", FIELD + 1)
    data = read_many([tmp_path / "a.npz", f"y={tmp_path / 'other.npy'}", "box=104.4", "edges=[1, 2.5]"])
    np.testing.assert_array_equal(data["y"].value, FIELD + 1)
    assert data["box"].value == 104.4 and data["edges"].value.tolist() == [1, 2.5]
    assert len(data.notes) == 2 and "other.npy replaces" in data.notes[0]


def test_python_values_of_every_kind():
    import xarray as xr

    data = as_data({"a": 1, "b": [1.0, 2.0], "c": xr.DataArray(FIELD, dims=("x", "y"), coords={"y": np.arange(6)})})
    assert data["a"].value.shape == () and data["c"].dims == ("x", "y") and set(data["c"].coords) == {"y"}


def _truncated_fits(folder: Path) -> Path:
    from astropy.io import fits

    fits.PrimaryHDU(np.zeros((100, 100), np.float32)).writeto(folder / "cut.fits")
    raw = (folder / "cut.fits").read_bytes()
    (folder / "cut.fits").write_bytes(raw[:20000])
    return folder / "cut.fits"


def _truncated_npz(folder: Path) -> Path:
    np.savez(folder / "cut.npz", y=np.zeros(1000))
    raw = (folder / "cut.npz").read_bytes()
    (folder / "cut.npz").write_bytes(raw[:3000])
    return folder / "cut.npz"


def _truncated_h5(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "cut.h5", "w") as f:
        f["y"] = np.zeros(1000)
    raw = (folder / "cut.h5").read_bytes()
    (folder / "cut.h5").write_bytes(raw[:1500])
    return folder / "cut.h5"


def _pickled(folder: Path) -> Path:
    np.savez(folder / "objects.npz", y=np.array([{"a": 1}, None], dtype=object))
    return folder / "objects.npz"


def _text(name: str, text: str):
    def write(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return write


def _misspelt(folder: Path) -> Path:
    (folder / "survey.npz").write_bytes(b"x")
    return folder / "surveys.npz"


def _dates(folder: Path) -> Path:
    np.savez(folder / "dates.npz", t=np.array(["2026-01-01"], dtype="datetime64[D]"))
    return folder / "dates.npz"


def _vlen_h5(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "lists.h5", "w") as f:
        f.create_dataset("y", (2,), dtype=h5py.vlen_dtype(np.float64))
    return folder / "lists.h5"


def _bad_zarr(folder: Path) -> Path:
    (folder / "broken.zarr").mkdir()
    (folder / "broken.zarr" / "zarr.json").write_text("{not json")
    return folder / "broken.zarr"


WRONG = {
    "missing, with a neighbour": (_misspelt, ["surveys.npz", "no such file", "did you mean", "survey.npz"]),
    "missing folder": (lambda f: f / "nowhere" / "d.npz", ["no folder", "nowhere", "check the path"]),
    "unknown suffix": (_text("d.npx", "1"), ["'.npx'", "did you mean '.np"]),
    "no suffix": (_text("data", "1"), ["'data'", "known: .fit"]),
    "empty file": (_text("d.npz", ""), ["d.npz", "empty", "copy"]),
    "no arrays": (_text("d.json", "{}"), ["d.json", "no arrays"]),
    "not an npz": (_text("fake.npz", "hello"), ["fake.npz", "damaged", "copy it again"]),
    "not an npy": (_text("fake.npy", "hello there"), ["fake.npy", "damaged", "copy it again"]),
    "truncated npz": (_truncated_npz, ["cut.npz", "damaged", "copy it again"]),
    "truncated fits": (_truncated_fits, ["cut.fits", "cut short", "copy it again"]),
    "not fits": (_text("fake.fits", "hello"), ["fake.fits", "damaged"]),
    "truncated hdf5": (_truncated_h5, ["cut.h5", "cut short", "copy it again"]),
    "not gzip": (_text("fake.json.gz", "{}"), ["fake.json.gz", "damaged"]),
    "broken zarr": (_bad_zarr, ["broken.zarr", "damaged"]),
    "pickled objects": (_pickled, ["objects.npz[y]", "never loaded", "dtype=float"]),
    "dates": (_dates, ["dates.npz[t]", "dates", "store numbers"]),
    "lists in hdf5": (_vlen_h5, ["lists.h5[y]", "varying length", "one long array"]),
    "bad json": (_text("d.json", '{"y": [1, 2'), ["d.json:1:12", "not valid JSON", "json.tool"]),
    "a list in json": (_text("d.json", "[1, 2]"), ["d.json", "one object", '{"y"']),
    "a key twice": (_text("d.json", '{"y": 1, "y": 2}'), ["d.json", "'y' stands twice", "remove"]),
    "ragged": (_text("d.json", '{"y": [[1, 2], [3]]}'), ["d.json[y]", "[1] has 1 element where [0] has 2", "pad"]),
    "ragged deep": (
        _text("d.json", '{"y": [[[1], [2]], [[3], 4]]}'),
        ["[1][1] is a single value where [0][0] has 1 element"],
    ),
    "text among numbers": (_text("d.json", '{"y": [1, "two"]}'), ["d.json[y]", "[1] is 'two'", "numbers only"]),
    "an object in json": (_text("d.json", '{"y": {"a": 1}}'), ["d.json[y]", "an object with the keys a"]),
    "beyond 64 bits": (_text("d.json", '{"y": [100000000000000000000]}'), ["beyond 64 bits", "decimal point"]),
    "bad toml": (_text("data.toml", "e1 = "), ["data.toml", "not valid TOML"]),
    "manifest key": (
        _text("data.toml", 'e1 = {file = "a.npy", scales = 2}'),
        ["data.toml[e1]", "did you mean 'scale'"],
    ),
    "manifest file": (_text("data.toml", 'e1 = "e1.npy"'), ["e1.npy", "no such file"]),
    "manifest dtype": (_text("data.toml", 'e1 = {file = "a.npy", dtype = "half"}'), ["'half'", "one of bool"]),
    "manifest chooses twice": (_text("data.toml", 'e1 = {file = "a.fits", hdu = 1, entry = "b"}'), ["chooses twice"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_every_wrong_file_is_a_lesson(case, tmp_path):
    make, expected = WRONG[case]
    with pytest.raises(Diagnostic) as caught:
        read_data(make(tmp_path))
    told = caught.value.render()
    assert caught.value.kind == "data" and "hint: " in told
    for part in expected:
        assert part in told, told


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("e1=", ["nothing stands after", "--data NAME=FILE"]),
        ("2x=a.npz", ["'2x' is not a name"]),
        ("e1=FOLDER/d.npz", ["2 entries", "'y1'", "'y2'", "--data e1="]),
        ("e1=FOLDER/d.npz:y1x", ["no entry 'y1x'", "did you mean 'y1'"]),
    ],
)
def test_every_wrong_pair_is_a_lesson(source, expected, tmp_path):
    np.savez(tmp_path / "d.npz", y1=FIELD, y2=FIELD)
    with pytest.raises(Diagnostic) as caught:
        read_many([source.replace("FOLDER", str(tmp_path))])
    for part in expected:
        assert part in caught.value.render(), caught.value.render()


def test_wrong_python_values_are_lessons():
    with pytest.raises(Diagnostic, match="Python objects"):
        as_data({"y": np.array([1, None], dtype=object)})
    with pytest.raises(Diagnostic, match="ragged"):
        as_data({"y": [[1], [1, 2]]})
