"""What every pass keeps: the meaning, the types, the invariants that `verify` checks."""

import numpy as np
import pytest
from hypothesis import given, settings

from ir.build import Builder, constant, emit
from ir.dims import Dim, TensorType
from ir.graph import Program
from ir.op import Op
from ir.ops.contract import Contract
from ir.ops.create import Broadcast, Constant
from ir.ops.fft import FFT, IRFFT, RFFT
from ir.ops.reduce import Sum
from ir.ops.sites import Deterministic
from ir.parse import parse_program
from ir.passes.batch_over import batch_over
from ir.passes.eliminate_dead import eliminate_dead
from ir.passes.fold_constants import fold_constants
from ir.passes.hoist import hoist
from ir.passes.join_transforms import join_transforms, neighbours
from ir.passes.merge_common import merge_common
from ir.passes.rewrite import rewrite
from ir.passes.scale_sums import scale_sums, scaled
from ir.passes.simplify import simplify
from ir.verify import verify
from tests.examples import examples
from tests.ir.interpret import run
from tests.ir.programs import LATENTS, arguments, programs

few = settings(max_examples=examples(50))
OBS, K = Dim("obs", 9), Dim("k", 4)
PASSES = {
    "rewrite": lambda p: rewrite(p, lambda node, scope: None),
    "fold_constants": fold_constants,
    "merge_common": merge_common,
    "eliminate_dead": eliminate_dead,
    "simplify": simplify,
}


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, x in wanted.items():
        np.testing.assert_allclose(found[name], x, rtol=1e-7, atol=1e-7, err_msg=name)


def ops(program: Program) -> list[str]:
    return [n.op.name for n in program.nodes]


def interface(program: Program) -> tuple:
    return program.inputs, [(name, v.type) for name, v in program.outputs], dict(program.ties)


@pytest.mark.parametrize("name", PASSES)
@few
@given(text=programs())
def test_a_pass_keeps_meaning_and_interface(name: str, text: str):
    program = parse_program(text)
    after = verify(PASSES[name](verify(program)))
    assert interface(after) == interface(program)
    assert_same(run(after, arguments(program)), run(program, arguments(program)))


def test_neighbouring_transforms_are_joined_unless_somebody_else_reads_what_lies_between():
    """rfft, fft, fft and back over dims of unlike sizes; the modes between the two halves are an output."""
    with Builder("there and back") as b:
        x = b.input("x", TensorType((Dim("x", 9), Dim("y", 10), Dim("z", 11)), "f64"))
        half = emit(FFT("y", "ky"), emit(RFFT("z", "kz"), x))
        modes = emit(FFT("x", "kx"), half)
        back = emit(IRFFT("kz", "z", 11), emit(FFT("ky", "y", True), emit(FFT("kx", "x", True), modes * modes)))
        program = b.finish({"back": back, "half": half})
    found = neighbours(program)
    assert half.name not in found and len(found) == 3
    joined = verify(join_transforms(program, found))
    assert [n.op.name for n in joined.nodes] == ["rfft", "fft", "mul", "irfft"]
    assert interface(joined) == interface(program)
    given_ = {"x": np.random.default_rng(3).normal(size=(9, 10, 11))}
    assert_same(run(joined, given_), run(program, given_))
    (first, *rest) = found
    assert len(join_transforms(program, rest).nodes) == len(program.nodes) - len(rest)
    assert first in {n.key for n in join_transforms(program, rest).nodes}


def test_sums_of_products_with_a_number_are_products_of_the_number():
    with Builder("densities") as b:
        half = constant(-0.5, "f32")
        x, y = b.input("x", TensorType((OBS,), "f32"), "latent"), b.input("y", TensorType((OBS,), "f32"), "data")
        square, miss = x * x, (x - y) * (x - y)
        kept = miss * half
        first, second = emit(Sum(("obs",), "f64"), half * square), emit(Sum(("obs",), "f64"), kept)
        outer = emit(Sum(("obs",), "f64"), x * y)
        program = b.finish({"first": first, "second": second, "outer": outer, "kept": kept})
    found = scaled(program)
    assert {k: (one.number, one.tensor.name) for k, one in found.items()} == {
        first.name: (-0.5, square.name),
        second.name: (-0.5, miss.name),
    }
    made = verify(scale_sums(program, found))
    assert [n.op.times for n in made.nodes if isinstance(n.op, Sum)] == [-0.5, -0.5, 1.0]
    # The product that only a sum read is gone, the one that is an output stays.
    assert len(made.nodes) == len(program.nodes) - 1 and interface(made) == interface(program)
    rng = np.random.default_rng(4)
    given_ = {"x": rng.normal(size=9).astype(np.float32), "y": rng.normal(size=9).astype(np.float32)}
    assert_same(run(made, given_), run(program, given_))
    assert not scaled(made) and scale_sums(program, []) == program


