"""Inference programs as they are written: what a text and Python make of the same program, and how it is printed."""

import pytest

import ppl
from ir.errors import Diagnostic
from ppl import auto, hmc, nuts
from ppl.infer.program import AutoOptions
from ppl.infer.stages import Stages
from ppl.infer.written import make
from ppl.text.elaborate import program_from_text


def read(text: str):
    return make(program_from_text(text, "--infer"))


PROGRAMS = {
    "nuts()": nuts(),
    "nuts(draws = 500, target_accept = 0.9)": nuts(target_accept=0.9, draws=500),
    "nuts(only = [white, mu], half_checks = false)": nuts(only=["white", "mu"], half_checks=False),
    "hmc(steps = 3) >> nuts(chains = 2)": hmc(steps=3) >> nuts(chains=2),
    "hmc(only = [a]) >> hmc(warmup = 7) >> nuts(draws = 20)": hmc(only="a") >> hmc(warmup=7) >> nuts(draws=20),
    "auto(draws = 50)": auto(draws=50),
}


@pytest.mark.parametrize("text", PROGRAMS)
def test_a_text_and_python_make_the_same_program_which_prints_as_the_text(text):
    assert read(text) == PROGRAMS[text] and hash(read(text)) == hash(PROGRAMS[text])
    assert str(PROGRAMS[text]) == text
    assert ppl.from_text(f"model m\ninfer {text}\n").infer is not None


def test_a_program_of_stages_is_told_apart_from_another():
    assert hmc(warmup=5) >> nuts() != hmc(warmup=6) >> nuts()
    assert hmc() >> (hmc() >> nuts()) == (hmc() >> hmc()) >> nuts()
    assert len({hmc() >> nuts(), hmc() >> nuts(), nuts()}) == 2


def test_the_last_stage_says_how_many_draws_and_any_stage_how_many_chains():
    program = hmc(chains=2, warmup=30) >> nuts(draws=20, thin=2)
    assert isinstance(program, Stages)
    assert (program.chains, program.draws, program.warmup, program.thin) == (2, 20, 1000, 2)
    assert [stage.chains for stage in program.stages()] == [2, 2]
    assert program.copies() == max(hmc().copies(), nuts().copies()) > min(hmc().copies(), nuts().copies())
    assert (auto() >> nuts()).chains == 4


@pytest.mark.parametrize(
    ("first", "then", "told"),
    [
        (hmc(chains=2), nuts(chains=3), "different numbers of chains"),
        (hmc(chains=2), nuts(chains=4), "different numbers of chains"),  # 4 is the default, but it was given
        (hmc(chains=2) >> hmc(), nuts(chains=5), "different numbers of chains"),
        (hmc(warmup=0), nuts(), "no warm-up"),
        (hmc(), 3, "no inference program"),
    ],
)
def test_stages_that_do_not_fit_are_refused(first, then, told):
    with pytest.raises(Diagnostic, match=told) as caught:
        first >> then
    assert caught.value.hint


def test_a_part_of_an_algorithm_is_read_as_a_program_of_its_own():
    (call,) = program_from_text("gibbs(field = hmc(steps = 3), theta = nuts(), sweeps = 2)", "--infer")
    values = {o.name: o.value for o in call.options}
    assert make(values["field"]) == hmc(steps=3) and make(values["theta"]) == nuts() and values["sweeps"] == 2


def test_a_mistake_in_a_part_is_told_at_its_place():
    text = "nuts(draws = hmc(stepz = 3))"
    with pytest.raises(Diagnostic) as caught:
        read(text)
    span = caught.value.span
    assert text[span.column - 1 : span.end_column - 1] == "stepz = 3" and "hmc" in caught.value.message


def test_auto_keeps_what_it_is_given_for_the_program_that_is_chosen():
    program = auto(draws=50, max_depth=4)
    assert isinstance(program, AutoOptions) and dict(program.further) == {"draws": 50, "max_depth": 4}
    with pytest.raises(Diagnostic, match="draws"):
        auto(draws=0)
