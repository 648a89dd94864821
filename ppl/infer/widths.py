"""The factor D of a normal's covariance D D^T, by the logarithms w of its scales, one a latent or one a field's band.

`Elementwise` is D = diag(e^w). `Banded` is D = R^-1 e^w R for the fields that the model transforms, one w for each band
of wavenumbers (`ppl.infer.fourier`), and elementwise for other latents: what a stationary posterior looks like.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from .fourier import Fourier, FourierVariance, Scales, spectra_of
from .metric import Diagonal, Metric, as_diagonal
from .space import Space, Vector, add, multiply, subtract

MARK = "~band"
"""After a field's name: its bands among the scales. No latent is called so."""


class Widths(Protocol):
    """w is a dict of arrays [C, ...], 0 on padding."""

    def begin(self, metric: Metric | None, start: float) -> Vector:
        """w of a metric that was handed over, else log(start) everywhere."""
        ...

    def apply(self, w: Vector, n: Vector) -> Vector:
        """D n."""
        ...

    def solve(self, w: Vector, n: Vector) -> Vector:
        """D^-1 n."""
        ...

    def log_det(self, w: Vector) -> jax.Array:
        """float64[C]: log det D."""
        ...

    def slope(self, w: Vector, h: Vector, n: Vector) -> Vector:
        """The derivative of <h, D n> by w."""
        ...

    def metric(self, w: Vector) -> Metric:
        """F = D."""
        ...


class Elementwise(NamedTuple):
    space: Space

    def begin(self, metric: Metric | None, start: float) -> Vector:
        scale = self.space.full(start) if metric is None else as_diagonal(metric).scale
        return self.space.keep_real({n: jnp.log(x) for n, x in scale.items()}, 0.0)

    def apply(self, w: Vector, n: Vector) -> Vector:
        return {name: jnp.exp(x) * n[name] for name, x in w.items()}

    def solve(self, w: Vector, n: Vector) -> Vector:
        return {name: jnp.exp(-x) * n[name] for name, x in w.items()}

    def log_det(self, w: Vector) -> jax.Array:
        return self.space.dots([(w, self.space.full(1.0))])[0]

    def slope(self, w: Vector, h: Vector, n: Vector) -> Vector:
        return multiply(h, self.apply(w, n))

    def metric(self, w: Vector) -> Diagonal:
        return Diagonal({n: jnp.exp(x) for n, x in w.items()})


class Banded(NamedTuple):
    space: Space

    @property
    def others(self) -> Elementwise:
        """Of the latents without a transform."""
        return Elementwise(FourierVariance(self.space).others.space)

    def begin(self, metric: Metric | None, start: float) -> Vector:
        known = Diagonal(self.space.full(start)) if metric is None else metric
        found = FourierVariance(self.space).take(known)
        own = self.others.begin(Diagonal(found.scale), start) if found.scale else {}
        bands = zip(spectra_of(self.space).programs, found.bands, strict=True)
        return own | {n + MARK: jnp.log(s) for n, s in bands}

    def apply(self, w: Vector, n: Vector) -> Vector:
        return self._by(w, n, jnp.exp, self.others.apply)

    def solve(self, w: Vector, n: Vector) -> Vector:
        return self._by(w, n, lambda x: jnp.exp(-x), self.others.solve)

    def _by(self, w: Vector, n: Vector, scale: Callable[[jax.Array], jax.Array], rest: Callable[..., Vector]) -> Vector:
        scales = tuple(scale(x) for x in self._bands(w))
        return spectra_of(self.space).filtered(n | rest(self._own(w), n), scales)

    def _own(self, w: Vector) -> Vector:
        return {n: x for n, x in w.items() if not n.endswith(MARK)}

    def _bands(self, w: Vector) -> Scales:
        return tuple(w[n + MARK] for n in spectra_of(self.space).programs)

    def log_det(self, w: Vector) -> jax.Array:
        own, modes = self._own(w), spectra_of(self.space).modes.values()
        total = self.others.log_det(own) if own else jnp.zeros(self.space.chains, jnp.float64)
        for x, m in zip(self._bands(w), modes, strict=True):
            total = total + jnp.sum(x * m, axis=range(1, x.ndim))
        return total

    def slope(self, w: Vector, h: Vector, n: Vector) -> Vector:
        """Of a band it is the part of <h, D n> in its modes; products of modes are differences of powers."""
        spectra = spectra_of(self.space)
        fields = lambda v: {name: v[name] for name in spectra.programs}  # noqa: E731
        own, more = self._own(w), spectra.power(add(fields(h), fields(n)))
        less, made = spectra.power(subtract(fields(h), fields(n))), {}
        for (name, m), x, a, b in zip(spectra.modes.items(), self._bands(w), more, less, strict=True):
            made[name + MARK] = jnp.exp(x) * 0.25 * (a - b) * m
        return self.others.slope(own, {name: h[name] for name in own}, n) | made if own else made

    def metric(self, w: Vector) -> Fourier:
        bands = tuple(jnp.exp(x) for x in self._bands(w))
        return Fourier(self.others.metric(self._own(w)).scale, bands, self.space)


__all__ = ["MARK", "Banded", "Elementwise", "Widths"]
