"""What `verify` and `verify_plan` refuse, each with the reason it gives."""

from dataclasses import replace

import pytest

from ir.dims import Dim, TensorType
from ir.errors import InternalError
from ir.graph import Input, Node, Program, Value
from ir.layout import WHOLE, Layout, Move
from ir.mesh import Mesh
from ir.op import Strategy
from ir.ops.elementwise import Exp
from ir.ops.reduce import Sum
from ir.plan import Plan
from ir.text import parse_program
from ir.verify import verify, verify_plan

OBS = Dim("obs", 9)
SCALAR, VECTOR = TensorType(()), TensorType((OBS,))
EXP = Exp()


def program(nodes: tuple[Node, ...] = (), outputs: tuple = (), ties: dict | None = None) -> Program:
    return Program("p", (Input(Value("x", VECTOR)),), nodes, outputs, ties or {})


def exp(operand: str, result: str, t: TensorType = VECTOR, operand_type: TensorType = VECTOR) -> Node:
    return Node(EXP, (Value(operand, operand_type),), (Value(result, t),))


WRONG_PROGRAMS = {
    "%y is used here, but defined later": program((exp("y", "z"), exp("x", "y"))),
    "%0 is defined twice": program((exp("x", "0"), exp("x", "0"))),
    "%x is defined twice": program((exp("x", "x"),)),
    "the op infers f32\\[obs=9\\]": program((exp("x", "y", SCALAR),)),
    "%x is f32\\[obs=9\\] where it is made and f32\\[\\] here": program((exp("x", "y", SCALAR, SCALAR),)),
    "%y is used here": program((), (("out", Value("y", VECTOR)),)),
    "two outputs have one name": program((), (("out", Value("x", VECTOR)), ("out", Value("x", VECTOR)))),
    "there is no output 'grad'": program((), (), {"grad": "x"}),
    "there is no input 'y'": program((), (("out", Value("x", VECTOR)),), {"out": "y"}),
    "the two have different dims": program(
        (Node(Sum(("obs",)), (Value("x", VECTOR),), (Value("s", SCALAR),)),),
        (("s", Value("s", SCALAR)),),
        {"s": "x"},
    ),
}


@pytest.mark.parametrize("why", WRONG_PROGRAMS)
def test_a_broken_program_is_refused_with_its_reason(why: str):
    with pytest.raises(InternalError, match=why):
        verify(WRONG_PROGRAMS[why])


def test_the_node_is_shown():
    with pytest.raises(InternalError, match=r"in program 'p':\n%y: f32\[\] = exp %x"):
        verify(program((exp("x", "y", SCALAR),)))


# --- plans ---

MESH = Mesh.parse("row=2,col=3")
REGRESSION = parse_program("""
    program regression {
      latent %beta: f32[k=4]
      data %x: f32[obs=9, k=4]
      %eta: f32[obs=9] = contract{over=["k"]} %x, %beta
      %total: f32[] = sum{over=["obs"]} %eta
      %grad: f32[k=4] = mul %beta, %total
      output log_density = %total
      output "grad:beta" = %grad
      tie "grad:beta" = beta
    }""")
BY_K, BY_OBS = Layout.of({"k": "col"}), Layout.of({"obs": "row"})
SPLIT_X = Layout.of({"obs": "row", "k": "col"})
PARTIAL_ETA = Layout.of({"obs": "row"}, ("col",))
PARTIAL = Layout.of({}, ("row",))


def plan(**changes) -> Plan:
    """A good plan on 2 × 3 devices: data split both ways, two all-reduces."""
    good = Plan(
        MESH,
        layouts={"beta": BY_K, "x": SPLIT_X, "eta": PARTIAL_ETA, "total": PARTIAL, "grad": BY_K},
        strategies={
            "eta": Strategy.of({"obs": ("row",), "k": ("col",)}),
            "total": Strategy.of({"obs": ("row",)}),
            "grad": Strategy.of({"k": ("col",)}),
        },
        reshards={
            ("eta", BY_OBS): (Move("all_reduce", ("col",)),),
            ("total", WHOLE): (Move("all_reduce", ("row",)),),
        },
        outputs={"log_density": WHOLE, "grad:beta": BY_K},
    )
    return replace(good, **{field: {**getattr(good, field), **change} for field, change in changes.items()})


def without(field: str, key) -> Plan:
    good = plan()
    return replace(good, **{field: {k: v for k, v in getattr(good, field).items() if k != key}})


def test_a_good_plan_passes():
    verify_plan(verify(REGRESSION), plan())


WRONG_PLANS = {
    "the plan has no layout for %eta": without("layouts", "eta"),
    "the plan has no strategy": without("strategies", "eta"),
    "the plan has no path for %eta": without("reshards", ("eta", BY_OBS)),
    "an input arrives in the partial layout": plan(layouts={"x": Layout.of({}, ("row",))}),
    "the output leaves in the partial layout": plan(outputs={"log_density": PARTIAL}),
    "uses axes that row=2,col=3 lacks": plan(layouts={"eta": Layout.of({"obs": "depth"})}),
    "splits 'k', but %eta is": plan(layouts={"eta": Layout.of({"k": "row"})}),
    "uses an axis twice": plan(layouts={"x": Layout.of({"obs": "row", "k": "row"})}),
    "the plan has %grad in {whole}, but": plan(layouts={"grad": WHOLE}),
    "which the op does not have": plan(strategies={"total": Strategy.of({"obs": ("row",), "k": ("col",)})}),
    "is illegal: mesh axis 'row' would split both": plan(
        strategies={"eta": Strategy.of({"obs": ("row",), "k": ("row",)})}
    ),
    "all_reduce\\(row\\) is not legal from": plan(reshards={("eta", BY_OBS): (Move("all_reduce", ("row",)),)}),
    "the path of %eta ends in {whole}": plan(
        reshards={("eta", BY_OBS): (Move("all_reduce", ("col",)), Move("all_gather", ("row",), source="obs"))}
    ),
    "tie grad:beta = beta": plan(
        outputs={"grad:beta": WHOLE}, reshards={("grad", WHOLE): (Move("all_gather", ("col",), source="k"),)}
    ),
}


@pytest.mark.parametrize("why", WRONG_PLANS)
def test_a_broken_plan_is_refused_with_its_reason(why: str):
    with pytest.raises(InternalError, match=why):
        verify_plan(REGRESSION, WRONG_PLANS[why])
