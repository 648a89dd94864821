"""A plan never changes an answer: the same posterior on one device and on meshes, by the planner's plans and odd ones.

From 20 stored states, log density and gradient agree to rounding, noise to the last bit, and single transitions to
rounding too, unless a decision of the sampler was closer than that. Chains are chaotic: longer ones agree in
distribution, and bit for bit on the same mesh.
"""

from dataclasses import dataclass, replace
from functools import cache

import jax
import numpy as np
import pytest

import backend_cuda as backend
import ppl
from ir import counter
from ir.dims import CHAIN
from ir.layout import Layout
from ppl.infer.engine import Engine, space_of
from ppl.infer.metric import Diagonal
from ppl.infer.protocol import MOMENTUM, Handover
from ppl.infer.schedule import Schedule, make_schedule
from ppl.infer.start import START, keys
from ppl.pipeline import keep
from tests.yardsticks.agree import bulk_ess, mean
from tests.yardsticks.on_meshes import Case, compiled

STATES, SETTLE, SEED = 20, 60, 7
DTYPES = ("float64", "float32")

# 27 x 22 pixels over 8: blocks of 4, the last two of 3 and 0; over 4 x 2: 7, 7, 7, 6 by 11; 22 over 4: 6, 6, 6, 4.
# 919 houses over 8: 115, the last 114; over 4: 230, the last 229. 85 counties over 8: 11, the last 8; over 2: 43, 42.
MAPS = (
    Case("mass", "row=4,col=2", "gathers are dear", ("white:x=row,y=col", "chain:whole")),
    Case("mass", "8", "gathers are dear", ("white:x=row", "chain:whole")),
    Case("mass", "row=2,col=2", "gathers are dear", ("white:y=row+col", "chain:whole")),
    Case("mass", "row=4,col=2", "talk is cheap", ("modes:kx=col,ky=row", "white:x=row", "chain:whole")),
    Case("mass", "row=4,col=2", "talk is cheap", ("white:x=row", "chain:col")),
)
HOUSES = (
    Case("radon", "8", "talk is cheap", ("y:obs=row", "chain:whole")),
    Case("radon", "row=4,col=2", "gathers are dear", ("y:obs=row", "alpha_raw:county=col", "chain:whole")),
    Case("radon", "row=2,col=2", "talk is cheap", ("y:obs=col+row", "chain:whole")),
)
SMALL = tuple(
    Case(example, mesh, "talk is cheap", ("chain:whole",))
    for example in ("linear", "eight")
    for mesh in ("8", "row=4,col=2", "row=2,col=2")
)
OWN = tuple(Case(e, m) for e in ("mass", "radon") for m in ("row=4,col=2", "row=2,col=2"))
CASES = MAPS + HOUSES + SMALL + OWN
QUICK = (MAPS[0], HOUSES[0])
EVERY_DAY = (MAPS[0], MAPS[3], *HOUSES[:2], SMALL[1])  # transforms there and back, looked up whole and split


def over(cases, quick):
    """Parameters (case, dtype), slow unless `quick` says otherwise."""
    return [
        pytest.param(case, dtype, marks=[] if quick(case, dtype) else pytest.mark.slow, id=f"{case} {dtype}")
        for case in cases
        for dtype in DTYPES
    ]


@cache
def engine(case, dtype):
    posterior = compiled(case, dtype)
    gradient = posterior.gradient_program(STATES)
    return Engine(
        gradient, posterior.hoisted(gradient), ppl.nuts(chains=STATES, max_depth=8, metric="diagonal"), SETTLE
    )


@dataclass(frozen=True)
class Stored:
    """Where transitions start, whole arrays [state, ...] in float64, with the step size and the metric they use."""

    position: dict
    step_size: float
    variance: dict

    @property
    def sd(self):
        return {n: np.sqrt(v) for n, v in self.variance.items()}


@cache
def scattered(example):
    """Points around the origin, whole arrays [state, ...] in float64."""
    rng = np.random.default_rng(SEED)
    program = engine(Case(example), "float64").gradient.program
    return {i.name: 0.3 * rng.normal(size=i.type.shape) for i in program.inputs_of("latent")}


