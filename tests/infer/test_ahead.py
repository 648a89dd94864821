"""The programs of a run of a large field, compiled and not run: their memory is predicted, and no field is gathered."""

from pathlib import Path

import jax
import pytest

import ppl
from backend_cuda.inspect import hlo_collectives
from planner import peak_bytes
from planner.memory import latent_bytes
from ppl.bind import outline
from ppl.infer import room
from ppl.infer.ahead import compile_run
from ppl.infer.stages import settled_apart
from ppl.posterior import Posterior
from ppl.request import PlanRequest

MASS_MAP = Path(__file__).parents[2] / "examples" / "01_mass_map.ppl"
SIDE, DEVICES = 4096, 8


def mass_map(side, mesh="row=4,col=2"):
    bound = outline(ppl.load(str(MASS_MAP)), sizes={"x": side, "y": side})
    return Posterior(bound, PlanRequest.make(mesh, machine="h200x8", memory=0, pins=("white:x=row,y=col",)))


def test_streamed_moments_count_while_draws_are_made():
    """white and kappa: a float64 mean, squares and one row of draws each are 8 copies of the latents in float32."""
    posterior, hmc = mass_map(SIDE), ppl.hmc(chains=1)
    warmup, draws = settled_apart(hmc, SIDE**2).stages()
    assert room.copies(posterior, hmc) == pytest.approx(max(warmup.copies(), draws.copies() + 8), rel=1e-6)
    mclmc = ppl.mclmc(chains=1)
    assert room.copies(posterior, mclmc) == pytest.approx(mclmc.copies() + 8, rel=1e-6)
    # Of one field a block keeps four rows.
    assert room.copies(posterior, mclmc, keep=["kappa"]) == pytest.approx(mclmc.copies() + 3 + 4, rel=1e-6)
    # Draws of fewer pixels are kept whole.
    assert room.copies(mass_map(64), mclmc) == mclmc.copies()


def test_a_plan_holds_what_the_run_does():
    planned = ppl.plan(ppl.load(str(MASS_MAP)), sizes={"x": SIDE, "y": SIDE}, sampler=ppl.mclmc(chains=1))
    assert planned.request.copies == pytest.approx(ppl.mclmc().copies() + 8, rel=1e-6)
    plan, program = planned.plan, planned.program
    assert peak_bytes(program, plan) > planned.request.copies * latent_bytes(program, plan)


@pytest.mark.slow
@pytest.mark.parametrize(("options", "places"), [(ppl.hmc(chains=1), 2), (ppl.mclmc(chains=1), 1)])
def test_a_run_of_a_large_field_holds_what_is_predicted_and_gathers_nothing(options, places):
    """`places`: of the gradient in the program; HMC's steps before the last and the last one stand apart."""
    if len(jax.devices()) < DEVICES:
        pytest.skip("needs eight (virtual) devices")
    posterior = mass_map(SIDE)
    made = compile_run(posterior, options)
    block = SIDE**2 // DEVICES
    assert 0.85 < made.predicted / made.xla < 1.15
    *_, draws, moments = made.programs
    assert moments.name == "moments" and draws.beside == 2 * (8 + 4) * block
    engine = made.engine
    mesh = engine.gradient.plan.mesh
    large = [p.collective for p in hlo_collectives(draws.text, mesh) if p.collective.bytes >= 2 * block]
    gradient, kept = (
        [c for c, n in e.plan.collectives(e.program).items() for _ in range(n) if c.bytes >= 2 * block]
        for e in (engine.gradient, engine.collect)
    )
    assert {c.kind for c in gradient + kept} == {"all_to_all"}
    assert sorted(map(str, large)) == sorted(map(str, places * gradient + kept))
    for other in (*made.programs[:-2], moments):
        kinds = {p.collective.kind for p in hlo_collectives(other.text, mesh) if p.collective.bytes >= 2 * block}
        assert kinds <= {"all_to_all"}
