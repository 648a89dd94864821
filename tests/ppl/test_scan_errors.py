"""Mistakes around scans: each one is a lesson, held to a golden file."""

import numpy as np
import pytest

import ppl
from ir.errors import Diagnostic

HEAD = """model m
dim time, asset
data r[time, asset]: real
data x[time]: real
mu ~ Normal(0, 1)
"""
DATA = {"r": np.zeros((4, 3)), "x": np.zeros(4)}

TEXTS = {
    "read_without_init": "h[t] ~ Normal(h[t - 1], 1)",
    "define_without_init": "s[t] = 0.5 * s[t - 2]",
    "read_by_another_without_init": "h[t] ~ Normal(0, 1)  init Normal(0, 2)\n  g[t] = h[t - 1]",
    "init_reads_back": "h[t] ~ Normal(h[t - 1], 1)  init Normal(h[t - 1], 2)",
    "init_of_another_family": "h[t] ~ Normal(h[t - 1], 1)  init Cauchy(0, 1)",
    "init_of_another_form": "h[t] ~ TruncatedNormal(h[t - 1], 1, lower = 0)  init TruncatedNormal(0, 1, upper = 1)",
    "init_with_other_dims": "h[t] ~ Normal(h[t - 1], 1)  init Normal(r[t], 1)",
    "data_at_an_earlier_step": "h[t] ~ Normal(x[t - 2], 1)",
    "data_at_a_later_step": "h[t] ~ Normal(x[t + 1], 1)",
    "observed_at_an_earlier_step": "r[t, asset] ~ Normal(r[t - 1], 1)  init Normal(0, 1)",
    "data_without_step": "h[t] ~ Normal(x, 1)",
    "quantity_without_step": "h[t] ~ Normal(0, 1)\n  g[t] ~ Normal(h, 1)",
    "later_step": "h[t] ~ Normal(h[t + 1], 1)  init Normal(0, 1)",
    "left_without_step": "h ~ Normal(0, 1)",
    "left_without_step_but_dims": "h[asset] ~ Normal(0, 1)",
    "left_with_the_dim": "h[time] ~ Normal(0, 1)",
    "left_with_dim_and_step": "h[t, time] ~ Normal(0, 1)",
    "step_of_a_scalar": "h[t] ~ Normal(mu[t], 1)",
    "read_before_stated": "h[t] ~ Normal(g[t], 1)\n  g[t] ~ Normal(0, 1)",
    "data_with_other_dims": "r[t] ~ Normal(0, 1)",
    "data_that_lacks_the_dim": "once[t] ~ Normal(0, 1)",
    "step_of_an_expression": "h[t] ~ Normal((x + 1)[t], 1)",
    "two_steps": "h[t] ~ Normal(h[t, t - 1], 1)  init Normal(0, 1)",
    "stated_twice": "h[t] ~ Normal(0, 1)\n  h[t] ~ Normal(0, 1)",
    "data_defined": "x[t] = 1",
    "one_dim_too_many": "h[t] ~ Normal(r[t], 1)",
    "unknown_name": "h[t] ~ Normal(hh[t], 1)",
    "discrete_latent": "n[t] ~ Poisson(2)",
    "noncentered_observed": "x[t] ~ Normal(mu, 1)  @noncentered",
    "where_on_a_latent": "h[t] ~ Normal(mu, 1)  @where(x[t])",
}


def explain(make) -> str:
    with pytest.raises(Diagnostic) as caught:
        make()
    return str(caught.value) + "\n"


@pytest.mark.parametrize("name", TEXTS)
def test_a_wrong_scan_in_a_text(name, golden):
    head = HEAD + "data once: real\n" if "once" in TEXTS[name] else HEAD
    data = DATA | {"once": np.float64(0)} if "once" in TEXTS[name] else DATA
    text = f"{head}scan t in time {{\n  {TEXTS[name]}\n}}\n"
    golden(f"scan/{name}.txt", explain(lambda: ppl.compile(ppl.from_text(text, "m.ppl"), data).programs))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("step_is_a_dim", "scan asset in time {\n  h[asset] ~ Normal(0, 1)\n}"),
        ("step_is_a_quantity", "scan mu in time {\n  h[mu] ~ Normal(0, 1)\n}"),
        ("unknown_dim", "scan t in tmie {\n  h[t] ~ Normal(0, 1)\n}"),
        ("name_after_the_scan", "scan t in time {\n  h[t] ~ Normal(0, 1)\n}\nh ~ Normal(0, 1)"),
        ("lag_of_another_dim", "y[time] = lag(x, asset, 1, 0)"),
        ("lag_by_a_fraction", "y[time] = lag(x, time, 0.5, 0)"),
    ],
)
def test_a_wrong_line_around_a_scan(name, line, golden):
    golden(f"scan/{name}.txt", explain(lambda: ppl.compile(ppl.from_text(f"{HEAD}{line}\n", "m.ppl"), DATA).programs))


def python_model(body, carry, through=None):
    """A Python model whose scan has this body."""

    @ppl.model
    def m(r: ppl.Data["time", "asset"], x: ppl.Data["time"]):
        ppl.scan("time", lambda *step: body(r, x, *step), carry, through)

    return m


def whole_data(r, x, t, last, now):
    ppl.observe("x", ppl.Normal(0, 1), x)
    return {}, {}


def nothing_returned(r, x, t, last, now):
    ppl.sample("h", ppl.Normal(0, 1))


def carry_forgotten(r, x, t, last, now):
    return {}, {}


def carry_not_asked_for(r, x, t, last, now):
    return {"h": ppl.sample("h", ppl.Normal(0, 1)), "g": 1.0}, {}


def growing_carry(r, x, t, last, now):
    return {"h": last["h"] + t.at(r)}, {}


def step_of_a_number(r, x, t, last, now):
    return {}, {"h": t.at(3.0)}


@pytest.mark.parametrize(
    ("body", "carry", "through"),
    [
        (whole_data, {}, None),
        (nothing_returned, {}, None),
        (carry_forgotten, {"h": 0.0}, None),
        (carry_not_asked_for, {"h": 0.0}, None),
        (step_of_a_number, {}, None),
        (carry_forgotten, {}, {"x": 1.0}),
    ],
)
def test_a_wrong_scan_in_python(body, carry, through, golden):
    name = body.__name__ if through is None else "through_a_number"
    text = explain(lambda: ppl.compile(python_model(body, carry, through), DATA))
    lines = [line for line in text.splitlines() if " | " not in line]  # the message without this file's lines
    golden(f"scan/python_{name}.txt", "\n".join([lines[0].split(": ", 2)[-1], *lines[1:]]) + "\n")


def test_a_carry_that_grows_is_refused_unless_it_starts_as_a_number():
    @ppl.model
    def grows(r: ppl.Data["time", "asset"]):
        start = ppl.sample("start", ppl.Normal(0, 1))
        ppl.scan("time", lambda t, last, now: ({"h": last["h"] + t.at(r)}, {}), {"h": start})

    assert "starts as f32[] and is handed on as f32[asset=3]" in explain(lambda: ppl.compile(grows, {"r": DATA["r"]}))
    ppl.compile(python_model(growing_carry, {"h": 0.0}), DATA)
