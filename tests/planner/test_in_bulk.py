"""What the planner works out for many strategies or moves at once is what it works out for each by itself."""

import random
from itertools import combinations, permutations

import pytest

from ir.dims import Dim, TensorType
from ir.layout import Layout, Move, after, moves_from
from ir.mesh import Mesh
from ir.op import Op
from ir.permute import moved_axes, rearranged
from planner import Costs, Machine
from planner.candidates import Candidates, all_layouts
from planner.moves import Prices, layout_with
from planner.reshard import Reshards
from tests.ops.cases import cases_of

MESHES = [Mesh.parse(m) for m in ("a=2,b=4", "a=3,b=2,c=2", "a=1,b=4", "node=4,gpu=8", "a=4")]
SIZES = [(9, 10, 11), (8, 16, 24), (1, 48, 7), (12, 1, 5), (512, 514, 257), (6,), ()]
TYPES = [TensorType(tuple(map(Dim, "yxz", sizes))) for sizes in SIZES]


def layouts(t: TensorType, mesh: Mesh) -> list[Layout]:
    """All layouts, partial ones as sums and as maxima; or many of them; with some that only moves lead to."""
    found = [*all_layouts(t, mesh, partial=True)]
    found += [Layout(x.splits, x.partial, "max") for x in found if x.partial]
    found = found if len(found) < 60 else random.Random(3).sample(found, 60)
    reached = dict.fromkeys(then for x in found for _, then in moves_from(x, t, mesh) if then not in found)
    return [*found, *random.Random(4).sample(list(reached), min(10, len(reached)))]


def every_move(layout: Layout, t: TensorType, mesh: Mesh):
    """All moves that can be written down from a layout, legal or not."""
    free, partial = ([a for a in mesh.names if (a in axes)] for axes in ({*mesh.names} - layout.used, layout.partial))
    for axes in (x for n in range(1, len(partial) + 1) for x in combinations(partial, n)):
        yield Move("all_reduce", axes)
        yield from (Move("reduce_scatter", order, target=d) for order in permutations(axes) for d in t.names)
    for dim, held in layout.splits:
        for at in range(len(held)):
            yield Move("all_gather", held[at:], source=dim)
            yield from (Move("all_to_all", held[at:], source=dim, target=d) for d in t.names)
    for axes in (x for n in range(1, len(free) + 1) for x in combinations(free, n)):
        yield from (Move("slice", order, target=d) for order in permutations(axes) for d in t.names)
    long = tuple(d.name for d in t.dims if d.size > 1)
    for splits in rearranged(layout.splits, tuple(free), long, mesh) if layout.splits else ():
        yield Move("permute", moved_axes(layout.splits, splits, mesh), splits=splits)


@pytest.mark.parametrize("mesh", MESHES, ids=str)
@pytest.mark.parametrize("t", TYPES, ids=str)
def test_the_moves_from_a_layout_are_all_that_are_legal(t, mesh):
    for layout in layouts(t, mesh):
        legal = [(m, then) for m in every_move(layout, t, mesh) if (then := after(m, layout, t, mesh)) is not None]
        assert [*moves_from(layout, t, mesh)] == legal


@pytest.mark.parametrize("machine", ["h100x8", "laptop", "a100x8"])
@pytest.mark.parametrize("mesh", MESHES, ids=str)
def test_moves_priced_at_once_cost_what_each_costs(mesh, machine):
    costs = Costs(Machine.load(machine), mesh)
    prices = Prices(costs, mesh)
    for t in (*TYPES, TensorType(TYPES[0].dims, "c128"), TensorType((Dim("a_", 9), Dim("z_", 10), Dim("m_", 11)))):
        priced = prices.of(t)
        theirs = dict(zip(t.names, priced.pattern.type.names, strict=True))
        some = random.Random(5).sample(every := layouts(t, mesh), min(20, len(every)))
        numbers = [priced.pattern.number(layout_with(x, theirs)) for x in some]
        priced.price(numbers)
        for layout, number in zip(some, numbers, strict=True):
            expected = [costs.move(move, t, layout) for move, _ in moves_from(layout, t, mesh)]
            assert priced.seconds[number] == expected


def test_graphs_of_types_that_share_moves_do_not_depend_on_which_came_first():
    mesh, costs = Mesh.parse("node=4,gpu=8"), Costs(Machine.load("h100x8"), Mesh.parse("node=4,gpu=8"))
    shared = Reshards(costs, mesh)
    for sizes in ((512, 514, 257), (512, 512, 512), (9, 10, 11)):
        t = TensorType(tuple(map(Dim, "yxz", sizes)), "c64")
        every = [*all_layouts(t, mesh)]
        ours, alone = shared.graph(t, every), Reshards(costs, mesh).graph(t, every)
        assert (ours.paths.seconds == alone.paths.seconds).all() and (ours.before == alone.before).all()
        assert all(ours.path(every[0], x) == alone.path(every[0], x) for x in every)


@pytest.mark.parametrize("mesh", MESHES[:3], ids=str)
@pytest.mark.parametrize("name", sorted(Op.table))
def test_strategies_placed_and_priced_at_once_are_those_one_by_one(name, mesh):
    costs = Costs(Machine.load("h100x8"), mesh)
    for case in cases_of(name):
        op, types = case.op, case.types
        work, ways = costs.work(op, types), Candidates(costs, mesh)._of_op(op, types)
        for i, c in enumerate(ways.candidates):
            assert op.illegal(types, c.strategy, mesh) is None
            assert c.wants == tuple(op.operand_layout(k, types, c.strategy) for k in range(len(types)))
            assert c.leaves == op.result_layouts(types, c.strategy)
            assert c.compute == work.seconds(c.strategy, c.wants, c.leaves)
            assert tuple(column[i] for column in ways.wants) == c.wants
            assert tuple(column[i] for column in ways.leaves) == c.leaves


def test_a_function_that_would_sum_padding_is_not_split_there():
    op, types = next(e for e in Op.table["jax_fn"].examples() if e[0].sums)
    (summed,) = op.sums
    odd = Mesh.parse("a=3")
    assert types[0][summed] % 3 and all(summed not in s.split for s in op.strategies(types, odd))
