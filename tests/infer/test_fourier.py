"""Metrics and approximations by band of wavenumber: against NumPy's transforms, closed forms, and one device."""

import functools

import jax
import numpy as np
import pytest

import ppl
from ir.passes.bands import RATIO, Bands
from ppl.bind import outline
from ppl.infer.fourier import Fourier
from ppl.infer.metric import Diagonal
from ppl.posterior import Posterior
from ppl.request import PlanRequest

SIDE, NOISE = 24, 0.05
FIELD = """model field
dim x = 24, y = 24, kx = freq(x), ky = rfreq(y)
data d[x, y]: real
white[x, y]    ~ Normal(0, 1)
k2[kx, ky]     = wavenumber(kx, 1)^2 + wavenumber(ky, 1)^2       @nosave
modes[kx, ky]  = 20 / (1 + k2 / 20) * rfft(white, x -> kx, y -> ky)   @nosave
signal[x, y]   = irfft(modes, kx -> x, ky -> y)                  @nosave
d[x, y]        ~ Normal(signal, 0.5)
"""
"""A stationary field of high signal to noise on large scales, seen everywhere with the same noise."""

SHAPES = {
    "a line": ("dim t = 17, k = rfreq(t)", "t", "rfft(w, t -> k)", (17,)),
    "a plane": ("dim x = 8, y = 9, kx = freq(x), ky = rfreq(y)", "x, y", "rfft(w, x -> kx, y -> ky)", (8, 9)),
    "two boxes": (
        "dim band = 2, x = 5, y = 6, z = 8, kx = freq(x), ky = freq(y), kz = rfreq(z)",
        "band, x, y, z",
        "rfft(w, x -> kx, y -> ky, z -> kz)",
        (5, 6, 8),
    ),
}


def model_of(shape):
    dims, names, transform, _ = SHAPES[shape]
    kept = {"a line": "k", "a plane": "kx, ky", "two boxes": "band, kx, ky, kz"}[shape]
    text = f"model m\n{dims}\nw[{names}] ~ Normal(0, 1)\nmodes[{kept}] = {transform}   @nosave\n"
    return ppl.from_text(f"{text}factor p = -sum(real(modes)^2, over = [{kept}])\n")


