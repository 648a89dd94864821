"""Coaching in eight schools (Rubin 1981), with the partially pooled effects in non-centred form."""

import numpy as np

import ppl


@ppl.model
def eight_schools(y: ppl.Data["school"], sigma: ppl.Data["school"](lower=0)):
    mu = ppl.sample("mu", ppl.Normal(0, 5))
    tau = ppl.sample("tau", ppl.HalfCauchy(5))
    theta = ppl.sample("theta", ppl.Normal(mu, tau), dims="school", noncentered=True)
    ppl.observe("y", ppl.Normal(theta, sigma), y)


DATA = {
    "y": np.array([28.0, 8, -3, 7, -1, 1, 18, 12]),
    "sigma": np.array([15.0, 10, 16, 11, 9, 11, 10, 18]),
    "school": np.array(list("ABCDEFGH")),
}

if __name__ == "__main__":
    posterior = ppl.compile(eight_schools, DATA)
    result = posterior.run(ppl.nuts(chains=4, draws=1000, target_accept=0.9), seed=0)
    print(result.summary(["mu", "tau", "theta"]))
