"""What the type rules refuse, and in which words."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ir.build import Builder
from ir.dims import Dim, TensorType
from ir.errors import Diagnostic
from ir.mesh import Mesh
from ir.op import Map, Op, Reduce, Strategy
from ir.ops.contract import Contract
from ir.ops.create import Broadcast
from ir.ops.fft import FFT, IRFFT, RFFT
from ir.ops.gather import Gather, ScatterAdd
from ir.ops.jaxfn import JaxFn, jax_fn
from ir.ops.linalg import Cholesky, DiagonalMatrix, TriangularSolve
from ir.ops.random import KEY, RandomGamma, RandomNormal
from ir.ops.reduce import MaxOver, Sum
from ir.ops.shape import Concatenate, CumSum, Embed, Rename, Slice, Stack
from ir.ops.stencil import Shift, Stencil

X, Y, K = Dim("x", 9), Dim("y", 10), Dim("k", 6)
REAL, COMPLEX = TensorType((X, Y), "f64"), TensorType((X, K), "c128")
ROW, SCALAR, FLAG = TensorType((X,), "f64"), TensorType((), "f64"), TensorType((X,), "bool")
INDEX = TensorType((Dim("n", 4),), "i32")

REFUSED = [
    (Op.table["add"](), (ROW, TensorType((Dim("x", 8),), "f64")), "dim 'x' has size 9 in one operand and 8 in another"),
    (Op.table["add"](), (FLAG, FLAG), "add needs numbers, but its operand is a condition"),
    (Op.table["neg"](), (FLAG,), "neg needs numbers"),
    (Op.table["add"](), (ROW, TensorType((X,), "f32")), "both must have the same dtype"),
    (Op.table["exp"](), (COMPLEX,), "exp is not defined for complex numbers"),
    (Op.table["where"](), (ROW, ROW, ROW), "where needs a condition"),
    (Op.table["and"](), (FLAG, ROW), "and needs conditions"),
    (Sum(("z",)), (REAL,), r"cannot take the sum over 'z': the tensor has \[x, y\]"),
    (Sum(("x",)), (FLAG,), "cannot add up bool in bool"),
    (Sum(("x",), "f32"), (REAL,), "cannot add up f64 in f32"),
    (MaxOver(("x",)), (COMPLEX,), "max needs numbers in an order"),
    (Broadcast((X,)), (ROW,), "the tensor has that dim already"),
    (Contract(("y",)), (REAL, ROW), "the right operand does not have it"),
    (Gather("x"), (ROW, ROW), "an index must hold integers"),
    (Gather("k"), (ROW, INDEX), "cannot look up dim 'k'"),
    (ScatterAdd(X, ("n",)), (TensorType((X,), "f64"), INDEX), "cannot scatter into dim 'x'"),
    (FFT("z", "kz"), (COMPLEX,), "cannot transform 'z'"),
    (FFT("x", "kx"), (REAL,), "fft needs complex numbers"),
    (RFFT("x", "kx"), (COMPLEX,), "rfft needs real numbers"),
    (IRFFT("k", "z", 9), (COMPLEX,), "irfft to size 9 needs 5 modes along 'k', not 6"),
    (FFT("x", "k"), (COMPLEX,), "cannot have one dim twice"),
    (Rename("z", "u"), (REAL,), "rename works along 'z'"),
    (Rename("x", "y"), (REAL,), "rename makes dim 'y', but the tensor has one of that name"),
    (Slice("x", 2, 12), (REAL,), "the slice 2:12 leaves dim 'x', which has size 9"),
    (Slice("x", 5, 5), (REAL,), "the slice 5:5 of 'x' is empty"),
    (Embed("x", 0, 8, 1, Y), (ROW,), "cannot embed 9 elements at 8 positions"),
    (Concatenate(("x", "y"), "z"), (ROW,), "names 2 dims for 1 operands"),
    (Concatenate(("x", "x"), "z"), (ROW, TensorType((X,), "f32")), "cannot concatenate f64 with f32"),
    (Stack("x"), (ROW, SCALAR), "stack makes dim 'x'"),
    (CumSum("z"), (REAL,), "cumsum works along 'z'"),
    (Shift("z", 1), (REAL,), "shift works along 'z'"),
    (Stencil("x", (0, 1), (1.0,)), (REAL,), "2 offsets has 1 weights"),
    (Cholesky("x", "y"), (REAL,), "needs a square matrix, but 'x' has size 9 and 'y' has 10"),
    (TriangularSolve("x", "u"), (TensorType((X, Dim("u", 9)), "f64"), SCALAR), "works along 'x'"),
    (DiagonalMatrix("x", "y"), (REAL,), "makes dim 'y'"),
    (RandomNormal((X,), "a"), (ROW,), r"takes its key as its first operand, u32\[word=2\]"),
    (RandomNormal((X,), "a", 0, "i32"), (KEY,), "draws f32 or f64, not i32"),
    (RandomGamma((X,), "a"), (KEY,), "takes 1 parameter"),
    (RandomGamma((X,), "a"), (KEY, TensorType((Dim("x", 8),), "f64")), "draws x=9, but a parameter has x=8"),
    (JaxFn(jnp.sin, (("x",),), ROW), (SCALAR,), "operand 1 of jax_fn lacks dim 'x'"),
    (JaxFn(jnp.sin, (("x",),), TensorType((Y,), "f64")), (REAL,), "makes dim 'y', but an operand brings one"),
]


@pytest.mark.parametrize(("op", "types", "message"), REFUSED, ids=lambda x: x.name if isinstance(x, Op) else "")
def test_a_wrong_operand_is_refused_in_words(op, types, message):
    with pytest.raises(Diagnostic, match=message) as caught:
        op.results(*types)
    assert caught.value.kind == "type"


def test_an_illegal_split_says_why():
    mesh = Mesh.parse("row=4,col=2")
    row = Strategy.of({"x": ("row",)})
    assert "fft needs dim 'x' whole" in FFT("x", "kx").illegal((COMPLEX,), row, mesh)
    assert "needs 2 neighbours along 'x', more than its smallest of 4 blocks" in Shift("x", 2).illegal(
        (ROW,), row, mesh
    )
    summed = JaxFn(jnp.sum, (("x",),), SCALAR, sums=("x",))
    assert "4 does not divide 9" in summed.illegal((ROW,), row, mesh)
    both = Strategy.of({"x": ("row",), "y": ("row",)})
    assert "an axis splits one dim only" in Op.table["neg"]().illegal((REAL,), both, mesh)
    carried = Strategy.of({}, frozenset({"row"}))
    assert "not linear" in Op.table["exp"]().illegal((REAL,), carried, mesh)


def test_jax_fn_finds_its_type_and_refuses_what_cannot_be_traced():
    with Builder("lifted", "f64") as b:
        x = b.input("x", REAL)
        made = jax_fn(lambda a: a.sum(0), x, dims=("y",), roles={"y": Map(), "x": Reduce()}, label="column sums")
        assert made.type == TensorType((Y,), "f64") and b.nodes[-1].op.sums == ("x",)
        with pytest.raises(Diagnostic, match=r"returns an array of shape \(10,\) for dims \(\)"):
            jax_fn(lambda a: a.sum(0), x)
        with pytest.raises(Diagnostic, match="needs a number cannot be traced on"):
            jax_fn(lambda a: math.sin(a), x, label="needs a number")
        with pytest.raises(Diagnostic, match="cannot have role Reduce"):
            jax_fn(lambda a: a.max(0), x, dims=("y",), roles={"x": Reduce("max")})


def test_noise_differs_by_key_site_and_stream():
    from .test_every_op import Case, run_whole

    with jax.enable_x64(True):
        key = np.array([1, 2], np.uint32)
        ops = [RandomNormal((X,), site, stream, "f64") for site, stream in (("a", 0), ("a", 1), ("b", 0))]
        draws = [run_whole(Case(op, (KEY,), 0), key) for op in ops]
        draws.append(run_whole(Case(ops[0], (KEY,), 0), key + 1))
    assert len(np.unique(np.concatenate(draws))) == 4 * 9
