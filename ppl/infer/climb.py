"""Ascent to the mode by line searches: L-BFGS and nonlinear conjugate gradients, one gradient a round for all chains.

A round is one trial of every chain's line search; where the trial is taken, the chain moves and has its next direction
in the same round. All scalars of a round come from one all-reduce.

A chain has converged when its latest step changed l by no more than `tolerance` max(1, |l|), and the gain that the
next step promises, g.d/2, is no more than that: the relative change of the log density, and the gradient's norm in the
metric of the direction, relative to the log density. A tolerance below the rounding of the latents' dtype is taken as
that rounding. A line search that fails is tried once more from the plain gradient; if it fails again the chain has
stalled: it has finished, and it has converged only if the promised gain is below what rounding can tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ir.counter import Key

from .fit import FitInfo, pick, told
from .history import Pairs, Products, append, ascent, forget, no_pairs, wanted
from .linesearch import Search, begin_search, exhausted, judge
from .metric import Metric
from .protocol import Handover, State, Target
from .space import Space, Vector, subtract


class Direction(Protocol):
    """How the next direction is made; `memory` is a tree of per-chain leaves."""

    curvature: float
    """The line search's bound on |phi'|, relative to its start."""

    def copies(self) -> int:
        """Vectors that the memory holds."""
        ...

    def empty(self, space: Space) -> Any: ...

    def products(self, memory: Any, s: Vector, z: Vector, g: Vector) -> list[tuple[Vector, Vector]]:
        """What `turn` needs the inner products of; the last three are (g, s), (g, z), (g, g)."""
        ...

    def turn(
        self, space: Space, memory: Any, taken: jax.Array, found: list, s: Vector, z: Vector, g: Vector, before: Turn
    ) -> tuple[Any, Vector, jax.Array, jax.Array]:
        """After the step s to the gradient g, where taken[C]: memory, direction d, slope <g, d>, first trial."""
        ...

    def forget(self, memory: Any, where: jax.Array) -> Any: ...


class Turn(NamedTuple):
    """What a direction may use of the step before: float64[C]."""

    step: jax.Array
    square: jax.Array  # <g, g> where it began


class Ascent(NamedTuple):
    """The state of the climb, beside the iterate."""

    direction: Vector
    memory: Any
    search: Search
    square: jax.Array  # <g, g> at the iterate
    plain: jax.Array  # bool[C]: the direction is the gradient's
    converged: jax.Array
    failed: jax.Array


@dataclass(frozen=True)
class Lbfgs:
    """Limited-memory BFGS with m pairs (Nocedal & Wright 2006, section 7.2)."""

    m: int = 10
    curvature: float = 0.9

    def copies(self) -> int:
        """The pairs, and once more while one enters, as XLA:CPU's peak has them."""
        return 4 * self.m

    def empty(self, space: Space) -> Pairs:
        return no_pairs(space, self.m)

    def products(self, memory: Pairs, s: Vector, z: Vector, g: Vector) -> list[tuple[Vector, Vector]]:
        return wanted(memory, s, z, g)

    def turn(
        self, space: Space, memory: Pairs, taken: jax.Array, found: list, s: Vector, z: Vector, g: Vector, before: Turn
    ) -> tuple[Pairs, Vector, jax.Array, jax.Array]:
        memory, products, _ = append(memory, taken, s, z, Products(*found))
        direction, slope = ascent(space, memory, products, g)
        return memory, direction, slope, jnp.ones_like(slope)

    def forget(self, memory: Pairs, where: jax.Array) -> Pairs:
        return forget(memory, where)


@dataclass(frozen=True)
class ConjugateGradient:
    """Nonlinear conjugate gradients, Polak-Ribiere with beta >= 0, which restarts by itself (N & W 2006, eq. 5.45)."""

    curvature: float = 0.1

    def copies(self) -> int:
        return 0

    def empty(self, space: Space) -> tuple[()]:
        return ()

    def products(self, memory: Any, s: Vector, z: Vector, g: Vector) -> list[tuple[Vector, Vector]]:
        return [(g, s), (g, z), (g, g)]

    def turn(
        self, space: Space, memory: Any, taken: jax.Array, found: list, s: Vector, z: Vector, g: Vector, before: Turn
    ) -> tuple[Any, Vector, jax.Array, jax.Array]:
        gs, gz, gg = found
        # <g, g - g_old> = -<g, z>; s is the step times the direction.
        beta = jnp.maximum(0.0, -gz / before.square)
        slope = gg + beta * gs / before.step
        beta = jnp.where(slope > 0, beta, 0.0)
        slope = jnp.where(slope > 0, slope, gg)
        direction = space.axpy(beta / before.step, s, g)
        return memory, direction, slope, before.step

    def forget(self, memory: Any, where: jax.Array) -> Any:
        return memory


