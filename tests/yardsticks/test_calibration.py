"""Simulation-based calibration: the rank of the truth among posterior draws is uniform.

Talts et al. (2018), arXiv:1804.06788. The replicas are a dim of one model: each draws its truth from the prior (here by
NumPy and SciPy, not by the project) and has data of its own, so that a single run of the sampler gives as many ranks as
there are replicas. Priors of every kind of support are there: a wrong density, bijector or Jacobian tilts its ranks.
Chi-squared of 20 bins has 19 degrees of freedom; 15 of them exceed 54 with a probability of 5e-4.
"""

import numpy as np
import pytest
import scipy.stats

import ppl
from tests.yardsticks.agree import MODELS, bulk_ess

REPLICAS, TRIALS, CHOICES = 300, 3, 4
BINS, LARGEST = 20, 54.0


def simulate(rng: np.random.Generator) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Truths and data of all replicas."""
    n, many = REPLICAS, (TRIALS, REPLICAS)
    truth = {
        "rate": rng.gamma(2, 1 / 0.5, n),
        "share": rng.beta(2, 3, n),
        "mu": 1 + 2 * rng.standard_t(4, n),
        "sigma": rng.lognormal(0, 0.5, n),
        "spread": 2 / rng.gamma(3, 1, n),
        "folded": abs(rng.normal(0, 2, n)),
        "heavy": abs(rng.standard_cauchy(n)),
        "pace": rng.exponential(1 / 2, n),
        "level": rng.uniform(-1, 2, n),
        "cut": scipy.stats.truncnorm.rvs(-0.5, 2.5, loc=0.5, scale=1, size=n, random_state=rng),
        "wide": rng.standard_cauchy(n),
        "theta": rng.dirichlet(np.full(CHOICES, 2.0), n),
    }
    truth["part"] = rng.normal(truth["mu"], truth["sigma"])
    data = {
        "n_poisson": rng.poisson(truth["rate"]),
        "n_binomial": rng.binomial(10, truth["share"]),
        "y": rng.normal(truth["part"], 1, many).T,
        "v": rng.normal(0, np.sqrt(truth["spread"]), many).T,
        "u": rng.normal(truth["folded"], 1),
        "h": rng.normal(0, truth["heavy"], many).T,
        "wait": rng.exponential(1 / truth["pace"]),
        "shown": rng.normal(truth["level"], 0.7),
        "seen": rng.normal(truth["cut"], 0.7),
        "c": (truth["wide"] + rng.standard_t(3, many)).T,
        "first": np.array([rng.choice(CHOICES, p=p) for p in truth["theta"]]),
    }
    return truth, data


@pytest.mark.slow
def test_ranks_of_the_truth_are_uniform():
    truth, data = simulate(np.random.default_rng(6))
    sizes = {"choice": CHOICES}
    posterior = ppl.compile(ppl.load(MODELS / "replicas.ppl"), data, dtype="float64", sizes=sizes)
    options = ppl.nuts(chains=3, draws=330, warmup=200, thin=10)
    # Truth and data are one draw of their joint distribution, so the truth is a draw of the posterior to start from.
    start = {n: x for n, x in truth.items() if n != "part"} | {
        "part_raw": (truth["part"] - truth["mu"]) / truth["sigma"]
    }
    result = posterior.run(options, seed=1, init=start, predictive=False, progress=False)
    truth["theta"] = truth["theta"][:, 0]
    found = {}
    for name, true in truth.items():
        draws = result[name] if name != "theta" else result[name][..., 0]
        draws = draws.reshape(-1, REPLICAS)  # 3 · 33 = 99 draws: ranks 0 to 99, five to a bin
        rank = (draws < true).sum(axis=0)
        counts = np.bincount(rank // 5, minlength=BINS)
        found[name] = float(np.square(counts - REPLICAS / BINS).sum() / (REPLICAS / BINS))
    ess = min(bulk_ess(result[n][:, :, :50]).min() for n in ("rate", "mu", "heavy"))
    stats = result.draws["sample_stats"]
    print(
        f"\nchi-squared of 19 degrees of freedom: {', '.join(f'{n} {x:.1f}' for n, x in found.items())}; smallest ESS "
        f"{ess:.0f} of 99; {stats['n_steps'].values.mean():.0f} steps a draw, "
        f"divergent {stats['diverging'].values.mean():.1%}"
    )
    assert max(found.values()) < LARGEST
