"""Plans of large problems: 10^10 cells on thousands of devices, long simulations, and what is shared on the way."""

import pickle

import numpy as np
import pytest

from benchmarks._graphs import gaussian_field, node_count, particle_mesh
from ir.dims import Dim, TensorType
from ir.layout import Layout, block_bytes
from ir.mesh import Mesh
from ir.verify import verify_plan
from planner import Costs, Machine, evaluate, make_plan, peak_bytes
from planner.problem import Problem, Question
from planner.reshard import Reshards

H100 = Machine.load("h100x8")


@pytest.mark.parametrize(
    ("cells", "mesh"),
    [
        ((2200, 2200, 2200), "node=512,gpu=8"),
        ((2160, 2160, 2160), "node=64,gpu=8"),
        ((2200, 2161, 2099), "node=8,gpu=8"),
        ((2200, 2160, 2200), "node=8,node2=4,gpu=8"),
    ],
)
def test_ten_thousand_million_cells_are_planned_to_the_byte(cells, mesh):
    program = gaussian_field(cells)
    plan = make_plan(program, Mesh.parse(mesh), machine=H100)
    verify_plan(program, plan)
    compute, communication, sent = evaluate(program, plan, Costs(H100, plan.mesh))
    assert plan.prediction.seconds == pytest.approx(compute + communication, rel=1e-9)
    assert plan.prediction.gap < 1e-8
    whole = 4 * cells[0] * cells[1] * cells[2]
    held = block_bytes(program.input("white").type, plan.layouts["white"], plan.mesh)
    assert whole <= held * plan.mesh.devices < 1.2 * whole  # padding included
    assert 2 * held <= plan.prediction.peak_bytes == peak_bytes(program, plan) <= H100.memory_size
    assert all(0 < b < 20 * whole for b in sent.values())


def test_on_one_device_such_a_field_has_more_bytes_than_an_int32_counts():
    cells = (2200, 2200, 2200)
    plan = make_plan(gaussian_field(cells), Mesh(), machine=H100, memory=0)
    assert plan.prediction.peak_bytes > 2 * 4 * 2200**3 > 2**36


@pytest.mark.parametrize("mesh", ["gpu=8", pytest.param("node=2,gpu=4", marks=pytest.mark.slow)])
def test_a_scan_costs_what_its_unrolled_steps_cost_but_for_its_boundary(mesh):
    """A stationary plan is one of the unrolled plans; it loses at most the way of its carries into and out of it."""
    steps, arguments = 5, {"machine": H100, "memory": 0}
    folded = particle_mesh(120, steps, scanned=True, gradient=False)
    unrolled = particle_mesh(120, steps, gradient=False)
    assert node_count(unrolled) > 2 * node_count(folded)
    mesh = Mesh.parse(mesh)
    short, long = (make_plan(p, mesh, **arguments).prediction for p in (folded, unrolled))
    carry = unrolled.input("q").type
    graph = Reshards(Costs(H100, mesh), mesh).graph(carry, [Layout()])
    boundary = 2 * 2 * graph.paths.seconds[np.isfinite(graph.paths.seconds)].max()
    assert long.seconds <= short.seconds * (1 + 1e-9)
    assert short.seconds <= long.seconds + boundary
    assert boundary < short.seconds


def test_steps_that_are_alike_share_their_prices():
    """A long simulation takes no more room for prices than a short one."""

    def distinct(steps: int) -> tuple[int, int]:
        program, costs = particle_mesh(120, steps), Costs(H100, Mesh.parse("node=2,gpu=8"))
        (option,) = Problem.of(program, costs, Question(memory=0, keep_small=0)).options
        stars = option.network.stars
        return len({id(s.price) for s in stars}), len(stars)

    (few, stars), (many, more) = distinct(2), distinct(5)
    assert many <= few + 4 and more > 2 * stars


def test_what_is_remembered_of_a_type_is_not_pickled():
    t, layout = TensorType((Dim("x", 9), Dim("y", 10))), Layout.of({"x": "row"})
    assert hash(t) == hash(TensorType((Dim("x", 9), Dim("y", 10)))) and t.size == 90
    for thing in (t, layout):
        hash(thing)
        again = pickle.loads(pickle.dumps(thing))
        assert again == thing and "_hash" not in vars(again) and hash(again) == hash(thing)
