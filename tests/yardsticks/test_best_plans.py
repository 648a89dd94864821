"""The five best plans are as honest as the best one: what is priced is what is performed.

Every example on one device and on three meshes, by the planner's own choice, on made-up machines and under pins: the
five cheapest plans that differ, each lowered and held to what it declares, and compiled and held to it again.
"""

from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from ir.verify import verify_plan
from planner import best_plans
from ppl.execute import Executable
from tests.yardsticks.on_meshes import Case, compiled
from tests.yardsticks.performed import CASES, CHAINS, PINNED, bytes_by_kind, declared, verify_emitted, verify_optimised

COUNT = 5
HOUSES = PINNED[5]
QUICK = [*(Case("eight", mesh) for mesh in ("1", "8", "row=4,col=2", "row=2,col=2")), HOUSES]


@cache
def best(case):
    """The gradient over the chains, and its best plans."""
    gradient, request = compiled(case).gradient_program(CHAINS), compiled(case).request
    options = {"machine": request.machine, "memory": request.memory, "pins": request.pins}
    return gradient, best_plans(gradient.program, request.mesh, COUNT, **options)


@cache
def lowered(case):
    """The best plans' programs as JAX lowers them."""
    gradient, plans = best(case)
    made = [Executable(gradient.program, plan, gradient.devices) for plan in plans]
    return [(executable, executable.lowered()) for executable in made]


def bare(plan):
    return replace(plan, prediction=None)


def over(quick):
    return [pytest.param(case, marks=[] if case in quick else pytest.mark.slow, id=str(case)) for case in CASES]


@pytest.mark.parametrize("case", over(QUICK))
def test_the_best_plans_differ_and_come_in_order(case):
    gradient, plans = best(case)
    assert len(plans) == (1 if case.mesh == "1" else COUNT)
    assert bare(plans[0]) == bare(gradient.plan)
    seconds = [plan.prediction.seconds for plan in plans]
    assert seconds == sorted(seconds) and seconds[0] == gradient.plan.prediction.seconds
    assert all(bare(a) != bare(b) for a, b in combinations(plans, 2))
    for plan in plans:
        verify_plan(gradient.program, plan)


@pytest.mark.parametrize("case", over(QUICK))
def test_what_we_emit_is_each_of_the_best_plans(case):
    found = [verify_emitted(executable, program) for executable, program in lowered(case)]
    differ = len({frozenset(f.items()) for f in found})
    print(
        f"\n{case}: {len(found)} plans of {[sum(f.values()) for f in found]} collectives, {differ} sets of them differ"
    )


@pytest.mark.parametrize("case", over(QUICK[1:2]))
def test_what_xla_makes_of_it_is_each_of_the_best_plans_combined(case):
    for executable, program in lowered(case):
        priced = declared(executable)
        combined = verify_optimised(program, executable.plan.mesh, priced)
        print(f"\n{case}: {sum(priced.values())} collectives, {combined} combined; {dict(bytes_by_kind(priced))} B")


EVERY_KIND = {"all_reduce", "reduce_scatter", "all_gather", "all_to_all"}


@pytest.mark.parametrize(
    ("cases", "kinds", "fewest"),
    [(QUICK, {"all_reduce", "reduce_scatter"}, 6), pytest.param(CASES, EVERY_KIND, 40, marks=pytest.mark.slow)],
    ids=["quick", "all"],
)
def test_the_next_best_plans_are_of_many_kinds(cases, kinds, fewest):
    """The tests above are worth something: the plans after the first communicate, in many different ways."""
    found, sets = Counter(), set()
    for case in cases:
        gradient, plans = best(case)
        for plan in plans[1:]:
            made = plan.collectives(gradient.program)
            found.update(c.kind for c in made.elements())
            sets.add(frozenset(made.items()))
    print(f"\n{sum(len(best(case)[1]) for case in cases)} plans; after the first: {dict(found)}, {len(sets)} sets")
    assert set(found) >= kinds and len(sets) >= fewest


@pytest.mark.parametrize("case", [HOUSES], ids=str)
def test_the_best_plans_give_the_same_numbers(case):
    one = compiled(case.one).gradient_program(CHAINS)
    rng = np.random.default_rng(4)
    arrays = {i.name: 0.3 * rng.normal(size=i.type.shape) for i in one.program.inputs_of("latent")}
    arrays |= {n: np.asarray(x) for n, x in compiled(case.one).hoisted(one).items()}
    expected = one.run(arrays, hasty=True)
    for executable, _ in lowered(case):
        found = executable.run(arrays, hasty=True)
        for name, x in expected.items():
            np.testing.assert_allclose(found[name], x, rtol=2e-5, atol=2e-6 * np.abs(x).max(), err_msg=name)
