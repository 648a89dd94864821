"""Inference options: what they refuse, and that the refusal names what was meant."""

import dataclasses

import jax
import numpy as np
import pytest

from ir.errors import Diagnostic
from ppl.infer.hmc import Hmc
from ppl.infer.program import from_options, hmc, nuts
from ppl.infer.schedule import make_schedule
from ppl.infer.space import Space
from tests.infer import drive
from tests.infer.targets import gaussian


def refusal(f, *args, **options) -> Diagnostic:
    with pytest.raises(Diagnostic) as caught:
        f(*args, **options)
    assert caught.value.kind == "argument"
    return caught.value


def test_defaults_and_the_text_form_agree():
    assert from_options("nuts", {"draws": 10, "warmup": 0}) == nuts(draws=10, warmup=0)
    options = nuts()
    assert (options.name, options.chains, options.draws, options.warmup) == ("nuts", 4, 1000, 1000)
    assert (options.target_accept, options.max_depth, options.thin, options.step_size) == (0.8, 10, 1, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.draws = 3
    assert len(hmc(draws=30, warmup=20).schedule().adapt_step) == 50


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        ("num_samples", "draws"),
        ("num_warmup", "warmup"),
        ("tune", "warmup"),
        ("num_chains", "chains"),
        ("target_accept_prob", "target_accept"),
        ("adapt_delta", "target_accept"),
        ("delta", "target_accept"),
        ("max_tree_depth", "max_depth"),
        ("max_treedepth", "max_depth"),
        ("thinning", "thin"),
        ("drwas", "draws"),
        ("Warmup", "warmup"),
    ],
)
def test_foreign_and_misspelt_options_are_understood(foreign, ours):
    found = refusal(nuts, **{foreign: 3})
    assert found.hint == f"did you mean '{ours}'?" and f"'{foreign}'" in found.message


def test_options_that_live_elsewhere_say_where():
    assert "run" in refusal(nuts, random_seed=1).hint
    assert "plan" in refusal(nuts, cores=4).hint
    assert "draws" in refusal(nuts, zebra=1).hint
    assert refusal(nuts, steps=3).hint.startswith("'steps' is an option of hmc")


@pytest.mark.parametrize(
    "options",
    [
        *({"draws": v} for v in (0, -1, 1.5, True, "10")),
        *({"chains": 0}, {"warmup": -1}, {"thin": 0}, {"max_depth": 0}, {"max_depth": 40}),
        *({"target_accept": v} for v in (0, 1, 1.2, -0.1, "0.8", None)),
        *({"step_size": v} for v in (0, -1.0, float("inf"), float("nan"), "a")),
        {"draws": 10, "thin": 3},
    ],
)
def test_values_out_of_range_are_refused(options):
    (name, *_) = options
    assert name in refusal(nuts, **options).message


def test_hmc_has_its_own_options():
    assert refusal(hmc, max_depth=3).kind == "argument"
    assert "steps" in refusal(hmc, num_integration_steps=3).hint
    assert "jitter" in refusal(hmc, jitter=1.5).message
    kernel = hmc(steps=7, jitter=0).kernel(Space.single({"x": (2,)}), None)
    assert isinstance(kernel, Hmc) and kernel.steps == 7


def test_an_unknown_program_suggests_a_known_one():
    assert refusal(from_options, "nutz", {}).hint == "did you mean 'nuts'?"
    assert "hmc" in refusal(from_options, "metropolis", {}).hint


@pytest.mark.parametrize(
    ("options", "room"),
    [
        pytest.param(nuts(max_depth=4), 1.5, marks=pytest.mark.slow),
        (nuts(max_depth=7), 1.5),
        (nuts(max_depth=7, half_checks=True), 1.5),
        (hmc(), 0.5),
        (nuts(warmup=0), 0.1),
    ],
)
def test_the_stated_copies_are_what_xla_allocates(options, room):
    """Peak of a donated block on one device, in units of the latent, less what the target itself holds (none here)."""
    size = 1 << 16
    with jax.enable_x64(True):
        space = Space.single({"x": (size,)}, 1, "float32")
        made = options.method(space, gaussian({"x": np.ones(size)}))
        state = jax.eval_shape(lambda: made.start((0, 1), drive.begin(made.kernel, space.zeros())))
        schedule = make_schedule(0, 4)
        run = jax.jit(lambda s: drive.advance(made, (0, 1), s, schedule, collect=lambda x: {}), donate_argnums=0)
        memory = run.lower(state).compile().memory_analysis()
    peak = memory.temp_size_in_bytes + memory.argument_size_in_bytes
    assert peak / (4 * size) < options.copies() + 2 + room
