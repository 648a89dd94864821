"""What every test shares: eight virtual devices, golden files, one hypothesis profile.

The environment is set here, at import, because XLA reads it once, when JAX first asks for devices.
"""

import mmap
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

from tests.examples import DAILY

VIRTUAL_DEVICES = "--xla_force_host_platform_device_count"
OLDER_EMITTER = "xla_cpu_use_fusion_emitters"
GOLDEN = Path(__file__).parent / "golden"

if VIRTUAL_DEVICES not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {VIRTUAL_DEVICES}=8".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# LAPACK's threads wait for each other in loops: beside eight devices, on two busy cores, matrices of 100 rows take 60
# times as long with two of them as with one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# No deadline: the first example pays for compilation. In CI the same examples every time.
PROFILE = "ci" if os.environ.get("CI") else "local"
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile(PROFILE)


def pytest_configure(config: pytest.Config) -> None:
    """The fast suite has fewer examples of properties, and XLA:CPU's older emitter compiles it, in half of the time;
    `make test-all` compiles as users do."""
    if config.getoption("markexpr") != "not slow":
        return
    settings.register_profile("daily", settings.get_profile(PROFILE), max_examples=DAILY)
    settings.load_profile("daily")
    flags = os.environ["XLA_FLAGS"]
    if OLDER_EMITTER not in flags and xla_knows(OLDER_EMITTER):
        os.environ["XLA_FLAGS"] = f"{flags} --{OLDER_EMITTER}=false"


def xla_knows(flag: str) -> bool:
    """Whether this XLA has a flag: it ends the process at one that it does not have, so its library is searched.

    For a text of its own: a name that is only reserved stands among others.
    """
    for package in find_spec("jaxlib").submodule_search_locations:
        for library in Path(package).glob("libjax_common.*"):
            with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
                return image.find(b"\0" + flag.encode() + b"\0") >= 0
    return False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--accept", action="store_true", help="rewrite the golden files with what the tests produce")


@pytest.fixture
def hasty(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the fast suite, samplers of few latents are compiled without optimisation, in half of the time."""
    if request.config.getoption("markexpr") != "not slow":
        return
    import backend_cuda

    quick = backend_cuda.quick_options
    hasty = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    monkeypatch.setattr(backend_cuda, "quick_options", lambda devices: quick(devices) | hasty)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)` holds text, byte for byte, to tests/golden/name; `pytest --accept` rewrites the file."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--accept"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
            return
        if not path.exists():
            pytest.fail(f"no golden file {path}: write it with `pytest --accept` and read the diff")
        assert text == path.read_bytes().decode(), f"{path} differs: `pytest --accept` rewrites it"

    return check
