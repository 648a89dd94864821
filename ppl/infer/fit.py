"""Optimisers and approximations as one `Method`: iterations that improve a fit in warm-up, then draws from it.

Warm-up's transitions are iterations; a chain whose fit has finished idles, and the loop ends when all have. The draws
are independent given the fit. A block of warm-up ends with one draw as well, so that the next stage can start from it.

The loops' predicates rest on all-reduced scalars and on counters: they are equal on all devices over which anything but
chains is split.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ir import counter

from .metric import Metric
from .protocol import Block, Collect, Handover, State
from .space import Space

NOISE, FACTOR = 8, 9
"""Purposes of randomness within one iteration or draw, + 16 t for the t-th sample of it."""


class FitInfo(NamedTuple):
    """What a person wants to see of an iteration, or of a draw; [C, K] in the result of a block."""

    leapfrogs: jax.Array  # gradients spent
    divergent: jax.Array  # the log density or what was made of it was not finite, or the curvature not positive
    log_density: jax.Array  # at the iterate, at the draw
    objective: jax.Array  # what is maximised (log density or ELBO); Laplace: the log evidence
    gradient_norm: jax.Array  # |grad l| at the iterate (dense Laplace: distance from the mode [sd]); NaN for none
    log_weight: jax.Array  # log density minus that of the approximation, at the draw; NaN for none
    converged: jax.Array  # the fit has met its criteria


class FitSchedule(NamedTuple):
    """What happens at which transition."""

    drawing: np.ndarray | jax.Array  # bool[K]; a block is of one kind

    def part(self, start: int, length: int) -> FitSchedule:
        """Transitions start..start+length, drawing past the end."""
        found = self.drawing[start : start + length]
        return FitSchedule(np.pad(found, (0, length - len(found)), constant_values=True))


def fit_schedule(warmup: int, draws: int) -> FitSchedule:
    """`warmup` iterations, then `draws` draws."""
    return FitSchedule(np.arange(warmup + draws) >= warmup)


class Fit(Protocol):
    """What a leaf of this family says. Masks are bool[C]; nothing may change for chains outside `active`.

    `here` is where chains stand, with log density and gradient: an optimiser's iterate, else the latest draw.
    """

    space: Space

    def begin(self, start: Handover) -> Any:
        """The first state of the fit; it does not evaluate the target, and none of its leaves is a leaf of `start`."""
        ...

    def improve(
        self, key: counter.Key, here: State, fit: Any, active: jax.Array
    ) -> tuple[State, Any, FitInfo, jax.Array]:
        """One iteration: where chains stand, the fit, what is told of it [C], and bool[C]: nothing is left to do."""
        ...

    def draw(self, key: counter.Key, here: State, fit: Any) -> tuple[State, FitInfo]:
        """One draw of every chain."""
        ...

    def metric(self, fit: Any) -> Metric | None:
        """F with F F^T near the approximation's covariance, for the next stage; None where it has none."""
        ...


class Fitted(NamedTuple):
    """The state between blocks."""

    here: State
    fit: Any
    finished: jax.Array  # bool[C]


