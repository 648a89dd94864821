"""Optimisers and approximations on eight virtual devices do what they do on one, and move scalars only."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from ppl.infer.adam import AdamAscent
from ppl.infer.advi import Advi
from ppl.infer.climb import Climb, ConjugateGradient, Lbfgs
from ppl.infer.fit import Fitting, fit_schedule
from ppl.infer.lanczos import LanczosLaplace
from ppl.infer.pathfinder import Pathfinder
from ppl.infer.protocol import Handover, State
from tests.infer import drive
from tests.infer.test_sharded import KEY, N, line_space, line_target, mesh, spmd

slow = pytest.mark.slow
FITS = {
    "lbfgs": lambda space, target: Climb(space, target, Lbfgs(3)),
    "cg": lambda space, target: Climb(space, target, ConjugateGradient()),
    "adam": AdamAscent,
    "lanczos": lambda space, target: LanczosLaplace(space, target, 3),
    "mean-field": lambda space, target: Advi(space, target, 2),
    "low rank": lambda space, target: Advi(space, target, 1, 2),
    "pathfinder": lambda space, target: Pathfinder(space, target, 3, 2),
}
FAST = ("cg",)
ITERATIONS, CHAINS = 6, 3


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=slow) for n in FITS])
def test_iterations_and_a_draw_on_eight_devices_are_those_on_one(name):
    grid = mesh((8,), ("row",))
    with jax.enable_x64(True):

        def go(space):
            target = line_target(space)
            method = Fitting(FITS[name](space, target))

            def body(x, s):
                position = {"x": x, "s": s}
                log_density, gradient = target(position)
                here = State(position, gradient, log_density, jnp.zeros(CHAINS, jnp.uint32))
                state = method.start(KEY, Handover(here))
                schedule = fit_schedule(ITERATIONS, 1).part(0, ITERATIONS)
                block = method.advance(KEY, state, schedule, ITERATIONS, lambda position: position)
                metric = method.fit.metric(block.state.fit)
                return block.state.here.position, block.info, metric.deviation() if metric is not None else position

            return body

        start, mean = np.random.default_rng(1).normal(size=(CHAINS, N)), np.zeros(CHAINS)
        vector = {"x": P(None, "row"), "s": P()}
        jit = drive.jit if name in FAST else jax.jit  # XLA's older emitter takes minutes for the noise of "low rank"
        f = spmd(go(line_space(("row",), 8, CHAINS)), grid, (P(None, "row"), P()), (vector, P(), vector), jit)
        padded = np.pad(start, [(0, 0), (0, 3)])
        position, info, scale = f(padded, mean)
        position1, info1, scale1 = jit(go(line_space((), 1, CHAINS)))(start, mean)
        for a, b in ((position, position1), (scale, scale1)):
            np.testing.assert_allclose(a["x"][:, :N], b["x"], rtol=1e-8, atol=1e-9)
            np.testing.assert_allclose(a["s"], b["s"], rtol=1e-8, atol=1e-9)
        assert (np.asarray(position["x"])[:, N:] == 0).all()
        for field in info._fields:
            np.testing.assert_allclose(getattr(info, field), getattr(info1, field), rtol=1e-8, atol=1e-9)
        # Every all-reduce carries scalars: at most the Gram matrices of a history, whatever the field's size.
        text = f.lower(padded, mean).as_text()
        assert not re.search(r"all_gather|all_to_all|collective_permute|reduce_scatter", text)
        sizes = re.findall(r"all_reduce.*?-> tensor<([0-9x]*)x?(?:f64|i32)>", text, re.S)
        most = CHAINS * (2 * 3**2 + 2 * 3 + 1 + 11)
        assert sizes and all(np.prod([int(n) for n in s.split("x") if n]) <= most for s in sizes)
