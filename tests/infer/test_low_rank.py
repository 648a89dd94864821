"""The low-rank metric: the dense one where that is small enough, alike on every mesh, and worth it where it is not."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

from ir.errors import Diagnostic
from ppl.infer.fisher import FisherDense, Fixed, Windows
from ppl.infer.fisher_low_rank import FisherLowRank
from ppl.infer.metric import Dense, Diagonal, LowRank
from ppl.infer.pack import packing
from ppl.infer.program import hmc, mams, nuts
from ppl.infer.space import Space
from tests.infer.test_sharded import N, line_space, mesh, spmd


def gaussian_draws(rng, covariance, n):
    """Draws of chains [C, n, d] with their gradients."""
    x = rng.multivariate_normal(np.ones(len(covariance)), covariance, size=(2, n))
    return x, -(x - 1) @ np.linalg.inv(covariance)


def learn(estimator, x, g, old, masks, switches=()):
    """The metric of draws {site: [C, n, ...]}; bool[n, C] says which chains take a draw, `switches` before which two
    switches come, so that no draw before counts."""
    chains = masks.shape[1]
    first = lambda stack: {n: jnp.moveaxis(v, 1, 0) for n, v in stack.items()}  # noqa: E731
    forget = np.isin(np.arange(len(masks)), switches)

    def step(estimate, now):
        x, g, mask, drop = now
        drop = jnp.full(chains, drop)
        estimate = estimator.switch(estimator.switch(estimate, drop), drop)
        return estimator.add(estimate, mask, x, g), None

    estimate, _ = lax.scan(step, estimator.start(), (first(x), first(g), jnp.asarray(masks), jnp.asarray(forget)))
    return estimator.metric(estimate, old, jnp.ones(chains, bool))


@partial(jax.jit, static_argnums=1)
def covariance_of(metric, d):
    """F F^T [C, d, d], by F^T on the unit vectors."""
    column = lambda e: metric.push(metric.pull({"*": jnp.broadcast_to(e, (2, d))}))["*"]  # noqa: E731
    return jax.vmap(column, out_axes=2)(jnp.eye(d))


def test_draws_that_all_fit_give_the_dense_metric():
    """d = 20, 27 draws, of which the second chain misses four; the buffer takes 31."""
    d, n = 20, 27
    rng = np.random.default_rng(5)
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    x, g = gaussian_draws(rng, basis * np.geomspace(1e-2, 1e2, d) @ basis.T, n)
    x, g = ({"*": jnp.asarray(a)} for a in (x, g))
    masks = np.ones((n, 2), bool)
    masks[[3, 7, 20, 26], 1] = False
    with jax.enable_x64(True):
        space = packing(Space.single({"a": (2, 3), "b": (d - 6,)}, 2)).space
        one = Diagonal({"*": jnp.ones((2, d))})

        def both(x, g):
            low = FisherLowRank(space, d, 31)
            eye = Dense(jnp.stack([jnp.eye(d)] * 2))
            found = learn(low, x, g, low.take(one), masks)
            return learn(FisherDense(space), x, g, eye, masks), found, found.deviation()

        dense, low, deviation = jax.jit(both)(x, g)
        got = np.asarray(covariance_of(low, d))
        cut = FisherLowRank(space, 3, 6).take(low)
        again = FisherLowRank(space, d, 31).take(cut)
    dense, low, cut, again = jax.tree.map(np.asarray, (dense, low, cut, again))
    wanted = dense.factor @ dense.factor.swapaxes(1, 2)
    np.testing.assert_allclose(got, wanted, rtol=1e-8, atol=1e-8 * np.abs(wanted).max())
    strength = np.abs(np.log(low.eigenvalues))
    assert (np.diff(strength, axis=1) <= 0).all() and (strength[:, 0] > 2).all()
    u = low.directions["*"]
    np.testing.assert_allclose(deviation["*"] ** 2, np.diagonal(wanted, axis1=1, axis2=2), rtol=1e-8)
    # Handed to an estimator of rank 3, the strongest three are left.
    for few in (cut.eigenvalues, again.eigenvalues[:, :3]):
        assert (few == low.eigenvalues[:, :3]).all()
    assert (again.eigenvalues[:, 3:] == 1).all() and (again.directions["*"][:, 3:] == 0).all()
    assert (cut.directions["*"] == u[:, :3]).all() and (again.directions["*"][:, :3] == u[:, :3]).all()


def reference(x, g, rank, kept):
    """F F^T of the draws and gradients [n, d] of a chain's window, of which the last are kept, by d x d matrices."""
    scale = (x.var(axis=0) / g.var(axis=0)) ** 0.25
    a, b = (((v[-kept:] - v[-kept:].mean(axis=0)) * s).T for v, s in ((x, 1 / scale), (g, scale)))
    eye = np.eye(len(scale))
    upper, lower = np.linalg.cholesky(a @ a.T / 1e-5 + eye).T, np.linalg.cholesky(b @ b.T / 1e-5 + eye)
    _, roots, vectors = np.linalg.svd(upper @ lower)
    half = np.linalg.solve(lower.T, vectors.T)
    values, vectors = np.linalg.eigh(half * roots @ half.T)
    best = np.argsort(-np.abs(np.log(values)))[:rank]
    best = best[(values[best] > 2) | (values[best] < 0.5)]
    return (eye + vectors[:, best] * (values[best] - 1) @ vectors[:, best].T) * np.outer(scale, scale)


