"""Log densities and their gradients against SciPy, closed forms and 60-digit decimals."""

from decimal import Decimal

import numpy as np
import pytest

from ppl.dist.make import FAMILIES
from tests.ppl.dist_decimals import ORACLES
from tests.ppl.dist_table import PARAMS, POINTS, ROWS, Row, evaluate, gradient

ALONG_A_DIM = {"Categorical", "Dirichlet", "MvNormal"}
"""Held by test_dist_vector.py."""
by_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title)


@pytest.fixture(autouse=True)
def quiet_references():
    with np.errstate(all="ignore"):
        yield


def error(got, want):
    """The absolute or the relative error, whichever is smaller; equal infinities agree."""
    return np.where(got == want, 0.0, np.abs(got - want) / np.maximum(1.0, np.abs(want)))


def test_every_distribution_has_a_row_for_every_form():
    assert {row.name for row in ROWS} | ALONG_A_DIM == set(FAMILIES)
    rows = {(row.name, name) for row in ROWS for name in row.params}
    for family in FAMILIES.values():
        if family.name not in ALONG_A_DIM:
            assert {(family.name, p.name) for p in family.parameters} <= rows


@by_row
def test_log_prob_is_that_of_the_reference(row: Row):
    x, columns = row.grid(), row.columns()
    got = evaluate(row, x, columns)
    want = np.broadcast_to(row.reference(x, *columns.values()), x.shape)
    assert not np.isnan(got).any() and not np.isnan(want).any()
    assert error(got, want).max() < 1e-12


@by_row
def test_single_precision_keeps_its_digits(row: Row):
    """Against double precision at the same (rounded) numbers; 3e-5 is the far tail of a truncated normal, 500 eps."""
    columns = {name: c.astype(np.float32) for name, c in row.columns().items()}
    x = row.grid() if row.discrete else row.grid().astype(np.float32)
    x = np.where(np.abs(x) < 3e38, x, x.dtype.type(0))
    got, want = evaluate(row, x, columns, "f32"), evaluate(row, x, columns)
    assert got.dtype == np.float32
    assert error(got, want).max() < (3e-5 if row.name == "TruncatedNormal" else 4e-6)


@pytest.mark.parametrize("row", [row for row in ROWS if row.outside], ids=lambda row: row.title)
def test_there_is_no_density_outside_the_support_and_its_gradient_is_no_nan(row: Row):
    columns = row.columns()
    x = np.broadcast_to(np.array(row.outside), (PARAMS, len(row.outside)))
    x = np.concatenate([x, np.repeat(x[:, -1:], POINTS - x.shape[1], axis=1)], axis=1)
    x = x.astype(np.int32 if row.discrete else float)
    assert (evaluate(row, x, columns) == -np.inf).all()
    for name, g in gradient(row, x, columns).items():
        assert np.isfinite(g).all(), name


@pytest.mark.parametrize("row", [row for row in ROWS if row.illegal], ids=lambda row: row.title)
def test_illegal_parameters_never_have_a_density(row: Row):
    """A computed parameter out of its domain gives NaN or -inf, which samplers reject, and never a finite number."""
    columns, x = row.columns(), row.grid()
    for name, values in row.illegal.items():
        for value in values:
            got = evaluate(row, x, {**columns, name: np.full((PARAMS, 1), value)})
            assert (np.isnan(got) | (got == -np.inf)).all(), f"{name} = {value}"


def slopes(f, x, step):
    """Central differences of fourth order, and their rounding errors, with several steps; the caller takes the best."""
    for h in step * 10.0 ** -np.arange(2.0, 8.0)[:, None, None]:
        rounding = 4 * np.finfo(float).eps * (1 + np.abs(f(x))) / h
        yield (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h), rounding


