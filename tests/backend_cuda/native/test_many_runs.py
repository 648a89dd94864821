"""A program with many collectives, run again and again without a look at what it made: no hang, and the same bits."""

import re
from dataclasses import replace

import numpy as np
import pytest

from backend_cuda import collectives_of
from backend_cuda.native.build import host_command
from tests.yardsticks.on_meshes import Case, compiled

OURS = r"meshbayes_(?:exchange|all_reduce)"


@pytest.mark.parametrize(("word", "runs"), [("native", 1000), ("lax", 100)])
def test_runs_do_not_queue(word, runs, monkeypatch):
    """XLA:CPU comes to a stand with some forty executions of several devices in its queues."""
    host_command()  # without a C++ compiler this says so
    monkeypatch.setenv("MESHBAYES_COLLECTIVES", word)
    posterior = compiled(Case("mass", "row=4,col=2", "gathers are dear", ("white:x=row,y=col",)))
    gradient = posterior.gradient_program(4)
    gradient = replace(gradient, given_collectives=collectives_of(gradient.devices))
    made = len(re.findall(OURS, gradient.lowered().as_text()))
    assert made >= 15 if word == "native" else made == 0, made
    rng, latents = np.random.default_rng(0), gradient.program.inputs_of("latent")
    at = {i.name: gradient.store(i.name, 0.1 * rng.normal(size=i.type.shape).astype(i.type.numpy)) for i in latents}
    arrays = {**posterior.hoisted(gradient), **at}
    found = [gradient.run(arrays, stored=True)["log_density"] for _ in range(runs)]
    assert np.isfinite(first := np.asarray(found[0])).all()
    assert all((np.asarray(x) == first).all() for x in found)
