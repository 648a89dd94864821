"""The iterative, batched tree against a plain recursive one, and its independence of blocks and of other chains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ir import counter
from ppl.infer import block
from ppl.infer.hmc import Hmc
from ppl.infer.metric import identity
from ppl.infer.nuts import Nuts
from ppl.infer.pack import Packing, packing
from ppl.infer.protocol import DIRECTION, LEAF, MERGE, MOMENTUM
from ppl.infer.schedule import make_schedule
from ppl.infer.space import Space
from tests.infer import drive
from tests.infer.targets import gaussian, mild_funnel

pytestmark = pytest.mark.usefixtures("hasty")

SCALES = {"a": np.array([0.3, 1.0, 3.0]), "b": np.linspace(0.5, 2.0, 4).reshape(2, 2)}
SEED = counter.seed_key(7)


class RecursiveNuts:
    """One transition of one chain as Hoffman and Gelman's recursion, with Stan's checks, in NumPy."""

    def __init__(self, value_and_grad, inverse_mass, step_size, max_depth, half_checks):
        self.target, self.metric, self.eps = value_and_grad, inverse_mass, step_size
        self.max_depth, self.half_checks = max_depth, half_checks

    def turns(self, left, right):
        """left, right: (first p, last p, sum of p) of two halves, in the order of growth; without half checks first and
        last p are those half a step beyond the ends."""
        triples = [(left[0], right[1], left[2] + right[2])]
        if self.half_checks:
            triples += [(left[0], right[0], left[2] + right[0]), (left[1], right[1], right[2] + left[1])]
        return any((a * self.metric) @ rho <= 0 or (b * self.metric) @ rho <= 0 for a, b, rho in triples)

    def build(self, depth):
        """A subtree from the growing end; returns its (first p, last p, sum), or None if it turned or diverged."""
        if depth == 0:
            x, p, g = self.end
            entering = p + 0.5 * self.eps * self.sign * g
            x = x + self.eps * self.sign * self.metric * entering
            log_density, g = self.target(x)
            p = entering + 0.5 * self.eps * self.sign * g
            self.end = (x, p, g)
            self.leapfrogs += 1
            error = 0.5 * p @ (self.metric * p) - log_density - self.start_energy
            self.weight = np.logaddexp(self.weight, -error)
            if self.uniform(self.leapfrogs, LEAF) < np.exp(-error - self.weight):
                self.candidate = x
            ends = (p, p) if self.half_checks else (entering, p + 0.5 * self.eps * self.sign * g)
            return None if error > 1000 else (*ends, p)
        left = self.build(depth - 1)
        right = left and self.build(depth - 1)
        if right is None or self.turns(left, right):
            return None
        return left[0], right[1], left[2] + right[2]

    def transition(self, x, p, uniform, coins):
        self.uniform, self.leapfrogs = uniform, 0
        log_density, g = self.target(x)
        self.start_energy = 0.5 * p @ (self.metric * p) - log_density
        ends = {-1: (x, p, g), 1: (x, p, g)}
        total, weight, depth = p, 0.0, 0
        while depth < self.max_depth:
            self.sign = 1 if coins >> depth & 1 else -1
            self.end, self.weight, self.candidate = ends[self.sign], -np.inf, None
            boundary, (_, far, far_g) = ends[self.sign][1], ends[-self.sign]
            first = far if self.half_checks else far - 0.5 * self.eps * self.sign * far_g
            subtree = self.build(depth)
            if subtree is None:
                break
            ends[self.sign] = self.end
            if uniform(self.leapfrogs, MERGE) < np.exp(self.weight - weight):
                x = self.candidate
            weight = np.logaddexp(weight, self.weight)
            depth += 1
            turned = self.turns((first, boundary, total), subtree)
            total = total + subtree[2]
            if turned:
                break
        return x, self.leapfrogs, depth


@pytest.mark.parametrize(
    ("packed", "half_checks"),
    [
        (True, True),
        (False, False),
        pytest.param(True, False, marks=pytest.mark.slow),
        pytest.param(False, True, marks=pytest.mark.slow),
    ],
)
def test_the_iterative_tree_is_the_recursive_one(packed, half_checks):
    """30 transitions of two chains."""
    max_depth, eps, steps, chains = 4, 0.25, 30, 2
    metric = {"a": np.array([0.2, 0.8, 4.0]), "b": np.full((2, 2), 1.1)}
    flat_scales, flat_metric = (np.concatenate([v["a"], v["b"].ravel()]) for v in (SCALES, metric))
    with jax.enable_x64(True):
        space = Space.single({"a": (3,), "b": (2, 2)}, chains)
        made = packing(space) if packed else Packing(space)
        target = gaussian(SCALES)

        def flat(x):
            log_density, gradient = target(made.unpack(x))
            return log_density, made.pack(gradient)

        kernel = Nuts(made.space, flat, max_depth, half_checks)
        assert made.space.packed == packed
        inverse_mass = {n: jnp.broadcast_to(jnp.asarray(v), (chains, *v.shape)) for n, v in metric.items()}
        known = dict(step_size=eps, variance=made.pack(inverse_mass), collect=made.unpack)
        go = drive.hasty(lambda x: drive.run(kernel, SEED, x, drive.fixed(steps), **known))
        result = go(made.pack(space.full(0.5)))

        noise = drive.hasty(lambda step: space.normal(counter.derive(SEED, space.chain_ids(), step), MOMENTUM))
        for c in range(chains):
            plain = RecursiveNuts(lambda x: (-0.5 * np.sum((x / flat_scales) ** 2), -x / flat_scales**2), flat_metric,
                                  eps, max_depth, half_checks)  # fmt: skip
            x = np.full(7, 0.5)
            for t in range(steps):
                key = counter.derive(SEED, c, t)
                n = {k: np.asarray(v)[c].ravel() for k, v in noise(t).items()}
                u = np.asarray(counter.uniform(key, (np.arange(40), np.array([[LEAF], [MERGE]])), "float64"))
                coins = int(counter.bits(key, (0, DIRECTION))[0])
                p = np.concatenate([n["a"], n["b"]]) / np.sqrt(flat_metric)
                look_up = lambda i, purpose, u=u: u[0 if purpose == LEAF else 1, i]  # noqa: E731
                x, leapfrogs, depth = plain.transition(x, p, look_up, coins)
                assert (leapfrogs, depth) == (result.info.leapfrogs[c, t], result.info.depth[c, t])
                got = np.concatenate([result.draws["a"][c, t], np.ravel(result.draws["b"][c, t])])
                np.testing.assert_allclose(got, x, rtol=1e-9, atol=1e-10)
        assert len(np.unique(result.info.depth)) > 1
        assert (result.info.leapfrogs > 2**result.info.depth - 1).any()  # some subtrees were cut off
        assert result.info.accept_margin.min() > 0 and result.info.turn_margin.min() > 0


def blocks_of(kernel):
    """The program of a block, and what it advances."""
    made = drive.method(kernel)
    return made, drive.jit(lambda state, flags, n: drive.advance(made, SEED, state, flags, n))


def run_in_blocks(kernel, blocks, length, limit, warmup=60, draws=40):
    """warmup + draws transitions, `limit` of them a call; per-transition results joined."""
    schedule, (made, step), pieces = make_schedule(warmup, draws), blocks, []
    state = made.start(SEED, drive.begin(kernel, kernel.space.full(0.1)))
    for start in range(0, warmup + draws, limit):
        result = step(state, schedule.part(start, length), min(limit, warmup + draws - start))
        state = result.state
        kept = result.draws | {"eps": result.info.step_size, "energy": result.info.energy}
        pieces.append({n: np.asarray(v)[:, :limit] for n, v in kept.items()})
    return {n: np.concatenate([p[n] for p in pieces], axis=1)[:, : warmup + draws] for n in pieces[0]}


@pytest.mark.parametrize("make", [pytest.param(Nuts, marks=pytest.mark.slow), Hmc])
def test_neither_blocks_nor_the_number_of_chains_change_a_draw(make):
    """Warm-up included, which starts with a search and holds a window's end. Chains are chaotic, so those of another
    program (more chains, another order of a sum) are compared over the first 10 transitions only."""
    with jax.enable_x64(True):
        one, many = (make(Space.single({"v": (), "w": (3,)}, c), mild_funnel) for c in (1, 4))
        blocks = blocks_of(many)
        whole = run_in_blocks(many, blocks, 25, 25)
        for name, value in run_in_blocks(many, blocks, 25, 10).items():
            assert (value == whole[name]).all(), name
        assert (whole["v"][0] != whole["v"][1]).mean() > 0.8
        alone = run_in_blocks(one, blocks_of(one), 50, 50)
        for name in alone:
            np.testing.assert_allclose(whole[name][:1, :10], alone[name][:, :10], rtol=1e-12, atol=1e-12)


def test_limit_thin_and_single_transitions_give_the_same_draws():
    with jax.enable_x64(True):
        space = Space.single({"v": (), "w": (3,)}, 3)
        kernel = Nuts(space, mild_funnel)
        schedule, known = drive.fixed(12), dict(step_size=0.3, variance=space.full(1.0))
        run = drive.hasty(lambda n: drive.run(kernel, SEED, space.zeros(), schedule, limit=n, **known))
        whole, cut = run(12), run(5)
        options = dict(thin=3, collect=lambda x: {"twice": 2 * x["w"]}, **known)
        thinned = drive.hasty(lambda: drive.run(kernel, SEED, space.zeros(), schedule, **options))()
        assert (thinned.draws["twice"] == 2 * whole.draws["w"][:, 2::3]).all()
        assert (cut.draws["v"][:, :5] == whole.draws["v"][:, :5]).all() and (cut.draws["v"][:, 5:] == 0).all()
        ended = cut.state.state
        assert (ended.step == 5).all() and (ended.position["v"] == whole.draws["v"][:, 4]).all()
        state = block.init(kernel, space.zeros())
        one, info = drive.hasty(lambda s: block.transition(kernel, SEED, s, 0.3, identity(space)))(state)
        assert (one.position["w"] == whole.draws["w"][:, 0]).all()
        assert (info.leapfrogs == whole.info.leapfrogs[:, 0]).all() and info.depth.shape == (3,)


def test_divergences_are_counted_and_not_drawn():
    """A wall: the log density is -inf for v > 1, its gradient there NaN; and a normal of width 0.01 at steps of 0.5."""

    def wall(x):
        inside = x["v"] < 1
        return jnp.where(inside, -0.5 * x["v"] ** 2, -np.inf), {"v": jnp.where(inside, -x["v"], np.nan)}

    def both(x):
        """Chain 0 meets the wall; chain 1 the narrow normal, scaled so that steps are 50 of its widths."""
        (a, ga), (b, gb) = wall(x), gaussian({"v": 0.01})(x)
        first = jnp.arange(2) == 0
        return jnp.where(first, a, b), {"v": jnp.where(first, ga["v"], gb["v"])}

    with jax.enable_x64(True):
        space = Space.single({"v": ()}, 2)
        for kernel in (Nuts(space, both), Hmc(space, both, steps=4)):
            known = dict(step_size=0.5, variance=space.full(1.0))
            result = drive.hasty(lambda k=kernel, o=known: drive.run(k, SEED, space.zeros(), drive.fixed(100), **o))()
            divergences = np.asarray(result.info.divergent).sum(axis=1)
            assert divergences[0] >= 10 and divergences[1] >= 90
            assert np.isfinite(result.draws["v"]).all() and np.isfinite(result.info.energy).all()
            assert (np.asarray(result.draws["v"]) < 1).all()
            assert ((result.info.accept_stat >= 0) & (result.info.accept_stat <= 1)).all()
