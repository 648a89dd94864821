"""A scan's body is planned with the program around it: its moves count once for every trip."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.graph import Program
from ir.mesh import Mesh
from ir.op import Op, Whole
from ir.ops.contract import Contract
from ir.ops.control import scan
from ir.ops.reduce import Sum
from ir.ops.shape import Rename
from ir.verify import verify_plan
from planner import Costs, Machine, evaluate, format_plan, make_plan, peak_bytes
from tests.planner.brute import cheapest
from tests.planner.programs import call, tensor

H100 = Machine.load("h100x8")


def recurrence(n: int, steps: int) -> Program:
    """h ← exp(A·h) + u[t], keeping the sum of h at every step."""
    with Builder("recurrence") as b:
        first = b.input("h", tensor(n=n), "latent")
        u = b.input("u", tensor(t=steps, n=n), "data")
        matrix = b.input("A", tensor(n=n, m=n), "data")

        def body(carries, slices, shared):
            (h,), (now,), (a,) = carries, slices, shared
            product = emit(Contract(("n",)), a, h)
            h = call("exp", emit(Rename("m", "n"), product)) + now
            return (h,), (emit(Sum(("n",)), h),)

        (last,), (trace,) = scan("t", body, (first,), (u,), (matrix,))
        return b.finish({"last": last, "trace": trace})


def walk(n: int, steps: int) -> Program:
    """h ← exp(h), keeping sum(h): small enough to enumerate."""
    with Builder("walk") as b:
        first = b.input("h", tensor(n=n), "latent")

        def body(carries, slices, shared):
            h = call("exp", carries[0])
            return (h,), (emit(Sum(("n",)), h),)

        (last,), (trace,) = scan("t", body, (first,), length=steps)
        return b.finish({"last": last, "trace": trace})


def plan_of(program: Program, mesh: str, machine: Machine = H100, **arguments):
    plan = make_plan(program, Mesh.parse(mesh), machine=machine, **arguments)
    verify_plan(program, plan)
    compute, communication, _ = evaluate(program, plan, Costs(machine, plan.mesh))
    assert plan.prediction.seconds == pytest.approx(compute + communication, rel=1e-9)
    assert plan.prediction.peak_bytes == peak_bytes(program, plan)
    return plan


@pytest.mark.parametrize("mesh", ["1", "row=4", "row=4,col=2"])
def test_a_scan_is_planned_and_its_prediction_adds_up(mesh):
    program = recurrence(n=4001, steps=7)
    plan = plan_of(program, mesh)
    (node,) = program.nodes
    (region,) = node.op.regions()
    assert plan.layouts[region.inputs[0].name] == plan.outputs[f"{region.name}:carry0"] == plan.layouts[node.key]


def test_collectives_of_the_body_are_counted_once_a_trip():
    program = recurrence(n=40_009, steps=7)
    plan = plan_of(program, "row=8")
    counts = plan.collectives(program)
    assert counts and {n for n in counts.values()} == {7}
    assert "7 times" in format_plan(program, plan)


@pytest.mark.parametrize("n", [101, 3_000_017, 90_000_049])
@pytest.mark.parametrize("mesh", ["row=2", "row=2,col=2"])
def test_the_plan_of_a_scan_is_the_best_of_all(n, mesh):
    program, costs = walk(n, 5), Costs(H100, Mesh.parse(mesh))
    plan = plan_of(program, mesh)
    expected = sum(evaluate(program, cheapest(program, costs), costs)[:2])
    assert plan.prediction.seconds == pytest.approx(expected, rel=1e-6)


def test_a_scan_within_a_budget_is_the_best_that_fits():
    program, costs = walk(101, 5), Costs(H100, Mesh.parse("row=2"))
    free = plan_of(program, "row=2", memory=0)
    for share in (0.7, 0.9, 1.0):
        budget = float(int(share * free.prediction.peak_bytes))
        best = cheapest(program, costs, budget)
        plan = plan_of(program, "row=2", memory=budget)
        assert plan.prediction.seconds == pytest.approx(sum(evaluate(program, best, costs)[:2]), rel=1e-6)


@dataclass(frozen=True)
class Repeat(Op):
    """A scan reduced to its protocol: runs a region a number of times on what it carries."""

    region: Program
    count: int
    name: ClassVar[str] = "repeat"

    def result(self, *operands):
        return operands[0]

    def roles(self, *operands):
        return {"step": Whole()}

    def regions(self):
        return (self.region,)

    def region_operands(self):
        return tuple(i.value for i in self.region.inputs)

    def trips(self, operands):
        return self.count

    def result_from(self, index):
        return self.region.outputs[index][0]

    def local(self, place, *blocks):
        raise NotImplementedError


Op.table.pop("repeat")


def test_any_op_with_the_region_protocol_is_planned():
    with Builder("outer") as b:
        x = b.input("x", TensorType((Dim("n", 10_000_019),)), "latent")
        with b.region("inner") as inner:
            h = inner.input("inner:h", x.type)
            region = inner.finish({"h": call("exp", h)}, {"h": h.name})
        program = b.finish({"y": b.emit(Repeat(region, 9), x)})
    plan = plan_of(program, "row=4")
    assert plan.layouts["inner:h"] == plan.outputs["inner:h"] == plan.outputs["y"]
    single = Costs(H100, plan.mesh).compute(
        region.nodes[0].op, region.nodes[0].types, plan.strategies[region.nodes[0].key]
    )
    assert plan.prediction.seconds == pytest.approx(9 * single)