@cache
def stored(example):
    """States of `STATES` chains after a short warm-up on one device in float64; their spread is the metric."""
    one = engine(Case(example), "float64")
    state = one.start(SEED, Handover(stand(one, scattered(example))))
    block = one.advance(SEED, state, make_schedule(SETTLE, 0), SETTLE)
    draws = {n: np.asarray(x)[:, SETTLE // 2 :] for n, x in block.draws.items()}
    return Stored(
        {n: x[:, -1] for n, x in draws.items()},
        float(np.median(block.state.inner.adapt.step.value)),
        {n: x.var(axis=(0, 1)) for n, x in draws.items()},
    )


def stand(one, position):
    """The engine's chains at whole arrays."""
    return one.stand({n: one.gradient.store(n, x) for n, x in position.items()})


def whole(case, dtype, vector):
    """A stored vector on the host, without padding, in float64."""
    program = engine(case, dtype).gradient.program
    return {n: backend.gather(x, program.input(n).type).astype(float) for n, x in vector.items()}


def transition(case, dtype, step):
    """One transition of each stored state at fixed step size and metric: positions, info."""
    one, from_here = engine(case, dtype), stored(case.example)
    state = stand(one, from_here.position)

    def scale(name, like):
        t = one.gradient.program.input(name).type
        array = np.broadcast_to(np.sqrt(from_here.variance[name]), t.shape)
        pads = [(0, s - n) for s, n in zip(like.shape, t.shape, strict=True)]
        return jax.device_put(np.pad(array, pads, constant_values=1).astype(like.dtype), like.sharding)

    def everywhere(value, dtype):
        return jax.device_put(np.full(state.log_density.shape, value, dtype), state.log_density.sharding)

    with jax.enable_x64(True):
        metric = Diagonal({n: scale(n, like) for n, like in state.position.items()})
        step_size = everywhere(from_here.step_size, "float64")
        state = state._replace(step=everywhere(step, "uint32"))
    nothing = Schedule(*(np.zeros(SETTLE, bool) for _ in Schedule._fields))
    block = one.advance(SEED, one.start(SEED, Handover(state, metric, step_size)), nothing, 1)
    info = type(block.info)(*(np.asarray(x)[:, 0] for x in block.info))
    return whole(case, dtype, one.handover(block.state).state.position), info


# --- log density and gradient ---


@pytest.mark.parametrize(("case", "dtype"), over(CASES, lambda c, d: c in QUICK or (d == "float64" and c in EVERY_DAY)))
def test_log_density_and_gradient_agree_to_rounding(case, dtype):
    """Gradients relative to the largest element that a latent's has at any of the points, which are scattered: at the
    posterior's mode the gradient of a scalar is a sum of many terms that cancel."""
    tolerance = {"float32": 1e-6, "float64": 1e-12}[dtype]
    one, many = (stand(engine(c, dtype), scattered(case.example)) for c in (case.one, case))
    exact, value = (np.asarray(s.log_density) for s in (one, many))
    worst = {"log density": float(np.max(np.abs(value / exact - 1)))}
    exact, found = whole(case.one, dtype, one.gradient), whole(case, dtype, many.gradient)
    worst |= {n: float(np.max(np.abs(found[n] - x)) / np.max(np.abs(x))) for n, x in exact.items()}
    print(f"\n{case} {dtype}: " + ", ".join(f"{n} {w:.1e}" for n, w in worst.items()))
    assert max(worst.values()) < tolerance


def test_the_cases_split_unevenly_and_communicate():
    for case in MAPS + HOUSES:
        gradient = compiled(case, "float64").gradient_program(STATES)
        plan, program = gradient.plan, gradient.program
        assert plan.collectives(program)
        values = {i.value for i in program.inputs} | {v for n in program.nodes for v in n.results}
        uneven = {d for v in values for d, axes in plan.layouts[v.name].splits if v.type[d] % plan.mesh.size(axes) != 0}
        assert uneven - {CHAIN}


# --- noise ---


@cache
def momenta(case):
    """Noise of all chains in both dtypes, whole arrays by (dtype, name)."""
    gradient = compiled(case, "float64").gradient_program(STATES)
    plan, space, types = gradient.plan, space_of(gradient), {i.name: i.type for i in gradient.program.inputs}
    specs = {n: backend.spec(types[n], plan.layouts[n]) for n in (s.name for s in space.sites)}

    def noise():
        key = counter.derive(counter.seed_key(SEED), space.chain_ids(), 3)
        sites = {d: tuple(replace(s, dtype=d) for s in space.sites) for d in DTYPES}
        return {d: replace(space, sites=s).normal(key, MOMENTUM) for d, s in sites.items()}

    with jax.enable_x64(True):
        made = jax.jit(backend.spmd(noise, plan.mesh, gradient.devices, (), dict.fromkeys(DTYPES, specs)))()
    found = {}
    for dtype, vector in made.items():
        for n, x in vector.items():
            assert x.dtype == dtype
            assert np.count_nonzero(x) == types[n].size, "padding is zero"
            found[dtype, n] = backend.gather(x, types[n])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("case", [MAPS[0], MAPS[2], HOUSES[1]], ids=str)
def test_momenta_are_the_same_to_the_last_bit(case):
    for name, x in momenta(case.one).items():
        np.testing.assert_array_equal(momenta(case)[name], x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("case", "layouts"),
    [
        (MAPS[0], {"free:white": {"x": "row", "y": "col"}}),
        pytest.param(MAPS[2], {"free:white": {"y": ("row", "col")}}, marks=pytest.mark.slow),
        pytest.param(HOUSES[1], {"free:alpha_raw": {"county": ("row", "col")}}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_draws_from_the_prior_are_the_same_to_the_last_bit(case, layouts, dtype):
    posterior, one = compiled(case, dtype), compiled(case.one, dtype)
    program = posterior.program("prior")
    program = keep(program, [n for n, _ in program.outputs if n.startswith("free:")])
    split = posterior.executable(program, {n: Layout.of(s) for n, s in layouts.items()})
    drawn = [n for n in program.nodes if n.op.name == "random_normal" and f"free:{n.op.site}" in layouts]
    assert drawn and all(split.plan.strategies[n.key].splits for n in drawn), "in blocks"
    key = {"key": keys(SEED, START, 0)}
    exact, found = (e.run(key) for e in (one.executable(program), split))
    for name, x in exact.items():
        np.testing.assert_array_equal(found[name], x)


# --- transitions ---

# What a decision must be clear of: rounding of an energy difference. About 30 times a transition a uniform is held
# against a probability, so that by chance one transition in 10^7 (float64) or 200 (float32) comes closer.
MARGIN = {"float64": 1e-9, "float32": 1e-4}
TOLERANCE = {"float64": 1e-9, "float32": 1e-3}
"""In units of the posterior standard deviation."""


@pytest.mark.parametrize(("case", "dtype"), over(MAPS + HOUSES + OWN[:1] + OWN[2:3], lambda c, d: False))
def test_a_transition_from_each_stored_state_agrees_to_rounding(case, dtype):
    close, worst, leapfrogs, steps = 0, 0.0, 0, 3
    for step in range(steps):
        (exact, info), (found, other) = (transition(c, dtype, step) for c in (case.one, case))
        near = np.minimum(info.accept_margin, info.turn_margin) < MARGIN[dtype]
        close += int(near.sum())
        leapfrogs += int(info.leapfrogs.sum())
        assert not info.divergent.any()
        np.testing.assert_array_equal(other.leapfrogs[~near], info.leapfrogs[~near])
        for name, sd in stored(case.example).sd.items():
            error = np.abs(found[name] - exact[name])[~near] / sd
            worst = max(worst, float(error.max()))
        moved = np.mean([np.abs(exact[n] - stored(case.example).position[n]).max() > 0 for n in exact])
        assert moved == 1
    count = steps * STATES
    print(
        f"\n{case} {dtype}: {count} transitions of {leapfrogs / count:.0f} leapfrogs, {close} within rounding of "
        f"another decision, the others within {worst:.1e} sd"
    )
    assert close < 0.02 * count
    assert worst < TOLERANCE[dtype]


# --- chains ---


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_longer_chains_agree_in_distribution_and_repeat_bit_for_bit(dtype):
    """Six means and six mean squares within 4 combined standard errors: a false alarm in 1,300."""
    nuts = ppl.nuts(chains=4, draws=600, warmup=300)
    case = Case("linear", "row=4,col=2", "talk is cheap", ("y:obs=row+col", "chain:whole"))
    options = {"seed": SEED, "predictive": False, "progress": False}
    one = compiled(case.one, dtype).run(nuts, **options)
    many = compiled(case, dtype).run(nuts, **options)
    gradient = compiled(case, dtype).gradient_program(4)
    assert gradient.plan.collectives(gradient.program)
    for name in ("intercept", "slope", "sigma"):
        a, b = one[name].astype(float), many[name].astype(float)
        ess = [float(bulk_ess(x)) for x in (a, b)]
        z = [float(mean(f(a)).z(mean(f(b)))) for f in (np.asarray, np.square)]
        print(f"\n{dtype} {name}: ESS {ess[0]:.0f} and {ess[1]:.0f}; z of mean and mean square {z[0]:.2f}, {z[1]:.2f}")
        assert min(ess) >= 1000
        assert np.abs(z).max() < 4
    again = compiled(case, dtype).run(nuts, **options)
    for name in ("intercept", "slope", "sigma", "line"):
        np.testing.assert_array_equal(again[name], many[name])
