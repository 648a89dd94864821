"""The unadjusted microcanonical sampler: its step, its adaptation, its bias, on one device and on eight."""

import importlib.util
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from scipy.signal import lfilter

from ir import counter
from ir.errors import Diagnostic
from ppl.infer.isokinetic import Products, kick, refreshment, squared_bias, turn
from ppl.infer.mclmc_adapt import LENGTHS
from ppl.infer.metric import Diagonal
from ppl.infer.program import mclmc
from ppl.infer.protocol import Handover, State
from ppl.infer.space import Site, Space
from ppl.infer.tracers import Tracers, autocorrelation_time
from tests.infer import drive
from tests.infer.targets import gaussian, mild_funnel

KEY = counter.seed_key(11)


def sample(options, space, target, start, metric=None, step_size=None):
    """All blocks of a run: draws [C, kept, ...], info [C, warm-up and draws], the last state."""
    with jax.enable_x64(True):
        method = options.method(space, target)
        start = {n: jnp.asarray(x) for n, x in start.items()}
        log_density, gradient = target(start)
        state = State(start, gradient, log_density, jnp.zeros(space.chains, jnp.uint32))
        walk, schedule = method.start(KEY, Handover(state, metric, step_size)), options.schedule()
        advance = drive.jit(lambda w, flags, limit: method.advance(KEY, w, flags, limit, lambda x: x))
        draws, infos, done = [], [], 0
        for end in (options.warmup, options.warmup + options.draws):
            while done < end:
                limit = min(options.block, end - done)
                block = advance(walk, schedule.part(done, options.block), limit)
                walk = block.state
                infos.append(jax.tree.map(lambda x, n=limit: np.asarray(x)[:, :n], block.info))
                if done >= options.warmup:
                    draws.append(jax.tree.map(lambda x, n=limit: np.asarray(x)[:, : n // options.thin], block.draws))
                done += limit
    info = type(infos[0])(*(np.concatenate(x, axis=1) for x in zip(*infos, strict=True)))
    return {n: np.concatenate([d[n] for d in draws], axis=1) for n in draws[0]}, info, walk


def test_a_kick_is_the_exact_flow_of_the_direction():
    """The closed form against 20,000 Euler steps of u' = (1 - u u^T) g / (d - 1) and K' = (u, g)."""
    rng = np.random.default_rng(3)
    d, h = 5, 1.7
    g, u = rng.normal(size=d) * 3, rng.normal(size=d)
    u /= np.linalg.norm(u)
    with jax.enable_x64(True):
        k = kick(jnp.asarray(g @ g), jnp.asarray(u @ g), jnp.asarray(h), d)
        moved = float(k.along) * u + float(k.gradient) * g
    assert np.linalg.norm(moved) == pytest.approx(1, abs=1e-14)
    kinetic, n = 0.0, 20_000
    for _ in range(n):
        middle = u + 0.5 * h / n * (g - u * (u @ g)) / (d - 1)
        kinetic += h / n * (middle @ g) / np.linalg.norm(middle)
        u = u + h / n * (g - middle * (middle @ g)) / (d - 1)
        u /= np.linalg.norm(u)
    np.testing.assert_allclose(moved, u, atol=1e-7)
    assert float(k.kinetic) == pytest.approx(kinetic, rel=1e-6)


@pytest.mark.parametrize("size", [1e-150, 1e3, 1e9])
@pytest.mark.parametrize("cosine", [-1.0, 0.0, 1.0])
def test_kicks_of_any_gradient_are_finite(size, cosine):
    with jax.enable_x64(True):
        k = kick(jnp.asarray(size**2), jnp.asarray(size * cosine), jnp.asarray(0.7), 3.0)
        assert all(np.isfinite(float(x)) for x in k)


def test_the_merged_turn_is_its_parts_one_after_another():
    rng = np.random.default_rng(0)
    d, h1, h2, nu = 7, 0.4, 0.9, 0.3
    u, g, n = (rng.normal(size=d) for _ in range(3))
    with jax.enable_x64(True):
        unit = u / np.linalg.norm(u)
        first = kick(jnp.asarray(g @ g), jnp.asarray(unit @ g), jnp.asarray(h1), d)
        products = Products(*(jnp.asarray(x) for x in (g @ g, u @ g, u @ u, g @ n, u @ n, n @ n)))
        made = turn(products, first, jnp.asarray(nu), jnp.asarray(h2), d)
        a = float(first.along) * unit + float(first.gradient) * g
        b = (a + nu * n) / np.linalg.norm(a + nu * n)
        second = kick(jnp.asarray(g @ g), jnp.asarray(b @ g), jnp.asarray(h2), d)
        np.testing.assert_allclose(
            float(made.along) * u + float(made.gradient) * g + float(made.noise) * n,
            float(second.along) * b + float(second.gradient) * g,
            atol=1e-14,
        )
        assert float(made.opening) == pytest.approx(float(second.kinetic), abs=1e-13)
        # After a path L the direction's mean has fallen to 1/e.
        kept = (1 + d * refreshment(jnp.asarray(0.01), jnp.asarray(1.0), d) ** 2) ** -0.5
        assert float(kept) ** 100 == pytest.approx(np.exp(-1), rel=1e-12)


def test_the_bias_that_is_stated_inverts_the_published_relation():
    for q in (1e-3, 0.05, 0.5, 3.0):
        assert squared_bias(4 * q**3 / (1 + q) ** 2) == pytest.approx(q**2, rel=1e-9)
    assert squared_bias(0.0) == 0 and np.isnan(squared_bias(float("nan")))


@pytest.mark.slow
@pytest.mark.parametrize(("integrator", "dims", "condition"), [("verlet", 60, 1e4), ("minimal_norm", 60, 1.0)])
def test_gaussians_have_the_moments_that_the_energy_errors_allow(integrator, dims, condition):
    """Means and variances of 4 chains; the bias of variances stays within what is stated from the energy errors."""
    scales = {"x": np.logspace(0, 0.5 * np.log10(condition), dims)}
    space, options = Space.single({"x": (dims,)}, 4), mclmc(integrator=integrator, warmup=1500, draws=6000, thin=4)
    start = np.random.default_rng(0).normal(size=(4, dims)) * 3
    draws, info, walk = sample(options, space, gaussian(scales), {"x": start})
    z = draws["x"] / scales["x"]
    realised = (info.energy_error[:, 1500:] ** 2).mean() / dims
    assert 0.5 < realised / options.energy_variance < 2
    # 24,000 steps give about 5,000 independent draws: six deviations of a mean are 0.085, of a variance 0.12.
    assert np.abs(z.mean(axis=(0, 1))).max() < 0.1
    bias = z.var(axis=(0, 1)) - 1
    assert np.abs(bias).max() < 0.2
    assert (bias**2 / 2).mean() < squared_bias(realised) + 2e-4
    assert not info.divergent[:, 1500:].any()
    np.testing.assert_allclose(np.asarray(walk.adapt.metric.scale["x"]) / scales["x"], 1, atol=0.5)
    assert (np.asarray(walk.adapt.length) >= LENGTHS[0]).all() and (np.asarray(walk.adapt.length) <= LENGTHS[1]).all()


def test_an_energy_error_out_of_bounds_is_undone_counted_and_survived():
    """A wall of NaN: no draw lies behind it, and chains that met it go on."""

    def target(x):
        inside = x["x"][:, 0] < 1.0
        log_density = jnp.where(inside, -0.5 * jnp.sum(x["x"] ** 2, axis=1), jnp.nan)
        return log_density, {"x": jnp.where(inside[:, None], -x["x"], jnp.nan)}

    space, options = Space.single({"x": (6,)}, 3), mclmc(warmup=400, draws=2000, thin=1, block=400)
    draws, info, _ = sample(options, space, target, {"x": np.zeros((3, 6))})
    assert (draws["x"][..., 0] < 1).all() and np.isfinite(draws["x"]).all()
    hit = info.divergent[:, 400:]
    assert 0.005 < hit.mean() < 0.3
    assert (draws["x"].std(axis=1) > 0.3).all()
    still = (np.diff(draws["x"], axis=1) == 0).all(axis=2)
    np.testing.assert_allclose(info.log_density[:, 400:], -0.5 * (draws["x"] ** 2).sum(axis=2), rtol=1e-12)
    assert still.sum() >= hit.sum() / 2  # after a rejection a chain rests and evaluates its gradient anew


@pytest.mark.slow
def test_the_length_of_a_block_changes_no_draw():
    space, start = Space.single({"v": (), "w": (3,)}, 2), {"v": np.zeros(2), "w": np.ones((2, 3))}
    found = [
        sample(mclmc(warmup=60, draws=60, thin=2, block=b), space, mild_funnel, start) for b in (60, 20, 120, 7 * 2)
    ]
    for draws, info, _ in found[1:]:
        np.testing.assert_allclose(draws["w"], found[0][0]["w"], rtol=1e-8)
        np.testing.assert_allclose(info.energy_variance, found[0][1].energy_variance, rtol=1e-8, atol=1e-13)


def test_what_cannot_run_is_refused():
    space = Space.single({"x": ()}, 1)
    with pytest.raises(Diagnostic, match="two latent dims"):
        sample(mclmc(), space, gaussian({"x": np.ones(())}), {"x": np.zeros(1)})
    with pytest.raises(Diagnostic, match="needs a step size"):
        sample(mclmc(warmup=0), Space.single({"x": (3,)}, 1), gaussian({"x": np.ones(3)}), {"x": np.zeros((1, 3))})
    with pytest.raises(Diagnostic, match="no integrator"):
        mclmc(integrator="euler")


@pytest.mark.slow
def test_the_stated_copies_are_what_xla_allocates():
    """Peak of a donated block on one device in units of the latent; the target holds none of its own. Four copies
    stand: position, direction, gradient, scale; the noise passes."""
    if importlib.util.find_spec("ir.together") is None:
        pytest.skip("needs inner products in one pass")
    size = 1 << 16
    two = mclmc(warmup=0, step_size=0.2, integrator="minimal_norm")
    for options in (mclmc(warmup=0, step_size=0.2, thin=1), mclmc(warmup=200), two):
        with jax.enable_x64(True):
            space = Space.single({"x": (size,)}, 1, "float32")
            method = options.method(space, gaussian({"x": np.ones(size)}))
            state = jax.eval_shape(lambda s=space: State(s.zeros(), s.zeros(), jnp.zeros(1), jnp.zeros(1, jnp.uint32)))
            walk = jax.eval_shape(lambda s, m=method: m.start(KEY, Handover(s)), state)
            flags = options.schedule().part(0, options.block)
            run = jax.jit(lambda w, m=method, f=flags: m.advance(KEY, w, f, 10, lambda x: {}), donate_argnums=0)
            memory = run.lower(walk).compile().memory_analysis()
        peak = (memory.temp_size_in_bytes + memory.argument_size_in_bytes) / (4 * size)
        series = walk.adapt.series.size * 8 * 2 / (4 * size)
        assert peak < options.copies() + 2 + series + 0.7, (options, peak)
    assert mclmc(warmup=0, step_size=0.2).copies() + 2 == 4


# A field x[37] ~ Normal(s, 0.5) along a line, with a replicated s ~ Normal(0, 1) and t ~ Normal(0, 1) that nothing
# depends on; 37 over 8 leaves blocks of 5, the last of 2.
N = 37


def line(blocks, axes):
    split = Site("x", (N,), (-(-N // blocks),), (axes,), "float64")
    return Space((split, Site("s", (), dtype="float64")), 3, axes)


def line_target(space):
    def target(position):
        x, s = position["x"], position["s"]
        mask = space.sites[0].real()
        r = (x - s[:, None]) / 0.5
        r = r if mask is None else jnp.where(mask, r, 0.0)
        square, total = jnp.sum(r * r, axis=1), jnp.sum(r, axis=1)
        if space.reduce_axes:
            square, total = jax.lax.psum((square, total), space.reduce_axes)
        return -0.5 * (square + s * s), {"x": -r / 0.5, "s": total / 0.5 - s}

    return target


def blocks_of(options, space):
    """A block of transitions from a state, for `shard_map`."""
    method, flags = options.method(space, line_target(space)), options.schedule().part(0, options.block)

    def body(x, s):
        position = {"x": x, "s": s}
        log_density, gradient = method.target(position)
        state = State(position, gradient, log_density, jnp.zeros(3, jnp.uint32))
        block = method.advance(KEY, method.start(KEY, Handover(state)), flags, options.block, lambda x: x)
        return block.draws, block.info, block.state.adapt.series

    return body


@pytest.mark.parametrize(
    "devices", [2, pytest.param(4, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.slow)]
)
def test_draws_on_many_devices_are_those_on_one(devices):
    """Warm-up with tracers included; then the all-reduces of a step are counted."""
    if len(jax.devices()) < devices:
        pytest.skip(f"needs {devices} (virtual) devices")
    grid = Mesh(np.array(jax.devices()[:devices]), ("row",))
    options = mclmc(warmup=60, draws=20, thin=1, block=80)
    rng = np.random.default_rng(1)
    x, s, pad = rng.normal(size=(3, N)), rng.normal(size=3), -(-N // devices) * devices - N
    with jax.enable_x64(True):
        info_spec = options.info(*(P() for _ in options.info._fields))
        out = ({"x": P(None, None, "row"), "s": P()}, info_spec, P())
        split = drive.hasty(
            jax.shard_map(
                blocks_of(options, line(devices, ("row",))),
                mesh=grid,
                in_specs=(P(None, "row"), P()),
                out_specs=out,
                check_vma=False,
            )
        )
        padded = np.pad(x, [(0, 0), (0, pad)])
        draws, info, series = split(padded, s)
        draws1, info1, series1 = drive.hasty(blocks_of(options, line(1, ())))(x, s)
        np.testing.assert_allclose(draws["x"][:, :20, :N], draws1["x"][:, :20], rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(draws["x"][..., :N], draws1["x"], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(series, series1, rtol=1e-6, atol=1e-7)
        assert (np.asarray(draws["x"])[..., N:] == 0).all()
        assert (info.divergent == info1.divergent).all()
        if devices == 8:
            text = split.lower(padded, s).as_text()
            assert not re.search(r"all_gather|all_to_all|collective_permute|reduce_scatter", text)
            # The step's products, the tracers in a loop of their own, the target's sums (twice, at the start too).
            sizes = re.findall(r"all_reduce.*?-> tensor<([0-9x]*)x?f64>", text, re.S)
            assert sorted(sizes) == sorted(["3x3x", f"3x{Tracers(line(1, ())).size}x", "3x", "3x", "3x", "3x"])


def test_without_a_warm_up_a_step_has_one_all_reduce():
    if len(jax.devices()) < 8:
        pytest.skip("needs eight (virtual) devices")
    grid = Mesh(np.array(jax.devices()[:8]), ("row",))
    options = mclmc(warmup=0, draws=20, thin=2, step_size=0.3)
    with jax.enable_x64(True):
        space = Space((Site("x", (64,), (8,), (("row",),), "float64"),), 1, ("row",))
        method = options.method(space, lambda x: (jnp.zeros(1), {"x": -x["x"]}))  # a target without collectives
        flags = options.schedule().part(0, 20)

        def body(x):
            state = State({"x": x}, {"x": -x}, jnp.zeros(1), jnp.zeros(1, jnp.uint32))
            walk = method.start(KEY, Handover(state, Diagonal({"x": jnp.ones_like(x)})))
            return method.advance(KEY, walk, flags, 20, lambda x: {}).info.energy_error

        f = jax.jit(jax.shard_map(body, mesh=grid, in_specs=P(None, "row"), out_specs=P(), check_vma=False))
        text = f.lower(np.zeros((1, 64))).compile(drive.QUICK).as_text()
    collectives = re.findall(r"= \S+ (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)\(", text)
    assert collectives == ["all-reduce"]


def test_tracers_are_named_numbers_of_a_position():
    space = Space.single({"field": (40, 30), "scale": (), "row": (5,)}, 2)
    tracers = Tracers(space)
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        position = {s.name: jnp.asarray(rng.normal(size=(2, *s.shape))) for s in space.sites}
        read = np.asarray(jax.jit(tracers.read)(position))
    places = tracers.places["field"]
    assert read.shape == (2, tracers.size) and len(places) > 50 and tracers.weights.sum() == pytest.approx(1)
    flat = np.asarray(position["field"]).reshape(2, -1)
    np.testing.assert_array_equal(read[:, : len(places)], flat[:, places])
    np.testing.assert_array_equal(read[:, len(places)], position["scale"])
    # A projection on signs has the variance of a sum of 1200 unit normals.
    assert 0.2 < (read[:, -8:] ** 2).mean() / 1200 < 3


def test_the_autocorrelation_time_of_an_autoregression_is_known():
    """x' = a x + noise has tau = (1 + a) / (1 - a); the mean over 40 series of 4000 has about 4 % of scatter."""
    a = 0.8
    x = lfilter([1], [1, -a], np.random.default_rng(5).normal(size=(1, 4000, 40)), axis=1)
    with jax.enable_x64(True):
        series = jnp.asarray(np.concatenate([x, np.zeros((1, 4000, 1))], axis=2))
        found = jax.jit(autocorrelation_time)(series, np.full(41, 1 / 41))
    assert float(found[0]) == pytest.approx(9.0, rel=0.15)
