"""Plans of one program of which the fastest and the slowest lie far apart, all priced for the machine at hand."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from dataclasses import replace

import planner
from ir.errors import Diagnostic
from ir.graph import Program
from ir.layout import WHOLE
from ir.mesh import Mesh
from ir.plan import Plan
from planner.candidates import Candidates, all_layouts
from planner.cost import evaluate
from planner.machine import KINDS, Link, Rates
from planner.orders import Pin

APART = 0.03
"""Plans whose predictions are nearer to each other than this (log ratio) differ in next to nothing: one is timed."""
STRANGE = 100.0
"""The machines that plans are drawn for have prices up to so many times off."""
PATIENCE = 120.0
"""Seconds after which enough plans are enough; after twice as many it is what it is."""
FARTHEST = 8.0
"""So many times the chosen plan's predicted seconds are the most that a plan may take to be timed."""


def draw_plans(program: Program, mesh: Mesh, machine: planner.Machine, count: int) -> list[Plan]:
    """The chosen plan, and `count` others, spread evenly over what they may take.

    Drawn are the best plans under pins, and the best plans for machines on which computing or a kind of collective is
    far dearer or cheaper: pins alone seldom make the planner compute everything everywhere.
    """
    chosen = planner.make_plan(program, mesh, machine=machine)
    costs, rng = planner.Costs(machine, mesh), random.Random(program.name)
    begin = time.monotonic()
    others: list[Plan] = []
    for pins in draw_pins(program, mesh, machine, 12 * count):
        waited = time.monotonic() - begin
        if len(others) >= 2 * count or waited > PATIENCE * (1 if len(others) >= count else 2):
            break
        strange = draw_machine(machine, rng)
        try:
            plan = planner.make_plan(
                program, mesh, machine=strange, pins=pins if rng.random() < 0.5 else [], seconds=10
            )
        except Diagnostic:
            continue
        plan = priced_on(program, plan, costs)
        unlike = all(abs(math.log(predicted_seconds(plan) / predicted_seconds(p))) > APART for p in (chosen, *others))
        if unlike and predicted_seconds(plan) < FARTHEST * predicted_seconds(chosen):
            others.append(plan)
    others.sort(key=predicted_seconds)
    logs = [math.log(predicted_seconds(p)) for p in others]
    picked: list[int] = []
    for i in range(min(count, len(others))):
        aim = logs[0] + (logs[-1] - logs[0]) * i / max(1, count - 1)
        picked.append(min((j for j in range(len(others)) if j not in picked), key=lambda j: abs(logs[j] - aim)))
    return [chosen, *(others[j] for j in sorted(picked))]


def draw_machine(machine: planner.Machine, rng: random.Random) -> planner.Machine:
    """A machine with other prices for computing and for each kind of collective, up to STRANGE times, either way."""

    def factor() -> float:
        return STRANGE ** rng.uniform(-1, 1)

    compute, link = factor(), machine.inside
    seconds = [factor() for _ in KINDS]
    curves = tuple(
        tuple(replace(c, points=tuple((size, t * slower) for size, t in c.points)) for c in found)
        for found, slower in zip(link.curves, seconds, strict=True)
    )
    alpha = tuple(a * slower for a, slower in zip(link.alpha, seconds, strict=True))
    beta = tuple(b / slower for b, slower in zip(link.beta, seconds, strict=True))
    work = tuple((kind, Rates(r.f32 * compute, r.f64 * compute, r.bandwidth * compute)) for kind, r in machine.work)
    return replace(
        machine,
        **{rate: getattr(machine, rate) * compute for rate in ("f32", "f64", "memory_bandwidth")},
        work=work,
        inside=Link(alpha, beta, curves),
    )


def priced_on(program: Program, plan: Plan, costs: planner.Costs) -> Plan:
    """The plan with what it is predicted to take on the machine of `costs`."""
    assert plan.prediction is not None
    compute, communication, _ = evaluate(program, plan, costs)
    told = {"seconds": compute + communication, "compute_seconds": compute, "communication_seconds": communication}
    return replace(plan, prediction=replace(plan.prediction, **told))


def draw_pins(program: Program, mesh: Mesh, machine: planner.Machine, times: int) -> Iterator[list[Pin]]:
    """Pins on inputs and large values, few or many, drawn with a fixed seed; every third one holds a value whole."""
    rng = random.Random(program.name)
    candidates = Candidates(planner.Costs(machine, mesh), mesh)
    ways = {i.value.name: list(all_layouts(i.type, mesh)) for i in program.inputs if i.type.dims}
    inputs = list(ways)
    largest = max(i.type.size for i in program.inputs)
    for node in program.nodes:
        if node.results[0].type.size * 8 >= largest and not node.op.regions():
            ways[node.results[0].name] = list(dict.fromkeys(c.leaves[0] for c in candidates.of_node(node).candidates))
    others = [name for name in ways if name not in inputs]
    for _ in range(times):
        share = rng.random()
        names = [v for v in inputs if rng.random() < share] + rng.sample(others, int(share**2 * len(others)))
        layouts = {v: WHOLE if WHOLE in ways[v] and rng.random() < 1 / 3 else rng.choice(ways[v]) for v in names}
        yield [Pin.exact(f"%{v}", layout) for v, layout in layouts.items()]


def predicted_seconds(plan: Plan) -> float:
    assert plan.prediction is not None
    return plan.prediction.seconds
