"""Known best plans of look-ups, painting, factorisations and loops: closed forms that the planner must attain."""

import pytest

from ir.layout import Layout
from tests.planner.prices import crossing, exactly, fused, inside, kinds, plan_of, product, seconds, work
from tests.planner.programs import factored, iterated, looked_up, painted

ROW = inside(8)
WHOLE = Layout.of()


def split(dim: str) -> Layout:
    return Layout.of({dim: "row"})


# --- 10: tables ---


def entries_split(k: int, n: float) -> float:
    """Every device holds the table; the gradient of all its k elements is added up, and the loss."""
    m = n / 8
    look, undo = work(m, 4 * k + 8 * m), work(k / 8, 4 * k + 8 * m)
    return look + fused(m, 12 * m) + undo + work(2 * m, 8 * m + 4) + ROW.all_reduce(4 * k) + ROW.all_reduce(4)


def table_split(k: int, n: float) -> float:
    """Every device answers for its part of the table; the n numbers found are added up, the gradient is in place."""
    look, undo = work(n, 4 * k / 8 + 8 * n), work(k / 8, 4 * k / 8 + 8 * n)
    return look + fused(n, 12 * n) + undo + work(2 * n, 8 * n + 4) + ROW.all_reduce(4 * n)


def test_a_small_table_is_held_by_every_device_and_its_gradient_added_up():
    program = looked_up(8_000, 8_000_000)
    plan = plan_of(program, "row=8")
    assert seconds(plan) == exactly(entries_split(8_000, 8_000_000))
    assert plan.layouts["table"] == WHOLE and plan.layouts["index"] == split("n")
    assert {c.bytes for c in plan.collectives(program)} == {32_000, 4}


def test_a_large_table_is_split_and_what_is_found_added_up():
    program = looked_up(80_000_000, 800_000)
    plan = plan_of(program, "row=8")
    assert seconds(plan) == exactly(table_split(80_000_000, 800_000))
    assert plan.layouts["table"] == split("k") and plan.layouts["index"] == WHOLE
    assert {(c.kind, c.bytes) for c in plan.collectives(program)} == {("all_reduce", 3_200_000)}


def all_whole(k: int, n: float) -> float:
    """Every device does everything."""
    return work(n, 4 * k + 8 * n) + fused(n, 12 * n) + work(k, 4 * k + 8 * n) + work(2 * n, 8 * n + 4)


def test_a_growing_table_is_first_held_by_all_then_left_alone_then_split():
    """With 8 million entries: between the two crossings it pays to do everything everywhere and to say nothing."""
    n = 8_000_000
    grown = [
        (crossing(lambda j: entries_split(8 * j, n), lambda j: all_whole(8 * j, n), 1_000, 10_000_000), "n", ""),
        (crossing(lambda j: all_whole(8 * j, n), lambda j: table_split(8 * j, n), 1_000, 10_000_000), "", "k"),
    ]
    assert grown[0] < grown[1]
    form = {"n": entries_split, "": all_whole, "k": table_split}
    for flip, below, above in grown:
        for j, dim in ((flip, below), (flip + 1, above)):
            plan = plan_of(looked_up(8 * j, n), "row=8")
            assert seconds(plan) == exactly(form[dim](8 * j, n))
            assert plan.layouts["table"] == (split("k") if dim == "k" else WHOLE)
            assert plan.layouts["index"] == (split("n") if dim == "n" else WHOLE)


def particles_split(n: int, k: int) -> float:
    """Every device paints its particles into a mesh of its own; the meshes are added up in parts."""
    return work(k / 8, n + 4 * k) + ROW.reduce_scatter(4 * k)


def cells_split(n: int, k: int) -> float:
    """Every device sees all particles (mass and cell) and keeps those in its part of the mesh."""
    return 2 * ROW.all_gather(4 * n / 8) + work(k / 8, 8 * n + 4 * k / 8)


def test_painting_moves_the_mesh_or_the_particles_whichever_is_less():
    fixed = {"mass": split("n"), "cell": split("n"), "density": split("k")}
    n = 8_000_000
    flip = crossing(lambda j: particles_split(n, 8 * j), lambda j: cells_split(n, 8 * j), 1_000, 10_000_000)
    for j, best, found in (
        (flip, particles_split, {"reduce_scatter": 1}),
        (flip + 1, cells_split, {"all_gather": 2}),
    ):
        program = painted(n, 8 * j)
        plan = plan_of(program, "row=8", fixed=fixed)
        assert seconds(plan) == exactly(best(n, 8 * j))
        assert kinds(program, plan) == found


# --- 11: factorisations ---


def cholesky(matrices: int, n: int) -> float:
    return work(matrices * n**3 / 3, 8 * matrices * n * n)


def test_a_batch_of_factorisations_is_split_over_the_batch():
    program = factored(16, 4_000)
    plan = plan_of(program, "row=8")
    assert seconds(plan) == exactly(cholesky(2, 4_000))
    assert plan.layouts["K"] == split("b") and not plan.collectives(program)


def test_one_factorisation_gathers_its_matrix_once():
    n = 4_000
    program = factored(1, n)
    plan = plan_of(program, "row=8", fixed={"K": split("i"), "L": split("i")})
    assert seconds(plan) == exactly(cholesky(1, n) + ROW.all_gather(4 * n * n / 8))
    assert kinds(program, plan) == {"all_gather": 1}


def test_a_batch_that_arrives_split_by_rows_is_dealt_out_by_matrices():
    n = 4_000
    program = factored(8, n)
    plan = plan_of(program, "row=8", fixed={"K": split("i"), "L": split("i")})
    assert seconds(plan) == exactly(cholesky(1, n) + 2 * ROW.all_to_all(4 * n * n))
    assert kinds(program, plan) == {"all_to_all": 2}


# --- 12: loops ---


@pytest.mark.parametrize("steps", [1, 7, 1_000])
@pytest.mark.parametrize(("start", "end"), [("n", "n"), ("", ""), ("n", ""), ("", "n")])
def test_a_loop_costs_its_trips_and_its_ends(steps, start, end):
    """The matrix stays split by rows and the vector is gathered once a trip; only from split to whole once more."""
    n = 40_000
    program = iterated(n, steps)
    ends = {"h": split(start) if start else WHOLE, "last": split(end) if end else WHOLE}
    plan = plan_of(program, "row=8", fixed=ends)
    gather = ROW.all_gather(4 * n / 8)
    trip = product(n / 8, 1, over=n) + fused(n / 8, n) + fused(0, n) + gather
    boundary = gather if (start, end) == ("n", "") else 0.0
    assert seconds(plan) == exactly(steps * trip + boundary)
    assert kinds(program, plan) == {"all_gather": steps + (boundary > 0)}


def test_the_plan_of_a_loop_does_not_depend_on_its_trips():
    """So neither does the work of finding it: the body is planned once, its costs multiplied."""
    short, long = (plan_of(iterated(40_000, steps), "row=8") for steps in (10, 100_000))
    assert (short.layouts, short.strategies, short.reshards) == (long.layouts, long.strategies, long.reshards)
