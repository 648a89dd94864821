"""Which values have memory, and when: the rules of `planner.memory` and `planner.fusion`, one by one.

That they are XLA's is the business of tests/yardsticks/test_memory_prediction.py.
"""

from dataclasses import replace

import numpy as np
import pytest

from backend_cuda.fuse import fuse_transforms
from ir.build import Builder, emit
from ir.graph import Program
from ir.mesh import Mesh
from ir.ops.contract import Contract
from ir.ops.reduce import Sum
from ir.passes.differentiate import differentiate
from ir.passes.recompute import SUFFIX, everything_again, places, recompute
from ir.passes.simplify import simplify
from planner import Costs, Machine, make_plan, peak_bytes
from planner.fusion import Fusion
from planner.memory import holdings, profile
from planner.order import Kernels, greedy
from planner.problem import Problem, Question
from planner.schedule import Schedule
from planner.solve.search import solve
from planner.solve.within import profile as network_profile
from tests.planner.programs import (
    call,
    field,
    fourier,
    iterated,
    looked_up,
    painted,
    real_fourier,
    regression,
    robust,
    tensor,
)

H100 = Machine.load("h100x8")
CPUS = replace(H100, platform="cpu")
N = 1_000_003
FIELD = 4 * N


def elementwise(finish) -> Program:
    """A program of the field x [n] and the number a, whose output `finish` makes of them."""
    with Builder("elementwise") as b:
        x, a = b.input("x", tensor(n=N)), b.input("a", tensor())
        return b.finish({"out": finish(x, a)})


def total(x):
    return emit(Sum(("n",)), x)


def peak(program: Program, machine: Machine) -> float:
    plan = make_plan(program, Mesh.parse("1"), machine=machine, memory=0)
    assert plan.prediction.peak_bytes == peak_bytes(program, plan)
    return plan.prediction.peak_bytes


def fields(program: Program, machine: Machine = CPUS) -> float:
    """The peak in fields beyond the input, numbers left out."""
    return round(peak(program, machine) / FIELD, 3) - 1


def test_a_chain_that_ends_in_a_sum_takes_no_memory():
    assert fields(elementwise(lambda x, a: total(call("exp", x * a) + a))) == 0


def test_an_expensive_function_with_two_readers_is_stored_once():
    def both(x, a):
        y = call("exp", x)
        return total(y) + total(y * a)

    assert fields(elementwise(both)) == 1
    assert fields(elementwise(both), H100) == 0  # a GPU would rather compute than read


def test_a_cheap_function_is_computed_again_for_each_reader():
    def twice(x, a):
        y = x * a
        return call("exp", y) + call("sin", y)

    program = elementwise(twice)
    fusion = Fusion.of(program, "cpu")
    stored = {n.op.name for n in program.nodes if fusion.is_stored(n)}
    assert stored == {"add"}
    assert fields(program) == 1


def test_what_a_sum_cannot_take_in_is_stored():
    chosen = elementwise(lambda x, a: total(call("where", call("lt", x, a), x, a)))
    assert fields(chosen) == 1
    assert fields(chosen, H100) == 0


def test_a_result_is_written_over_an_operand_that_ends():
    def chain(x, a):
        y = call("exp", x)
        first = emit(Contract(("n",)), y, y)
        z = call("tanh", y * first)
        return total(z) + emit(Contract(("n",)), z, z)

    assert fields(elementwise(chain)) == 1


def test_the_sign_is_taken_out_of_a_sum():
    """-y is made inside the contraction that reads it; the sum reads y, as XLA rewrites it."""

    def both(x, a):
        y = call("exp", x * a)
        z = call("neg", y)
        return total(z) + emit(Contract(("n",)), z, x)

    program = elementwise(both)
    fusion = Fusion.of(program, "cpu")
    assert [n.op.name for n in program.nodes if fusion.is_stored(n) and "n" in n.results[0].type] == ["exp"]
    assert fields(program) == 1


def test_an_output_has_its_memory_from_the_start():
    program = elementwise(lambda x, a: call("exp", x))
    schedule = Schedule.of(program, "cpu")
    (_, value), *_ = program.outputs
    assert schedule.life[value.name] == (0, schedule.steps - 1)


def test_the_memory_of_an_output_serves_a_value_of_its_size_before():
    def after(x, a):
        y = call("exp", x)
        return call("sin", x * (total(y) + total(y * a)))

    program = elementwise(after)
    assert fields(program) == 1
    schedule = Schedule.of(program, "cpu")
    (y,) = (n.key for n in program.nodes if n.op.name == "exp")
    (_, out), *_ = program.outputs
    first, last = schedule.life[y]
    assert schedule.idle[out.name] == [(0, first - 1), (last + 1, schedule.life[out.name][0] - 1)]


def test_what_one_node_alone_reads_is_gone_once_it_has_been_moved():
    """An all-to-all holds two blocks at a time: the value and what it packs, then that and the copy."""
    program = fourier(40, 48, 56)
    plan = make_plan(program, Mesh.parse("row=4"), machine=CPUS, memory=0)
    held = list(holdings(program, plan, Schedule.of(program, "cpu")))
    copies = [h for h in held if h.kind == "copy" and h.last == h.first + 1]
    assert copies
    for copy in copies:
        value = [h for h in held if h.kind == "value" and h.name == copy.name]
        room = [h for h in held if h.kind == "room to reshard" and h.name == copy.name]
        assert [h.last for h in value] == [copy.first]
        assert [h.bytes for h in room] == [0]


