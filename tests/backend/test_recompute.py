"""What a plan recomputes changes no answer, and stands behind a fence in the program that we emit."""

import re
from dataclasses import replace

import numpy as np
import pytest

from backend_cuda import device_mesh
from ir.passes.recompute import again, everything_again, late_nodes, places, recompute
from ir.verify import verify, verify_plan
from planner import make_plan
from ppl.execute import Executable
from tests.yardsticks.on_meshes import Case, compiled


def executables(case):
    """The gradient of an example, with everything kept and with everything recomputed."""
    kept = compiled(case).gradient_program(2)
    chosen = everything_again(kept.program, places(kept.program))
    written = verify(recompute(kept.program, chosen))
    plan = make_plan(written, kept.plan.mesh, machine=kept.plan.machine, memory=0)
    plan = replace(plan, recompute=chosen)
    verify_plan(kept.program, plan)
    return kept, Executable(kept.program, plan, device_mesh(plan.mesh)), chosen


@pytest.mark.parametrize("case", [Case("mass", "row=2,col=2"), Case("radon", "2"), Case("eight")], ids=str)
def test_the_answers_are_the_same(case):
    kept, again_, chosen = executables(case)
    assert chosen
    rng = np.random.default_rng(3)
    arrays = {i.name: draw(rng, i) for i in kept.program.inputs}
    for name, expected in kept.run(arrays).items():
        found = again_.run(arrays)[name]
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max(initial=1e-3))


def draw(rng, i):
    if i.type.dtype == "bool":
        return np.ones(i.type.shape, bool)
    if i.type.dtype.startswith("i"):
        return np.zeros(i.type.shape, i.type.numpy)
    return (0.5 + rng.uniform(size=i.type.shape)).astype(i.type.numpy)


def test_each_kept_value_that_is_read_again_is_fenced():
    _, executable, chosen = executables(Case("mass", "row=2,col=2"))
    program = executable.plan.applied(executable.program)
    copies = {again(name) for name in chosen}
    read = {v.name for n in program.nodes if n.key in copies for v in n.operands if v.name not in copies}
    fences = re.findall(r"stablehlo\.optimization_barrier", executable.lowered().as_text())
    assert read and len(fences) >= len(read)
    kept = replace(executable.plan, recompute={})
    assert kept.applied(executable.program) == executable.program


def test_second_copies_stand_before_what_uses_them_and_only_the_backward_pass_does():
    program = compiled(Case("mass")).gradient_program(2).program
    chosen, late = everything_again(program, places(program)), late_nodes(program)
    written = recompute(program, chosen)
    order = {n.key: at for at, n in enumerate(written.nodes)}
    for name, consumers in chosen.items():
        assert all(order[again(name)] < order[c] for c in consumers)
        assert all(c in late or c.removesuffix(".again") in chosen for c in consumers)
    assert recompute(written, chosen) is written
    assert recompute(program, {}) is program


def test_a_value_that_only_a_second_copy_would_take_needs_one():
    program = compiled(Case("mass")).gradient_program(2).program
    full = everything_again(program, places(program))
    for left_out in full:
        some = everything_again(program, [name for name in full if name != left_out])
        assert left_out not in some
        verify(recompute(program, some))
