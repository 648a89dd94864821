"""The low-rank metric: the dense one where that is small enough, alike on every mesh, and worth it where it is not."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec as P

from ppl.infer.fisher import FisherDense
from ppl.infer.fisher_low_rank import FisherLowRank
from ppl.infer.metric import Dense, Diagonal, LowRank
from ppl.infer.pack import packing
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
            return learn(FisherDense(space), x, g, eye, masks), learn(low, x, g, low.take(one), masks)

        dense, low = jax.jit(both)(x, g)
        wanted, got = np.asarray(dense.factor @ jnp.swapaxes(dense.factor, 1, 2)), covariance_of(low, d)
        np.testing.assert_allclose(got, wanted, rtol=1e-8, atol=1e-8 * np.abs(wanted).max())
        np.testing.assert_allclose(low.deviation()["*"] ** 2, np.diagonal(wanted, axis1=1, axis2=2), rtol=1e-8)
        strength = np.abs(np.log(low.eigenvalues))
        assert (np.diff(strength, axis=1) <= 0).all() and (strength[:, 0] > 2).all()
        # Handed to an estimator of rank 3, the strongest three are left.
        cut = FisherLowRank(space, 3, 6).take(low)
        assert cut.eigenvalues.shape == (2, 3) and (cut.eigenvalues == low.eigenvalues[:, :3]).all()
        assert (cut.directions["*"] == low.directions["*"][:, :3]).all()
        again = FisherLowRank(space, d, 31).take(cut)
        np.testing.assert_allclose(covariance_of(again, d), covariance_of(cut, d), rtol=1e-12, atol=1e-12)


def test_the_buffer_holds_the_last_draws_of_the_window():
    """d = 20, a buffer of 6: 12 draws of another posterior, which a switch forgets, then 5 or 9 more."""
    d, before = 20, 12
    rng = np.random.default_rng(6)
    x, g = gaussian_draws(rng, np.diag(np.geomspace(1, 9, d)) + 20.0, 9)
    x, g = (np.concatenate([rng.normal(0, s, (2, before, d)), a], axis=1) for a, s in ((x, 100), (g, 10)))
    with jax.enable_x64(True):
        space = packing(Space.single({"a": (d,)}, 2)).space
        estimator = FisherLowRank(space, 3, 6)

        @jax.jit
        def metric(numbers):
            masks = jnp.isin(jnp.arange(before + 9), numbers)
            masks = jnp.stack([masks, masks], axis=1)
            return learn(estimator, {"*": x}, {"*": g}, estimator.first(space.full(1.0)), masks, (before,))

        number = np.arange(9 + before)
        forgot, never = (
            metric(np.where(number < 17, number, -1)),
            metric(np.where(number < 17, number, -1) * (number > 11)),
        )
        # Directions that draws have and gradients have not are told from rounding by 1e-5 alone.
        np.testing.assert_allclose(covariance_of(forgot, d), covariance_of(never, d), rtol=1e-4)
        found = metric(number)
    # The span of the last six draws and gradients, about their means, holds the directions.
    found = jax.tree.map(np.asarray, found)
    y, b = x[0, -6:] / found.scale["*"][0], g[0, -6:] * found.scale["*"][0]
    columns = np.concatenate([y - y.mean(axis=0), b - b.mean(axis=0)]).T
    directions = found.directions["*"][0].T
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-8)
    np.testing.assert_allclose(columns @ np.linalg.lstsq(columns, directions)[0], directions, atol=1e-8)
    assert (np.abs(np.log(found.eigenvalues)) > 1).all()


def test_split_latents_have_the_metric_of_whole_ones():
    """A line of 37 over 8 devices, whose padding stays, and a number on all of them; F^T is the transpose of F."""
    grid = mesh((8,), ("row",))
    rng = np.random.default_rng(1)
    n, chains = 7, 2
    common = rng.normal(size=(chains, n))  # what all elements share
    draw = lambda *s: rng.normal(size=(chains, n, *s)) + 2 * common.reshape(chains, n, *(1,) * len(s))  # noqa: E731
    x, g = ({"x": draw(N), "s": draw()} for _ in range(2))
    u, v = ({"x": rng.normal(size=(chains, N)), "s": rng.normal(size=chains)} for _ in range(2))
    masks = np.ones((n, chains), bool)
    masks[2, 1] = False

    def go(space):
        def body(x, g, u, v):
            estimator = FisherLowRank(space, 3, 8)
            metric = learn(estimator, x, g, estimator.first(space.full(4.0)), masks)
            pushed, pulled = metric.push(u), metric.pull(v)
            products = space.dots([(pushed, v), (u, pulled)])
            return metric.directions, metric.push(pulled), metric.deviation(), metric.eigenvalues, products

        return body

    padded = lambda vector: {"s": vector["s"], "x": np.pad(vector["x"], [*[(0, 0)] * (vector["x"].ndim - 1), (0, 3)])}  # noqa: E731
    one, stack = {"x": P(None, "row"), "s": P()}, {"x": P(None, None, "row"), "s": P()}
    with jax.enable_x64(True):
        f = spmd(go(line_space(("row",), 8, chains)), grid, (stack, stack, one, one), (stack, one, one, P(), P()))
        args = (padded(x), padded(g), padded(u), padded(v))
        *vectors, eigenvalues, products = jax.tree.map(np.asarray, f(*args))
        whole = jax.tree.map(np.asarray, jax.jit(go(line_space((), 1, chains)))(x, g, u, v))
        text = f.lower(*args).as_text()
    assert (np.abs(np.log(eigenvalues)) > 2).all()
    np.testing.assert_allclose(eigenvalues, whole[3], rtol=1e-6)
    np.testing.assert_allclose(products[0], products[1], rtol=1e-12)
    for got, wanted, fill in zip(vectors, whole, (0, 0, 1), strict=False):
        assert (got["x"][..., N:] == fill).all()
        if fill or got is vectors[1]:  # a direction has either sign
            np.testing.assert_allclose(got["x"][..., :N], wanted["x"], rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(got["s"], wanted["s"], rtol=1e-6, atol=1e-6)
    assert not re.search(r"all_gather|all_to_all|collective_permute|reduce_scatter", text)
    # Products of draws and gradients, 3 numbers a chain for each of three maps, and the test's own two dots.
    sizes = re.findall(r"all_reduce.*?-> tensor<([0-9x]*)x?f64>", text, re.S)
    numbers = [int(np.prod([int(k) for k in s.split("x") if k])) for s in sizes]
    assert sorted(numbers) == [2 * chains, *3 * [3 * chains], 3 * 8**2 * chains]


def test_packed_directions_are_unpacked_and_packed_again():
    with jax.enable_x64(True):
        packed = packing(Space.single({"a": (2, 3), "b": ()}, 2))
        u = jnp.arange(2 * 4 * 7, dtype=jnp.float64).reshape(2, 4, 7)
        metric = LowRank({"*": u[:, 0]}, {"*": u}, jnp.ones((2, 4)), packed.space)
        loose = packed.unpack_tree(metric)
        assert loose.directions["a"].shape == (2, 4, 2, 3) and loose.directions["b"].shape == (2, 4)
        assert (packed.pack_tree(loose).directions["*"] == u).all() and (loose.scale["b"] == u[:, 0, 6]).all()
