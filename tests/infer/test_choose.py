"""The program that is chosen from a graph, and that what a user asks of it is kept. No model here is run."""

import pytest

import ppl
from ir.errors import Diagnostic
from ppl.bind import outline
from ppl.infer.choose import expand, resolve, suggest
from ppl.infer.written import Call
from ppl.posterior import Posterior
from ppl.request import PlanRequest
from tests.ppl.error_projects import FIELD, RADON

ALL = {"nuts", "mclmc", "mams"}


def posterior(text=FIELD, mesh=None, **sizes) -> Posterior:
    return Posterior(outline(ppl.from_text(text), sizes=sizes), PlanRequest.make(mesh))


def chosen(of: Posterior, there=ALL) -> list[tuple[str, dict]]:
    return [(c.name, {o.name: o.value for o in c.options}) for c in suggest(of, there.__contains__).written]


def test_few_dims_get_the_usual_sampler_with_its_defaults():
    small = posterior(RADON, obs=9, county=7)
    found = small.suggest()
    assert found.program == ppl.nuts()
    assert str(found) == (
        "nuts(): 11 unconstrained dims, few enough for the no-U-turn sampler with a metric of its own"
    )
    assert chosen(posterior(x=40, y=40)) == [("nuts", {})]


def test_a_field_moves_first_and_then_all_together():
    field = posterior(x=100, y=100)
    assert chosen(field) == [("mclmc", {"only": ("white",)}), ("mclmc", {}), ("mams", {})]
    assert chosen(field, {"nuts", "mclmc"}) == [("mclmc", {"only": ("white",)}), ("mclmc", {})]
    assert chosen(field, {"nuts"}) == [("nuts", {})]
    told = suggest(field, ALL.__contains__).reasons
    assert "10,001 unconstrained dims" in told and "the field white, transformed by FFT" in told


def test_the_largest_models_are_adjusted_only_where_biases_add_up():
    large = posterior(mesh="row=4", x=400, y=400)
    assert chosen(large) == [("mclmc", {"only": ("white",)}), ("mclmc", {}), ("mams", {})]
    told = suggest(large, ALL.__contains__).reasons
    assert "laid out over 4 devices" in told and "adds up in what stands beside a field" in told
    alone = "model m\ndim x\ndata y[x]: real\nw[x] ~ Normal(0, 1)\ny[x] ~ Normal(w, 1)\n"
    assert chosen(posterior(alone, x=200_000)) == [("mclmc", {})]


def test_many_dims_without_a_field_or_with_nothing_else_have_no_stage_of_their_own():
    alone = "model m\ndim x\ndata y[x]: real\nw[x] ~ Normal(0, 1)\ny[x] ~ Normal(w, 1)\n"
    assert chosen(posterior(alone, x=5000)) == [("mclmc", {}), ("mams", {})]
    many = "model m\ndim x\ndata y[x]: real\n" + "".join(f"w{i}[x] ~ Normal(0, 1)\n" for i in range(4))
    assert chosen(posterior(many + "y[x] ~ Normal(w0 + w1 + w2 + w3, 1)\n", x=900)) == [("mclmc", {}), ("mams", {})]


def test_what_is_asked_of_the_chosen_program_is_its_last_stages():
    small = posterior(RADON, obs=9, county=7)
    program, reasons = resolve(ppl.auto(draws=50, max_depth=4, chains=2), small)
    assert program == ppl.nuts(draws=50, max_depth=4, chains=2) and reasons
    assert resolve(None, small)[0] == ppl.nuts()
    assert resolve(ppl.hmc(chains=3) >> ppl.auto(), small)[0] == ppl.hmc() >> ppl.nuts(chains=3)
    assert resolve(ppl.hmc(), small) == (ppl.hmc(), None)
    written = (Call("hmc"), Call("auto"))
    assert [c.name for c in expand(written, small)[0]] == ["hmc", "nuts"]
    with pytest.raises(Diagnostic, match="nuts has no option 'zebra'"):
        resolve(ppl.auto(zebra=3), small)


def test_a_discrete_latent_is_told_and_held_if_the_user_wants():
    text = "model m\ndata y: real\nn ~ Poisson(3)\nmu ~ Normal(n, 1)\ny ~ Normal(mu, 1)\n"
    with pytest.raises(Diagnostic, match="discrete"):
        posterior(text).suggest()
    held = Posterior(outline(ppl.from_text(text), fixed={"n": 2}), PlanRequest.make(None))
    assert held.suggest().program == ppl.nuts()
