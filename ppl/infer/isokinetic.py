"""Isokinetic motion: the scalars of microcanonical dynamics, in which a direction of unit length turns uphill.

With whitened gradient g = F^T grad l(x) and direction |u| = 1 in d dims, x' = F u, u' = (1 - u u^T) g / (d - 1) keeps
exp(l) and the uniform measure of u (Robnik, De Luca, Silverstein & Seljak 2023, arXiv:2212.08549). It is split
into drifts, x += h F u, and kicks, exact in closed form (Steeg & Galstyan 2021, arXiv:2111.02434): with e = g / |g|,
c = <u, e>, del = h |g| / (d - 1), z = exp(-del),

    u <- (a e + b u) / |a e + b u|,   a = (1 - z)(1 + z + c (1 - z)),   b = 2 z,   |a e + b u|^2 = a^2 + b^2 + 2 a b c
    kinetic change  dK = (d - 1) log(cosh del + c sinh del)

The energy error of a step is the sum of its dK less the change of l. A refreshment turns the direction at random,
u <- (u + nu n) / |u + nu n| with nu^2 = (exp(2 h / L) - 1) / d for noise n, and costs no energy.

All scalars are float64[C]. Two kicks are one, of a linear combination of u and g, which three products decide; with a
refreshment between them (`turn`) it is one of (u, g, n) and takes six.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

_TINY = 1e-300


class Scheme(NamedTuple):
    """A palindromic splitting, one entry a gradient: the kick before and after each refreshment, and the drift, as
    parts of the step. Kicks that no refreshment divides are halved."""

    closing: tuple[float, ...]
    opening: tuple[float, ...]
    drift: tuple[float, ...]

    @property
    def gradients(self) -> int:
        return len(self.drift)


_B1 = 0.1931833275037836
"""McLachlan (1995), SIAM J. Sci. Comput. 16, 151: the smallest error of all two-gradient splittings."""
SCHEMES = {
    "verlet": Scheme((0.5,), (0.5,), (1.0,)),
    "minimal_norm": Scheme((_B1, 0.5 - _B1), (_B1, 0.5 - _B1), (0.5, 0.5)),
}


class Kick(NamedTuple):
    """u <- along u + gradient g, and the change of the kinetic energy."""

    along: jax.Array
    gradient: jax.Array
    kinetic: jax.Array


def kick(gg: jax.Array, ug: jax.Array, h: jax.Array, dims: float) -> Kick:
    """A kick of length h for |u| = 1, from <g, g> and <u, g>."""
    size = jnp.sqrt(jnp.maximum(gg, _TINY))
    c = jnp.clip(ug / size, -1.0, 1.0)
    d = h * size / (dims - 1)
    z, rest = jnp.exp(-d), -jnp.expm1(-d)
    a, b = rest * (1 + z + c * rest), 2 * z
    norm = jnp.sqrt(jnp.maximum(a * a + b * b + 2 * a * b * c, _TINY))
    # cosh del + c sinh del = exp(del) (1 - (1 - c)(1 - z^2) / 2): no digits are lost for small del.
    inside = jnp.maximum(0.5 * (1 - c) * jnp.expm1(-2 * d), -1 + 1e-16)
    return Kick(b / norm, a / (norm * size), (dims - 1) * (d + jnp.log1p(inside)))


def kick_again(first: Kick, gg: jax.Array, ug: jax.Array, h: jax.Array, dims: float) -> Kick:
    """`first`, from <g, g> and <u, g>, and then a kick of length h, as one; `kinetic` is that of the second alone."""
    then = kick(gg, first.gradient * gg + first.along * ug, h, dims)
    return Kick(then.along * first.along, then.gradient + then.along * first.gradient, then.kinetic)


class Products(NamedTuple):
    """Inner products of the direction u, the whitened gradient g and the noise n."""

    gg: jax.Array
    ug: jax.Array
    uu: jax.Array
    gn: jax.Array
    un: jax.Array
    nn: jax.Array


class Turn(NamedTuple):
    """u <- along u + gradient g + noise n, of unit length after it; `closing` and `opening` are the dK of the kicks."""

    along: jax.Array
    gradient: jax.Array
    noise: jax.Array
    opening: jax.Array


def turn(p: Products, closing: Kick, refresh: jax.Array, h: jax.Array, dims: float) -> Turn:
    """The closing kick, a refreshment of strength nu = `refresh`, and an opening kick of length h, as one."""
    scale = 1 / jnp.sqrt(jnp.maximum(p.uu, _TINY))
    ug, un = p.ug * scale, p.un * scale
    kicked_g = closing.gradient * p.gg + closing.along * ug
    kicked_n = closing.gradient * p.gn + closing.along * un
    inverse = 1 / jnp.sqrt(jnp.maximum(1 + 2 * refresh * kicked_n + refresh**2 * p.nn, _TINY))
    opening = kick(p.gg, (kicked_g + refresh * p.gn) * inverse, h, dims)
    return Turn(
        opening.along * closing.along * inverse * scale,
        opening.gradient + opening.along * closing.gradient * inverse,
        opening.along * refresh * inverse,
        opening.kinetic,
    )


def refreshment(h: jax.Array, length: jax.Array, dims: float) -> jax.Array:
    """nu of a path h, where directions are forgotten over the path `length`."""
    return jnp.sqrt(jnp.expm1(2 * h / length) / dims)


def energy_variance(bias: float) -> float:
    """The variance per dim of the energy errors of an unadjusted chain whose second moments have this bias.

    Bias is (E_chain[x^2] - E[x^2]) / sd[x^2], in root mean square over latents; the relation is that of Robnik & Seljak
    (arXiv:2412.08876), from Gaussian targets of many dims.
    """
    return 4 * bias**3 / (1 + bias) ** 2


def squared_bias(variance: float) -> float:
    """The squared bias that belongs to an energy variance. It speaks of the average: a single latent can be worse off,
    and what all latents pull on alike is (`ppl.report.unadjusted`)."""
    if not variance > 0:
        return 0.0 if variance == 0 else float("nan")
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if energy_variance(middle) < variance else (low, middle)
    return low**2
