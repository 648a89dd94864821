"""Runs a fit block by block as the host does, its target a function of parameters so that one program serves many."""

import jax
import jax.numpy as jnp
import numpy as np

from ir import counter
from ppl.infer.fit import FitInfo, Fitting, fit_schedule
from ppl.infer.protocol import Handover, State

SEED = counter.seed_key(3)
BLOCK = 50


def runner(make, space, target, *, thin=1):
    """run(start, warmup, draws, *parameters) -> (state, info of all transitions, draws, handover); `make(space,
    target)` is the fit and `target(*parameters)` its log density."""

    def method(parameters):
        return Fitting(make(space, target(*parameters)), thin)

    @jax.jit
    def begin(start, parameters):
        log_density, gradient = target(*parameters)(start)
        state = State(start, gradient, log_density, jnp.zeros(space.chains, jnp.uint32))
        return method(parameters).start(SEED, Handover(state))

    @jax.jit
    def advance(state, schedule, limit, parameters):
        return method(parameters).advance(SEED, state, schedule, limit, lambda position: position)

    def run(start, warmup, draws, *parameters):
        state, schedule = begin(start, parameters), fit_schedule(warmup, draws)
        done, infos, kept = 0, [], []
        for end in (warmup, warmup + draws):
            while done < end:
                limit = min(BLOCK, end - done)
                block = advance(state, schedule.part(done, BLOCK), limit, parameters)
                state = block.state
                infos.append(jax.tree.map(lambda x: np.asarray(x)[:, :limit], block.info))  # noqa: B023
                if done >= warmup:
                    kept.append({n: np.asarray(x)[:, : limit // thin] for n, x in block.draws.items()})
                done += limit
                if done < warmup and np.asarray(block.finished).all():
                    done = warmup
        info = FitInfo(*(np.concatenate(x, axis=1) for x in zip(*infos, strict=True)))
        found = {n: np.concatenate([k[n] for k in kept], axis=1) for n in kept[0]} if kept else {}
        return jax.tree.map(np.asarray, state), info, found, method(parameters).handover(state)

    return run


def quadratic(precision, mean):
    """The unnormalised normal of a full precision over the site "x" of shape (d,)."""

    def target(x):
        r = x["x"] - mean
        p = r @ precision
        return -0.5 * jnp.sum(r * p, axis=1), {"x": -p}

    return target


def rotated(dims, condition, seed=2):
    """A precision with eigenvalues from 3 to 3 `condition` in random directions, and a mean."""
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.normal(size=(dims, dims)))[0]
    return q * np.geomspace(3.0, 3.0 * condition, dims) @ q.T, rng.normal(size=dims)
