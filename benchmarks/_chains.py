"""What a sampler gives for four chains on a posterior, and what that costs: ours, NumPyro's, BlackJAX's and nutpie's.

All peers sample the unconstrained latents of `posterior.log_density`, an ordinary JAX function in float64, so that only
the samplers differ. Each starts every latent uniform in (-2, 2), as ours do here and Stan does.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from blackjax.adaptation.base import AdaptationInfo
from numpyro.infer.hmc import hmc

CHAINS, TARGET_ACCEPT = 4, 0.8
Draws = dict[str, np.ndarray]


@dataclass(frozen=True)
class Outcome:
    """Draws [chain, draw, ...] and their price; gradients are of all chains."""

    peer: str
    draws: Draws
    warmup_gradients: int
    gradients: int
    compile_seconds: float
    """CPU time before the job can start."""
    job_seconds: float
    """CPU time of the whole job after that, warm-up included."""
    wall_seconds: float
    """Of compilation and job."""


def ours(compiled: Callable[[], Any], options: Any, keep: tuple[str, ...], seed: int) -> Outcome:
    """`compiled` makes the posterior, which belongs to the compile time. The job is the run of the same posterior that
    follows: the first one compiles too."""
    start, cpu = time.perf_counter(), time.process_time()
    posterior = compiled()
    spent = {"warmup": 0, "draws": 0}

    def watch(stage: Any, done: int, info: Any) -> None:
        spent["warmup" if stage.phase(done) == "warm-up" else "draws"] += int(np.sum(info.leapfrogs))

    how = {"init": "uniform", "keep": keep, "predictive": False, "progress": False}
    posterior.run(options, seed=seed, **how)
    cold, wall = time.process_time() - cpu, time.perf_counter() - start
    cpu = time.process_time()
    result = posterior.run(options, seed=seed, watch=watch, **how)
    cpu = time.process_time() - cpu
    draws = {n: np.asarray(result[n]) for n in keep}
    return Outcome("ours", draws, spent["warmup"], spent["draws"], max(0.0, cold - cpu), cpu, wall)


def starts(posterior: Any, seed: int) -> Draws:
    """[chain, ...] of every latent."""
    rng = np.random.default_rng(seed)
    return {n: rng.uniform(-2, 2, (CHAINS, *t.shape)) for n, t in posterior.latents.items()}


def our_compilation(compiled: Callable[[], Any], options: Any, keep: tuple[str, ...], seed: int, job: float) -> float:
    """CPU seconds of compiling once more: of a new posterior's first run, less those of the job."""
    cpu = time.process_time()
    compiled().run(options, seed=seed, init="uniform", keep=keep, predictive=False, progress=False)
    return max(0.0, time.process_time() - cpu - job)


def numpyro_nuts(posterior: Any, warmup: int, draws: int, seed: int) -> list[Outcome]:
    """With its defaults: chains vectorised, and one after the other."""
    return _both_ways(f"numpyro {numpyro.__version__}", _numpyro_chain(posterior, warmup, draws), posterior, seed)


def numpyro_compilation(posterior: Any, warmup: int, draws: int, seed: int, manner: str) -> float:
    """CPU seconds of compiling once more."""
    return _compiled(manner, _numpyro_chain(posterior, warmup, draws), posterior, seed)[1]


def _numpyro_chain(posterior: Any, warmup: int, draws: int) -> Callable[..., Any]:
    potential = lambda position: -posterior.log_density(position)  # noqa: E731

    def chain(key: jax.Array, position: Any) -> Any:
        begin, sample = hmc(potential, algo="NUTS")
        options = {"num_warmup": warmup, "rng_key": key, "target_accept_prob": TARGET_ACCEPT}

        def one(state: Any, _: None) -> Any:
            state = sample(state)
            return state, (state.z, state.num_steps)

        state = begin(position, **options)
        state, steps = jax.lax.scan(lambda s, _: (s := sample(s), s.num_steps), state, None, warmup)
        _, (kept, more) = jax.lax.scan(one, state, None, draws)
        return kept, jnp.sum(steps), jnp.sum(more)

    return chain


