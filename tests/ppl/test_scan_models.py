"""Models with scans: densities against NumPy, gradients, chains, devices, draws; text and Python say the same."""

from functools import cache

import jax
import numpy as np
import pytest

import ppl
from ir.passes.condition import condition
from ir.passes.expand import Expansion, log_density, predict
from ir.passes.parallelise import parallelise
from ir.passes.recentre import recentre
from ir.passes.simplify import simplify
from ir.verify import verify
from ppl.bind import bind
from ppl.infer.after import prior_draws

from .scan_models import MODELS, Case, cases, stochvol

CASES = cases()
NAMES = sorted(CASES)


@cache
def compiled(name: str, mesh: str = "1", *pins: str):
    case = CASES[name]
    sizes = bind(case.model, case.data).sizes
    plan = ppl.plan(case.model, mesh=mesh, pins=pins, dtype="float64", sizes=sizes)
    return ppl.compile(case.model, case.data, plan=plan, dtype="float64")


def position(posterior, *lead):
    rng = np.random.default_rng(4)
    return {n: 0.5 * rng.normal(size=(*lead, *t.shape)) for n, t in posterior.latents.items()}


def scans(program):
    return [n for n in program.walk() if n.op.name == "scan"]


# --- the density ---


@pytest.mark.parametrize("name", NAMES)
def test_the_log_density_is_the_one_written_out(name):
    case: Case = CASES[name]
    posterior = compiled(name)
    at = position(posterior)
    values = {**posterior.constrain(at), **{n: at[n] for n in at if n.endswith("_raw")}}
    np.testing.assert_allclose(posterior.value_and_gradient(at)[0], case.log_density(values, case.data), rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_that_of_finite_differences(name):
    posterior = compiled(name)
    at = position(posterior)
    _, gradient = posterior.value_and_gradient(at)
    rng = np.random.default_rng(5)
    for latent, x in at.items():
        direction, step = rng.normal(size=x.shape), 1e-5
        high, low = (posterior.value_and_gradient({**at, latent: x + s * direction})[0] for s in (step, -step))
        np.testing.assert_allclose(
            (gradient[latent] * direction).sum(), (high - low) / (2 * step), rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_chains_is_each_chain(name):
    posterior = compiled(name)
    batched = posterior.gradient_program(3)
    many = position(posterior, 3)
    found = batched.run({**posterior.hoisted(batched), **many}, hasty=True)
    for c in range(3):
        value, gradient = posterior.value_and_gradient({n: x[c] for n, x in many.items()})
        np.testing.assert_allclose(found["log_density"][c], value, rtol=1e-12)
        for n, g in gradient.items():
            np.testing.assert_allclose(found[f"grad:{n}"][c], g, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "pin"),
    [
        ("stochvol", "h:asset=row"),  # 9 assets on 8 devices: blocks of 2, 2, 2, 2, 1, 0, 0, 0
        ("stochvol", "h:time=row"),  # no recurrence is left: even time can be split
        ("counts", "x_raw:site=row"),
    ],
)
def test_eight_devices_give_what_one_gives(name, pin):
    if len(jax.devices()) < 8:
        pytest.skip("needs eight (virtual) devices")
    one, eight = compiled(name), compiled(name, "row=8", pin)
    at = position(one)
    value, gradient = one.value_and_gradient(at)
    found, split = eight.value_and_gradient(at)
    np.testing.assert_allclose(found, value, rtol=1e-12)
    for n, g in gradient.items():
        np.testing.assert_allclose(split[n], g, rtol=1e-12, atol=1e-12)


# --- one language, two spellings ---


def test_text_and_python_give_the_same_program():
    text = ppl.load(MODELS / "stochvol.ppl")
    data = CASES["stochvol"].data
    assert bind(text, data).program == bind(stochvol, data).program


def test_sites_stand_in_a_region_and_the_program_says_where():
    bound = bind(ppl.load(MODELS / "stochvol.ppl"), CASES["stochvol"].data)
    (node,) = scans(bound.program)
    assert [n.op.site for n in node.op.region.nodes if hasattr(n.op, "site")] == ["h", "r"]
    assert {n.span.line for n in node.op.region.nodes if n.span} == {9, 10}
    assert bound.observed == {"r": "r"}


# --- passes ---


def test_only_a_recurrence_stays_a_scan():
    found = {name: len(scans(compiled(name).programs["density"])) for name in NAMES}
    assert found == {"stochvol": 0, "second_order": 0, "garch": 1, "counts": 1}


def test_a_scan_puts_out_only_what_is_read():
    (whole,) = scans(compiled("garch").program("density"))
    (density,) = scans(compiled("garch").programs["density"])
    assert [name for name, _ in whole.op.region.outputs][1:] == [
        "step:sigma",
        "step:log_likelihood:r",
        "step:log_density:step",
    ]
    assert [name for name, _ in density.op.region.outputs][1:] == ["step:log_density:step"]


def test_steps_done_at_once_are_the_steps_one_by_one():
    """Draws too, bit for bit: each step's key is its own."""
    case = CASES["stochvol"]
    posterior = compiled("stochvol")
    one_by_one = simplify(Expansion("predict").run(recentre(bind(case.model, case.data, dtype="float64").program)))
    at_once = simplify(parallelise(one_by_one))
    assert (len(scans(one_by_one)), len(scans(at_once))) == (1, 0)
    arrays = {**case.data, **position(posterior), "key": np.array([3, 4], np.uint32)}
    first, second = (posterior.executable(verify(p)).run(arrays) for p in (one_by_one, at_once))
    assert set(first) == {"mu", "phi", "sigma", "h", "predictive:r"}
    for name, x in first.items():
        np.testing.assert_array_equal(x, second[name])


def test_conditioning_observes_a_site_inside_a_scan():
    case = CASES["stochvol"]
    posterior = compiled("stochvol")
    known = verify(condition(bind(case.model, case.data, dtype="float64").program, ["h"]))
    program = verify(simplify(log_density(known)))
    assert [i.name for i in program.inputs_of("latent")] == ["mu", "phi", "sigma"]
    assert str(program.input("h").type) == "f64[time=12, asset=9]"
    at = position(posterior)
    found = posterior.executable(program).run({**case.data, **at}, hasty=True)
    np.testing.assert_allclose(found["log_density"], posterior.value_and_gradient(at)[0], rtol=1e-12)
    assert found["log_likelihood:h"].shape == (12, 9)


@pytest.mark.parametrize("name", NAMES)
def test_constrain_and_unconstrain_are_inverse(name):
    posterior = compiled(name)
    at = position(posterior)
    free = posterior.unconstrain({**at, **posterior.constrain(at)})
    for n, x in at.items():
        np.testing.assert_allclose(free[n], x, rtol=1e-8, atol=1e-10)


@ppl.model
def table(x: ppl.Data["row", "col"]):
    """A walk down the rows, and within each row along the columns: a scan in a scan."""
    drift = ppl.sample("drift", ppl.Normal(0, 1))

    def down(r, above, _):
        def along(c, left, _):
            loc = ppl.where(c.first, above["first"], left["z"])
            z = ppl.sample("z", ppl.Normal(loc + drift, 1))
            ppl.observe("x", ppl.Normal(z, 0.5), c.at(r.at(x)))
            return {"z": z}, {"z": z}

        z = ppl.scan("col", along, carry={"z": 0.0})["z"]
        return {"first": z[{"col": 0}]}, {"ends": z[{"col": 2}]}

    ppl.deterministic("ends", ppl.scan("row", down, carry={"first": 0.0})["ends"])


def test_a_scan_in_a_scan():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4, 3))
    posterior = ppl.compile(table, {"x": x}, dtype="float64")
    assert str(posterior.latents["z"]) == "f64[row=4, col=3]"
    at = position(posterior)
    z, drift = at["z"], at["drift"]
    before = np.concatenate([np.concatenate([[0.0], z[:-1, 0]])[:, None], z[:, :-1]], axis=1)
    squares = drift**2 + ((z - before - drift) ** 2).sum() + ((x - z) ** 2).sum() / 0.25
    wanted = -0.5 * squares - 25 * 0.5 * np.log(2 * np.pi) + 12 * np.log(2)
    np.testing.assert_allclose(posterior.value_and_gradient(at)[0], wanted, rtol=1e-12)
    np.testing.assert_array_equal(posterior.constrain(at)["ends"], z[:, 2])
    draws = prior_draws(posterior, 0, 50)["prior"]
    assert draws["z"][1].shape == (1, 50, 4, 3)
    np.testing.assert_array_equal(draws["ends"][1], draws["z"][1][..., 2])


