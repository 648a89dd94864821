"""Distributions along a dim: Categorical, Dirichlet and MvNormal against SciPy and closed forms."""

import numpy as np
import pytest
from scipy import special, stats

from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.ops.reduce import Sum
from ir.passes.differentiate import differentiate
from ppl.dist.make import make
from tests.ir.interpret import run

K, K2, N = Dim("k", 4), Dim("k2", 4), Dim("n", 6)


def tensor(*dims: Dim, dtype: str = "f64") -> TensorType:
    return TensorType(dims, dtype)


def program_of(name: str, x: TensorType, real: str = "f64", **types: TensorType):
    """Inputs `x` and the parameters; outputs the log density by element and its sum."""
    with Builder(name, real) as b:
        given = {p: b.input(p, t) for p, t in types.items()}
        point = b.input("x", x)
        call = make(name, ("k",), (), given)
        log_prob = call.dist.log_prob(point, *call.params)
        return b.finish({"log_prob": log_prob, "total": emit(Sum(log_prob.dims), log_prob)})


LOGITS = np.array([0.3, -40.0, 5.0, -1.0])
PROBS = special.softmax(LOGITS)


@pytest.mark.parametrize(
    "form, p", [("logits", LOGITS), ("logits", LOGITS + 800), ("probs", PROBS), ("probs", 7 * PROBS)]
)
def test_categorical_is_log_softmax(form, p):
    x = np.array([0, 1, 2, 3, -1, 4], np.int32)
    found = run(program_of("Categorical", tensor(N, dtype="i32"), **{form: tensor(K)}), {"x": x, form: p})["log_prob"]
    want = [*special.log_softmax(LOGITS), -np.inf, -np.inf]
    np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-12)


def test_categorical_parameters_may_differ_by_draw():
    logits = np.random.default_rng(1).normal(size=(4, 6))
    x = np.array([0, 1, 2, 3, 1, 2], np.int32)
    program = program_of("Categorical", tensor(N, dtype="i32"), logits=tensor(K, N))
    found = run(program, {"x": x, "logits": logits})["log_prob"]
    np.testing.assert_allclose(found, special.log_softmax(logits, axis=0)[x, np.arange(6)], rtol=1e-13)


def test_an_impossible_category_has_no_mass_and_no_nan_gradient():
    x, probs = np.array([0, 2, 2, 0, 2, 2], np.int32), np.array([0.25, 0.0, 0.75, 0.0])
    program = program_of("Categorical", tensor(N, dtype="i32"), probs=tensor(K))
    assert np.isfinite(run(program, {"x": x, "probs": probs})["log_prob"]).all()
    found = run(differentiate(program, ["probs"], "total"), {"x": x, "probs": probs})["grad:probs"]
    np.testing.assert_allclose(found, [2 / 0.25 - 6, -6, 4 / 0.75 - 6, -6], rtol=1e-12)
    assert run(program, {"x": x + 1, "probs": probs})["log_prob"][0] == -np.inf


def test_a_negative_probability_has_no_density():
    program = program_of("Categorical", tensor(N, dtype="i32"), probs=tensor(K))
    found = run(program, {"x": np.full(6, 1, np.int32), "probs": np.array([1.2, -0.2, 0.0, 0.0])})["log_prob"]
    assert np.isnan(found).all()


@pytest.mark.parametrize("c", [np.array([0.2, 1.0, 3.0, 40.0]), np.array(2.0), np.array(0.01)])
def test_dirichlet_is_that_of_scipy(c):
    x = special.softmax(3 * np.random.default_rng(2).normal(size=(6, 4)), axis=1)
    program = program_of("Dirichlet", tensor(N, K), concentration=tensor(*([K] if c.ndim else [])))
    found = run(program, {"x": x, "concentration": c})["log_prob"]
    alpha = np.broadcast_to(c, 4)
    np.testing.assert_allclose(found, [stats.dirichlet.logpdf(row, alpha) for row in x], rtol=1e-12, atol=1e-12)


