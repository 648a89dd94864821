"""Building the compiled libraries on first use, on the user's machine, with the user's compiler.

The sources ship beside this file. What is built is kept in a folder of the user's cache that is named by a digest of
the sources, the compiler's command and the version of jaxlib's FFI: nothing stale is loaded, versions stand side by
side. Headers newer than the running jaxlib would disable its whole backend: they are that jaxlib's own.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jax

from ir.errors import Diagnostic
from ir.native import MODE, mode

HERE = Path(__file__).parent
ARCHITECTURES = (80, 90)
"""Compute capabilities of the CUDA library: A100, H100 and H200; newer ones compile the last one's PTX."""

_NAMES = ("exchange", "all_reduce", "after", "virtual_exchange", "virtual_all_reduce", "paint", "read", "read_slopes")
TARGETS = tuple(f"meshbayes_{name}" for name in _NAMES)
"""What both libraries offer to XLA."""
SHARED = ("core.h", "stream.h", "particles.h", "ffi_particles.h")
"""Headers of both."""
KERNELS = ("cuda", "communicators", "virtual", "particles")
"""The sources that nvcc compiles."""


class BuildError(Exception):
    """No library: why, in words for the user."""


@dataclass(frozen=True)
class Library:
    """A loaded library, and a digest that tells whether two processes have the same one."""

    handle: ctypes.CDLL
    digest: str


def library(platform: str = "cpu", planned: bool = False) -> Library | None:
    """The library of a platform, cpu or gpu, for programs, its targets registered; None where jax.lax is to be used.

    That is where the user asks for it, where the library cannot be built, which is said once, and on GPUs unless the
    user asks for native or a plan does (`planned`), by figures that were measured there: it has run on none yet.
    """
    wanted = mode()
    if wanted == "lax" or (platform == "gpu" and wanted == "auto" and not planned):
        return None
    made = loaded(platform)
    if isinstance(made, Library):
        return made
    if wanted == "native":
        raise Diagnostic("run", f"the native collectives cannot be built: {made}", hint=_remedy(platform), where=MODE)
    _say_once(made)
    return None


def kernels(platform: str) -> Library:
    """The library for a platform, whatever collectives are asked for; a `Diagnostic` where it cannot be built."""
    made = loaded(platform)
    if isinstance(made, Library):
        return made
    raise Diagnostic("run", f"hand-written kernels cannot be built: {made}", hint=_remedy(platform))


def _remedy(platform: str) -> str:
    if platform == "gpu":
        return f"install CUDA's compiler, or pip install 'nvidia-cuda-nvcc'; {MODE}=lax does without"
    return f"install g++, or name a C++17 compiler with CXX; {MODE}=lax does without"


@cache
def loaded(platform: str) -> Library | str:
    """The library of a platform, cpu or gpu, with its targets registered, or why there is none."""
    try:
        path = host_library() if platform == "cpu" else cuda_library()
        handle = ctypes.CDLL(str(path))
    except (BuildError, OSError) as error:
        return str(error)
    for name in TARGETS:
        capsule = jax.ffi.pycapsule(getattr(handle, name))
        jax.ffi.register_ffi_target(name, capsule, platform="cpu" if platform == "cpu" else "CUDA")
    create = handle.meshbayes_create if platform == "cpu" else handle.meshbayes_cuda_create
    create.restype = ctypes.c_int64
    return Library(handle, path.parent.name)


@cache
def _say_once(why: str) -> None:
    print(f"note: collectives and particles are left to JAX: {why}", file=sys.stderr)


def host_command(extra: Sequence[str] = ()) -> list[str]:
    """How the host library is compiled; `OUT` stands for the output."""
    wanted = shlex.split(os.environ.get("CXX", ""))
    found = wanted or [c for c in ("g++", "c++", "clang++") if shutil.which(c)][:1]
    if not found or not shutil.which(found[0]):
        raise BuildError(f"no C++ compiler ({found[0] if found else 'g++'} is not on the PATH)")
    flags = [
        "-O3",
        "-fno-trapping-math",
        "-std=c++17",
        "-fPIC",
        "-shared",
        "-pthread",
        "-isystem",
        jax.ffi.include_dir(),
    ]
    return [*found, *flags, *extra, "cpu.cc", "-o", "OUT", "-lrt"]


