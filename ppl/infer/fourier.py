"""A metric of fields by band of wavenumber: F = R^-1 s R with the real transform R and one scale s for each band.

The posterior of a field of which data see the large scales well and the small ones badly is far from round, and yet no
latent of the grid differs from another: the scales are those of plane waves. With mask and noise that vary it is not
diagonal in k-space either, but the mean over a band's modes is what a step needs to know, and many modes tell it from
few draws. F is symmetric. It holds a number a band and nothing of the field's size; `push` and `pull` are a planned
program each (`ir.passes.bands`), two transforms, with the collectives of the model's own.

Latents without a transform have a scale each, from the variances of draws (`ppl.infer.variance`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ir.errors import InternalError
from ir.passes.bands import FIELD, GAIN, Bands

from ..execute import Executable
from .fisher import SMALLEST, share, update_variance
from .metric import Diagonal, Metric
from .space import Space, Vector, subtract
from .variance import SHRINK, Variance, Variances

NO_WAVES = "no latent that moves has a dim along which the model transforms, so that there are no plane waves"
WAVES = "plane waves are of a field on its grid that the model transforms with rfft"
Scales = tuple[jax.Array, ...]
"""[C, rest, bands] of each transformed site, in the order of `Spectra.programs`."""


@dataclass(frozen=True, eq=False)
class Spectra:
    """Transformed sites with their planned programs (`ir.passes.bands`); told apart by identity."""

    programs: Mapping[str, Executable]
    bands: Mapping[str, Bands]

    @cached_property
    def modes(self) -> dict[str, np.ndarray]:
        """float64[bands] of each site: degrees of freedom."""
        return {n: b.modes for n, b in self.bands.items()}

    @property
    def mesh_bound(self) -> set[str]:
        """The names of ops whose sums follow the mesh where others are reproducible."""
        return {name for executable in self.programs.values() for name in executable.mesh_bound}

    def among(self, names: Collection[str]) -> Spectra | None:
        """Those of the named sites, the same object for the same ones; None where none is left."""
        left = tuple(n for n in self.programs if n in names)
        if left == tuple(self.programs):
            return self
        if left not in self._parts:
            parts = ({n: x[n] for n in left} for x in (self.programs, self.bands))
            self._parts[left] = Spectra(*parts) if left else None
        return self._parts[left]

    @cached_property
    def _parts(self) -> dict[tuple[str, ...], Spectra | None]:
        return {}

    def filtered(self, vector: Vector, scales: Scales) -> Vector:
        """R^-1 s R of every transformed site, the others as they are."""
        made = {n: self._run(n, vector[n], s)["filtered"] for n, s in zip(self.programs, scales, strict=True)}
        return vector | made

    def power(self, vector: Vector) -> Scales:
        """The mean square of the modes of each band, float64; 0 where a band has none."""
        made = []
        for name in self.programs:
            gain = self.programs[name].program.input(GAIN).type
            ones = jnp.ones((vector[name].shape[0], *gain.shape[1:]), gain.numpy)
            made.append(self._run(name, vector[name], ones)["power"] / np.maximum(self.modes[name], 1.0))
        return tuple(made)

    def _run(self, name: str, x: jax.Array, gain: jax.Array) -> dict[str, jax.Array]:
        executable = self.programs[name]
        given = {FIELD: x, GAIN: gain.astype(x.dtype)}
        return executable.block(*(given[i.name] for i in executable.program.inputs))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Fourier:
    """The metric: a scale for each band of the transformed sites, for each element of the others."""

    scale: Vector
    bands: Scales  # float64
    space: Space = field(metadata={"static": True})

    @property
    def spectra(self) -> Spectra:
        return spectra_of(self.space)

    def on(self, space: Space) -> Metric:
        """The same metric on a space of the same latents that may lie otherwise; a diagonal one where it has no plane
        waves."""
        theirs = space.spectra.modes if space.spectra is not None else {}
        here = replace(self, space=replace(space, spectra=self.spectra))
        if {n: len(m) for n, m in theirs.items()} != {n: len(m) for n, m in self.spectra.modes.items()}:
            return Diagonal(here.deviation())
        return replace(self, space=space)

    def push(self, u: Vector) -> Vector:
        return self.spectra.filtered(u | {n: s * u[n] for n, s in self.scale.items()}, self.bands)

    def pull(self, g: Vector) -> Vector:
        return self.push(g)

    def deviation(self) -> Vector:
        """Of transformed sites that of all elements alike."""
        found = {}
        for (n, modes), s in zip(self.spectra.modes.items(), self.bands, strict=True):
            (site,) = (x for x in self.space.sites if x.name == n)
            square = jnp.sum(s**2 * modes, axis=-1).reshape(len(s), -1).mean(axis=1) / modes.sum()
            one = jnp.ones((self.space.chains, *site.local), site.dtype)
            found[n] = self.space.spread(jnp.sqrt(square), one) * one
        return self.space.keep_real(self.scale | found, 1.0)


class Estimate(NamedTuple):
    """Running moments; `power` is that of the distance from the mean."""

    count: jax.Array  # float64[C]
    mean: Vector
    variance: Vector  # of the sites without a transform
    power: Scales


@dataclass(frozen=True)
class FourierVariance:
    """s^2 = the variance of a band's modes; at the start s^2 = 1 / rms of the gradient's, as each site's elsewhere."""

    space: Space

    @property
    def spectra(self) -> Spectra:
        return spectra_of(self.space)

    @property
    def others(self) -> Variance:
        """The estimator of the sites without a transform."""
        sites = tuple(s for s in self.space.sites if s.name not in self.spectra.programs)
        return Variance(replace(self.space, sites=sites, spectra=None))

    def copies(self) -> int:
        return 1

    def start(self) -> Estimate:
        count, zeros = jnp.zeros(self.space.chains, jnp.float64), self.space.zeros
        return Estimate(count, zeros(), self.others.space.zeros(), self._level(zeros(), 0.0))

    def first(self, gradient: Vector) -> Fourier:
        bands = []
        for power in self.spectra.power(gradient):
            square = jnp.where(power > 0, jnp.clip(power**-0.5, SMALLEST, 1 / SMALLEST), 1.0)
            bands.append(jnp.sqrt(square))
        return Fourier(self._first_of_others(gradient), tuple(bands), self.space)

    def _first_of_others(self, gradient: Vector) -> Vector:
        own = {s.name: gradient[s.name] for s in self.others.space.sites}
        return self.others.first(own).scale if own else {}

    def take(self, metric: Metric) -> Fourier:
        """Another one's bands as they are; of other metrics the mean square of a site's deviations, for all bands."""
        if isinstance(metric, Fourier):
            return metric
        deviation = metric.deviation()
        own = {s.name: deviation[s.name] for s in self.others.space.sites}
        bands = []
        real = self.space.keep_real(deviation, 0.0)
        for name, level in zip(self.spectra.programs, self._level(real, 0.0), strict=True):
            one = replace(self.space, sites=tuple(s for s in self.space.sites if s.name == name), spectra=None)
            square = one.dots([(real, real)])[0] / one.degrees
            bands.append(level + jnp.sqrt(square).reshape(-1, *(1,) * (level.ndim - 1)))
        return Fourier(own, tuple(bands), self.space)

    def _level(self, like: Vector, value: float) -> Scales:
        """The same for every band."""
        gains = {n: e.program.input(GAIN).type for n, e in self.spectra.programs.items()}
        return tuple(jnp.full((like[n].shape[0], *t.shape[1:]), value, jnp.float64) for n, t in gains.items())

    def add(self, estimate: Estimate, mask: jax.Array, position: Vector, gradient: Vector) -> Estimate:
        count, part = share(estimate.count, mask)
        own = {n: (position[n], estimate.mean[n]) for n in estimate.variance}
        values, means = ({n: pair[i] for n, pair in own.items()} for i in (0, 1))
        mean, variance = update_variance(self.space, means, estimate.variance, part, values)
        fields = {n: position[n] for n in self.spectra.programs}
        away = subtract(fields, {n: estimate.mean[n] for n in fields})
        power = []
        for old, new in zip(estimate.power, self.spectra.power(away), strict=True):
            a = part.reshape(-1, *(1,) * (old.ndim - 1))
            power.append((1 - a) * (old + a * new))
        moved = {n: estimate.mean[n] + self.space.spread(part, x) * x for n, x in away.items()}
        return Estimate(count, mean | moved, variance, tuple(power))

    def switch(self, estimate: Estimate, mask: jax.Array) -> Estimate:
        # The first share of a new window is 1: it overwrites the rest.
        return estimate._replace(count=jnp.where(mask, 0.0, estimate.count))

    def metric(self, estimate: Estimate, old: Fourier, mask: jax.Array) -> Fourier:
        enough = mask & (estimate.count >= 3)
        bands = []
        for modes, power, before in zip(self.spectra.modes.values(), estimate.power, old.bands, strict=True):
            # As many numbers as the band has modes: few draws outweigh the former metric.
            along = (-1, *(1,) * (power.ndim - 1))
            weight = estimate.count.reshape(along) * modes
            square = (weight * power + SHRINK * before**2) / (weight + SHRINK)
            usable = enough.reshape(along) & jnp.isfinite(square) & (square > 0)
            bands.append(jnp.where(usable, jnp.sqrt(square), before))
        own = {n: estimate.mean[n] for n in estimate.variance}
        scale = {}
        if own:
            moments = Variances(estimate.count, own, estimate.variance)
            scale = self.others.metric(moments, Diagonal(old.scale), mask).scale
        return Fourier(scale, tuple(bands), self.space)


def spectra_of(space: Space) -> Spectra:
    """The spectra of a space that has some."""
    if space.spectra is None:
        raise InternalError("a metric of plane waves needs a space with transformed sites")
    return space.spectra
