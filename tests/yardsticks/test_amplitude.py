"""A field with one unknown amplitude: the joint posterior of both against one-dimensional quadrature (`amplitude`)."""

import numpy as np
import pytest

import ppl
from tests.yardsticks.agree import MODELS, bulk_ess, mean, quantile, rms, sd
from tests.yardsticks.amplitude import PIXELS, PROBS, quadrature, simulate


def test_the_quadrature_gives_the_numbers_of_another_one():
    exact = quadrature(*simulate())  # the numbers were found before this project was begun, by another program
    np.testing.assert_allclose([exact.mean, exact.sd], [-0.03771, 0.10466], atol=1e-5)
    np.testing.assert_allclose(exact.quantiles, [-0.2153, -0.0348, 0.1286], atol=3e-4)  # on a coarser grid


@pytest.mark.slow
def test_a_free_amplitude_and_its_field():
    transfer, data = simulate()
    exact = quadrature(transfer, data)
    half = transfer[:, : PIXELS // 2 + 1]
    posterior = ppl.compile(ppl.load(MODELS / "free_amplitude.ppl"), {"transfer": half, "d": data}, dtype="float64")
    options = ppl.nuts(chains=4, draws=700, warmup=200)
    result = posterior.run(options, seed=1, keep=["ln_amp", "white"], predictive=False, progress=False)
    ln_amp = result["ln_amp"]
    z = {"mean": mean(ln_amp).z(exact.mean), "sd": sd(ln_amp).z(exact.sd)}
    z |= {f"{p:.0%}": quantile(ln_amp, p).z(q) for p, q in zip(PROBS, exact.quantiles, strict=True)}
    field = mean(result["white"]).z(exact.white)
    steps = int(result.draws["sample_stats"]["n_steps"].values.sum())
    print(
        f"\nln_amp: mean {ln_amp.mean():.5f}, sd {ln_amp.std():.5f}, ESS {bulk_ess(ln_amp):.0f}, "
        f"{steps / bulk_ess(ln_amp):.0f} gradients per ESS; z: {', '.join(f'{n} {x:.2f}' for n, x in z.items())}; "
        f"field: rms {rms(field):.3f}, largest {abs(field).max():.2f}"
    )
    assert bulk_ess(ln_amp) >= 400
    assert all(abs(x) < 4 for x in z.values())  # five numbers: a false alarm in 3000
    assert 0.9 < rms(field) < 1.1 and abs(field).max() < 5  # 1024 numbers: one in 1700
