"""What XLA is told: what runs once is compiled in haste, where it is small, and says the same."""

import numpy as np

import backend_cuda as backend
import ppl

DATA = {"y": np.random.default_rng(2).normal(size=30)}


@ppl.model
def normal(y: ppl.Data["i"]):
    m = ppl.sample("m", ppl.Normal(0.0, 3.0))
    s = ppl.sample("s", ppl.HalfNormal(1.0))
    ppl.observe("y", ppl.Normal(m, s), y)


def test_a_hasty_program_says_the_same():
    posterior = ppl.compile(normal, DATA, dtype="float64")
    gradient = posterior.gradient_program(3, 10.0, False)
    at = {n: np.linspace(-1, 1, 3) for n in posterior.latents}
    slow, quick = (gradient.run({**posterior.hoisted(gradient), **at}, hasty=h) for h in (False, True))
    assert gradient.hasty is not gradient.jitted
    for name, x in slow.items():
        np.testing.assert_allclose(quick[name], x, rtol=1e-12, err_msg=name)


def test_only_small_programs_on_cpus_are_compiled_in_haste():
    """Small whatever the plan: the values of a sampler's program are, those of 300,000 observations are not."""
    small = ppl.compile(normal, DATA, dtype="float64").gradient_program(3, 10.0, False)
    plan, devices = small.plan, small.devices
    assert backend.hasty_options(small.program, plan, devices)["xla_backend_optimization_level"] == 0
    large = ppl.compile(normal, {"y": np.zeros(300_000)}, dtype="float64").gradient_program(1)
    assert backend.hasty_options(large.program, plan, devices) == backend.compiler_options(plan, devices)
