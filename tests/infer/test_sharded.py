"""Space, noise and transitions on one device and on eight virtual ones, with padding and replicated sites."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import ppl
from ir import counter
from ppl.infer import block, run
from ppl.infer.hmc import Hmc
from ppl.infer.metric import identity
from ppl.infer.nuts import Nuts
from ppl.infer.program import exact_gaussian, gibbs, slice, smc
from ppl.infer.protocol import Handover, State
from ppl.infer.schedule import make_schedule
from ppl.infer.space import Site, Space
from tests.infer import drive

KEY = counter.seed_key(11)
SHAPES = {"field": (9, 10, 11), "row": (11,), "scale": ()}
SPLIT = (
    Site("field", (9, 10, 11), (3, 5, 11), (("a",), ("b",), ())),  # 9 over 4: blocks of 3, 3, 3, 0
    Site("row", (11,), (6,), (("b",),)),  # 11 over 2, two copies of it along "a" times two
    Site("scale", ()),
)
SPECS = {"field": P(None, "a", "b"), "row": P(None, "b"), "scale": P(None)}
PADDED = {"field": (12, 10, 11), "row": (12,), "scale": ()}


def mesh(shape, names):
    if len(jax.devices()) < 8:
        pytest.skip("needs eight (virtual) devices")
    return Mesh(np.array(jax.devices()[: np.prod(shape)]).reshape(shape), names)


def pad(vector):
    """Whole tensors [C, ...] with the padding of the split layout."""
    widths = {n: [(0, 0)] + [(0, p - s) for p, s in zip(PADDED[n], SHAPES[n], strict=True)] for n in SHAPES}
    return {n: np.pad(v, widths[n]) for n, v in vector.items()}


def spmd(body, grid, in_specs, out_specs, jit=drive.jit):
    return jit(jax.shard_map(body, mesh=grid, in_specs=in_specs, out_specs=out_specs, check_vma=False))


def test_noise_is_the_same_bit_for_bit_and_zero_on_padding():
    grid = mesh((4, 2), ("a", "b"))
    with jax.enable_x64(True):
        for dtype in ("float32", "float64"):
            sites = tuple(Site(s.name, s.shape, s.block, s.axes, dtype) for s in SPLIT)
            keys = counter.derive(KEY, np.arange(3, dtype=np.uint32))
            one = Space.single(SHAPES, 3, dtype)
            whole = jax.jit(lambda k, one=one: one.normal(k, 4))(keys)
            split = Space(sites, 3, ("a", "b"))
            cut = spmd(lambda k0, k1, split=split: split.normal((k0, k1), 4), grid, (P(), P()), SPECS)(*keys)
            for name, padded in pad(jax.tree.map(np.asarray, whole)).items():
                assert cut[name].dtype == dtype
                np.testing.assert_array_equal(np.asarray(cut[name]), padded)


def test_dots_count_every_element_once_in_one_all_reduce():
    grid = mesh((4, 2), ("a", "b"))
    rng = np.random.default_rng(0)
    a, b = ({n: rng.normal(size=(2, *s)).astype(np.float32) for n, s in SHAPES.items()} for _ in range(2))
    with jax.enable_x64(True):
        space = Space(SPLIT, 2, ("a", "b"))
        f = spmd(lambda a, b: space.dots([(a, b), (a, a), (b, b)]), grid, (SPECS, SPECS), P())
        got = np.asarray(f(pad(a), pad(b)))
        assert f.lower(pad(a), pad(b)).as_text().count("all_reduce") == 1
    exact = [
        sum((x[n].astype(float) * y[n]).reshape(2, -1).sum(axis=1) for n in SHAPES) for x, y in ((a, b), (a, a), (b, b))
    ]
    np.testing.assert_allclose(got, exact, rtol=1e-14)


def test_single_precision_terms_are_summed_in_double():
    with jax.enable_x64(True):
        space = Space.single({"x": (1 << 20,)}, 1, "float32")
        x = jax.jit(lambda: space.normal(KEY, 1))()
        exact = np.sum(np.asarray(x["x"], float) ** 2)
        assert abs(float(space.dots([(x, x)])[0, 0]) / exact - 1) < 1e-13


def test_all_finite_sees_other_devices():
    grid = mesh((8,), ("a",))
    x = np.zeros((2, 16), np.float32)
    x[1, 13] = np.nan
    with jax.enable_x64(True):
        space = Space((Site("x", (16,), (2,), (("a",),)),), 2, ("a",))
        f = spmd(lambda x: space.all_finite({"x": x}), grid, (P(None, "a"),), P())
        assert np.asarray(f(x)).tolist() == [True, False]


# A field x[37] ~ Normal(s, 0.5) along a line, with a replicated mean s ~ Normal(0, 1); 37 over 8 leaves blocks of 5,
# the last of 2; over 4, blocks of 10, the last of 7.
N = 37


def line_space(axes, blocks, chains, chain_axes=()):
    split = Site("x", (N,), (-(-N // blocks),), (axes,), "float64")
    return Space((split, Site("s", (), dtype="float64")), chains, axes, chain_axes)


def line_target(space):
    real = space.sites[0]

    def target(position):
        x, s = position["x"], position["s"]
        mask = real.real()
        r = (x - s[:, None]) / 0.5
        r = r if mask is None else jnp.where(mask, r, 0.0)
        square, total = jnp.sum(r * r, axis=1), jnp.sum(r, axis=1)
        if space.reduce_axes:
            square, total = lax.psum((square, total), space.reduce_axes)
        return -0.5 * (square + s * s), {"x": -r / 0.5, "s": total / 0.5 - s}

    return target


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("make", [Nuts, pytest.param(Hmc, marks=pytest.mark.slow)])
def test_one_transition_on_eight_devices_is_the_one_on_one(make):
    grid = mesh((8,), ("row",))
    with jax.enable_x64(True):
        whole = line_space((), 1, 3)
        split = line_space(("row",), 8, 3)

        def go(space):
            kernel = make(space, line_target(space))

            def body(x, s):
                state = block.init(kernel, {"x": x, "s": s})
                return block.transition(kernel, KEY, state, 0.2, identity(space))

            return body

        start = np.random.default_rng(1).normal(size=(3, N))
        mean = np.zeros(3)
        vector = {"x": P(None, "row"), "s": P()}
        specs = (block.State(vector, vector, P(), P()), P())
        f = spmd(go(split), grid, (P(None, "row"), P()), specs)
        padded = np.pad(start, [(0, 0), (0, 3)])
        state, info = f(padded, mean)
        state1, info1 = drive.jit(go(whole))(start, mean)
        # Decisions may only differ where a margin is of the size of rounding, and none is.
        assert float(jnp.minimum(info1.accept_margin, info1.turn_margin).min()) > 1e-9
        assert (info.leapfrogs == info1.leapfrogs).all() and info.leapfrogs.min() > 1
        np.testing.assert_allclose(state.position["x"][:, :N], state1.position["x"], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(state.position["s"], state1.position["s"], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(state.log_density, state1.log_density, rtol=1e-12)
        assert (np.asarray(state.position["x"])[:, N:] == 0).all()
        assert (np.asarray(state.gradient["x"])[:, N:] == 0).all()

        text = f.lower(padded, mean).as_text()
        assert not re.search(r"all_gather|all_to_all|collective_permute|reduce_scatter", text)
        # Every all-reduce carries at most a few numbers per chain.
        sizes = re.findall(r"all_reduce.*?-> tensor<([0-9x]*)x?f64>", text, re.S)
        assert sizes and all(np.prod([int(n) for n in s.split("x") if n]) <= 18 for s in sizes)


@pytest.mark.usefixtures("hasty")
def test_chains_split_over_devices_draw_what_they_draw_together():
    """Two halves of a mesh with two chains each take different numbers of rounds; warm-up included."""
    grid = mesh((2, 4), ("half", "row"))
    with jax.enable_x64(True):
        schedule = make_schedule(20, 4)

        def go(space):
            kernel = Nuts(space, line_target(space), max_depth=6)

            def body(x, s):
                result = drive.run(kernel, KEY, {"x": x, "s": s}, schedule)
                return result.draws, result.info, result.state.adapt.metric.scale

            return body

        start, mean = np.random.default_rng(1).normal(size=(4, N)), np.zeros(4)
        vector = {"x": P("half", "row"), "s": P("half")}
        out = ({"x": P("half", None, "row"), "s": P("half")}, P("half"), vector)
        f = spmd(go(line_space(("row",), 4, 2, ("half",))), grid, (P("half", "row"), P("half")), out)
        draws, info, metric = f(np.pad(start, [(0, 0), (0, 3)]), mean)
        draws1, info1, _ = drive.jit(go(line_space((), 1, 4)))(start, mean)
        leapfrogs = np.asarray(info.leapfrogs)
        assert (leapfrogs[:, :8] == info1.leapfrogs[:, :8]).all()
        assert leapfrogs[:2].sum(axis=1).max() != leapfrogs[2:].sum(axis=1).max()
        np.testing.assert_allclose(draws["x"][:, :8, :N], draws1["x"][:, :8], rtol=1e-9, atol=1e-9)
        assert (np.asarray(metric["x"])[:, N:] == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "spare"), [(exact_gaussian(), 1), (gibbs(s=slice(), x=exact_gaussian(dense=0)), 0)]
)
def test_a_sweep_on_eight_devices_is_the_one_on_one(options, spare):
    """Three transitions of methods that need no momentum of a tree: fields split, scalars on all devices.

    The second step to the mean solves for the error of the first. Of both sites together that is rounding, which takes
    a product more or less where sums are ordered otherwise.
    """
    grid = mesh((8,), ("row",))
    options = dataclasses.replace(options, chains=3, warmup=0, draws=3)
    schedule = options.schedule().part(0, 3)

    def go(space):
        target = line_target(space)
        method = options.method(space, target)

        def body(x, s):
            position = {"x": x, "s": s}
            log_density, gradient = target(position)
            state = State(position, gradient, log_density, jnp.zeros(3, jnp.uint32))
            block = method.advance(KEY, method.start(KEY, Handover(state)), schedule, 3, lambda position: position)
            end = method.handover(block.state).state
            return block.draws, block.info.leapfrogs, block.info.divergent, end.gradient

        return body

    with jax.enable_x64(True):
        start, mean = np.random.default_rng(1).normal(size=(3, N)), np.zeros(3)
        vector = {"x": P(None, "row"), "s": P()}
        out = ({"x": P(None, None, "row"), "s": P()}, P(), P(), vector)
        f = spmd(go(line_space(("row",), 8, 3)), grid, (P(None, "row"), P()), out)
        padded = np.pad(start, [(0, 0), (0, 3)])
        draws, gradients, divergent, end = f(padded, mean)
        draws1, gradients1, _, _ = drive.jit(go(line_space((), 1, 3)))(start, mean)
        assert np.abs(gradients - gradients1).max() <= spare and not np.asarray(divergent).any()
        assert np.abs(np.diff(draws["s"], axis=1)).min() > 0
        np.testing.assert_allclose(draws["x"][..., :N], draws1["x"], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(draws["s"], draws1["s"], rtol=1e-9, atol=1e-9)
        assert (np.asarray(draws["x"])[..., N:] == 0).all() and (np.asarray(end["x"])[:, N:] == 0).all()
        text = f.lower(padded, mean).as_text()
        assert not re.search(r"all_gather|all_to_all|collective_permute|reduce_scatter", text)


@pytest.mark.slow
def test_particles_split_over_devices_are_those_of_one_device():
    """Four stages of tempering: two halves of the particles, each split along the line."""
    grid = mesh((2, 4), ("half", "row"))
    options = smc(particles=6, moves=2)
    schedule = options.schedule().part(0, 4)

    def go(space):
        method = options.method(space, line_target(space))

        def body(x, s):
            position = {"x": x, "s": s}
            log_density, gradient = line_target(space)(position)
            state = State(position, gradient, log_density, jnp.zeros(space.chains, jnp.uint32))
            block = method.advance(KEY, method.start(KEY, Handover(state)), schedule, 4, lambda position: position)
            return block.state.state.position, block.info

        return body

    with jax.enable_x64(True):
        start, mean = np.random.default_rng(1).normal(size=(6, N)), np.random.default_rng(2).normal(size=6)
        vector = {"x": P("half", "row"), "s": P("half")}
        f = spmd(go(line_space(("row",), 4, 3, ("half",))), grid, (P("half", "row"), P("half")), (vector, P("half")))
        end, info = f(np.pad(start, [(0, 0), (0, 3)]), mean)
        end1, info1 = drive.jit(go(line_space((), 1, 6)))(start, mean)
        assert 0 < np.asarray(info1.temperature)[0, -1] < 1 and np.asarray(info1.accept_stat).max() > 0.1
        for field in info._fields:
            np.testing.assert_allclose(getattr(info, field), getattr(info1, field), rtol=1e-8, err_msg=field)
        np.testing.assert_allclose(end["x"][:, :N], end1["x"], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(end["s"], end1["s"], rtol=1e-9, atol=1e-9)
        assert (np.asarray(end["x"])[:, N:] == 0).all()


FIELD = """
model field
dim x = 12, y = 10
dim kx = freq(x), ky = rfreq(y)
data seen[x, y]: real
white[x, y] ~ Normal(0, 1)
delta[x, y] = irfft(rfft(white, x -> kx, y -> ky) / (1 + wavenumber(kx, 1)^2), kx -> x, ky -> y)
seen[x, y] ~ Normal(delta, 1)
"""


def test_predictions_take_latents_in_the_layout_in_which_draws_leave_them():
    """Also where the program of the draws alone would leave them in another one."""
    model, data = ppl.from_text(FIELD), {"seen": np.zeros((12, 10), np.float32)}
    plan = ppl.plan(model, data, mesh="row=2,col=2", pins=["white:x=row,y=col"], chains=2)
    posterior = ppl.compile(model, data, plan=plan)
    made = run._Setup.make(posterior, ppl.hmc(chains=2, draws=10), None, predictive=True, abstract=True)
    collect = made.engines[-1].collect
    assert collect.plan.output_layout(collect.program, "free:white").splits
