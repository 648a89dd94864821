"""The shape of the mesh is the best one there is: held to planning on every shape, in every order of its axes."""

import dataclasses
import math
from itertools import permutations

import pytest

from ir.errors import Diagnostic
from ir.mesh import Mesh
from ir.plan import Plan
from ir.verify import verify_plan
from planner import Machine, make_plan, mesh_shapes, search_mesh
from planner.meshes import MeshSearch, Tried, factorisations
from tests.planner.programs import field, fourier, regression, two_products

H100 = Machine.load("h100x8")
LAPTOP = Machine.load("laptop")
SMALL = dataclasses.replace(H100, name="nodes of four", node=4)


def every_mesh(devices: int, machine: Machine) -> list[Mesh]:
    """Every ordered factorisation into at most three axes, each inside a node or across nodes, or one axis over all."""

    def ordered(n: int) -> list[tuple[int, ...]]:
        return [()] if n == 1 else [(f, *rest) for f in range(2, n + 1) if n % f == 0 for rest in ordered(n // f)]

    inside = devices if not machine.node else min(devices, machine.node)
    sizes = {(*a, *b) for a in ordered(devices // inside) for b in ordered(inside)} | {(devices,)}
    return [Mesh(tuple((f"a{i}", n) for i, n in enumerate(shape))) for shape in sorted(sizes) if len(shape) <= 3]


@pytest.mark.parametrize(
    ("devices", "machine", "expected"),
    [
        (1, H100, ["1"]),
        (6, H100, ["gpu=6", "gpu=3,gpu2=2"]),
        (8, H100, ["gpu=8", "gpu=4,gpu2=2", "gpu=2,gpu2=2,gpu3=2"]),
        (16, H100, ["device=16", "node=2,gpu=8", "node=2,gpu=4,gpu2=2"]),
        (64, H100, ["device=64", "node=8,gpu=8", "node=4,node2=2,gpu=8", "node=8,gpu=4,gpu2=2"]),
        (12, LAPTOP, ["device=12", "device=4,device2=3", "device=6,device2=2", "device=3,device2=2,device3=2"]),
    ],
)
def test_shapes_are_those_of_the_machine_coarse_ones_first(devices, machine, expected):
    assert [str(m) for m in mesh_shapes(devices, machine)] == expected


@pytest.mark.parametrize("n", [2, 7, 12, 64, 360])
def test_every_product_is_found_once_whatever_the_order_of_its_factors(n):
    found = list(factorisations(n, 3))
    assert all(math.prod(f) == n and list(f) == sorted(f, reverse=True) for f in found)
    triples = {(a, b, n // a // b) for a in range(1, n + 1) for b in range(1, n + 1) if n % (a * b) == 0}
    assert len(found) == len({tuple(sorted(t)) for t in triples})


PROGRAMS = {
    "fourier": lambda: fourier(120, 126, 130),
    "regression": lambda: regression(n=1_000_003, d=24, chains=4),
    "products": lambda: two_products(tokens=512, width=4096, hidden=16_000),
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize(("devices", "machine"), [(8, LAPTOP), (12, SMALL), (16, H100)], ids=["laptop", "12", "16"])
def test_the_best_shape_is_the_best_of_all(program, devices, machine):
    program = program()
    found = search_mesh(program, devices, machine=machine)
    verify_plan(program, found.plan)
    seconds = {m: make_plan(program, m, machine=machine).prediction.seconds for m in every_mesh(devices, machine)}
    least = min(seconds.values())
    assert found.plan.prediction.seconds == pytest.approx(least, rel=1e-8)
    axes = min(len(m.axes) for m, s in seconds.items() if s <= least * (1 + 1e-9))
    assert len(found.plan.mesh.axes) == axes
    assert found.proven and found.plan.mesh.devices == devices
    assert sum("the best" in t.why for t in found.tried) == 1
    assert str(search_mesh(program, devices, machine=machine)) == str(found)


def test_the_order_of_axes_of_one_kind_changes_no_price():
    program = fourier(96, 90, 100)
    meshes = [Mesh(tuple((f"a{i}", n) for i, n in enumerate(p))) for p in sorted(set(permutations((4, 3, 3))))]
    machine = dataclasses.replace(H100, node=36)
    prices = [make_plan(program, m, machine=machine).prediction.seconds for m in meshes]
    assert len(prices) == 3 and prices == pytest.approx([prices[0]] * 3, rel=1e-9)


def test_of_equal_shapes_the_one_with_fewer_axes_is_taken():
    found = search_mesh(field(12), 64, machine=H100)
    assert found.plan.mesh == Mesh.parse("device=64")
    assert [t.seconds is None for t in found.tried] == [False, True, True, True]


def test_within_a_budget_a_shape_that_fits_is_taken():
    program = two_products(tokens=64, width=512, hidden=2000)
    free = search_mesh(program, 4, machine=LAPTOP, memory=0)
    budget = 0.8 * free.plan.prediction.peak_bytes
    found = search_mesh(program, 4, machine=LAPTOP, memory=budget)
    assert found.plan.prediction.peak_bytes <= budget < free.plan.prediction.peak_bytes
    assert len(found.plan.mesh.axes) > len(free.plan.mesh.axes)
    fitting = []
    for mesh in every_mesh(4, LAPTOP):
        try:
            fitting.append(make_plan(program, mesh, machine=LAPTOP, memory=budget).prediction.seconds)
        except Diagnostic:
            continue
    assert found.plan.prediction.seconds == pytest.approx(min(fitting), rel=1e-6)


def test_a_pin_leaves_the_shapes_that_have_its_axes():
    found = search_mesh(fourier(96, 90, 100), 16, machine=H100, pins=["delta:x=gpu2"])
    assert str(found.plan.mesh) == "node=2,gpu=4,gpu2=2"
    assert [t.why.startswith("struck off") for t in found.tried] == [True, True, False]
    assert found.plan.layouts["delta"].split["x"] == ("gpu2",)


def test_part_of_a_node_is_joined_by_the_fast_link():
    mesh = Mesh.parse("gpu=3,gpu2=2")
    assert H100.link(mesh, ["gpu"]) == H100.link(mesh, ["gpu", "gpu2"]) == H100.inside
    assert H100.link(Mesh.parse("node=2,gpu=8"), ["node"]) == H100.across


@pytest.mark.parametrize(
    ("name", "devices", "arguments"),
    [
        ("devices_none", 0, {}),
        ("devices_negative", -8, {}),
        ("devices_between_nodes", 12, {}),
        ("devices_no_axes", 16, {"axes": 0}),
        ("devices_pin_unknown_axis", 16, {"pins": ["delta:x=row"]}),
    ],
)
def test_what_cannot_be_searched_is_explained(name, devices, arguments, golden):
    with pytest.raises(Diagnostic) as error:
        search_mesh(fourier(96, 90, 100), devices, machine=H100, **arguments)
    assert error.value.hint
    golden(f"planner/{name}.txt", error.value.render() + "\n")


def test_a_budget_that_no_shape_fits_is_refused_with_what_would_do():
    program = two_products(tokens=64, width=512, hidden=2000)
    with pytest.raises(Diagnostic) as error:
        search_mesh(program, 4, machine=LAPTOP, memory=1e6)
    assert error.value.message == "no plan on any of 2 shapes of 4 devices fits into 1,000,000 B per device"
    assert error.value.hint.startswith("on mesh device=2,device2=2: the smallest memory that would do on this mesh is ")
    least = float(error.value.hint.split(" is ")[1].split(" B")[0].replace(",", ""))
    assert search_mesh(program, 4, machine=LAPTOP, memory=least).plan.prediction.peak_bytes <= least


def test_the_table_of_shapes(golden):
    tried = (
        Tried(Mesh.parse("device=64"), 2.5e-3),
        Tried(Mesh.parse("node=8,gpu=8"), 1.25e-3, "the best"),
        Tried(Mesh.parse("node=4,node2=2,gpu=8"), None, "struck off: no plan is faster than 1.25 ms"),
        Tried(Mesh.parse("node=8,gpu=4,gpu2=2"), None, "stopped after 60 s", proven=False),
    )
    best = Plan(tried[1].mesh, {}, {}, {}, {})
    golden("planner/shapes.txt", f"{MeshSearch(64, best, tried)}\n{MeshSearch(64, best, tried[:3])}")
