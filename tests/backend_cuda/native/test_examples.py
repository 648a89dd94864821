"""Every example with native collectives on virtual devices: the numbers, noise and draws of `jax.lax`'s.

To the bit: sums add in the order of XLA:CPU, and exchanges copy. To rounding where there are particles: XLA compiles
what stands between otherwise. Text and Python are one program (`tests/test_examples.py`); the text is run.
"""

import re
from dataclasses import replace

import numpy as np
import pytest

import ppl
from backend_cuda import LAX, collectives_of
from backend_cuda.native.build import host_command
from ppl.infer.start import PRIOR, keys
from ppl.pipeline import keep
from tests.yardsticks.on_meshes import MACHINES, SIZES, Case, compiled, model_and_data

DEAR, CHEAP = "gathers are dear", "talk is cheap"
CASES = [
    Case("mass", "row=8", DEAR, ("white:x=row",)),
    Case("mass", "row=4,col=2", DEAR, ("white:x=row,y=col",)),
    Case("mass", "row=2,col=2", DEAR, ("white:y=row+col",)),
    Case("linear", "row=8", CHEAP, ("y:obs=row",)),
    Case("linear", "row=2,col=2", CHEAP, ("y:obs=col+row",)),
    Case("radon", "row=8", CHEAP, ("y:obs=row",)),
    Case("radon", "row=4,col=2", DEAR, ("y:obs=row", "alpha_raw:county=col")),
    Case("radon", "row=2,col=2", CHEAP, ("y:obs=col+row",)),
    Case("eight", "row=8", CHEAP, ("y:school=row",)),
    Case("eight", "row=2,col=2", CHEAP, ("y:school=row+col",)),
    *(
        Case(example, mesh, DEAR, (pin,))
        for example in ("structure", "initial")
        for mesh, pin in [
            ("row=8", "white:x=row"),
            ("row=4,col=2", "white:x=row,y=col"),
            ("row=2,col=2", "white:x=row"),
        ]
    ),
]
EVERY_DAY = CASES[3:4]
PARTICLES, ROUNDING = ("structure", "initial"), 1e-4
"""Of the largest element, in float32 after the steps of a simulation and their pullbacks."""
DRAWN = 10 * ROUNDING
"""After ten transitions of a sampler."""
OURS, THEIRS = r"@meshbayes_(?:exchange|all_reduce)", r"stablehlo\.(?:all_|collective_|reduce_scatter)"


def over(quick):
    return [pytest.param(c, marks=[] if c in quick else pytest.mark.slow, id=str(c)) for c in CASES]


@pytest.fixture
def native(monkeypatch):
    host_command()  # without a C++ compiler this says so
    monkeypatch.setenv("MESHBAYES_COLLECTIVES", "native")


def both(executable, arrays, exact, hasty=True):
    """What a program makes with native collectives, held to what it makes with lax's; how many calls it has."""
    found, counts = [], []
    for comm in (collectives_of(executable.devices), LAX):
        one = replace(executable, given_collectives=comm)
        text = one.lowered().as_text()
        counts.append(tuple(len(re.findall(kind, text)) for kind in (OURS, THEIRS)))
        found.append(one.run(arrays, hasty=hasty))
    (native, beside), (none, lax) = counts
    assert beside == 0 and none == 0 and bool(native) == bool(lax), counts
    for name, x in found[1].items():
        same(found[0][name], x, 0.0 if exact else ROUNDING, name)
    return found[0], native


def same(ours, theirs, share, name):
    rounding = share * np.max(np.abs(theirs), initial=1.0)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=rounding, err_msg=name)


@pytest.mark.parametrize("case", over(EVERY_DAY))
def test_log_density_gradient_and_noise_are_those_of_lax(case, native):
    posterior, exact = compiled(case), case.example not in PARTICLES
    rng, gradient = np.random.default_rng(0), posterior.gradient_program()
    at = {i.name: 0.3 * rng.normal(size=i.type.shape).astype(np.float32) for i in gradient.program.inputs_of("latent")}
    made, calls = both(gradient, {**posterior.hoisted(gradient), **at}, exact)
    assert calls and all(np.isfinite(x).all() for x in made.values())

    # Compiled in haste, noise may differ in the last bit between two programs.
    prior = posterior.program("prior")
    noise = posterior.executable(keep(prior, [n for n, _ in prior.outputs if n.startswith("free:")]))
    drawn, _ = both(noise, {**posterior.bound.data, "key": keys(1, PRIOR, 0)}, exact=True, hasty=False)
    assert drawn and all(np.any(x != 0) for x in drawn.values())


SEEDS = {("radon", "row=2,col=2"): 5}
"""Where with seed 2 a step that is not adapted yet makes other decisions of starts that differ in the last bit."""


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_few_draws_are_those_of_lax(case, native, monkeypatch):
    """Through `run`: the sampler's sums and the model's collectives are one chain, and predictions follow. To rounding:
    XLA does not compile alike what stands between the calls of a whole sampler."""
    model, data = model_and_data(case.example)
    sizes, found, seed = SIZES.get(case.example), {}, SEEDS.get((case.example, case.mesh), 2)
    plan = ppl.plan(model, data, mesh=case.mesh, machine=MACHINES[case.machine], pins=case.pins, sizes=sizes, chains=2)
    for word in ("native", "lax"):
        monkeypatch.setenv("MESHBAYES_COLLECTIVES", word)
        posterior = ppl.compile(model, data, plan=plan, sizes=sizes)
        found[word] = posterior.run(ppl.hmc(chains=2, warmup=6, draws=4, steps=3), seed=seed, progress=False)
    for name in posterior.latents:
        ours, theirs = (found[word][name] for word in ("native", "lax"))
        assert np.isfinite(ours).all() and np.ptp(ours[:, -2:]) > 0
        same(ours, theirs, DRAWN if case.example in PARTICLES else ROUNDING, name)
