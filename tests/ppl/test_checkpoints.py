"""`@checkpoint` of a scan, in texts and in Python, and the number of kept states that a plan's memory chooses."""

import numpy as np
import pytest

import planner
import ppl
from ir.errors import Diagnostic
from ir.mesh import Mesh
from ir.ops.control import AUTO
from ppl.bind import bind
from ppl.pipeline import gradients
from ppl.posterior import Posterior
from ppl.request import PlannedModel, PlanRequest
from ppl.text.parse import parse
from ppl.text.unparse import unparse

SERIES = """model series
dim time = 12
data y[time]: real
phi ~ Normal(0, 1)
scan t in time {{
  s[t] = tanh(phi * s[t - 1] + y[t])  init 0
  y[t] ~ Normal(s[t], 1)
}} {}
"""
DATA = {"y": np.sin(np.arange(12.0))}


@ppl.model
def series(y: ppl.Data["time"]):
    phi = ppl.sample("phi", ppl.Normal(0, 1))

    def step(t, last, now):
        s = ppl.tanh(phi * last["s"] + t.at(y))
        ppl.observe("y", ppl.Normal(s, 1), now["y"])
        return {"s": s}, {}

    ppl.scan("time", step, {"s": 0.0}, {"y": y}, checkpoint=3)


def every(program):
    return [n.op.every for n in program.walk() if n.op.name == "scan"]


def scans(program):
    return [n.op.name for n in program.walk()].count("scan")


@pytest.mark.parametrize(
    ("annotation", "number"),
    [("", 0), ("@checkpoint", AUTO), ("@checkpoint(every = 5)", 5), ("@checkpoint(every = size(time) / 3)", 4)],
)
def test_a_text_says_how_many_states_are_kept(annotation, number):
    text = SERIES.format(annotation)
    tree = parse(text, "m.ppl")
    assert parse(unparse(tree), "m.ppl") == tree
    posterior = ppl.compile(ppl.from_text(text), DATA, dtype="float64")
    assert every(posterior.programs["model"]) == [number]
    assert scans(posterior.programs["gradient"]) == (5 if number == 4 else 7 if number == 5 else 2)
    plain = ppl.compile(ppl.from_text(SERIES.format("")), DATA, dtype="float64")
    (value, found), (other, wanted) = (p.value_and_gradient({"phi": np.array(0.4)}) for p in (posterior, plain))
    assert value == pytest.approx(other, rel=1e-14)
    np.testing.assert_allclose(found["phi"], wanted["phi"], rtol=1e-12)


def test_so_does_a_python_model():
    assert every(bind(series, DATA).program) == [3]

    @ppl.model
    def wrong(y: ppl.Data["time"]):
        ppl.scan("time", lambda *_: ({}, {}), {}, checkpoint=0)

    with pytest.raises(Diagnostic, match="checkpoint=0 is no number of steps"):
        bind(wrong, DATA)


WRONG = {
    "by_position": "@checkpoint(8)",
    "zero": "@checkpoint(every = 0)",
    "a_fraction": "@checkpoint(every = 2.5)",
    "a_latent": "@checkpoint(every = phi)",
    "two_numbers": "@checkpoint(1, 2)",
    "of_a_quantity": "@nosave",
    "misspelt": "@checkpont",
    "twice": "@checkpoint @checkpoint",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_annotation_of_a_scan(name, golden):
    with pytest.raises(Diagnostic) as caught:
        bind(ppl.from_text(SERIES.format(WRONG[name]), "m.ppl"), DATA)
    golden(f"scan/checkpoint_{name}.txt", f"{caught.value}\n")


def test_a_checkpoint_on_a_quantity_is_refused():
    text = SERIES.format("") + "z ~ Normal(0, 1) @checkpoint\n"
    with pytest.raises(Diagnostic) as caught:
        bind(ppl.from_text(text, "m.ppl"), DATA)
    assert caught.value.hint == "it stands after the } of a scan"


FIELD = """model steps
dim time = 40, x = 2000
data y[time]: real
scale ~ Normal(0, 1)
start[x] ~ Normal(0, 1)
scan t in time {
  s[t, x] = sin(scale * s[t - 1] + start)  init start
  y[t] ~ Normal(mean(s[t], over = x), 1)
} @checkpoint
"""


def test_the_plan_keeps_as_many_states_as_its_memory_holds():
    """The gradient needs 40 states of 8 kB: all, if they fit; else a third, or two square roots of them."""
    bound = bind(ppl.from_text(FIELD), {"y": np.zeros(40)})
    candidates = gradients(bound, 1)
    plans = [planner.make_plan(p, Mesh(), memory=0) for p in candidates]
    peaks = [planner.peak_bytes(p, plan) for p, plan in zip(candidates, plans, strict=True)]
    assert len(candidates) == 3 and peaks[0] > peaks[1] > peaks[2]
    for memory, wanted in zip(peaks, candidates, strict=True):
        made = Posterior(bound, PlanRequest.make("1", memory=memory)).gradient_program(1)
        assert made.program == wanted
        assert planner.peak_bytes(made.program, made.plan) <= memory
    with pytest.raises(planner.TooSmall, match="does not fit"):
        Posterior(bound, PlanRequest.make("1", memory=peaks[2] / 4)).gradient_program(1)


def test_so_does_the_plan_of_a_model_and_of_a_number_of_devices():
    bound = bind(ppl.from_text(FIELD), {"y": np.zeros(40)})
    free, tight = (PlannedModel(bound, PlanRequest.make("1", memory=m), 1) for m in (0, 300_000))
    assert free.program == free.programs[0]
    assert tight.program in tight.programs[1:] and scans(tight.program) > scans(free.program)
    assert tight.plan.prediction.peak_bytes <= 300_000 < free.plan.prediction.peak_bytes
    searched = PlannedModel.searched(bound, PlanRequest.make(memory=300_000), 2, 1)
    assert searched.program in searched.programs and searched.plan.mesh.devices == 2
