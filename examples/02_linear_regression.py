"""A straight line through points with unknown scatter: the same model as 02_linear_regression.ppl."""

import numpy as np

import ppl


@ppl.model
def linear_regression(x: ppl.Data["obs"], y: ppl.Data["obs"]):
    intercept = ppl.sample("intercept", ppl.Normal(0, 10))
    slope = ppl.sample("slope", ppl.Normal(0, 10))
    sigma = ppl.sample("sigma", ppl.HalfNormal(5))
    line = ppl.deterministic("line", intercept + slope * x)
    ppl.observe("y", ppl.Normal(line, sigma), y)


def simulate(seed: int = 1, size: int = 60) -> dict[str, np.ndarray]:
    """Points on y = 1 + 2 x with scatter 0.5."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, size)
    return {"x": x, "y": 1 + 2 * x + 0.5 * rng.normal(size=size)}


if __name__ == "__main__":
    posterior = ppl.compile(linear_regression, simulate())
    result = posterior.run(ppl.nuts(chains=4, draws=1000), seed=0)
    print(result.summary(["intercept", "slope", "sigma"]))
