"""Slice sampling and exact Gaussian draws against known moments; errors from the scatter of 16 chains.

|t| of 15 degrees of freedom exceeds 8 with probability 9e-7; each test compares fewer than 40 numbers.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ir.errors import Diagnostic
from ppl.infer.krylov import inverse_root, inverse_root_of_tridiagonal
from ppl.infer.program import exact_gaussian, slice
from ppl.infer.space import Space
from tests.infer.driven import Driven
from tests.infer.targets import largest_t, mild_funnel

CHAINS = 16


@pytest.mark.slow
def test_slices_of_a_funnel():
    with jax.enable_x64(True):
        space = Space.single({"v": (), "w": (3,)}, CHAINS)
        draws, info, _ = Driven(slice(warmup=300, draws=1500, chains=CHAINS), space, mild_funnel).run(5)
    v, w = draws["v"], draws["w"]
    z = w * np.exp(-v / 2)[..., None]
    for values, expected in ((v, 0), (v * v, 1), (v**4, 3), (z, 0), (z * z, 1), (w, 0), (w * w, np.exp(0.5))):
        assert largest_t(values, expected) < 8
    assert not info.divergent.any()
    # Widths have come to the balance of steps outwards and inwards, at some 5 densities a latent.
    assert 0.3 < info.expansions.sum() / info.contractions.sum() < 2
    assert info.leapfrogs.mean() / 4 < 7


@pytest.mark.slow
def test_slices_learn_axes_and_scales():
    scale, turn = np.geomspace(0.1, 10.0, 5), np.linalg.qr(np.random.default_rng(2).normal(size=(5, 5)))[0]

    def target(x):
        z = (x["x"] @ turn) / scale
        return -0.5 * jnp.sum(z * z, axis=1), {"x": -(z / scale) @ turn.T}

    with jax.enable_x64(True):
        space = Space.single({"x": (5,)}, CHAINS)
        draws, info, _ = Driven(slice(warmup=500, draws=500, chains=CHAINS), space, target).run(6)
    z = draws["x"] @ turn / scale
    for power, moment in ((1, 0.0), (2, 1.0), (4, 3.0)):
        assert largest_t(z**power, moment) < 8
    centred = z - z.mean(axis=1, keepdims=True)
    lag = (centred[:, 1:] * centred[:, :-1]).mean(axis=1) / centred.var(axis=1)
    assert np.abs(lag.mean(axis=0)).max() < 0.2 and info.leapfrogs.mean() / 5 < 7


def test_slice_refuses_many_latents():
    with pytest.raises(Diagnostic) as caught:
        slice().method(Space.single({"x": (51,)}), None)
    assert "51 latents" in caught.value.message and "gibbs" in caught.value.hint


def test_the_inverse_root_of_a_tridiagonal():
    rng = np.random.default_rng(0)
    off = np.append(rng.normal(size=11) * 0.5, 0.0)
    t = np.diag(1 + 5 * rng.random(12)) + np.diag(off[:-1], 1) + np.diag(off[:-1], -1)
    values, vectors = np.linalg.eigh(t)
    with jax.enable_x64(True):
        got = inverse_root_of_tridiagonal(jnp.asarray(np.diag(t))[None], jnp.asarray(off)[None])[0]
    np.testing.assert_allclose(got, (vectors / np.sqrt(values) @ vectors.T)[:, 0], atol=1e-11)


def test_the_inverse_root_of_products():
    rng = np.random.default_rng(1)
    rotation = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    values = np.geomspace(0.1, 50.0, 40)
    h, z = rotation * values @ rotation.T, rng.normal(size=(2, 40))
    with jax.enable_x64(True):
        space = Space.single({"x": (40,)}, 2)
        root, products, solved = jax.jit(
            lambda z: inverse_root(space, lambda v: {"x": v["x"] @ h}, {"x": z}, 1e-8, 100)
        )(z)
    np.testing.assert_allclose(root["x"], z @ (rotation / np.sqrt(values) @ rotation.T), atol=1e-6)
    assert solved.all() and products.max() <= 160


def regression(dtype="float64"):
    """y = X b + noise of sd 0.5, b ~ N(0, 4): posterior mean and covariance in closed form."""
    rng = np.random.default_rng(3)
    x, truth = rng.normal(size=(30, 5)), rng.normal(size=5)
    y = x @ truth + 0.5 * rng.normal(size=30)
    precision = x.T @ x / 0.25 + np.eye(5) / 4
    mean = np.linalg.solve(precision, x.T @ y / 0.25)

    def target(position):
        b = position["b"].astype(jnp.float64)
        r = y - b @ x.T
        log_density = -0.5 * jnp.sum(r * r, axis=1) / 0.25 - 0.5 * jnp.sum(b * b, axis=1) / 4
        return log_density, {"b": (r @ x / 0.25 - b / 4).astype(dtype)}

    return target, mean, np.linalg.cholesky(precision)


@pytest.mark.slow
@pytest.mark.parametrize("dense", [256, 0])
def test_exact_draws_of_a_linear_regression(dense):
    target, mean, root = regression("float32")
    with jax.enable_x64(True):
        space = Space.single({"b": (5,)}, CHAINS, "float32")
        driven = Driven(exact_gaussian(draws=200, dense=dense, chains=CHAINS), space, target, spread=20.0)
        draws, info, _ = driven.run(7)
    z = (draws["b"] - mean) @ root
    assert not info.divergent.any() and info.misfit.max() < 1e-4
    for power, moment in ((1, 0.0), (2, 1.0), (4, 3.0)):
        assert largest_t(z**power, moment) < 8
    assert largest_t(z[..., 1:] * z[..., :-1], 0.0) < 8
    assert largest_t(z[:, 1:] * z[:, :-1], 0.0) < 8  # independent of the draw before
    assert (info.leapfrogs == 9).all() if dense else info.leapfrogs.max() <= 29


@pytest.mark.slow
def test_what_is_not_gaussian_is_flagged_and_stays():
    with jax.enable_x64(True):
        space = Space.single({"v": (), "w": (3,)}, 3)
        draws, info, _ = Driven(exact_gaussian(draws=4, chains=3), space, mild_funnel).run(8)
    assert info.divergent.all() and not (info.misfit <= 1e-3).any()
    assert (draws["v"] == draws["v"][:, :1]).all()


@pytest.mark.slow
def test_the_wiener_filter_of_a_field_per_band():
    """White latents w of a field with spectrum P(k), seen with noise N: the posterior of every mode is known."""
    n, noise = 32, 0.3
    kx, ky = np.meshgrid(np.fft.fftfreq(n) * n, np.fft.fftfreq(n) * n, indexing="ij")
    k = np.hypot(kx, ky)
    power = 4 / (1 + (k / 4) ** 2) ** 1.5
    rng = np.random.default_rng(4)
    field = np.fft.ifft2(np.sqrt(power) * np.fft.fft2(rng.normal(size=(n, n)))).real
    data = field + noise * rng.normal(size=(n, n))

    def filtered(w):
        return jnp.fft.ifft2(np.sqrt(power) * jnp.fft.fft2(w)).real

    def target(x):
        w = x["w"]
        r = data - filtered(w)
        log_density = -0.5 * jnp.sum(r * r, axis=(1, 2)) / noise**2 - 0.5 * jnp.sum(w * w, axis=(1, 2))
        return log_density, {"w": filtered(r) / noise**2 - w}

    variance = 1 / (1 + power / noise**2)  # of a white mode given the data
    mean = variance * np.sqrt(power) / noise**2 * np.fft.fft2(data)
    with jax.enable_x64(True):
        space = Space.single({"w": (n, n)}, CHAINS)
        draws, info, _ = Driven(exact_gaussian(draws=60, chains=CHAINS), space, target).run(9)
    modes = np.abs(np.fft.fft2(draws["w"]) - mean) ** 2 / (n * n * variance)
    bands = [modes[:, :, (k >= low) & (k < low + 2)].mean(axis=2) for low in range(0, 22, 2)]
    assert not info.divergent.any() and info.misfit.max() < 1e-4
    assert largest_t(np.stack(bands, axis=2), 1.0) < 8
    assert abs(modes.mean() - 1) < 8 * np.sqrt(2 / (n * n * CHAINS * 60))


@pytest.mark.slow
def test_the_matrix_and_the_solver_draw_the_same():
    target, _, _ = regression()
    found = []
    with jax.enable_x64(True):
        for dense in (256, 0):
            options = exact_gaussian(draws=1, dense=dense, accuracy=1e-10, chains=2)
            found.append(Driven(options, Space.single({"b": (5,)}, 2), target).run(1)[0]["b"])
    np.testing.assert_allclose(*found, rtol=1e-6, atol=1e-6)
