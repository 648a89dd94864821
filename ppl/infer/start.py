"""Where chains start: draws from the prior that have a finite density, or values that the user gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ir import counter
from ir.dims import CHAIN, Dim
from ir.errors import Diagnostic
from ir.passes.batch_over import batch_over

from ..execute import Executable
from ..limits import Beyond, exceeded
from ..pipeline import keep
from ..result import Result
from .engine import Engine
from .protocol import Handover

if TYPE_CHECKING:
    from ..posterior import Posterior

ATTEMPTS = 20
START, PRIOR, PREDICT = 0x5354, 0x5052, 0x5045
"""Purposes of randomness outside the sampler, derived from the seed."""


def keys(seed: int, purpose: int, *words: Any) -> np.ndarray:
    """Random key words u32[..., 2]; `words` are numbers or broadcastable arrays of them."""
    key = counter.derive_on_host(counter.seed_key(seed), purpose, *(np.asarray(w, np.uint32) for w in words))
    return np.stack(np.broadcast_arrays(*key), axis=-1)


def begin(posterior: Posterior, engine: Engine, chains: int, seed: int, init: Any) -> Handover:
    """Where all chains start, with density and gradient there, stored in the gradient program's layouts.

    `init`: "prior" (default) draws from the prior, up to `ATTEMPTS` times until density and gradient are finite;
    "uniform" draws every unconstrained value from (-2, 2), as Stan does; a dict gives values in the latents' own units,
    with or without a leading chain axis, for all latents or for some (the rest from the prior); a `Result` goes on from
    where its chains ended, with their metric and step size.
    """
    if isinstance(init, Result):
        return _continued(posterior, engine, chains, init)
    return Handover(engine.stand(starting_points(posterior, engine.gradient, engine.data, chains, seed, init)))


def _continued(posterior: Posterior, engine: Engine, chains: int, before: Result) -> Handover:
    """The end of an earlier run of the same latents, as the start of a new one."""
    left = before.handover
    if left is None:
        hint = "an interrupted run leaves none: start from values of its draws"
        raise Diagnostic("argument", "the earlier run has no end to go on from", hint=hint, where="init")
    kind = {n: (np.shape(x), x.dtype) for n, x in left.state.position.items()}
    wanted = engine.stored_types()
    if kind != wanted:
        raise Diagnostic(
            "argument",
            f"the earlier run has {_shown(kind)}, but this one has {_shown(wanted)}",
            hint="the model, its sizes, the number of chains, the dtype and the mesh must be the same",
            where="init",
        )
    # Blocks overwrite what they are given: the result keeps its own.
    return jax.tree.map(lambda x: x.copy(), left)


def _shown(kind: Mapping[str, Any]) -> str:
    return ", ".join(f"{n}{list(shape)}" for n, (shape, _) in kind.items())


def starting_points(
    posterior: Posterior, gradient: Executable, data: Mapping[str, jax.Array], chains: int, seed: int, init: Any
) -> dict[str, jax.Array]:
    """Unconstrained positions of all chains, stored in the gradient program's layouts, for `init` as `begin` says."""
    if isinstance(init, str) and init not in ("prior", "uniform"):
        raise Diagnostic(
            "argument", f'unknown init "{init}"', hint='"prior", "uniform" or a dict of values', where="init"
        )
    latents, made = [i for i in gradient.program.inputs_of("latent")], dict[str, Any]()
    found: dict[str, np.ndarray] = {}
    good = np.zeros(chains, bool)
    for attempt in range(ATTEMPTS):
        drawn = (
            _uniform(latents, chains, seed, attempt) if init == "uniform" else _prior(posterior, chains, seed, attempt)
        )
        if isinstance(init, Mapping):
            drawn |= _given(posterior, init, chains, drawn)
        for name, x in drawn.items():
            keep_old = good.reshape(-1, *(1,) * (x.ndim - 1))
            found[name] = np.where(keep_old, found[name], x) if name in found else x
        stored = {n: gradient.store(n, x) for n, x in found.items()}
        made = gradient.run({**data, **stored}, hasty=True)
        good = np.isfinite(made["log_density"])
        for i in latents:
            good &= np.isfinite(made[f"grad:{i.name}"]).reshape(chains, -1).all(axis=1)
        if good.all():
            return stored
        if isinstance(init, Mapping) and set(init) >= {i.name for i in latents}:
            break
    bad = [int(c) for c in np.flatnonzero(~good)]
    worst = [i.name for i in latents if not np.isfinite(made[f"grad:{i.name}"][bad]).all()]
    message = f"no starting point with a finite density was found for chain {', '.join(map(str, bad))}"
    if beyond := exceeded(posterior, gradient.program, made):
        raise Beyond(beyond, message, where="init")
    raise Diagnostic(
        "run",
        message + (f" (the gradient is not finite in {', '.join(worst)})" if worst else ""),
        hint="give values with init={...}, check the priors and the data for impossible combinations",
        where="init",
    )


