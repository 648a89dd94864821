"""Tracers of a quantity whose draws are not kept: numbers of a draw with whole chains, so that R-hat and ESS exist.

Of a quantity `white` these are, per draw,

    white~pixel       elements at places chosen by the hash of the name; the labels of the dim are row-major places
    white~projection  sums with random signs over sqrt(n): of white noise each has variance 1
    white~square      the mean of squares
    white~power       the mean square of a few plane waves of each band of wavenumbers (`ppl.infer.waves`); the labels
                      of the dim are the bands' middle frequencies [cycles per element]

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
from .waves import choose_bands, power

PIXELS = 256
PROJECTIONS = 32
PIECE = 2**14
"""Elements whose signs are formed at once."""
MARK = "~"
"""Stands in the names of tracers and of their dims."""


def tracer_specs(name: str, t: TensorType) -> dict[str, Spec]:
    """What a store keeps of each tracer of a quantity; `t` is without the chain dim."""
    pixels, bands = len(_places(name, t.shape)), len(choose_bands(name, t.shape))
    waves = {f"{name}{MARK}power": Spec((f"{name}{MARK}frequency",), (bands,))} if bands else {}
    return {
        f"{name}{MARK}pixel": Spec((f"{name}{MARK}place",), (pixels,)),
        f"{name}{MARK}projection": Spec((f"{name}{MARK}sign",), (PROJECTIONS,)),
        f"{name}{MARK}square": Spec(),
        **waves,
    }


def tracer_coords(name: str, t: TensorType) -> dict[str, np.ndarray]:
    """The labels of the tracers' dims."""
    bands = choose_bands(name, t.shape)
    middles = {f"{name}{MARK}frequency": np.array([math.sqrt(b.low * b.high) for b in bands])} if bands else {}
    return {f"{name}{MARK}place": _places(name, t.shape), **middles}


def trace(site: Site, x: jax.Array) -> dict[str, jax.Array]:
    """This block's share of every tracer of x[B, ...] that is a sum, float64[B, ...]: of all but the powers.

    The tracers are their sums over the axes that cut the site.
    B counts draws of chains. What lies on padding is not read.
    """
    count, (sums, square) = math.prod(site.shape), _sums(site, x)
    return {
        f"{site.name}{MARK}pixel": elements_at(site, x, _places(site.name, site.shape)),
        f"{site.name}{MARK}projection": sums / np.float64(math.sqrt(count)),
        f"{site.name}{MARK}square": square / np.float64(count),
    }


def powers(site: Site, x: jax.Array) -> dict[str, jax.Array]:
    """The tracers of x[B, ...] that are no sums, float64[B, bands], over all devices; none where there are no bands."""
    return {f"{site.name}{MARK}power": power(site, x)} if choose_bands(site.name, site.shape) else {}


def _sums(site: Site, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """float64[B, PROJECTIONS] sums with signs, and float64[B] of squares.

    A piece of `PIECE` elements at a time, whose signs are a matrix: nothing of the block's size is formed but a word
    for each element.
    """
    size, word, real = math.prod(site.local), sign_bits(site).reshape(-1), site.real()
    flat, piece = x.reshape(x.shape[0], -1), min(PIECE, size)
    real = jnp.broadcast_to(real, site.local).reshape(-1) if real is not None else None
    columns, along = np.arange(PROJECTIONS, dtype=np.uint32), np.arange(piece, dtype=np.int64)

    def add(k: jax.Array, sums: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        # The last piece begins early enough to be whole; what an earlier one had is left out.
        begin = k * np.int64(piece)
        at = jnp.minimum(begin, np.int64(size - piece))
        own = at + along >= begin
        if real is not None:
            own = own & lax.dynamic_slice_in_dim(real, at, piece)
        values = jnp.where(own, lax.dynamic_slice_in_dim(flat, at, piece, axis=1), jnp.zeros((), x.dtype))
        values = values.astype(jnp.float64)
        bits = (lax.dynamic_slice_in_dim(word, at, piece)[:, None] >> columns) & np.uint32(1)
        signs = bits.astype(jnp.float64) * 2.0 - 1.0
        product = jnp.matmul(values, signs, precision=lax.Precision.HIGHEST)
        return sums[0] + product, sums[1] + jnp.sum(jnp.square(values), axis=1)

    zero = jnp.zeros((x.shape[0], PROJECTIONS), jnp.float64), jnp.zeros(x.shape[0], jnp.float64)
    return lax.fori_loop(np.int64(0), np.int64(-(-size // piece)), add, zero)


def _places(name: str, shape: tuple[int, ...]) -> np.ndarray:
    return choose_places(name, math.prod(shape), PIXELS)
