"""Posteriors of posteriordb (github.com/stan-dev/posteriordb, BSD-3): means and mean squares of 10,000 draws by Stan.

Magnusson et al. (2024), arXiv:2407.04967. Each number agrees within 4 combined Monte Carlo standard errors: the 50
numbers of this file give a false alarm in 300.
"""

import gzip
import json

import numpy as np
import pytest

import ppl
from tests.yardsticks.agree import MODELS, Estimate, bulk_ess, mean, reference_folder


def names_of(kind: str, count: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Stan's `beta[1]`, … by our names: scalars beta1, … or elements of a vector."""
    if kind == "vector":
        return {f"theta[{i + 1}]": ("theta", (i,)) for i in range(count)} | {"mu": ("mu", ()), "tau": ("tau", ())}
    return {f"beta[{i + 1}]": (f"beta{i + 1}", ()) for i in range(count)} | {"sigma": ("sigma", ())}


# Regressions on raw predictors are correlated to 0.99, and a diagonal metric pays with long trajectories.
CASES = [
    pytest.param("eight_schools-eight_schools_noncentered", "vector", 8, 1000, 0.9, id="eight_schools"),
    pytest.param("kidiq-kidscore_interaction", "betas", 4, 2000, 0.7, id="kidscore", marks=pytest.mark.slow),
    pytest.param("nes2000-nes", "betas", 9, 1500, 0.7, id="nes2000", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "kind", "count", "draws", "target_accept"), CASES)
def test_means_and_mean_squares(name, kind, count, draws, target_accept):
    folder = reference_folder("posteriordb") / name
    with gzip.open(folder / "data.json.gz", "rt") as file:
        given = json.load(file)
    reference = json.loads((folder / "reference_summary.json").read_text())["parameters"]
    names = names_of(kind, count)
    assert set(names) == set(reference)

    model = ppl.load(MODELS / f"{name.split('-')[1]}.ppl")
    data = {d.name: np.array(given[d.name]) for d in model.declarations}
    posterior = ppl.compile(model, data, dtype="float64")
    options = ppl.nuts(chains=4, draws=draws, warmup=600, target_accept=target_accept)
    kept = sorted({ours for ours, _ in names.values()})
    result = posterior.run(options, seed=1, init="uniform", keep=kept, predictive=False, progress=False)

    x = np.stack([result[ours][(..., *index)] for ours, index in names.values()], axis=-1)
    theirs = [reference[n] for n in names]
    error = np.array([r["mcse_mean"] for r in theirs])
    first = Estimate(np.array([r["mean"] for r in theirs]), error)
    # Their draws are thinned to independence: the mean square has the effective sample size of the mean.
    ratio = np.array([r["sd_sq"] / r["sd"] for r in theirs])
    second = Estimate(np.array([r["mean_sq"] for r in theirs]), error * ratio)
    z, z_square, ess = mean(x).z(first), mean(x**2).z(second), bulk_ess(x)
    stats = result.draws["sample_stats"]
    print(
        f"\n{name}: ESS {ess.min():.0f}-{ess.max():.0f}; z of means {abs(z).max():.2f}, of mean squares "
        f"{abs(z_square).max():.2f}; {stats['n_steps'].values.mean():.0f} steps a draw, "
        f"acceptance {stats['acceptance_rate'].values.mean():.2f}"
    )
    assert ess.min() >= 1000
    assert abs(z).max() < 4 and abs(z_square).max() < 4
