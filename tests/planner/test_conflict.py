"""Orders that contradict each other: the smallest set to blame, and what dropping each member allows."""

import random
from itertools import combinations

import pytest

from ir.layout import Layout
from ir.mesh import Mesh
from planner import Conflict, Machine, Pin, make_plan, parse_order, parse_plan
from planner.ask.conflict import minimal_conflict
from tests.planner.programs import fourier, regression
from tests.planner.test_scan import walk

H100 = Machine.load("h100x8")
MESH = Mesh.parse("row=4,col=2")


@pytest.mark.parametrize("seed", range(20))
def test_the_set_is_minimal_whatever_contradicts_what(seed):
    """Random monotone families: some sets of items are impossible together, and so is whatever holds one of them."""
    rng = random.Random(seed)
    items = list(range(12))
    cores = [set(rng.sample(items, rng.randint(1, 5))) for _ in range(rng.randint(1, 4))]

    def possible(some):
        return not any(core <= set(some) for core in cores)

    found = minimal_conflict(items, possible)
    assert not possible(found)
    assert all(possible(rest) for rest in combinations(found, len(found) - 1))


def test_what_is_impossible_without_any_order_blames_none():
    assert minimal_conflict([1, 2, 3], lambda some: False) == []


def test_few_questions_are_asked_for_a_small_conflict_among_many_orders():
    asked = 0

    def possible(some):
        nonlocal asked
        asked += 1
        return not {17, 90} <= set(some)

    assert sorted(minimal_conflict(list(range(128)), possible)) == [17, 90]
    assert asked <= 40


REGRESSION = regression(n=10_007, d=20)
CHAINS = regression(n=10_007, d=20, chains=8)
FOURIER = fourier(512, 384, 256)
WALK = walk(n=1024, steps=9)
SPLITS = ("whole", "x=row", "x=col", "x=row+col", "x=col+row", "x=")
CASES = {
    "pin_and_ban": (REGRESSION, ["x:n=row", "w:d=row", "ban w:d=row"], {}),
    "tied": (REGRESSION, ["w:d=row", "x:n=col"], {"gradient": Layout.of()}),
    "all_chains_banned": (CHAINS, ["ban chain:whole", "ban chain:row", "ban chain:col", "ban chain:row+col"], {}),
    "chains_and_a_pin": (CHAINS, ["w:chain=row", "ban chain:row", "x:n=col"], {}),
    "every_layout_banned": (FOURIER, [f"ban 1:{x}" for x in SPLITS], {}),
    "tied_in_a_loop": (WALK, ["2:n=row", Pin("scan:carry0", (("n", ("col",)),)), "h:whole"], {}),
    "two_conflicts": (REGRESSION, ["x:n=row", "ban x:n=row", "w:d=row", "ban w:d=row"], {}),
    "one_impossible": (FOURIER, ["delta:x=row", "1:ky=row"], {}),
}


def conflict(case) -> Conflict:
    program, orders, fixed = CASES[case]
    with pytest.raises(Conflict) as caught:
        make_plan(program, MESH, machine=H100, pins=orders, fixed=fixed)
    return caught.value


@pytest.mark.parametrize("case", CASES)
def test_a_conflict_is_told_with_what_dropping_each_member_allows(case, golden):
    golden(f"planner/conflict_{case}.txt", conflict(case).render() + "\n")


@pytest.mark.parametrize("case", CASES)
def test_each_member_is_needed_and_its_price_is_that_of_the_plan_without_it(case):
    program, orders, fixed = CASES[case]
    found = conflict(case)
    told = {str(m.demand): m for m in found.members}
    core = [o for o in orders if str(parse_order(o)) in told]
    kept = {n: x for n, x in fixed.items() if any(text.startswith(f"fixed {n} ") for text in told)}
    with pytest.raises(Conflict):
        make_plan(program, MESH, machine=H100, pins=core, fixed=kept)
    for each in core:
        rest = [o for o in core if o != each]
        make_plan(program, MESH, machine=H100, pins=rest, fixed=kept)  # possible: no exception
        member, others = told[str(parse_order(each))], [o for o in orders if o != each]
        if member.seconds is None:
            with pytest.raises(Conflict):
                make_plan(program, MESH, machine=H100, pins=others, fixed=fixed)
            continue
        plan = make_plan(program, MESH, machine=H100, pins=others, fixed=fixed)
        assert member.seconds == plan.prediction.seconds and member.peak_bytes == plan.prediction.peak_bytes
    assert [row["order"] for row in found.as_json()["conflict"]] == [str(m.demand) for m in found.members]


def test_the_members_of_a_plan_file_are_told_with_their_lines(golden):
    text = '[mesh]\nrow = 4\ncol = 2\n\n[pin]\nw = { d = "row" }\n\n[ban]\nx = "whole"\nw = ["d/col", { d = "row" }]\n'
    read = parse_plan(text, "plan.toml")
    with pytest.raises(Conflict) as caught:
        make_plan(REGRESSION, read.mesh, machine=H100, pins=read.pins)
    golden("planner/conflict_file.txt", caught.value.render() + "\n")
