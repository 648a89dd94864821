"""The table of collectives: its formulas are nccl-tests', its checks find what is wrong, its mistakes are one line."""

import json

import jax
import pytest

import backend_cuda
from backend_cuda import LAX, LaxCollectives
from backend_cuda.bench import __main__ as program
from backend_cuda.bench import runs
from backend_cuda.bench.arguments import parser, read
from backend_cuda.bench.measure import DTYPES, Reading, Row, check, random_blocks, rows
from backend_cuda.bench.operations import OPERATIONS, operation
from backend_cuda.bench.runs import BOTH, Failed, Told
from backend_cuda.bench.table import header, line, summary
from ir.mesh import Mesh

MESH = Mesh.parse("row=2,col=2")


@pytest.fixture(scope="module")
def devices():
    return backend_cuda.device_mesh(MESH)


# (n - 1) / n and twice that: doc/PERFORMANCE.md of nccl-tests; send and receive: 1 (sendrecv.cu there). Counts are
# those of its calls. Of a block of 8 x 8 x 8 a slab's halo is 2 x 64 elements, that of a pencil 10 x 10 x 8 - 512.
@pytest.mark.parametrize(
    ("name", "shape", "message", "count", "factor"),
    [
        ("all_reduce", (512,), 512, 512, 1.5),
        ("all_gather", (128,), 512, 128, 0.75),
        ("reduce_scatter", (512,), 512, 128, 0.75),
        ("all_to_all", (2, 8, 32), 512, 128, 0.75),
        ("permute", (512,), 512, 512, 1.0),
        ("halo", (8, 8, 8), 512, 128, 0.25),
        ("halos", (8, 8, 8), 512, 288, 0.5625),
    ],
)
def test_sizes_and_bus_factors_are_those_of_nccl_tests(name, shape, message, count, factor):
    op = operation(name, MESH, 1)
    assert op.shape(512) == shape
    assert (op.message(shape), op.count(shape), op.factor(shape)) == (message, count, factor)


def test_a_message_too_small_to_deal_out_has_no_row():
    assert [operation(n, MESH, 3).shape(3) for n in OPERATIONS] == [(3,), None, None, None, (3,), None, None]


@pytest.mark.parametrize("dtype", ["f32", "s64", "c64"])
def test_lax_does_what_numpy_says(dtype, devices):
    for name in OPERATIONS:
        op = operation(name, MESH, 2)
        shape = op.shape(300)
        assert shape is not None
        with jax.enable_x64(True):
            assert check(op, LAX, random_blocks(4, shape, dtype), devices) == 0, name


class Faulty(LaxCollectives):
    """Each adds to one element of a rank's result what no tolerance allows."""

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name not in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "permute", "halo"):
            return found

        def faulty(x, *rest):
            y = found(x, *rest)
            first = jax.lax.axis_index(jax.sharding.get_abstract_mesh().axis_names) == 0
            return y.reshape(-1).at[0].add(jax.numpy.where(first, 1e-2, 0).astype(y.dtype)).reshape(y.shape)

        return faulty


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n != "halos"])
def test_one_wrong_element_is_counted(name, devices):
    """Where a result may lie in its operand's place, it is checked there too."""
    op = operation(name, MESH, 1)
    blocks = random_blocks(4, op.shape(256) or (), "f32")
    with jax.enable_x64(True):
        assert check(op, Faulty(), blocks, devices) == (2 if op.in_place else 1)


ROW = Row("all_reduce", 4_000_000, 1_000_000, "f32", 1.5, {"native": Reading(1e-3, 0), "jax.lax": Reading(2e-3, 3)})


def test_lines_have_bandwidths_of_the_size_over_the_time():
    cells = "all_reduce 4000000 1000000 f32 1000.00 4.000 6.000 0 2000.00 2.000 3.000 3 - - - -"
    assert " ".join(line(ROW, (*BOTH.names, "more")).split()) == cells
    assert len(header(BOTH.names).splitlines()[1]) == len(line(ROW, BOTH.names)), "columns stand under their heads"


def test_the_summary_compares_what_all_have_and_says_what_is_wrong():
    alone = Row("permute", 8, 2, "f32", 1.0, {"native": None, "jax.lax": Reading(1.0, 1)})
    assert summary([ROW, alone], BOTH.names).splitlines() == [
        "# out of bounds values : 4 FAILED",
        "# average bus bandwidth : 6 GB/s, native, of 1 cases",
        "# average bus bandwidth : 3 GB/s, jax.lax, of 1 cases",
    ]
    assert "0 OK" in summary([], BOTH.names)


def test_rows_of_a_quick_run_in_this_process(devices):
    ops = {name: operation(name, MESH, 2) for name in ("all_to_all", "halos")}
    made = list(rows(ops, [8, 4096, 4099], "f32", {"jax.lax": LAX}, devices, repeats=1, aim=1e-3))
    assert [(r.collective, r.size) for r in made] == [("all_to_all", 4096), ("halos", 4096)]
    for r in made:
        assert (found := r.readings["jax.lax"]) is not None and found.wrong == 0 < found.seconds < 1


