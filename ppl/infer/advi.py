"""Gaussian variational inference by stochastic gradients: mean-field, in plane waves, or low rank plus diagonal.

q = N(m, D D^T + V V^T), D = diag(e^w), V of k columns (k = 0: mean-field). Without V, D may be diagonal in the plane
waves of fields instead, with a scale for each band of wavenumbers (`ppl.infer.widths`). A sample is
x = m + D n_1 + V n_2, and the path-wise gradient without the score term ("sticking the landing": Roeder, Wu & Duvenaud
2017, arXiv:1703.09194) is that of l(x) - log q(x) with q's own parameters held: with h = grad l(x) + Sigma^-1 (x - m),

    d/dm = h,   d/dw = d<h, D n_1>/dw,   d/dV_j = h n_2j,

which has no noise where q is exact. Sigma^-1 by Woodbury, of k x k matrices that one all-reduce gives. The ascent is
Adam with step decay (`ppl.infer.plateau`) on the ELBO, in units of the scales it starts from. The approximation is the
mean of the parameters over the iterations at the latest rate; it has converged when the rate has come to its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ir import counter, lapack
from ir.counter import Key

from .adam import Moments, adam, no_moments
from .fit import FACTOR, NOISE, FitInfo, normals, told
from .fourier import Fourier
from .laplace import LOG_2PI
from .metric import Diagonal, Metric, from_variance
from .plateau import Plateau, begin_plateau, record
from .protocol import Handover, State, Target
from .space import Space, Vector, add, combine
from .widths import Banded, Elementwise, Widths

START = 0.1
"""The first scale of every latent where the stage before leaves none."""
WINDOW = 200
"""Iterations after which the rate may fall: the noise of a mean-field gradient hides a slow rise from fewer."""
LAST_RATE = 1e-2
"""The ascent ends when its rate has fallen to this part of the first."""
COLUMN = 0x434F
"""The purpose of the first columns of V."""


class Gaussian(NamedTuple):
    """The parameters of q, or anything of their kind."""

    mean: Vector
    log_scale: Vector  # w of `ppl.infer.widths`, 0 on padding
    factor: Vector  # V [C, k, ...]; no site for k = 0


class Variational(NamedTuple):
    """The state of the ascent."""

    q: Gaussian
    average: Gaussian  # of q at the latest rate
    age: jax.Array  # int32[C], iterations at that rate
    unit: Vector  # of steps of mean and factor
    moments: tuple[Moments, Moments, Moments]
    plateau: Plateau
    converged: jax.Array
    failed: jax.Array


@dataclass(frozen=True)
class Advi:
    """The fit. samples: draws of a step. rank: k. rate: Adam's first step, in unconstrained units. banded: D is of
    plane waves, in a space that has some."""

    space: Space
    target: Target
    samples: int = 1
    rank: int = 0
    rate: float = 0.05
    banded: bool = False

    def copies(self) -> int:
        """Where chains stand 2; unit 1; parameters, their mean, two moments and gradient 5 (2 + k);
        noise and sample 3."""
        return 6 + 5 * (2 + self.rank)

    @property
    def widths(self) -> Widths:
        return Banded(self.space) if self.banded else Elementwise(self.space)

    def begin(self, start: Handover) -> Variational:
        space = self.space
        metric = start.metric
        unit = metric.scale if isinstance(metric, Diagonal) else space.full(1.0)
        unit = {n: jnp.copy(x) for n, x in unit.items()}
        # Of a metric that turns the latents the deviations are no scales of what is left when others are held.
        log_scale = self.widths.begin(metric if isinstance(metric, Diagonal | Fourier) else None, START)
        q = Gaussian({n: jnp.copy(x) for n, x in start.state.position.items()}, log_scale, self._columns(log_scale))
        moments = (no_moments(q.mean), no_moments(q.log_scale), no_moments(q.factor))
        bad = ~jnp.isfinite(start.state.log_density)
        age, plateau = jnp.zeros(space.chains, jnp.int32), begin_plateau(space.chains, self.rate, WINDOW)
        return Variational(q, jax.tree.map(jnp.copy, q), age, unit, moments, plateau, ~bad & bad, bad)

    def _columns(self, log_scale: Vector) -> Vector:
        """V of random columns, a tenth of the scale: equal columns would stay equal."""
        if not self.rank:
            return {}
        key = counter.derive(counter.seed_key(0), np.uint32(COLUMN))
        made = [self.space.normal(key, NOISE + 16 * k) for k in range(self.rank)]
        return {n: jnp.stack([0.1 * x[n] * jnp.exp(log_scale[n]) for x in made], axis=1) for n in log_scale}

    def improve(
        self, key: Key, here: State, fit: Variational, active: jax.Array
    ) -> tuple[State, Variational, FitInfo, jax.Array]:
        space, q = self.space, fit.q
        active = active & ~fit.converged & ~fit.failed
        shape = self._shape(q)

        def sample(t: jax.Array, carry: tuple[Gaussian, jax.Array]) -> tuple[Gaussian, jax.Array]:
            total, elbo = carry
            x, n1, n2, score, log_q = self._sample(key, 16 * t, q, shape)
            value, gradient = self.target(x)
            h = add(gradient, score)
            along = self.widths.slope(q.log_scale, h, n1)
            columns = {n: h[n][:, None] * _rows(n2, h[n]) for n in q.factor}
            total = Gaussian(add(total.mean, h), add(total.log_scale, along), add(total.factor, columns))
            return total, elbo + value - log_q

        nothing = Gaussian(*({n: jnp.zeros_like(x) for n, x in part.items()} for part in q))
        zero = jnp.zeros(space.chains, jnp.float64)
        total, elbo = lax.fori_loop(0, self.samples, sample, (nothing, zero))
        elbo = elbo / self.samples
        good = jnp.isfinite(elbo) & space.all_finite(total.mean)
        bad, taken = active & ~good, active & good
        ones = {n: jnp.ones_like(w) for n, w in q.log_scale.items()}
        units = Gaussian(fit.unit, ones, {n: fit.unit[n][:, None] for n in q.factor})
        moments, moved = [], []
        for part, gradient, held, unit in zip(q, total, fit.moments, units, strict=True):
            averaged = {n: x / np.asarray(self.samples, x.dtype) for n, x in gradient.items()}
            kept, step = adam(space, held, averaged, fit.plateau.count, taken)
            moments.append(kept)
            stepped = {n: x + space.spread(fit.plateau.rate, x) * unit[n] * step[n] for n, x in part.items()}
            moved.append({n: jnp.where(space.spread(taken, x), stepped[n], x) for n, x in part.items()})
        q = Gaussian(*moved)
        plateau = record(fit.plateau, taken, jnp.where(good, elbo, 0.0), zero)
        converged = taken & (plateau.rate <= LAST_RATE * self.rate)
        part = jnp.where(taken, 1 / (fit.age + 1), 0.0)
        average = Gaussian(
            *(
                {n: x + space.spread(part, x) * (now[n] - x) for n, x in old.items()}
                for old, now in zip(fit.average, q, strict=True)
            )
        )
        age = jnp.where(taken, fit.age + np.int32(1), fit.age)
        age = jnp.where((plateau.rate < fit.plateau.rate) & ~converged, np.int32(0), age)
        fit = Variational(
            *(q, average, age, fit.unit, tuple(moments), plateau, fit.converged | converged, fit.failed | bad)
        )
        row = told(
            space.chains,
            leapfrogs=self.samples,
            divergent=bad,
            log_density=here.log_density,
            objective=elbo,
            converged=fit.converged,
        )
        return here, fit, row, fit.converged | fit.failed

    def draw(self, key: Key, here: State, fit: Variational) -> tuple[State, FitInfo]:
        x, _, _, _, log_q = self._sample(key, 0, fit.average, self._shape(fit.average))
        value, gradient = self.target(x)
        row = told(
            self.space.chains,
            leapfrogs=1,
            divergent=~jnp.isfinite(value),
            log_density=value,
            objective=fit.plateau.level,
            log_weight=value - log_q,
            converged=fit.converged,
        )
        return State(x, gradient, value, here.step), row

    def _shape(self, q: Gaussian) -> tuple[jax.Array, jax.Array | None]:
        """(log det Sigma / 2, A = 1 + V^T D^-2 V), in one all-reduce."""
        if not self.rank:
            return self.widths.log_det(q.log_scale), None
        ones = self.space.full(1.0)
        scaled = {n: v * jnp.exp(-q.log_scale[n])[:, None] for n, v in q.factor.items()}
        total, square = self.space.inner([(q.log_scale, ones), (scaled, scaled)])
        a = square + jnp.eye(self.rank, dtype=jnp.float64)
        return total + 0.5 * lapack.slogdet(a)[1], a

    def _sample(
        self, key: Key, purpose: Any, q: Gaussian, shape: tuple[jax.Array, jax.Array | None]
    ) -> tuple[Vector, Vector, jax.Array, Vector, jax.Array]:
        """(x, n_1, n_2, Sigma^-1 (x - m), log q(x))."""
        space, (half_log_det, a) = self.space, shape
        n1 = space.normal(key, NOISE + purpose)
        offset = self.widths.apply(q.log_scale, n1)
        constant = -half_log_det - 0.5 * space.degrees * LOG_2PI
        if a is None:
            square = space.dots([(n1, n1)])[0]
            score = self.widths.solve(q.log_scale, n1)
            return add(q.mean, offset), n1, jnp.zeros((space.chains, 0), jnp.float64), score, constant - 0.5 * square
        n2 = normals(key, FACTOR + purpose, self.rank)
        r = add(offset, combine(n2, q.factor))
        weighted = {n: x * jnp.exp(-2 * q.log_scale[n]) for n, x in r.items()}
        square, b = space.inner([(r, weighted), (weighted, q.factor)])
        solved = lapack.solve(a, b[..., None])[..., 0]
        back = combine(solved, q.factor)
        score = {n: w - jnp.exp(-2 * q.log_scale[n]) * back[n] for n, w in weighted.items()}
        return add(q.mean, r), n1, n2, score, constant - 0.5 * (square - jnp.sum(b * solved, axis=1))

    def metric(self, fit: Variational) -> Metric:
        q = fit.average
        if not self.rank:
            return self.widths.metric(q.log_scale)
        variance = {n: jnp.exp(2 * w) + jnp.sum(q.factor[n] ** 2, axis=1) for n, w in q.log_scale.items()}
        return from_variance(variance)


def _rows(weights: jax.Array, like: jax.Array) -> jax.Array:
    """weights[C, k] against a vector's block [C, ...], as [C, k, 1, ...]."""
    return weights.astype(like.dtype).reshape(*weights.shape, *(1,) * (like.ndim - 1))