TWO_SCANS = """
model two_scans
dim time, k = 3
data y[time]: real
level ~ Normal(0, 1)
scan t in time {
  w[t, k] ~ Dirichlet[k](2.0)
  a[t] = level + 0.1 * t + sum(w[t], over = k)
}
scan s in time {
  count[s] = count[s - 1] + 1  init 0
  b[s] = a[s] + 0.5 * b[s - 1]  init a[s]
  y[s] ~ Normal(b[s] + w[s, k = 0] - w[time = 2, k = 1], 1)
}
"""


def test_a_scan_reads_another_one_and_its_own_step():
    posterior = ppl.compile(ppl.from_text(TWO_SCANS), {"y": np.arange(4.0)}, dtype="float64")
    assert {n: str(t) for n, t in posterior.latents.items()} == {"level": "f64[]", "w": "f64[time=4, k_free=2]"}
    at = position(posterior)
    made = posterior.constrain(at)
    np.testing.assert_allclose(made["w"].sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(made["count"], np.arange(4.0))
    np.testing.assert_allclose(made["a"], at["level"] + 1 + 0.1 * np.arange(4), rtol=1e-12)
    np.testing.assert_allclose(made["b"][1:], made["a"][1:] + 0.5 * made["b"][:-1], rtol=1e-12)
    np.testing.assert_allclose(made["b"][0], made["a"][0], rtol=1e-12)


@ppl.model(dims={"future": 5})
def forecast(y: ppl.Data["time"]):
    mu = ppl.sample("mu", ppl.Normal(0, 1))

    def past(t, last, now):
        x = ppl.sample("x", ppl.Normal(mu + 0.5 * last["x"], 1))
        ppl.observe("y", ppl.Normal(x, 1), now["y"])
        return {"x": x}, {"x": x}

    def ahead(t, last, now):
        z = ppl.sample("z", ppl.Normal(mu + 0.5 * last["z"], 1), generated=True)
        return {"z": z}, {"z": z}

    x = ppl.scan("time", past, {"x": 0.0}, {"y": y})["x"]
    z = ppl.scan("future", ahead, {"z": x[{"time": 3}]})["z"]
    ppl.deterministic("total", ppl.sum(z, over="future"), generated=True)


def test_a_generated_scan_forecasts_and_takes_no_part_in_the_density():
    posterior = ppl.compile(forecast, {"y": np.arange(4.0)}, dtype="float64")
    assert list(posterior.latents) == ["mu", "x"]
    program = verify(posterior.program("predict"))
    at = {"mu": np.float64(0.3), "x": np.array([0.0, 1.0, 2.0, 6.0])}
    executable = posterior.executable(program)
    keys = [np.array([i, 1], np.uint32) for i in range(400)]
    made = [executable.run({"y": np.arange(4.0), **at, "key": key}, hasty=True) for key in keys]
    z = np.stack([m["z"] for m in made])
    np.testing.assert_allclose([m["total"] for m in made], z.sum(axis=1), rtol=1e-12)
    mean, variance = 6.0, 0.0
    for k in range(5):
        mean, variance = 0.3 + 0.5 * mean, 1 + 0.25 * variance
        assert abs(z[:, k].mean() - mean) < 6 * np.sqrt(variance / 400)


# --- draws ---

STATIONARY = """
model stationary
dim time = 6, site = 5
const phi: real = 0.8
const tau: real = 0.5
scan t in time {
  x[t, site] ~ Normal(phi * x[t - 1], tau)  init Normal(0, tau / sqrt(1 - phi^2))
  level[t, site] = exp(x[t])
}
"""


def test_prior_draws_of_a_stationary_process_are_stationary():
    """40,000 numbers a time: the standard error of a variance is 0.7 % (correlated in time only), 6 sigma allowed."""
    posterior = ppl.compile(ppl.from_text(STATIONARY), {}, dtype="float64")
    draws = prior_draws(posterior, 1, 8000)["prior"]
    (dims, x), variance = draws["x"], 0.25 / (1 - 0.64)
    assert dims == ("time", "site")
    x = x[0]
    np.testing.assert_allclose(x.mean(axis=(0, 2)), 0.0, atol=6 * np.sqrt(variance / 40_000))
    np.testing.assert_allclose(x.var(axis=(0, 2)), variance, rtol=0.043)
    np.testing.assert_allclose((x[:, 1:] * x[:, :-1]).mean(axis=(0, 2)), 0.8 * variance, rtol=0.06)
    assert abs(np.corrcoef(x[:, 0, 0], x[:, 0, 1])[0, 1]) < 6 / np.sqrt(8000)
    np.testing.assert_allclose(draws["level"][1][0], np.exp(x), rtol=1e-14)


def test_predictions_of_the_observed_follow_the_latents():
    posterior = compiled("stochvol")
    program = verify(simplify(predict(recentre(posterior.bound.program))))
    at = position(posterior)
    executable = posterior.executable(program)
    keys = np.stack([np.arange(300, dtype=np.uint32), np.full(300, 7, np.uint32)], axis=1)
    given = {**CASES["stochvol"].data, **at}
    r = np.stack([executable.run({**given, "key": k}, hasty=True)["predictive:r"] for k in keys])
    z = r / np.exp(at["h"] / 2)
    assert abs(z.mean()) < 6 / np.sqrt(z.size) and abs((z**2).mean() - 1) < 6 * np.sqrt(2 / z.size)


# --- lag ---


@pytest.mark.parametrize(("by", "wanted"), [(1, [7, 1, 2, 3]), (3, [7, 7, 7, 1]), (9, [7] * 4), (-1, [2, 3, 4, 7])])
def test_lag_moves_and_fills(by, wanted):
    model = ppl.from_text(f"model m\ndim time\ndata x[time]: real\na ~ Normal(0, 1)\ny[time] = lag(x, time, {by}, 7)\n")
    posterior = ppl.compile(model, {"x": np.arange(1.0, 5.0)})
    np.testing.assert_array_equal(posterior.constrain({"a": np.zeros(())})["y"], np.float32(wanted))