def band_of(sizes):
    """The band of each mode of a real transform, and how often it stands in the full spectrum."""
    *outer, last = sizes
    axes = [np.fft.fftfreq(n) for n in outer] + [np.fft.rfftfreq(last)]
    f = np.sqrt(sum(np.square(a) for a in np.meshgrid(*axes, indexing="ij")))
    bands = Bands(sizes)
    place = np.floor(np.log(np.where(f > 0, f, 1) / bands.lowest) / np.log(RATIO)) + 1
    weight = np.full(last // 2 + 1, 2.0)
    weight[0] = 1.0
    if last % 2 == 0:
        weight[-1] = 1.0
    return np.where(f > 0, np.clip(place, 0, bands.count - 1), 0).astype(int), np.broadcast_to(weight, f.shape)


def sums(band, values, count):
    return np.bincount(band.ravel(), values.ravel(), count)


@pytest.mark.parametrize("shape", SHAPES)
def test_filtering_and_power_are_those_of_numpys_transform(shape):
    posterior = ppl.compile(model_of(shape), {}, dtype="float64")
    spectra = posterior.spectra(posterior.gradient_program(2), 2)
    program, bands = spectra.programs["w"], spectra.bands["w"]
    sizes, rng = SHAPES[shape][3], np.random.default_rng(1)
    gain_type = program.program.input("gain").type
    x = rng.normal(size=program.program.input("field").type.shape)
    gain = rng.uniform(0.5, 2, gain_type.shape)
    made = program.run({"field": x, "gain": gain})
    band, weight = band_of(sizes)
    axes = tuple(range(-len(sizes), 0))
    modes = np.fft.rfftn(x, axes=axes)
    want = np.fft.irfftn(modes * gain[..., band], s=sizes, axes=axes)
    np.testing.assert_allclose(made["filtered"], want, rtol=1e-12, atol=1e-12)
    square = (weight * np.abs(modes) ** 2 / np.prod(sizes)).reshape(-1, *band.shape)
    power = np.stack([sums(band, s, bands.count) for s in square]).reshape(gain_type.shape)
    np.testing.assert_allclose(made["power"], power, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(bands.modes, sums(band, weight, bands.count))
    # The metric is symmetric: its transpose is itself.
    other = rng.normal(size=x.shape)
    back = program.run({"field": other, "gain": gain})["filtered"]
    np.testing.assert_allclose((made["filtered"] * other).sum(), (x * back).sum(), rtol=1e-12)


@pytest.mark.parametrize("sizes", [(1024,), (64, 63), (20, 20, 31), (3, 4096)])
def test_every_mode_is_in_one_band(sizes):
    assert Bands(sizes).modes.sum() == np.prod(sizes)
    assert Bands(sizes).modes[0] == 1


@functools.cache
def field(**how):
    rng = np.random.default_rng(3)
    k2 = np.square(2 * np.pi * np.fft.fftfreq(SIDE, 1 / SIDE))
    transfer = 20 / (1 + (k2[:, None] + k2[None, : SIDE // 2 + 1]) / 20)
    signal = np.fft.irfft2(transfer * np.fft.rfft2(rng.normal(size=(SIDE, SIDE))))
    data = {"d": signal + 0.5 * rng.normal(size=signal.shape)}
    precision = 1 + (transfer / 0.5) ** 2
    return ppl.compile(ppl.from_text(FIELD), data, dtype="float64", **how), precision


def by_band(values):
    band, weight = band_of((SIDE, SIDE))
    count = Bands((SIDE, SIDE)).count
    return sums(band, weight * values, count) / np.maximum(sums(band, weight, count), 1)


def run(posterior, program, seed=1):
    return posterior.run(program, seed=seed, progress=False, predictive=False)


def test_variational_scales_of_bands_are_the_closed_form():
    posterior, precision = field()
    result = run(posterior, ppl.advi(covariance="fourier", chains=2, draws=300))
    metric = result.handover.metric
    assert isinstance(metric, Fourier)
    # The divergence of a normal of one scale a band is least at the mean precision of its modes.
    known = by_band(precision) > 0
    want = by_band(precision)[known] ** -0.5
    for chain in np.asarray(metric.bands[0]):
        np.testing.assert_allclose(chain[known], want, rtol=0.02)
    modes = np.fft.rfft2(result["white"] - result["white"].mean(axis=1, keepdims=True))
    variance = by_band((np.abs(modes) ** 2).mean(axis=(0, 1)) / SIDE**2)
    np.testing.assert_allclose(variance[known] * by_band(precision)[known], 1, atol=0.2)


@pytest.mark.slow
def test_nuts_needs_several_times_fewer_gradients_and_keeps_the_posterior():
    posterior, precision = field()
    spent, variance = {}, {}
    for metric in ("fourier", "variance"):
        result = run(posterior, ppl.nuts(chains=2, warmup=150, draws=150, metric=metric))
        spent[metric] = float(result.to_arviz().sample_stats["n_steps"].mean())
        modes = np.fft.rfft2(result["white"])
        mean = modes.mean(axis=(0, 1))
        variance[metric] = (np.abs(modes - mean) ** 2).mean(axis=(0, 1)) / SIDE**2
    assert spent["fourier"] < 0.4 * spent["variance"], spent
    pulls = by_band(variance["fourier"] * precision) - 1
    weights = np.maximum(Bands((SIDE, SIDE)).modes, 1)
    # 300 draws of each mode, whose correlation costs at most half of them.
    assert (np.abs(pulls[weights > 1]) < 5 * np.sqrt(2 / (150 * weights[weights > 1]))).all(), pulls


@pytest.mark.slow
def test_a_later_stage_and_a_later_run_go_on_with_the_metric():
    posterior, _ = field()
    first = run(posterior, ppl.advi(covariance="fourier", chains=2, warmup=300) >> ppl.mclmc(draws=200, warmup=100))
    assert isinstance(first.handover.metric, Fourier)
    again = posterior.run(
        ppl.nuts(metric="fourier", warmup=0, draws=5, chains=2), init=first, progress=False, predictive=False
    )
    np.testing.assert_array_equal(again.handover.metric.bands[0], first.handover.metric.bands[0])
    # Packed latents have no plane waves: the metric's deviations, alike for all elements.
    packed = posterior.run(ppl.hmc(warmup=0, draws=5, chains=2), init=first, progress=False, predictive=False)
    scale = np.asarray(packed.handover.metric.scale["white"])
    bands, modes = np.asarray(first.handover.metric.bands[0]), Bands((SIDE, SIDE)).modes
    want = np.sqrt((bands**2 * modes).sum(axis=1) / SIDE**2)
    np.testing.assert_allclose(scale.reshape(2, -1), np.broadcast_to(want[:, None], (2, SIDE**2)), rtol=1e-12)


@pytest.mark.slow
def test_a_mesh_changes_nothing():
    if len(jax.devices()) < 8:
        pytest.skip("needs eight (virtual) devices")
    data = {"d": np.random.default_rng(1).normal(size=(SIDE, SIDE))}
    model, made = ppl.from_text(FIELD), {}
    pins = ("chain:col", "white:x=row")
    plan = ppl.plan(model, data, mesh="row=4,col=2", chains=2, pins=pins, dtype="float64")
    for name, how in {"one": {}, "eight": {"plan": plan}}.items():
        posterior = ppl.compile(model, data, dtype="float64", **how)
        result = run(posterior, ppl.nuts(metric="fourier", chains=2, warmup=12, draws=4))
        made[name] = result["white"], np.asarray(result.handover.metric.bands[0])
    for one, eight in zip(made["one"], made["eight"], strict=True):
        np.testing.assert_allclose(eight, one, rtol=1e-7, atol=1e-7)


def test_of_a_field_that_matters_transforms_are_all_to_alls():
    if len(jax.devices()) < 8:
        pytest.skip("needs eight (virtual) devices")
    bound = outline(ppl.from_text(FIELD.replace("x = 24, y = 24", "x = 1024, y = 1024")))
    posterior = Posterior(bound, PlanRequest.make("row=8", pins=("white:x=row",)))
    planned = posterior.spectra(posterior.gradient_program(1), 1).programs["white"]
    large = [c.kind for c in planned.plan.collectives(planned.program) if c.bytes > 10**5]
    assert set(large) == {"all_to_all"}


def test_models_without_plane_waves_are_refused():
    plain = ppl.compile(ppl.from_text("model m\ndim i = 3\na[i] ~ Normal(0, 1)\n"), {})
    for program in (ppl.nuts(metric="fourier"), ppl.advi(covariance="fourier")):
        with pytest.raises(ppl.Diagnostic, match="no latent that moves has a dim along which the model transforms"):
            run(plain, program)
    for make in (lambda: ppl.nuts(metric="fourier", rank=3), lambda: ppl.advi(covariance="fourier", rank=3)):
        with pytest.raises(ppl.Diagnostic, match=r"has no (further|rank)"):
            make()
    # Latents in k-space are no fields on a grid.
    modes = "model m\ndim x = 8, k = rfreq(x)\na[k] ~ Normal(0, 1)\nb[x] = irfft(complex(a, 0 * a), k -> x)\n"
    modes += "factor p = -sum(b^2, over = [x])\n"
    assert ppl.compile(ppl.from_text(modes), {}).transformed == {}


@pytest.mark.slow
def test_a_block_of_gibbs_or_a_stage_of_some_latents_may_have_it():
    text = FIELD.replace("white[x, y]", "amp ~ LogNormal(0, 0.1)\nwhite[x, y]").replace("= 20 /", "= 20 * amp /")
    posterior = ppl.compile(ppl.from_text(text), {"d": np.zeros((SIDE, SIDE))})
    program = ppl.gibbs(white=ppl.hmc(metric="fourier", steps=3), amp=ppl.slice(), chains=1, warmup=60, draws=10)
    assert np.isfinite(run(posterior, program)["white"]).all()
    # What the field's own stage has learnt goes on to the one that moves all.
    first = ppl.hmc(only=["white"], metric="fourier", steps=3, chains=1, warmup=60)
    metric = run(posterior, first >> ppl.nuts(metric="fourier", warmup=0, draws=2, max_depth=4)).handover.metric
    bands = np.asarray(metric.bands[0])[0][Bands((SIDE, SIDE)).modes > 0]
    assert bands[1] < 0.4 < 0.6 < bands[-1]
    assert set(metric.scale) == {"amp"}


@pytest.mark.slow
def test_a_diagonal_metric_becomes_one_of_its_mean_square():
    posterior, _ = field()
    first = run(posterior, ppl.nuts(chains=2, warmup=30, draws=1, metric="variance"))
    assert isinstance(first.handover.metric, Diagonal)
    after = posterior.run(
        ppl.nuts(metric="fourier", warmup=0, draws=1, chains=2), init=first, progress=False, predictive=False
    ).handover.metric
    want = np.sqrt((np.asarray(first.handover.metric.scale["white"]) ** 2).mean(axis=(1, 2)))
    np.testing.assert_allclose(after.bands[0], np.broadcast_to(want[:, None], after.bands[0].shape), rtol=1e-12)
