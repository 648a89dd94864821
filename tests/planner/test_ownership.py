"""Which way particles are owned: what a plan chooses on a machine, what it says of it, and that the prices agree."""

import math

import pytest

from ir.build import Builder
from ir.dims import Dim, TensorType
from ir.layout import Layout
from ir.mesh import Mesh
from ir.ops.particles import Paint, Read
from ir.verify import verify_plan
from planner import Costs, Machine, make_plan, where
from planner.show.json import as_json

MACHINE = Machine.load("h200x8")
MESH = Mesh.parse("row=8")


def program(reach, ownership="auto", n=1024):
    """Particles painted, and the mesh read at their places."""
    dims = tuple(Dim(d, n) for d in "xyz")
    shared = ("x", "y", "z"), dims, "cic", reach, math.ceil(reach / 2), ownership
    with Builder("particles", "f32") as b:
        moved = [b.input(f"d{d}", TensorType(dims), "data") for d in "xyz"]
        mesh, load = b.emit_all(Paint(*shared), *moved)
        read, _ = b.emit_all(Read(*shared), *moved, mesh)
        return b.finish({"read": read, "load": load})


def plan_of(found, split):
    fixed = {name: Layout.of(split) for name in ("dx", "dy", "dz", "read")}
    return verify_plan(found, make_plan(found, MESH, machine=MACHINE, fixed=fixed, memory=0))


def methods(plan):
    return {s.method for s in plan.strategies.values() if s.splits}


@pytest.mark.parametrize(("reach", "method"), [(2, ""), (8, ""), (200, "migrate")])
def test_particles_migrate_where_they_go_farther_than_blocks_are_wide(reach, method):
    """Slabs of 128 cells: a halo of 3 or 9 of them is cheap, one of 201 is more than there is."""
    assert methods(plan_of(program(reach), {"x": ("row",)})) == {method}


def test_a_plan_with_migration_tells_what_it_hands_on():
    found = program(200)
    plan = plan_of(found, {"x": ("row",)})
    slots = 100 * 1024**2
    handed = {c.bytes: n for c, n in plan.collectives(found).items() if c.bytes >= slots}
    assert handed == {4 * 4 * slots: 4, 4 * slots: 2}, "a word and three places each, twice; one number back"
    items = [i for i in where(found, plan, MACHINE).items if "pass(row) on along x" in i.what]
    assert sum(i.seconds for i in items) > 0 and sum(i.sent for i in items) == 4 * 4 * 4 * slots + 2 * 4 * slots
    data = as_json(found, plan, machine=MACHINE)
    assert {n["strategy"] for n in data["nodes"]} == {"x/row; migrate"}
    moving = [m for e in data["edges"] for m in e["moves"] if e["paid"] or m["kind"] in ("halo", "pass", "spill")]
    assert sum(m["seconds"] for m in moving) == pytest.approx(plan.prediction.communication_seconds, rel=1e-12)


@pytest.mark.parametrize("ownership", ["halo", "migrate"])
def test_what_is_asked_for_is_planned(ownership):
    assert methods(plan_of(program(8, ownership), {"x": ("row",)})) == {"" if ownership == "halo" else "migrate"}


def test_strategies_priced_at_once_cost_what_each_costs():
    mesh, found = Mesh.parse("row=4,col=2"), program(2, n=64)
    costs = Costs(MACHINE, mesh)
    for node in found.nodes:
        placements = node.op.placements(node.types, mesh)
        assert {s.method for s in placements.strategies} == {"", "migrate"}
        seconds = costs.work(node.op, node.types).all_seconds(placements)
        alone = [costs.compute(node.op, node.types, s) for s in placements.strategies]
        assert seconds.tolist() == pytest.approx(alone, rel=1e-12)
