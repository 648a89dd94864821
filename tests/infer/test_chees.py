"""ChEES-HMC: draws, what warm-up comes to, and that chains on several devices learn from each other as on one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from ir import counter
from ir.errors import Diagnostic
from ppl.infer.chees_adapt import van_der_corput
from ppl.infer.program import chees, hmc
from ppl.infer.protocol import Handover, State
from ppl.infer.space import Site, Space
from tests.infer.driven import Driven
from tests.infer.targets import gaussian, largest_t
from tests.infer.test_sharded import line_space, line_target, mesh, spmd

CHAINS = 16


def effective(x, batch=20):
    """Effective draws of every coordinate by batch means; x: [C, K, d]."""
    means = x.reshape(len(x), -1, batch, x.shape[2]).mean(axis=2).reshape(-1, x.shape[2])
    return x.shape[0] * x.shape[1] * x.reshape(-1, x.shape[2]).var(axis=0) / (batch * means.var(axis=0))


def test_lengths_follow_the_van_der_corput_sequence():
    with jax.enable_x64(True):
        found = jax.jit(van_der_corput)(jnp.asarray([1, 2, 3, 6, 2**31, 2**32 - 1], jnp.uint32))
    assert found.tolist() == [1 / 2, 1 / 4, 3 / 4, 3 / 8, 2.0**-32, 1 - 2.0**-32]


def test_a_gaussian_of_condition_number_100():
    """|t| of 15 degrees of freedom exceeds 8 with probability 9e-7. Paths come to about the criterion's best length for
    a unit normal: with h uniform, E[sin^2 hT] is largest at T = 2.25; whole leapfrogs make paths longer than h T by
    half a step on average, which T makes up for.
    """
    scale = np.geomspace(0.1, 10.0, 10)[np.random.default_rng(0).permutation(10)] ** 0.5
    with jax.enable_x64(True):
        options = chees(chains=CHAINS, warmup=300, draws=200)
        driven = Driven(options, Space.single({"x": (10,)}, CHAINS), gaussian({"x": scale}))
        draws, info, _ = driven.run(3)
    z = draws["x"] / scale
    assert largest_t(z, 0) < 8 and largest_t(z**2, 1) < 8 and largest_t(z**4, 3) < 8
    harmonic = np.mean(1 / np.mean(1 / info.accept_stat, axis=0))
    assert abs(harmonic - 0.651) < 0.1 and not info.divergent.any()
    path = info.length + 0.5 * info.step_size
    assert path.min() == path.max() and 1.5 < path[0, 0] < 2.8
    assert (info.leapfrogs == info.leapfrogs[:1]).all() and len(np.unique(info.leapfrogs)) > 1
    # hmc(steps = 10) has 0.045 and 0.027, independent draws by a leapfrog each would have 1.
    spent = info.leapfrogs.sum()
    assert effective(z).min() / spent > 0.2 and effective(z**2).min() / spent > 0.2


@pytest.mark.slow
def test_correlated_latents_take_fewer_gradients_than_paths_of_fixed_length():
    """A rotated Gaussian of condition number 100: the diagonal metric leaves 28 of it, and T grows."""
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))
    values = np.geomspace(0.01, 1, 5)
    precision = rotation / values @ rotation.T

    def target(x):
        gradient = -jnp.sum(x["x"][:, None, :] * precision, axis=2)
        return 0.5 * jnp.sum(x["x"] * gradient, axis=1), {"x": gradient}

    found = []
    for options in (chees(warmup=500, draws=400), hmc(steps=10, warmup=500, draws=400, chains=CHAINS)):
        with jax.enable_x64(True):
            draws, info, _ = Driven(options, Space.single({"x": (5,)}, CHAINS), target).run(1)
        z = draws["x"] @ rotation / np.sqrt(values)
        assert largest_t(z, 0) < 8 and largest_t(z**2, 1) < 8
        found.append(min(effective(z).min(), effective(z**2).min()) / info.leapfrogs.sum())
        if options.name == "chees":
            assert info.length[0, 0] > 3
    assert found[0] > 1.5 * found[1]


def learn(space, target, grid=None, specs=None):
    """(draws, info, metric's scale) of 28 transitions from given starts, and the program's text."""
    options = chees(chains=4, warmup=24, draws=4)
    schedule, method = options.schedule().part(0, 28), options.method(space, target)

    def body(position):
        log_density, gradient = target(position)
        state = State(position, gradient, log_density, jnp.zeros(space.chains, jnp.uint32))
        begin = method.start(counter.seed_key(11), Handover(state))
        block = method.advance(counter.seed_key(11), begin, schedule, 28, lambda position: position)
        return block.draws, block.info, block.state.adapt.metric.scale

    position = {}
    for site in space.sites:
        start = np.random.default_rng(1).normal(size=(4, *site.shape))
        cuts = [grid.shape[a[0]] if a else 1 for a in site.split] if grid else ()
        padding = [c * n - m for c, n, m in zip(cuts, site.local, site.shape, strict=True)] if grid else ()
        position[site.name] = np.pad(start, [(0, 0), *((0, n) for n in padding)]) if grid else start
    if grid is None:
        lowered = jax.jit(body).lower(position)
    else:
        draws = {n: P(s[0], None, *s[1:]) for n, s in specs.items()}
        lowered = spmd(body, grid, (specs,), (draws, P("half"), specs)).lower(position)
    quick = lowered.compile({"xla_backend_optimization_level": 0})  # most of the time would be the compiler's
    return *jax.tree.map(np.asarray, quick(position)), lowered.as_text()


def check_alike(split, whole):
    (draws, info, scale, text), (draws1, info1, scale1, _) = split, whole
    # Decisions may only differ where a margin is of the size of rounding, and none is.
    assert info1.accept_margin.min() > 1e-9 and info1.leapfrogs.max() > 1
    np.testing.assert_array_equal(info.leapfrogs, info1.leapfrogs)
    for name in ("step_size", "length", "accept_stat", "log_density"):
        np.testing.assert_allclose(getattr(info, name), getattr(info1, name), rtol=1e-8, atol=1e-8, err_msg=name)
    count = draws1["x"].shape[2]
    np.testing.assert_allclose(draws["x"][..., :count], draws1["x"], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(scale["x"][:, :count], scale1["x"], rtol=1e-8)
    assert (scale["x"][:, count:] == 1).all() and (draws["x"][..., count:] == 0).all()
    assert len(np.unique(info1.length[0])) > 20 and np.ptp(info1.length, axis=0).max() == 0
    assert not re.search(r"all_gather|all_to_all|collective_permute|reduce_scatter", text)


def test_chains_on_two_devices_learn_from_each_other_as_on_one():
    """Two chains a device; warm-up with its search and first metrics."""
    target, site = gaussian({"x": np.array([0.5, 1.0, 3.0])}), Site("x", (3,), dtype="float64")
    with jax.enable_x64(True):
        split = learn(Space((site,), 2, (), ("half",)), target, mesh((2,), ("half",)), {"x": P("half", None)})
        check_alike(split, learn(Space((site,), 4), target))


@pytest.mark.slow
def test_chains_and_latents_on_four_devices_learn_as_on_one():
    specs = {"x": P("half", "row"), "s": P("half")}
    split, whole = line_space(("row",), 2, 2, ("half",)), line_space((), 1, 4)
    with jax.enable_x64(True):
        found = learn(split, line_target(split), mesh((2, 2), ("half", "row")), specs)
        check_alike(found, learn(whole, line_target(whole)))


def test_fewer_than_two_chains_are_refused():
    with pytest.raises(Diagnostic) as caught:
        chees(chains=1)
    assert "at least 2" in caught.value.message and "nuts" in caught.value.hint
    assert chees().chains == 16


@pytest.mark.slow
@pytest.mark.parametrize("warmup", [0, 100])
def test_the_stated_copies_are_what_xla_allocates(warmup):
    """Peak of a donated block on one device in units of the chains' latents; position and gradient are the target's."""
    size, chains = 1 << 16, 2
    options = chees(chains=chains, warmup=warmup, draws=100)
    with jax.enable_x64(True):
        space = Space.single({"x": (size,)}, chains, "float32")
        made = options.method(space, gaussian({"x": np.ones(size)}))
        scalar = jnp.zeros(chains)
        begin = Handover(State(space.zeros(), space.zeros(), scalar, scalar.astype(jnp.uint32)))
        state = jax.eval_shape(lambda: made.start((0, 1), begin))
        schedule = options.schedule().part(0, 4)
        run = jax.jit(lambda s: made.advance((0, 1), s, schedule, 4, lambda x: {}), donate_argnums=0)
        memory = run.lower(state).compile().memory_analysis()
    peak = memory.temp_size_in_bytes + memory.argument_size_in_bytes
    assert peak / (4 * size * chains) < options.copies() + 2 + 0.1
