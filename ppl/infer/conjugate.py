"""Exact draws of scales and probabilities from conjugate conditionals, which their gradients give away.

Given everything else, each element y of the unconstrained latents is to have a log density whose derivative is

    l'(y) = alpha - beta exp(c y)     exp(c y) ~ Gamma(alpha / c, rate beta / c):   c = 1 gamma, -1 inverse gamma,
                                      2 and -2 of the squares (scales of normals whose variances are conjugate)
    l'(y) = a - (a + b) sigmoid(y)    sigmoid(y) ~ Beta(a, b)

as those of precisions, variances, rates, band powers and probabilities are under their conjugate priors, log-Jacobians
included. Two gradients decide the two numbers of a family, for all elements at once, and a third which family it is.
They are then found again a deviation to either side of the mode, where no digits are lost. At the draw, whose
elements lie apart at random, the gradient must be as foretold: a chain for which it is not, as elements depend on each
other or the conditional is of no such family, stays where it is and its transition counts as divergent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ir import counter, counter_rejection
from ir.counter import Index, Key

from .independent import ExactInfo, Independent
from .protocol import State
from .space import Site, Vector, add, subtract

_POWERS = (1.0, -1.0, 2.0, -2.0)
"""The c of the families; the last one beside them is the beta's, of power 0."""
_PURPOSE = 0x636F6E6A
"""Of the gamma variates."""
_GRADIENTS = 5


class _Law(NamedTuple):
    """Of an element: l'(y) = alpha - beta e(y - at), e(v) = exp(power v); of power 0 e(v) = sigmoid(v + at)."""

    power: jax.Array
    alpha: jax.Array
    beta: jax.Array
    at: jax.Array

    @property
    def valid(self) -> jax.Array:
        c = jnp.where(self.power == 0, 1.0, self.power)
        beta_law = (self.power != 0) | (self.beta > self.alpha)
        return (self.alpha / c > 0) & (self.beta / c > 0) & jnp.isfinite(self.alpha + self.beta) & beta_law

    def misfit(self, y: jax.Array, g: jax.Array) -> jax.Array:
        """How far the gradient g at y is from this law's, as a share of its two parts; infinite where it is none."""
        e = self.beta * _shape(self.power, y, self.at)
        share = jnp.abs(self.alpha - e - g) / (jnp.abs(self.alpha) + jnp.abs(e))
        return jnp.where(self.valid & (share >= 0), share, jnp.inf)

    def mode(self) -> jax.Array:
        odds = self.alpha / (self.beta - self.alpha)
        mode = jnp.where(
            self.power == 0, jnp.log(odds), self.at + jnp.log(self.alpha / self.beta) / _or_one(self.power)
        )
        return jnp.where(self.valid, mode, self.at)

    def deviation(self) -> jax.Array:
        """Of a normal of the mode's curvature, between 1e-3 and 1."""
        curvature = jnp.where(self.power == 0, self.alpha * (1 - self.alpha / self.beta), self.alpha * self.power)
        return jnp.clip(1 / jnp.sqrt(jnp.where(self.valid, curvature, 1.0)), 1e-3, 1.0)


def _or_one(power: jax.Array) -> jax.Array:
    return jnp.where(power == 0, 1.0, power)


def _shape(power: jax.Array | float, y: jax.Array, at: jax.Array) -> jax.Array:
    return jnp.where(power == 0, jax.nn.sigmoid(y), jnp.exp(power * (y - at)))


_Point = tuple[jax.Array, jax.Array]
"""y and the gradient there."""


def _law(power: jax.Array | float, at: jax.Array, low: _Point, high: _Point) -> _Law:
    """From the gradients at two points."""
    (y0, g0), (y1, g1) = low, high
    e0, e1 = (_shape(power, y, at) for y in (y0, y1))
    beta = (g0 - g1) / (e1 - e0)
    return _Law(jnp.broadcast_to(power, at.shape), g0 + beta * e0, beta, at)


@dataclass(frozen=True, kw_only=True)
class Conjugate(Independent):
    """The method. tolerance: of the misfit."""

    tolerance: float = 1e-6

    def _draw(self, key: Key, state: State) -> tuple[State, ExactInfo]:
        space, x, g = self.space, state.position, state.gradient
        one = space.keep_real(space.full(1.0), 0.0)
        low, high = self._around(x, one)
        laws = {n: _likeliest(_wide(x[n]), _wide(g[n]), low[n], high[n]) for n in x}
        mode = {n: law.mode().astype(x[n].dtype) for n, law in laws.items()}
        reach = {n: law.deviation().astype(x[n].dtype) * one[n] for n, law in laws.items()}
        low, high = self._around(mode, reach)
        laws = {n: _law(law.power, _wide(mode[n]), low[n], high[n]) for n, law in laws.items()}
        position = space.keep_real(self._variates(key, laws), 0.0)
        log_density, gradient = self.target(position)
        off = {n: law.misfit(_wide(position[n]), _wide(gradient[n])) for n, law in laws.items()}
        off = space.keep_real(off, 0.0)
        misfit = jnp.sqrt(space.dots([(off, off)])[0])
        good = misfit <= self.tolerance  # false for NaN
        density = jnp.where(good, log_density, state.log_density)
        spent = jnp.full(space.chains, _GRADIENTS, jnp.int32)
        moved = State(
            space.where(good, position, x), space.where(good, gradient, g), density, state.step + np.uint32(1)
        )
        return moved, ExactInfo(density, spent, ~good, misfit)

    def _around(self, at: Vector, reach: Vector) -> list[dict[str, _Point]]:
        """Where and what the gradients are at `reach` below and above."""
        points = subtract(at, reach), add(at, reach)
        gradients = [self.target(x)[1] for x in points]
        return [{n: (_wide(x[n]), _wide(g[n])) for n in at} for x, g in zip(points, gradients, strict=True)]

    def _variates(self, key: Key, laws: dict[str, _Law]) -> Vector:
        """Draws of the laws."""

        def draw(own: Key, index: Index, site: Site) -> jax.Array:
            """[2, C, ...]: logarithms of the variate of each element, and of a beta's second one."""
            law = laws[site.name]
            first = jnp.where(law.power == 0, law.alpha, law.alpha / _or_one(law.power))
            second = jnp.where(law.power == 0, law.beta - law.alpha, 1.0)
            shapes = jnp.where(law.valid, jnp.stack([first, second]), 1.0)
            own = tuple(jnp.stack(w) for w in zip(*(counter.derive(own, i) for i in range(2)), strict=True))
            return counter_rejection.gamma(own, index, shapes, log=True)

        made = {}
        for n, (first, second) in self.space.noise(key, _PURPOSE, draw).items():
            law = laws[n]
            scaled = (first - jnp.log(law.beta / _or_one(law.power))) / _or_one(law.power)
            value = jnp.where(law.power == 0, first - second, law.at + scaled)
            made[n] = jnp.where(law.valid, value, law.at)
        return {s.name: made[s.name].astype(s.dtype) for s in self.space.sites}


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float64)


def _likeliest(y: jax.Array, g: jax.Array, low: _Point, high: _Point) -> _Law:
    """Element by element, the family whose gradient at y, between the two points, is nearest to g."""
    best = _law(_POWERS[0], y, low, high)
    least = best.misfit(y, g)
    for power in (*_POWERS[1:], 0.0):
        law = _law(power, y, low, high)
        miss = law.misfit(y, g)
        best = _Law(*(jnp.where(miss < least, new, old) for new, old in zip(law, best, strict=True)))
        least = jnp.minimum(miss, least)
    return best
