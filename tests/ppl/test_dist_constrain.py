"""Maps between the real space and a support: round trips, Jacobians against those of JAX, edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ir.build import Builder, emit
from ir.constrain import free_dims, from_support, to_support
from ir.dims import Dim, TensorType
from ir.dist import Support
from ir.errors import Diagnostic
from ir.ops.create import Broadcast
from ir.ops.reduce import Sum
from ir.passes.differentiate import differentiate
from ir.place import Place
from tests.ir.interpret import run

N = Dim("n", 7)
U = np.array([-30.0, -7.0, -1.0, 0.0, 0.4, 3.0, 20.0])
SUPPORTS = [
    Support("real"),
    Support("lower", 0.0),
    Support("lower", -2.5),
    Support("upper", upper=0.0),
    Support("upper", upper=3.0),
    Support("interval", 0.0, 1.0),
    Support("interval", -3.0, 5.0),
]


def programs(support: Support, dims, event=(), real="f64"):
    """u -> x, log_det (summed over the dims of u, those that it lacks included), and x -> u."""
    with Builder("there", real) as b:
        u = b.input("u", TensorType(free_dims(support, dims, event), real))
        x, log_det = to_support(support, u, event)
        assert set(x.type.dims) == set(dims)
        log_det = log_det if log_det is not None else u * 0.0
        missing = tuple(d for d in u.type.dims if d.name not in log_det.type)
        log_det = emit(Broadcast(missing), log_det) if missing else log_det
        there = b.finish({"x": x, "by_element": log_det, "log_det": emit(Sum(log_det.dims), log_det)})
    with Builder("back", real) as b:
        x = b.input("x", TensorType(dims, real))
        back = b.finish({"u": from_support(support, x, event)})
    return there, back


def traced(program, output):
    """The program as a JAX function of its one input."""

    def f(u):
        env = {program.inputs[0].name: u}
        for node in program.nodes:
            place = Place(node.types, [v.type for v in node.results], renames=node.op.renames())
            env[node.results[0].name] = node.op.local(place, *(env[v.name] for v in node.operands))
        return env[program.results[output].name]

    return f


def jacobian(program, u):
    """d x / d u by forward mode, in double precision."""
    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.jacfwd(traced(program, "x")))(jnp.asarray(u)))


@pytest.mark.parametrize("support", SUPPORTS, ids=str)
def test_scalar_supports(support):
    there, back = programs(support, (N,))
    found = run(there, {"u": U})
    assert (found["x"] >= (-np.inf if support.lower is None else support.lower)).all()
    assert (found["x"] <= (np.inf if support.upper is None else support.upper)).all()
    inner = np.abs(U) < 10  # beyond, x is within rounding of an edge that is not 0
    np.testing.assert_allclose(run(back, {"x": found["x"]})["u"][inner], U[inner], rtol=1e-9)
    matrix = jacobian(there, U)
    slopes = np.diag(matrix)
    assert not (matrix - np.diag(slopes)).any()
    np.testing.assert_allclose(found["by_element"], np.log(np.abs(slopes)), rtol=1e-7, atol=1e-12)


def test_bounds_may_be_values_with_dims_of_their_own():
    with Builder("there", "f64") as b:
        u, low, high = (b.input(name, TensorType((N,), "f64")) for name in ("u", "low", "high"))
        x, log_det = to_support(Support("interval", low, high), u)
        again = from_support(Support("interval", low, high), x)
        program = b.finish({"x": x, "log_det": log_det, "again": again})
    low, high = np.linspace(-3, 3, 7), np.linspace(-2, 30, 7)
    inner = U / 5
    found = run(program, {"u": inner, "low": low, "high": high})
    share = 1 / (1 + np.exp(-inner))
    np.testing.assert_allclose(found["x"], low + (high - low) * share, rtol=1e-14)
    np.testing.assert_allclose(found["log_det"], np.log((high - low) * share * (1 - share)), rtol=1e-13)
    np.testing.assert_allclose(found["again"], inner, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("size", [2, 3, 6])
def test_the_simplex(size):
    k, n = Dim("k", size), Dim("n", 4)
    there, back = programs(Support("simplex"), (n, k), ("k",))
    assert there.inputs[0].type.shape == (4, size - 1)
    u = 2 * np.random.default_rng(size).normal(size=(4, size - 1))
    found = run(there, {"u": u})
    np.testing.assert_allclose(found["x"].sum(axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(run(back, {"x": found["x"]})["u"], u, rtol=1e-12, atol=1e-12)
    # The volume element of the first K - 1 parts, which is the one that the Dirichlet density is with respect to.
    blocks = jacobian(there, u)[:, : size - 1]
    want = [np.linalg.slogdet(blocks[i, :, i])[1] for i in range(4)]
    np.testing.assert_allclose(found["by_element"].sum(axis=1), want, rtol=1e-11)


def test_the_simplex_treats_its_parts_alike():
    """The map is an isometry in log ratios: u and the centred log x have the same length."""
    k = Dim("k", 5)
    there, _ = programs(Support("simplex"), (k,), ("k",))
    for u in np.eye(4):
        z = np.log(run(there, {"u": u})["x"])
        np.testing.assert_allclose(np.linalg.norm(z - z.mean()), 1.0, rtol=1e-14)


@pytest.mark.parametrize("real", ["f32", "f64"])
@pytest.mark.parametrize("support", SUPPORTS[1:], ids=str)
def test_far_out_nothing_overflows(support, real):
    """At |u| = 80, near the end of single precision: finite numbers and gradients, and never at an upper end of 1."""
    u = np.array([-80.0, -20.0, 0.0, 20.0, 40.0, 80.0, 87.0])
    there, back = programs(support, (N,), real=real)
    found = run(differentiate(there, ["u"], "log_det"), {"u": u})
    for name, array in found.items():
        assert np.isfinite(array).all(), name
    if support == Support("interval", 0.0, 1.0):
        assert (found["x"] > 0).all() and (found["x"] < 1).all()
    assert np.isfinite(run(back, {"x": found["x"]})["u"]).all()


def test_far_out_the_simplex_stays_finite():
    k = Dim("k", 4)
    there, back = programs(Support("simplex"), (k,), ("k",), "f32")
    for u in ([-300.0, 200.0, 0.0], [0.0, 0.0, 0.0], [1e4, 1e4, 1e4]):
        found = run(differentiate(there, ["u"], "log_det"), {"u": np.array(u)})
        assert all(np.isfinite(array).all() for array in found.values())
        assert np.isfinite(run(back, {"x": found["x"]})["u"]).all()


def test_a_simplex_of_one_part_is_refused():
    with pytest.raises(Diagnostic, match="at least two parts"):
        free_dims(Support("simplex"), (Dim("k", 1),), ("k",))
