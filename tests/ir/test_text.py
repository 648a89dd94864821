"""Programs as text and as JSON: what is printed is what is read."""

import math

import pytest
from hypothesis import given

from ir.build import Builder, constant, emit
from ir.dims import Dim, TensorType
from ir.errors import Diagnostic, Source, Span
from ir.graph import Node, Program, Value
from ir.op import Op
from ir.ops.create import Constant
from ir.ops.jaxfn import jax_fn
from ir.ops.reduce import Sum
from ir.ops.sites import Observe, Sample
from ir.passes.differentiate import differentiate
from ir.passes.simplify import simplify
from ir.serial import from_json, to_json
from ir.text import parse_program, print_program
from ppl.dist.normal import Normal
from ppl.dist.vector import Dirichlet
from tests.ir.programs import programs

OBS = Dim("obs", 9)


def assert_round_trip(program: Program, **known) -> None:
    text = print_program(program)
    assert parse_program(text, **known) == program
    assert print_program(parse_program(text, **known)) == text
    assert from_json(to_json(program), **known) == program


@given(text=programs())
def test_print_then_parse_gives_the_same_program(text: str):
    program = parse_program(text)
    assert print_program(program) == text
    assert_round_trip(program)


@pytest.mark.parametrize("name", sorted(Op.table))
def test_every_op_prints_and_parses(name: str):
    for op, types in Op.table[name].examples():
        with Builder("example") as b:
            operands = [b.input(f"x{i}", t) for i, t in enumerate(types)]
            results = b.emit_all(op, *operands)
            program = b.finish({f"y{i}": v for i, v in enumerate(results)})
        f = getattr(getattr(op, "of", op), "f", None)
        assert_round_trip(program, functions={f.__name__: f} if f else None)


def test_floats_are_exact():
    numbers = [0.1, 1e-300, 1 / 3, -0.0, 1e22, math.inf, -math.inf, 5e-324, 2.0**60]
    with Builder("floats") as b:
        program = b.finish({f"y{i}": constant(x, "f64") for i, x in enumerate((*numbers, math.nan))})
    for found in (parse_program(print_program(program)), from_json(to_json(program))):
        read = [n.op.value for n in found.nodes if isinstance(n.op, Constant)]
        assert [repr(x) for x in read[:-1]] == [repr(x) for x in numbers]
        assert math.isnan(read[-1])


def test_any_name_can_be_written():
    names = ["a b", "log likelihood:y", 'say "x"', "null", "größe", "program", "7x", "0.1"]
    with Builder("odd name") as b:
        values = [b.input(n, TensorType((Dim(f"dim {n}", 3), Dim("inf", 2)))) for n in names]
        program = b.finish({f"out {v.name}": -v for v in values}, {f"out {names[0]}": names[0]})
    assert_round_trip(program)


def test_spans_are_written_if_asked_and_are_no_part_of_equality():
    program = parse_program("""
        program spans {
          data %x: f32[obs=9]
          %0: f32[obs=9] = exp %x  @ my model.ppl:3:12
          %1: f32[obs=9] = neg %0  # a comment
          output y = %1
        }""")
    assert str(program.nodes[0].span) == "my model.ppl:3:12"
    text = print_program(program, spans=True)
    assert "exp %x  @ my model.ppl:3:12\n" in text
    for found in (parse_program(text), parse_program(print_program(program)), from_json(to_json(program, spans=True))):
        assert found == program
    assert str(from_json(to_json(program, spans=True)).nodes[0].span) == "my model.ppl:3:12"


def test_user_functions_come_back_from_the_mapping():
    def softcap(x):
        return x / (1 + abs(x))

    with Builder("escape") as b:
        x = b.input("x", TensorType((OBS,)))
        program = b.finish({"y": jax_fn(softcap, x, dims=("obs",))})
    assert_round_trip(program, functions={"softcap": softcap})
    with pytest.raises(Diagnostic, match="unknown function: 'softcap'"):
        parse_program(print_program(program))