def _prior(posterior: Posterior, chains: int, seed: int, attempt: int) -> dict[str, np.ndarray]:
    made = prior_start(posterior, chains).run(
        {**posterior.bound.data, "key": keys(seed, START, attempt, np.arange(chains))}
    )
    return {n.removeprefix("free:"): x for n, x in made.items()}


def prior_start(posterior: Posterior, chains: int) -> Executable:
    """The program that draws starting points of all chains from the prior."""
    cache = posterior.__dict__.setdefault("_starts", {})
    if chains not in cache:
        program = posterior.program("prior")
        program = keep(program, [n for n, _ in program.outputs if n.startswith("free:")])
        cache[chains] = posterior.executable(batch_over(program, Dim(CHAIN, chains), ["key"]))
    return cache[chains]


def _uniform(latents: Any, chains: int, seed: int, attempt: int) -> dict[str, np.ndarray]:
    found = {}
    for i in latents:
        words = keys(seed, START, 1000 + attempt, counter.site_hash(i.name), 0)
        rng = np.random.Generator(np.random.Philox(int(words[0]) << 32 | int(words[1])))
        found[i.name] = rng.uniform(-2, 2, i.type.shape).astype(i.type.numpy)
    return found


def _given(posterior: Posterior, init: Mapping[str, Any], chains: int, drawn: Mapping[str, np.ndarray]):
    """The user's values, unconstrained, chain by chain; latents not given take their drawn values."""
    inputs = {i.name: i.type for i in posterior._given.program.inputs if i.name not in posterior.bound.data}
    for name in init:
        if name not in inputs:
            raw = f"{name}_raw"
            hint = f"'{name}' is non-centred: give '{raw}', its parameter-free form" if raw in inputs else None
            hint = hint or f"the latents are {', '.join(inputs)}"
            raise Diagnostic("argument", f"init gives '{name}', which is not a latent", hint=hint, where="init")
    rows: list[dict[str, np.ndarray]] = []
    for chain in range(chains):
        own = {n: x[chain] for n, x in drawn.items()}
        values = {n: v for n, v in posterior.constrain(own).items() if n in inputs}
        for name, value in init.items():
            value, shape = np.asarray(value), inputs[name].shape
            if value.shape == (chains, *shape):
                values[name] = value[chain]
            elif value.shape == shape:
                values[name] = value
            else:
                raise Diagnostic(
                    "argument",
                    f"init for '{name}' has shape {value.shape}",
                    hint=f"{shape}, or {(chains, *shape)} with one value per chain",
                    where="init",
                )
        free = posterior.unconstrain(values)
        for name in init:
            if not np.isfinite(free[name]).all():
                raise Diagnostic("argument", f"init for '{name}' is outside its support", where="init")
        rows.append(free)
    return {n: np.stack([r[n] for r in rows]) for n in init}
