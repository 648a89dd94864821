"""What is kept of a field that is too large: streamed moments, tracers with whole chains, equipartition.

The field is 33 x 37 and called too large; on the mesh its blocks of 9 x 19 are padded in both dims.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ppl
from ppl.infer import keep, streaming, tracers_of
from ppl.infer import run as running
from ppl.infer.engine import Engine
from ppl.infer.options import Common
from ppl.infer.protocol import Block, Handover
from ppl.infer.space import Site
from ppl.infer.virial import Virial
from ppl.infer.waves import choose_bands, project
from ppl.report import find_warnings, summarize
from ppl.report.summary import FieldRow
from tests.infer.test_programs_run import Flags

SHAPE, CHAINS, DRAWS = (33, 37), 2, 10
T = np.array([0.3, -0.2, 0.5])


@ppl.model
def total(t: ppl.Data["k"], near: ppl.Data["x", "y"]):
    s = ppl.sample("s", ppl.HalfNormal(1.0))
    white = ppl.sample("white", ppl.Normal(0.0, 1.0), dims=("x", "y"))
    light = ppl.exp(0.1 * white) + near
    ppl.deterministic("shifted", 3000.0 + light)
    ppl.observe("t", ppl.Normal(s * ppl.mean(light, over=("x", "y")), 0.5), t)


class Told(NamedTuple):
    log_density: jax.Array
    leapfrogs: jax.Array
    divergent: jax.Array


@dataclass(frozen=True)
class Fold:
    """x -> -0.7 x + 0.6 cos(2 x): spreads as a sampler does, and takes no time to compile."""

    chains: int

    def start(self, seed, begin: Handover) -> Any:
        return begin.state

    def handover(self, state) -> Handover:
        return Handover(state)

    def advance(self, seed, state, schedule, limit, collect) -> Block:
        length = len(schedule.flags)

        def one(x, k):
            moved = {n: jnp.where(k < limit, -0.7 * v + 0.6 * jnp.cos(2 * v), v).astype(v.dtype) for n, v in x.items()}
            return moved, collect(moved)

        position, draws = jax.lax.scan(one, state.position, jnp.arange(length))
        none = jnp.zeros((self.chains, length), jnp.int32)
        told = Told(none.astype(jnp.float64), none, none > 0)
        draws = {n: jnp.moveaxis(x, 0, 1) for n, x in draws.items()}
        return Block(state._replace(position=position), draws, told, none[:, 0] > 0)


@dataclass(frozen=True, kw_only=True)
class Folding(Common):
    name: ClassVar[str] = "fold"
    info: ClassVar[Any] = Told

    def method(self, space, target):
        return Fold(space.chains)

    def copies(self):
        return 1

    def schedule(self):
        return Flags(np.zeros(0, bool))


PROGRAM = Folding(chains=CHAINS, draws=DRAWS, warmup=0, block=4)


class Ran:
    """A run whose white and shifted are too large, with the rows that its devices held and what the host was sent."""

    def __init__(self, mesh, out=None, predictive=False):
        plan = None
        data = {"t": T, "near": np.zeros(SHAPE)}
        if mesh != "1":
            plan = ppl.plan(total, data, mesh=mesh, pins=("white:x=row,y=col",), dtype="float32")
        self.posterior = ppl.compile(total, data, plan=plan, dtype="float32")
        self.rows, self.sent, self.on = {"white": [], "shifted": []}, [], False
        choose, add, end, asarray = keep.choose, streaming.Reduction.add, streaming.Running.finish, np.asarray

        def spy(reduction, moments, draws, before, rows):
            self.on = False
            for name, found in self.rows.items():
                found.append(np.array(draws[name], np.float64)[:CHAINS, :rows, : SHAPE[0], : SHAPE[1]])
            self.on = True
            return add(reduction, moments, draws, before, rows)

        def sent(x, *args, **kwargs):
            if self.on and isinstance(x, jax.Array):
                self.sent.append(x.size)
            return asarray(x, *args, **kwargs)

        def finish(streamed):
            self.on = False
            return end(streamed)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(running, "choose", lambda p, names, draws: choose(p, names, draws, 1000))
            patch.setattr(streaming.Reduction, "add", spy)
            patch.setattr(streaming.Running, "finish", finish)
            patch.setattr(running, "prior_draws", lambda *_: {})
            patch.setattr(np, "asarray", sent)
            self.result = self.posterior.run(
                PROGRAM, seed=5, progress=False, out=out, init="uniform", predictive=predictive
            )
        self.draws = self.result.draws
        self.whole = {n: np.concatenate(x, axis=1) for n, x in self.rows.items()}

    @property
    def engine(self) -> Engine:
        (setup,) = self.posterior.__dict__["_setups"].values()
        return setup.engines[-1]


@pytest.fixture(scope="module", autouse=True)
def few():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracers_of, "PIXELS", 20)
        patch.setattr(tracers_of, "PROJECTIONS", 5)
        patch.setattr(tracers_of, "PIECE", 100)  # of 1221 elements, 171 on each of eight devices, 105
        yield


@pytest.fixture(scope="module")
def one(tmp_path_factory, few):
    return Ran("1", tmp_path_factory.mktemp("run") / "out")


@pytest.fixture(scope="module")
def split(few):
    if len(jax.devices()) < 8:
        pytest.skip("needs eight (virtual) devices")
    return Ran("row=4,col=2")


@pytest.mark.parametrize("name", ["one", "split"])
def test_moments_are_those_of_all_draws(name, request):
    ran = request.getfixturevalue(name)
    assert set(ran.draws["posterior_mean"]) == {"white", "shifted"} and "white" not in ran.draws["posterior"]
    for quantity, draws in ran.whole.items():
        assert draws.shape == (CHAINS, DRAWS, *SHAPE)
        mean, sd = (ran.draws[g][quantity].values for g in ("posterior_mean", "posterior_sd"))
        np.testing.assert_allclose(mean, draws.mean((0, 1)), rtol=1e-13, atol=1e-13)
        # Squares about the mean are summed in float32: rounding of 20 terms. The mean of 3000 does not spoil them.
        np.testing.assert_allclose(sd, draws.reshape(-1, *SHAPE).std(0, ddof=1), rtol=20 * 2.0**-24)


@pytest.mark.parametrize("name", ["one", "split"])
def test_no_field_reaches_the_host_while_draws_are_made(name, request):
    ran = request.getfixturevalue(name)
    # Three blocks: what is sent most is four rows of the pixels of both chains.
    assert len(ran.sent) > 10 and max(ran.sent) <= CHAINS * 4 * 20 < math.prod(SHAPE)


def test_tracers_are_those_of_the_field_on_any_mesh(one, split):
    for ran in (one, split):
        posterior, white = ran.draws["posterior"], ran.whole["white"]
        flat = white.reshape(CHAINS, DRAWS, -1)
        places = ran.draws.coords["white~place"]
        assert len(places) > 15 and (np.diff(places) > 0).all()
        np.testing.assert_array_equal(posterior["white~pixel"].values, flat[..., places])
        np.testing.assert_allclose(posterior["white~square"].values, (flat**2).mean(-1), rtol=1e-12)
        np.testing.assert_allclose(
            ran.draws["posterior"]["shifted~square"].values, (ran.whole["shifted"] ** 2).mean((-2, -1)), rtol=1e-12
        )
        waves = np.fft.fft2(white, norm="ortho")
        bands = choose_bands("white", SHAPE)
        for k, band in enumerate(bands):
            expected = (np.abs(waves[..., band.modes[:, 0], band.modes[:, 1]]) ** 2).mean(-1)
            np.testing.assert_allclose(posterior["white~power"].values[..., k], expected, rtol=1e-10)
            assert band.low < ran.draws.coords["white~frequency"][k] < band.high
    for name in ("white~pixel", "white~projection", "white~square", "shifted~projection"):
        a, b = (ran.draws["posterior"][name].values for ran in (one, split))
        # The map in float32 enlarges what other instructions round otherwise, by up to 1.9 a draw.
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1.9**DRAWS * 6e-8 if "shifted" not in name else 0.03)


def test_projections_are_sums_with_independent_signs(one):
    """Projections of fields of a single element are its signs."""
    site = Site("white", (3, 5, 7))
    unit = np.eye(105, dtype=np.float32).reshape(105, 3, 5, 7)
    with jax.enable_x64(True):
        signs = np.asarray(jax.jit(lambda x: tracers_of.trace(site, x)["white~projection"])(unit)) * math.sqrt(105)
    np.testing.assert_allclose(np.abs(signs), 1, rtol=1e-12)
    overlap = signs.T @ signs / 105 - np.eye(5)
    assert np.abs(overlap).max() < 5 / math.sqrt(105) and np.abs(signs.mean(0)).max() < 5 / math.sqrt(105)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["1", "row=4,col=2"])
def test_predictions_take_draws_from_the_devices(mesh):
    if len(jax.devices()) < 8:
        pytest.skip("needs eight (virtual) devices")
    ran = Ran(mesh, predictive=True)
    s = ran.draws["posterior"]["s"].values
    centre = s * np.exp(0.1 * ran.whole["white"]).mean((2, 3))
    expected = -0.5 * ((T - centre[..., None]) / 0.5) ** 2 - math.log(0.5 * math.sqrt(2 * math.pi))
    found = ran.draws["log_likelihood"]["t"].values
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    made = ran.draws["posterior_predictive"]["t"].values
    assert made.shape == (CHAINS, DRAWS, 3) and np.abs((made - centre[..., None]) / 0.5).max() < 5
    assert np.unique(made).size == made.size and max(ran.sent) < math.prod(SHAPE)


def test_tracers_are_summarised_and_diagnosed(one):
    summary = summarize(one.draws)
    row = summary["white~pixel"]
    assert isinstance(row, FieldRow) and row.checked == row.elements == len(one.draws.coords["white~place"])
    assert isinstance(summary["white~power"], FieldRow) and summary["white~power"].elements > 3
    assert isinstance(summary["white~projection"], FieldRow) and np.isfinite(summary["white~square"].rhat)
    # The chains hardly mix in ten draws: tracers tell, although no draw of the field is kept.
    assert any("white~" in place for f in find_warnings(one.draws, summary) for place in f.where)


def test_a_run_tells_equipartition_of_large_sites_only(one, split):
    a, b = (ran.draws.attrs["virial"] for ran in (one, split))
    assert set(a) == set(b) == {"white"} and a["white"]["values"] == b["white"]["values"] == CHAINS * 3
    assert a["white"]["error"] > 0  # of six batches
    np.testing.assert_allclose(a["white"]["mean"], b["white"]["mean"], rtol=1e-5)
    assert len(a["white"]["bands"]) > 3
    for one_band, split_band in zip(a["white"]["bands"], b["white"]["bands"], strict=True):
        assert one_band["low"] == split_band["low"] < one_band["high"] == split_band["high"]
        np.testing.assert_allclose(one_band["mean"], split_band["mean"], rtol=1e-4)


def test_moments_of_no_draws_are_not_numbers(one):
    (setup,) = one.posterior.__dict__["_setups"].values()
    assert all(np.isnan(x).all() for x in streaming.Running(setup.reduction, CHAINS).finish()["white"])


@pytest.mark.parametrize("name", ["one", "split"])
@pytest.mark.parametrize("spread", [1.0, 0.8])
def test_equipartition_gives_the_square_of_the_spread(name, spread, request):
    engine, rng = request.getfixturevalue(name).engine, np.random.default_rng(4)
    count = 12

    def state():
        white = np.zeros(engine.stored_types()["white"][0], np.float32)
        white[:, : SHAPE[0], : SHAPE[1]] = spread * rng.normal(size=(CHAINS, *SHAPE))
        position = {
            n: jax.device_put(white if n == "white" else np.zeros(CHAINS, np.float32), like.sharding)
            for n, like in begin.state.position.items()
        }
        return engine.start(0, Handover(engine.stand(position)))

    begin = request.getfixturevalue(name).result.handover
    virial = Virial(engine, state(), count)
    for _ in range(count):
        virial.add(state())
    told = virial.attrs()["virial"]["white"]
    # The variance of a value is at most about 3/d: 24 of them.
    assert told["values"] == CHAINS * count and 0.2 < told["error"] / math.sqrt(3 / (24 * math.prod(SHAPE))) < 2
    assert abs(told["mean"] - spread**2) < 5 * math.sqrt(3 / (24 * math.prod(SHAPE)))


@pytest.mark.parametrize("name", ["one", "split"])
def test_equipartition_of_bands_tells_the_scales_that_are_not_spread(name, request):
    """White noise whose waves below 0.1 cycles per element are scaled by 0.6: there the square of it is told."""
    engine, rng = request.getfixturevalue(name).engine, np.random.default_rng(8)
    count = 60
    frequency = np.hypot(np.fft.fftfreq(SHAPE[0])[:, None], np.fft.fftfreq(SHAPE[1]))
    begin = request.getfixturevalue(name).result.handover

    def state(spread):
        noise = np.fft.fft2(spread * rng.normal(size=(CHAINS, *SHAPE))) * np.where(frequency < 0.1, 0.6, 1.0)
        white = np.zeros(engine.stored_types()["white"][0], np.float32)
        white[:, : SHAPE[0], : SHAPE[1]] = np.fft.ifft2(noise).real
        position = {
            n: jax.device_put(white if n == "white" else np.zeros(CHAINS, np.float32), like.sharding)
            for n, like in begin.state.position.items()
        }
        return engine.start(0, Handover(engine.stand(position)))

    virial = Virial(engine, state(0.0), count)
    for _ in range(count):
        virial.add(state(1.0))
    bands = virial.attrs()["virial"]["white"]["bands"]
    below = [b for b in bands if b["high"] < 0.1]
    above = [b for b in bands if b["low"] > 0.1]
    assert len(below) > 1 and len(above) > 1
    for group, expected in ((below, 0.36), (above, 1.0)):
        for band in group:
            # A mean of at least 120 x 2 waves, each |z|^2 of a complex normal (sd 1): 5 sigma.
            assert abs(band["mean"] - expected) < 5 * expected / math.sqrt(240), band
            assert 0 < band["error"] < 0.1


def test_waves_are_those_of_a_transform_and_each_is_there_once():
    for shape in ((33, 37), (9, 10, 11), (1201,)):
        bands = choose_bands("white", shape)
        modes = np.concatenate([b.modes for b in bands])
        both = np.concatenate([modes, -modes])
        assert len(np.unique(both, axis=0)) == 2 * len(modes) and (np.abs(modes).sum(axis=1) > 0).all()
        x = np.random.default_rng(1).normal(size=(2, *shape))
        with jax.enable_x64(True):
            found = np.asarray(jax.jit(lambda x, s=shape, m=modes: project(Site("white", s), x, m))(x))
        transform = np.fft.fftn(x, axes=range(1, x.ndim), norm="ortho")
        expected = np.stack([transform[(slice(None), *m)] for m in modes])
        np.testing.assert_allclose(found[:, 0] + 1j * found[:, 1], expected, atol=1e-12)
