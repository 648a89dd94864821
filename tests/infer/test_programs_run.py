"""Programs of several stages, stages that move only some latents, and runs that go on from others.

The model is y = s white + noise of sd 0.5: with s held, white has a Gaussian posterior by element, of mean
s y / (s^2 + 1/4) and variance (1/4) / (s^2 + 1/4).
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ppl
from ir import counter
from ir.errors import Diagnostic
from ppl.infer.options import Common
from ppl.infer.protocol import MOMENTUM, Block, Handover
from ppl.infer.space import Space
from tests.infer.targets import largest_t

Y = np.linspace(-1.5, 2.0, 9)
QUICK = {"predictive": False, "progress": False}


@ppl.model
def scaled(y: ppl.Data["x"]):
    s = ppl.sample("s", ppl.HalfNormal(1.0))
    white = ppl.sample("white", ppl.Normal(0.0, 1.0), dims="x")
    ppl.observe("y", ppl.Normal(s * white, 0.5), y)


@pytest.fixture(scope="module")
def posterior():
    return ppl.compile(scaled, {"y": Y}, dtype="float64")


class Told(NamedTuple):
    log_density: jax.Array
    leapfrogs: jax.Array
    divergent: jax.Array


class Flags(NamedTuple):
    flags: np.ndarray

    def part(self, start: int, length: int) -> "Flags":
        return Flags(np.zeros(length, bool))


@dataclass(frozen=True)
class Noise:
    """A random walk that accepts everything: what it tells of a transition is the first number of its noise."""

    space: Space
    scale: float

    def start(self, seed, begin: Handover) -> Any:
        return begin.state

    def advance(self, seed, state, schedule, limit, collect) -> Block:
        length = len(schedule.flags)
        chains, site = self.space.chains, self.space.sites[0].name

        def one(state, k):
            key = counter.derive(counter.derive(seed, self.space.chain_ids()), state.step)
            noise = self.space.normal(key, MOMENTUM)
            position = {n: x + self.scale * noise[n] for n, x in state.position.items()}
            moved = state._replace(position=position, step=state.step + np.uint32(1))
            told = noise[site].reshape(chains, -1)[:, 0].astype(jnp.float64)
            live = k < limit
            return jax.tree.map(lambda a, b: jnp.where(live, a, b), moved, state), (told, collect(moved.position))

        state, (told, draws) = jax.lax.scan(one, state, jnp.arange(length))
        none = jnp.zeros((chains, length), jnp.int32)
        draws = {n: jnp.moveaxis(x, 0, 1) for n, x in draws.items()}
        return Block(state, draws, Told(told.T, none, none > 0), jnp.zeros(chains, bool))

    def handover(self, state) -> Handover:
        return Handover(state)


@dataclass(frozen=True, kw_only=True)
class NoiseOptions(Common):
    scale: float = 0.1
    name: ClassVar[str] = "noise"
    info: ClassVar[Any] = Told

    def method(self, space, target):
        return Noise(space, self.scale)

    def copies(self):
        return ppl.hmc().copies()  # so that all runs here share one gradient

    def schedule(self):
        return Flags(np.zeros(0, bool))


@pytest.fixture(scope="module")
def field_first(posterior):
    program = ppl.hmc(only=["white"], warmup=60, chains=3) >> NoiseOptions(warmup=70, draws=8)
    seen = []
    result = posterior.run(program, seed=4, watch=lambda *told: seen.append(told), **QUICK)
    return result, seen


def test_no_noise_is_used_twice_in_stages_of_any_length_and_in_runs_that_go_on(posterior):
    told = []

    def watch(stage, done, info):
        told.append((stage.options.warmup, done, np.asarray(info.log_density)))

    stages = NoiseOptions(warmup=3, chains=3) >> NoiseOptions(warmup=2, draws=9, block=4, thin=3)
    first = posterior.run(stages, seed=8, watch=watch, **QUICK)
    posterior.run(NoiseOptions(warmup=0, draws=4, chains=3), seed=8, init=first, watch=watch, **QUICK)
    assert [(w, d) for w, d, _ in told] == [(3, 3), (2, 2), (2, 5), (2, 8), (2, 11), (0, 4)]
    numbers = np.concatenate([x for _, _, x in told], axis=1)
    assert numbers.shape == (3, 3 + 11 + 4)
    assert len(np.unique(numbers)) == numbers.size
    assert first["white"].shape == (3, 3, 9)


def test_stages_count_on_and_only_the_last_ones_draws_are_kept(field_first):
    result, seen = field_first
    assert result["white"].shape == (3, 8, 9)
    assert result.handover.state.step.tolist() == [60 + 70 + 8] * 3
    ends = {(stage.before, stage.last): (stage.phase(done), done, stage.total) for stage, done, _ in seen}
    assert ends == {(0, False): ("warm-up", 60, 60), (60, True): ("sampling", 78, 78)}
    assert (
        result.draws.attrs["sampler"] == "hmc(warmup = 60, only = [white]) >> noise(chains = 3, draws = 8, warmup = 70)"
    )
    assert not result.notes


def test_the_next_stage_gets_density_and_gradient_of_all_latents(posterior, field_first):
    state = field_first[0].handover.state
    assert set(state.gradient) == {"s", "white"}
    setup = posterior.__dict__["_setups"]
    (first,) = [s.engines[0] for s in setup.values() if s.engines[0].options.only and len(s.engines) == 2]
    begin = first.stand({n: x.copy() for n, x in state.position.items()})
    before = {n: np.asarray(x) for n, x in begin.position.items()}
    engine_state = first.start(4, Handover(begin))
    block = first.advance(4, engine_state, first.options.schedule().part(0, first.length), 3)
    left = first.handover(block.state)
    np.testing.assert_array_equal(left.state.position["s"], before["s"])
    assert (np.asarray(left.state.position["white"]) != before["white"]).any(axis=1).all()
    assert left.step_size is None
    for chain in range(3):
        position = {n: np.asarray(x)[chain] for n, x in left.state.position.items()}
        value, gradient = posterior.value_and_gradient(position)
        assert float(left.state.log_density[chain]) == pytest.approx(value, rel=1e-12)
        for n in gradient:
            np.testing.assert_allclose(left.state.gradient[n][chain], gradient[n], rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_held_latents_stay_and_the_others_have_the_posterior_given_them(posterior):
    held = 0.7
    program = ppl.hmc(only=["white"], warmup=100, draws=300, chains=16, steps=4)
    result = posterior.run(program, init={"s": held}, seed=2, **QUICK)
    np.testing.assert_allclose(result["s"], held, rtol=1e-12)
    assert np.ptp(result["s"]) == 0
    mean, variance = held * Y / (held**2 + 0.25), 0.25 / (held**2 + 0.25)
    white = result["white"]
    assert largest_t(white, mean) < 8 and largest_t((white - mean) ** 2, variance) < 8
    assert result.notes == ["s stayed in place: the last stage moves only white"]


@pytest.mark.slow
def test_a_held_run_draws_the_same_on_a_mesh(posterior):
    if len(jax.devices()) < 4:
        pytest.skip("needs four (virtual) devices")
    plan = ppl.plan(scaled, {"y": Y}, mesh="row=4", pins=("white:x=row",), dtype="float64")
    split = ppl.compile(scaled, {"y": Y}, plan=plan, dtype="float64")
    # Without adaptation: few latents on one device may learn another kind of metric than split ones.
    program = ppl.hmc(only=["white"], warmup=0, draws=6, chains=2, steps=2, step_size=0.3)
    runs = [p.run(program, seed=6, **QUICK) for p in (posterior, split)]
    states = [run.handover.state for run in runs]
    (engine,) = {e for s in split.__dict__["_setups"].values() for e in s.engines[:1]}
    assert [s.name for s in engine.space.sites] == ["white"] and engine.space.reduce_axes == ("row",)
    for name in ("s", "white"):
        np.testing.assert_allclose(runs[0][name], runs[1][name], rtol=1e-9, atol=1e-11)
        whole, padded = (np.asarray(state.gradient[name]) for state in states)
        np.testing.assert_allclose(padded[:, : whole.shape[-1]] if whole.ndim > 1 else padded, whole, rtol=1e-8)
    assert len(np.unique(runs[0]["white"])) > 2 * 9 * 3 and np.ptp(runs[0]["s"], axis=1).max() == 0


def test_a_latent_that_is_not_there_cannot_move(posterior):
    with pytest.raises(Diagnostic, match="no latent 'whit'") as caught:
        posterior.run(ppl.nuts(only=["whit"]))
    assert "did you mean 'white'?" in caught.value.hint and "s, white" in caught.value.hint


def test_a_run_goes_on_from_where_another_one_ended(posterior, field_first):
    result, _ = field_first
    stay = NoiseOptions(warmup=0, draws=2, scale=0.0, chains=3)
    for _ in range(2):  # the result is not used up
        still = posterior.run(stay, init=result, seed=4, **QUICK)
        for name in ("s", "white"):
            np.testing.assert_array_equal(still[name], result[name][:, [-1, -1]])
        assert still.handover.state.step.tolist() == [60 + 70 + 8 + 2] * 3
    with pytest.raises(Diagnostic, match="the earlier run has"):
        posterior.run(NoiseOptions(warmup=0, draws=2, chains=2), init=result, **QUICK)


@pytest.mark.slow
def test_two_runs_are_one(posterior):
    """What is learnt is handed over whole: a run that goes on draws what one longer run draws."""
    whole = posterior.run(ppl.hmc(warmup=40, draws=12, chains=2), seed=3, **QUICK)
    first = posterior.run(ppl.hmc(warmup=40, draws=6, chains=2), seed=3, **QUICK)
    then = posterior.run(ppl.hmc(warmup=0, draws=6, chains=2), seed=3, init=first, **QUICK)
    np.testing.assert_allclose(then["white"], whole["white"][:, 6:], rtol=1e-10)
