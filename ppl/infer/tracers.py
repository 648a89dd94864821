"""Tracers: a few hundred numbers of a position whose whole series can be kept where the positions cannot.

They are every element of small sites (hyper-parameters among them), elements of large sites at hashed places, and
projections of all large sites together on vectors of signs. One small all-reduce reads them; they are the same numbers
on any mesh.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ir import counter

from .space import Site, Space, Vector

SMALL = 16
"""Sites of at most so many elements are traced whole."""
PIXELS = 96
"""Elements traced of each larger site."""
PROJECTIONS = 8
_CHOICE = 0x54524143


@dataclass(frozen=True)
class Tracers:
    """The tracers of a space: `read` gives float64[C, size] of a position."""

    space: Space

    @cached_property
    def places(self) -> dict[str, np.ndarray]:
        """Per site, the row-major global positions of its traced elements."""
        found = {}
        for site in self.space.sites:
            parts, at = site.parts or (site,), 0
            chosen = []
            for part in parts:
                size = math.prod(part.shape)
                chosen.append(at + choose_places(part.name, size))
                at += size
            found[site.name] = np.concatenate(chosen)
        return found

    @cached_property
    def projected(self) -> tuple[Site, ...]:
        """The sites that are not traced whole."""
        return tuple(s for s in self.space.sites if len(self.places[s.name]) < math.prod(s.shape))

    @property
    def size(self) -> int:
        return sum(len(p) for p in self.places.values()) + (PROJECTIONS if self.projected else 0)

    @cached_property
    def weights(self) -> np.ndarray:
        """Of each tracer in a mean over latents, in which hyper-parameters count as much as fields; the sum is 1."""
        counts = []
        for site in self.space.sites:
            ends = np.cumsum([0, *(math.prod(p.shape) for p in site.parts or (site,))])
            found = np.searchsorted(ends, self.places[site.name], side="right")
            counts += np.unique(found, return_counts=True)[1].tolist()
        counts += [PROJECTIONS] if self.projected else []
        return np.concatenate([np.full(n, 1 / (n * len(counts))) for n in counts])

    def read(self, position: Vector) -> jax.Array:
        """float64[C, size]; one all-reduce."""
        own = [self.space.owned(s, elements(s, position[s.name], self.places[s.name])) for s in self.space.sites]
        if self.projected and not self.space.reproducible:
            sums = [self._project(site, position[site.name]) for site in self.projected]
            own.append(sum(sums[1:], sums[0]))
        found = self.space.all_reduce(jnp.concatenate(own, axis=1))
        if not (self.projected and self.space.reproducible):
            return found
        space = replace(self.space, sites=self.projected)
        words = {s.name: sign_bits(s) for s in self.projected}
        bit = lambda j: {n: (w >> np.uint32(j)) & np.uint32(1) for n, w in words.items()}  # noqa: E731
        signs = [{n: 2.0 * b.astype(jnp.float64) - 1 for n, b in bit(j).items()} for j in range(PROJECTIONS)]
        return jnp.concatenate([found, space.dots([(s, position) for s in signs]).T], axis=1)

    def _project(self, site: Site, x: jax.Array) -> jax.Array:
        """Sums over this block with the signs of each projection, [C, PROJECTIONS]; padding is zero and adds none."""
        word, wide = sign_bits(site), x.astype(jnp.float64)
        signed = [jnp.where((word >> np.uint32(j)) & np.uint32(1) == 1, wide, -wide) for j in range(PROJECTIONS)]
        zero = [np.float64(0)] * PROJECTIONS
        # One reduction of several operands is one pass over the block.
        sums = lax.reduce(signed, zero, lambda a, b: [p + q for p, q in zip(a, b, strict=True)], range(1, x.ndim))
        return self.space.owned(site, jnp.stack(sums, axis=1))


def elements(site: Site, x: jax.Array, places: np.ndarray) -> jax.Array:
    """float64[C, n]: the elements at row-major global places that lie in this block, zero for others."""
    if not site.shape:
        return x[:, None].astype(jnp.float64)
    inside, local = np.ones(len(places), bool), []
    for index, offset, extent in zip(np.unravel_index(places, site.shape), site.offset(), site.local, strict=True):
        here = index - offset
        inside = inside & (here >= 0) & (here < extent)
        local.append(jnp.clip(here, 0, extent - 1))
    return jnp.where(inside, x[(slice(None), *local)].astype(jnp.float64), 0.0)


def sign_bits(site: Site) -> jax.Array:
    """uint32[block]: a word for each element of the block, whose bits are the signs of up to 32 projections."""
    key = (np.uint32(counter.site_hash(site.name)), np.uint32(_CHOICE))
    return counter.bits(key, counter.global_index(site.local, site.offset(), site.shape))[0]


def choose_places(name: str, size: int, count: int = PIXELS) -> np.ndarray:
    """Row-major places of the traced elements, ascending: all of a small site, else about `count` by its name."""
    if size <= SMALL:
        return np.arange(size)
    rng = np.random.Generator(np.random.Philox([counter.site_hash(name), _CHOICE]))
    return np.unique(rng.integers(0, size, min(count, size)))


def autocorrelation_time(series: jax.Array, weights: np.ndarray) -> jax.Array:
    """float64[C]: the mean over tracers, of these weights, of the integrated autocorrelation time of series[C, N, T],
    in its rows.

    Geyer's initial positive sequence: pairs of autocorrelations are summed while they are positive. Tracers that do not
    move are left out; NaN if none does.
    """
    n = series.shape[1]
    centred = series - jnp.mean(series, axis=1, keepdims=True)
    spectrum = jnp.fft.rfft(centred, n=2 * n, axis=1)
    power = jnp.real(spectrum) ** 2 + jnp.imag(spectrum) ** 2
    covariance = jnp.fft.irfft(power, n=2 * n, axis=1)[:, : n - n % 2] / n
    moving = covariance[:, 0] > 0
    rho = covariance / jnp.where(moving, covariance[:, 0], 1.0)[:, None]
    pairs = rho[:, ::2] + rho[:, 1::2]
    positive = jnp.cumprod(pairs > 0, axis=1, dtype=jnp.int32)
    time = 2 * jnp.sum(pairs * positive, axis=1) - 1
    return jnp.sum(jnp.where(moving, time * weights, 0.0), axis=1) / jnp.sum(moving * weights, axis=1)