def test_distributions_come_back_by_name():
    with Builder("mixture") as b:
        two = constant(2.0)
        parts = emit(Sample("parts", Dirichlet(event=("k",)), (Dim("k", 4),)), two)
        emit(Observe("y", Normal()), b.input("y", TensorType((OBS,)), "data"), two, emit(Sum(("k",)), parts))
        program = b.finish({"parts": parts})
    text = print_program(program)
    assert 'sample{site="parts", dist=~Dirichlet{event=["k"]}, dims_=[k=4]} %0' in text
    assert 'observe{site="y", dist=~Normal} %y, %0, %2' in text
    assert_round_trip(program)
    assert_round_trip(program, distributions={"Normal": Normal()})
    with pytest.raises(Diagnostic, match=r"unknown distribution: 'Norml'(.|\n)*did you mean 'Normal'"):
        parse_program(text.replace("Normal", "Norml"))


WRONG = {
    "unknown_op": "program p {\n  data %x: f32[obs=9]\n  %0: f32[obs=9] = exq %x\n}",
    "unknown_value": "program p {\n  data %slope: f32[]\n  %0: f32[] = exp %slop\n}",
    "unknown_attribute": 'program p {\n  data %x: f32[obs=9]\n  %0: f32[] = sum{ovr=["obs"]} %x\n}',
    "missing_attribute": "program p {\n  data %x: f32[obs=9]\n  %0: f32[] = sum %x\n}",
    "unknown_dtype": "program p {\n  data %x: float[obs=9]\n}",
    "defined_twice": "program p {\n  data %x: f32[]\n  %x: f32[] = exp %x\n}",
    "stray_character": "program p {\n  data %x: f32[]\n  $\n}",
    "unclosed": "program p {\n  data %x: f32[]\n",
    "bad_value": "program p {\n  %0: f32[] = constant{value=]}\n}",
    "two_of_one_dim": "program p {\n  data %x: f32[obs=9, obs=9]\n}",
}


def test_mistakes_in_the_text_are_shown_where_they_are(golden):
    shown = []
    for name, text in WRONG.items():
        with pytest.raises(Diagnostic) as caught:
            parse_program(text, file=f"{name}.txt")
        shown.append(caught.value.render())
    golden("ir/text_errors.txt", "\n\n".join(shown) + "\n")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"program": "p"}'])
def test_json_that_is_no_program_is_a_diagnostic(text: str):
    with pytest.raises(Diagnostic, match="this JSON is not a program"):
        from_json(text)


def regression() -> Program:
    with Builder("regression") as b:
        x, y = b.input("x", TensorType((OBS,)), "data"), b.input("y", TensorType((OBS,)), "data")
        slope, log_sigma = b.input("slope", TensorType(()), "latent"), b.input("log_sigma", TensorType(()), "latent")
        sigma = emit(Op.table["exp"](), log_sigma)
        (residual,) = b.emit_all(Op.table["sub"](), y, slope * x, names=["residual"])
        z = residual / sigma
        terms = z * z * -0.5 - emit(Op.table["log"](), sigma)
        return b.finish({"log_density": emit(Sum(("obs",), "f64"), terms)})


def test_a_log_density_and_its_gradient_in_print(golden):
    program = regression()
    gradient = differentiate(program, ["slope", "log_sigma"])
    golden("ir/regression.txt", print_program(program))
    golden("ir/regression_gradient.txt", print_program(simplify(gradient)))


def test_a_program_without_nodes_and_a_place_without_a_source():
    span = Span(Source("m.ppl", ""), 2, 3, 2, 4)
    x = Value("x", TensorType(()))
    node = Node(Op.table["exp"](), (x,), (Value("y", TensorType(())),), span)
    assert "@ m.ppl:2:3" in print_program(Program("p", (), (node,), ()), spans=True)
    assert_round_trip(Program("empty", (), (), ()))