def test_dirichlet_of_large_concentrations_keeps_its_digits():
    """Near its mode a Dirichlet is normal: log density = (K - 1) / 2 log(n / 2 pi) - sum of log(x) / 2 + O(1 / n)."""
    x = np.tile([0.1, 0.2, 0.3, 0.4], (6, 1))
    program = program_of("Dirichlet", tensor(N, K), concentration=tensor(K))
    for n in (1e8, 1e12):
        found = run(program, {"x": x, "concentration": n * x[0]})["log_prob"]
        want = 1.5 * np.log(n / (2 * np.pi)) - 0.5 * np.log(x[0]).sum()
        np.testing.assert_allclose(found, want, rtol=0, atol=2 / n + 1e-12)


def test_a_composition_that_does_not_sum_to_one_has_no_density():
    program = program_of("Dirichlet", tensor(N, K), concentration=tensor())
    x = np.full((6, 4), 0.25)
    x[1, 0], x[2], x[3, 2] = 0.3, [0.5, 0.5, 0.0, 0.0], 0.2503
    found = run(program, {"x": x, "concentration": np.array(2.0)})["log_prob"]
    assert np.isfinite(found).tolist() == [True, False, False, True, True, True]
    assert (found[1:3] == -np.inf).all()


def test_dirichlet_gradients_are_those_of_the_formula():
    """In x up to the same number for all parts, here -n, which no motion on the simplex sees."""
    x = special.softmax(np.random.default_rng(3).normal(size=(6, 4)), axis=1)
    c = np.array([0.2, 1.0, 3.0, 40.0])
    program = program_of("Dirichlet", tensor(N, K), concentration=tensor(K))
    found = run(differentiate(program, ["x", "concentration"], "total"), {"x": x, "concentration": c})
    np.testing.assert_allclose(found["grad:x"], (c - 1) / x - c.sum(), rtol=1e-11, atol=1e-11)
    by_c = 6 * (special.digamma(c.sum()) - special.digamma(c)) + np.log(x).sum(axis=0)
    np.testing.assert_allclose(found["grad:concentration"], by_c, rtol=1e-11)


def factor(rng) -> np.ndarray:
    return np.tril(rng.normal(size=(4, 4)), -1) + np.diag(rng.uniform(1, 3, 4))


def test_mv_normal_is_that_of_scipy_and_reads_the_lower_triangle_only():
    rng = np.random.default_rng(4)
    chol, loc, x = factor(rng), rng.normal(size=4), 5 * rng.normal(size=(6, 4))
    program = program_of("MvNormal", tensor(N, K), loc=tensor(K), chol=tensor(K, K2))
    arguments = {"x": x, "loc": loc, "chol": chol + np.triu(rng.normal(size=(4, 4)), 1)}
    found = run(program, arguments)["log_prob"]
    want = stats.multivariate_normal.logpdf(x, loc, chol @ chol.T)
    np.testing.assert_allclose(found, want, rtol=1e-12)
    gradients = run(differentiate(program, list(arguments), "total"), arguments)
    z = np.linalg.solve(chol, (x - loc).T)
    pull = np.linalg.solve(chol.T, z)  # the inverse covariance times the residual
    np.testing.assert_allclose(gradients["grad:x"], -pull.T, rtol=1e-10)
    np.testing.assert_allclose(gradients["grad:loc"], pull.sum(axis=1), rtol=1e-10)
    by_chol = np.tril(pull @ z.T) - 6 * np.diag(1 / np.diag(chol))
    np.testing.assert_allclose(gradients["grad:chol"], by_chol, rtol=1e-10, atol=1e-12)


def test_mv_normal_factors_may_differ_by_draw():
    rng = np.random.default_rng(5)
    chol, x = np.stack([factor(rng) for _ in range(6)]), rng.normal(size=(6, 4))
    program = program_of("MvNormal", tensor(N, K), loc=tensor(N), chol=tensor(K2, N, K))
    loc = rng.normal(size=6)
    found = run(program, {"x": x, "loc": loc, "chol": chol.transpose(2, 0, 1)})["log_prob"]
    want = [stats.multivariate_normal.logpdf(x[i], np.full(4, loc[i]), chol[i] @ chol[i].T) for i in range(6)]
    np.testing.assert_allclose(found, want, rtol=1e-12)


def test_a_factor_with_a_negative_diagonal_has_no_density():
    program = program_of("MvNormal", tensor(N, K), loc=tensor(), chol=tensor(K, K2))
    found = run(program, {"x": np.ones((6, 4)), "loc": np.array(0.0), "chol": np.diag([1.0, -1.0, 1.0, 1.0])})
    assert np.isnan(found["log_prob"]).all()