def cuda_commands(extra: Sequence[str] = ()) -> list[list[str]]:
    """How the CUDA library is compiled: kernels by nvcc, XLA's side by g++, linked with a static runtime."""
    nvcc, (cxx, *_) = str(find_nvcc()), host_command()
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
    targets.append(f"-gencode=arch=compute_{ARCHITECTURES[-1]},code=compute_{ARCHITECTURES[-1]}")
    common = ["-O3", "-std=c++17"]
    headers = ["-isystem", jax.ffi.include_dir()]
    kernels = [nvcc, *common, "-Xcompiler", "-fPIC", "-ccbin", cxx, *targets, *extra]
    return [
        *([*kernels, "-c", f"{name}.cu", "-o", f"OUT.{name}.o"] for name in KERNELS),
        [cxx, *common, "-fPIC", *headers, "-c", "ffi_cuda.cc", "-o", "OUT.ffi.o"],
        [nvcc, "-shared", "-ccbin", cxx, *(f"OUT.{name}.o" for name in KERNELS), "OUT.ffi.o", "-o", "OUT"],
    ]


def host_library() -> Path:
    """The host library's file; `BuildError` without a C++ compiler."""
    return built("meshbayes_cpu", (*SHARED, "host.h", "particles_cpu.h", "cpu.cc"), [host_command()])


def cuda_library() -> Path:
    """The CUDA library's file; `BuildError` without nvcc."""
    sources = (*SHARED, "cuda.h", "communicators.h", "device.h", *(f"{name}.cu" for name in KERNELS), "ffi_cuda.cc")
    return built("meshbayes_cuda", sources, cuda_commands())


def find_nvcc() -> Path:
    """nvcc of CUDA_HOME, of the PATH or of the PyPI toolchain (nvidia-cuda-nvcc); `BuildError` without."""
    places = [Path(os.environ[v]) / "bin" for v in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(v)]
    places += [Path(p) for p in os.environ.get("PATH", "").split(os.pathsep) if p]
    spec = importlib.util.find_spec("nvidia")
    for root in (spec and spec.submodule_search_locations) or ():
        places += [p.parent for p in sorted(Path(root).glob("*/bin/nvcc"))]
    for place in places:
        if os.access(place / "nvcc", os.X_OK):
            return place / "nvcc"
    raise BuildError("no nvcc in CUDA_HOME, on the PATH or from PyPI (nvidia-cuda-nvcc)")


def ffi_version() -> str:
    """The version of the FFI in jaxlib's headers, as "0.3"."""
    text = (Path(jax.ffi.include_dir()) / "xla/ffi/api/c_api.h").read_text()
    return ".".join(re.search(rf"#define XLA_FFI_API_{part} (\d+)", text)[1] for part in ("MAJOR", "MINOR"))  # type: ignore[index]


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meshbayes" / "native"


def built(name: str, sources: Sequence[str], commands: Sequence[Sequence[str]]) -> Path:
    """The library's file, compiled if the cache has none of these sources and commands.

    Processes that start at once wait for the first one's; a file appears whole or not at all.
    """
    digest = hashlib.sha256(f"{commands} {ffi_version()} {jax.__version__}".encode())
    for source in sources:
        digest.update((HERE / source).read_bytes())
    file = cache_folder() / digest.hexdigest()[:24] / f"{name}.so"
    if file.exists():
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file.parent / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not file.exists():
                _compile(file, commands)
    except OSError as error:
        raise BuildError(f"{error.filename or file.parent}: {error.strerror}") from error
    return file


def _compile(file: Path, commands: Sequence[Sequence[str]]) -> None:
    with tempfile.TemporaryDirectory(dir=file.parent) as work:
        out = str(Path(work) / file.name)
        for command in commands:
            run = [re.sub(r"^OUT(?=$|\.)", lambda _: out, word) for word in command]
            done = subprocess.run(run, cwd=HERE, capture_output=True, text=True)
            if done.returncode:
                first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip())
                raise BuildError(f"{run[0]} failed: {first}")
        os.replace(out, file)
