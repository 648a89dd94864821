"""ADVI and Pathfinder: known approximations of Gaussians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppl.infer.advi import Advi
from ppl.infer.climb import Lbfgs
from ppl.infer.history import Products, append, no_pairs, wanted
from ppl.infer.pathfinder import Pathfinder
from ppl.infer.protocol import State
from ppl.infer.space import Space
from tests.infer.fitting import quadratic, rotated, runner

D, CHAINS = 4, 4


def test_inner_products_of_stacks_are_the_same_row_by_row(monkeypatch):
    rng = np.random.default_rng(0)
    sizes = {"field": (3, 5), "scale": ()}
    a, b, v = ({n: rng.normal(size=(2, *k, *s)) for n, s in sizes.items()} for k in ((4,), (6,), ()))
    flat = lambda x, *k: np.concatenate([y.reshape(2, *k, -1) for y in x.values()], axis=-1)  # noqa: E731
    a_, b_, v_ = flat(a, 4), flat(b, 6), flat(v)
    exact = [a_ @ b_.swapaxes(1, 2), np.einsum("cx,cix->ci", v_, b_), np.einsum("cix,cx->ci", a_, v_)]
    exact.append((v_**2).sum(axis=1))
    with jax.enable_x64(True):
        vectors = jax.tree.map(jnp.asarray, (a, b, v))
        a, b, v = vectors
        for row in (2**14, 1):
            monkeypatch.setattr("ppl.infer.space.ROW", row)
            inner = lambda a, b, v: Space.single(sizes, 2).inner([(a, b), (v, b), (a, v), (v, v)])  # noqa: E731
            found = jax.jit(inner)(a, b, v)
            for x, y in zip(found, exact, strict=True):
                np.testing.assert_allclose(x, y, atol=1e-12)


def evidence(precision):
    d = len(precision)
    return 0.5 * d * np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(precision)[1]


def test_mean_field_variances_are_the_inverse_diagonal_of_the_precision():
    """KL(q || p) of a diagonal normal to N(m, P^-1) is least at variances 1 / P_ii: its derivative by the variances."""
    precision, mean = rotated(D, 30.0)
    with jax.enable_x64(True):
        run = runner(lambda space, target: Advi(space, target, samples=4), Space.single({"x": (D,)}, CHAINS), quadratic)
        start = {"x": jnp.asarray(np.random.default_rng(1).normal(size=(CHAINS, D)))}
        state, info, draws, handover = run(start, 6000, 400, precision, mean)
        assert info.converged[:, -1].all()
        scale = np.asarray(handover.metric.scale["x"])
        np.testing.assert_allclose(scale.mean(axis=0) * np.sqrt(np.diag(precision)), 1.0, atol=0.05)
        sd = np.sqrt(np.diag(np.linalg.inv(precision)))
        assert np.abs((state.fit.average.mean["x"] - mean) / sd).max() < 0.2
        # The bound falls short of the evidence by KL = (sum log P_ii - log det P) / 2.
        gap = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
        told = info.objective[:, -1].mean()
        assert abs(told - (evidence(precision) - gap)) < 0.15 and gap > 0.5
        assert draws["x"].shape == (CHAINS, 400, D)


@pytest.mark.slow
def test_enough_columns_make_the_approximation_exact():
    precision, mean = rotated(D, 30.0)
    with jax.enable_x64(True):
        run = runner(lambda space, target: Advi(space, target, 4, D), Space.single({"x": (D,)}, CHAINS), quadratic)
        start = {"x": jnp.asarray(np.random.default_rng(1).normal(size=(CHAINS, D)))}
        _, info, _, _ = run(start, 10000, 100, precision, mean)
    np.testing.assert_allclose(info.objective[:, -1], evidence(precision), atol=0.01)
    assert info.log_weight[:, -100:].std() < 0.2


def test_pathfinders_approximation_is_that_of_dense_bfgs_updates():
    """Pairs of a Gaussian's random steps, more than it remembers: H from the definition, update by update."""
    d, j, steps = 7, 3, 5
    precision, mean = rotated(d, 40.0)
    rng = np.random.default_rng(3)
    with jax.enable_x64(True):
        space = Space.single({"x": (d,)}, 2)
        fit = Pathfinder(space, quadratic(precision, mean), j)
        pairs, kept = no_pairs(space, Lbfgs(j).m), []
        alpha = {"x": jnp.asarray(rng.uniform(0.01, 0.1, (2, d)))}

        @jax.jit
        def enter(pairs, s, z):
            found = Products(*space.inner(wanted(pairs, s, z, z)))
            pairs, _, entered = append(pairs, jnp.ones(2, bool), s, z, found)
            return pairs, entered

        for _ in range(steps):
            s = rng.normal(size=(2, d))
            z = s @ precision
            kept.append((s, z))
            pairs, entered = enter(pairs, {"x": s}, {"x": z})
            assert entered.all()
        x = jnp.asarray(rng.normal(size=(2, d)))
        value, gradient = fit.target({"x": x})
        here = State({"x": x}, gradient, value, jnp.zeros(2, jnp.uint32))
        made = jax.jit(fit._approximate)(here, pairs, alpha)
        for c in range(2):
            h = np.diag(np.asarray(alpha["x"])[c])
            for s, z in ((s[c], z[c]) for s, z in kept[-j:]):
                away = np.eye(d) - np.outer(s, z) / (s @ z)
                h = away @ h @ away.T + np.outer(s, s) / (s @ z)
            a, sz = np.asarray(made.alpha["x"])[c], [np.asarray(v["x"])[c] for v in (made.z, made.s)]
            beta = np.r_[a * sz[0], sz[1]].T
            np.testing.assert_allclose(np.diag(a) + beta @ made.gamma[c] @ beta.T, h, atol=1e-9)
            np.testing.assert_allclose(made.mean["x"][c], x[c] + h @ np.asarray(gradient["x"])[c], atol=1e-9)
            np.testing.assert_allclose(made.half_log_det[c], 0.5 * np.linalg.slogdet(h)[1], atol=1e-9)
            root = (np.eye(d) + beta @ made.spread[c] @ beta.T / a) * np.sqrt(a)
            np.testing.assert_allclose(root @ root.T, h, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("condition", "shortfall"), [(1.0, 1e-9), (100.0, 1.5)])
def test_pathfinder_on_gaussians(condition, shortfall):
    """An isotropic Gaussian comes out exactly, others within a nat or two of the evidence."""
    precision, mean = rotated(12, condition)
    with jax.enable_x64(True):
        run = runner(lambda space, target: Pathfinder(space, target, 12), Space.single({"x": (12,)}, 3), quadratic)
        start = {"x": jnp.asarray(np.random.default_rng(1).normal(size=(3, 12)))}
        _, info, draws, _ = run(start, 400, 300, precision, mean)
    assert info.converged[:, -1].all()
    assert np.abs(info.objective[:, -1] - evidence(precision)).max() < shortfall
    sd = np.sqrt(np.diag(np.linalg.inv(precision)))
    assert np.abs((draws["x"].mean(axis=(0, 1)) - mean) / sd).max() < 0.2