@dataclass(frozen=True)
class Climb:
    """The fit; it holds the iterate and its gradient, one direction, the trial's gradient, and the memory."""

    space: Space
    target: Target
    way: Direction
    tolerance: float = 1e-8

    def copies(self) -> int:
        """Iterate and gradient 2, direction, trial and its gradient 3; passing 3; what the direction remembers."""
        return 8 + self.way.copies()

    def begin(self, start: Handover) -> Ascent:
        here = start.state
        square = self.space.dots([(here.gradient, here.gradient)])[0]
        direction, search = self._plain(here, square)
        bad = ~(jnp.isfinite(here.log_density) & jnp.isfinite(square))
        still = square == 0
        return Ascent(direction, self.way.empty(self.space), search, square, square >= 0, still & ~bad, bad)

    def _plain(self, here: State, square: jax.Array) -> tuple[Vector, Search]:
        """Along the gradient, scaled to length 1; the first trial goes no further than that."""
        norm = jnp.sqrt(square)
        unit = jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1.0), 0.0)
        direction = {n: self.space.spread(unit, x) * x for n, x in here.gradient.items()}
        return direction, begin_search(here.log_density, norm, jnp.minimum(1.0, norm))

    def rounding(self) -> float:
        """The relative rounding of log densities."""
        return float(max((np.finfo(s.dtype).eps for s in self.space.sites), default=2.0**-52))

    def improve(self, key: Key, here: State, fit: Ascent, active: jax.Array) -> tuple[State, Ascent, FitInfo, Any]:
        here, fit, ended, info, _ = self.round(here, fit, active)
        return here, fit, info, ended

    def round(
        self, here: State, fit: Ascent, active: jax.Array
    ) -> tuple[State, Ascent, jax.Array, FitInfo, tuple[jax.Array, Vector, Vector]]:
        """`improve`, and the step: (taken[C], s, z)."""
        space, search = self.space, fit.search
        active = active & ~fit.converged & ~fit.failed
        s = {n: space.spread(search.step, d) * d for n, d in fit.direction.items()}
        position = {n: x + s[n] for n, x in here.position.items()}
        value, gradient = self.target(position)
        z = subtract(here.gradient, gradient)
        found = space.inner(self.way.products(fit.memory, s, z, gradient))
        gs, _, gg = found[-3:]
        size = jnp.maximum(1.0, jnp.abs(here.log_density))
        eps = self.rounding()
        taken, following = judge(search, value, gs / search.step, self.way.curvature, eps * size)
        taken = taken & active & jnp.isfinite(gg)
        memory, direction, slope, step = self.way.turn(
            *(space, fit.memory, taken, found, s, z, gradient, Turn(search.step, fit.square))
        )
        limit = max(self.tolerance, eps) * jnp.maximum(1.0, jnp.abs(value))
        close = (jnp.abs(value - here.log_density) <= limit) & (0.5 * step * slope <= limit)
        converged = taken & (close | (gg == 0))
        # A search that found nothing: once more along the gradient, unless it was.
        spent = active & ~taken & exhausted(following)
        again, stalled = spent & ~fit.plain, spent & fit.plain
        resolved = 0.5 * search.slope * jnp.minimum(search.slope, 1.0) <= 10 * eps * size
        plain, plain_search = self._plain(here, fit.square)
        here = State(
            space.where(taken, position, here.position),
            space.where(taken, gradient, here.gradient),
            jnp.where(taken, value, here.log_density),
            here.step,
        )
        going = active & ~taken & ~spent
        next_search = begin_search(value, slope, step)
        fit = Ascent(
            space.where(taken, direction, space.where(again, plain, fit.direction)),
            self.way.forget(memory, again),
            pick(taken, next_search, pick(again, plain_search, pick(going, following, search))),
            jnp.where(taken, gg, fit.square),
            jnp.where(taken, False, fit.plain | again),
            fit.converged | converged | (stalled & resolved),
            fit.failed | (stalled & ~resolved),
        )
        ended = fit.converged | fit.failed
        return here, fit, ended, self._told(here, fit, 1), (taken, s, z)

    def draw(self, key: Key, here: State, fit: Ascent) -> tuple[State, FitInfo]:
        """The point itself."""
        return here, self._told(here, fit, 0)

    def _told(self, here: State, fit: Ascent, gradients: int) -> FitInfo:
        return told(
            self.space.chains,
            leapfrogs=gradients,
            divergent=~jnp.isfinite(here.log_density),
            log_density=here.log_density,
            objective=here.log_density,
            gradient_norm=jnp.sqrt(fit.square),
            converged=fit.converged,
        )

    def metric(self, fit: Ascent) -> Metric | None:
        """A mode has no width."""
        return None
