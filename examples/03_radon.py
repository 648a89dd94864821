"""Houses in counties, a hierarchical regression in the manner of Gelman and Hill's radon data, on simulated groups."""

import numpy as np

import ppl


@ppl.model
def radon(floor: ppl.Data["obs"], cty: ppl.Index["county", "obs"], y: ppl.Data["obs"]):
    mu_a = ppl.sample("mu_a", ppl.Normal(0, 10))
    sigma_a = ppl.sample("sigma_a", ppl.HalfNormal(2))
    beta = ppl.sample("beta", ppl.Normal(0, 2))
    sigma = ppl.sample("sigma", ppl.HalfNormal(2))
    alpha = ppl.sample("alpha", ppl.Normal(mu_a, sigma_a), dims="county", noncentered=True)
    eta = ppl.deterministic("eta", alpha[{"county": cty}] + beta * floor)
    ppl.observe("y", ppl.Normal(eta, sigma), y)
    ppl.sample("y_rep", ppl.Normal(eta, sigma), dims="obs", generated=True)


def simulate(seed: int = 1, houses: int = 919, counties: int = 85) -> dict[str, np.ndarray]:
    """919 houses in 85 counties of very unequal size; a third of them measured on the first floor."""
    rng = np.random.default_rng(seed)
    cty = np.sort(
        np.r_[np.arange(counties), rng.choice(counties, houses - counties, p=rng.dirichlet(np.full(counties, 0.5)))]
    )
    alpha = 1.5 + 0.3 * rng.normal(size=counties)
    floor = (rng.uniform(size=houses) < 0.33).astype(float)
    names = np.array([f"county {i + 1:02d}" for i in range(counties)])
    return {"floor": floor, "cty": cty, "y": alpha[cty] - 0.7 * floor + 0.75 * rng.normal(size=houses), "county": names}


if __name__ == "__main__":
    posterior = ppl.compile(radon, simulate())
    result = posterior.run(ppl.nuts(chains=4, draws=1000), seed=0)
    print(result.summary(["mu_a", "sigma_a", "beta", "sigma"]))
