"""How draws are held to something outside: estimates with their Monte Carlo errors, and where reference data lie."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from ppl.io.arviz import import_arviz

MODELS = Path(__file__).parent / "models"
EXAMPLES = Path(__file__).parents[2] / "examples"
DATA = Path(os.environ.get("MESHBAYES_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def reference_folder(name: str) -> Path:
    """A folder of reference data; skips the test that needs it where there is none."""
    import pytest  # not where benchmarks use this file

    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"no reference data {name!r} in {DATA}: MESHBAYES_DATA names the folder that holds them")
    return folder


@dataclass(frozen=True)
class Estimate:
    """Estimates and their Monte Carlo standard errors, element by element."""

    value: np.ndarray
    error: np.ndarray

    def z(self, other: "Estimate | np.ndarray | float", bias: np.ndarray | float = 0.0) -> np.ndarray:
        """The difference beyond a stated `bias` of either sign, in units of the combined error; another code's number
        without one counts as exact."""
        value, error = (other.value, other.error) if isinstance(other, Estimate) else (other, 0.0)
        difference = self.value - value
        return np.sign(difference) * np.maximum(np.abs(difference) - bias, 0.0) / np.hypot(self.error, error)


def mean(draws: np.ndarray) -> Estimate:
    """The mean of draws[chain, draw, ...]."""
    error = import_arviz().mcse(_dataset(draws), method="mean")["v"].values
    return Estimate(draws.mean(axis=(0, 1), dtype=float), error.reshape(draws.shape[2:]))


def sd(draws: np.ndarray) -> Estimate:
    """The standard deviation; its error follows from that of the mean squared deviation."""
    square = mean(np.square(draws.astype(float) - draws.mean(axis=(0, 1), dtype=float)))
    root = np.sqrt(square.value)
    return Estimate(root, square.error / (2 * root))


def quantile(draws: np.ndarray, prob: float) -> Estimate:
    """One quantile of draws[chain, draw]."""
    error = import_arviz().mcse(_dataset(draws), method="quantile", prob=prob)["v"].values
    return Estimate(np.quantile(draws, prob, axis=(0, 1)), error.reshape(draws.shape[2:]))


def bulk_ess(draws: np.ndarray) -> np.ndarray:
    """The bulk effective sample size of every element."""
    return import_arviz().ess(_dataset(draws), method="bulk")["v"].values.reshape(draws.shape[2:])


def rank_rhat(draws: np.ndarray) -> np.ndarray:
    """The rank-normalised split R-hat of every element (Vehtari et al. 2021)."""
    return import_arviz().rhat(_dataset(draws), method="rank")["v"].values.reshape(draws.shape[2:])


def rms(z: np.ndarray) -> float:
    """Root mean square: 1 for z-scores of estimates whose errors are right."""
    return float(np.sqrt(np.mean(np.square(z))))


def _dataset(draws: np.ndarray) -> xr.Dataset:
    flat = draws.reshape(*draws.shape[:2], -1).astype(float)
    return xr.Dataset({"v": (("chain", "draw", "element"), flat)})
