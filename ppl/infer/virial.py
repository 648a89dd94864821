"""Equipartition of large sites: E[-(x - c) . g] = d for draws x of a density, gradients g of its log, any constant c.

It is integration by parts, latent by latent (the virial theorem of the potential -log p), in the unconstrained space.
Draws that have not reached the posterior, or of a sampler whose step biases it, miss it: spread by a factor s about
the mode of a normal they give s^2.

One value a chain is taken at the end of a block, of at most `VALUES` blocks, and costs one gradient. c is where the
chain stood when the first draw was about to be made: near the mean, which keeps the noise at about (3/d)^(1/2), and not
made of later draws, which would bias a short run.

The same holds in any orthonormal basis: for a few plane waves of every band of wavenumbers (`ppl.infer.waves`) too, on
which samplers fail first: large scales move slowest. A value of a band is the mean over its modes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import backend_cuda as backend

from .engine import Engine, space_of
from .protocol import State
from .space import Site, Vector, subtract
from .waves import choose_bands, project

LARGE = 1000
"""Sites of more elements are measured; of smaller ones one value says little."""
VALUES = 64
BATCHES = 8
"""Each chain's values are averaged in so many batches, whose scatter gives the standard error."""


def large_sites(engine: Engine) -> tuple[Site, ...]:
    """The sites that are measured: those that move and are large."""
    return tuple(s for s in space_of(engine.gradient, engine.options.only).sites if s.degrees > LARGE)


class Virial:
    """The values of one run's last stage; `blocks` is how many blocks of draws are to come."""

    def __init__(self, engine: Engine, state: Any, blocks: int):
        self.engine, self.sites = engine, () if engine.options.fits or engine.options.pooled else large_sites(engine)
        self.every, self.seen = max(1, blocks // VALUES), 0
        self.values: list[tuple[np.ndarray, ...]] = []
        self.bands = [choose_bands(s.name, s.shape) for s in self.sites]
        # A handover may be the state's own arrays, which the next block uses up.
        self.centre = {n: x.copy() for n, x in self._large(self._stand(state).position).items()} if self.sites else {}

    def add(self, state: Any) -> None:
        """The state after a block of draws."""
        self.seen += 1
        if not self.sites or self.seen % self.every:
            return
        here = self._stand(state)
        large = [self._large(v) for v in (here.position, here.gradient)]
        found = self.engine.measure("virial", self._body, *large, self.centre)
        self.values.append(tuple(backend.to_host(x)[: self.engine.options.chains] for x in found))

    def attrs(self) -> dict[str, Any]:
        """{"virial": {site: {"mean", "error", "values", "bands"}}} of mean and standard error per dim; nothing without
        values. "bands" lists {"low", "high", "mean", "error"}, low and high in cycles per element.

        Numbers that are not finite, and the error of fewer than four batches in all, are None.
        """
        if not self.values:
            return {}
        found = {}
        for site, bands, values in zip(self.sites, self.bands, zip(*self.values, strict=True), strict=True):
            whole = np.stack(values, axis=1)  # [chain, value, 1 + band]
            rows = [_mean_and_error(whole[..., k]) for k in range(whole.shape[2])]
            told = [{"low": b.low, "high": b.high, **row} for b, row in zip(bands, rows[1:], strict=True)]
            found[site.name] = {**rows[0], "values": whole[..., 0].size, "bands": told}
        return {"virial": found}

    def _stand(self, state: Any) -> State:
        # What a method's state calls its gradient may be of a tempered target, or of a block of latents alone.
        left = self.engine.handover(state).state
        return left if self.engine.options.only is not None else self.engine.stand(left.position, left.step)

    def _large(self, vector: Vector) -> Vector:
        return {s.name: vector[s.name] for s in self.sites}

    def _body(self, position: Vector, gradient: Vector, centre: Vector) -> tuple[jax.Array, ...]:
        """float64[C, 1 + bands] of each site."""
        space, away = space_of(self.engine.gradient), subtract(centre, position)
        found = []
        for site, bands in zip(self.sites, self.bands, strict=True):
            columns = [replace(space, sites=(site,)).dots([(away, gradient)])[0] / np.float64(site.degrees)]
            for band in bands:
                both = project(site, away[site.name], band.modes) * project(site, gradient[site.name], band.modes)
                columns.append(jnp.sum(both, axis=(0, 1)) / np.float64(len(band.modes)))
            found.append(jnp.stack(columns, axis=1))
        return tuple(found)


def _mean_and_error(values: np.ndarray) -> dict[str, float | None]:
    """Of values[chain, value]: the mean, and its standard error from the scatter of batches."""
    batches = np.stack([b.mean(axis=1) for b in np.array_split(values, min(BATCHES, values.shape[1]), axis=1)])
    error = batches.std(ddof=1) / np.sqrt(batches.size) if batches.size >= 4 else np.nan
    mean, error = (float(v) if np.isfinite(v) else None for v in (values.mean(), error))
    return {"mean": mean, "error": error}