@by_row
def test_gradients_are_those_of_the_reference(row: Row):
    """Against differences of the reference; a parameter's gradient is a sum over its points.

    Points at the edge of the support, where a difference has no meaning, are left out.
    """
    x, columns = row.grid(), row.columns()
    got = gradient(row, x, columns)
    usable = np.isfinite(row.reference(x, *columns.values()) + 0.0 * x)
    for name, found in got.items():
        assert np.isfinite(found[usable.all(axis=1)]).all(), name
        at = x if name == "x" else columns[name]

        def f(moved, name=name):
            values = {**columns, **({} if name == "x" else {name: moved})}
            return row.reference(moved if name == "x" else x, *values.values()) + 0.0 * x

        best = np.full(x.shape if name == "x" else (PARAMS,), np.inf)
        for slope, rounding in slopes(f, at, np.where(at == 0, 1.0, np.abs(at))):
            slope, rounding = (v if name == "x" else v.sum(axis=1) for v in (slope, rounding))
            miss = np.maximum(0.0, np.abs(slope - found) - rounding) / np.maximum(1.0, np.abs(found))
            best = np.fmin(best, np.where(np.isfinite(miss), miss, np.inf))
        checked = np.isfinite(best)
        assert checked.any(), name
        assert best[checked].max(initial=0.0) < 2e-6, name


LARGE = {
    ("Poisson", "rate"): [
        (10**6, 1e6),
        (10**6 + 3000, 1e6),
        (2 * 10**9, 2e9),
        (10**6, 1.2e6),
        (10**6, 1e-5),
        (900, 1e3),
    ],
    ("Poisson", "log_rate"): [(10**6, 13.815), (10**9, 20.723), (10**6, 20.0), (3, -3000.0), (10**6, -700.0)],
    ("Binomial", "total_count", "probs"): [
        (5 * 10**5, 1e6, 0.5),
        (10**9, 2e9, 0.5),
        (700, 1e9, 1e-6),
        (10**6, 1e6 + 3, 1 - 1e-6),
        (10**6, 2e6, 1e-9),
    ],
    ("Binomial", "total_count", "logits"): [
        (5 * 10**5, 1e6, 0.0),
        (10**9, 2e9, 1e-5),
        (10**6, 2e6, -40.0),
        (10, 20, -900.0),
    ],
    ("NegativeBinomial", "mean", "concentration"): [
        (10**6, 1e6, 1e6),
        (10**6, 1e6, 1e12),
        (10**6, 3e6, 0.1),
        (0, 1e-9, 1e9),
        (7, 5.0, 1e15),
    ],
    ("Gamma", "concentration", "rate"): [
        (1.0, 1e6, 1e6),
        (1.001, 1e6, 1e6),
        (2e3, 1e9, 5e5),
        (3.0, 1e6, 1e-3),
        (1e-9, 1e6, 1.0),
    ],
    ("InverseGamma", "concentration", "scale"): [
        (1.0, 1e6, 1e6),
        (1.001, 1e6, 1e6),
        (2e-3, 1e9, 2e6),
        (3.0, 1e6, 1e-3),
    ],
    ("Beta", "concentration1", "concentration0"): [
        (0.5, 1e6, 1e6),
        (0.5001, 1e6, 1e6),
        (1e-3, 1e6, 999e6),
        (0.9, 1e-3, 1e6),
        (0.25, 1e9, 3e9),
    ],
    ("StudentT", "df", "loc", "scale"): [
        (2.0, 1e6, 0.0, 1.0),
        (2.0, 1e12, 0.0, 1.0),
        (-40.0, 1e12, 0.0, 1.0),
        (1e150, 3.0, 0.0, 1.0),
        (1e200, 1e-3, 0.0, 1e-60),
    ],
}
"""Points and parameters at which the terms of the textbook formula are 10^6 to 10^11 times larger than their sum."""


@pytest.mark.parametrize("form", LARGE, ids="-".join)
def test_large_numbers_cancel_without_loss(form):
    name, *params = form
    cases = LARGE[form]
    row = next(r for r in ROWS if r.name == name and tuple(r.params) == tuple(params))
    table = np.array(cases, float)
    columns = {p: table[:, [i + 1]] for i, p in enumerate(params)}
    x = np.broadcast_to(table[:, :1], (len(table), POINTS)).astype(np.int32 if row.discrete else float)
    got = evaluate(row, x, columns)[:, 0]
    want = np.array([float(ORACLES[form](*map(Decimal, map(float, case)))) for case in cases])
    assert error(got, want).max() < 1e-11, (got, want)