def test_split_latents_have_the_metric_of_whole_ones():
    """A line of 37 over 8 devices, whose padding stays, and a number on all of them; F^T is the transpose of F.

    A buffer of 8. Five draws of something else are forgotten at a switch; the window then has 7 draws and, of the other
    chain, 6; then 11 and 10.
    """
    grid = mesh((8,), ("row",))
    rng = np.random.default_rng(1)
    before, n, chains, rank, kept = 5, 16, 2, 3, 8
    common = rng.normal(size=(chains, n, 1))  # what all elements share
    x, g = (rng.normal(size=(chains, n, N + 1)) + 2 * common for _ in range(2))
    x[:, :before] *= 100
    u, v = rng.normal(size=(2, chains, N + 1))
    space = line_space(("row",), 8, chains)

    def body(x, g, u, v, masks):
        estimator = FisherLowRank(space, rank, kept)
        metric = learn(estimator, x, g, estimator.first(space.full(4.0)), masks, (before,))
        pushed, pulled = metric.push(u), metric.pull(v)
        products = space.dots([(pushed, v), (u, pulled)])
        return metric.directions, metric.push(pulled), metric.deviation(), products

    def split(a):
        return {"s": a[..., 0], "x": np.pad(a[..., 1:], [*[(0, 0)] * (a.ndim - 1), (0, 3)])}

    one, stack = {"x": P(None, "row"), "s": P()}, {"x": P(None, None, "row"), "s": P()}
    with jax.enable_x64(True):
        f = spmd(body, grid, (stack, stack, one, one, P()), (stack, one, one, P()))
        vectors = tuple(map(split, (x, g, u, v)))
        lowered = f.lower(*vectors, np.ones((n, chains), bool))
        compiled = lowered.compile()
        for length in (7, 11):
            masks = np.arange(n)[:, None] < before + np.array([length, length])
            masks[before + 2, 1] = False
            *found, products = jax.tree.map(np.asarray, compiled(*vectors, masks))
            np.testing.assert_allclose(products[0], products[1], rtol=1e-12)
            assert [set(a["x"][..., N:].ravel()) for a in found] == [{0}, {0}, {1}]
            _, mapped, deviation = (np.concatenate([a["s"][..., None], a["x"][..., :N]], axis=-1) for a in found)
            for c in range(chains):
                window = np.flatnonzero(masks[before:, c]) + before
                expected = reference(x[c, window], g[c, window], rank, kept)
                np.testing.assert_allclose(mapped[c], expected @ v[c], rtol=1e-6, atol=1e-6)
                np.testing.assert_allclose(deviation[c], np.sqrt(np.diag(expected)), rtol=1e-6)
    text = lowered.as_text()
    assert not re.search(r"all_gather|all_to_all|collective_permute|reduce_scatter", text)
    # Products of draws and gradients, `rank` numbers a chain for each of three maps, and the test's own two dots.
    sizes = re.findall(r"all_reduce.*?-> tensor<([0-9x]*)x?f64>", text, re.S)
    numbers = [int(np.prod([int(k) for k in s.split("x") if k])) for s in sizes]
    assert sorted(numbers) == [2 * chains, *3 * [rank * chains], 3 * kept**2 * chains]


def test_auto_takes_the_metric_of_the_size():
    def kind(dims, **options):
        return type(nuts(**options).estimator(packing(Space.single({"x": (dims,)}, 2)).space))

    assert [kind(d) for d in (128, 129, 2048, 2049)] == [Windows, FisherLowRank, FisherLowRank, Windows]
    assert kind(5000, metric="low_rank") is kind(5, metric="low_rank") is FisherLowRank
    assert kind(5, metric="low_rank", warmup=0) is kind(5, warmup=0) is Fixed
    still = nuts(metric="low_rank", rank=2, warmup=0).estimator(Space.single({"x": (40,)}, 2))
    with jax.enable_x64(True):
        assert isinstance(still.first({}), LowRank) and still.take(still.first({})).eigenvalues.shape == (2, 2)
    assert mams(metric="low_rank", rank=2).estimator(Space.single({"x": (40,)}, 2)).draws == 8
    assert hmc(metric="low_rank", rank=9).estimator(Space.single({"x": (3,)}, 2)).rank == 3


def test_a_rank_is_of_the_low_rank_metric():
    for options, told in ((dict(rank=0), "between 1 and 32"), (dict(rank=33), "between 1 and 32")):
        with pytest.raises(Diagnostic, match=told):
            nuts(**options)
    with pytest.raises(Diagnostic, match="a diagonal metric has no rank") as raised:
        nuts(rank=4, metric="diagonal")
    assert "low_rank" in raised.value.hint
    with pytest.raises(Diagnostic) as raised:
        nuts(max_rank=4)
    assert "rank" in raised.value.hint


def test_packed_directions_are_unpacked_and_packed_again():
    with jax.enable_x64(True):
        packed = packing(Space.single({"a": (2, 3), "b": ()}, 2))
        u = jnp.arange(2 * 4 * 7, dtype=jnp.float64).reshape(2, 4, 7)
        metric = LowRank({"*": u[:, 0]}, {"*": u}, jnp.ones((2, 4)), packed.space)
        loose = packed.unpack_tree(metric)
        assert loose.directions["a"].shape == (2, 4, 2, 3) and loose.directions["b"].shape == (2, 4)
        assert (packed.pack_tree(loose).directions["*"] == u).all() and (loose.scale["b"] == u[:, 0, 6]).all()