@pytest.mark.parametrize("mesh", ["1", "row=4", "row=2,col=2"])
@pytest.mark.parametrize("name", ["fourier", "real fourier"])
def test_nothing_is_held_between_transforms_that_the_backend_joins(name, mesh):
    program = PROGRAMS[name]
    problem = Problem.of(program, Costs(CPUS, Mesh.parse(mesh)), Question(memory=0, keep_small=0))
    schedule, kept = Schedule.of(program, "cpu"), places(program)
    rng, told = np.random.default_rng(5), 0
    for option in problem.options:
        for _ in range(30):
            states = np.array([rng.integers(len(v.states)) for v in option.network.variables])
            if not np.isfinite(option.network.cost(states)):
                continue
            plan = option.builder.plan(program, states, "h100x8", ())
            joined = {n.key for n in program.nodes} - {n.key for n in fuse_transforms(program, plan).nodes}
            readers = {v.name: n for n in program.nodes for v in n.operands}
            ends = {h.name: h.last for h in holdings(program, plan, schedule) if h.kind == "value"}
            for value in joined - set(kept):
                assert ends[value] < schedule.at[readers[value].key][1]
                told += 1
            for value in schedule.joined - joined:
                ((_, wanted),) = plan.wanted(readers[value])
                assert wanted != plan.layouts[value]
    assert told


def test_a_sum_that_frees_what_it_reads_is_taken_at_once():
    """Not where the program has it: two fields would be held, to be summed up one after the other."""

    def two(x, a):
        y, z = call("exp", x), call("sin", x)
        return (
            total(y)
            + total(call("where", call("lt", y, a), y, a))
            + total(z)
            + total(call("where", call("lt", z, a), z, a))
        )

    program = elementwise(two)
    kernels = Kernels.of(program, Fusion.of(program, "cpu"))
    names = {n.key: n.op.name for n in program.nodes}
    order = [names[key] for key in greedy(kernels)]
    assert order.index("sum") < max(order.index("exp"), order.index("sin"))
    assert kernels.peak(greedy(kernels)) < 3 * 4 * N


def test_a_copy_made_again_does_not_change_the_order():
    """Whoever takes the second copies: the same steps, so that the search can count bytes before it has chosen."""
    with Builder("density") as b:
        x = b.input("x", tensor(n=N), "latent")
        y = call("exp", call("sin", x))
        density = b.finish({"log_density": total(y * y) + total(call("softplus", y))})
    program = simplify(differentiate(density, ["x"]))
    both = recompute(program, everything_again(program, places(program)))
    once, twice = (Schedule.of(p, "cpu").what for p in (program, both))
    assert [what for what in twice if not what[1].endswith(SUFFIX)] == once
    assert len(twice) > len(once)


PROGRAMS = {
    "regression": regression(100_003, 7),
    "chains": regression(100_003, 7, chains=4),
    "robust": robust(100_003, 7),
    "fourier": fourier(64, 32, 48),
    "field": field(N),
    "looked up": looked_up(1001, 100_003),
    "painted": painted(100_003, 1001),
    "iterated": iterated(4001, 7),
    "real fourier": real_fourier(40, 48, 56),
}


@pytest.mark.parametrize("machine", [H100, CPUS], ids=["gpu", "cpu"])
@pytest.mark.parametrize("mesh", ["1", "row=4", "row=4,col=2"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_network_and_the_plan_agree_at_every_step(name, mesh, machine):
    """The search sees the bytes that `profile` tells of its plan, for the fastest choice and for one at random."""
    program = PROGRAMS[name]
    problem = Problem.of(program, Costs(machine, Mesh.parse(mesh)), Question(memory=0, keep_small=0))
    for option in problem.options:
        found = solve(option.network)
        assert found is not None
        rng, choices = np.random.default_rng(7), [found.states]
        for _ in range(20):
            states = np.array([rng.integers(len(v.states)) for v in option.network.variables])
            if np.isfinite(option.network.cost(states)):
                choices.append(states)
        for states in choices:
            plan = option.builder.plan(program, states, "h100x8", ())
            expected = profile(program, plan)
            held = network_profile(option.network, states)
            np.testing.assert_allclose(held, expected[: len(held)], rtol=1e-12)
            assert held.max() == expected.max()


def test_holdings_are_the_profile_taken_apart():
    program = PROGRAMS["fourier"]
    plan = make_plan(program, Mesh.parse("row=4,col=2"), machine=CPUS, memory=0)
    schedule = Schedule.of(program, "cpu")
    held = np.zeros(schedule.steps)
    for h in holdings(program, plan, schedule):
        held[h.first : h.last + 1] += h.bytes
    np.testing.assert_array_equal(held, profile(program, plan))
    assert {what for what, _ in schedule.what} == {"inputs", "fetch", "run", "outputs"}
