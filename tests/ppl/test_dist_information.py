"""The Fisher information of every distribution is the expected square of its score, of priors with the draw in it.

The expectation is a sum over the support, or the trapezoidal rule over the unconstrained line, on which densities are
analytic (but for the Laplace distribution's kink, where it is accurate to the square of its step).
"""

import itertools

import numpy as np
import pytest

from ir.build import Builder, constant, emit
from ir.constrain import to_support
from ir.dims import Dim, TensorType
from ir.ops.reduce import Sum
from ir.passes.differentiate import differentiate
from ppl.dist.make import FAMILIES, make
from tests.ir.interpret import run

NODES = 6000
"""One size for all rows, so that they share compiled operations; no node is at a kink."""
ROWS = {
    "Normal": {"loc": 0.7, "scale": 1.3},
    "HalfNormal": {"scale": 1.3},
    "LogNormal": {"loc": 0.7, "scale": 1.3},
    "StudentT": {"df": 4.5, "loc": 0.7, "scale": 1.3},
    "HalfStudentT": {"df": 4.5, "scale": 1.3},
    "Cauchy": {"loc": 0.7, "scale": 1.3},
    "HalfCauchy": {"scale": 1.3},
    "Laplace": {"loc": 0.7, "scale": 1.3},
    "Logistic": {"loc": 0.7, "scale": 1.3},
    "Gumbel": {"loc": 0.7, "scale": 1.3},
    "Exponential": {"rate": 1.7},
    "Gamma": {"concentration": 2.5, "rate": 1.7},
    "InverseGamma": {"concentration": 2.5, "scale": 1.7},
    "Weibull": {"concentration": 1.4, "scale": 1.7},
    "Pareto": {"scale": 1.7, "concentration": 2.5},
    "Beta": {"concentration1": 2.5, "concentration0": 1.5},
    "Uniform": {"low": -1.0, "high": 2.0},
    "Bernoulli": {"probs": 0.3},
    "Bernoulli logits": {"logits": 0.6},
    "Binomial": {"total_count": 7, "probs": 0.3},
    "Binomial logits": {"total_count": 7, "logits": 0.6},
    "Poisson": {"rate": 3.7},
    "Poisson log_rate": {"log_rate": 1.3},
    "NegativeBinomial": {"mean": 3.7, "concentration": 2.5},
    "Geometric": {"probs": 0.3},
    "Geometric logits": {"logits": 0.6},
}
ALONG_A_DIM = {"Categorical", "MvNormal"}
UNKNOWN = {"TruncatedNormal", "Dirichlet"}
IMPROPER = {"Flat", "HalfFlat"}
NO_PRIOR = {"Pareto"}
DRAW_ONLY = {"Beta", "Uniform"}
"""Of these only the curvature along the draw is known."""
TOLERANCE = {"Laplace": 1e-4}


def types(row, dims=()):
    return {n: TensorType(dims, "i32" if n == "total_count" else "f64") for n in row}


def score_square(name, row, prior):
    """E[s s^T] of the score s, by the names of the unknowns."""
    family = FAMILIES[name]
    nodes = np.arange(NODES) if family.discrete else np.linspace(-60.0, 60.0, NODES)
    m = Dim("m", len(nodes))
    with Builder(name, "f64") as b:
        given = {p: b.input(p, t) for p, t in types(row, (m,)).items()}
        dist = make(name, (), (), given).dist
        params = tuple(given.values())
        if family.discrete:
            u = b.input("u", TensorType((m,), "i32"))
            log_p = dist.log_prob(u, *params)
        else:
            u = b.input("u", TensorType((m,), "f64"))
            x, log_det = to_support(dist.support(*params), u)
            log_p = dist.log_prob(x, *params)
            log_p = log_p if log_det is None else log_p + log_det
        program = b.finish({"log_p": log_p, "total": emit(Sum(("m",)), log_p)})
    wrt = [n for n in row if n != "total_count"] + ["u"] * prior
    points = nodes if family.discrete else spread(name, nodes, row)[0]
    arguments = {"u": points, **{n: np.full(m.size, v) for n, v in row.items()}}
    with np.errstate(all="ignore"):
        found = run(differentiate(program, wrt, "total"), arguments)
    weight = np.exp(found["log_p"]) * (1.0 if family.discrete else spread(name, nodes, row)[1])
    assert abs(weight.sum() - 1) < TOLERANCE.get(name, 1e-9)
    score = np.stack([np.where(weight > 0, found[f"grad:{n}"], 0.0) for n in wrt])
    return dict(zip(itertools.product(wrt, wrt), ((score * weight) @ score.T).ravel(), strict=True)), wrt


def spread(name, t, row):
    """Points of the unconstrained line and their weights: sinh for tails on both sides of a real draw."""
    if "loc" not in row or name == "LogNormal":
        return t, np.full(len(t), t[1] - t[0])
    t = t * 0.6
    return row["loc"] + row["scale"] * np.sinh(t), row["scale"] * np.cosh(t) * (t[1] - t[0])