@dataclass(frozen=True)
class Fitting:
    """The method of a fit. thin: every thin-th draw is collected."""

    fit: Fit
    thin: int = 1

    def start(self, seed: counter.Key, begin: Handover) -> Fitted:
        return Fitted(begin.state, self.fit.begin(begin), jnp.zeros(self.fit.space.chains, bool))

    def handover(self, state: Fitted) -> Handover:
        return Handover(state.here, self.fit.metric(state.fit))

    def advance(
        self, seed: counter.Key, state: Fitted, schedule: FitSchedule, limit: jax.Array, collect: Collect
    ) -> Block:
        space, thin = self.fit.space, self.thin
        length = len(schedule.drawing)
        drawing = jnp.asarray(schedule.drawing)[0]
        limit = jnp.asarray(limit, jnp.int32)
        chain_key = counter.derive(seed, space.chain_ids())

        def iterate(i: jax.Array, carry: tuple[Fitted, FitInfo]) -> tuple[Fitted, FitInfo]:
            (here, fit, finished), info = carry
            active = ~finished
            here, fit, told, ended = self.fit.improve(counter.derive(chain_key, here.step), here, fit, active)
            here = here._replace(step=here.step + active.astype(jnp.uint32))
            told = told._replace(leapfrogs=jnp.where(active, told.leapfrogs, 0))
            return Fitted(here, fit, finished | ended), _write(info, told, i)

        def draw(i: jax.Array, carry: tuple[State, dict, FitInfo]) -> tuple[State, dict, FitInfo]:
            here, draws, info = carry
            here, told = self.fit.draw(counter.derive(chain_key, here.step), here, state.fit)
            here = here._replace(step=here.step + drawing.astype(jnp.uint32))
            # Each draw overwrites those of its group of `thin`, so that the last one stays.
            row = jnp.minimum(i // thin, length // thin - 1)
            put = lambda buffer, value: lax.dynamic_update_index_in_dim(buffer, value, row, axis=1)  # noqa: E731
            draws = {n: put(draws[n], value) for n, value in collect(here.position).items()}
            kept = _write(info, told, i)
            return here, draws, jax.tree.map(lambda a, b: jnp.where(drawing, a, b), kept, info)

        rounds = jnp.where(drawing, 0, limit)
        info = _no_info(space.chains, length)
        state, info = _repeat(rounds, lambda c: jnp.any(~c[0].finished), iterate, (state, info))
        draws = {
            n: jnp.zeros((v.shape[0], length // thin, *v.shape[1:]), v.dtype)
            for n, v in jax.eval_shape(collect, state.here.position).items()
        }
        count = jnp.where(drawing, limit, 1)
        here, draws, info = _repeat(count, lambda c: True, draw, (state.here, draws, info))
        return Block(Fitted(here, state.fit, state.finished), draws, info, state.finished)


def pick(mask: jax.Array, a: Any, b: Any) -> Any:
    """Chain by chain, the tree `a` where mask[C], else `b`; every leaf has the chains first."""
    return jax.tree.map(lambda x, y: jnp.where(mask.reshape(-1, *(1,) * (x.ndim - 1)), x, y), a, b)


def normals(key: counter.Key, purpose: jax.Array | int, count: int) -> jax.Array:
    """float64[C, count] standard normals, equal on all devices of a chain."""
    own = counter.expand(counter.derive(key, purpose), 1)
    index = np.arange(count, dtype=np.uint32)
    return counter.normal(own, (index, np.zeros_like(index)), "float64")


def told(chains: int, **values: Any) -> FitInfo:
    """An info row; what is not given is zero, false, or NaN for what then has no meaning."""
    none = {**dict.fromkeys(FitInfo._fields, np.nan), "leapfrogs": 0, "divergent": False, "converged": False}
    kinds = {"leapfrogs": jnp.int32, "divergent": bool, "converged": bool}
    given = {**none, **values}
    return FitInfo(*(jnp.broadcast_to(jnp.asarray(given[f], kinds.get(f, jnp.float64)), chains) for f in given))


def _no_info(chains: int, length: int) -> FitInfo:
    row = jax.eval_shape(lambda: told(chains))
    return FitInfo(*(jnp.zeros((chains, length), x.dtype) for x in row))


def _write(info: FitInfo, row: FitInfo, i: jax.Array) -> FitInfo:
    put = lambda buffer, value: lax.dynamic_update_index_in_dim(buffer, value, i, axis=1)  # noqa: E731
    return FitInfo(*(put(b, v) for b, v in zip(info, row, strict=True)))


def _repeat(times: jax.Array, go: Callable[[Any], Any], body: Callable[[jax.Array, Any], Any], carry: Any) -> Any:
    """`body(i, carry)` for i below `times` while `go(carry)`."""
    start = (jnp.zeros((), jnp.int32), carry)
    return lax.while_loop(lambda c: (c[0] < times) & go(c[1]), lambda c: (c[0] + np.int32(1), body(c[0], c[1])), start)[
        1
    ]
