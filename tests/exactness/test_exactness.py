"""Every algorithm against known posteriors: the table of `tests.exactness.table`, a test a cell, and the cases' truths.

`python -m tests.exactness` measures the whole table and prints it.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from ppl.io import Draws
from tests.exactness import judge, targets
from tests.exactness.table import CASES, FAST, TABLE


def _parameters():
    for cell in TABLE:
        yield pytest.param(cell, id=cell.name, marks=() if cell.fast else pytest.mark.slow)


@pytest.mark.parametrize("cell", list(_parameters()))
def test_the_algorithm_is_exact(cell):
    verdict = cell.measure()
    print(f"\n{verdict}")
    assert not verdict.failures, verdict


@pytest.mark.parametrize("name", [n for n in CASES if n != "wiener 32³"])
def test_independent_draws_have_the_moments_of_the_case(name):
    """Draws that NumPy makes hold means and deviations of all statistics to something. Of means and variances none
    is 5 errors off by chance but once in 10,000 cases."""
    case = CASES[name]()
    draws = case.direct(np.random.default_rng(5), 150 if "power" in case.exact else 4000)
    standard = case.standard(draws)
    assert standard.shape[2] == len(case.labels) == len(case.latents)
    flat = standard.reshape(-1, standard.shape[2])
    means, squares = flat.mean(axis=0), (flat**2).mean(axis=0)
    errors = flat.std(axis=0) / len(flat) ** 0.5, (flat**2).std(axis=0) / len(flat) ** 0.5
    assert abs(means / errors[0]).max() < 5, case.labels[abs(means / errors[0]).argmax()]
    off = abs((squares - 1) / errors[1])
    assert off.max() < 5, case.labels[off.argmax()]


def test_the_fast_cells_are_in_the_table():
    assert {cell.name for cell in TABLE} >= FAST
    assert len({cell.name for cell in TABLE}) == len(TABLE)


def test_what_is_off_by_the_tolerance_is_found_out():
    """Independent draws as a run would have them: as they are, with every deviation 5 % too wide, with one latent moved
    by a tenth of its deviation, and too few."""
    case = targets.gaussian(1e5)
    x = case.direct(np.random.default_rng(3), 4000)["x"]
    centre = x.mean(axis=(0, 1))
    moved = 0.1 * x.std(axis=(0, 1)) * np.eye(targets.D)[4]

    def verdict(draws):
        groups = {"posterior": {"x": (("i",), draws)}}
        return judge.by_chains(case, SimpleNamespace(draws=Draws.of(groups)), 0.1)

    assert not verdict(x).failures
    for wrong in (centre + 1.05 * (x - centre), x + moved, x[:, :100]):
        assert verdict(wrong).failures