@few
@given(text=programs())
def test_simplify_leaves_nothing_to_simplify(text: str):
    program = parse_program(text)
    once = simplify(program)
    assert ops(simplify(once)) == ops(once)


@few
@given(text=programs())
def test_batching_is_running_chain_by_chain(text: str):
    program = parse_program(text)
    chains = Dim("chain", 5)
    batched = verify(batch_over(program, chains, LATENTS))
    given_ = [arguments(program, seed) for seed in range(chains.size)]
    together = given_[0] | {name: np.stack([g[name] for g in given_]) for name in LATENTS}
    found = run(batched, together)
    for c, alone in enumerate(given_):
        alone = given_[0] | {name: alone[name] for name in LATENTS}
        assert_same({name: x[c] for name, x in found.items()}, run(program, alone))


@few
@given(text=programs())
def test_hoisting_keeps_meaning_and_leaves_main_without_work_on_data(text: str):
    program = parse_program(text)
    prologue, main = map(verify, hoist(program))
    before = arguments(program)
    hoisted = run(prologue, {i.name: before[i.name] for i in prologue.inputs})
    assert {i.role for i in prologue.inputs} <= {"data"}
    assert {i.name: i.type for i in main.inputs if i.name in hoisted} == {name: v.type for name, v in prologue.outputs}
    assert_same(run(main, before | hoisted), run(program, before))


# --- fold_constants ---


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("%1: f64[obs=9] = mul %x, %one", []),
        ("%1: f64[obs=9] = mul %one, %x", []),
        ("%1: f64[obs=9] = add %x, %zero", []),
        ("%1: f64[obs=9] = sub %x, %zero", []),
        ("%1: f64[obs=9] = div %x, %one", []),
        ("%1: f64[obs=9] = pow %x, %one", []),
        ("%1: f64[obs=9] = int_pow{exponent=1} %x", []),
        ('%1: f64[obs=9] = cast{to="f64"} %x', []),
        ("%0: f64[obs=9] = neg %x  %1: f64[obs=9] = neg %0", []),
        ('%0: c128[obs=9] = cast{to="c128"} %x  %1: f64[obs=9] = cast{to="f64"} %0', []),
        ('%0: f32[obs=9] = cast{to="f32"} %x  %1: f64[obs=9] = cast{to="f64"} %0', ["cast", "cast"]),
        ("%0: bool[] = lt %zero, %one  %1: f64[obs=9] = where %0, %x, %one", []),
        ("%0: bool[] = lt %one, %zero  %1: f64[obs=9] = where %0, %one, %x", []),
        ("%1: f64[obs=9] = mul %x, %zero", ["constant", "mul"]),
        ("%0: f64[] = exp %zero  %1: f64[obs=9] = add %x, %0", ["constant", "add"]),
        ("%1: f64[obs=9, k=4] = broadcast{sizes=[k=4]} %x", ["broadcast"]),
        ("%0: f64[obs=9, k=4] = broadcast{sizes=[k=4]} %x  %1: f64[obs=9, k=4] = tanh %0", ["tanh", "broadcast"]),
        ('%0: f64[obs=9, k=4] = broadcast{sizes=[k=4]} %x  %1: f64[obs=9] = max{over=["k"]} %0', []),
        ('%0: f64[obs=9, k=4] = broadcast{sizes=[k=4]} %x  %1: f64[obs=9] = sum{over=["k"]} %0', ["constant", "mul"]),
        ('%0: f64[obs=9] = broadcast{sizes=[obs=9]} %s  %1: f64[] = contract{over=["obs"]} %0, %x', ["sum", "mul"]),
        ("%0: f64[obs=9] = broadcast{sizes=[obs=9]} %s  %1: f64[obs=9] = mul %0, %x", ["mul"]),
        ("%0: f64[obs=9] = zeros_like %x  %1: f64[obs=9] = add %0, %s", ["broadcast"]),
        ("%1: f64[obs=9] = mul %s, %x", ["mul"]),
    ],
)
def test_what_folds_and_what_does_not(line: str, wanted: list[str]):
    last = line.rpartition("%1: ")[2].partition(" = ")[0]
    program = parse_program(f"""
        program fold {{
          data %x: f64[obs=9]
          data %s: f64[]
          %one: f64[] = constant{{value=1.0, dtype="f64"}}
          %zero: f64[] = constant{{value=0.0, dtype="f64"}}
          {line}
          output y = %1
        }}""")
    folded = simplify(verify(program))
    assert ops(folded) == wanted
    assert str(folded.results["y"].type) == last
    assert_same(run(folded, arguments(program)), run(program, arguments(program)))


