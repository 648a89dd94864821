"""A few plane waves of a site by band of wavenumber, without a transform: sums with cosines of global indices.

A mode m is the wave exp(-2 pi i sum_d m_d j_d / n_d) of the site's global indices j: orthogonal to all others whatever
the grid stands for, and a Fourier mode of a periodic one. Bands are of its frequency f = |m / n| [cycles per element],
equal in log f from the longest wave to 1/2; modes are drawn by the hash of the site's name, at most `MODES` a band.
A mode costs one pass over the block and nothing of its size; all modes together one small all-reduce.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ir import counter

from .space import Site

BANDS, MODES = 5, 8
_CANDIDATES = 4000


class Band(NamedTuple):
    """Frequencies from `low` to `high` [cycles per element], and modes of them, int64[M, rank]."""

    low: float
    high: float
    modes: np.ndarray


@lru_cache(maxsize=256)
def choose_bands(name: str, shape: tuple[int, ...]) -> tuple[Band, ...]:
    """The bands of a site that have at least two modes; no two modes are each other's conjugates."""
    size = np.array(shape, np.float64)
    edges = np.geomspace(1.0 / size.max(), 0.5, BANDS + 1) * (1 + 1e-9)
    edges[0] *= 1 - 1e-6
    rng = np.random.Generator(np.random.Philox(int(counter.site_hash(name))))
    found = []
    for low, high in itertools.pairwise(edges):
        direction = rng.normal(size=(_CANDIDATES, len(shape)))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length = np.exp(rng.uniform(np.log(low), np.log(high), _CANDIDATES))
        modes = np.rint(direction * length[:, None] * size).astype(np.int64)
        # One of each pair of conjugates, and none that is its own: those are real, and count once.
        first = np.argmax(modes != 0, axis=1)
        modes *= np.where(modes[np.arange(len(modes)), first] < 0, -1, 1)[:, None]
        frequency = np.linalg.norm(modes / size, axis=1)
        inside = (frequency > low) & (frequency <= high) & (2 * np.abs(modes) < size).all(axis=1)
        _, places = np.unique(modes[inside], axis=0, return_index=True)
        chosen = modes[inside][np.sort(places)[:MODES]]
        if len(chosen) > 1:
            found.append(Band(float(low), float(high), chosen))
    return tuple(found)


def project(site: Site, x: jax.Array, modes: np.ndarray) -> jax.Array:
    """float64[M, 2, C]: real and imaginary part of each mode of a block x[C, ...], over all devices and sqrt(n)."""

    def one(mode: jax.Array) -> jax.Array:
        real, imaginary = x, None
        for d in reversed(range(len(site.shape))):
            cosine, sine = _phases(site, d, mode[d])
            if imaginary is None:
                real, imaginary = _along(real, cosine), -_along(real, sine)
            else:
                parts = (_along(real, cosine), _along(imaginary, sine), _along(imaginary, cosine), _along(real, sine))
                real, imaginary = parts[0] + parts[1], parts[2] - parts[3]
        assert imaginary is not None
        return jnp.stack([real, imaginary])

    made = lax.map(one, jnp.asarray(modes, jnp.int64))
    axes = tuple(dict.fromkeys(a for cut in site.split for a in cut))
    return (lax.psum(made, axes) if axes else made) / np.sqrt(float(np.prod(site.shape)))


def power(site: Site, x: jax.Array) -> jax.Array:
    """float64[C, bands]: the mean over each band's modes of the square of their modulus; of white noise it is 1."""
    found = [project(site, x, band.modes) for band in choose_bands(site.name, site.shape)]
    return jnp.stack([jnp.mean(jnp.sum(jnp.square(made), axis=1), axis=0) for made in found], axis=1)


def _phases(site: Site, d: int, m: jax.Array) -> tuple[jax.Array, jax.Array]:
    """cos and sin of 2 pi m j / n along a dim of the block, float64; zero on padding."""
    n = site.shape[d]
    j = lax.iota(jnp.int64, site.local[d]) + jnp.asarray(site.offset()[d], jnp.int64)
    angle = ((m * j) % np.int64(n)).astype(jnp.float64) * (2 * np.pi / n)
    real = j < n
    return jnp.where(real, jnp.cos(angle), 0.0), jnp.where(real, jnp.sin(angle), 0.0)


def _along(x: jax.Array, w: jax.Array) -> jax.Array:
    """The sum over the last axis with weights; widened as it is added up, so that nothing of x's size is stored."""
    return jnp.sum(x.astype(jnp.float64) * w, axis=-1)
