"""Draws appended block by block are what xarray and ArviZ read back, at every moment of the run."""

import errno

import numpy as np
import pytest

from ir.errors import Diagnostic, InternalError
from ppl.io import Draws, DrawsWriter, Spec, open_run, to_arviz
from ppl.io.arviz import arviz_major
from ppl.io.store import CHUNK_BYTES, chunk_shape

CHAINS, DRAWS = 3, 20
COUNTY = np.array(["AITKIN", "ANOKA", "BECKER", "CLAY", "COOK"])
SCHEMA = {
    "posterior": {
        "mu": Spec(),
        "alpha": Spec(("county",), (5,), "float32"),
        "field": Spec(("x", "y"), (6, 7), "float32"),
    },
    "sample_stats": {"diverging": Spec(dtype="bool"), "energy": Spec()},
    "observed_data": {"y": Spec(("obs",), (4,))},
}


def blocks(seed=0, draws=DRAWS):
    rng = np.random.default_rng(seed)
    posterior = {n: rng.normal(size=(CHAINS, draws, *s.shape)).astype(s.dtype) for n, s in SCHEMA["posterior"].items()}
    stats = {"diverging": rng.random((CHAINS, draws)) < 0.1, "energy": rng.normal(size=(CHAINS, draws))}
    return {"posterior": posterior, "sample_stats": stats}


def part(groups, start, stop):
    return {g: {n: v[:, start:stop] for n, v in variables.items()} for g, variables in groups.items()}


@pytest.fixture
def written(tmp_path):
    everything = blocks()
    attrs = {"seed": np.int64(7), "versions": {"jax": "0.10"}}
    with DrawsWriter(
        tmp_path / "draws.zarr", SCHEMA, CHAINS, draws=8, coords={"county": COUNTY}, attrs=attrs
    ) as writer:
        for start in range(0, DRAWS, 5):
            writer.append(**part(everything, start, start + 5))
        writer.write(observed_data={"y": np.arange(4.0)})
    return tmp_path, everything


def test_xarray_reads_what_was_appended(written):
    import xarray as xr

    folder, everything = written
    dataset = xr.open_zarr(folder / "draws.zarr", group="posterior")
    assert dict(dataset.sizes) == {"chain": 3, "draw": 20, "county": 5, "x": 6, "y": 7}
    assert dataset["alpha"].dims == ("chain", "draw", "county")
    assert dataset["county"].values.tolist() == COUNTY.tolist()
    np.testing.assert_array_equal(dataset["draw"], np.arange(DRAWS))
    for name, values in everything["posterior"].items():
        np.testing.assert_array_equal(dataset[name], values)
    tree = xr.open_datatree(folder / "draws.zarr", engine="zarr")
    assert set(tree.children) == {"posterior", "sample_stats", "observed_data"} and tree.attrs["seed"] == 7


def test_a_reader_never_sees_a_draw_that_is_not_published(tmp_path, monkeypatch):
    """A job that dies inside a block leaves arrays of unlike lengths; readers still see whole blocks."""
    import xarray as xr

    everything = blocks()
    writer = DrawsWriter(tmp_path / "draws.zarr", SCHEMA, CHAINS)
    writer.append(**part(everything, 0, 5))
    monkeypatch.setattr(DrawsWriter, "_publish", lambda self: None)
    writer.append(posterior=part(everything, 5, 9)["posterior"])
    dataset = xr.open_zarr(tmp_path / "draws.zarr", group="posterior")
    assert dataset.sizes["draw"] == 5
    np.testing.assert_array_equal(dataset["field"], everything["posterior"]["field"][:, :5])
    assert open_run(tmp_path).num_draws == 5


def test_a_resumed_run_cuts_back_to_the_checkpoint(tmp_path):
    everything = blocks()
    path = tmp_path / "draws.zarr"
    writer = DrawsWriter(path, SCHEMA, CHAINS, draws=8)
    writer.append(**part(blocks(seed=5), 0, 13))
    writer.append(posterior=part(everything, 13, 15)["posterior"])
    resumed = DrawsWriter(path, SCHEMA, CHAINS, resume=0)
    resumed.append(**part(everything, 0, 11))
    resumed = DrawsWriter(path, SCHEMA, CHAINS, resume={"posterior": 10, "sample_stats": 10})
    resumed.append(**part(everything, 10, DRAWS))
    back = open_run(tmp_path)
    assert back.num_draws == DRAWS and back.num_chains == CHAINS
    for name, values in everything["posterior"].items():
        np.testing.assert_array_equal(back["posterior"][name].values, values)
    with pytest.raises(Diagnostic, match="checkpoint is at draw 21"):
        DrawsWriter(path, SCHEMA, CHAINS, resume=21)


