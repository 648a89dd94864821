"""Scans with checkpoints: gradients that run steps again between the states that they keep."""

from __future__ import annotations

import dataclasses
from typing import cast

import jax
import numpy as np
import pytest

from ir.dims import Dim
from ir.errors import Diagnostic
from ir.mesh import Mesh
from ir.ops.control import AUTO, Scan
from ir.passes.batch_over import batch_over
from ir.passes.checkpoint import CHOICES, checkpoint, is_open, keep_all, keep_least, keep_third
from ir.passes.differentiate import differentiate
from ir.serial import from_json, to_json
from ir.text import parse_program, print_program
from ir.verify import verify
from planner import make_plan, peak_bytes
from tests.ir.interpret import run

from .leapfrog import SYSTEMS, assert_same, compiled, gradient, on_mesh

STEPS = 23


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("every", [2, 17, AUTO, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 5, 11, 23))])
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_equal_those_of_kept_states(every, reverse):
    """23 steps are no multiple of most; 17 counts as 11, and 23 keeps every state."""
    system = SYSTEMS["factors"]
    arguments = system.arguments(STEPS)
    wanted = run(gradient(system.program(STEPS, reverse=reverse)), arguments)
    assert_same(run(gradient(system.program(STEPS, reverse=reverse, every=every)), arguments), wanted, rtol=1e-12)


@pytest.mark.parametrize("every", [6, 8])
def test_a_field_compiles_to_the_same_gradient(every):
    system = SYSTEMS["field"]
    kept, again = (gradient(system.program(STEPS, every=k)) for k in (0, every))
    arguments = [system.arguments(STEPS)[i.name] for i in kept.inputs]
    assert_same(compiled(again)(*arguments), compiled(kept)(*arguments))


def test_memory_is_that_of_the_states_kept_and_of_the_steps_between():
    """64 steps of a field of 8 x 12 numbers, whose gradient needs positions: 64, 2 + 22 and 8 + 8 of them."""
    field, found = 8 * 8 * 12, {}
    for choice in CHOICES:
        program = SYSTEMS["field"].program(64, stack=False, every=choice(64))
        memory = compiled(gradient(program)).memory_analysis()
        assert memory is not None
        found[choice] = memory.temp_size_in_bytes
    assert found[keep_all] > 64 * field
    assert found[keep_third] < found[keep_all] - 30 * field
    assert found[keep_least] < found[keep_third]


def test_the_number_may_be_left_open_until_a_plan_is_made():
    program = SYSTEMS["field"].program(30, every=AUTO)
    assert is_open(program) and not is_open(SYSTEMS["field"].program(30, every=5))
    gradients = [gradient(checkpoint(program, choice)) for choice in CHOICES]
    plans = [make_plan(p, Mesh(), memory=0) for p in gradients]
    assert [keep(30) for keep in CHOICES] == [0, 11, 5]
    kept, third, least = (peak_bytes(p, plan) for p, plan in zip(gradients, plans, strict=True))
    assert kept > third > least
    seconds = [plan.prediction.seconds for plan in plans if plan.prediction is not None]
    assert seconds == sorted(seconds)
    assert gradient(program) == gradients[0]
    assert [keep_least(n) for n in (36, 40, 41, 2)] == [6, 5, 6, 1]


def test_a_scan_without_checkpoints_stays_as_it_is():
    program = SYSTEMS["kepler"].program(5)
    assert checkpoint(program) is program
    assert checkpoint(SYSTEMS["kepler"].program(5, every=9)) == program


def test_it_prints_parses_and_travels_as_json():
    program = SYSTEMS["field"].program(11, every=3)
    assert "every=3" in print_program(program)
    for p in (program, gradient(program)):
        assert parse_program(print_program(p)) == p
        assert from_json(to_json(p)) == p


def test_a_field_on_a_mesh_has_the_gradient_of_the_whole():
    program = gradient(SYSTEMS["field"].program(11, every=3))
    arguments = [SYSTEMS["field"].arguments(11)[i.name] for i in program.inputs]
    assert_same(on_mesh(program, "row=2,col=2", arguments), compiled(program)(*arguments))


def test_a_batch_has_the_gradients_of_its_members():
    system = SYSTEMS["factors"]
    arguments = system.arguments(7)
    program = gradient(system.program(7, every=3))
    batched = verify(batch_over(program, Dim("chain", 2), list(arguments)))
    both = {name: np.stack([x, 0.9 * x]) for name, x in arguments.items()}
    found = run(batched, both)
    for i, scale in enumerate((1.0, 0.9)):
        wanted = run(program, {name: scale * x for name, x in arguments.items()})
        assert_same({name: x[i] for name, x in found.items()}, wanted)


def test_a_gradient_of_some_inputs_only():
    system = SYSTEMS["factors"]
    arguments = system.arguments(7)
    wanted = run(differentiate(system.program(7), ["s0", "kick"]), arguments)
    assert_same(run(verify(differentiate(system.program(7, every=3), ["s0", "kick"])), arguments), wanted)


def test_wrong_numbers_are_diagnosed():
    with pytest.raises(Diagnostic, match="every = -2 is no such number"):
        SYSTEMS["harmonic"].program(5, every=-2)
    with pytest.raises(Diagnostic, match="with an inverse keeps no states"):
        SYSTEMS["harmonic"].program(5, True, every=2)
    (node,) = (n for n in SYSTEMS["harmonic"].program(5, every=2).nodes if n.op.name == "scan")
    assert cast(Scan, node.op).every == 2
    assert dataclasses.replace(cast(Scan, node.op), every=0).attributes().get("every") is None