def blackjax_nuts(posterior: Any, warmup: int, draws: int, seed: int, *, low_rank: bool) -> list[Outcome]:
    """With window adaptation of a diagonal or of a low-rank metric."""
    log_density = posterior.log_density
    adaptation = blackjax.window_adaptation_low_rank if low_rank else blackjax.window_adaptation

    def told(state: Any, info: Any, adapted: Any) -> AdaptationInfo:
        """What is kept of every step of the warm-up: the low-rank one ends at the mean it has found last."""
        if low_rank:
            adapted = adapted._replace(draws_buffer=None, grads_buffer=None)
        return AdaptationInfo(None, info.num_integration_steps, adapted if low_rank else None)

    def chain(key: jax.Array, position: Any) -> Any:
        first, second = jax.random.split(key)
        adapt = adaptation(blackjax.nuts, log_density, target_acceptance_rate=TARGET_ACCEPT, adaptation_info_fn=told)
        (state, parameters), spent = adapt.run(first, position, warmup)
        step = blackjax.nuts(log_density, **parameters).step

        def one(state: Any, key: jax.Array) -> Any:
            state, info = step(key, state)
            return state, (state.position, info.num_integration_steps)

        _, (kept, steps) = jax.lax.scan(one, state, jax.random.split(second, draws))
        return kept, jnp.sum(spent.info), jnp.sum(steps)

    metric = "low-rank" if low_rank else "diagonal"
    return _both_ways(f"blackjax {blackjax.__version__} {metric}", chain, posterior, seed)


MANNERS: Mapping[str, Callable[..., Any]] = {
    "vectorised": jax.vmap,
    "sequential": lambda chain: lambda *given: jax.lax.map(lambda one: chain(*one), given),
}
"""How four chains are run."""


def _given(posterior: Any, seed: int) -> tuple[jax.Array, Any]:
    """Keys and starting points of the chains."""
    return jax.random.split(jax.random.key(seed), CHAINS), jax.tree.map(jnp.asarray, starts(posterior, seed))


def _compiled(manner: str, chain: Callable[..., Any], posterior: Any, seed: int) -> tuple[Any, float]:
    """The compiled job, and the CPU seconds that it took."""
    given, cpu = _given(posterior, seed), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecations in the peers
        program = jax.jit(MANNERS[manner](chain)).lower(*given).compile()
    return program, time.process_time() - cpu


def _both_ways(peer: str, chain: Callable[..., Any], posterior: Any, seed: int) -> list[Outcome]:
    given, found = _given(posterior, seed), []
    for manner in MANNERS:
        start = time.perf_counter()
        program, compiled = _compiled(manner, chain, posterior, seed)
        cpu = time.process_time()
        draws, before, after = jax.block_until_ready(program(*given))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - start
        held = {n: np.asarray(x) for n, x in draws.items()}
        found.append(Outcome(f"{peer}, {manner}", held, int(before.sum()), int(after.sum()), compiled, cpu, wall))
    return found


def nutpie_nuts(posterior: Any, warmup: int, draws: int, seed: int) -> list[Outcome]:
    """Low-rank metric. It calls the jitted gradient through Python, which takes most of its time."""
    import nutpie
    from nutpie import compiled_pyfunc

    shapes = {n: t.shape for n, t in posterior.latents.items()}
    sizes = [int(np.prod(s)) for s in shapes.values()]
    edges = np.cumsum([0, *sizes])

    def split(x: Any) -> dict[str, Any]:
        parts = zip(shapes.items(), edges, edges[1:], strict=False)
        return {n: x[..., a:b].reshape(*x.shape[:-1], *s) for (n, s), a, b in parts}

    start, cpu = time.perf_counter(), time.process_time()
    both = jax.jit(jax.value_and_grad(lambda x: posterior.log_density(split(x))))
    both(jnp.zeros(edges[-1]))

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = both(x)
        return float(value), np.asarray(gradient)

    model = compiled_pyfunc.from_pyfunc(
        *(int(edges[-1]), lambda: evaluate, lambda *_: lambda x: {"x": np.asarray(x)}),
        *([np.dtype("float64")], [(int(edges[-1]),)], ["x"]),
        make_initial_point_fn=lambda s: np.random.default_rng(s).uniform(-2, 2, edges[-1]),
    )
    compiled, cpu = time.process_time() - cpu, time.process_time()
    options = {"chains": CHAINS, "cores": 1, "seed": seed, "target_accept": TARGET_ACCEPT, "progress_bar": False}
    run = partial(nutpie.sample, model, tune=warmup, draws=draws, low_rank_modified_mass_matrix=True)
    result = run(save_warmup=True, **options)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - start
    before = int(result.warmup_sample_stats["n_steps"].sum())
    after = int(result.sample_stats["n_steps"].sum())
    held = split(result.posterior["x"].values)
    return [Outcome(f"nutpie {nutpie.__version__} low-rank", held, before, after, compiled, cpu, wall)]


PEERS: Mapping[str, Callable[..., list[Outcome]]] = {
    "numpyro": numpyro_nuts,
    "blackjax": partial(blackjax_nuts, low_rank=False),
    "blackjax-low-rank": partial(blackjax_nuts, low_rank=True),
    "nutpie": nutpie_nuts,
}
"""(posterior, warm-up, draws, seed) -> the outcomes of one peer, of which the best counts."""