@pytest.mark.parametrize("processes", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_the_program_prints_a_table_and_writes_its_figures(processes, capfd, tmp_path):
    out = tmp_path / "figures.json"
    where = ["--processes", str(processes), "--mesh", "row=4"] if processes else ["--mesh", "row=4"]
    asked = ["--from", "2KiB", "--to", "128KiB", "--factor", "64", "--collective", "all_to_all", "all_reduce"]
    assert program.main([*where, *asked, "--repeats", "1", "--json", str(out)]) == 0
    said = capfd.readouterr().out
    assert "# mesh row=4, cpu" in said and "# out of bounds values : 0 OK" in said
    table = [text.split() for text in said.splitlines() if not text.startswith("#")]
    assert [r[:4] for r in table] == [
        ["all_to_all", "2048", "128", "f32"],
        ["all_to_all", "131072", "8192", "f32"],
        ["all_reduce", "2048", "512", "f32"],
        ["all_reduce", "131072", "32768", "f32"],
    ]
    assert table[3][4:8] == ["-"] * 4, "an all-reduce of more than 64 KiB is left to jax.lax"
    told = json.loads(out.read_text())
    first = told["rows"][0]["readings"]["native"]
    assert first["bus_bandwidth"] == pytest.approx(0.75 * 2048 / first["seconds"]) and first["wrong"] == 0


def test_on_gpus_further_flags_are_runs_of_their_own(monkeypatch, capsys):
    """Of the two runs with flags one fails, which is said; the other one's readings come beside the first run's."""
    seen = []

    def run(request, variant):
        seen.append((variant.names, variant.flags))
        if "symmetric" in variant.flags:
            raise Failed("a process ended with exit code 1: unknown flag")
        yield Told("gpu", "row=8", {})
        yield Row("all_reduce", 8, 2, "f32", 1.75, {name: Reading(1e-6, 0) for name in variant.names})

    monkeypatch.setattr(program, "run", run)
    assert program.main(["--mesh", "row=8", "--collective", "all_reduce"]) == 0
    said = capsys.readouterr().out
    assert seen == [(BOTH.names, ""), *(((name,), flags) for name, flags in runs.GPU_FLAGS.items())]
    (row,) = [text.split() for text in said.splitlines() if not text.startswith("#")]
    assert row[-8:-4] == row[4:8] and row[-4:] == ["-"] * 4
    assert "symmetric buffers (--xla_gpu_experimental_enable_nccl_symmetric_buffers=true): a process ended" in said


def test_wrong_values_fail_the_run(monkeypatch, capsys):
    monkeypatch.setattr(program, "run", lambda request, variant: iter([Told("cpu", "row=8", {}), ROW]))
    assert program.main([]) == 1
    assert "3 FAILED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--from", "1KB"], '--from: "1KB" is no size'),
        (["--from", "8MiB", "--to", "1KiB"], "--from: 8MiB is more than 1KiB"),
        (["--factor", "1"], '--factor: "1" is not a whole number'),
        (["--collective", "alltoall"], '--collective: there is no "alltoall"'),
        (["--collective", "halos", "--mesh", "row=8"], "halos are of two or three mesh axes, and there are 1"),
        (["--dtype", "f16"], '--dtype: there is no "f16"'),
        (["--mesh", "row=x"], '--mesh: cannot read the mesh "row=x"'),
        (["--mesh", "1"], "--mesh: one device has no collectives"),
        (["--processes", "1"], "--mesh: one device has no collectives"),
        (["--processes", "3", "--mesh", "row=8"], "--processes: 8 devices cannot be dealt out to 3 processes"),
        (["--json", "/nowhere/figures.json"], "--json: cannot write /nowhere/figures.json"),
        (["--sizes", "3"], "unrecognized arguments: --sizes 3"),
    ],
)
def test_mistakes_are_one_diagnostic_and_exit_code_2(given, said, capsys):
    assert program.main(given) == 2
    error = capsys.readouterr().err
    assert error.startswith("argument error: ") or error.startswith("plan error: ")
    assert said in error and "hint: " in error and "Traceback" not in error


def test_a_request_has_all_that_the_options_say():
    sizes, where = ["--from", "1KiB", "--to", "1MiB", "--factor", "4"], ["--mesh", "a=2,b=3", "--processes", "2"]
    asked = read([*sizes, *where, "--dtype", "f64", "--width", "2"])
    assert asked.sizes == tuple(4**k for k in range(5, 11)) and asked.collectives == tuple(OPERATIONS)
    assert (str(asked.mesh), asked.processes, asked.dtype, asked.width) == ("a=2,b=3", 2, "f64", 2)
    assert set(DTYPES) <= set(parser().format_help().replace(",", " ").split())


def test_a_run_takes_no_longer_than_its_limit(monkeypatch):
    monkeypatch.setattr(runs, "_free_port", lambda: 1)
    with pytest.raises(Failed, match=r"not done within 1 s"):
        list(runs.run(read(["--mesh", "row=2", "--limit", "1"]), BOTH))
