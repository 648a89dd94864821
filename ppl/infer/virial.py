"""Equipartition of large sites: E[-(x - c) . g] = d for draws x of a density, gradients g of its log, any constant c.

It is integration by parts, latent by latent (the virial theorem of the potential -log p), in the unconstrained space.
Draws that have not reached the posterior, or of a sampler whose step biases it, miss it: spread by a factor s about
the mode of a normal they give s^2.

One value a chain is taken at the end of a block, of at most `VALUES` blocks, and costs one gradient. c is where the
chain stood when the first draw was about to be made: near the mean, which keeps the noise at about (3/d)^(1/2), and not
made of later draws, which would bias a short run.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from .engine import Engine, space_of
from .protocol import State
from .space import Site, Vector, subtract

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
        self.values: list[np.ndarray] = []
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
        self.values.append(np.stack([np.asarray(x)[: self.engine.options.chains] for x in found]))

    def attrs(self) -> dict[str, Any]:
        """{"virial": {site: {"mean", "error", "values"}}} of mean and standard error per dim; nothing without values.

        Numbers that are not finite, and the error of fewer than four batches in all, are None.
        """
        if not self.values:
            return {}
        whole = np.stack(self.values, axis=2)  # [site, chain, value]
        batches = [b.mean(axis=2) for b in np.array_split(whole, min(BATCHES, whole.shape[2]), axis=2)]
        flat = np.concatenate(batches, axis=1)
        found = {}
        for site, x, means in zip(self.sites, whole, flat, strict=True):
            error = means.std(ddof=1) / np.sqrt(means.size) if means.size >= 4 else np.nan
            mean, error = (float(v) if np.isfinite(v) else None for v in (x.mean(), error))
            found[site.name] = {"mean": mean, "error": error, "values": int(x.size)}
        return {"virial": found}

    def _stand(self, state: Any) -> State:
        # What a method's state calls its gradient may be of a tempered target, or of a block of latents alone.
        left = self.engine.handover(state).state
        return left if self.engine.options.only is not None else self.engine.stand(left.position, left.step)

    def _large(self, vector: Vector) -> Vector:
        return {s.name: vector[s.name] for s in self.sites}

    def _body(self, position: Vector, gradient: Vector, centre: Vector) -> tuple[jax.Array, ...]:
        """float64[C] of each site."""
        space, away = space_of(self.engine.gradient), subtract(centre, position)
        own = [replace(space, sites=(s,)).dots([(away, gradient)])[0] for s in self.sites]
        return tuple(x / np.float64(s.degrees) for x, s in zip(own, self.sites, strict=True))
