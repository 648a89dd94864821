"""The CUDA library without a GPU: it compiles for every architecture without spills, loads without a driver, and a
program of ours lowers to its targets."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from backend_cuda.native import NativeCollectives, build

from .virtual import binding, program, stack


def reason() -> str:
    try:
        build.find_nvcc()
    except build.BuildError as error:
        return str(error)
    return ""


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(reason()), reason=reason() or "nvcc is here")]


GOLDEN = Path(__file__).parents[2] / "golden"
COUNTS = {"cuda": 2 * 11 + 4 * 3, "virtual": 11 + 4 * 3, "particles": 5 * (2 * 3) + 2}
"""11 types of boxes, 4 of reductions by 3 kinds; 5 kernels by two types and three ranks, 1 by types alone."""


@pytest.mark.parametrize("name", COUNTS)
def test_kernels_spill_nothing_and_take_the_registers_that_they_took(tmp_path, name, golden, request):
    """Registers are a compiler's: there is a golden file for each release of nvcc that was seen."""
    command = build.cuda_commands(("-Xptxas", "-v", "-Xcompiler", "-Wall"))[build.KERNELS.index(name)]
    run = [re.sub(r"^OUT", str(tmp_path / "made"), word) for word in command]
    done = subprocess.run(run, cwd=build.HERE, capture_output=True, text=True, check=True)
    kernels = re.findall(
        r"Compiling entry function '(\S+)' for '(sm_\d+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads"
        r".*?Used (\d+) registers",
        done.stderr,
        re.DOTALL,
    )
    assert {arch for _, arch, *_ in kernels} == {f"sm_{a}" for a in build.ARCHITECTURES}
    assert len(kernels) == len(build.ARCHITECTURES) * COUNTS[name]
    assert {(stores, loads) for *_, stores, loads, _ in kernels} == {("0", "0")}
    assert max(int(registers) for *_, registers in kernels) <= 128, "two blocks of 256 threads on a multiprocessor"
    assert "warning" not in done.stderr
    file = f"registers/{name}_nvcc_{nvcc_release()}.txt"
    if not (GOLDEN / file).exists() and not request.config.getoption("--accept"):
        pytest.skip(f"registers by nvcc {nvcc_release()} are not known: `pytest --accept` writes {file}")
    golden(file, table(kernels))


def table(kernels: list[tuple[str, ...]]) -> str:
    """A kernel a line, with its registers on each architecture."""
    archs = [f"sm_{a}" for a in build.ARCHITECTURES]
    names = sorted({entry for entry, *_ in kernels})
    plain = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    taken = {(entry, arch): registers for entry, arch, *_, registers in kernels}
    rows = [
        f"{' '.join(f'{taken[entry, a]:>5}' for a in archs)}  {re.sub(r'^void |[(](?!anonymous).*$', '', shown)}\n"
        for entry, shown in zip(names, plain.splitlines(), strict=True)
    ]
    return f"{' '.join(archs)}  kernel\n{''.join(rows)}"


def nvcc_release() -> str:
    """Of the compiler: as 13.0.88."""
    said = subprocess.run([str(build.find_nvcc()), "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"release \S+, V([\d.]+)", said)[1]  # type: ignore[index]


@pytest.mark.skipif(not shutil.which("cuobjdump"), reason="no cuobjdump: pip install nvidia-cuda-cuobjdump")
def test_machine_code_adds_in_memory_and_flags_at_the_scope_of_the_system():
    command = ["cuobjdump", "--dump-sass", str(build.cuda_library())]
    sass = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    functions = dict(re.findall(r"Function : (\S+)\n(.*?)(?=Function :|\Z)", sass, re.DOTALL))
    assert functions
    for name, body in functions.items():
        if any(kind in name for kind in ("stage_kernel", "exchange_kernel", "all_reduce_kernel")):
            assert re.search(r"ST\S*\.STRONG\.SYS", body) and "MEMBAR" in body, name
        if any(kind in name for kind in ("pull_kernel", "exchange_kernel", "all_reduce_kernel")):
            assert re.search(r"LD\S*\.STRONG\.SYS", body), name
        if "paint" in name:
            assert re.search(r"RED\.E\.ADD|REDG?\.E\.ADD", body) and "ATOM.E.CAS" not in body, name


@pytest.mark.parametrize("name", ["cuda", "virtual"])
def test_flags_have_system_scope_and_no_peer_is_read_through_the_non_coherent_cache(name):
    nvcc = str(build.find_nvcc())
    command = [nvcc, "-O3", "-std=c++17", "-arch=compute_90", "-ptx", f"{name}.cu", "-o", "-"]
    ptx = subprocess.run(command, cwd=build.HERE, capture_output=True, text=True, check=True).stdout
    assert "st.release.sys.global.u64" in ptx and "ld.acquire.sys.global.u64" in ptx
    assert "membar.sys" in ptx or "fence.sc.sys" in ptx or "fence.acq_rel.sys" in ptx
    assert ".nc." not in ptx, "kernels' pointers must not be __restrict__ const"


def test_the_library_loads_without_a_driver_and_a_program_lowers_to_it():
    made = build.loaded("gpu")
    assert isinstance(made, build.Library), made
    x = stack("row=5", (5, 10, 4))

    def body(comm, x):
        return comm.all_reduce(comm.all_to_all(x, ("row",), 0, 1)[0, 0], ("row",), "sum")

    run = program(body, NativeCollectives(binding("row=5")), "row=5", 1)
    text = run.trace(x).lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("@meshbayes_exchange") == 1 and text.count("@meshbayes_all_reduce") == 1