def test_the_sign_of_zero_survives():
    with Builder("zeros") as b:
        a, c = constant(0.0, "f64"), constant(-0.0, "f64")
        program = b.finish(
            {"plus": emit(Op.table["atan2"](), a, constant(-1.0, "f64")), "minus": emit(Op.table["neg"](), c)}
        )
    found = run(simplify(program), {})
    assert found["plus"] == np.pi
    assert str(found["minus"]) == "0.0"
    assert len(merge_common(program).nodes) == len(program.nodes)


def test_a_chosen_name_survives_the_fold_of_its_node():
    with Builder("named") as b:
        x = b.input("x", TensorType((OBS,)), "latent")
        (delta,) = b.emit_all(Op.table["mul"](), emit(Op.table["exp"](), x), constant(1.0), names=["delta"])
        program = b.finish({"y": emit(Sum(("obs",)), delta)})
    assert [n.key for n in simplify(program).nodes] == ["delta", "0"]


# --- merge_common, eliminate_dead ---


def test_equal_nodes_are_merged_whatever_the_order_of_a_sum():
    with Builder("twice") as b:
        x, y = b.input("x", TensorType((OBS,))), b.input("y", TensorType((OBS,)))
        program = b.finish({"d": emit(Op.table["exp"](), x + y) - emit(Op.table["exp"](), y + x)})
    assert ops(eliminate_dead(merge_common(program))) == ["add", "exp", "sub"]


def test_sites_are_neither_merged_nor_dead():
    with Builder("sites") as b:
        x = b.input("x", TensorType((OBS,)))
        emit(Deterministic("a"), x)
        emit(Deterministic("a"), x)
        emit(Op.table["exp"](), x)
        program = b.finish({})
    assert ops(simplify(program)) == ["deterministic", "deterministic"]


def test_unused_inputs_stay_unless_asked():
    with Builder("unused") as b:
        x, _ = b.input("x", TensorType((OBS,))), b.input("y", TensorType(()))
        program = b.finish({"z": x}, {"z": "x"})
    assert [i.name for i in eliminate_dead(program).inputs] == ["x", "y"]
    assert [i.name for i in eliminate_dead(program, keep_inputs=False).inputs] == ["x"]


# --- batch_over ---


def test_a_gradient_in_shared_data_is_one_per_chain():
    program = parse_program("""
        program gradient {
          latent %x: f64[obs=9]
          data %p: f64[]
          %0: f64[] = pullback{of=pow{}, index=1} %x, %x, %p
          output g = %0
        }""")
    assert str(batch_over(program, Dim("chain", 5), ["x"]).results["g"].type) == "f64[chain=5]"


def test_outputs_that_do_not_depend_are_broadcast_only_if_asked():
    with Builder("outputs") as b:
        x, y = b.input("x", TensorType((OBS,)), "latent"), b.input("y", TensorType((OBS,)), "data")
        program = b.finish({"x": -x, "y": -y})
    batched = batch_over(program, Dim("chain", 5), ["x"], outputs=["x"])
    assert [str(v.type) for v in batched.results.values()] == ["f32[chain=5, obs=9]", "f32[obs=9]"]


# --- hoist ---


def test_sums_of_data_are_hoisted_and_outer_products_are_not():
    with Builder("regression", real="f64") as b:
        x = b.input("x", TensorType((OBS, K), "f64"), "data")
        w = b.input("w", TensorType((OBS,), "f64"), "data")
        v = b.input("v", TensorType((K,), "f64"), "data")
        beta = b.input("beta", TensorType((K,), "f64"), "latent")
        gram = emit(Contract(("obs",)), x, emit(Op.table["log"](), w * w))
        outer = w * v
        program = b.finish({"y": emit(Sum(("obs", "k")), gram * beta * outer)})
    prologue, main = hoist(program)
    assert ops(prologue) == ["mul", "log", "contract"]
    assert ops(main) == ["mul", "mul", "mul", "sum"]
    assert [i.name for i in main.inputs] == ["w", "v", "beta", "hoisted.0"]


def test_constants_coordinates_and_broadcasts_are_not_hoisted():
    with Builder("cheap") as b:
        s = b.input("s", TensorType((), "f32"), "data")
        z = b.input("z", TensorType((OBS,)), "latent")
        program = b.finish({"y": z * 2.0 + emit(Broadcast((OBS,)), s)})
    prologue, main = hoist(program)
    assert not prologue.outputs
    assert ops(main) == ops(program)
    assert isinstance(main.nodes[0].op, Constant)
