"""The log density as a JAX function: what is made of the data once is kept as arrays, whoever asks first."""

import jax
import numpy as np
import pytest

import ppl

Y = np.linspace(-1.5, 2.0, 9)


@ppl.model
def scaled(y: ppl.Data["x"]):
    s = ppl.sample("s", ppl.HalfNormal(1.0))
    white = ppl.sample("white", ppl.Normal(0.0, 1.0), dims="x")
    ppl.observe("y", ppl.Normal(s * white, 0.5 + ppl.exp(-y)), y)


def by_hand(at):
    """With log s for s: log p = -e^{2t}/2 + t + log(2 / sqrt(2 pi)), and the normals."""
    t, white, sd = float(at["s"]), at["white"], 0.5 + np.exp(-Y)
    normal = lambda z, sd: -0.5 * (z / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)  # noqa: E731
    prior = normal(np.exp(t), 1.0) + np.log(2) + t + normal(white, 1.0).sum()
    return prior + normal(Y - np.exp(t) * white, sd).sum()


FIRST = {
    "jit": lambda f: jax.jit(f),
    "grad": lambda f: jax.grad(f),
    "jit of grad": lambda f: jax.jit(jax.grad(f)),
}


@pytest.mark.parametrize("first", FIRST)
def test_a_first_call_inside_a_trace_leaves_no_tracer(first):
    posterior = ppl.compile(scaled, {"y": Y}, dtype="float64")
    assert posterior.programs["prologue"].outputs, "nothing is made of the data alone: this tests nothing"
    at = {n: np.full(t.shape, 0.3) for n, t in posterior.latents.items()}
    with jax.enable_x64(True):
        FIRST[first](lambda x: posterior.log_density(x))(at)
        assert float(posterior.log_density(at)) == pytest.approx(by_hand(at), rel=1e-12)
        assert float(jax.jit(posterior.log_density)(at)) == pytest.approx(by_hand(at), rel=1e-12)
