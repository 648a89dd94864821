"""With known hyper-parameters and no mask the posterior of a map is a Wiener filter: NUTS against the closed form.

False alarms: of 4096 z-scores one exceeds 5 with probability 2e-3; the rms of so many is 1 ± 0.02, for a smooth map
with a few hundred independent patches 1 ± 0.04. Fewer draws would make the errors themselves too uncertain for this:
the draws of a pixel alternate in sign, and from 400 a chain the largest of 4096 z-scores came out as 4.9.
"""

import numpy as np
import pytest

import ppl
from tests.yardsticks.agree import EXAMPLES, MODELS, bulk_ess, mean, rms
from tests.yardsticks.wiener import dense, operate, wiener

PIXELS = 64
RADIAN = 3437.75  # [arcmin]
NUTS = ppl.nuts(chains=4, draws=600, warmup=250)


def field_factors(shape: tuple[int, int]) -> np.ndarray:
    """4 / |k| with k in whole waves per side, nothing at k = 0."""
    kx, ky = np.fft.fftfreq(shape[0], 1 / shape[0])[:, None], np.fft.rfftfreq(shape[1], 1 / shape[1])
    k = np.hypot(kx, ky)
    return np.where(k > 0, 4 / np.where(k > 0, k, 1), 0)


def shear_factors(shape: tuple[int, int], amp: float, slope: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Convergence and both shears of examples/01_mass_map.ppl, for pixels of 1 arcmin."""
    lx = 2 * np.pi * RADIAN * np.fft.fftfreq(shape[0])[:, None]
    ly = 2 * np.pi * RADIAN * np.fft.rfftfreq(shape[1])
    l2 = lx**2 + ly**2
    inverse = np.divide(1, l2, out=np.zeros_like(l2), where=l2 > 0)
    power = 1e-9 * amp * (1e6 * inverse) ** (slope / 2)
    kappa = np.sqrt(power) * RADIAN
    return kappa, (lx**2 - ly**2) * inverse * kappa, 2 * lx * ly * inverse * kappa


def check_posterior(name: str, draws: np.ndarray, exact) -> None:
    """Means and variances of all pixels within their Monte Carlo errors of the closed form."""
    draws = draws.astype(float)
    ess = bulk_ess(draws)
    z = mean(draws).z(exact.mean)
    ratios = np.square(draws - exact.mean) / exact.variance
    z_variance = mean(ratios).z(1.0)
    total = mean(ratios.mean(axis=(2, 3)))
    print(
        f"\n{name}: ESS {ess.min():.0f}-{ess.max():.0f}; z of means: rms {rms(z):.3f}, largest {abs(z).max():.2f}; "
        f"variance / exact {total.value:.4f} ± {total.error:.4f}, "
        f"z rms {rms(z_variance):.3f}, largest {abs(z_variance).max():.2f}"
    )
    assert ess.min() >= 400
    assert 0.9 < rms(z) < 1.1 and abs(z).max() < 5
    assert abs(total.z(1.0)) < 4.5  # the whole map at once: a few parts in a thousand would show
    assert 0.85 < rms(z_variance) < 1.15 and abs(z_variance).max() < 6  # squares: skewed, errors less well known


def test_the_closed_form_is_that_of_linear_algebra():
    rng = np.random.default_rng(1)
    shape = (6, 8)  # even: the highest frequencies are their own mirror images
    data = rng.normal(size=(2, *shape))
    kappa, *shears = shear_factors(shape, 5.0, 1.2)
    exact, (slow, covariance) = (f(kappa, shears, data, 0.3) for f in (wiener, dense))
    np.testing.assert_allclose(exact.mean, slow, atol=1e-14)
    np.testing.assert_allclose(np.diag(covariance), exact.variance, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_field_seen_through_a_transfer_function(dtype):
    rng = np.random.default_rng(2)
    shape, noise = (PIXELS, PIXELS), 1.0
    factors = field_factors(shape)
    data = operate(factors, rng.normal(size=shape)) + noise * rng.normal(size=shape)
    model = ppl.load(MODELS / "white_field.ppl")
    posterior = ppl.compile(model, {"noise": noise, "transfer": factors, "d": data}, dtype=dtype)
    result = posterior.run(NUTS, seed=3, predictive=False, progress=False)
    for name, shown in (("white", np.ones_like(factors)), ("kappa", factors)):
        check_posterior(f"{dtype} {name}", result[name], wiener(shown, [factors], [data], noise))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_mass_map_of_known_power(dtype):
    text = (EXAMPLES / "01_mass_map.ppl").read_text()
    for line, fixed in (
        ("amp   ~ LogNormal(0, 1)", "const amp: real<lower = 0>"),
        ("slope ~ Normal(1.5, 0.5)", "const slope: real"),
    ):
        assert line in text
        text = text.replace(line, fixed)
    rng = np.random.default_rng(4)
    shape, noise, amp, slope = (PIXELS, PIXELS), 0.05, 1.0, 1.2
    kappa, *shears = shear_factors(shape, amp, slope)
    white = rng.normal(size=shape)
    seen = [operate(half, white) + noise * rng.normal(size=shape) for half in shears]
    data = {"side_x": float(PIXELS), "side_y": float(PIXELS), "amp": amp, "slope": slope, "e1": seen[0], "e2": seen[1]}
    data |= {"noise": np.full(shape, noise), "mask": np.ones(shape, bool)}
    posterior = ppl.compile(ppl.from_text(text), data, dtype=dtype)
    result = posterior.run(NUTS, seed=5, predictive=False, progress=False)
    for name, shown in (("white", np.ones_like(kappa)), ("kappa", kappa)):
        check_posterior(f"{dtype} {name}", result[name], wiener(shown, shears, seen, noise))
