"""Tracers of a quantity whose draws are not kept: numbers of a draw with whole chains, so that R-hat and ESS exist.

Of a quantity `white` these are, per draw,

    white~pixel       elements at places chosen by the hash of the name; the labels of the dim are row-major places
    white~projection  sums with random signs over sqrt(n): of white noise each has variance 1
    white~square      the mean of squares

They are made on the devices from blocks, each holding its own share, and are the same numbers on any mesh. A name with
`~` is none that a model can have.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ir.dims import TensorType

from ..io.store import Spec
from .space import Site
from .tracers import choose_places, sign_bits
from .tracers import elements as elements_at

PIXELS = 256
PROJECTIONS = 32
MARK = "~"
"""Stands in the names of tracers and of their dims."""


def tracer_specs(name: str, t: TensorType) -> dict[str, Spec]:
    """What a store keeps of each tracer of a quantity; `t` is without the chain dim."""
    pixels = len(_places(name, t.shape))
    return {
        f"{name}{MARK}pixel": Spec((f"{name}{MARK}place",), (pixels,)),
        f"{name}{MARK}projection": Spec((f"{name}{MARK}sign",), (PROJECTIONS,)),
        f"{name}{MARK}square": Spec(),
    }


def tracer_coords(name: str, t: TensorType) -> dict[str, np.ndarray]:
    """The labels of the tracers' dims."""
    return {f"{name}{MARK}place": _places(name, t.shape)}


def trace(site: Site, x: jax.Array) -> dict[str, jax.Array]:
    """This block's share of every tracer of x[C, ...], float64[C, ...]: their sums over the axes that cut the site.

    What lies on padding is not read.
    """
    count, real = math.prod(site.shape), site.real()
    x = x if real is None else jnp.where(real, x, jnp.zeros((), x.dtype))
    square = jnp.sum(jnp.square(x.astype(jnp.float64)), axis=range(1, x.ndim))
    return {
        f"{site.name}{MARK}pixel": elements_at(site, x, _places(site.name, site.shape)),
        f"{site.name}{MARK}projection": _project(site, x) / np.float64(math.sqrt(count)),
        f"{site.name}{MARK}square": square / np.float64(count),
    }


def _project(site: Site, x: jax.Array) -> jax.Array:
    """float64[C, PROJECTIONS]: sums with signs, one pass each: XLA:CPU vectorises those, and not one pass for all."""
    word = sign_bits(site)

    def one(j: jax.Array) -> jax.Array:
        wide = x.astype(jnp.float64)
        return jnp.sum(jnp.where((word >> j) & np.uint32(1) == 1, wide, -wide), axis=range(1, x.ndim))

    return lax.map(one, jnp.arange(PROJECTIONS, dtype=jnp.uint32)).T


def _places(name: str, shape: tuple[int, ...]) -> np.ndarray:
    return choose_places(name, math.prod(shape), PIXELS)
