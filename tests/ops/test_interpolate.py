"""Interpolation against SciPy, the ends of a table, and slopes that are exact for quartics."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline

from ir.build import Builder
from ir.dims import Dim, TensorType
from ir.errors import Diagnostic
from ir.ops.interpolate import Interp, Slopes
from tests.ir.interpret import run

K, N, M = Dim("k", 7), Dim("n", 9), Dim("m", 3)
KNOTS = np.array([-1.5, -1.1, -0.2, 0.1, 0.9, 1.0, 2.5])
INSIDE = np.array([-1.5, -1.3, -0.2, 0.05, 0.1, 0.95, 1.7, 2.4, 2.5])


def apply(op, dtype, *operands):
    """The op on arrays, each with its dims."""
    with Builder("table") as b:
        inputs = {f"x{i}": (array, dims) for i, (array, dims) in enumerate(operands)}
        values = [b.input(n, TensorType(dims, dtype)) for n, (_, dims) in inputs.items()]
        program = b.finish({"y": b.emit(op, *values)})
    return run(program, {n: array for n, (array, _) in inputs.items()})["y"]


def table(f, dims=(K,)):
    return f(KNOTS), dims


@pytest.mark.parametrize("dtype, tolerance", [("f64", 1e-14), ("f32", 1e-6)])
def test_curves_equal_scipy(dtype, tolerance):
    knots, values, slopes = (KNOTS, (K,)), table(np.sin), table(np.cos)
    linear = apply(Interp("k"), dtype, (INSIDE, (N,)), knots, values)
    np.testing.assert_allclose(linear, np.interp(INSIDE, KNOTS, np.sin(KNOTS)), rtol=tolerance, atol=tolerance)
    cubic = apply(Interp("k", "hermite"), dtype, (INSIDE, (N,)), knots, values, slopes)
    exact = CubicHermiteSpline(KNOTS, np.sin(KNOTS), np.cos(KNOTS))(INSIDE)
    np.testing.assert_allclose(cubic, exact, rtol=tolerance, atol=tolerance)


def test_a_uniform_grid_needs_no_knots():
    grid = -2.0 + 0.75 * np.arange(7)
    values, slopes = (np.sin(grid), (K,)), (np.cos(grid), (K,))
    searched = apply(Interp("k", "hermite"), "f64", (INSIDE, (N,)), (grid, (K,)), values, slopes)
    found = apply(Interp("k", "hermite", "nan", -2.0, 0.75), "f64", (INSIDE, (N,)), values, slopes)
    np.testing.assert_allclose(found, searched, rtol=1e-13)


@pytest.mark.parametrize("kind", ["linear", "hermite"])
def test_outside_is_the_edge_or_nan(kind):
    at = np.array([-1.6, 2.6, np.nan, -1.5, 2.5, 0.0, 1e30, -np.inf, 0.3])
    operands = ((at, (N,)), (KNOTS, (K,)), *([table(np.exp)] * (1 if kind == "linear" else 2)))
    edge, refused = (apply(Interp("k", kind, outside), "f64", *operands) for outside in ("clamp", "nan"))
    np.testing.assert_allclose(edge[[0, 1, 6, 7]], np.exp([-1.5, 2.5, 2.5, -1.5]), rtol=1e-15)
    assert np.array_equal(np.isnan(refused), [True, True, True, False, False, False, True, True, False])
    assert np.array_equal(np.isnan(edge), np.isnan(at))


def test_both_ends_of_a_uniform_grid_are_inside_it():
    grid = 0.1 + 0.1 * np.arange(7)  # 0.1 + 6 × 0.1 is not 0.7 in binary
    ends = apply(Interp("k", "linear", "nan", 0.1, 0.1), "f64", (np.array([0.1, 0.7, 0.7 + 1e-12]), (M,)), (grid, (K,)))
    np.testing.assert_allclose(ends[:2], [0.1, 0.7], rtol=1e-14)
    assert np.isnan(ends[2])


def test_knots_that_do_not_ascend_give_nan():
    knots = KNOTS[[0, 1, 3, 2, 4, 5, 6]]
    assert np.isnan(apply(Interp("k"), "f64", (INSIDE, (N,)), (knots, (K,)), table(np.sin))).all()


def test_dims_of_a_table_join_the_result():
    rows = np.stack([np.sin(KNOTS), np.cos(KNOTS), KNOTS**2])
    found = apply(Interp("k"), "f64", (INSIDE, (N,)), (KNOTS, (K,)), (rows, (M, K)))
    np.testing.assert_allclose(found.T, [np.interp(INSIDE, KNOTS, r) for r in rows], rtol=1e-14)
    shared = apply(Interp("k"), "f64", (INSIDE[:3], (M,)), (KNOTS, (K,)), (rows, (M, K)))
    np.testing.assert_allclose(shared, np.diagonal(found[:3]), rtol=1e-14)


def test_slopes_of_a_quartic_are_exact_at_every_knot():
    p = np.polynomial.Polynomial([0.3, -1.2, 0.7, 0.4, -0.5])
    uneven = apply(Slopes("k"), "f64", (KNOTS, (K,)), (p(KNOTS), (K,)))
    np.testing.assert_allclose(uneven, p.deriv()(KNOTS), rtol=1e-12)
    grid = 0.4 * np.arange(7)
    even = apply(Slopes("k", 0.4), "f64", (np.stack([p(grid), 2 * p(grid)]), (Dim("m", 2), K)))
    np.testing.assert_allclose(even, [p.deriv()(grid), 2 * p.deriv()(grid)], rtol=1e-12)


TABLE, POINTS = TensorType((K,), "f64"), TensorType((N,), "f64")
WRONG = [
    (Interp("k", "cubic"), (POINTS, TABLE, TABLE), "unknown kind of interpolation 'cubic'"),
    (Interp("k", "linear", "zero"), (POINTS, TABLE, TABLE), "unknown choice for points outside a table 'zero'"),
    (Interp("k", "hermite"), (POINTS, TABLE, TABLE), "takes points, knots, values, slopes, but got 3"),
    (Interp("k", step=0.1), (POINTS, TABLE, TABLE), "takes points, values, but got 3"),
    (Interp("k", step=-0.1), (POINTS, TABLE), "ascend, but their step is -0.1"),
    (Interp("k"), (TABLE, TABLE, TABLE), "the points to interpolate at have the table's dim 'k'"),
    (Interp("k"), (POINTS, POINTS, TABLE), "goes along 'k', but a table has [n]"),
    (Interp("k"), (POINTS.with_dtype("f32"), TABLE, TABLE), "one dtype, but got f32 and f64"),
    (Interp("k"), (POINTS, TABLE, TensorType((Dim("k", 8),), "f64")), "dim 'k' has size 7 in one operand and 8"),
    (Slopes("k"), (TABLE,), "takes knots and values, but got 1"),
    (Slopes("k"), (TensorType((Dim("k", 1),), "f64"),) * 2, "two knots or more, but dim 'k' has size 1"),
]


@pytest.mark.parametrize("op, types, message", WRONG)
def test_wrong_tables_are_refused(op, types, message):
    with pytest.raises(Diagnostic) as caught:
        op.results(*types)
    assert message in caught.value.message