def informed(name, row, prior):
    """The information matrix by the names of the unknowns, and the names of those that have none."""
    with Builder(name, "f64") as b:
        given = {p: b.input(p, t) for p, t in types(row).items()}
        u = b.input("u", TensorType((), "f64"))
        dist = make(name, (), (), given).dist
        found = dist.prior_information(u, *given.values()) if prior else dist.information(*given.values())
        known = [c for c in found if c.information is not None]
        outputs = {f"value:{i}": c.value for i, c in enumerate(known)}
        each = [c.information if not isinstance(c.information, float) else constant(c.information) for c in known]
        program = b.finish({**outputs, **{f"information:{i}": x for i, x in enumerate(each)}})
    wrt = [n for n in row if n != "total_count"] + ["u"] * prior
    total = np.zeros((len(wrt), len(wrt)))
    for i in range(len(known)):
        made = run(differentiate(program, wrt, f"value:{i}"), {**row, "u": 0.4})
        slope = np.array([made[f"grad:{n}"] for n in wrt])
        total += made[f"information:{i}"] * np.outer(slope, slope)
    return dict(zip(itertools.product(wrt, wrt), total.ravel(), strict=True)), {
        c.name for c in found if c.information is None
    }


def test_every_distribution_is_held_or_known_to_have_none():
    assert {name.split()[0] for name in ROWS} | ALONG_A_DIM | UNKNOWN | IMPROPER == set(FAMILIES)


CASES = [(title, False) for title in ROWS if title not in DRAW_ONLY]
CASES += [(t, True) for t in ROWS if not FAMILIES[t.split()[0]].discrete and t not in NO_PRIOR]
FAST = {("StudentT", True), ("Gamma", True), ("Beta", True), *((t, False) for t in ("Normal", "Gumbel", "Weibull"))}
FAST |= {(t, False) for t in ROWS if FAMILIES[t.split()[0]].discrete}


@pytest.mark.parametrize(
    ("title", "prior"),
    [pytest.param(*c, marks=() if c in FAST else pytest.mark.slow) for c in CASES],
    ids=lambda x: {True: "prior", False: "observed"}.get(x, x),
)
def test_information_is_the_expected_square_of_the_score(title, prior):
    name, row = title.split()[0], ROWS[title]
    got, without = informed(name, row, prior)
    want, wrt = score_square(name, row, prior)
    names = ["u"] if title in DRAW_ONLY else [n for n in wrt if n not in without]
    assert names
    for pair in itertools.product(names, names):
        tolerance = TOLERANCE.get(name, 1e-8)
        np.testing.assert_allclose(got[pair], want[pair], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("form", ["probs", "logits"])
def test_categories_tell_the_square_of_their_probabilities_differences_over_them(form):
    p = np.array([0.2, 0.5, 0.1, 0.2])
    k = Dim("k", 4)
    given = 3.0 * p if form == "probs" else np.log(p) + 0.7
    with Builder("categorical", "f64") as b:
        param = b.input("p", TensorType((k,), "f64"))
        (told,) = make("Categorical", ("k",), (), {form: param}).dist.information(param)
        w = b.input("w", TensorType((k,), "f64"))
        program = b.finish({"total": emit(Sum(("k",)), w * told.value)})
    rows = [run(differentiate(program, ["p"], "total"), {"p": given, "w": e})["grad:p"] for e in np.eye(4)]
    slope = np.diag(p) - np.outer(p, p)  # of the probabilities by the logits
    if form == "probs":
        slope = (np.eye(4) - p[:, None]) / 3.0
    np.testing.assert_allclose(np.stack(rows).T @ np.stack(rows), slope.T @ np.diag(1 / p) @ slope, atol=1e-12)


@pytest.mark.parametrize("prior", [False, True])
def test_a_correlated_vector_tells_its_mean_with_the_precision(prior):
    rng = np.random.default_rng(5)
    factor = np.tril(rng.normal(size=(3, 3))) + 2 * np.eye(3)
    k, columns = Dim("k", 3), Dim("k2", 3)
    with Builder("mv", "f64") as b:
        loc, u, w = (b.input(n, TensorType((Dim(d, 3),), "f64")) for n, d in (("loc", "k"), ("u", "k"), ("w", "k2")))
        chol = b.input("chol", TensorType((k, columns), "f64"))
        dist = make("MvNormal", ("k",), (), {"loc": loc, "chol": chol}).dist
        told = dist.prior_information(u, loc, chol) if prior else dist.information(loc, chol)
        program = b.finish({"total": emit(Sum(("k2",)), w * told[0].value)})
    assert [c.information for c in told] == [1.0, None]
    given = {"loc": rng.normal(size=3), "u": rng.normal(size=3), "chol": factor}
    found = [run(differentiate(program, ["loc", "u"], "total"), {**given, "w": e}) for e in np.eye(3)]
    by_loc, by_u = (np.stack([made[f"grad:{n}"] for made in found]) for n in ("loc", "u"))
    np.testing.assert_allclose(by_loc.T @ by_loc, np.linalg.inv(factor @ factor.T), atol=1e-12)
    np.testing.assert_allclose(by_u, -by_loc if prior else 0 * by_loc, atol=1e-12)
