"""What ships: the packages that pyproject.toml names, whole, and nothing else."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]
NEVER_SHIPPED = {"tests", "examples", "benchmarks"}


def files_of(package: str) -> set[str]:
    """The files of one package folder that a user needs, data included; its README is for readers of the source.

    Folders without an `__init__.py` are data and belong to the package above them.
    """
    found: set[str] = set()
    pending = [ROOT / package.replace(".", "/")]
    while pending:
        for path in pending.pop().iterdir():
            if path.name.startswith((".", "__pycache__")) or path.suffix == ".md":
                continue
            if path.is_file():
                found.add(path.relative_to(ROOT).as_posix())
            elif not (path / "__init__.py").exists():
                pending.append(path)
    return found


def test_the_packages_listed_are_the_packages_that_exist():
    tops = [path.name for path in ROOT.iterdir() if (path / "__init__.py").exists() and path.name not in NEVER_SHIPPED]
    existing = {path.parent.relative_to(ROOT).as_posix() for top in tops for path in (ROOT / top).rglob("__init__.py")}
    assert {folder.replace("/", ".") for folder in existing} == set(PACKAGES)


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(tmp_path):
    tree, out = tmp_path / "tree", tmp_path / "out"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for name in {package.partition(".")[0] for package in PACKAGES} | NEVER_SHIPPED:
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", out, tree],
        check=True,
    )
    (wheel,) = out.glob("*.whl")
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert shipped == set().union(*map(files_of, PACKAGES))