def test_stored_and_in_memory_draws_give_arviz_the_same(written):
    folder, everything = written
    dims = {g: {n: (SCHEMA[g][n].dims, v) for n, v in variables.items()} for g, variables in everything.items()}
    dims["observed_data"] = {"y": (("obs",), np.arange(4.0))}
    in_memory = to_arviz(Draws.of(dims, {"county": COUNTY}, {"seed": 7}))
    stored = open_run(folder).to_arviz()
    assert type(stored).__name__ == ("DataTree" if arviz_major() >= 1 else "InferenceData")
    for group in ("posterior", "sample_stats", "observed_data"):
        a, b = stored[group], in_memory[group]
        assert set(a.data_vars) == set(b.data_vars)
        for name in a.data_vars:
            np.testing.assert_array_equal(a[name].values, b[name].values)
            assert a[name].dims == b[name].dims
    assert (
        stored["posterior"]["alpha"].sel(county="ANOKA", chain=1, draw=2).item()
        == everything["posterior"]["alpha"][1, 2, 1]
    )


def test_a_dim_has_one_size():
    with pytest.raises(ValueError, match="dim 'k' has size 4, elsewhere 3"):
        Draws.of({"posterior": {"a": (("k",), np.zeros((2, 5, 3))), "b": (("k",), np.zeros((2, 5, 4)))}})


def test_prior_draws_have_one_chain(tmp_path):
    schema = {"prior": {"mu": Spec()}, "posterior": {"mu": Spec()}}
    with DrawsWriter(tmp_path / "draws.zarr", schema, 4) as writer:
        writer.append(prior={"mu": np.zeros((1, 9))})
        writer.append(posterior={"mu": np.zeros((4, 2))})
    assert open_run(tmp_path)["prior"]["mu"].shape == (1, 9)


@pytest.mark.parametrize(
    "spec",
    [Spec(), Spec(("x",), (919,)), Spec(("x", "y"), (600, 700), "float32"), Spec(("x", "y", "z"), (300, 310, 320))],
)
def test_chunks_are_bounded(spec):
    chunks = chunk_shape(spec, chains=4, draws=None)
    size = np.prod(chunks) * np.dtype(spec.dtype).itemsize
    assert size <= CHUNK_BYTES and len(chunks) == 2 + len(spec.shape)
    if np.prod(spec.shape) > 500:
        assert size >= CHUNK_BYTES / 4


def test_wrong_blocks_are_our_error(tmp_path):
    writer = DrawsWriter(tmp_path / "draws.zarr", {"posterior": {"a": Spec(), "b": Spec()}}, 2)
    with pytest.raises(InternalError, match="must have exactly"):
        writer.append(posterior={"a": np.zeros((2, 3))})
    with pytest.raises(InternalError, match="different lengths"):
        writer.append(posterior={"a": np.zeros((2, 3)), "b": np.zeros((2, 4))})
    with pytest.raises(InternalError, match="blocks of shape"):
        writer.append(posterior={"a": np.zeros((3, 3)), "b": np.zeros((3, 3))})


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, ["disk is full", "run again"]),
        (errno.EDQUOT, ["quota"]),
        (errno.EROFS, ["no permission", "--out"]),
        (errno.EIO, ["cannot be read or written", "check the disk"]),
    ],
)
def test_disk_errors_are_run_diagnostics(tmp_path, monkeypatch, number, expected):
    writer = DrawsWriter(tmp_path / "draws.zarr", {"posterior": {"a": Spec()}}, 2)

    def fail(*_):
        raise OSError(number, "from the test")

    monkeypatch.setattr(DrawsWriter, "_append", fail)
    with pytest.raises(Diagnostic) as caught:
        writer.append(posterior={"a": np.zeros((2, 3))})
    told = caught.value.render()
    assert caught.value.kind == "run" and "draws.zarr" in told
    for words in expected:
        assert words in told


def test_a_store_in_the_way_or_not_there_is_told(tmp_path):
    DrawsWriter(tmp_path / "draws.zarr", {"posterior": {"a": Spec()}}, 2)
    with pytest.raises(Diagnostic, match="draws already"):
        DrawsWriter(tmp_path / "draws.zarr", {"posterior": {"a": Spec()}}, 2)
    with pytest.raises(Diagnostic, match="no draws to go on from"):
        DrawsWriter(tmp_path / "other.zarr", {"posterior": {"a": Spec()}}, 2, resume=0)
    with pytest.raises(Diagnostic, match="no draws here"):
        open_run(tmp_path / "nowhere")
    (tmp_path / "draws.zarr" / "zarr.json").write_text("{broken")
    with pytest.raises(Diagnostic, match="damaged"):
        open_run(tmp_path)
