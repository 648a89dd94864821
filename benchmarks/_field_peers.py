"""Transitions of BlackJAX and NumPyro on a field, with everything fixed that adaptation would choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import blackjax
import blackjax.mcmc.adjusted_mclmc
import blackjax.mcmc.mclmc
import jax
import jax.numpy as jnp
import numpyro
from blackjax.mcmc import integrators
from numpyro.infer.hmc import hmc

BLACKJAX, NUMPYRO = f"blackjax {blackjax.__version__}", f"numpyro {numpyro.__version__}"

LogDensity = Callable[[Any, Any], jax.Array]
"""(position, data) -> log density."""
Peer = tuple[Callable[[Any, Any], Any], Callable[[Any, jax.Array, Any], Any], int]
"""first(position, data) -> state; step(state, key, data) -> state; the gradients of one step."""


def peers(sampler: str, log_density: LogDensity, latents: int, eps: float, leapfrogs: int) -> dict[str, Peer]:
    """The peers of one of our samplers, by name; `leapfrogs` is 2^depth - 1 where a tree is to be filled."""
    depth = (leapfrogs + 1).bit_length() - 1
    if sampler == "hmc":
        return {
            BLACKJAX: _euclidean(blackjax.hmc, log_density, latents, eps, leapfrogs),
            NUMPYRO: _numpyro("HMC", log_density, latents, eps, leapfrogs),
        }
    if sampler == "nuts":
        return {
            BLACKJAX: _euclidean(blackjax.nuts, log_density, latents, eps, leapfrogs, depth),
            NUMPYRO: _numpyro("NUTS", log_density, latents, eps, leapfrogs, depth),
        }
    return {BLACKJAX: {"mclmc": _mclmc, "mams": _mams}[sampler](log_density, latents, eps, leapfrogs)}


def _euclidean(
    algorithm: Any, log_density: LogDensity, latents: int, eps: float, leapfrogs: int, depth: int | None = None
) -> Peer:
    kernel = algorithm.build_kernel()

    def step(held: Any, key: jax.Array, data: Any) -> Any:
        state, metric = held
        size = leapfrogs if depth is None else depth
        return kernel(key, state, lambda q: log_density(q, data), eps, metric, size)[0], metric

    def first(q: Any, data: Any) -> Any:
        return algorithm.init(q, lambda q: log_density(q, data)), jnp.ones(latents)

    return first, step, leapfrogs


def _numpyro(
    algorithm: str, log_density: LogDensity, latents: int, eps: float, leapfrogs: int, depth: int | None = None
) -> Peer:
    begin, sample = hmc(potential_fn_gen=lambda data: lambda q: -log_density(q, data), algo=algorithm)
    # A hair below the whole number of steps, so that rounding up gives it.
    options = {"trajectory_length": (leapfrogs - 0.01) * eps} if depth is None else {"max_tree_depth": depth}
    fixed = {"num_warmup": 0, "step_size": eps, "adapt_step_size": False, "adapt_mass_matrix": False}

    def first(q: Any, data: Any) -> Any:
        return begin(q, **fixed, **options, rng_key=jax.random.key(0), model_args=(data,))

    def step(state: Any, key: jax.Array, data: Any) -> Any:
        return sample(state._replace(rng_key=key), model_args=(data,))

    return first, step, leapfrogs


def _mclmc(log_density: LogDensity, latents: int, eps: float, leapfrogs: int) -> Peer:
    """One step is one gradient: the velocity-Verlet integrator, with Langevin noise on both sides."""
    kernel = blackjax.mcmc.mclmc.build_kernel(integrator=integrators.isokinetic_velocity_verlet)

    def step(held: Any, key: jax.Array, data: Any) -> Any:
        state, metric = held
        target, length = (lambda q: log_density(q, data)), latents**0.5

        def one(state: Any, key: jax.Array) -> tuple[Any, None]:
            return kernel(key, state, target, metric, length, eps)[0], None

        return jax.lax.scan(one, state, jax.random.split(key, leapfrogs))[0], metric

    def first(q: Any, data: Any) -> Any:
        state = blackjax.mcmc.mclmc.init(q, lambda q: log_density(q, data), jax.random.key(0))
        return state, jnp.ones(latents)

    return first, step, leapfrogs


def _mams(log_density: LogDensity, latents: int, eps: float, leapfrogs: int) -> Peer:
    kernel = blackjax.mcmc.adjusted_mclmc.build_kernel(integrator=integrators.isokinetic_velocity_verlet)

    def step(held: Any, key: jax.Array, data: Any) -> Any:
        state, metric = held
        return kernel(key, state, lambda q: log_density(q, data), eps, (leapfrogs,), metric)[0], metric

    def first(q: Any, data: Any) -> Any:
        return blackjax.mcmc.adjusted_mclmc.init(q, lambda q: log_density(q, data)), jnp.ones(latents)

    return first, step, leapfrogs


def program(step: Callable[..., Any], transitions: int, out_shardings: Any = None) -> Any:
    """The jitted program (state, key, data) -> state of several transitions; the state it is given is overwritten."""

    def run(state: Any, key: jax.Array, data: Any) -> Any:
        return jax.lax.fori_loop(0, transitions, lambda i, s: step(s, jax.random.fold_in(key, i), data), state)

    return jax.jit(run, donate_argnums=0, out_shardings=out_shardings)
