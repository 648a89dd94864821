"""Exact draws where the density is Gaussian: its mean and covariance follow from gradients alone.

The gradient of a Gaussian density is affine, g(x) = -H (x - m), so that differences of gradients are exact products
with H. A draw is m + u with m = x + H^-1 g(x) and u = H^-1/2 z: by the eigenvectors of H, made of d gradients, for few
dims; for fields by conjugate gradients and Lanczos (`ppl.infer.krylov`), which touch no vector but the latents' own
(constrained realisations: Hoffman and Ribak, ApJ 380, L5, 1991, without a split of H into prior and data).

The affine gradient is checked at the draw and at its mirror image: g(m + u) + g(m - u) = 0 and <u, g(m + u)> = -|z|^2.
A chain for which either is off by more than the tolerance, or H is not positive definite, stays where it is and its
transition counts as divergent.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ir import lapack
from ir.counter import Key

from .independent import ExactInfo, Independent
from .krylov import conjugate_gradients, inverse_root
from .protocol import MOMENTUM, State
from .space import Vector, add, subtract

_REFINEMENT = 1e-2
"""Accuracy of the second step to the mean, whose length is the first one's error."""


@dataclass(frozen=True)
class ExactGaussian(Independent):
    """The method.

    tolerance: of the misfit. dense: latents of a chain up to which H is made and factored; the solver for more needs
    some 20 sqrt(condition number) gradients whatever d is. accuracy: of its residuals. iterations: of it at most.
    """

    tolerance: float = 1e-3
    dense: int = 256
    accuracy: float = 1e-6
    iterations: int = 1000

    @property
    def is_dense(self) -> bool:
        """Whether the latents are one short vector that every device holds whole."""
        sites = self.space.sites
        whole = len(sites) == 1 and len(sites[0].shape) == 1 and sites[0].local == sites[0].shape
        alike = not self.space.reproducible  # another mesh might split them
        return whole and alike and not self.space.reduce_axes and self.space.degrees <= self.dense

    def _draw(self, key: Key, state: State) -> tuple[State, ExactInfo]:
        space, x, g = self.space, state.position, state.gradient
        z = space.normal(key, MOMENTUM)
        reach = self._reach(x, g)

        def product(v: Vector) -> Vector:
            """H v from one gradient, so far away that the difference is as large as the gradient here."""
            square = space.dots([(v, v)])[0]
            step = reach / jnp.sqrt(jnp.where(square > 0, square, 1.0))
            there = self.target(space.axpy(step, v, x))[1]
            return {n: d / space.spread(step, d) for n, d in subtract(g, there).items()}

        if self.is_dense:
            mean, u, gradients, solved = self._factored(product, x, g, z)
        else:
            mean, u, gradients, solved = self._krylov(product, x, g, z)
        position = add(mean, u)
        log_density, gradient = self.target(position)
        _, mirrored = self.target(subtract(mean, u))
        odd, whole, energy, square = space.dots(
            [(s := add(gradient, mirrored), s), (gradient, gradient), (u, gradient), (z, z)]
        )
        misfit = jnp.maximum(jnp.sqrt(odd / whole), jnp.abs(energy / square + 1))
        good = solved & (misfit <= self.tolerance)  # false for NaN
        info = ExactInfo(jnp.where(good, log_density, state.log_density), gradients + 3, ~good, misfit)
        where = space.where
        return State(
            where(good, position, x), where(good, gradient, g), info.log_density, state.step + np.uint32(1)
        ), info

    def _reach(self, x: Vector, g: Vector) -> jax.Array:
        """float64[C]: about the distance to the mean, or of a draw from it if that is larger, by the curvature along
        the gradient."""
        space = self.space
        square = space.dots([(g, g)])[0]
        step = jnp.sqrt(space.degrees / jnp.where(square > 0, square, 1.0))
        bent = subtract(g, self.target(space.axpy(step, g, x))[1])
        curvature = space.dots([(g, bent)])[0] / (step * square)
        good = (curvature > 0) & jnp.isfinite(curvature)
        curvature = jnp.where(good, curvature, 1.0)
        return jnp.maximum(jnp.sqrt(space.degrees / curvature), jnp.sqrt(square) / curvature)

    def _factored(self, product, x: Vector, g: Vector, z: Vector) -> tuple[Vector, Vector, jax.Array, jax.Array]:
        ((name, noise),) = z.items()
        chains, d = noise.shape

        def column(i: jax.Array) -> jax.Array:
            unit = jnp.broadcast_to((jnp.arange(d) == i).astype(noise.dtype), (chains, d))
            return product({name: unit})[name].astype(jnp.float64)

        h = jnp.moveaxis(lax.map(column, jnp.arange(d)), 0, 2)
        # The symmetric root, as the solver's: a draw is the same whether or not a mesh splits the latents.
        values, vectors = lapack.eigh(0.5 * (h + jnp.swapaxes(h, 1, 2)))
        solved = values[:, 0] > 0  # false for NaN
        values = jnp.where(solved[:, None], values, 1.0)

        def power(exponent: float, b: jax.Array) -> jax.Array:
            along = jnp.einsum("cij,ci->cj", vectors, b.astype(jnp.float64))
            return jnp.einsum("cij,cj->ci", vectors, values**exponent * along)

        def step(g: Vector) -> Vector:
            return {name: power(-1.0, g[name]).astype(noise.dtype)}

        mean = add(x, step(g))
        # Once more from there: errors of H count for far starts only.
        mean = add(mean, step(self.target(mean)[1]))
        count = jnp.full(chains, d + 1, jnp.int32)
        return mean, {name: power(-0.5, noise).astype(noise.dtype)}, count, solved

    def _krylov(self, product, x: Vector, g: Vector, z: Vector) -> tuple[Vector, Vector, jax.Array, jax.Array]:
        # Residuals below the rounding of a difference of gradients cannot be reached.
        rounding = max(float(np.finfo(s.dtype).eps) for s in self.space.sites)
        accuracy = max(self.accuracy, 50 * rounding)
        first, _ = conjugate_gradients(self.space, product, g, accuracy, self.iterations)
        mean = add(x, first.y)
        # Once more from there: errors of the products count for far starts only.
        left = self.target(mean)[1]
        second, _ = conjugate_gradients(self.space, product, left, _REFINEMENT, self.iterations)
        u, products, solved = inverse_root(self.space, product, z, accuracy, self.iterations)
        count = products + first.iterations + second.iterations + 1
        return add(mean, second.y), u, count, solved & first.solved
